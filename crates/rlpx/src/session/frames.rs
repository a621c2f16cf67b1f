//! The frame layer of a session: encoder, decoder, and whether payloads are compressed (from Hello on, version 5;
//! EIP-706). Here a session's limits meet its frames: no payload is inflated beyond what its message may have. Bytes of
//! a frame are `frame`'s; which capability a code belongs to is `capability`'s.

use std::mem::take;

use bytes::Bytes;

use crate::{
    capability::SharedCapability,
    config::{MAX_BASE_MESSAGE_LEN, MAX_MESSAGE_LEN},
    error::{DecodeError, Fault, SessionError, What},
    frame::{
        Decoded, FrameDecoder, FrameEncoder, FrameTooLong, MAC_LEN, MAX_CODE_LEN, ReadBuffer, SealJob,
        WriteBuffer, decode_code, frame_len,
    },
    handshake::Secrets,
    snappy,
};

/// Frames in both directions.
pub(super) struct Frames {
    encoder: FrameEncoder,
    decoder: FrameDecoder,
    snappy: bool,
    /// Base messages that wait until a job for a MAC is done, with their codes: a Ping, a Pong and a Disconnect at most.
    held: Vec<(u64, Vec<u8>)>,
}

impl Frames {
    pub(super) fn new(secrets: Secrets) -> Self {
        let (encoder, decoder) = secrets.into_frames();
        Self { encoder, decoder, snappy: false, held: Vec::new() }
    }

    /// Hello has come: payloads are compressed from here on when `snappy`, and may be as long as `shared` allows.
    pub(super) fn open(&mut self, snappy: bool, shared: &[SharedCapability]) {
        self.snappy = snappy;
        let longest = shared.iter().map(|capability| capability.max_message_len).max().unwrap_or(0);
        let longest = longest.clamp(MAX_BASE_MESSAGE_LEN, MAX_MESSAGE_LEN);
        self.decoder.set_limit(self.longest(longest).saturating_add(MAX_CODE_LEN).min(MAX_MESSAGE_LEN));
    }

    pub(super) const fn snappy(&self) -> bool {
        self.snappy
    }

    /// Frees what only a busy connection needs.
    pub(super) fn shrink(&mut self) {
        self.encoder.shrink();
        self.decoder.shrink();
    }

    /// The length of the header or body that is being read, in bytes.
    pub(super) fn unit_len(&self) -> usize {
        self.decoder.unit_len()
    }

    /// Whether a header has come and its body has not.
    pub(super) const fn in_body(&self) -> bool {
        self.decoder.in_body()
    }

    pub(super) fn decode(&mut self, reader: &mut ReadBuffer) -> Result<Option<Decoded>, SessionError> {
        self.decoder.decode(reader)
    }

    /// Appends a message whose payload is compressed already if it has to be.
    pub(super) fn encode(
        &mut self,
        code: u64,
        payload: &[u8],
        writer: &mut WriteBuffer,
    ) -> Result<(), FrameTooLong> {
        let len = frame_len(payload.len().saturating_add(MAX_CODE_LEN));
        self.encoder.encode(code, payload, writer.tail(len))
    }

    /// Appends a message, its payload compressed where it is encrypted.
    pub(super) fn encode_compressed(
        &mut self,
        code: u64,
        payload: &[u8],
        writer: &mut WriteBuffer,
    ) -> Result<(), FrameTooLong> {
        let max_len = snappy::max_compressed_len(payload.len());
        let out = writer.tail(frame_len(max_len.saturating_add(MAX_CODE_LEN)));
        self.encoder.encode_with(code, max_len, out, |block| snappy::compress_into(payload, block))
    }

    /// Appends a message as [`Self::encode`] does, but for its MAC. Until that is done, nothing more can be appended.
    pub(super) fn encode_apart(
        &mut self,
        code: u64,
        payload: &[u8],
        writer: &mut WriteBuffer,
    ) -> Result<SealJob, FrameTooLong> {
        let len = frame_len(payload.len().saturating_add(MAX_CODE_LEN));
        let job = self.encoder.encode_apart(code, payload, writer.tail(len))?;
        writer.lend(&job.bytes, job.bytes.capacity(), MAC_LEN);
        Ok(job)
    }

    /// The MAC is done: what had to wait for it follows.
    pub(super) fn handle_sealed(&mut self, job: SealJob, writer: &mut WriteBuffer) {
        writer.take_back(self.encoder.handle_sealed(job));
        for (code, payload) in take(&mut self.held) {
            self.encode_base(code, &payload, writer);
        }
    }

    /// Appends a message of the base protocol, compressed if it has to be.
    pub(super) fn encode_base(&mut self, code: u64, payload: &[u8], writer: &mut WriteBuffer) {
        if writer.is_away() {
            self.held.push((code, payload.to_vec()));
            return;
        }
        // Only an owner's client name of 16 MiB could be too long; its Hello is not sent, and the peer gives up.
        let _ = if self.snappy {
            self.encode_compressed(code, payload, writer)
        } else {
            self.encode(code, payload, writer)
        };
    }

    /// The code of a body that is coming in, and how long its payload is on the wire, once that can be told; or that there is
    /// none.
    pub(super) fn begun(&self, reader: &ReadBuffer) -> Option<Result<(u64, usize), SessionError>> {
        let (content, len) = self.decoder.begun(reader)?;
        match decode_code(content) {
            Ok((code, code_len)) => Some(Ok((code, len.saturating_sub(code_len)))),
            Err(error) => (content.len() >= MAX_CODE_LEN).then_some(Err(error)),
        }
    }

    /// How long a payload of at most `limit` bytes is on the wire at most.
    fn longest(&self, limit: usize) -> usize {
        if self.snappy { snappy::max_compressed_len(limit) } else { limit }
    }

    /// Refuses a payload of `found` bytes on the wire that is longer than one of at most `limit` bytes can be.
    pub(super) fn check(&self, found: usize, limit: usize) -> Result<(), SessionError> {
        let limit = self.longest(limit);
        if found <= limit {
            return Ok(());
        }
        Err(SessionError::Malformed(DecodeError::new(What::Payload, Fault::TooLong { limit, found })))
    }

    /// What the block declares that a whole frame carries, if it says so within what a block can hold.
    pub(super) fn inflated_len(&self, decoded: Decoded, reader: &ReadBuffer) -> Option<usize> {
        let content = reader.filled().get(..decoded.len)?;
        let (_, code_len) = decode_code(content).ok()?;
        snappy::declared_len(content.get(code_len..)?, MAX_MESSAGE_LEN).ok()
    }

    /// Takes the payload, at most `limit` bytes, out of a body whose code is `code_len` bytes long.
    pub(super) fn payload(
        &self,
        decoded: Decoded,
        code_len: usize,
        limit: usize,
        reader: &mut ReadBuffer,
    ) -> Result<Bytes, SessionError> {
        self.check(decoded.len.saturating_sub(code_len), limit)?;
        if !self.snappy {
            return Ok(reader.take(code_len, decoded.len, decoded.unit_len));
        }
        let block = reader.filled().get(code_len..decoded.len).unwrap_or_default();
        let payload = snappy::decompress_in(block, limit, reader.pool());
        reader.consume(decoded.unit_len);
        payload
    }
}
