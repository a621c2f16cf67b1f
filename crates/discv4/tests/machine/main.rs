//! The machine against single datagrams, good and hostile: what it answers, what it counts, what it keeps.
//! A host is one machine with its clock in the test's hand; strangers sign whatever they like.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on ends")]

mod bytes;
mod flipped;
mod limits;
mod neighbors;
mod proof;
mod records;
mod requests;
#[path = "../stage/mod.rs"]
mod stage;
mod twins;

use discv4::{
    Config, NodeEntry,
    wire::{Neighbors, Packet, Unsigned},
};
use identity::{NodeKey, PublicKey, keccak256};
use stage::{Host, Sent, Stranger, key, kinds, public};

fn host() -> Host {
    quiet(Host::new(1, "8.0.0.1:30303", Config::default()))
}

/// A host on loopback, where limits by address do not count.
fn local_host() -> Host {
    quiet(Host::new(1, "127.0.0.1:30303", Config::default()))
}

fn quiet(mut host: Host) -> Host {
    host.tick();
    host
}

fn stranger(number: u32) -> Stranger {
    Stranger { key: key(number), addr: public(u16::try_from(number).unwrap()) }
}

fn target() -> PublicKey {
    key(999).public_key()
}

fn neighbors(nodes: &[NodeEntry], expiration: u64) -> Unsigned {
    Neighbors::encode(nodes.iter().map(|node| (&node.public_key, &node.endpoint)), expiration)
}

/// Puts a signed body of a kind under its hash.
fn seal(key: &NodeKey, kind: u8, body: &[u8]) -> Vec<u8> {
    let signed = [&[kind], body].concat();
    let mut datagram = key.sign(&keccak256(&signed)).0.to_vec();
    datagram.extend_from_slice(&signed);
    [&keccak256(&datagram)[..], &datagram].concat()
}

/// Gives a datagram the hash it should have.
fn rehash(datagram: &mut [u8]) {
    let hash = keccak256(&datagram[32..]);
    datagram[..32].copy_from_slice(&hash);
}

/// Makes the host ask the bonded stranger for nodes; gives the FindNode.
fn make_it_ask(host: &mut Host, stranger: &Stranger) -> Sent {
    host.bond(stranger);
    host.machine.lookup(host.now, target());
    let sent = host.drain();
    assert_eq!(kinds(&sent), ["find"]);
    sent[0].clone()
}

fn told(sent: &Sent) -> Vec<PublicKey> {
    let Packet::Neighbors(neighbors) = sent.packet() else { panic!("not neighbors") };
    neighbors.nodes.iter().map(|node| node.public_key).collect()
}
