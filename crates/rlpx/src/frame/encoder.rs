//! Egress: frames written and encrypted in place in the write buffer, one message a frame.
//! Payloads come compressed already (`message`, `session/frames.rs`); when and how much is written is `session`'s.
//! devp2p specification, `rlpx.md`, "Framing".

use std::mem::take;

use super::{
    FrameCipher, FrameMac, HEADER_DATA, HEADER_LEN, MAC_LEN, MAX_CODE_LEN, SIZE_LEN, SealJob, padded,
};
use crate::config::MAX_MESSAGE_LEN;

/// Longest frame content: code and payload, in bytes, as the 24-bit size carries it.
const MAX_FRAME_LEN: usize = MAX_MESSAGE_LEN;

/// How much of a payload is copied, encrypted and hashed at a time, in bytes: what fits a core's own cache is fetched once.
const SEAL_LEN: usize = 64 * 1024;

/// RLP of an empty string, and of the number 0; lengths are added to it.
const EMPTY_STRING: u8 = 0x80;

/// Code and payload together are longer than a frame can carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FrameTooLong;

/// Turns messages into frames.
pub(crate) struct FrameEncoder {
    cipher: FrameCipher,
    mac: FrameMac,
}

impl FrameEncoder {
    pub(crate) const fn new(cipher: FrameCipher, mac: FrameMac) -> Self {
        Self { cipher, mac }
    }

    /// Frees what only a connection needs on which much is sent.
    pub(crate) fn shrink(&mut self) {
        self.cipher.shrink();
    }

    /// Appends the frame of a message to `out`. On error nothing has changed.
    pub(crate) fn encode(
        &mut self,
        code: u64,
        payload: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), FrameTooLong> {
        self.encode_body(code, payload, out, Self::seal)?;
        out.extend_from_slice(&self.mac.body());
        Ok(())
    }

    /// Appends the frame of a message whose payload, at most `max_len` bytes, `write` makes where it is encrypted: it says how
    /// long that has become. On error nothing has changed.
    pub(crate) fn encode_with(
        &mut self,
        code: u64,
        max_len: usize,
        out: &mut Vec<u8>,
        write: impl FnOnce(&mut [u8]) -> usize,
    ) -> Result<(), FrameTooLong> {
        let (code, code_len) = encode_code(code);
        let start = out.len();
        let header_end = start.saturating_add(HEADER_LEN);
        let body = header_end.saturating_add(MAC_LEN);
        out.resize(body, 0);
        out.extend_from_slice(code.get(..code_len).unwrap_or_default());
        let payload = out.len();
        out.resize(payload.saturating_add(max_len), 0);
        let len = code_len.saturating_add(write(&mut out[payload..]).min(max_len));
        let Some(header) = header(len) else {
            out.truncate(start);
            return Err(FrameTooLong);
        };
        let (header, tag) = self.sealed_header(header);
        out[start..header_end].copy_from_slice(&header);
        out[header_end..body].copy_from_slice(&tag);
        out.truncate(body.saturating_add(len));
        out.resize(body.saturating_add(padded(len)), 0);
        self.seal(&mut out[body..]);
        out.extend_from_slice(&self.mac.body());
        Ok(())
    }

    /// Appends the frame of a message without the tag of its body, whose MAC is a job. Nothing may be encoded until that is
    /// done. On error nothing has changed, and there is no job.
    pub(crate) fn encode_apart(
        &mut self,
        code: u64,
        payload: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<SealJob, FrameTooLong> {
        let start = self.encode_body(code, payload, out, |encoder, part| encoder.cipher.apply(part))?;
        Ok(SealJob { hash: self.mac.lend(), bytes: take(out), start })
    }

    /// The job is done: the buffer that it came with, the frame complete.
    pub(crate) fn handle_sealed(&mut self, job: SealJob) -> Vec<u8> {
        job.finish(&mut self.mac)
    }

    /// Appends a header, and the body as `seal` makes it of the plain one, part by part; where the body begins.
    fn encode_body(
        &mut self,
        code: u64,
        payload: &[u8],
        out: &mut Vec<u8>,
        seal: impl Fn(&mut Self, &mut [u8]),
    ) -> Result<usize, FrameTooLong> {
        let (code, code_len) = encode_code(code);
        let code = code.get(..code_len).unwrap_or_default();
        let len = code_len.saturating_add(payload.len());
        let header = header(len).ok_or(FrameTooLong)?;
        out.reserve(frame_len(len));
        self.seal_header(header, out);
        let start = out.len();
        out.extend_from_slice(code);
        let (mut sealed, mut payload) = (start, payload);
        while payload.len() > SEAL_LEN {
            let (here, rest) = payload.split_at(SEAL_LEN);
            out.extend_from_slice(here);
            seal(self, &mut out[sealed..]);
            (sealed, payload) = (out.len(), rest);
        }
        out.extend_from_slice(payload);
        out.resize(start.saturating_add(padded(len)), 0);
        seal(self, &mut out[sealed..]);
        Ok(start)
    }

    /// Appends a header and its MAC.
    pub(crate) fn seal_header(&mut self, header: [u8; HEADER_LEN], out: &mut Vec<u8>) {
        let (header, tag) = self.sealed_header(header);
        out.extend_from_slice(&header);
        out.extend_from_slice(&tag);
    }

    fn sealed_header(&mut self, mut header: [u8; HEADER_LEN]) -> ([u8; HEADER_LEN], [u8; MAC_LEN]) {
        self.cipher.apply(&mut header);
        (header, self.mac.header(&header))
    }

    /// Encrypts what is left of the padded body, from `start` on, and appends the body's MAC.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn seal_body(&mut self, start: usize, out: &mut Vec<u8>) {
        self.seal(&mut out[start..]);
        out.extend_from_slice(&self.mac.body());
    }

    fn seal(&mut self, part: &mut [u8]) {
        self.cipher.apply(part);
        self.mac.absorb(part);
    }
}

/// The header of a frame with so much content; None when no frame carries it.
fn header(len: usize) -> Option<[u8; HEADER_LEN]> {
    let size = u32::try_from(len).ok().filter(|_| len <= MAX_FRAME_LEN)?;
    let mut header = [0; HEADER_LEN];
    header[..SIZE_LEN].copy_from_slice(&size.to_be_bytes()[1..]);
    header[SIZE_LEN..SIZE_LEN + HEADER_DATA.len()].copy_from_slice(&HEADER_DATA);
    Some(header)
}

/// The length of a frame with so much content, in bytes.
pub(crate) const fn frame_len(content_len: usize) -> usize {
    (HEADER_LEN + 2 * MAC_LEN).saturating_add(padded(content_len))
}

/// RLP of a message code: its bytes, and how many of them there are.
fn encode_code(code: u64) -> ([u8; MAX_CODE_LEN], usize) {
    let mut bytes = [0; MAX_CODE_LEN];
    let len = (u64::BITS - code.leading_zeros()).div_ceil(8) as usize;
    let [first, rest @ ..] = &mut bytes;
    if (1..u64::from(EMPTY_STRING)).contains(&code) {
        *first = code as u8;
        return (bytes, 1);
    }
    *first = EMPTY_STRING.saturating_add(len as u8);
    let digits = code.to_be_bytes();
    let digits = digits.get(digits.len().saturating_sub(len)..).unwrap_or_default();
    rest.iter_mut().zip(digits).for_each(|(byte, digit)| *byte = *digit);
    (bytes, len.saturating_add(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_written_as_the_crate_rlp_writes_them() {
        let powers = (0..64).map(|bit| 1u64 << bit);
        for code in powers.flat_map(|power| [power - 1, power, power + 1]).chain([u64::MAX]) {
            let (bytes, len) = encode_code(code);
            assert_eq!(bytes[..len], rlp::encode(&code), "{code}");
        }
    }
}
