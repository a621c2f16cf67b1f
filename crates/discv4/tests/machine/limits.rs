//! Floods, and work on the curve that is out: refused at the door, cut by host, and gone when it is over.
//! Strangers leave nothing behind.

use std::time::Duration;

use discv4::{
    Config, Event, Load, Reject, RequestError,
    config::{MAX_JOBS, MAX_REQUEST_JOBS},
};
use identity::{AddressPolicy, curve::CurveResult};

use super::{
    host, local_host, quiet,
    stage::{Host, Stranger, addr, endpoint, key, kinds, public},
    stranger,
};

#[test]
fn u22_a_flood_from_one_host_is_cut_and_others_are_heard() {
    let mut host = host();
    let mut answered = 0;
    for number in 0..500 {
        let flooder = Stranger { key: key(1000 + number), addr: public(9) };
        answered += usize::from(!host.receive(flooder.addr, &flooder.ping(&host)).is_empty());
    }
    assert_eq!((answered, host.rejected(Reject::HostRate)), (60, 440));
    assert_eq!(kinds(&host.receive(public(2), &stranger(2).ping(&host))), ["pong", "ping"]);
}

#[test]
fn u22_loopback_floods_meet_the_limits_when_it_counts_as_public() {
    let config = Config { address_policy: AddressPolicy { loopback_is_public: true }, ..Config::default() };
    let mut host = quiet(Host::new(1, "127.0.0.1:30303", config));
    for number in 0..100 {
        let flooder = Stranger { key: key(1000 + number), addr: addr("127.1.2.3:9999") };
        host.receive(flooder.addr, &flooder.ping(&host));
    }
    assert_eq!(host.rejected(Reject::HostRate), 40);
}

#[test]
fn u23_strangers_leave_nothing_behind() {
    let mut host = local_host();
    for number in 0..3000u32 {
        let [_, _, high, low] = number.to_be_bytes();
        let stranger = Stranger { key: key(1000 + number), addr: addr(&format!("127.1.{high}.{low}:30303")) };
        host.receive(stranger.addr, &stranger.ping(&host));
        host.now = host.now.later(Duration::from_millis(1));
    }
    assert!(host.machine.load().pending <= 2048);
    host.pass(Duration::from_secs(1));
    assert_eq!((host.machine.load(), host.machine.table().len()), (Load::default(), 0));
}

#[test]
fn jobs_are_refused_at_the_door_and_a_third_is_left_for_answers() {
    let mut host = local_host();
    let friend = Stranger::new(2, "127.0.0.1:30304");
    host.machine.ping(host.now, friend.key.public_key(), endpoint(friend.addr));
    let ping = host.drain().pop().unwrap();
    host.hold_jobs = true;
    for number in 0..1000u32 {
        let [_, _, high, low] = number.to_be_bytes();
        let stranger = Stranger { key: key(1000 + number), addr: addr(&format!("127.1.{high}.{low}:30303")) };
        host.receive(stranger.addr, &stranger.ping(&host));
        host.now = host.now.later(Duration::from_micros(200));
    }
    assert_eq!(host.machine.load().jobs, MAX_REQUEST_JOBS);
    assert!(host.rejected(Reject::Busy) >= 300);
    host.receive(friend.addr, &friend.pong(&host, &ping));
    assert_eq!(host.held.len(), MAX_REQUEST_JOBS + 1);
    let pong = host.held.pop().unwrap();
    host.run(pong);
    host.drain();
    assert!(host.events.iter().any(|event| matches!(event, Event::PongReceived { .. })));
    assert!(host.machine.load().jobs <= MAX_JOBS);
}

#[test]
fn a_refused_job_ends_its_request_and_forgets_its_answer() {
    let (mut host, stranger) = (host(), stranger(2));
    host.hold_jobs = true;
    host.machine.ping(host.now, stranger.key.public_key(), endpoint(stranger.addr));
    host.drain();
    let job = host.held.pop().unwrap();
    host.machine.handle_curve(host.now, job.ticket, CurveResult::Refused);
    host.drain();
    assert!(matches!(host.events[..], [Event::RequestFailed { error: RequestError::Busy, .. }]));
    let ping = stranger.ping(&host);
    host.receive(stranger.addr, &ping);
    let recover = host.held.pop().unwrap();
    host.run(recover);
    host.drain();
    let sign = host.held.pop().unwrap();
    host.machine.handle_curve(host.now, sign.ticket, CurveResult::Refused);
    host.machine.handle_curve(host.now, sign.ticket, CurveResult::Refused);
    host.hold_jobs = false;
    assert_eq!(kinds(&host.receive(stranger.addr, &ping))[0], "pong", "its like is new");
    assert_eq!(host.rejected(Reject::CurveRefused), 2);
}

#[test]
fn a_datagram_whose_first_copy_is_being_worked_on_is_dropped() {
    let (mut host, stranger) = (host(), stranger(2));
    host.hold_jobs = true;
    let ping = stranger.ping(&host);
    host.receive(stranger.addr, &ping);
    host.receive(stranger.addr, &ping);
    assert_eq!((host.held.len(), host.rejected(Reject::InFlight)), (1, 1));
    assert_eq!(kinds(&host.release()), ["pong", "ping"]);
}
