//! A peer that a test plays: its handshake is as it should be, and from then on every byte of its frames is the test's,
//! encrypted and under the right MAC. What it is sent it reads as messages. The other end is a session, or whoever is
//! at the other end of a stream: a whole node, of ours or of another client.

use std::io::{self, Read, Write};

use identity::{
    Now, PublicKey,
    curve::{CurveOp, CurveOutput, CurveResult},
};
use rand::{SeedableRng, rngs::ChaCha20Rng};

use super::{Curve, End};
use crate::{
    Hello,
    config::MAX_MESSAGE_LEN,
    ecies::PREFIX_LEN,
    error::{HandshakeError, SessionError},
    frame::{FrameDecoder, FrameEncoder, ReadBuffer, decode_code},
    handshake::{Entropy, Handshake, Step, packet_len},
    p2p, snappy,
};

/// Who dialed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The scripted peer did.
    Dialer,
    /// The session at the other end did.
    Listener,
}

/// A peer that holds a session's secrets.
pub struct ScriptedPeer {
    /// Whether payloads are compressed: from Hello on, when both ends have version 5 of the base protocol.
    pub snappy: bool,
    encoder: FrameEncoder,
    decoder: FrameDecoder,
    buffer: ReadBuffer,
}

impl ScriptedPeer {
    /// Shakes hands with the session of `end`, whose node key is `remote`, as the node `own` whose jobs `curve` runs.
    /// Afterwards both have the secrets, and nothing else has been said by the peer; `end` may have said Hello.
    ///
    /// # Errors
    /// Why the handshake failed, as the peer sees it.
    pub fn connect(
        now: Now,
        role: Role,
        end: &mut End,
        keys: (PublicKey, PublicKey),
        curve: &mut Curve,
        seed: u64,
    ) -> Result<Self, HandshakeError> {
        Self::shake_hands(role, &mut InMemory { now, end }, keys, curve, seed).map_err(
            |failure| match failure {
                Failure::Handshake(error) => error,
                // A session in memory has no stream that could fail.
                Failure::Stream(_) => HandshakeError::Envelope,
            },
        )
    }

    /// The same over `stream`, which blocks, with the node at its other end. Of what follows the handshake nothing is
    /// read yet.
    ///
    /// # Errors
    /// What the stream says; `InvalidData` with a [`HandshakeError`] inside.
    pub fn connect_over(
        role: Role,
        stream: &mut (impl Read + Write),
        keys: (PublicKey, PublicKey),
        curve: &mut Curve,
        seed: u64,
    ) -> io::Result<Self> {
        Self::shake_hands(role, &mut Streamed(stream), keys, curve, seed).map_err(|failure| match failure {
            Failure::Handshake(error) => io::Error::new(io::ErrorKind::InvalidData, error),
            Failure::Stream(error) => error,
        })
    }

    fn shake_hands(
        role: Role,
        other: &mut impl Other,
        (own, remote): (PublicKey, PublicKey),
        curve: &mut Curve,
        seed: u64,
    ) -> Result<Self, Failure> {
        let entropy = Entropy::draw(&mut ChaCha20Rng::seed_from_u64(seed));
        let mut step = match role {
            Role::Dialer => Handshake::initiator(own, remote, entropy),
            Role::Listener => Handshake::recipient(entropy).handle_packet(other.packet()?)?,
        };
        loop {
            step = match step {
                Step::Unproven(state, ops) | Step::Curve(state, ops) => {
                    state.handle_curve(run(curve, ops)?)?
                }
                Step::Send(state, auth) => {
                    other.send(&auth)?;
                    state.handle_packet(other.packet()?)?
                }
                Step::Done(complete) => {
                    other.send(&complete.send)?;
                    let (encoder, mut decoder) = complete.secrets.into_frames();
                    decoder.set_limit(MAX_MESSAGE_LEN);
                    return Ok(Self { snappy: false, encoder, decoder, buffer: ReadBuffer::default() });
                }
            };
        }
    }

    /// The frame of a Hello.
    pub fn hello(&mut self, hello: &Hello) -> Vec<u8> {
        self.block(p2p::HELLO, &hello.encode())
    }

    /// The frame of a message, its code as the wire counts it, its payload compressed if it has to be.
    pub fn message(&mut self, code: u64, payload: &[u8]) -> Vec<u8> {
        if self.snappy { self.block(code, &snappy::compress(payload)) } else { self.block(code, payload) }
    }

    /// The frame of a message whose payload goes as it is. Empty when no frame can carry it.
    pub fn block(&mut self, code: u64, payload: &[u8]) -> Vec<u8> {
        let mut frame = Vec::new();
        // On an error nothing is written, and the empty frame tells.
        let _ = self.encoder.encode(code, payload, &mut frame);
        frame
    }

    /// A frame of any header and any body. What the session takes for its body is as long as the header says, in
    /// multiples of 16 bytes; the MAC stands behind `body`.
    ///
    /// ```text
    /// header: size (3 bytes), then 13 bytes that nobody reads    body: code, payload, padding
    /// ```
    pub fn frame(&mut self, header: [u8; 16], body: &[u8]) -> Vec<u8> {
        let mut frame = Vec::new();
        self.encoder.seal_header(header, &mut frame);
        let start = frame.len();
        frame.extend_from_slice(body);
        self.encoder.seal_body(start, &mut frame);
        frame
    }

    /// The messages in what the session wrote, as code and payload; a frame that is cut waits for its rest.
    ///
    /// # Errors
    /// What is wrong with a frame: a session writes none of that kind.
    pub fn read(&mut self, bytes: &[u8]) -> Result<Vec<(u64, Vec<u8>)>, SessionError> {
        let (mut messages, mut rest) = (Vec::new(), bytes);
        loop {
            let room = self.buffer.room(self.decoder.unit_len());
            let len = room.len().min(rest.len());
            let (taken, left) = rest.split_at(len);
            room[..len].copy_from_slice(taken);
            self.buffer.fill(len);
            rest = left;
            while let Some(decoded) = self.decoder.decode(&mut self.buffer)? {
                let content = self.buffer.filled().get(..decoded.len).unwrap_or_default();
                let (code, code_len) = decode_code(content)?;
                let payload = content.get(code_len..).unwrap_or_default();
                let inflated = if self.snappy && code != p2p::HELLO {
                    snappy::decompress(payload, MAX_MESSAGE_LEN)?.to_vec()
                } else {
                    payload.to_vec()
                };
                self.buffer.consume(decoded.unit_len);
                messages.push((code, inflated));
            }
            if rest.is_empty() {
                return Ok(messages);
            }
        }
    }
}

fn run(curve: &mut Curve, ops: Vec<CurveOp>) -> Result<Vec<CurveOutput>, HandshakeError> {
    match curve(ops) {
        CurveResult::Done(outputs) => Ok(outputs),
        CurveResult::Refused => Err(HandshakeError::Refused),
    }
}

/// Who a peer shakes hands with.
trait Other {
    fn send(&mut self, packet: &[u8]) -> Result<(), Failure>;
    /// The whole handshake packet that comes next.
    fn packet(&mut self) -> Result<Vec<u8>, Failure>;
}

/// Why there are no secrets.
enum Failure {
    Handshake(HandshakeError),
    Stream(io::Error),
}

impl From<HandshakeError> for Failure {
    fn from(error: HandshakeError) -> Self {
        Self::Handshake(error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Stream(error)
    }
}

/// A session without a socket.
struct InMemory<'a> {
    now: Now,
    end: &'a mut End,
}

impl Other for InMemory<'_> {
    fn send(&mut self, packet: &[u8]) -> Result<(), Failure> {
        self.end.read(self.now, packet, usize::MAX);
        Ok(())
    }

    fn packet(&mut self) -> Result<Vec<u8>, Failure> {
        let written = self.end.session.write_buf();
        let prefix = written.first_chunk().ok_or(HandshakeError::Envelope)?;
        let packet = written.get(..packet_len(*prefix)?).ok_or(HandshakeError::Envelope)?.to_vec();
        self.end.session.handle_written(self.now, packet.len());
        self.end.drain(self.now);
        Ok(packet)
    }
}

/// A node at the other end of a stream.
struct Streamed<'a, S>(&'a mut S);

impl<S: Read + Write> Other for Streamed<'_, S> {
    fn send(&mut self, packet: &[u8]) -> Result<(), Failure> {
        Ok(self.0.write_all(packet)?)
    }

    fn packet(&mut self) -> Result<Vec<u8>, Failure> {
        let mut prefix = [0; PREFIX_LEN];
        self.0.read_exact(&mut prefix)?;
        let mut packet = vec![0; packet_len(prefix)?];
        let (head, rest) = packet.split_at_mut(PREFIX_LEN);
        head.copy_from_slice(&prefix);
        self.0.read_exact(rest)?;
        Ok(packet)
    }
}
