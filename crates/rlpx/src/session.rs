//! The machine of one connection: the encrypted handshake, Hello, then messages, pings and the end.
//! devp2p specification, `rlpx.md`. Reads into and writes from its own buffers; knows no socket, no clock, no peers but
//! its own.

mod apart;
mod conduct;
mod flow;
mod frames;
mod ingress;
mod silence;
mod timer;
mod toll;
mod trips;

#[cfg(test)]
mod tests;

use std::{
    collections::VecDeque,
    fmt, io,
    sync::Arc,
    time::{Duration, Instant},
};

use identity::{
    Now, PublicKey,
    curve::{CurveJob, CurveResult, Lane, Ticket},
};
use rand::CryptoRng;

use self::{
    conduct::Conduct,
    flow::Flow,
    frames::Frames,
    timer::{Timer, Timers},
    trips::{Effect, Trips},
};
use crate::{
    capability::SharedCapability,
    config::{SessionConfig, WRITE_HIGH_WATER},
    error::{Incompatibility, SessionEnd, SessionError, Wait},
    frame::{self, ReadBuffer, WriteBuffer},
    handshake::{Complete, Entropy, Handshake},
    message::{Message, SharedMessage},
    p2p::{self, DisconnectReason, Hello},
    reject::Reject,
    rtt::Rtt,
};

/// What a session puts out, in order.
#[derive(Debug)]
pub enum SessionOutput {
    /// A job for the curve; its result goes to [`Session::handle_curve`]. At most one is out.
    Curve(CurveJob),
    /// The encrypted handshake is over. Nothing goes on until [`Session::admit`] or [`Session::disconnect`].
    Authenticated {
        /// The node at the other end.
        remote: PublicKey,
    },
    /// Hello has come, names the same key and shares a capability, if we have any. Nothing goes on until
    /// [`Session::admit`] or [`Session::disconnect`].
    Hello {
        /// What the peer says of itself.
        hello: Hello,
        /// What both have, by name; messages name a capability by its place here.
        shared: Vec<SharedCapability>,
    },
    /// A message of a shared capability.
    Message {
        /// The capability's place in `shared`.
        protocol: usize,
        /// The message, its code counted from the capability's first.
        message: Message,
    },
    /// The session is over; nothing follows. What [`Session::write_buf`] held has been written or is given up.
    Closed(SessionEnd),
}

/// Why a message was not taken for sending. The session goes on as before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// Too much waits to be written. Try again when [`Session::has_room`] says so.
    #[error("the peer's queue is full")]
    Full,
    /// The session is not open for messages: not yet, or no more.
    #[error("the session is closed")]
    Closed,
    /// Longer than a frame can carry (16 MiB less a few bytes).
    #[error("the message is longer than a frame can carry")]
    TooLarge,
    /// There is no such shared capability, or it has no such code.
    #[error("no shared capability has that message code")]
    UnknownCode,
}

/// How far a session has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The encrypted handshake runs.
    Handshake,
    /// It is over; the owner decides.
    Authenticated,
    /// Our Hello is out, the peer's has not come. To somebody who claims our own key none goes out: it has to prove it first.
    Greeting,
    /// The peer's Hello has come; the owner decides.
    Greeted,
    /// Messages go both ways.
    Running,
    /// Our Disconnect waits to be written; then the session ends like this.
    Closing(SessionEnd),
    /// Over.
    Closed,
}

/// What has been read, and how reading stands.
#[derive(Debug, Default)]
struct Ingress {
    buffer: ReadBuffer,
    /// Whether the peer is held up.
    flow: Flow,
    /// Nothing more can be made of what is in the buffer.
    drained: bool,
    /// The stream has ended: nothing will be added to what is in the buffer.
    ended: Option<SessionError>,
    /// When the first bytes of the unfinished frame were seen.
    frame_since: Option<Instant>,
}

/// What is known of the other end.
#[derive(Default)]
struct Remote {
    key: Option<PublicKey>,
    hello: Option<Box<Hello>>,
    shared: Vec<SharedCapability>,
    conduct: Conduct,
}

/// One RLPx connection, without its socket: see the [crate]'s front page for the loop that drives it.
///
/// Memory: half a KiB to read into, growing to 64 KiB while data flows and beyond that to twice what has come of a longer
/// message; what waits to be written is at most 64 KiB and one message. Two seconds of silence free both.
pub struct Session {
    config: Arc<SessionConfig>,
    now: Instant,
    phase: Phase,
    trips: Trips,
    frames: Option<Box<Frames>>,
    ingress: Ingress,
    egress: WriteBuffer,
    timers: Timers,
    /// Whether anything was read or written since the timer for a silence was set.
    active: bool,
    outputs: VecDeque<SessionOutput>,
    peer: Remote,
}

impl Session {
    /// The side that dialed `remote` and is now connected. Jobs go in `lane`; `rng` gives nonce, counter block and
    /// padding, none of them secret: `rand::rng()` will do, which the operating system seeds, in a process that does not fork.
    pub fn initiator(
        now: Now,
        config: Arc<SessionConfig>,
        remote: PublicKey,
        lane: Lane,
        rng: &mut impl CryptoRng,
    ) -> Self {
        let start = Handshake::initiator(config.hello.public_key, remote, Entropy::draw(rng));
        let mut session = Self::new(now, config, Trips::new(lane, None));
        let effect = session.trips.take(start);
        session.apply(effect);
        session
    }

    /// The side that accepted a connection. `lane` and `rng` as in [`Session::initiator`].
    pub fn recipient(now: Now, config: Arc<SessionConfig>, lane: Lane, rng: &mut impl CryptoRng) -> Self {
        let state = Handshake::recipient(Entropy::draw(rng));
        Self::new(now, config, Trips::new(lane, Some(state)))
    }

    fn new(now: Now, config: Arc<SessionConfig>, trips: Trips) -> Self {
        let mut timers = Timers::default();
        timers.set(Timer::Handshake, now.instant.checked_add(config.timeouts.handshake));
        Self {
            now: now.instant,
            phase: Phase::Handshake,
            trips,
            frames: None,
            ingress: Ingress { buffer: ReadBuffer::new(config.buffers.clone()), ..Ingress::default() },
            egress: WriteBuffer::new(config.buffers.clone()),
            timers,
            active: false,
            outputs: VecDeque::new(),
            peer: Remote::default(),
            config,
        }
    }

    /// Whether to read. Not while the owner has paused or throttled it, has still to decide or to grant memory, or has outputs to
    /// poll; nor once the session ends.
    pub fn want_read(&self) -> bool {
        let reading = match self.phase {
            Phase::Handshake => self.trips.wants_packet(),
            Phase::Greeting => true,
            Phase::Running => !self.ingress.flow.is_stopped(),
            Phase::Authenticated | Phase::Greeted | Phase::Closing(_) | Phase::Closed => false,
        };
        reading && self.ingress.drained && self.ingress.ended.is_none()
    }

    /// Where to read to: not empty while [`Session::want_read`], empty otherwise. Before the secrets are known it has
    /// the length of what is missing, so that nothing is read ahead.
    pub fn read_buf(&mut self) -> &mut [u8] {
        if !self.want_read() {
            return &mut [];
        }
        let unit_len = self.unit_len();
        match self.phase {
            Phase::Handshake => self.ingress.buffer.exact_room(unit_len),
            Phase::Authenticated
            | Phase::Greeting
            | Phase::Greeted
            | Phase::Running
            | Phase::Closing(_)
            | Phase::Closed => {
                let most = self.ingress.flow.memory.limit(&self.config.limits);
                self.ingress.buffer.room(unit_len.min(most))
            }
        }
    }

    /// `len` bytes, one or more, were read into the front of [`Session::read_buf`].
    pub fn handle_read(&mut self, now: Now, len: usize) {
        self.touch(now);
        self.ingress.buffer.fill(len);
        self.watch_silence();
        if len > 0 && self.timers.is_set(Timer::Read) {
            self.timers.set(Timer::Read, self.now.checked_add(self.config.timeouts.read));
        }
    }

    /// The stream ended: the peer has closed it. What was read before is still handled.
    pub fn handle_eof(&mut self, now: Now) {
        self.handle_end(now, SessionError::Eof);
    }

    /// The stream broke, in reading or writing. What was read before is still handled.
    pub fn handle_io_error(&mut self, now: Now, error: io::ErrorKind) {
        self.egress.clear();
        self.timers.clear(Timer::Write);
        self.handle_end(now, SessionError::Io(error));
    }

    fn handle_end(&mut self, now: Now, error: SessionError) {
        self.touch(now);
        self.ingress.ended.get_or_insert(error);
        match self.phase {
            Phase::Handshake if !self.trips.wants_packet() => self.fail(error),
            Phase::Closing(end) => self.close(end),
            // The owner's word is not waited for: there is nobody left to admit.
            Phase::Authenticated | Phase::Greeted => self.fail(error),
            // Nor memory for what will never come.
            Phase::Running if self.ingress.flow.waits_for_more() => self.fail(error),
            Phase::Handshake | Phase::Greeting | Phase::Running | Phase::Closed => {}
        }
    }

    /// What to write; empty when there is nothing.
    pub fn write_buf(&self) -> &[u8] {
        self.egress.waiting()
    }

    /// The first `len` bytes of [`Session::write_buf`] have been written.
    pub fn handle_written(&mut self, now: Now, len: usize) {
        self.now = now.instant;
        self.egress.advance(len);
        self.watch_silence();
        if len > 0 {
            self.timers.clear(Timer::Write);
            self.watch_write();
        }
        if let (Phase::Closing(end), true) = (self.phase, self.egress.len() == 0) {
            self.close(end);
        }
    }

    /// Bytes that were ever put into [`Session::write_buf`]. A message is out when [`Session::written`] has reached
    /// what this was right after `send`.
    pub fn queued(&self) -> u64 {
        self.egress.queued()
    }

    /// Bytes that were ever written.
    pub const fn written(&self) -> u64 {
        self.egress.written()
    }

    /// The result of the job with `ticket`. Any other ticket is ignored.
    pub fn handle_curve(&mut self, now: Now, ticket: Ticket, result: CurveResult) {
        self.touch(now);
        match self.trips.handle_curve(ticket, result) {
            Ok(effect) => self.apply(effect),
            Err(error) => self.fail(SessionError::Handshake(error)),
        }
    }

    /// Does what is due at `now`.
    pub fn handle_timeout(&mut self, now: Now) {
        self.touch(now);
        while let Some(timer) = self.timers.expire(self.now) {
            match timer {
                Timer::Handshake => self.fail(SessionError::TimedOut(Wait::Handshake)),
                Timer::Read => self.fail(SessionError::TimedOut(Wait::Read)),
                Timer::Frame => self.fail(SessionError::TimedOut(Wait::Frame)),
                Timer::Write => self.fail(SessionError::TimedOut(Wait::Write)),
                Timer::Ping => self.send_ping(),
                Timer::Close => self.give_up(),
                Timer::Quiet => self.fell_silent(),
                Timer::Memory => self.fail(SessionError::TimedOut(Wait::Memory)),
                Timer::Pace => self.fail(SessionError::TimedOut(Wait::Pace)),
                Timer::Toll => self.toll_paid(),
            }
        }
    }

    /// When to call [`Session::handle_timeout`] next; None once the session is over.
    pub fn next_timeout(&self) -> Option<Instant> {
        self.timers.next()
    }

    /// The next output. Frames are decoded as they are asked for, so an owner without room for a message asks no
    /// further, or pauses, and the peer is held up.
    pub fn poll_output(&mut self) -> Option<SessionOutput> {
        loop {
            if let Some(output) = self.outputs.pop_front() {
                return Some(output);
            }
            if !self.advance() {
                self.ingress.drained = true;
                return None;
            }
        }
    }

    /// Lets the peer in: after [`SessionOutput::Authenticated`] our Hello goes out, after [`SessionOutput::Hello`]
    /// messages are exchanged. Ignored at any other time.
    pub fn admit(&mut self, now: Now) {
        self.touch(now);
        match self.phase {
            Phase::Authenticated => {
                let hello = self.config.hello.encode();
                self.send_base(p2p::HELLO, &hello);
                self.phase = Phase::Greeting;
            }
            Phase::Greeted => {
                self.phase = Phase::Running;
                self.timers.clear(Timer::Handshake);
                self.timers.set(Timer::Read, self.now.checked_add(self.config.timeouts.read));
                self.timers.set(Timer::Ping, self.now.checked_add(self.config.timeouts.ping));
            }
            Phase::Handshake | Phase::Greeting | Phase::Running | Phase::Closing(_) | Phase::Closed => {}
        }
    }

    /// Ends the session and tells the peer why, if it can be told. `Closed` follows once that is written, or at once.
    pub fn disconnect(&mut self, now: Now, reason: DisconnectReason) {
        self.touch(now);
        self.say_goodbye(reason, None);
    }

    /// Takes a message for the shared capability at `protocol`.
    ///
    /// # Errors
    /// The message is not sent, and the session goes on:
    /// - [`SendError::Closed`] before the second [`Session::admit`] and once the session ends,
    /// - [`SendError::UnknownCode`] when there is no such capability or code,
    /// - [`SendError::TooLarge`] when no frame can carry it,
    /// - [`SendError::Full`] while 64 KiB or more wait to be written.
    pub fn send(&mut self, now: Now, protocol: usize, message: &SharedMessage) -> Result<(), SendError> {
        let (frames, egress, code, payload) = self.outgoing(now, protocol, message)?;
        frames.encode(code, payload, egress).map_err(|_| SendError::TooLarge)?;
        self.watch_write();
        Ok(())
    }

    /// Bytes that a message takes in [`Session::write_buf`].
    pub fn wire_len(&self, message: &SharedMessage) -> usize {
        let snappy = self.frames.as_ref().is_some_and(|frames| frames.snappy());
        let payload = if snappy { message.compressed() } else { message.payload() };
        frame::wire_len(payload.len())
    }

    /// Whether `send` would take a message now.
    pub fn has_room(&self) -> bool {
        self.phase == Phase::Running && !self.egress.is_away() && self.egress.len() < WRITE_HIGH_WATER
    }

    /// Who the peer is: whom we dialed, or who it says to be, which its first frame proves. None before the encrypted
    /// handshake is over.
    pub const fn remote(&self) -> Option<PublicKey> {
        self.peer.key
    }

    /// What it was given.
    pub fn config(&self) -> &SessionConfig {
        &self.config
    }

    /// The peer's Hello, once it has come: also when it was the reason to end the session.
    pub fn hello(&self) -> Option<&Hello> {
        self.peer.hello.as_deref()
    }

    /// What both have, once Hello has come.
    pub fn shared(&self) -> &[SharedCapability] {
        &self.peer.shared
    }

    /// From our last answered Ping to its Pong; None before the first.
    pub fn rtt(&self) -> Option<Duration> {
        self.round_trips().map(|rtt| rtt.latest)
    }

    /// Round trips by our Pings; None before the first was answered. One during which the peer was held up does not count.
    pub const fn round_trips(&self) -> Option<Rtt> {
        self.peer.conduct.rtt()
    }

    /// Whether it is over: what is left are its outputs.
    pub fn is_closed(&self) -> bool {
        self.phase == Phase::Closed
    }

    /// Whether messages can be exchanged: after the second [`Session::admit`], before the end.
    pub fn is_running(&self) -> bool {
        self.phase == Phase::Running
    }
}

/// What the world and the owner's words lead to.
impl Session {
    /// Bytes allocated for what is read, and for what waits to be written.
    #[cfg(feature = "testing")]
    pub(crate) fn buffer_capacities(&self) -> (usize, usize) {
        (self.ingress.buffer.capacity(), self.egress.capacity())
    }

    fn touch(&mut self, now: Now) {
        self.now = now.instant;
        self.ingress.drained = false;
    }

    fn handshake_packet(&mut self, packet: Vec<u8>) -> Result<(), SessionError> {
        let effect = self.trips.handle_packet(packet).map_err(SessionError::Handshake)?;
        self.apply(effect);
        Ok(())
    }

    fn apply(&mut self, effect: Effect) {
        match effect {
            Effect::Job(job) => self.outputs.push_back(SessionOutput::Curve(job)),
            Effect::Write(packet) => self.write_packet(&packet),
            Effect::Done(complete) => self.authenticated(*complete),
            Effect::Nothing => {}
        }
    }

    fn authenticated(&mut self, complete: Complete) {
        let Complete { remote, secrets, send } = complete;
        let is_recipient = !send.is_empty();
        self.write_packet(&send);
        self.frames = Some(Box::new(Frames::new(secrets)));
        self.peer.key = Some(remote);
        self.phase = Phase::Authenticated;
        if remote != self.config.hello.public_key {
            self.outputs.push_back(SessionOutput::Authenticated { remote });
        } else if is_recipient {
            // Anybody may name our key; whoever has it can make a frame.
            self.phase = Phase::Greeting;
        } else {
            self.fail(SessionError::Incompatible(Incompatibility::OwnKey));
        }
    }

    fn write_packet(&mut self, packet: &[u8]) {
        self.egress.tail(packet.len()).extend_from_slice(packet);
        self.watch_write();
    }

    fn send_base(&mut self, code: u64, payload: &[u8]) {
        if let Some(frames) = &mut self.frames {
            frames.encode_base(code, payload, &mut self.egress);
            self.config.base.sent(code, payload.len());
            self.watch_write();
        }
    }

    /// Starts the write deadline when something waits and none runs.
    fn watch_write(&mut self) {
        if self.egress.len() == 0 || self.timers.is_set(Timer::Write) {
            return;
        }
        self.timers.set(Timer::Write, self.now.checked_add(self.config.timeouts.write));
    }

    fn send_ping(&mut self) {
        self.send_base(p2p::PING, p2p::EMPTY_PAYLOAD);
        self.peer.conduct.ping_sent(self.now);
        self.timers.set(Timer::Ping, self.now.checked_add(self.config.timeouts.ping));
        self.shrink();
    }

    /// The peer broke the rules, was too slow or is gone.
    fn fail(&mut self, error: SessionError) {
        if matches!(self.phase, Phase::Closing(_) | Phase::Closed) {
            return;
        }
        self.count(&error);
        if error.may_tell() && self.frames.is_some() && self.ingress.ended.is_none() {
            self.say_goodbye((&error).into(), Some(error));
        } else {
            self.close(SessionEnd::Broken(error));
        }
    }

    fn count(&self, error: &SessionError) {
        if let Some(reject) = error.reject() {
            self.config.rejects.add(reject);
        } else if matches!(self.phase, Phase::Handshake | Phase::Authenticated | Phase::Greeting) {
            self.config.rejects.add(Reject::HandshakeBroken);
        }
    }

    fn say_goodbye(&mut self, reason: DisconnectReason, error: Option<SessionError>) {
        if matches!(self.phase, Phase::Closing(_) | Phase::Closed) {
            return;
        }
        let end = SessionEnd::Local { reason, error };
        if self.frames.is_none() {
            self.close(end);
            return;
        }
        self.send_base(p2p::DISCONNECT, &reason.encode());
        self.phase = Phase::Closing(end);
        self.timers.clear_all();
        self.timers.set(Timer::Close, self.now.checked_add(self.config.timeouts.disconnect));
    }

    /// Our Disconnect could not be written in time.
    fn give_up(&mut self) {
        if let Phase::Closing(end) = self.phase {
            self.close(end);
        }
    }

    /// The end: everything is freed, and `Closed` is the last output.
    fn close(&mut self, end: SessionEnd) {
        self.phase = Phase::Closed;
        self.timers.clear_all();
        self.trips.end();
        self.frames = None;
        self.ingress = Ingress::default();
        self.egress.clear();
        self.outputs.push_back(SessionOutput::Closed(end));
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("phase", &self.phase)
            .field("remote", &self.peer.key)
            .finish_non_exhaustive()
    }
}
