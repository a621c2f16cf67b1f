//! Logs on standard error, as much as `--verbosity` asks for.
//! What a verb answers goes to standard output, see `output`.

use std::io::{self, IsTerminal};

use tracing::level_filters::LevelFilter;

/// The levels of geth's `--verbosity`: 0 silent, 1 errors, 2 warnings, 3 information, 4 debugging, 5 everything.
const LEVELS: [LevelFilter; 6] = [
    LevelFilter::OFF,
    LevelFilter::ERROR,
    LevelFilter::WARN,
    LevelFilter::INFO,
    LevelFilter::DEBUG,
    LevelFilter::TRACE,
];

/// Starts logging. `RUST_LOG`, where set, says more exactly what is wanted.
pub(crate) fn start(verbosity: u8) {
    let level = LEVELS.get(usize::from(verbosity)).copied().unwrap_or(LevelFilter::TRACE);
    let filter =
        tracing_subscriber::EnvFilter::builder().with_default_directive(level.into()).from_env_lossy();
    // A second start, as in a test, keeps the first. A closed output is no reason to end a node, and to complain of it
    // there would be one.
    let _ = tracing_subscriber::fmt()
        .log_internal_errors(false)
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .try_init();
}
