//! Compression of payloads: the raw snappy block format, without frames (EIP-706).
//! What a block declares is believed only as far as its own length can account for it.

use bytes::Bytes;

use crate::error::{DecodeError, Fault, SessionError, What};

/// Most bytes that one byte of a block can stand for: a copy of 64 bytes takes 3 (snappy `format_description.txt`).
const MAX_EXPANSION: usize = 22;

/// The block form of `payload`. Of 4 GiB or more, which the format cannot carry and no frame takes: nothing.
pub(crate) fn compress(payload: &[u8]) -> Bytes {
    snap::raw::Encoder::new().compress_vec(payload).map_or_else(|_| Bytes::new(), Bytes::from)
}

/// The longest block that a payload of `len` bytes becomes.
pub(crate) fn max_compressed_len(len: usize) -> usize {
    snap::raw::max_compress_len(len)
}

/// The payload of `block`, at most `limit` bytes. Nothing is allocated for one that declares more.
pub(crate) fn decompress(block: &[u8], limit: usize) -> Result<Bytes, SessionError> {
    let malformed = |fault| SessionError::Malformed(DecodeError::new(What::Payload, fault));
    if block.is_empty() {
        return Err(malformed(Fault::Snappy));
    }
    let declared = snap::raw::decompress_len(block).map_err(|_| malformed(Fault::Snappy))?;
    if declared > limit {
        return Err(malformed(Fault::TooLong { limit, found: declared }));
    }
    if declared > block.len().saturating_mul(MAX_EXPANSION) {
        return Err(malformed(Fault::Snappy));
    }
    let mut payload = vec![0; declared];
    snap::raw::Decoder::new().decompress(block, &mut payload).map_err(|_| malformed(Fault::Snappy))?;
    Ok(payload.into())
}
