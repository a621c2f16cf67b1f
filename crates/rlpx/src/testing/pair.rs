//! Two sessions and the wire between them, in virtual time; each end lets in whoever comes and keeps what it is told.
//! Bytes move when the test says so, as far as the receiver reads: whoever pauses an end holds the other up.

use std::{sync::Arc, time::Duration};

use identity::{NodeKey, Now, PublicKey, curve::Lane};
use rand::{SeedableRng, rngs::ChaCha20Rng};

use super::Curve;
use crate::{
    Hello, LocalCapability, Message, SendError, Session, SessionConfig, SessionEnd, SessionOutput,
    SharedCapability, SharedMessage,
};

/// When virtual time begins, on the wall clock.
const START: Duration = Duration::from_secs(1_800_000_000);

/// One end of a connection: a session with its curve, and what it put out so far.
pub struct End {
    /// The session, for all that is not done here.
    pub session: Session,
    /// Whether it lets in whoever comes, at both stops; otherwise the test does. Default: it does.
    pub admits: bool,
    /// Who is at the other end, once the encrypted handshake is over.
    pub remote: Option<PublicKey>,
    /// What the other end said of itself, and what both have.
    pub hello: Option<(Hello, Vec<SharedCapability>)>,
    /// Messages in the order they came, each with its capability's place among what both have; the test takes them out.
    pub messages: Vec<(usize, Message)>,
    /// How it ended.
    pub end: Option<SessionEnd>,
    curve: Curve,
}

impl End {
    /// The end that dialed `remote`. What its session draws follows from `seed`.
    pub fn dialer(now: Now, config: Arc<SessionConfig>, remote: PublicKey, curve: Curve, seed: u64) -> Self {
        let rng = &mut ChaCha20Rng::seed_from_u64(seed);
        Self::new(now, Session::initiator(now, config, remote, Lane(0), rng), curve)
    }

    /// The end that was dialed. What its session draws follows from `seed`.
    pub fn listener(now: Now, config: Arc<SessionConfig>, curve: Curve, seed: u64) -> Self {
        let rng = &mut ChaCha20Rng::seed_from_u64(seed);
        Self::new(now, Session::recipient(now, config, Lane(1), rng), curve)
    }

    fn new(now: Now, session: Session, curve: Curve) -> Self {
        let mut end =
            Self { session, admits: true, remote: None, hello: None, messages: Vec::new(), end: None, curve };
        end.drain(now);
        end
    }

    /// Acts on all that the session has put out. To be called after every call of the session itself.
    ///
    /// # Panics
    /// When a session puts something out after its end.
    pub fn drain(&mut self, now: Now) {
        while let Some(output) = self.session.poll_output() {
            assert!(self.end.is_none(), "an output after Closed: {output:?}");
            match output {
                SessionOutput::Curve(job) => {
                    let result = (self.curve)(job.ops);
                    self.session.handle_curve(now, job.ticket, result);
                }
                SessionOutput::Authenticated { remote } => {
                    self.remote = Some(remote);
                    self.decide(now);
                }
                SessionOutput::Hello { hello, shared } => {
                    self.hello = Some((hello, shared));
                    self.decide(now);
                }
                SessionOutput::Message { protocol, message } => self.messages.push((protocol, message)),
                SessionOutput::Closed(end) => self.end = Some(end),
            }
        }
    }

    /// Reads from `bytes` in pieces of at most `piece` bytes, and says how many it took: fewer when it pauses or ends.
    pub fn read(&mut self, now: Now, bytes: &[u8], piece: usize) -> usize {
        let mut rest = bytes;
        while !rest.is_empty() {
            let room = self.session.read_buf();
            let len = room.len().min(rest.len()).min(piece);
            let Some((taken, left)) = rest.split_at_checked(len).filter(|_| len > 0) else { break };
            room[..len].copy_from_slice(taken);
            self.session.handle_read(now, len);
            self.drain(now);
            rest = left;
        }
        bytes.len() - rest.len()
    }

    /// Everything that waits to be written, as if a socket had taken it.
    pub fn written(&mut self, now: Now) -> Vec<u8> {
        let bytes = self.session.write_buf().to_vec();
        self.session.handle_written(now, bytes.len());
        self.drain(now);
        bytes
    }

    /// Does what is due at `now`.
    pub fn timeout(&mut self, now: Now) {
        self.session.handle_timeout(now);
        self.drain(now);
    }

    fn decide(&mut self, now: Now) {
        if self.admits {
            self.session.admit(now);
        }
    }
}

/// Two connected nodes, and the time.
///
/// A protocol's own messages, there and back, in virtual time:
///
/// ```
/// use std::time::Duration;
///
/// use rlpx::{CapabilityName, LocalCapability, SharedMessage, testing::SessionPair};
///
/// let chat = LocalCapability::new(CapabilityName::new("chat")?, 1, 2);
/// let mut pair = SessionPair::connect(vec![chat]);
///
/// // The payload is RLP: here the text "hello". The capability is the first that both have, the code its second.
/// pair.send_from_dialer(0, &SharedMessage::new(1, (&b"\x85hello"[..]).into()))?;
/// pair.pump();
/// let (capability, message) = pair.listener.messages.remove(0);
/// assert_eq!((capability, message.code, &message.payload[..]), (0, 1, &b"\x85hello"[..]));
///
/// // A minute of silence passes: the sessions ping each other and stay.
/// pair.pass(Duration::from_secs(60));
/// assert!(pair.dialer.session.is_running() && pair.listener.session.is_running());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct SessionPair {
    /// The node that dialed.
    pub dialer: End,
    /// The other one.
    pub listener: End,
    now: Now,
}

impl SessionPair {
    /// Two nodes that offer the same capabilities, past Hello.
    pub fn connect(capabilities: Vec<LocalCapability>) -> Self {
        let keys = [1, 2].map(|byte| NodeKey::from_bytes(&[byte; 32]).expect("small numbers are keys"));
        let config = |key: &NodeKey| SessionConfig::new(key.public_key(), "test/1.0", capabilities.clone());
        let configs = keys.each_ref().map(config);
        Self::connect_with(keys, configs)
    }

    /// The nodes with these keys and settings, the dialler's first, as far as they come by themselves: past Hello when
    /// they fit.
    pub fn connect_with(keys: [NodeKey; 2], configs: [SessionConfig; 2]) -> Self {
        let now = Now::simulated(START);
        let [dialer, listener] = keys.map(Arc::new);
        let remote = listener.public_key();
        let [dialer_config, listener_config] = configs.map(Arc::new);
        let mut pair = Self {
            dialer: End::dialer(now, dialer_config, remote, super::curve(dialer, 1), 2),
            listener: End::listener(now, listener_config, super::curve(listener, 3), 4),
            now,
        };
        pair.pump();
        pair
    }

    /// The time.
    pub const fn now(&self) -> Now {
        self.now
    }

    /// Gives a message of the shared capability at `capability` to the dialler's session; [`SessionPair::pump`] brings
    /// it over.
    ///
    /// # Errors
    /// As [`Session::send`].
    pub fn send_from_dialer(&mut self, capability: usize, message: &SharedMessage) -> Result<(), SendError> {
        self.dialer.session.send(self.now, capability, message)
    }

    /// The same for the listener's.
    ///
    /// # Errors
    /// As [`Session::send`].
    pub fn send_from_listener(
        &mut self,
        capability: usize,
        message: &SharedMessage,
    ) -> Result<(), SendError> {
        self.listener.session.send(self.now, capability, message)
    }

    /// Carries bytes both ways until nothing moves. An end that is over closes the stream of the other.
    pub fn pump(&mut self) {
        loop {
            self.dialer.drain(self.now);
            self.listener.drain(self.now);
            let there = carry(self.now, &mut self.dialer, &mut self.listener);
            let back = carry(self.now, &mut self.listener, &mut self.dialer);
            if there + back == 0 {
                break;
            }
        }
        close_after(self.now, &self.dialer, &mut self.listener);
        close_after(self.now, &self.listener, &mut self.dialer);
    }

    /// Lets time pass, deadline by deadline, and carries what the sessions say meanwhile.
    pub fn pass(&mut self, time: Duration) {
        let end = self.now.later(time);
        loop {
            let next =
                [&self.dialer, &self.listener].into_iter().filter_map(|end| end.session.next_timeout());
            let Some(next) = next.min().filter(|next| *next <= end.instant) else { break };
            self.now = self.now.later(next.saturating_duration_since(self.now.instant));
            self.dialer.timeout(self.now);
            self.listener.timeout(self.now);
            self.pump();
        }
        self.now = end;
    }
}

fn carry(now: Now, from: &mut End, to: &mut End) -> usize {
    let bytes = from.session.write_buf().to_vec();
    let len = to.read(now, &bytes, usize::MAX);
    from.session.handle_written(now, len);
    from.drain(now);
    len
}

fn close_after(now: Now, over: &End, other: &mut End) {
    if over.end.is_some() && other.end.is_none() {
        other.session.handle_eof(now);
        other.drain(now);
    }
}
