//! What a bench prints: for people a head and a line a row, with `--json` one object a row and nothing else. Each row is
//! printed when it is done, so an interrupted bench has printed what it has.

use std::fs;

use serde::Serialize;

use super::{
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

/// A row as a program reads it.
#[derive(Serialize)]
struct Line {
    name: &'static str,
    /// The best turn, in `unit`.
    measured: f64,
    unit: &'static str,
    /// The floor's best turn, in `unit`.
    floor: f64,
    /// Floor over measured.
    ratio: f64,
    goal: Option<f64>,
    /// Whether the goal is reached, if there is one, and the floor is none that was beaten.
    holds: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<&'static str>,
}

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
            say(format_args!("{:<20}{:>12}{:>12}{:>8}{:>7}", head.0, head.1, head.2, head.3, head.4));
        }
        Self { json }
    }

    /// A row is done.
    pub(super) fn row(&mut self, row: &Row, measured: &Measured) {
        if self.json {
            let line = Line {
                name: row.name,
                measured: rounded(measured.measured, 10.0),
                unit: row.unit,
                floor: rounded(measured.floor, 10.0),
                ratio: rounded(measured.ratio(), 10_000.0),
                goal: row.goal,
                holds: measured.verdict == Verdict::Holds,
                note: row.note,
            };
            say(serde_json::to_string(&line).expect("a line has no map"));
            return;
        }
        let goal = row.goal.map_or_else(|| "-".to_owned(), |goal| format!("{goal:.2}"));
        let verdict = match measured.verdict {
            Verdict::Holds => "",
            Verdict::Misses => "  missed",
            Verdict::WrongFloor => "  FASTER THAN ITS FLOOR: the floor is wrong",
        };
        let note = row.note.map(|note| format!("  ({note})")).unwrap_or_default();
        say(format_args!(
            "{:<20}{:>12}{:>12}{:>8.3}{goal:>7}{verdict}{note}",
            row.name,
            span(measured.measured),
            span(measured.floor),
            measured.ratio(),
        ));
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
