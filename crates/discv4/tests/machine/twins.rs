//! Two processes with one key (a data directory that was copied, a second program with `--nodekey`): each is seen by the
//! other, told of once by what only the other can have signed, and never taken for a node.

use std::time::Duration;

use discv4::{
    Config, Discovery, Event, NodeEntry, Reject,
    wire::{FindNode, Packet, Ping},
};

use super::{
    host, make_it_ask, neighbors,
    stage::{self, Host, Sent, Stranger, addr, endpoint, kinds, net::Net, public},
    stranger, target,
};

/// Somebody with the key of [`host`], at `address`.
fn twin(address: &str) -> Stranger {
    Stranger::new(1, address)
}

fn ping(twin: &Stranger, host: &Host, expiration: u64, seq: u64) -> Vec<u8> {
    twin.sign(Ping::encode(&endpoint(twin.addr), &endpoint(host.addr), expiration, seq))
}

fn seen(host: &Host) -> Vec<&Event> {
    host.events.iter().filter(|event| matches!(event, Event::KeyInUse { .. })).collect()
}

#[test]
fn s10_a_ping_with_our_key_and_a_record_that_we_never_had_is_told_and_answered_with_a_ping_once() {
    let (mut host, twin) = (host(), twin("8.9.9.9:30303"));
    for (round, seq) in [7, 8, 0].into_iter().enumerate() {
        let sent = host.receive(twin.addr, &ping(&twin, &host, host.soon() + 1, seq));
        let expected: &[&str] = if round == 0 { &["ping"] } else { &[] };
        assert_eq!(kinds(&sent), expected, "round {round}");
        assert!(sent.iter().all(|sent| sent.to == twin.addr));
        host.now = host.now.later(Duration::from_secs(60));
    }
    let told = Event::KeyInUse { from: twin.addr };
    assert_eq!(host.events.iter().filter(|event| **event == told).count(), 3);
    assert_eq!((host.rejected(Reject::OwnKey), host.machine.table().len()), (3, 0));
    assert_eq!((host.machine.load().bonds, host.machine.load().pending), (0, 0));
}

#[test]
fn s10_our_own_packets_that_come_back_and_those_of_an_earlier_run_are_counted_and_not_told() {
    let (mut host, friend, echo) = (host(), stranger(2), addr("8.9.9.9:30303"));
    host.machine.ping(host.now, friend.key.public_key(), endpoint(friend.addr));
    let ours: Sent = host.drain().pop().unwrap();
    for from in [echo, host.addr, friend.addr] {
        assert_eq!(host.receive(from, &ours.datagram), [], "{from}");
    }
    // Whatever record it named: by its expiration it was signed before this run began.
    let earlier = twin("8.9.9.8:30303");
    let end = host.soon();
    assert_eq!(host.receive(earlier.addr, &ping(&earlier, &host, end, 900)), []);
    // After a change of our record the one before is ours still.
    let next = stage::record(&host.key, host.addr, 4);
    host.machine.set_local(next);
    host.now = host.now.later(Duration::from_secs(30));
    for seq in [1, 2, 4] {
        assert_eq!(host.receive(echo, &ping(&earlier, &host, host.soon() - seq, seq)), []);
    }
    assert_eq!((seen(&host), host.rejected(Reject::OwnKey)), (vec![], 7));
}

#[test]
fn s10_a_packet_that_names_no_record_tells_nothing() {
    let (mut host, twin) = (host(), twin("8.9.9.9:30303"));
    host.now = host.now.later(Duration::from_secs(30));
    let find = twin.sign(FindNode::encode(&target(), host.soon()));
    assert_eq!(host.receive(twin.addr, &find), []);
    assert_eq!((seen(&host).len(), host.rejected(Reject::NoProof)), (0, 1));
}

/// What the host sends when a bonded stranger names it at these addresses.
fn named_at(host: &mut Host, teller: &Stranger, addresses: &[&str]) -> Vec<Sent> {
    let named = |address: &&str| NodeEntry::new(host.key.public_key(), endpoint(addr(address)));
    let named: Vec<NodeEntry> = addresses.iter().map(named).collect();
    let sent = host.receive(teller.addr, &teller.sign(neighbors(&named, host.soon())));
    sent.into_iter().filter(|sent| matches!(sent.packet(), Packet::Ping(_))).collect()
}

#[test]
fn s10_where_others_name_us_elsewhere_one_ping_goes_and_no_second_one_soon() {
    let (mut host, teller) = (host(), stranger(2));
    make_it_ask(&mut host, &teller);
    let sent = named_at(&mut host, &teller, &["8.7.7.7:30303"]);
    let [sent] = &sent[..] else { panic!("{sent:?}") };
    assert_eq!((sent.to, sent.signer()), (addr("8.7.7.7:30303"), host.key.public_key()));
    // A liar names one victim after the other.
    for number in 1..10 {
        assert_eq!(named_at(&mut host, &teller, &[&format!("8.6.{number}.1:30303")]), [], "{number}");
    }
    assert_eq!((host.rejected(Reject::BadNeighbor), host.machine.table().len()), (0, 1));
    // Nobody waits for an answer.
    host.pass(Duration::from_secs(2));
    assert_eq!((seen(&host).len(), host.machine.load().pending), (0, 0));
}

#[test]
fn s10_where_we_are_or_nobody_can_be_no_ping_goes() {
    let own = "8.0.0.1:30303";
    for address in [own, "10.0.0.1:30303", "127.0.0.1:30303", "0.0.0.0:30303", "192.0.2.1:30303", "8.7.7.7:0"]
    {
        let (mut host, teller) = (host(), stranger(2));
        make_it_ask(&mut host, &teller);
        assert_eq!(named_at(&mut host, &teller, &[address]), [], "{address}");
    }
}

#[test]
fn s10_an_asker_is_told_of_itself_where_it_was_last_seen_if_that_is_elsewhere() {
    let (mut host, here) = (host(), stranger(2));
    host.bond(&here);
    let there = Stranger { addr: public(9_000), ..here.clone() };
    host.bond(&there);
    let ask = |host: &mut Host, asker: &Stranger, asked: u32| {
        // One that is asked word by word what was asked before gets no answer.
        let sent = host.receive(asker.addr, &asker.find_node(host, stage::key(asked).public_key()));
        let Packet::Neighbors(found) = sent[0].packet() else { panic!("{sent:?}") };
        found.nodes.iter().map(|node| (node.public_key, node.ip)).collect::<Vec<_>>()
    };
    assert_eq!(ask(&mut host, &there, 77), []);
    assert_eq!(ask(&mut host, &here, 78), [(here.key.public_key(), Some(there.addr.ip()))]);
}

#[test]
fn s10_two_with_one_key_and_a_bootnode_in_common_hear_of_each_other() {
    let mut net = Net::new(10);
    let hub = net.add(addr("8.5.5.5:30303"), vec![]);
    let bootnodes = vec![net.hosts[hub].entry()];
    // The hub has key 1: two of key 2.
    let config = || Config { bootnodes: bootnodes.clone(), ..Config::default() };
    let mut places = Vec::new();
    for (seq, address) in [(1_000, "8.1.1.1:30303"), (2_000, "8.2.2.2:30303")] {
        let mut host = Host::new(2, address, config());
        host.machine = Discovery::new(config(), stage::record(&host.key, host.addr, seq), seq);
        places.push(net.hosts.len());
        net.revive(host);
        net.run(Duration::from_secs(2));
    }
    let wants = |net: &mut Net| {
        for place in &places {
            net.act(*place, |host| host.machine.want_candidates(host.now));
        }
    };
    for _ in 0..60 {
        wants(&mut net);
        net.run(Duration::from_secs(1));
    }
    let [first, second] = [places[0], places[1]].map(|place| &net.hosts[place]);
    assert!(!seen(first).is_empty() && !seen(second).is_empty(), "{:?} {:?}", seen(first), seen(second));
    assert!(seen(first).iter().all(|event| **event == Event::KeyInUse { from: second.addr }));
    assert!(seen(second).iter().all(|event| **event == Event::KeyInUse { from: first.addr }));
    // They do not talk without end: each has told the other when others named it, and once in answer.
    assert!(first.rejected(Reject::OwnKey) <= 8 && second.rejected(Reject::OwnKey) <= 8);
    for host in [first, second] {
        assert!(host.machine.table().nodes().all(|node| node.node_id != host.key.node_id()));
    }
}
