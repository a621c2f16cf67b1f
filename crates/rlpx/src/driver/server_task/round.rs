//! How a server's task divides its turns: as many reports and commands as could wait when a round began, then a connection.
//! Reports come first, so that what came with a connection is read before the next one; a protocol or an owner that is
//! never done would keep all others waiting.

use crate::driver::intake::Intake;

/// What may still be handled before others get their turn.
pub(super) struct Round {
    pub(super) reports: usize,
    pub(super) commands: usize,
}

impl Round {
    pub(super) fn of(intake: &Intake) -> Self {
        Self { reports: intake.reports.max_capacity(), commands: intake.commands.max_capacity() }
    }

    /// Whether somebody waits for the next round, unless there is nothing else to do.
    pub(super) const fn is_over(&self) -> bool {
        self.reports == 0 || self.commands == 0
    }
}
