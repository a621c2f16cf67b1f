//! A session against a peer that holds its keys: every frame is encrypted and under the right MAC, and all that is in
//! it, header, code, payload and snappy block, is the fuzzer's.
//!
//! ```text
//! flags: 1 byte  steps: op (1 byte), cut (1 byte: the length of the pieces it arrives in, 0 for one piece), then
//!   MESSAGE, BLOCK: code (1 byte), payload (2-byte length, bytes)     LONG: code, byte (1 byte each), length / 8 (2 bytes)
//!   FRAME: header (16 bytes), body (2-byte length, bytes)             CONTENT: content (2-byte length, bytes)
//!   TAMPER: place (2 bytes), then as MESSAGE                          OWN, WAIT: what (1 byte)
//! ```
//! What is a message arrives as it was sent and within its limits; how a session ends fits what the peer was told.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use identity::{Label, Now, steps};
use rlpx::{
    BASE_MESSAGE_COUNT, CapabilityName, DisconnectReason, LocalCapability, Message, SessionConfig,
    SessionEnd, SessionError, SharedMessage, Wait,
    config::{MAX_BASE_MESSAGE_LEN, MAX_READ_CHUNK},
    p2p,
    testing::{self, End, Role, ScriptedPeer},
};

use crate::{
    MAX_STEPS, Verdict,
    input::Input,
    nodes::{Node, nodes},
};

/// The peer speaks version 4 of the base protocol: nothing is compressed.
pub const PLAIN: u8 = 1;
/// The session under test dialed; otherwise it was dialed.
pub const DIALLED: u8 = 2;
/// The peer has not said Hello.
pub const UNGREETED: u8 = 4;

/// A message, compressed as agreed.
pub const MESSAGE: u8 = 0;
/// A message of one byte again and again, compressed as agreed.
pub const LONG: u8 = 1;
/// A message whose payload goes as it is: where payloads are compressed, it is the snappy block.
pub const BLOCK: u8 = 2;
/// A frame with any header.
pub const FRAME: u8 = 3;
/// A frame with any content, code included, of which the header tells the truth.
pub const CONTENT: u8 = 4;
/// A message with one bit flipped on its way.
pub const TAMPER: u8 = 5;
/// Something that the session's owner does: 0 pauses, 1 reads again, 2 disconnects, others send a message.
pub const OWN: u8 = 6;
/// Time passes: units of 100 ms.
pub const WAIT: u8 = 7;
/// How many ops there are; a step's is its byte modulo this.
const OPS: u8 = 8;

/// Longest message of the capability `chat`, in bytes: over what a read buffer keeps, so that it has to grow.
const CHAT_LEN: usize = 3 * MAX_READ_CHUNK;
/// Longest message of the capability `tiny`, in bytes.
const TINY_LEN: usize = 100;
/// What the peer has on its way at most, in bytes; further steps are not looked at.
const MAX_WIRE_LEN: usize = 4 * CHAT_LEN;
/// Turns that a session may take in a step for no bytes of the peer's, to put out its own.
const MAX_OWN_TURNS: usize = 16;
/// What a step makes a message of `LONG` longer by.
const LONG_UNIT: usize = 8;
/// When it begins, in seconds since 1970.
const START: u64 = 1_800_000_000;

/// Runs one input.
///
/// # Panics
/// When a session breaks a rule.
pub fn run(data: &[u8]) -> Verdict {
    let mut input = Input::new(data);
    let mut scene = Scene::new(input.byte());
    for _ in 0..MAX_STEPS {
        if input.is_empty() || scene.end.end.is_some() || scene.wire.len() > MAX_WIRE_LEN {
            break;
        }
        // What is read counts by itself, against its length.
        steps::within(MAX_OWN_TURNS, || scene.step(&mut input));
        scene.check();
    }
    scene.verdict()
}

/// A session under test, the peer, and what is between them.
struct Scene {
    now: Now,
    config: Arc<SessionConfig>,
    end: End,
    peer: ScriptedPeer,
    /// Sent by the peer and not yet read.
    wire: Vec<u8>,
    read_len: usize,
    /// Whether the session's and the peer's idea of where frames begin may differ.
    astray: bool,
    paused: bool,
    /// What the session said, code and payload.
    said: Vec<(u64, Vec<u8>)>,
    frames: usize,
}

impl Scene {
    fn new(flags: u8) -> Self {
        let now = Now::simulated(Duration::from_secs(START));
        let [peer, under_test] = nodes();
        let config = Arc::new(config(under_test));
        let curve = under_test.curve(false, 1);
        let (mut end, role) = if flags & DIALLED > 0 {
            (End::dialer(now, Arc::clone(&config), peer.public_key(), curve, 2), Role::Listener)
        } else {
            (End::listener(now, Arc::clone(&config), curve, 2), Role::Dialer)
        };
        let keys = (peer.public_key(), under_test.public_key());
        let script = ScriptedPeer::connect(now, role, &mut end, keys, &mut peer.curve(false, 3), 4);
        let script = script.expect("both do as they should");
        let (wire, said) = (Vec::new(), Vec::new());
        let mut scene = Self {
            now,
            config,
            end,
            peer: script,
            wire,
            read_len: 0,
            astray: false,
            paused: false,
            said,
            frames: 0,
        };
        scene.listen();
        if flags & UNGREETED == 0 {
            let version = if flags & PLAIN > 0 { 4 } else { p2p::P2P_VERSION };
            let hello = p2p::Hello { protocol_version: version, ..self::config(peer).hello };
            let frame = scene.peer.hello(&hello);
            scene.deliver(&frame, 0);
            scene.listen();
            assert!(scene.end.session.is_running());
        }
        scene
    }

    fn step(&mut self, input: &mut Input<'_>) {
        let (op, cut) = (input.byte() % OPS, input.byte());
        match op {
            MESSAGE => {
                let (code, payload) = (input.byte(), input.sized());
                self.message(code.into(), Bytes::copy_from_slice(payload), cut);
            }
            LONG => {
                let (code, byte, len) = (input.byte(), input.byte(), input.number() * LONG_UNIT);
                self.message(code.into(), vec![byte; len.min(2 * CHAT_LEN)].into(), cut);
            }
            BLOCK => {
                let (code, payload) = (input.byte(), input.sized());
                let frame = self.peer.block(code.into(), payload);
                self.send(&frame, cut);
            }
            FRAME => {
                let (header, body): ([u8; 16], _) = (input.array(), input.sized());
                let [high, middle, low, ..] = header;
                let size = u32::from_be_bytes([0, high, middle, low]) as usize;
                self.astray |= size.next_multiple_of(16) != body.len();
                let frame = self.peer.frame(header, body);
                self.send(&frame, cut);
            }
            CONTENT => {
                let mut content = input.sized().to_vec();
                let [.., high, middle, low] = content.len().to_be_bytes();
                let mut header = [0; 16];
                header[..3].copy_from_slice(&[high, middle, low]);
                content.resize(content.len().next_multiple_of(16), 0);
                let frame = self.peer.frame(header, &content);
                self.send(&frame, cut);
            }
            TAMPER => {
                let place = input.number();
                let mut frame = self.peer.message(input.byte().into(), input.sized());
                let bit = place % (frame.len() * 8);
                frame[bit / 8] ^= 1 << (bit % 8);
                self.astray = true;
                self.send(&frame, cut);
            }
            OWN => self.own(input.byte()),
            _ => {
                self.now = self.now.later(Duration::from_millis(100) * u32::from(input.byte()));
                self.end.timeout(self.now);
                self.listen();
            }
        }
    }

    /// The owner of the session does something.
    fn own(&mut self, what: u8) {
        match what {
            0 | 1 => {
                self.paused = what == 0;
                self.end.session.pause_reading(self.now, self.paused);
                self.end.drain(self.now);
                self.send(&[], 0);
            }
            2 => {
                self.end.session.disconnect(self.now, DisconnectReason::Requested);
                self.end.drain(self.now);
            }
            code => {
                let message = SharedMessage::new(code.into(), Bytes::from_static(&[0xc0]));
                let before = self.said.len();
                let sent = self.end.session.send(self.now, usize::from(code & 1), &message);
                self.listen();
                assert_eq!(self.said.len() - before, usize::from(sent.is_ok()), "{sent:?}");
            }
        }
        self.listen();
    }

    /// Sends a message, which has to arrive if it is one that the session reads now.
    fn message(&mut self, code: u64, payload: Bytes, cut: u8) {
        let ready = self.end.session.is_running() && !self.paused && !self.astray && self.wire.is_empty();
        let expected = if ready { self.route(code, payload.len()) } else { None };
        let before = self.end.messages.len();
        let frame = self.peer.message(code, &payload);
        self.send(&frame, cut);
        if let Some((protocol, code)) = expected {
            let arrived = self.end.messages.get(before..).unwrap_or_default();
            assert_eq!(arrived, [(protocol, Message { code, payload })]);
        }
    }

    /// To which capability a message of the session goes, when it is none of the base protocol and not too long.
    fn route(&self, code: u64, len: usize) -> Option<(usize, u64)> {
        let mut shared = self.end.session.shared().iter().enumerate();
        let found = shared.find_map(|(place, shared)| Some((place, shared.relative(code)?, shared)));
        found.filter(|(.., shared)| len <= shared.max_message_len).map(|(place, code, _)| (place, code))
    }

    fn send(&mut self, frame: &[u8], cut: u8) {
        self.deliver(frame, cut);
        self.listen();
    }

    fn deliver(&mut self, frame: &[u8], cut: u8) {
        self.wire.extend_from_slice(frame);
        let piece = if cut == 0 { usize::MAX } else { cut.into() };
        let before = self.config.rejects.total();
        // Each read of a byte or more, each frame, and each byte of a Hello.
        let limit = 3 * self.wire.len() + MAX_OWN_TURNS;
        let (len, _) = steps::within(limit, || self.end.read(self.now, &self.wire, piece));
        self.wire.drain(..len);
        self.read_len += len;
        if len > 0 && self.config.rejects.total() == before {
            self.frames += 1;
        }
    }

    /// Reads all that the session writes.
    fn listen(&mut self) {
        let bytes = self.end.written(self.now);
        // What is compressed changes with the peer's Hello, also when the session ends over it.
        if let Some(hello) = self.end.session.hello() {
            self.peer.snappy = hello.protocol_version >= p2p::P2P_VERSION;
        }
        let messages = self.peer.read(&bytes).expect("a session's own frames are in order");
        self.said.extend(messages);
    }

    fn check(&mut self) {
        let lengths =
            self.end.session.shared().iter().map(|shared| (shared.message_count, shared.max_message_len));
        let lengths: Vec<(u64, usize)> = lengths.collect();
        for (protocol, message) in self.end.messages.drain(..) {
            let (count, len) = lengths[protocol];
            assert!(message.code < count && message.payload.len() <= len, "{message:?}");
        }
        let (read, _) = testing::buffer_capacities(&self.end.session);
        assert!(read <= MAX_READ_CHUNK + 2 * self.read_len, "{read} bytes held of {} read", self.read_len);
        if let Some(end) = self.end.end {
            self.check_end(end);
        }
    }

    /// What the peer was told about the end is what the session says of it.
    fn check_end(&self, end: SessionEnd) {
        let told = self.said.iter().position(|(code, _)| *code == p2p::DISCONNECT);
        let broken = match end {
            SessionEnd::Local { reason, error } => {
                assert!(error.is_none_or(|error| error.may_tell()), "{error:?}");
                let told = told.and_then(|place| self.said.get(place..)).unwrap_or_default();
                assert_eq!(told, [(p2p::DISCONNECT, rlp::encode_list(&[reason.code()]).to_vec())]);
                error
            }
            SessionEnd::Remote(_) => None,
            SessionEnd::Broken(error) => {
                assert!(!error.may_tell(), "{error}");
                assert_eq!(told, None, "{error}");
                Some(error)
            }
        };
        let counted = broken.and_then(|error| error.reject()).is_some();
        assert_eq!(self.config.rejects.total(), u64::from(counted), "{end}");
        assert_eq!((self.end.session.next_timeout(), self.end.session.write_buf()), (None, &b""[..]));
    }

    fn verdict(&self) -> Verdict {
        let error = match self.end.end {
            None | Some(SessionEnd::Remote(_)) => None,
            Some(SessionEnd::Local { error, .. }) => error,
            Some(SessionEnd::Broken(error)) => Some(error),
        };
        match error {
            // Nothing in the input is at fault when it just takes long.
            None | Some(SessionError::TimedOut(Wait::Read)) if self.frames > 0 => Verdict::Accepted,
            None => Verdict::EMPTY,
            Some(error) => Verdict::Rejected(error.reject().map_or("closed", |reject| reject.label())),
        }
    }
}

fn config(node: &Node) -> SessionConfig {
    let capability = |name, version, count, len| {
        let name = CapabilityName::new(name).expect("short and printable");
        LocalCapability { max_message_len: len, ..LocalCapability::new(name, version, count) }
    };
    let capabilities = vec![capability("chat", 1, 3, CHAT_LEN), capability("tiny", 2, 2, TINY_LEN)];
    SessionConfig::new(node.public_key(), "test/1.0", capabilities)
}

/// The first code of the capability `chat`, and the first of `tiny`.
pub const CODES: [u8; 2] = [BASE_MESSAGE_COUNT as u8, BASE_MESSAGE_COUNT as u8 + 3];
const _: () = assert!(TINY_LEN < MAX_BASE_MESSAGE_LEN && MAX_BASE_MESSAGE_LEN < CHAT_LEN);
