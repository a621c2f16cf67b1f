//! What a simulated network promises: faults as often as they are set, streams whole and in order, breaks that are told,
//! and the same trace for the same seed.

#![expect(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test that meets anything else ends"
)]

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use simnet::{
    CONNECT_TIMEOUT, Event, HostId, Link, NatConfig, NatKind, Net, PATIENCE, StreamId, Trace, WINDOW_LEN,
};

const SECOND: Duration = Duration::from_secs(1);

fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// Two hosts at 8.0.0.1 and 9.0.0.1; the second listens on port 1.
fn pair(seed: u64, link: Link) -> (Net, HostId, HostId) {
    let mut net = Net::new(seed);
    net.set_link(link);
    let (alice, bob) = (net.add_host([8, 0, 0, 1].into()), net.add_host([9, 0, 0, 1].into()));
    net.listen(bob, 1);
    (net, alice, bob)
}

fn events(net: &mut Net, time: Duration) -> Vec<Event> {
    let until = net.now().later(time).instant;
    std::iter::from_fn(|| net.next_event(until)).collect()
}

/// A stream that stands: both ends, the one that asked first.
fn stream(net: &mut Net, from: HostId, to: &str) -> (StreamId, StreamId) {
    let own = net.connect(from, addr(to));
    let happened = events(net, 5 * SECOND);
    let other = happened.iter().find_map(|event| match event {
        Event::Accepted { stream, .. } => Some(*stream),
        _ => None,
    });
    assert!(happened.contains(&Event::Connected { host: from, stream: own }), "{happened:?}");
    (own, other.unwrap())
}

/// How many of 10,000 datagrams arrive, and how many of those before one that was sent earlier.
fn arrivals(link: Link) -> (usize, usize) {
    let (mut net, alice, _) = pair(1, link);
    for number in 0..10_000u32 {
        net.send_datagram(alice, 1, addr("9.0.0.1:1"), number.to_be_bytes().to_vec().into());
    }
    let numbers = events(&mut net, SECOND).into_iter().map(|event| match event {
        Event::Datagram { bytes, .. } => u32::from_be_bytes(bytes[..].try_into().unwrap()),
        other => panic!("{other:?}"),
    });
    let numbers: Vec<u32> = numbers.collect();
    (numbers.len(), numbers.windows(2).filter(|pair| pair[1] < pair[0]).count())
}

#[test]
fn datagrams_come_once_and_in_order_unless_told_otherwise() {
    assert_eq!(arrivals(Link::default()), (10_000, 0));
    let (count, _) = arrivals(Link { loss: 0.1, ..Link::default() });
    assert!((8_800..9_200).contains(&count), "{count}");
    let (count, _) = arrivals(Link { duplication: 0.1, ..Link::default() });
    assert!((10_800..11_200).contains(&count), "{count}");
    let (count, overtaken) = arrivals(Link { reordering: 0.1, ..Link::default() });
    assert!(count == 10_000 && overtaken > 100, "{overtaken}");
    assert_eq!(arrivals(Link { loss: 1.0, ..Link::default() }).0, 0);
}

#[test]
fn bandwidth_spreads_what_is_sent() {
    let delay = Duration::ZERO..Duration::ZERO;
    let (mut net, alice, _) = pair(1, Link { bandwidth: Some(1_000), delay, ..Link::default() });
    for _ in 0..10 {
        net.send_datagram(alice, 1, addr("9.0.0.1:1"), vec![0; 500].into());
    }
    let begin = net.now().instant;
    for number in 1..=10 {
        assert!(net.next_event(begin + 60 * SECOND).is_some());
        assert_eq!(net.now().instant - begin, SECOND * number / 2);
    }
}

#[test]
fn a_parted_network_delivers_within_its_parts_only() {
    let (mut net, alice, bob) = pair(1, Link::default());
    let carol = net.add_host([10, 0, 0, 1].into());
    net.partition(|host| u32::from(host == carol));
    let received = |net: &mut Net| {
        net.send_datagram(alice, 1, addr("9.0.0.1:1"), b"a"[..].into());
        net.send_datagram(alice, 1, addr("10.0.0.1:1"), b"a"[..].into());
        let hosts = events(net, SECOND).into_iter().map(|event| match event {
            Event::Datagram { host, .. } => host,
            other => panic!("{other:?}"),
        });
        hosts.collect::<Vec<_>>()
    };
    assert_eq!(received(&mut net), [bob]);
    net.heal();
    assert_eq!(received(&mut net).len(), 2);
    net.set_down(carol, true);
    assert_eq!(received(&mut net), [bob]);
    net.set_down(carol, false);
    net.remove_host(carol);
    let dave = net.add_host([10, 0, 0, 1].into());
    assert!(received(&mut net).contains(&dave), "the address is free again");
}

#[test]
fn a_stream_is_whole_and_in_order_whatever_is_lost() {
    for loss in [0.0, 0.3] {
        let (mut net, alice, bob) = pair(3, Link { loss, reordering: 1.0, ..Link::default() });
        let (own, other) = stream(&mut net, alice, "9.0.0.1:1");
        let sent: Vec<u8> = (0..1_000_000u32).map(|number| (number % 251) as u8).collect();
        let (mut written, mut received) = (net.write(own, &sent), Vec::new());
        assert_eq!(written, WINDOW_LEN, "no more than the window");
        let until = net.now().later(600 * SECOND).instant;
        while let Some(event) = net.next_event(until) {
            match event {
                Event::Readable { host, stream } => {
                    assert_eq!((host, stream), (bob, other));
                    let mut buffer = [0; 3_000];
                    while let len @ 1.. = net.read(other, &mut buffer) {
                        received.extend_from_slice(&buffer[..len]);
                    }
                }
                Event::Writable { stream, .. } => {
                    assert_eq!(stream, own);
                    written += net.write(own, &sent[written..]);
                }
                other => panic!("{other:?}"),
            }
        }
        assert!(received == sent, "{} bytes came", received.len());
        assert_eq!(net.trace().stream_bytes, 1_000_000);
    }
}

#[test]
fn an_end_in_order_comes_after_the_bytes_and_a_break_at_once() {
    let (mut net, alice, bob) = pair(1, Link::default());
    let (own, other) = stream(&mut net, alice, "9.0.0.1:1");
    net.write(own, b"last words");
    net.close(own);
    let happened = events(&mut net, SECOND);
    let closed = Event::Closed { host: bob, stream: other, reset: false };
    assert_eq!(happened, [Event::Readable { host: bob, stream: other }, closed]);
    let mut buffer = [0; 100];
    assert_eq!(net.read(other, &mut buffer), 10);
    assert!(!net.is_open(other) && net.write(other, b"too late") == 0);
    net.close(other);
    assert_eq!(events(&mut net, SECOND), []);

    let (own, other) = stream(&mut net, alice, "9.0.0.1:1");
    net.write(own, b"lost words");
    net.abort(own);
    let closed = Event::Closed { host: bob, stream: other, reset: true };
    assert_eq!(events(&mut net, SECOND), [closed]);
    assert_eq!(net.read(other, &mut buffer), 0);
}

#[test]
fn streams_of_a_host_that_stops_break_at_the_other_end() {
    let (mut net, alice, bob) = pair(1, Link::default());
    let (own, _) = stream(&mut net, alice, "9.0.0.1:1");
    net.set_down(bob, true);
    assert_eq!(events(&mut net, SECOND), [Event::Closed { host: alice, stream: own, reset: true }]);
    let again = net.connect(alice, addr("9.0.0.1:1"));
    let failed = Event::ConnectFailed { host: alice, stream: again };
    assert_eq!(events(&mut net, CONNECT_TIMEOUT + SECOND), std::slice::from_ref(&failed));
    net.set_down(bob, false);
    let again = net.connect(alice, addr("9.0.0.1:1"));
    let failed = Event::ConnectFailed { host: alice, stream: again };
    assert_eq!(events(&mut net, SECOND), [failed], "it listens no more");
}

#[test]
fn a_short_parting_stalls_a_stream_and_a_long_one_breaks_it() {
    let (mut net, alice, bob) = pair(1, Link::default());
    let (own, other) = stream(&mut net, alice, "9.0.0.1:1");
    let part = |net: &mut Net| net.partition(|host| u32::from(host == bob));
    part(&mut net);
    net.write(own, b"patience");
    assert_eq!(events(&mut net, PATIENCE - SECOND), []);
    net.heal();
    assert_eq!(events(&mut net, SECOND), [Event::Readable { host: bob, stream: other }]);
    part(&mut net);
    net.write(own, b"in vain");
    let broken = |host, stream| Event::Closed { host, stream, reset: true };
    assert_eq!(events(&mut net, PATIENCE + SECOND), [broken(alice, own), broken(bob, other)]);
}

#[test]
fn who_is_behind_a_translator_is_seen_at_its_address_and_must_speak_first() {
    let mut net = Net::new(1);
    let config = NatConfig { kind: NatKind::PortRestricted, lifetime: 60 * SECOND };
    let nat = net.add_nat([5, 5, 5, 5].into(), config);
    let (inside, neighbour) =
        (net.add_host_behind(nat, [10, 0, 0, 2].into()), net.add_host_behind(nat, [10, 0, 0, 3].into()));
    let (known, stranger) = (net.add_host([8, 0, 0, 1].into()), net.add_host([9, 0, 0, 1].into()));
    net.send_datagram(inside, 30303, addr("8.0.0.1:1"), b"hello"[..].into());
    let happened = events(&mut net, SECOND);
    let [Event::Datagram { host, from, .. }] = &happened[..] else { panic!("{happened:?}") };
    assert_eq!((*host, from.ip()), (known, [5, 5, 5, 5].into()));
    net.send_datagram(stranger, 1, *from, b"let me in"[..].into());
    net.send_datagram(known, 1, *from, b"welcome"[..].into());
    let back =
        Event::Datagram { host: inside, port: 30303, from: addr("8.0.0.1:1"), bytes: b"welcome"[..].into() };
    assert_eq!(events(&mut net, SECOND), [back]);
    net.send_datagram(neighbour, 7, addr("10.0.0.2:30303"), b"over the fence"[..].into());
    let happened = events(&mut net, SECOND);
    assert!(matches!(&happened[..], [Event::Datagram { from, .. }] if *from == addr("10.0.0.3:7")));

    net.listen(stranger, 1);
    net.connect(inside, addr("9.0.0.1:1"));
    let happened = events(&mut net, SECOND);
    assert!(matches!(happened[0], Event::Accepted { from, .. } if from.ip() == from_nat()), "{happened:?}");
    net.connect(stranger, addr("5.5.5.5:30303"));
    assert!(matches!(events(&mut net, CONNECT_TIMEOUT + SECOND)[..], [Event::ConnectFailed { .. }]));
}

fn from_nat() -> std::net::IpAddr {
    [5, 5, 5, 5].into()
}

#[test]
fn a_host_has_one_alarm() {
    let (mut net, alice, bob) = pair(1, Link::default());
    let at = |seconds: u32, net: &Net| Some(net.now().later(SECOND * seconds).instant);
    net.wake_at(alice, at(3, &net));
    net.wake_at(alice, at(1, &net));
    net.wake_at(bob, at(2, &net));
    net.wake_at(bob, None);
    let begin = net.elapsed();
    assert_eq!(net.next_event(net.now().later(10 * SECOND).instant), Some(Event::Wake { host: alice }));
    assert_eq!(net.elapsed() - begin, SECOND);
    assert_eq!(events(&mut net, 10 * SECOND), []);
}

/// Hosts that pass datagrams and streams on to each other for a while, under every fault.
fn bustle(seed: u64, host_count: u32) -> Trace {
    let delay = Duration::from_millis(1)..Duration::from_millis(100);
    let mut net = Net::new(seed);
    net.set_link(Link { loss: 0.1, duplication: 0.1, reordering: 0.2, bandwidth: Some(1_000_000), delay });
    let ip = |number: u32| SocketAddr::new((0x0800_0000 + number).to_be_bytes().into(), 1);
    let hosts: BTreeMap<HostId, u32> =
        (0..host_count).map(|number| (net.add_host(ip(number).ip()), number)).collect();
    for (host, number) in &hosts {
        net.listen(*host, 1);
        net.send_datagram(*host, 1, ip((number + 1) % host_count), vec![*number as u8; 100].into());
        net.connect(*host, ip((number + 7) % host_count));
    }
    let until = net.now().later(3 * SECOND).instant;
    while let Some(event) = net.next_event(until) {
        match event {
            Event::Datagram { host, bytes, .. } => {
                net.send_datagram(host, 1, ip((hosts[&host] + 1) % host_count), bytes);
            }
            Event::Connected { stream, .. } => drop(net.write(stream, &[7; 5_000])),
            Event::Readable { stream, .. } => {
                net.read(stream, &mut [0; 10_000]);
                net.close(stream);
            }
            Event::Accepted { .. }
            | Event::ConnectFailed { .. }
            | Event::Writable { .. }
            | Event::Closed { .. }
            | Event::Wake { .. } => {}
        }
    }
    net.trace()
}

#[test]
fn equal_seeds_give_equal_traces_and_others_do_not() {
    let trace = bustle(5, 100);
    assert!(trace.datagrams > 1_000 && trace.stream_bytes > 100_000, "{trace:?}");
    assert_eq!(bustle(5, 100), trace);
    assert_ne!(bustle(6, 100).hash, trace.hash);
    assert_eq!(trace.to_string().len(), 64);
}

#[test]
fn ten_thousand_hosts_are_no_burden() {
    assert!(bustle(1, 10_000).datagrams > 100_000);
}
