//! What a datagram costs in memory and stack, good or bad, up to the machine that it is for.

use std::{net::SocketAddr, thread};

use discv4::{
    Config, Load,
    wire::{Envelope, MAX_DATAGRAM_LEN, Packet, PacketKind},
};
use rlp::RlpStream;

use super::{
    BODY, KINDS,
    counting::{cost, held},
    stage::{Host, key},
    widest_datagram, with_body,
};

/// What reading a packet may allocate, in lengths of its datagram.
const MAX_COST: usize = 4;

/// A list of items that are RLP.
fn list(items: &[Vec<u8>]) -> Vec<u8> {
    let mut stream = RlpStream::new_list(items.len());
    items.iter().for_each(|item| _ = stream.append_raw(item, 1));
    stream.out().to_vec()
}

/// `count` nodes of the fewest bytes that a node can have.
fn shortest_nodes(count: usize) -> Vec<u8> {
    let key = rlp::encode(&key(2).public_key().as_bytes().as_slice()).to_vec();
    let node = list(&[vec![0x80], vec![0x80], vec![0x80], key]);
    list(&[list(&vec![node; count]), vec![0x84, 0x7f, 1, 1, 1]])
}

/// The most nodes that fit into a datagram.
const MOST_NODES: usize = 16;

/// `len` bytes of lists, each in the other.
fn nested(len: usize) -> Vec<u8> {
    let mut bytes = vec![0xc0];
    while bytes.len() < len - 3 {
        bytes = list(&[bytes]);
    }
    bytes
}

/// Bodies as nobody means them.
fn hostile_bodies() -> Vec<Vec<u8>> {
    let longest = MAX_DATAGRAM_LEN - BODY;
    let mut bodies = vec![nested(longest), vec![0xbf; longest], vec![0xff; longest]];
    for fill in [0x00, 0x01, 0x7f, 0x80, 0xc0, 0xc1] {
        for count in [1, 2, 12, 55, 300, longest - 10] {
            let content = vec![vec![fill; count]];
            bodies.extend([
                list(&content),
                list(&[list(&content), vec![1]]),
                list(&[list(&[list(&content)])]),
            ]);
            bodies.push(list(&[rlp::encode(&vec![7; 32]).to_vec(), list(&content)]));
        }
    }
    bodies.retain(|body| body.len() <= longest);
    bodies
}

/// A record's form from its items: 64 bytes of signature, and then as many of `fill` as fit.
fn hostile_records() -> impl Iterator<Item = Vec<u8>> {
    (1..220).step_by(2).map(|count| {
        let mut items = vec![rlp::encode(&vec![7; 64]).to_vec()];
        items.extend((0..count).map(|item: u8| if item % 2 == 1 { vec![item / 2] } else { vec![0x80] }));
        list(&[rlp::encode(&vec![7; 32]).to_vec(), list(&items)])
    })
}

fn hostile(kind: PacketKind) -> Vec<Vec<u8>> {
    let mut bodies = hostile_bodies();
    match kind {
        PacketKind::Neighbors => bodies.extend((0..=MOST_NODES).map(shortest_nodes)),
        PacketKind::EnrResponse => bodies.extend(hostile_records()),
        PacketKind::Ping | PacketKind::Pong | PacketKind::FindNode | PacketKind::EnrRequest => {}
    }
    let packets = bodies.iter().map(|body| with_body(kind, body));
    packets.filter(|packet| packet.len() <= MAX_DATAGRAM_LEN).collect()
}

fn read(datagram: &[u8]) -> Option<Packet> {
    Envelope::read(datagram).and_then(|envelope| envelope.decode()).ok()
}

#[test]
fn u16_reading_a_packet_costs_four_times_its_length_at_most() {
    for kind in KINDS {
        let honest = widest_datagram(kind);
        let (packet, spent) = cost(|| read(&honest));
        assert!(packet.is_some() && spent <= MAX_COST * honest.len(), "{kind:?}: {spent} bytes");
        for bad in hostile(kind) {
            let (_, spent) = cost(|| read(&bad));
            assert!(spent <= MAX_COST * bad.len(), "{kind:?}: {spent} bytes for {}", hex::encode(bad));
        }
    }
}

#[test]
fn u18_a_datagram_has_room_for_sixteen_nodes_and_so_for_as_many_curve_checks() {
    let most = with_body(PacketKind::Neighbors, &shortest_nodes(MOST_NODES));
    let Some(Packet::Neighbors(neighbors)) = read(&most) else { panic!("not neighbors") };
    assert_eq!(neighbors.nodes.len(), MOST_NODES);
    assert!(with_body(PacketKind::Neighbors, &shortest_nodes(MOST_NODES + 1)).len() > MAX_DATAGRAM_LEN);
}

/// A machine on loopback or on a public address, that has run for a while.
fn host(address: &str) -> Host {
    let mut host = Host::new(1, address, Config::default());
    host.tick();
    host
}

#[test]
fn u13_junk_from_a_thousand_ports_costs_nothing() {
    let mut host = host("127.0.0.1:30303");
    let (short, long, longest) = (vec![0x5a; 46], vec![0x5a; 1281], vec![0x5a; 65_507]);
    let mut bad_hash = with_body(PacketKind::Ping, &[0xc0; 50]);
    bad_hash[0] ^= 1;
    let before = held();
    for port in 1..=1000 {
        for junk in [&short, &long, &longest, &bad_hash] {
            let from = SocketAddr::from(([127, 0, 0, 1], port));
            let ((), spent) = cost(|| host.machine.handle_datagram(host.now, from, junk));
            assert_eq!(spent, 0, "{} bytes from port {port}", junk.len());
        }
    }
    assert_eq!((held() - before, host.machine.load(), host.op_count), (0, Load::default(), 0));
}

#[test]
fn u16_bad_rlp_costs_the_machine_four_times_its_length_at_most_and_leaves_nothing() {
    for address in ["127.0.0.1:30303", "8.0.0.1:30303"] {
        let mut host = host(address);
        let stranger = SocketAddr::new(host.addr.ip(), 9);
        for kind in KINDS {
            for bad in hostile(kind).iter().filter(|bad| read(bad).is_none()) {
                let before = held();
                let ((), spent) = cost(|| host.machine.handle_datagram(host.now, stranger, bad));
                assert!(spent <= MAX_COST * bad.len(), "{kind:?}: {spent} bytes for {}", hex::encode(bad));
                assert_eq!(held(), before, "{kind:?}: {}", hex::encode(bad));
            }
        }
        assert_eq!((host.machine.load(), host.op_count), (Load::default(), 0));
    }
}

#[test]
fn f14_nested_lists_need_no_stack() {
    const SMALL_STACK: usize = 256 * 1024;
    let read_all = || {
        for kind in KINDS {
            let mut record = vec![rlp::encode(&vec![7; 32]).to_vec()];
            record.push(nested(300));
            for body in [nested(MAX_DATAGRAM_LEN - BODY), list(&record), list(&[nested(1000), vec![1]])] {
                assert!(read(&with_body(kind, &body)).is_none(), "{kind:?}");
            }
        }
    };
    thread::Builder::new().stack_size(SMALL_STACK).spawn(read_all).unwrap().join().unwrap();
}
