//! What holds a peer up: its owner takes no messages or reads no more for a while, memory is short, or it has inflated
//! more than it has paid for.
//! While held up nothing is read and no message is put out, and no clock of the peer's runs. How much it may inflate is
//! `toll.rs`; who gets memory when it is short is not decided here but by the owner, with `budget`.

use std::time::{Duration, Instant};

use identity::Now;

use super::{Phase, Session, Timer, toll::Toll};
use crate::{budget::Want, config::SessionLimits, frame::Decoded};
#[cfg(feature = "tokio")]
use crate::{error::SessionError, p2p::DisconnectReason};

/// Why a peer is held up, and since when.
#[derive(Debug, Default)]
pub(super) struct Flow {
    /// The owner takes no messages now.
    paused: bool,
    /// A limit on what is read leaves it no share now.
    throttled: bool,
    /// It has inflated too much; a timer ends it.
    indebted: bool,
    pub(super) toll: Toll,
    pub(super) memory: Memory,
    stopped_at: Option<Instant>,
}

/// What of memory a session may have. One that nobody governs takes what its frames need.
#[derive(Debug, Default)]
pub(super) struct Memory {
    governed: bool,
    /// What the owner has let it have above [`SessionLimits::free_len`], in all.
    granted: Option<usize>,
    want: Option<Want>,
    /// What `granted` becomes with it.
    next: usize,
    /// Others wait for this one to be read.
    hurried: bool,
    /// A frame that is complete and waits for the memory to inflate it.
    pub(super) pending: Option<Decoded>,
    /// Since when memory is short, if it is.
    short_since: Option<Instant>,
    /// When the frame began that memory is wanted for.
    began: Option<Instant>,
}

impl Flow {
    /// Whether nothing is read.
    pub(super) const fn is_stopped(&self) -> bool {
        self.throttled || self.keeps_messages()
    }

    /// Whether memory is wanted for a frame that is not complete.
    pub(super) const fn waits_for_more(&self) -> bool {
        self.memory.want.is_some() && self.memory.pending.is_none()
    }

    /// Whether no message is put out either.
    pub(super) const fn keeps_messages(&self) -> bool {
        self.paused || self.indebted || self.memory.want.is_some()
    }
}

impl Memory {
    /// Up to which length the read buffer may grow.
    pub(super) fn limit(&self, limits: &SessionLimits) -> usize {
        if self.governed { self.granted.unwrap_or(limits.free_len) } else { usize::MAX }
    }

    /// How long a body of `len` bytes may have become with the next grant, when `filled` of it are there.
    fn step(&self, limits: &SessionLimits, filled: usize, len: usize) -> usize {
        let more = if self.short_since.is_some() { limits.shortage_step } else { filled };
        filled.saturating_add(more).min(len)
    }
}

impl Session {
    /// Makes the session ask before it takes more than [`SessionLimits::free_len`] for a frame of the peer's or its payload: from now on
    /// [`Session::want_memory`] is to be asked after the outputs. Without this it takes what its frames need.
    pub const fn govern_memory(&mut self) {
        self.ingress.flow.memory.governed = true;
    }

    /// What the session has to be granted before it reads on, if it waits for memory: see [`Session::handle_grant`].
    pub const fn want_memory(&self) -> Option<Want> {
        self.ingress.flow.memory.want
    }

    /// Bytes that the session has allocated for what it reads and writes, or was granted for it.
    pub fn memory(&self) -> usize {
        let granted = self.ingress.flow.memory.granted.unwrap_or(0);
        self.ingress.buffer.capacity().max(granted).saturating_add(self.egress.capacity())
    }

    /// Whether memory was granted to the session that it has not given back: it is then to be told of a shortage.
    pub const fn holds_grant(&self) -> bool {
        self.ingress.flow.memory.granted.is_some() || self.ingress.flow.memory.want.is_some()
    }

    /// Lets the session have what it wants. When `hurried`, memory is short and others wait for this one to be read: it
    /// has to bring [`SessionLimits::shortage_step`] in each [`SessionLimits::shortage_pace`] from now on.
    pub fn handle_grant(&mut self, now: Now, hurried: bool) {
        self.touch(now);
        let memory = &mut self.ingress.flow.memory;
        if memory.want.is_none() {
            return;
        }
        memory.granted = Some(memory.next);
        memory.want = None;
        memory.hurried = hurried && memory.pending.is_none();
        self.timers.clear(Timer::Memory);
        self.update_clocks();
    }

    /// Tells the session that memory is short, and since when, or that it no longer is. In a shortage what was granted
    /// and is not filled is void, and the session wants no more than [`SessionLimits::shortage_step`] at once: look at
    /// [`Session::want_memory`] anew.
    pub fn handle_shortage(&mut self, now: Now, since: Option<Instant>) {
        self.touch(now);
        self.ingress.flow.memory.short_since = since;
        match since {
            None => {
                self.ingress.flow.memory.hurried = false;
                self.timers.clear(Timer::Memory);
                self.timers.clear(Timer::Pace);
            }
            Some(_) if self.ingress.flow.memory.pending.is_some() => self.watch_wait(),
            Some(_) => {
                let filled = self.ingress.buffer.filled().len();
                let memory = &mut self.ingress.flow.memory;
                memory.granted = memory.granted.map(|_| filled.max(self.config.limits.free_len));
                if self.holds_grant() {
                    self.check_memory();
                }
            }
        }
    }

    /// Stops or resumes taking messages. While paused nothing is read and no message put out, and silence of the peer
    /// is not held against it.
    pub fn pause_reading(&mut self, now: Now, paused: bool) {
        if self.ingress.flow.paused == paused {
            return;
        }
        self.touch(now);
        self.ingress.flow.paused = paused;
        self.update_clocks();
    }

    /// Stops or resumes reading, while messages that have come in full are still put out: for an owner that limits bytes
    /// per second. While throttled, silence of the peer and unfinished frames are not held against it.
    pub fn throttle_reading(&mut self, now: Now, throttled: bool) {
        if self.ingress.flow.throttled == throttled {
            return;
        }
        self.touch(now);
        self.ingress.flow.throttled = throttled;
        self.update_clocks();
    }

    /// Whether memory is short and others wait until this peer's frame is read: not the time to throttle it.
    pub const fn is_hurried(&self) -> bool {
        self.ingress.flow.memory.hurried
    }

    /// Ends the session for what a protocol of ours did or wants.
    #[cfg(feature = "tokio")]
    pub(crate) fn end_for(&mut self, now: Now, reason: DisconnectReason, error: Option<SessionError>) {
        self.touch(now);
        self.say_goodbye(reason, error);
    }

    /// Charges a payload of `len` bytes that came in a frame of `wire_len`.
    pub(super) fn charge_inflation(&mut self, wire_len: usize, len: usize) {
        if let Some(pause) = self.ingress.flow.toll.charge(self.now, &self.config.limits, (wire_len, len)) {
            self.ingress.flow.indebted = true;
            self.timers.set(Timer::Toll, self.now.checked_add(pause));
            self.update_clocks();
        }
    }

    /// What was inflated is paid for.
    pub(super) fn toll_paid(&mut self) {
        self.ingress.flow.indebted = false;
        self.update_clocks();
    }

    /// What is there is no whole frame: asks for memory when the buffer may not grow to hold more of it.
    pub(super) fn check_memory(&mut self) {
        let Some(frames) = &self.frames else { return };
        let (filled, len) = (self.ingress.buffer.filled().len(), frames.unit_len());
        let (memory, limits) = (&self.ingress.flow.memory, &self.config.limits);
        if !frames.in_body() || len <= memory.limit(limits) || filled < memory.limit(limits) {
            return;
        }
        let rest = len.saturating_sub(filled);
        self.wait_for_memory(memory.step(limits, filled, len), rest);
    }

    /// A whole frame is there whose payload is to have `len` bytes: true when there is, or has to be, memory for it.
    pub(super) fn may_inflate(&mut self, decoded: Decoded, len: usize) -> bool {
        let most = decoded.unit_len.saturating_add(len);
        let memory = &mut self.ingress.flow.memory;
        if len <= self.config.limits.free_len || most <= memory.limit(&self.config.limits) {
            return true;
        }
        memory.pending = Some(decoded);
        self.wait_for_memory(self.ingress.buffer.capacity().saturating_add(len), 0);
        false
    }

    /// Wants `next` bytes for the frame that is coming in and its payload; `rest` bytes of it are still to come.
    fn wait_for_memory(&mut self, next: usize, rest: usize) {
        let len = self.ingress.buffer.capacity().max(next).saturating_add(self.egress.capacity());
        let memory = &mut self.ingress.flow.memory;
        memory.want = Some(Want { len, rest });
        (memory.next, memory.hurried) = (next, false);
        memory.began = self.ingress.frame_since.or(Some(self.now));
        self.timers.clear(Timer::Pace);
        self.watch_wait();
        self.update_clocks();
    }

    /// In a shortage a frame that began in it waits only so long.
    fn watch_wait(&mut self) {
        let memory = &self.ingress.flow.memory;
        let late = memory.short_since.is_some_and(|short| memory.began.is_some_and(|began| began > short));
        if late && !self.timers.is_set(Timer::Memory) {
            self.timers.set(Timer::Memory, self.now.checked_add(self.config.limits.late_wait));
        }
    }

    /// The frame is handled: what was granted for it is given back.
    pub(super) fn release_memory(&mut self) {
        if self.ingress.flow.memory.granted.take().is_some() {
            self.ingress.flow.memory.hurried = false;
            self.timers.clear(Timer::Pace);
        }
    }

    /// Stops the peer's clocks when it becomes held up, and lets them go on when it no longer is.
    fn update_clocks(&mut self) {
        let flow = &mut self.ingress.flow;
        let stopped = flow.is_stopped();
        if stopped == flow.stopped_at.is_some() || self.phase != Phase::Running {
            return;
        }
        if stopped {
            flow.stopped_at = Some(self.now);
            self.peer.conduct.stop_watch();
            self.timers.clear(Timer::Read);
            self.timers.clear(Timer::Frame);
            self.timers.clear(Timer::Pace);
            return;
        }
        let stopped_at = flow.stopped_at.take();
        let pause = stopped_at.map_or(Duration::ZERO, |since| self.now.saturating_duration_since(since));
        self.ingress.frame_since = self.ingress.frame_since.and_then(|since| since.checked_add(pause));
        self.timers.set(Timer::Read, self.now.checked_add(self.config.timeouts.read));
        if self.ingress.frame_since.is_some() {
            self.watch_frame();
        }
        if self.ingress.flow.memory.hurried {
            self.timers.set(Timer::Pace, self.now.checked_add(self.config.limits.shortage_pace));
        }
    }
}
