//! Requests of the owner: what they are told, when they end, and why they cannot begin.
//! Each ends once.

use std::time::Duration;

use discv4::{Config, Event, Load, RequestError, wire::Pong};
use identity::{Endpoint, PublicKey};

use super::{
    host,
    stage::{Host, addr, endpoint, key, kinds, public},
    stranger,
};

#[test]
fn u28_requests_end_with_their_deadline_to_the_tick() {
    let mut host = host();
    host.machine.ping(host.now, key(2).public_key(), endpoint(public(2)));
    assert_eq!(kinds(&host.drain()), ["ping"]);
    host.pass(Duration::from_nanos(499_999_999));
    assert_eq!(host.events, []);
    host.pass(Duration::from_nanos(1));
    assert!(matches!(host.events[..], [Event::RequestFailed { error: RequestError::Timeout, .. }]));
    assert_eq!(host.machine.load().pending, 0);
}

#[test]
fn a_ping_of_the_owner_tells_what_the_pong_says() {
    let (mut host, friend) = (host(), stranger(2));
    let request = host.machine.ping(host.now, friend.key.public_key(), endpoint(friend.addr));
    let ping = host.drain().pop().unwrap();
    host.now = host.now.later(Duration::from_millis(30));
    let told = Endpoint { ip: [7, 7, 7, 7].into(), udp: 7, tcp: 8 };
    host.receive(friend.addr, &friend.sign(Pong::encode(&told, &ping.hash(), host.soon(), 12)));
    let Some(Event::PongReceived { request: answered, pong }) = host.events.last().cloned() else {
        panic!("{:?}", host.events)
    };
    assert_eq!((answered, pong.rtt, pong.enr_seq), (request, Duration::from_millis(30), Some(12)));
    assert_eq!((pong.told_endpoint, pong.from), (told, friend.addr));
}

#[test]
fn requests_that_cannot_be_begun_say_why() {
    let config = Config { net_restrict: "127.0.0.0/8".parse().unwrap(), ..Config::default() };
    let mut host = Host::new(1, "127.0.0.1:30303", config);
    let mut error = |key: PublicKey, address: &str| {
        host.machine.ping(host.now, key, endpoint(addr(address)));
        host.drain();
        match host.events.pop() {
            Some(Event::RequestFailed { error, .. }) => error,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(error(key(2).public_key(), "8.8.8.8:30303"), RequestError::NetRestrict);
    assert_eq!(error(key(2).public_key(), "127.0.0.1:0"), RequestError::NoEndpoint);
    assert_eq!(error(key(1).public_key(), "127.0.0.1:30304"), RequestError::NoEndpoint);
}

#[test]
fn a_request_cancelled_while_it_is_signed_is_not_sent() {
    let (mut host, stranger) = (host(), stranger(2));
    host.hold_jobs = true;
    let id = host.machine.ping(host.now, stranger.key.public_key(), endpoint(stranger.addr));
    host.drain();
    host.machine.cancel_request(id);
    assert_eq!((host.release(), host.machine.load()), (vec![], Load::default()));
}
