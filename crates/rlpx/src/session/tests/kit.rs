//! The story helpers of the session tests: two ends with a wire between them, and a scripted peer that speaks frames
//! as the test likes.

use std::sync::Arc;

use identity::{
    NodeKey, Now, PublicKey,
    curve::{CurveOp, CurveResult, InlineCurve, Lane},
};
use rand::{SeedableRng, rngs::ChaCha20Rng};

use crate::{
    CapabilityName, DisconnectReason, Hello, LocalCapability, Message, Session, SessionConfig, SessionEnd,
    SessionOutput, SharedCapability,
    error::SessionError,
    frame::{FrameDecoder, FrameEncoder, ReadBuffer, decode_code},
    handshake::{Entropy, Handshake, Secrets, Step},
    snappy,
};

/// Any moment: tests move on from it by hand.
#[expect(clippy::disallowed_methods, reason = "a test's starting point in time")]
pub(crate) fn start() -> Now {
    Now::system()
}

pub(crate) fn key(byte: u8) -> Arc<NodeKey> {
    Arc::new(NodeKey::from_bytes(&[byte; 32]).unwrap())
}

pub(crate) fn rng(seed: u64) -> ChaCha20Rng {
    ChaCha20Rng::seed_from_u64(seed)
}

pub(crate) fn capability(name: &str, version: u32, message_count: u64) -> LocalCapability {
    LocalCapability::new(CapabilityName::new(name).unwrap(), version, message_count)
}

/// A node that offers `chat/1` with three codes.
pub(crate) fn config(key: &NodeKey) -> SessionConfig {
    SessionConfig::new(key.public_key(), "test/1.0", vec![capability("chat", 1, 3)])
}

/// Operations that were asked of a curve.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ops {
    pub(crate) trips: usize,
    pub(crate) generate: usize,
    pub(crate) agree: usize,
    pub(crate) sign: usize,
    pub(crate) recover: usize,
}

/// One end of a connection.
pub(crate) struct End {
    pub(crate) session: Session,
    pub(crate) curve: InlineCurve<ChaCha20Rng>,
    pub(crate) ops: Ops,
    pub(crate) urgencies: Vec<identity::curve::Urgency>,
    /// Lets in whoever comes, at both stops.
    pub(crate) admits: bool,
    pub(crate) authenticated: Option<PublicKey>,
    pub(crate) hello: Option<(Hello, Vec<SharedCapability>)>,
    pub(crate) messages: Vec<(usize, Message)>,
    pub(crate) end: Option<SessionEnd>,
}

impl End {
    pub(crate) fn initiator(
        now: Now,
        own: &Arc<NodeKey>,
        config: SessionConfig,
        remote: PublicKey,
        seed: u64,
    ) -> Self {
        let session = Session::initiator(now, Arc::new(config), remote, Lane(1), &mut rng(seed));
        Self::new(now, own, session, seed)
    }

    pub(crate) fn recipient(now: Now, own: &Arc<NodeKey>, config: SessionConfig, seed: u64) -> Self {
        let session = Session::recipient(now, Arc::new(config), Lane(2), &mut rng(seed));
        Self::new(now, own, session, seed)
    }

    fn new(now: Now, own: &Arc<NodeKey>, session: Session, seed: u64) -> Self {
        let mut end = Self {
            session,
            curve: InlineCurve::new(Arc::clone(own), rng(seed + 1_000_000)),
            ops: Ops::default(),
            urgencies: Vec::new(),
            admits: true,
            authenticated: None,
            hello: None,
            messages: Vec::new(),
            end: None,
        };
        end.drain(now);
        end
    }

    /// Acts on every output.
    pub(crate) fn drain(&mut self, now: Now) {
        while let Some(output) = self.session.poll_output() {
            assert!(self.end.is_none(), "output after Closed: {output:?}");
            match output {
                SessionOutput::Curve(job) => {
                    self.count(&job.ops);
                    self.urgencies.push(job.urgency);
                    let result = self.curve.run(job.ops);
                    self.session.handle_curve(now, job.ticket, result);
                }
                SessionOutput::Authenticated { remote } => {
                    self.authenticated = Some(remote);
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

    fn decide(&mut self, now: Now) {
        if self.admits {
            self.session.admit(now);
        }
    }

    fn count(&mut self, ops: &[CurveOp]) {
        self.ops.trips += 1;
        for op in ops {
            match op {
                CurveOp::Generate => self.ops.generate += 1,
                CurveOp::Agree(..) => self.ops.agree += 1,
                CurveOp::Sign(..) => self.ops.sign += 1,
                CurveOp::Recover(..) => self.ops.recover += 1,
                CurveOp::Verify(_) => panic!("a session verifies no records"),
            }
        }
    }

    /// Takes in what it can of `bytes` at `now`, in reads of at most `max` bytes, and says how much that was.
    pub(crate) fn read_in_pieces(&mut self, now: Now, bytes: &[u8], max: usize) -> usize {
        let mut done = 0;
        while done < bytes.len() {
            let room = self.session.read_buf();
            let len = room.len().min(bytes.len() - done).min(max);
            if len == 0 {
                break;
            }
            room[..len].copy_from_slice(&bytes[done..done + len]);
            self.session.handle_read(now, len);
            self.drain(now);
            done += len;
        }
        done
    }

    pub(crate) fn read(&mut self, now: Now, bytes: &[u8]) -> usize {
        self.read_in_pieces(now, bytes, usize::MAX)
    }

    pub(crate) fn eof(&mut self, now: Now) {
        self.session.handle_eof(now);
        self.drain(now);
    }

    pub(crate) fn timeout(&mut self, now: Now) {
        self.session.handle_timeout(now);
        self.drain(now);
    }

    /// Writes all that waits.
    pub(crate) fn written(&mut self, now: Now) -> Vec<u8> {
        let bytes = self.session.write_buf().to_vec();
        self.session.handle_written(now, bytes.len());
        self.drain(now);
        bytes
    }

    /// The error that ended it without a word to the peer.
    pub(crate) fn broken(&self) -> SessionError {
        match self.end {
            Some(SessionEnd::Broken(error)) => error,
            other => panic!("not broken: {other:?}"),
        }
    }

    /// The reason told to the peer for something it did.
    pub(crate) fn told(&self) -> DisconnectReason {
        match self.end {
            Some(SessionEnd::Local { reason, error: Some(_) }) => reason,
            other => panic!("nothing told: {other:?}"),
        }
    }
}

/// Carries bytes both ways until nothing moves.
pub(crate) fn pump(now: Now, a: &mut End, b: &mut End) {
    loop {
        let moved = carry(now, a, b) + carry(now, b, a);
        if moved == 0 {
            return;
        }
    }
}

/// Carries what waits at `from` to `to`, as far as `to` reads.
pub(crate) fn carry(now: Now, from: &mut End, to: &mut End) -> usize {
    let bytes = from.session.write_buf().to_vec();
    let len = to.read(now, &bytes);
    from.session.handle_written(now, len);
    from.drain(now);
    len
}

/// Two connected nodes: the one that dialed, and the other.
pub(crate) fn pair(now: Now, dialler: SessionConfig, listener: SessionConfig) -> (End, End) {
    let mut a = End::initiator(now, &key(1), dialler, key(2).public_key(), 1);
    let mut b = End::recipient(now, &key(2), listener, 2);
    pump(now, &mut a, &mut b);
    (a, b)
}

/// A peer that a test plays: it shakes hands as it should, and then sends what it is told.
pub(crate) struct Scripted {
    pub(crate) encoder: FrameEncoder,
    pub(crate) decoder: FrameDecoder,
    buffer: ReadBuffer,
    pub(crate) snappy: bool,
}

impl Scripted {
    /// Dials `end`, a recipient with key 2, as the node with key 1, up to Authenticated.
    pub(crate) fn dial(now: Now, end: &mut End) -> Self {
        let own = key(1);
        let mut curve = InlineCurve::new(Arc::clone(&own), rng(70));
        let mut step =
            Handshake::initiator(own.public_key(), key(2).public_key(), Entropy::draw(&mut rng(71)));
        loop {
            step = match step {
                Step::Unproven(state, ops) | Step::Curve(state, ops) => {
                    let CurveResult::Done(outputs) = curve.run(ops) else { panic!("refused") };
                    state.handle_curve(outputs).unwrap()
                }
                Step::Send(state, auth) => {
                    assert_eq!(end.read(now, &auth), auth.len());
                    let ack = end.session.write_buf();
                    let len = 2 + usize::from(u16::from_be_bytes([ack[0], ack[1]]));
                    let ack = ack[..len].to_vec();
                    end.session.handle_written(now, len);
                    end.drain(now);
                    state.handle_packet(ack).unwrap()
                }
                Step::Done(complete) => return Self::new(complete.secrets),
            };
        }
    }

    pub(crate) fn new(secrets: Secrets) -> Self {
        let (encoder, mut decoder) = secrets.into_frames();
        decoder.set_limit(crate::config::MAX_MESSAGE_LEN);
        Self { encoder, decoder, buffer: ReadBuffer::default(), snappy: false }
    }

    /// A running session with a scripted peer that has said `hello`.
    pub(crate) fn connected(now: Now, config: SessionConfig, hello: &Hello) -> (End, Self) {
        let mut end = End::recipient(now, &key(2), config, 2);
        let mut peer = Self::dial(now, &mut end);
        let frame = peer.frame(0, &hello.encode());
        end.read(now, &frame);
        let greeting = end.written(now);
        assert_eq!(peer.receive(&greeting)[0].0, 0, "no Hello");
        peer.snappy = hello.protocol_version >= 5;
        (end, peer)
    }

    /// The frame of a message, compressed as agreed.
    pub(crate) fn message(&mut self, code: u64, payload: &[u8]) -> Vec<u8> {
        let block = if self.snappy { snappy::compress(payload).to_vec() } else { payload.to_vec() };
        self.frame(code, &block)
    }

    /// The frame of a message whose payload goes as it is.
    pub(crate) fn frame(&mut self, code: u64, payload: &[u8]) -> Vec<u8> {
        let mut frame = Vec::new();
        self.encoder.encode(code, payload, &mut frame).unwrap();
        frame
    }

    /// The messages in `bytes`, payloads inflated as agreed.
    pub(crate) fn receive(&mut self, bytes: &[u8]) -> Vec<(u64, Vec<u8>)> {
        let mut messages = Vec::new();
        let mut bytes = bytes;
        loop {
            let room = self.buffer.room(self.decoder.unit_len());
            let len = room.len().min(bytes.len());
            room[..len].copy_from_slice(&bytes[..len]);
            self.buffer.fill(len);
            bytes = &bytes[len..];
            while let Some(decoded) = self.decoder.decode(&mut self.buffer).unwrap() {
                let content = &self.buffer.filled()[..decoded.len];
                let (code, code_len) = decode_code(content).unwrap();
                let payload = &content[code_len..];
                let payload = match self.snappy {
                    true => snappy::decompress(payload, usize::MAX).unwrap().to_vec(),
                    false => payload.to_vec(),
                };
                self.buffer.consume(decoded.unit_len);
                messages.push((code, payload));
            }
            if bytes.is_empty() {
                return messages;
            }
        }
    }

    /// What `end` writes now: a single Disconnect, whose reason is returned.
    pub(crate) fn disconnected(&mut self, now: Now, end: &mut End) -> DisconnectReason {
        let bytes = end.written(now);
        let messages = self.receive(&bytes);
        assert_eq!(messages.len(), 1, "{messages:?}");
        assert_eq!(messages[0].0, 1);
        DisconnectReason::decode(&messages[0].1)
    }
}

/// The Hello of the node with key 1: `chat/1`, in the version of the base protocol given.
pub(crate) fn hello(version: u64) -> Hello {
    Hello { protocol_version: version, ..config(&key(1)).hello }
}

/// A number as snappy writes it.
pub(crate) fn varint(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}
