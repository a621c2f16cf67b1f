//! Ingress: frames checked and decrypted in place in the read buffer, a body as fast as it comes in.
//! A header is believed only after its MAC, its size only up to the limit, and no body is handed on before its own MAC.
//! What code and payload mean is `session/ingress.rs`, decompression `snappy`. `rlpx.md`, "Framing".

use subtle::ConstantTimeEq;

use super::{FrameCipher, FrameMac, HEADER_LEN, MAC_LEN, ReadBuffer, padded};
use crate::error::{DecodeError, Fault, SessionError, What};

/// A code takes 9 bytes at most: a length byte and a 64-bit number.
pub(crate) const MAX_CODE_LEN: usize = 9;

/// Turns frames into bodies.
pub(crate) struct FrameDecoder {
    cipher: FrameCipher,
    mac: FrameMac,
    body: Option<Body>,
    limit: usize,
}

/// A body on its way in.
struct Body {
    /// Content, in bytes: code and payload.
    len: usize,
    /// How much of the padded content is decrypted.
    decrypted: usize,
}

impl FrameDecoder {
    /// `limit` is the longest content taken, in bytes.
    pub(crate) const fn new(cipher: FrameCipher, mac: FrameMac, limit: usize) -> Self {
        Self { cipher, mac, body: None, limit }
    }

    /// Sets the longest content taken from the next header on, in bytes.
    pub(crate) const fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// Frees what only a connection needs on which much is read.
    pub(crate) fn shrink(&mut self) {
        self.cipher.shrink();
    }

    /// How long what is being read is in all, MAC included: a header, or a body.
    pub(crate) fn unit_len(&self) -> usize {
        self.body.as_ref().map_or(HEADER_LEN, |body| padded(body.len)).saturating_add(MAC_LEN)
    }

    /// Whether a header has come and its body has not.
    pub(crate) const fn in_body(&self) -> bool {
        self.body.is_some()
    }

    /// What is decrypted of a body that is not complete, and the length of its content, in bytes. Its MAC is still to come.
    pub(crate) fn begun<'a>(&self, buffer: &'a ReadBuffer) -> Option<(&'a [u8], usize)> {
        let body = self.body.as_ref()?;
        let decrypted = buffer.filled().get(..body.decrypted.min(body.len))?;
        Some((decrypted, body.len))
    }

    /// Goes on with what `buffer` holds. When a body is complete and its MAC right: its content's length; the content,
    /// decrypted, is then at the front of `buffer`, and the caller consumes [`Self::unit_len`] as it was before.
    pub(crate) fn decode(&mut self, buffer: &mut ReadBuffer) -> Result<Option<Decoded>, SessionError> {
        if self.body.is_none() && !self.decode_header(buffer)? {
            return Ok(None);
        }
        let unit_len = self.unit_len();
        let Some(body) = &mut self.body else { return Ok(None) };
        let padded_len = padded(body.len);
        let arrived = buffer.filled_mut();
        let here = arrived.len().min(padded_len);
        if let Some(fresh) = arrived.get_mut(body.decrypted..here) {
            self.mac.absorb(fresh);
            self.cipher.apply(fresh);
            body.decrypted = here;
        }
        let Some(tag) = arrived.get(padded_len..unit_len) else { return Ok(None) };
        if !bool::from(self.mac.body().as_slice().ct_eq(tag)) {
            return Err(SessionError::Mac);
        }
        let len = body.len;
        self.body = None;
        Ok(Some(Decoded { len, unit_len }))
    }

    /// Whether a header was complete, and is now consumed.
    fn decode_header(&mut self, buffer: &mut ReadBuffer) -> Result<bool, SessionError> {
        let Some((header, rest)) = buffer.filled_mut().split_first_chunk_mut::<HEADER_LEN>() else {
            return Ok(false);
        };
        let Some(tag) = rest.first_chunk::<MAC_LEN>() else { return Ok(false) };
        if !bool::from(self.mac.header(header).ct_eq(tag)) {
            return Err(SessionError::Mac);
        }
        self.cipher.apply(header);
        let [high, middle, low, ..] = *header;
        let len = u32::from_be_bytes([0, high, middle, low]) as usize;
        buffer.consume(HEADER_LEN + MAC_LEN);
        if len == 0 {
            return Err(SessionError::Malformed(DecodeError::new(What::Frame, Fault::Missing)));
        }
        if len > self.limit {
            let fault = Fault::TooLong { limit: self.limit, found: len };
            return Err(SessionError::Malformed(DecodeError::new(What::Frame, fault)));
        }
        self.body = Some(Body { len, decrypted: 0 });
        Ok(true)
    }
}

/// A body that is complete at the front of the read buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Decoded {
    /// Content, in bytes: code and payload.
    pub(crate) len: usize,
    /// What the caller consumes: content, padding and MAC, in bytes.
    pub(crate) unit_len: usize,
}

/// The message code that opens `content`, and its own length in bytes. Canonical RLP of a 64-bit number only.
pub(crate) fn decode_code(content: &[u8]) -> Result<(u64, usize), SessionError> {
    let malformed = |fault| SessionError::Malformed(DecodeError::new(What::Code, fault));
    let item = rlp::Rlp::new(content);
    let len = item.payload_info().map_err(|_| malformed(Fault::Missing))?.total();
    let code = item.as_val().map_err(|_| malformed(Fault::Rlp))?;
    Ok((code, len))
}
