//! What a session does with what it reads: handshake packets, then frames one by one, base messages here and all others
//! to the owner. Our own messages, admission and the end are in `session`; decryption is `frame`, the handshake's steps
//! `trips.rs`. devp2p specification, `rlpx.md`, "p2p Capability", for what may come when.

use super::{Frames, Phase, Session, SessionOutput, Timer};
use crate::{
    capability::{route, shared_capabilities},
    config::{MAX_BASE_MESSAGE_LEN, MAX_HELLO_LEN},
    ecies::PREFIX_LEN,
    error::{Incompatibility, Misbehaviour, SessionEnd, SessionError},
    frame::{Decoded, decode_code},
    handshake,
    message::Message,
    p2p::{self, DisconnectReason, Hello, SNAPPY_VERSION},
    snappy,
};

impl Session {
    /// Goes one step on with what has been read; false when that takes more input.
    pub(super) fn advance(&mut self) -> bool {
        identity::steps::step();
        let advanced = match self.phase {
            Phase::Handshake => self.advance_handshake(),
            Phase::Greeting => self.advance_frames(),
            Phase::Running if !self.ingress.flow.keeps_messages() => self.advance_frames(),
            Phase::Authenticated | Phase::Greeted | Phase::Running | Phase::Closing(_) | Phase::Closed => {
                return false;
            }
        };
        match advanced {
            Ok(advanced) => advanced,
            Err(error) => {
                self.fail(error);
                true
            }
        }
    }

    /// How long the packet, header or body is that is being read, in bytes, as far as that is known.
    pub(super) fn unit_len(&self) -> usize {
        match &self.frames {
            Some(frames) => frames.unit_len(),
            None => self.packet_len().ok().flatten().unwrap_or(PREFIX_LEN),
        }
    }

    /// The length of the handshake packet that is coming in, once its prefix is there.
    fn packet_len(&self) -> Result<Option<usize>, SessionError> {
        let prefix = self.ingress.buffer.filled().first_chunk::<PREFIX_LEN>();
        prefix.map(|prefix| handshake::packet_len(*prefix)).transpose().map_err(SessionError::Handshake)
    }

    fn advance_handshake(&mut self) -> Result<bool, SessionError> {
        if !self.trips.wants_packet() {
            return Ok(false);
        }
        let len = self.packet_len()?;
        let Some(packet) = len.and_then(|len| self.ingress.buffer.filled().get(..len)) else {
            return self.need_more();
        };
        let packet = packet.to_vec();
        self.ingress.buffer.consume(packet.len());
        self.handshake_packet(packet)?;
        Ok(true)
    }

    fn advance_frames(&mut self) -> Result<bool, SessionError> {
        let Some(frames) = &mut self.frames else { return Ok(false) };
        let decoded = match self.ingress.flow.memory.pending.take() {
            Some(decoded) => decoded,
            None => match frames.decode(&mut self.ingress.buffer)? {
                Some(decoded) if self.has_memory(decoded)? => decoded,
                Some(_) => return Ok(false),
                None => {
                    self.check_begun()?;
                    return self.need_more();
                }
            },
        };
        self.ingress.frame_since = None;
        self.timers.clear(Timer::Frame);
        let handled = self.handle_body(decoded);
        self.release_memory();
        handled.map(|()| true)
    }

    /// Whether there is memory for what a whole frame inflates to.
    fn has_memory(&mut self, decoded: Decoded) -> Result<bool, SessionError> {
        if self.phase != Phase::Running
            || snappy::longest_inflated(decoded.len) <= self.config.limits.free_len
        {
            return Ok(true);
        }
        let Some(frames) = self.frames.as_ref().filter(|frames| frames.snappy()) else { return Ok(true) };
        let Some(content) = self.ingress.buffer.filled().get(..decoded.len) else { return Ok(true) };
        let (code, code_len) = decode_code(content)?;
        frames.check(decoded.len.saturating_sub(code_len), self.limit(code)?)?;
        let inflated_len = frames.inflated_len(decoded, &self.ingress.buffer);
        Ok(inflated_len.is_none_or(|len| self.may_inflate(decoded, len)))
    }

    /// Refuses a long message as soon as its code is there, before the rest of it is taken: the header was bounded by what
    /// the longest message of any protocol may have.
    fn check_begun(&self) -> Result<(), SessionError> {
        let Some(frames) = self.frames.as_ref().filter(|_| self.phase == Phase::Running) else {
            return Ok(());
        };
        match frames.begun(&self.ingress.buffer) {
            Some(begun) => begun.and_then(|(code, len)| frames.check(len, self.limit(code)?)),
            None => Ok(()),
        }
    }

    /// How long the payload of a message with this code may be, in bytes.
    fn limit(&self, code: u64) -> Result<usize, SessionError> {
        if code < crate::BASE_MESSAGE_COUNT {
            return Ok(MAX_BASE_MESSAGE_LEN);
        }
        let unknown = SessionError::Misbehaved(Misbehaviour::UnknownCode { code });
        let (protocol, _) = route(&self.peer.shared, code).ok_or(unknown)?;
        Ok(self.peer.shared.get(protocol).map_or(0, |shared| shared.max_message_len))
    }

    /// What is there is no whole packet or frame. When the stream has ended it never will be.
    fn need_more(&mut self) -> Result<bool, SessionError> {
        if let Some(ended) = self.ingress.ended {
            return Err(ended);
        }
        self.watch_frame();
        self.check_memory();
        Ok(false)
    }

    /// Sets the deadline of the frame that is coming in, from when its first byte was seen.
    pub(super) fn watch_frame(&mut self) {
        let Some(frames) = &self.frames else { return };
        let begun = frames.in_body() || !self.ingress.buffer.filled().is_empty();
        if !begun || self.phase != Phase::Running || self.ingress.flow.is_stopped() {
            return;
        }
        let since = *self.ingress.frame_since.get_or_insert(self.now);
        let seconds = (frames.unit_len() / self.config.limits.frame_bytes_per_second.max(1)) as u64;
        let allowed = self.config.timeouts.read.saturating_add(std::time::Duration::from_secs(seconds));
        self.timers.set(Timer::Frame, since.checked_add(allowed));
    }

    /// A whole frame is at the front of the read buffer.
    fn handle_body(&mut self, decoded: Decoded) -> Result<(), SessionError> {
        let content = self.ingress.buffer.filled().get(..decoded.len).unwrap_or_default();
        let (code, code_len) = decode_code(content)?;
        let body = Body { decoded, code, code_len };
        match self.phase {
            Phase::Greeting => self.handle_first(body),
            Phase::Handshake
            | Phase::Authenticated
            | Phase::Greeted
            | Phase::Running
            | Phase::Closing(_)
            | Phase::Closed => self.handle_message(body),
        }
    }

    fn handle_first(&mut self, body: Body) -> Result<(), SessionError> {
        if self.peer.key == Some(self.config.hello.public_key) {
            return Err(SessionError::Incompatible(Incompatibility::OwnKey));
        }
        match body.code {
            p2p::HELLO => {
                let payload = self.payload(body, MAX_HELLO_LEN)?;
                self.config.base.received(p2p::HELLO, payload.len());
                self.handle_hello(Hello::decode(&payload)?)
            }
            p2p::DISCONNECT => self.handle_disconnect(body),
            code => Err(SessionError::Misbehaved(Misbehaviour::NoHello { code })),
        }
    }

    fn handle_hello(&mut self, hello: Hello) -> Result<(), SessionError> {
        let shared = shared_capabilities(&self.config.capabilities, &hello.capabilities);
        let snappy = self.config.hello.protocol_version.min(hello.protocol_version) >= SNAPPY_VERSION;
        if let Some(frames) = &mut self.frames {
            frames.open(snappy, &shared);
        }
        let key = hello.public_key;
        self.peer.shared.clone_from(&shared);
        self.peer.hello = Some(Box::new(hello.clone()));
        if Some(key) != self.peer.key {
            return Err(SessionError::Incompatible(Incompatibility::OtherIdentity));
        }
        if shared.is_empty() && !self.config.capabilities.is_empty() {
            return Err(SessionError::Incompatible(Incompatibility::NothingShared));
        }
        self.phase = Phase::Greeted;
        self.outputs.push_back(SessionOutput::Hello { hello, shared });
        Ok(())
    }

    fn handle_message(&mut self, body: Body) -> Result<(), SessionError> {
        match body.code {
            p2p::HELLO => Err(SessionError::Misbehaved(Misbehaviour::SecondHello)),
            p2p::DISCONNECT => self.handle_disconnect(body),
            p2p::PING => {
                self.base_payload(body)?;
                self.handle_ping()
            }
            p2p::PONG => {
                self.base_payload(body)?;
                self.peer.conduct.pong_received(self.now);
                Ok(())
            }
            code if code < crate::BASE_MESSAGE_COUNT => {
                self.ingress.buffer.consume(body.decoded.unit_len);
                let allowed = self.peer.conduct.allow_reserved(&self.config.limits);
                if allowed {
                    Ok(())
                } else {
                    Err(SessionError::Misbehaved(Misbehaviour::ReservedCodes { code }))
                }
            }
            code => self.handle_subprotocol(code, body),
        }
    }

    fn handle_subprotocol(&mut self, code: u64, body: Body) -> Result<(), SessionError> {
        let unknown = SessionError::Misbehaved(Misbehaviour::UnknownCode { code });
        let (protocol, relative) = route(&self.peer.shared, code).ok_or(unknown)?;
        let limit = self.peer.shared.get(protocol).map_or(0, |shared| shared.max_message_len);
        let payload = self.payload(body, limit)?;
        self.charge_inflation(body.decoded.unit_len, payload.len());
        let message = Message { code: relative, payload };
        self.outputs.push_back(SessionOutput::Message { protocol, message });
        Ok(())
    }

    fn handle_ping(&mut self) -> Result<(), SessionError> {
        if !self.peer.conduct.allow_ping(self.now, &self.config.limits) {
            return Err(SessionError::Misbehaved(Misbehaviour::PingFlood));
        }
        // One Pong that waits answers every Ping before it.
        if !self.peer.conduct.pong_waits(self.egress.written()) {
            self.send_base(p2p::PONG, p2p::EMPTY_PAYLOAD);
            self.peer.conduct.pong_queued(self.egress.queued());
        }
        Ok(())
    }

    fn handle_disconnect(&mut self, body: Body) -> Result<(), SessionError> {
        let content = self.ingress.buffer.filled().get(body.code_len..body.decoded.len).unwrap_or_default();
        let Some(frames) = &self.frames else { return Ok(()) };
        frames.check(content.len(), MAX_BASE_MESSAGE_LEN)?;
        let compressed = frames.snappy().then_some(content);
        let inflated = compressed.and_then(|block| snappy::decompress(block, MAX_BASE_MESSAGE_LEN).ok());
        // Some clients send it uncompressed even where it ought to be compressed.
        let payload = inflated.as_deref().unwrap_or(content);
        self.config.base.received(p2p::DISCONNECT, payload.len());
        let reason = DisconnectReason::decode(payload);
        self.close(SessionEnd::Remote(reason));
        Ok(())
    }

    /// Takes the payload of a Ping or Pong, which says nothing.
    fn base_payload(&mut self, body: Body) -> Result<(), SessionError> {
        let payload = self.payload(body, MAX_BASE_MESSAGE_LEN)?;
        self.config.base.received(body.code, payload.len());
        Ok(())
    }

    fn payload(&mut self, body: Body, limit: usize) -> Result<bytes::Bytes, SessionError> {
        let frames = self.frames.as_ref().ok_or(SessionError::Mac)?;
        Frames::payload(frames, body.decoded, body.code_len, limit, &mut self.ingress.buffer)
    }
}

/// A decrypted frame content at the front of the read buffer, and the code that opens it.
#[derive(Clone, Copy)]
struct Body {
    decoded: Decoded,
    code: u64,
    code_len: usize,
}
