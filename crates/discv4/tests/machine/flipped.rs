//! Every bit of every packet flipped, with the old hash and with the right one: a plain flip costs no work on the curve,
//! and under its own hash a packet is another signer's or none. Either way nothing is kept of the node that it was from,
//! and the packet itself is still new.

use discv4::{
    Event,
    wire::{EnrResponse, Envelope, MAX_NEIGHBORS},
};
use identity::EnrBuilder;

use super::{
    local_host, neighbors, rehash,
    stage::{Host, Stranger, endpoint, kinds},
    target,
};

/// Flips under their own hash that one host is shown: a question reads 16 packets of Neighbors, the last is the good one.
const FLIPS_PER_HOST: usize = 15;

/// A host, somebody it knows as well as the packet needs, and the packet as it is expected.
struct Scene {
    host: Host,
    friend: Stranger,
    good: Vec<u8>,
    /// Whether the packet was taken.
    taken: fn(&mut Host, &Stranger, &[u8]) -> bool,
}

impl Scene {
    fn new(
        good: impl FnOnce(&mut Host, &Stranger) -> Vec<u8>,
        taken: fn(&mut Host, &Stranger, &[u8]) -> bool,
    ) -> Self {
        let (mut host, friend) = (local_host(), Stranger::new(2, "127.0.0.1:30304"));
        let good = good(&mut host, &friend);
        Self { host, friend, good, taken }
    }

    fn flipped(&self, bit: usize) -> Vec<u8> {
        let mut flipped = self.good.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        flipped
    }
}

/// Whether the answer to a packet is of this kind.
fn answered(host: &mut Host, friend: &Stranger, packet: &[u8], kind: &str) -> bool {
    kinds(&host.receive(friend.addr, packet)).first() == Some(&kind)
}

fn ping() -> Scene {
    Scene::new(
        |host, friend| friend.ping(host),
        |host, friend, packet| answered(host, friend, packet, "pong"),
    )
}

fn pong() -> Scene {
    let asked = |host: &mut Host, friend: &Stranger| {
        host.machine.ping(host.now, friend.key.public_key(), endpoint(friend.addr));
        let ping = host.drain().pop().unwrap();
        friend.pong(host, &ping)
    };
    Scene::new(asked, |host, friend, packet| {
        host.receive(friend.addr, packet);
        host.machine.table().live_count() == 1
    })
}

fn find_node() -> Scene {
    let bonded = |host: &mut Host, friend: &Stranger| {
        host.bond(friend);
        friend.find_node(host, target())
    };
    Scene::new(bonded, |host, friend, packet| answered(host, friend, packet, "neighbors"))
}

fn told_nodes() -> Scene {
    let asked = |host: &mut Host, friend: &Stranger| {
        super::make_it_ask(host, friend);
        let named = |number: u32| Stranger::new(number, &format!("127.0.0.1:{}", 30_000 + number)).entry();
        let named: Vec<_> = (10..10 + MAX_NEIGHBORS as u32).map(named).collect();
        friend.sign(neighbors(&named, host.soon()))
    };
    Scene::new(asked, |host, friend, packet| {
        host.receive(friend.addr, packet);
        host.machine.table().len() == 1 + MAX_NEIGHBORS
    })
}

fn enr_request() -> Scene {
    let bonded = |host: &mut Host, friend: &Stranger| {
        host.bond(friend);
        friend.enr_request(host)
    };
    Scene::new(bonded, |host, friend, packet| answered(host, friend, packet, "enr!"))
}

fn record() -> Scene {
    let asked = |host: &mut Host, friend: &Stranger| {
        host.bond(friend);
        host.machine.request_enr(host.now, friend.key.public_key(), endpoint(friend.addr));
        let request = host.drain().pop().unwrap();
        let record = EnrBuilder::new(5).endpoint(endpoint(friend.addr)).sign(&friend.key).unwrap();
        friend.sign(EnrResponse::encode(&request.hash(), &record))
    };
    Scene::new(asked, |host, friend, packet| {
        host.receive(friend.addr, packet);
        matches!(host.events[..], [Event::EnrReceived { .. }])
    })
}

/// Shows a host packets of nobody it knows, and then the good one.
fn show(mut scene: Scene, bits: std::ops::Range<usize>) {
    let table = scene.host.machine.table();
    for bit in bits {
        let mut flipped = scene.flipped(bit);
        rehash(&mut flipped);
        if let Ok(envelope) = Envelope::read(&flipped) {
            let signer = envelope.signature.recover(&envelope.digest());
            assert_ne!(signer, Some(scene.friend.key.public_key()), "bit {bit}");
        }
        // Somebody else may have sent a Ping: that is answered, and nothing else.
        let sent = scene.host.receive(scene.friend.addr, &flipped);
        assert!(
            matches!(kinds(&sent)[..], [] | ["pong"] | ["pong", "ping"]),
            "bit {bit}: {:?}",
            kinds(&sent)
        );
        assert_eq!(
            (scene.host.machine.table(), &scene.host.events[..]),
            (table.clone(), &[][..]),
            "bit {bit}"
        );
    }
    assert!((scene.taken)(&mut scene.host, &scene.friend, &scene.good), "the packet itself must be new");
}

fn check(make: fn() -> Scene) {
    let mut scene = make();
    let (ops, load, table) = (scene.host.op_count, scene.host.machine.load(), scene.host.machine.table());
    let bits = scene.good.len() * 8;
    for bit in 0..bits {
        let flipped = scene.flipped(bit);
        assert_eq!(scene.host.receive(scene.friend.addr, &flipped), [], "bit {bit}");
    }
    assert_eq!((scene.host.op_count, scene.host.machine.load()), (ops, load));
    assert_eq!((scene.host.machine.table(), &scene.host.events[..]), (table, &[][..]));
    assert!((scene.taken)(&mut scene.host, &scene.friend, &scene.good));
    for first in (256..bits).step_by(FLIPS_PER_HOST) {
        show(make(), first..bits.min(first + FLIPS_PER_HOST));
    }
}

#[test]
fn u12_no_flipped_bit_of_a_ping_is_its_senders() {
    check(ping);
}

#[test]
fn u12_no_flipped_bit_of_a_pong_is_its_senders() {
    check(pong);
}

#[test]
fn u12_no_flipped_bit_of_a_find_node_is_its_senders() {
    check(find_node);
}

#[test]
fn u12_no_flipped_bit_of_neighbors_is_its_senders() {
    check(told_nodes);
}

#[test]
fn u12_no_flipped_bit_of_an_enr_request_is_its_senders() {
    check(enr_request);
}

#[test]
fn u12_no_flipped_bit_of_an_enr_response_is_its_senders() {
    check(record);
}
