//! `devp2p bench`: how far each hot path is from its physical limit. A row is timed by turns with its floor, the same
//! work done by the fastest implementations there are and nothing besides; both take the best of their turns. Rows of
//! memory and idle time have no floor, and a limit.
//!
//! A file a family of rows, `floors` what they are held against, `measure` the turns, `orders` the other processes, which
//! `serve` and `load` are, `report` what is printed. `docs/performance.md` explains the rows to readers.

mod accept;
mod amount;
mod broadcast;
mod datagrams;
mod discv4;
mod floors;
mod frame;
mod handshake;
mod libsecp;
mod load;
mod measure;
mod orders;
mod pair;
mod payload;
mod peers;
mod pin;
mod process;
mod report;
mod rows;
mod serve;
mod tcp;
mod transactions;
mod usage;

use std::{
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use clap::Args;

pub(crate) use self::orders::{ProcessCommand, run as run_process};
use self::{
    amount::Halt,
    floors::Floors,
    measure::{Effort, Verdict},
    pin::Cores,
    report::{Outcome, Report},
    rows::{Kind, ROWS, Row},
};
use crate::failure::Failure;

/// The exit code of a program that ctrl-c ended, as shells have it: 128 and the signal's number.
const INTERRUPTED: i32 = 130;

/// Measure the hot paths against their physical limits, on one core.
#[derive(Args, Clone, Debug)]
pub(crate) struct BenchCommand {
    /// Measure briefly. A missed goal is shown, but does not fail: for machines that do other things too.
    #[arg(long)]
    quick: bool,
    /// Print one JSON object a row and nothing else.
    #[arg(long)]
    json: bool,
    /// Only the rows whose name contains this; `*` stands for anything.
    #[arg(long, value_name = "PATTERN", value_parser = parse_pattern)]
    only: Option<String>,
}

/// Runs the rows. Exit code 0 only when every one was measured, no floor is wrong, every goal holds (not so when quick)
/// and nobody interrupted.
pub(crate) async fn run(command: BenchCommand) -> Result<ExitCode, Failure> {
    let pattern = command.only.as_deref().unwrap_or("*");
    let rows: Vec<&'static Row> = ROWS.iter().filter(|row| matches(row.name, pattern)).collect();
    if rows.is_empty() {
        let names: Vec<&str> = ROWS.iter().map(|row| row.name).collect();
        return Err(Failure::input(format!("no row matches {pattern:?}; there are {}", names.join(", "))));
    }
    let stop = Arc::new(AtomicBool::new(false));
    let bench = Bench { rows, quick: command.quick, json: command.json, stop: Arc::clone(&stop) };
    let mut running = tokio::task::spawn_blocking(move || bench.run());
    loop {
        tokio::select! {
            ended = &mut running => {
                return ended.map_err(|error| Failure::system("the bench ended early", &error));
            }
            _ = tokio::signal::ctrl_c() => {
                if stop.swap(true, Ordering::Relaxed) {
                    std::process::exit(INTERRUPTED);
                }
            }
        }
    }
}

/// A run, on a thread of its own because it computes without a pause.
struct Bench {
    rows: Vec<&'static Row>,
    quick: bool,
    json: bool,
    stop: Arc<AtomicBool>,
}

impl Bench {
    fn run(self) -> ExitCode {
        let cores = Cores::pin();
        let floors = Floors::choose();
        let mut report = Report::begin(self.json, self.quick, &cores, &floors);
        let mut good = true;
        for row in &self.rows {
            match self.measure(row, &cores, &floors) {
                Ok(outcome) => {
                    good &= match outcome.verdict() {
                        Verdict::Holds => true,
                        Verdict::Misses => self.quick,
                        Verdict::WrongFloor => false,
                    };
                    report.row(row, &outcome);
                }
                Err(Halt::NotHere(why)) => report.not_here(row, why),
                Err(Halt::Interrupted) => {
                    report.interrupted();
                    return ExitCode::FAILURE;
                }
                Err(Halt::Failed(error)) => {
                    good = false;
                    report.failed(row, &error);
                }
            }
        }
        if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }

    fn measure(&self, row: &Row, cores: &Cores, floors: &Floors) -> Result<Outcome, Halt> {
        match row.kind {
            Kind::Ratio { unit, goal, start } => {
                let effort = if self.quick { Effort::QUICK } else { Effort::FULL };
                let mut turns = start(floors, cores)?;
                let measured = measure::run(goal, turns.as_mut(), effort, &self.stop)?;
                Ok(Outcome::Ratio { unit, goal, measured: measured.ok_or(Halt::Interrupted)? })
            }
            Kind::Amount { unit, limit, take } => {
                let amount = take(cores, self.quick, &self.stop)?;
                Ok(Outcome::Amount { unit, limit, amount })
            }
        }
    }
}

fn parse_pattern(text: &str) -> Result<String, String> {
    if text.is_empty() { Err("write a part of a row's name".to_owned()) } else { Ok(text.to_owned()) }
}

/// Whether the parts of `pattern` between its `*` occur in `name` in their order.
fn matches(name: &str, pattern: &str) -> bool {
    let after = |rest: &'_ str, part: &str| rest.find(part).map(|place| place + part.len());
    pattern
        .split('*')
        .try_fold(name, |rest, part| after(rest, part).and_then(|end| rest.get(end..)))
        .is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_a_part_of_a_name_with_stars_for_anything() {
        for (pattern, count) in [
            ("*", 23),
            ("frame", 10),
            ("frame.*.plain", 4),
            ("64B*snappy", 1),
            ("snappy.random", 2),
            ("discv4.", 2),
            ("tcp.", 2),
            ("rlpx.", 3),
        ] {
            assert_eq!(ROWS.iter().filter(|row| matches(row.name, pattern)).count(), count, "{pattern}");
        }
        assert!(!matches("frame.64B.plain", "plain*frame") && !matches("frame.64B.plain", "frames"));
    }
}
