//! Frames: how messages travel once the handshake has given both ends their secrets.
//! devp2p specification, `rlpx.md`, "Framing". Messages are never split over frames; header-data is ignored.

mod block_cipher;
mod buffer;
mod cipher;
mod decoder;
mod encoder;
mod mac;
#[cfg(test)]
mod properties;
mod seal;
#[cfg(test)]
mod tests;

pub(crate) use buffer::{ReadBuffer, WriteBuffer};
pub(crate) use cipher::FrameCipher;
pub(crate) use decoder::{Decoded, FrameDecoder, MAX_CODE_LEN, decode_code};
pub(crate) use encoder::{FrameEncoder, FrameTooLong, frame_len};
pub(crate) use mac::FrameMac;
pub use seal::SealJob;

/// Length of a header, in bytes, before its MAC.
const HEADER_LEN: usize = 16;
/// Length of a MAC, in bytes.
pub(crate) const MAC_LEN: usize = 16;
/// Bodies are padded with zeros to a multiple of this, in bytes.
const BLOCK_LEN: usize = 16;
/// Length of the frame size that opens a header, in bytes.
const SIZE_LEN: usize = 3;
/// What follows the size: RLP of `[0, 0]`, the capability and context that nobody uses any more.
const HEADER_DATA: [u8; 3] = [0xc2, 0x80, 0x80];

/// Bytes that the frame of a message with a small code and a payload of `len` bytes takes.
pub(crate) const fn wire_len(len: usize) -> usize {
    padded(len.saturating_add(1)).saturating_add(HEADER_LEN + MAC_LEN + MAC_LEN)
}

/// A body's length with its padding.
const fn padded(len: usize) -> usize {
    len.saturating_add(BLOCK_LEN - 1) / BLOCK_LEN * BLOCK_LEN
}
