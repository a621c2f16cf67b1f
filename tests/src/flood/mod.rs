//! Floods of connections on loopback: what attackers and honest peers of one node are made of. The attackers are the
//! program `flood` of this package, in a process of its own; the node is too. Every connection comes from an address of its
//! own, which a node that counts loopback as public takes for a host on the internet.

mod address;
mod client;

pub use address::{attacker, honest};
pub use client::{Client, prepare_auth, socket};

use devp2p::rlpx::ProtocolVersion;

/// The protocol that node, attackers and honest peers speak.
pub const PROTOCOL: &str = "flood";
/// Its one version.
pub const V1: ProtocolVersion = ProtocolVersion { version: 1, message_count: 3 };
/// Comes back as it was sent.
pub const ECHO: u64 = 0;
/// Asks for messages of [`POURED_LEN`] bytes without end.
pub const POUR: u64 = 1;
/// Is taken and forgotten.
pub const IGNORED: u64 = 2;
/// Of a fragile node the task of the connection panics at this.
pub const FATAL: u64 = POUR;
/// And the protocol's own task at this.
pub const FATAL_APART: u64 = IGNORED;
/// No message of the protocol; only a [`Client`] takes it for one.
pub const UNKNOWN: u64 = V1.message_count;
/// Bytes of a message that is poured: several fit below what a peer may hold of its own.
pub const POURED_LEN: usize = 32 * 1024;
