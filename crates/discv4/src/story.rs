//! What the tests of this crate start from: a moment, keys and nodes whose names are numbers.
//! Time goes on from there by hand.

use identity::{Endpoint, NodeKey, Now};

use crate::NodeEntry;

/// Some moment.
#[expect(clippy::disallowed_methods, reason = "tests start from some moment and go on by virtual time")]
pub(crate) fn start() -> Now {
    Now::system()
}

/// The node key of node `number`.
pub(crate) fn key(number: u32) -> NodeKey {
    let mut secret = [1; 32];
    secret[..4].copy_from_slice(&number.to_be_bytes());
    NodeKey::from_bytes(&secret).unwrap()
}

/// Node `number` at an address.
pub(crate) fn node(number: u32, ip: &str) -> NodeEntry {
    let endpoint = Endpoint { ip: ip.parse().unwrap(), udp: 30303, tcp: 30303 };
    NodeEntry::new(key(number).public_key(), endpoint)
}
