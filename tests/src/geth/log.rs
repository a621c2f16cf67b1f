//! What a client logs, read from its pipe by a thread: whoever waits for a line is woken by it.
//! The thread reads to the end even if nobody waits, so the client never blocks on a full pipe.

use std::{
    collections::VecDeque,
    io::{BufRead, BufReader, Read},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use crate::{Deadline, Failure, Result};

/// Lines kept; older ones are dropped. A test's geth logs some hundred.
const MAX_LINES: usize = 10_000;
/// Lines that a failure shows.
const TAIL_LINES: usize = 30;

/// The log of one process.
#[derive(Clone, Debug)]
pub(crate) struct Log(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    lines: VecDeque<String>,
    ended: bool,
}

impl Log {
    /// Starts to read `pipe`.
    pub(crate) fn follow(pipe: impl Read + Send + 'static) -> Self {
        let log = Self(Arc::default());
        let reader = log.clone();
        // Lossy, by bytes: a line that is no UTF-8 must not end the reading.
        thread::spawn(move || {
            for line in BufReader::new(pipe).split(b'\n').map_while(std::io::Result::ok) {
                reader.push(String::from_utf8_lossy(&line).into_owned());
            }
            reader.state().ended = true;
            reader.0.changed.notify_all();
        });
        log
    }

    /// Waits for a line, among those kept or to come, in which `find` finds something.
    pub(crate) fn wait_for<T>(
        &self,
        what: &str,
        limit: Duration,
        mut find: impl FnMut(&str) -> Option<T>,
    ) -> Result<T> {
        let deadline = Deadline::after(limit);
        let mut state = self.state();
        loop {
            if let Some(found) = state.lines.iter().find_map(|line| find(line)) {
                return Ok(found);
            }
            if state.ended || deadline.passed() {
                let why = if state.ended { "the process has ended" } else { "too late" };
                return Err(Failure::new(format!("waited for {what}: {why}\n{}", state.tail())));
            }
            state = self.wait(state, &deadline);
        }
    }

    /// Waits until the process has closed its end, which it does by ending.
    pub(super) fn wait_for_end(&self, limit: Duration) -> Result<()> {
        let deadline = Deadline::after(limit);
        let mut state = self.state();
        while !state.ended {
            if deadline.passed() {
                return Err(Failure::new(format!("the process did not end\n{}", state.tail())));
            }
            state = self.wait(state, &deadline);
        }
        Ok(())
    }

    /// The last lines.
    pub(crate) fn tail(&self) -> String {
        self.state().tail()
    }

    fn push(&self, line: String) {
        let mut state = self.state();
        if state.lines.len() == MAX_LINES {
            state.lines.pop_front();
        }
        state.lines.push_back(line);
        drop(state);
        self.0.changed.notify_all();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>, deadline: &Deadline) -> MutexGuard<'a, State> {
        self.0.changed.wait_timeout(state, deadline.left()).unwrap_or_else(PoisonError::into_inner).0
    }
}

impl State {
    fn tail(&self) -> String {
        let start = self.lines.len().saturating_sub(TAIL_LINES);
        self.lines.range(start..).map(|line| format!("  | {line}\n")).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};

    use super::*;

    const LIMIT: Duration = Duration::from_secs(10);

    #[test]
    fn a_waiter_is_woken_by_its_line_and_by_the_end() {
        let (pipe, mut client) = io::pipe().unwrap();
        let log = Log::follow(pipe);
        let waiting = log.clone();
        let waiter = thread::spawn(move || {
            waiting.wait_for("two", LIMIT, |line| line.strip_prefix("two ").map(str::to_owned))
        });
        client.write_all(b"one\n\xff\ntwo 2\n").unwrap();
        assert_eq!(waiter.join().unwrap().unwrap(), "2");
        drop(client);
        log.wait_for_end(LIMIT).unwrap();
        let failure =
            log.wait_for("three", LIMIT, |line| (line == "three").then_some(())).unwrap_err().to_string();
        assert!(failure.contains("waited for three: the process has ended\n  | one\n"), "{failure}");
    }

    #[test]
    fn a_line_that_does_not_come_is_a_failure_at_the_deadline() {
        let (pipe, client) = io::pipe().unwrap();
        let log = Log::follow(pipe);
        let soon = Duration::from_millis(10);
        assert!(log.wait_for("x", soon, |_| Some(())).unwrap_err().to_string().contains("too late"));
        assert!(log.wait_for_end(soon).is_err());
        drop(client);
    }

    #[test]
    fn only_the_last_lines_are_kept() {
        let text: String = (0..=MAX_LINES).map(|number| format!("line {number}\n")).collect();
        let log = Log::follow(io::Cursor::new(text));
        log.wait_for_end(LIMIT).unwrap();
        assert!(log.wait_for("the first", LIMIT, |line| (line == "line 0").then_some(())).is_err());
        log.wait_for("the second", LIMIT, |line| (line == "line 1").then_some(())).unwrap();
        assert_eq!(log.tail().lines().count(), TAIL_LINES);
    }
}
