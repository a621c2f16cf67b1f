//! Compression of payloads: the raw snappy block format, without frames (EIP-706).
//! What a block declares is believed only as far as its own length can account for it.

use bytes::Bytes;

use crate::{
    buffer_pool::BufferPool,
    error::{DecodeError, Fault, SessionError, What},
};

/// Most bytes that one byte of a block can stand for: a copy of 64 bytes takes 3 (snappy `format_description.txt`).
const MAX_EXPANSION: usize = 22;

/// The block form of `payload`.
#[cfg(any(test, feature = "testing"))]
pub(crate) fn compress(payload: &[u8]) -> Bytes {
    compress_in(payload, &BufferPool::default())
}

/// The block form of `payload`, in a buffer of `pool` if it is long.
pub(crate) fn compress_in(payload: &[u8], pool: &BufferPool) -> Bytes {
    let mut block = pool.take_or_new(max_compressed_len(payload.len()));
    let len = compress_into(payload, &mut block);
    // It was made as long as the worst of payloads would need it.
    block.truncate(len);
    pool.lend(block)
}

/// Puts the block form of `payload` into the front of `block`, which is as long as [`max_compressed_len`] says; how long that
/// form is. Of 4 GiB or more, which the format cannot carry and no frame takes: nothing.
pub(crate) fn compress_into(payload: &[u8], block: &mut [u8]) -> usize {
    snap::raw::Encoder::new().compress(payload, block).unwrap_or(0)
}

/// The longest block that a payload of `len` bytes becomes.
pub(crate) fn max_compressed_len(len: usize) -> usize {
    snap::raw::max_compress_len(len)
}

/// Most bytes that a block of `len` bytes can stand for.
pub(crate) const fn longest_inflated(len: usize) -> usize {
    len.saturating_mul(MAX_EXPANSION)
}

/// The payload of `block`, at most `limit` bytes. Nothing is allocated for one that declares more.
pub(crate) fn decompress(block: &[u8], limit: usize) -> Result<Bytes, SessionError> {
    decompress_in(block, limit, &BufferPool::default())
}

/// As [`decompress`], in a buffer of `pool` if it is long.
pub(crate) fn decompress_in(block: &[u8], limit: usize, pool: &BufferPool) -> Result<Bytes, SessionError> {
    let mut payload = pool.take_or_new(declared_len(block, limit)?);
    snap::raw::Decoder::new().decompress(block, &mut payload).map_err(|_| malformed(Fault::Snappy))?;
    Ok(pool.lend(payload))
}

/// How long the payload of `block` is to be, if that is at most `limit` bytes and no more than the block can hold.
pub(crate) fn declared_len(block: &[u8], limit: usize) -> Result<usize, SessionError> {
    if block.is_empty() {
        return Err(malformed(Fault::Snappy));
    }
    let declared = snap::raw::decompress_len(block).map_err(|_| malformed(Fault::Snappy))?;
    if declared > limit {
        return Err(malformed(Fault::TooLong { limit, found: declared }));
    }
    if declared > longest_inflated(block.len()) {
        return Err(malformed(Fault::Snappy));
    }
    Ok(declared)
}

const fn malformed(fault: Fault) -> SessionError {
    SessionError::Malformed(DecodeError::new(What::Payload, fault))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f08_a_block_is_believed_only_as_far_as_it_can_reach() {
        const LIMIT: usize = 1 << 24;
        // 100,000 as a varint, and as many bytes as could make 22 times themselves.
        let block = |len: usize| {
            let mut block = vec![0xa0, 0x8d, 0x06];
            block.resize(len, 0);
            block
        };
        assert_eq!(declared_len(&block(4546), LIMIT), Ok(100_000));
        assert_eq!(declared_len(&block(4545), LIMIT), Err(malformed(Fault::Snappy)));
        let too_long = Fault::TooLong { limit: 99_999, found: 100_000 };
        assert_eq!(declared_len(&block(4546), 99_999), Err(malformed(too_long)));
        // The densest honest blocks are within it.
        for len in [1, 64, 1000, 65_536, LIMIT] {
            assert_eq!(declared_len(&compress(&vec![0; len]), LIMIT), Ok(len));
        }
    }
}
