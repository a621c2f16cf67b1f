//! What a run shows while it goes, on standard error: one line that is drawn over on a terminal, some twenty lines
//! elsewhere, nothing for `--json`. Standard output is for what the run came to.

use std::{
    io::{self, IsTerminal, Write},
    time::Duration,
};

/// Where no terminal draws lines over, a run is told in so many of them.
const LINES: u32 = 20;

/// Characters in a line of a terminal that does not tell its width.
const DEFAULT_WIDTH: usize = 80;

/// Shows how far a run is.
pub(super) struct Progress {
    style: Style,
}

enum Style {
    /// One line, drawn over.
    Live,
    /// A line when this much virtual time has passed since the last.
    Lines { every: Duration, next: Duration },
    /// Nothing.
    Silent,
}

impl Progress {
    /// Progress of a run of `span`; none for `--json`.
    pub(super) fn new(span: Duration, json: bool) -> Self {
        let style = match (json, io::stderr().is_terminal()) {
            (true, _) => Style::Silent,
            (false, true) => Style::Live,
            (false, false) => Style::Lines { every: span / LINES, next: Duration::ZERO },
        };
        Self { style }
    }

    /// Shows the numbers at `at`. A closed output is no reason to end the run.
    pub(super) fn show(&mut self, at: Duration, numbers: impl FnOnce() -> String) {
        let mut out = io::stderr().lock();
        match &mut self.style {
            Style::Silent => {}
            Style::Live => {
                let line: String =
                    format!("{}  {}", clock(at), numbers()).chars().take(width() - 1).collect();
                let _ = write!(out, "\r\x1b[K{line}").and_then(|()| out.flush());
            }
            Style::Lines { next, .. } if at < *next => {}
            Style::Lines { every, next } => {
                *next = at.saturating_add(*every);
                let _ = writeln!(out, "{}  {}", clock(at), numbers());
            }
        }
    }

    /// Takes the drawn line away.
    pub(super) fn end(&mut self) {
        match self.style {
            Style::Live => {
                let _ = write!(io::stderr(), "\r\x1b[K");
            }
            Style::Lines { .. } | Style::Silent => {}
        }
    }
}

/// The terminal's width in characters, read each time because a window may change: a line that wraps is not drawn over.
fn width() -> usize {
    let size = rustix::termios::tcgetwinsize(rustix::stdio::stderr());
    size.ok().map(|size| usize::from(size.ws_col)).filter(|columns| *columns > 0).unwrap_or(DEFAULT_WIDTH)
}

/// Virtual time as hours, minutes and seconds.
pub(super) fn clock(at: Duration) -> String {
    let seconds = at.as_secs();
    format!("{}:{:02}:{:02}", seconds / 3_600, seconds / 60 % 60, seconds % 60)
}
