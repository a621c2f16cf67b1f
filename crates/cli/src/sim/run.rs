//! Runs a scenario on a thread of its own, because it computes without a pause, and prints what it came to.
//! Ctrl-c asks it to stop at its next sample; a second one ends the program. What a scenario's numbers mean stands in
//! `discovery` and `gossip`.

use std::{
    ops::ControlFlow,
    pin::pin,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use serde::Serialize;
use tokio::task::JoinHandle;

use super::{chart::Chart, input::OutputArgs, plot_file::PlotFile, progress::Progress};
use crate::{failure::Failure, output::say};

/// The exit code of a program that ctrl-c ended, as shells have it: 128 and the signal's number.
const INTERRUPTED: i32 = 130;

/// A scenario of the crate world, as a person sees it.
pub(super) trait Scenario: Send + 'static {
    /// Its numbers at one moment.
    type Sample;
    /// What it came to, without wall time: equal for equal settings.
    type Report: Serialize + Send + 'static;

    /// What must be so at the end.
    const CLAIM: &'static str;

    /// How long it runs, in virtual time.
    fn span(&self) -> Duration;
    /// Runs it to its end, or until `progress` breaks.
    fn run(&self, progress: &mut dyn FnMut(&Self::Sample) -> ControlFlow<()>) -> Self::Report;
    /// A sample's time and its line.
    fn at(sample: &Self::Sample) -> Duration;
    fn line(sample: &Self::Sample) -> String;
    /// The rows of the table at the end: a name and its numbers.
    fn table(report: &Self::Report) -> Vec<(&'static str, String)>;
    fn chart(report: &Self::Report) -> Chart;
    fn verdict(report: &Self::Report) -> Verdict;
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// What the scenario claims was so.
    Holds,
    /// It was not so.
    Fails,
    /// Nobody knows.
    Interrupted,
}

impl Verdict {
    /// From a report's words.
    pub(super) const fn of(interrupted: bool, holds: bool) -> Self {
        match (interrupted, holds) {
            (true, _) => Self::Interrupted,
            (false, true) => Self::Holds,
            (false, false) => Self::Fails,
        }
    }
}

/// Runs `scenario`. Exit code 0 only when its claim held and nobody interrupted it.
pub(super) async fn run<S: Scenario>(scenario: S, output: OutputArgs) -> Result<ExitCode, Failure> {
    let plot = output.svg.as_deref().map(PlotFile::at).transpose()?;
    let report = finish(scenario, output.json).await?;
    if output.json {
        say(serde_json::to_string(&report).expect("a report has no map with keys other than strings"));
    } else {
        let result = match S::verdict(&report) {
            Verdict::Holds => format!("holds: {}", S::CLAIM),
            Verdict::Fails => format!("does NOT hold: {}", S::CLAIM),
            Verdict::Interrupted => "interrupted: true".to_owned(),
        };
        for (name, numbers) in S::table(&report).into_iter().chain([("result", result)]) {
            say(format_args!("{name:<14}{numbers}"));
        }
    }
    if let Some(plot) = plot {
        let mut chart = S::chart(&report);
        chart.subtitle += match S::verdict(&report) {
            Verdict::Interrupted => "; interrupted",
            Verdict::Holds | Verdict::Fails => "",
        };
        plot.write(&chart.to_svg())?;
    }
    Ok(match S::verdict(&report) {
        Verdict::Holds => ExitCode::SUCCESS,
        Verdict::Fails | Verdict::Interrupted => ExitCode::FAILURE,
    })
}

fn start<S: Scenario>(scenario: S, json: bool, stop: Arc<AtomicBool>) -> JoinHandle<S::Report> {
    tokio::task::spawn_blocking(move || {
        let mut progress = Progress::new(scenario.span(), json);
        let report = scenario.run(&mut |sample| {
            progress.show(S::at(sample), || S::line(sample));
            if stop.load(Ordering::Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        progress.end();
        report
    })
}

async fn finish<S: Scenario>(scenario: S, json: bool) -> Result<S::Report, Failure> {
    let stop = Arc::new(AtomicBool::new(false));
    let mut running = pin!(async { start(scenario, json, Arc::clone(&stop)).await });
    loop {
        tokio::select! {
            // In this order ctrl-c is heard before the scenario starts.
            biased;
            _ = tokio::signal::ctrl_c() => {
                if stop.swap(true, Ordering::Relaxed) {
                    // Between two samples of a large world there may be minutes.
                    std::process::exit(INTERRUPTED);
                }
            }
            ended = &mut running => {
                return ended.map_err(|error| Failure::system("the simulation ended early", &error));
            }
        }
    }
}
