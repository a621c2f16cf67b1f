//! A child process with its log: ended in good order, or killed, at the latest when dropped, and always waited for.
//! If the test itself is killed (SIGKILL), geth ends when it next logs, for nobody reads its pipe any more.

use std::{
    process::{Child, Command, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};

use super::log::Log;
use crate::{Failure, Result};

/// A child process; stopped ones stay, with what they logged.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    log: Log,
}

impl Process {
    /// Starts `command` and follows what it logs.
    pub(super) fn spawn(command: &mut Command) -> Result<Self> {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
        let pipe = child.stderr.take().ok_or_else(|| Failure::new("the process has no log"))?;
        Ok(Self { child, log: Log::follow(pipe) })
    }

    /// Its number; of one that has ended, what it was.
    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it logs.
    pub(super) const fn log(&self) -> &Log {
        &self.log
    }

    /// Asks it to end (SIGTERM) and waits until it has.
    pub(super) fn stop(&mut self, limit: Duration) -> Result<()> {
        if self.child.try_wait()?.is_none() {
            kill_process(Pid::from_child(&self.child), Signal::TERM).map_err(std::io::Error::from)?;
            self.log.wait_for_end(limit)?;
            self.child.wait()?;
        }
        Ok(())
    }

    /// Ends it at once (SIGKILL) and waits for it, so that no zombie stays.
    pub(super) fn kill(&mut self) {
        // Both fail only when it has ended and been waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}
