//! Buffers of a connection that has fallen silent: after a burst each would keep 64 KiB to read into until the next Ping.
//! What the buffers keep while messages flow is `frame/buffer.rs`.

use std::collections::VecDeque;

use super::{Phase, Session, Timer};
use crate::config::{QUIET_LEN, QUIET_TIME};

impl Session {
    /// Buffers have been used: they are looked at again when nothing happens for a while.
    pub(super) fn watch_silence(&mut self) {
        self.active = true;
        let len = self.ingress.buffer.capacity().saturating_add(self.egress.capacity());
        if len > QUIET_LEN && self.phase == Phase::Running && !self.timers.is_set(Timer::Quiet) {
            self.timers.set(Timer::Quiet, self.now.checked_add(QUIET_TIME));
            self.active = false;
        }
    }

    pub(super) fn fell_silent(&mut self) {
        if self.active {
            self.watch_silence();
        } else {
            self.shrink();
        }
    }

    /// Frees what only a busy connection needs.
    pub(super) fn shrink(&mut self) {
        self.ingress.buffer.shrink();
        self.egress.shrink();
        if let Some(frames) = &mut self.frames {
            frames.shrink();
        }
        if self.outputs.is_empty() {
            self.outputs = VecDeque::new();
        }
    }
}
