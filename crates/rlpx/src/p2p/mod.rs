//! The base protocol: Hello, Disconnect, Ping, Pong. devp2p specification, `rlpx.md`, "p2p Capability".
//! Here are their codes and forms; when they are sent and what follows from them is `session`'s.

mod disconnect;
mod hello;
#[cfg(test)]
mod properties;
#[cfg(test)]
pub(crate) mod tests;

pub use disconnect::DisconnectReason;
pub(crate) use hello::exact_list;
pub use hello::{Hello, MAX_CAPABILITIES};
use rlp::RlpStream;

/// The version of the base protocol that this crate speaks: the one with compression (EIP-706).
pub const P2P_VERSION: u64 = 5;

/// Peers from this version on compress every payload after Hello (EIP-706).
pub(crate) const SNAPPY_VERSION: u64 = 5;

/// Message code of Hello.
pub const HELLO: u64 = 0x00;
/// Message code of Disconnect.
pub const DISCONNECT: u64 = 0x01;
/// Message code of Ping.
pub const PING: u64 = 0x02;
/// Message code of Pong.
pub const PONG: u64 = 0x03;

/// Codes that have a meaning: the four above.
pub(crate) const BASE_CODES: u64 = PONG + 1;

/// The payload of Ping and Pong: an empty list.
pub(crate) const EMPTY_PAYLOAD: &[u8] = &[0xc0];

/// Appends a string of 2 to 255 bytes in one piece: `RlpStream::append` takes it byte by byte.
pub(crate) fn append_string<const N: usize>(stream: &mut RlpStream, string: &[u8; N]) {
    const { assert!(N >= 2 && N <= 0xff) };
    match N as u8 {
        short @ ..=55 => stream.append_raw(&[0x80 + short], 0),
        long => stream.append_raw(&[0xb8, long], 0),
    };
    stream.append_raw(string, 1);
}
