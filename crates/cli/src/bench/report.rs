//! What a bench prints: for people a head and a line a row, with `--json` one object a row and nothing else. Each row is
//! printed when it is done, so an interrupted bench has printed what it has.

use std::fs;

use serde::Serialize;

use super::{
    amount::{Amount, Unit},
    floors::Floors,
    measure::{Measured, Verdict},
    pin::Cores,
    rows::Row,
};
use crate::output::say;

/// Where the rows go.
pub(super) struct Report {
    json: bool,
}

/// What a row came to.
pub(super) enum Outcome {
    Ratio { unit: &'static str, goal: Option<f64>, measured: Measured },
    Amount { unit: Unit, limit: f64, amount: Amount },
}

impl Outcome {
    pub(super) fn verdict(&self) -> Verdict {
        match self {
            Self::Ratio { measured, .. } => measured.verdict,
            Self::Amount { limit, amount, .. } if amount.value > *limit => Verdict::Misses,
            Self::Amount { .. } => Verdict::Holds,
        }
    }
}

/// A row as a program reads it.
#[derive(Default, Serialize)]
struct Line<'a> {
    name: &'a str,
    /// The best turn, or the amount, in `unit`. None: it cannot be measured here.
    measured: Option<f64>,
    unit: &'a str,
    /// The floor's best turn, in `unit`; an amount has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    floor: Option<f64>,
    /// Floor over measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    ratio: Option<f64>,
    /// The ratio to reach.
    goal: Option<f64>,
    /// The most that an amount may be, in `unit`.
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<f64>,
    /// Whether goal or limit is kept, if there is one, and the floor is none that was beaten. None: not measured.
    holds: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<&'a str>,
}

/// Characters of the column of names: the longest and two spaces.
const NAME_WIDTH: usize = 27;

impl Report {
    /// Says on what all is measured.
    pub(super) fn begin(json: bool, quick: bool, cores: &Cores, floors: &Floors) -> Self {
        if !json {
            say(format_args!("{}, {}", machine(), cores_in_words(cores)));
            say(format_args!("floors: {}", floors.names()));
            if cfg!(debug_assertions) {
                say("not a release build: build with --release before you believe a number");
            }
            if quick {
                say("quick: a missed goal is shown and does not fail");
            }
            let head = ("row", "measured", "floor", "ratio", "goal");
            say(format_args!(
                "{:<NAME_WIDTH$}{:>12}{:>12}{:>8}{:>11}",
                head.0, head.1, head.2, head.3, head.4
            ));
        }
        Self { json }
    }

    /// A row is done.
    pub(super) fn row(&mut self, row: &Row, outcome: &Outcome) {
        let holds = Some(outcome.verdict() == Verdict::Holds);
        let (name, note) = (row.name, row.note);
        let line = match outcome {
            Outcome::Ratio { unit, goal, measured } => Line {
                measured: Some(rounded(measured.measured, 10.0)),
                floor: Some(rounded(measured.floor, 10.0)),
                ratio: Some(rounded(measured.ratio(), 10_000.0)),
                goal: *goal,
                ..Line { name, unit, holds, note, ..Line::default() }
            },
            Outcome::Amount { unit, limit, amount } => Line {
                measured: Some(rounded(amount.value, 1_000.0)),
                limit: Some(*limit),
                note: Some(&amount.seen),
                ..Line { name, unit: unit.name(), holds, ..Line::default() }
            },
        };
        if self.json { print_json(&line) } else { say_outcome(row, outcome) }
    }

    /// This system does not tell what is to be measured.
    pub(super) fn not_here(&mut self, row: &Row, why: &str) {
        if self.json {
            print_json(&Line { name: row.name, note: Some(why), ..Line::default() });
        } else {
            say(format_args!("{:<NAME_WIDTH$}not measured: {why}", row.name));
        }
    }

    /// A row could not be measured.
    pub(super) fn failed(&mut self, row: &Row, error: &str) {
        eprintln!("devp2p: {} failed: {error}", row.name);
    }

    /// The user wants no more rows.
    pub(super) fn interrupted(&mut self) {
        eprintln!("devp2p: interrupted: the rows above are all that was measured");
    }
}

fn print_json(line: &Line<'_>) {
    say(serde_json::to_string(line).expect("a line has no map"));
}

fn say_outcome(row: &Row, outcome: &Outcome) {
    let verdict = match outcome.verdict() {
        Verdict::Holds => "",
        Verdict::Misses => "  missed",
        Verdict::WrongFloor => "  FASTER THAN ITS FLOOR: the floor is wrong",
    };
    let note = row.note.map(|note| format!("  ({note})")).unwrap_or_default();
    let name = row.name;
    match outcome {
        Outcome::Ratio { goal, measured, .. } => {
            let goal = goal.map_or_else(|| "-".to_owned(), |goal| format!("{goal:.2}"));
            let (ratio, floor) = (measured.ratio(), span(measured.floor));
            let measured = span(measured.measured);
            say(format_args!(
                "{name:<NAME_WIDTH$}{measured:>12}{floor:>12}{ratio:>8.3}{goal:>11}{verdict}{note}"
            ));
        }
        Outcome::Amount { unit, limit, amount } => {
            let (measured, limit, seen) = (unit.show(amount.value), unit.show(*limit), &amount.seen);
            let limit = format!("<={limit}");
            say(format_args!(
                "{name:<NAME_WIDTH$}{measured:>12}{:>12}{:>8}{limit:>11}{verdict}  ({seen})",
                "-", "-"
            ));
        }
    }
}

/// The processor's name.
fn machine() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    name.map_or_else(|| std::env::consts::ARCH.to_owned(), |(_, name)| name.trim().to_owned())
}

fn cores_in_words(cores: &Cores) -> String {
    match (cores.bench, cores.load) {
        (Some(bench), Some(load)) => format!("pinned to core {bench}, load on core {load}"),
        (Some(bench), None) => format!("one core only: the load runs on core {bench} too"),
        (None, _) => "not pinned: this system pins no threads".to_owned(),
    }
}

/// Nanoseconds in the unit that suits them.
fn span(nanos: f64) -> String {
    match nanos {
        _ if nanos < 10_000.0 => format!("{nanos:.0} ns"),
        _ if nanos < 10_000_000.0 => format!("{:.1} us", nanos / 1e3),
        _ => format!("{:.1} ms", nanos / 1e6),
    }
}

fn rounded(number: f64, parts: f64) -> f64 {
    (number * parts).round() / parts
}
