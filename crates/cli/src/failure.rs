//! How the program ends when it cannot do what it was asked: one line that names what, where and what to do.
//! Exit code 2 is for input that the user can mend, 1 for work that failed all the same.

use std::{error::Error, fmt::Display, process::ExitCode};

/// The exit code for input that is the user's to mend: flags, files, ports.
const EXIT_BAD_INPUT: u8 = 2;
/// The exit code when the input was good and the work failed all the same.
const EXIT_FAILED: u8 = 1;

/// Why the program ends early.
#[derive(Debug)]
pub(crate) struct Failure {
    line: String,
    code: u8,
}

impl Failure {
    /// The user's input is at fault.
    pub(crate) fn input(line: impl Display) -> Self {
        Self { line: line.to_string(), code: EXIT_BAD_INPUT }
    }

    /// The input was good; a node or the network did not answer as hoped.
    pub(crate) fn failed(line: impl Display) -> Self {
        Self { line: line.to_string(), code: EXIT_FAILED }
    }

    /// The system refused something.
    pub(crate) fn system(what: &str, error: &dyn Error) -> Self {
        Self::failed(format!("{what}: {error}"))
    }

    /// Prints the line and gives the exit code.
    pub(crate) fn report(&self) -> ExitCode {
        eprintln!("devp2p: {}", one_line(&self.line));
        ExitCode::from(self.code)
    }
}

/// Prints what clap has to say: help whole, an error as one line.
pub(crate) fn report_usage(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    if error.kind() == clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        let _ = error.print();
        return ExitCode::from(EXIT_BAD_INPUT);
    }
    let text = error.render().to_string();
    let useful = text.lines().take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more"));
    let line = useful.map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ");
    Failure::input(line.trim_start_matches("error: ")).report()
}

fn one_line(text: &str) -> String {
    text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ")
}
