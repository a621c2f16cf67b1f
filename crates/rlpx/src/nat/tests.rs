//! What the machine does with a gateway, told as a story: outcomes in, outputs out, time moved by hand.
//! Real responders on loopback are asked by the tests of the driver.

use std::{net::IpAddr, time::Duration};

use identity::{Label, Now};

use super::*;

const TCP: u16 = 30303;
const UDP: u16 = 30304;
const MINUTE: Duration = Duration::from_secs(60);
const PUBLIC: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(11, 22, 33, 44));

/// A machine, and the clock it is shown.
struct Story {
    machine: Mappings,
    now: Now,
}

impl Story {
    fn new() -> Self {
        let now = Now::simulated(Duration::ZERO);
        let mut story = Self { machine: Mappings::new(now, TCP, Some(UDP), 7), now };
        story.machine.handle_timeout(now);
        assert_eq!(story.outputs(), [Output::Search]);
        story
    }

    /// One whose gateway of `kind` was found and has mapped both ports.
    fn mapped(kind: ServiceKind) -> Self {
        let mut story = Self::new();
        story.found(kind, Some(PUBLIC));
        story.granted(Transport::Tcp, TCP);
        story.granted(Transport::Udp, UDP);
        story.outputs();
        story
    }

    fn found(&mut self, kind: ServiceKind, ip: Option<IpAddr>) {
        self.machine.handle_search(self.now, Ok(Found { kind, ip }));
    }

    fn granted(&mut self, transport: Transport, external: u16) {
        let grant = Grant { external, lease: MAPPING_LEASE, ip: None };
        self.machine.handle_map(self.now, transport, Ok(grant));
    }

    fn denied(&mut self, transport: Transport, fault: NatFault) {
        self.machine.handle_map(self.now, transport, Err(fault));
    }

    fn outputs(&mut self) -> Vec<Output> {
        std::iter::from_fn(|| self.machine.poll_output()).collect()
    }

    /// Moves time to the next timeout and tells how long that was.
    fn advance(&mut self) -> Duration {
        let due = self.machine.next_timeout().expect("something is due");
        let by = due.saturating_duration_since(self.now.instant);
        self.now = self.now.later(by);
        self.machine.handle_timeout(self.now);
        by
    }

    fn after(&mut self, by: Duration) -> Vec<Output> {
        self.now = self.now.later(by);
        self.machine.handle_timeout(self.now);
        self.outputs()
    }

    fn external(&self) -> External {
        self.machine.external()
    }

    fn count(&self, fault: NatFault) -> u64 {
        self.machine.faults().count(fault)
    }
}

fn map(transport: Transport, external: u16) -> Output {
    Output::Map(request(transport, external))
}

fn request(transport: Transport, external: u16) -> MapRequest {
    let internal = match transport {
        Transport::Tcp => TCP,
        Transport::Udp => UDP,
    };
    MapRequest { transport, internal, external, lease: MAPPING_LEASE }
}

fn is_retry(delay: Duration) -> bool {
    (RETRY_AFTER..=RETRY_AFTER + RETRY_JITTER).contains(&delay)
}

#[test]
fn a_found_gateway_maps_both_ports_and_the_owner_is_told() {
    let mut story = Story::new();
    story.found(ServiceKind::Upnp, Some(PUBLIC));
    let first = External { ip: Some(PUBLIC), ..External::default() };
    let told = Output::Event(Event::Changed(first));
    assert_eq!(story.outputs(), [map(Transport::Tcp, TCP), map(Transport::Udp, UDP), told]);
    story.granted(Transport::Tcp, TCP);
    let told = External { tcp: Some(TCP), ..first };
    assert_eq!(story.outputs(), [Output::Event(Event::Changed(told))]);
    story.granted(Transport::Udp, 4_000);
    assert_eq!(story.outputs(), [Output::Event(Event::Changed(External { udp: Some(4_000), ..told }))]);
}

#[test]
fn mappings_are_renewed_after_eight_minutes_and_the_address_asked_for_every_two() {
    let mut story = Story::mapped(ServiceKind::NatPmp);
    for _ in 0..3 {
        assert_eq!(story.after(2 * MINUTE), [Output::Address]);
        story.machine.handle_address(story.now, Ok(PUBLIC));
        assert_eq!(story.outputs(), []);
    }
    let due = story.after(2 * MINUTE);
    assert_eq!(due, [map(Transport::Tcp, TCP), map(Transport::Udp, UDP), Output::Address]);
    story.granted(Transport::Tcp, TCP);
    story.granted(Transport::Udp, UDP);
    assert_eq!(story.outputs(), []);
}

#[test]
fn with_pcp_a_renewal_every_two_minutes_follows_the_address() {
    let mut story = Story::mapped(ServiceKind::Pcp);
    assert_eq!(story.advance(), 2 * MINUTE);
    assert_eq!(story.outputs(), [map(Transport::Tcp, TCP), map(Transport::Udp, UDP)]);
    let moved: IpAddr = [11, 22, 33, 45].into();
    let grant = Grant { external: TCP, lease: MAPPING_LEASE, ip: Some(moved) };
    story.machine.handle_map(story.now, Transport::Tcp, Ok(grant));
    assert_eq!(story.external().ip, Some(moved));
}

#[test]
fn a_changed_address_is_told_once() {
    let mut story = Story::mapped(ServiceKind::Upnp);
    let moved: IpAddr = [11, 22, 33, 45].into();
    for told in [1, 0] {
        assert_eq!(story.after(2 * MINUTE), [Output::Address]);
        story.machine.handle_address(story.now, Ok(moved));
        assert_eq!(story.outputs().len(), told);
    }
    assert_eq!(story.external(), External { ip: Some(moved), tcp: Some(TCP), udp: Some(UDP) });
}

#[test]
fn a_taken_port_is_replaced_by_another_three_times_and_then_waited_for() {
    let mut story = Story::new();
    story.found(ServiceKind::Upnp, Some(PUBLIC));
    story.granted(Transport::Udp, UDP);
    story.outputs();
    for _ in 0..MAX_ALTERNATIVES {
        story.denied(Transport::Tcp, NatFault::PortTaken);
        let outputs = story.outputs();
        let [Output::Map(other)] = outputs[..] else { panic!("{outputs:?}") };
        assert!(other.external >= FIRST_ALTERNATIVE_PORT && other.external != TCP);
        assert_eq!((other.transport, other.internal), (Transport::Tcp, TCP));
    }
    story.denied(Transport::Tcp, NatFault::PortTaken);
    assert_eq!(story.outputs(), []);
    assert_eq!(story.count(NatFault::PortTaken), u64::from(MAX_ALTERNATIVES) + 1);
    story.advance();
    story.machine.handle_address(story.now, Ok(PUBLIC));
    story.advance();
    story.machine.handle_address(story.now, Ok(PUBLIC));
    story.outputs();
    story.advance();
    assert_eq!(story.outputs(), [map(Transport::Tcp, TCP)], "after five minutes the wanted one again");
}

#[test]
fn five_failed_renewals_drop_a_mapping_and_then_the_gateway() {
    let mut story = Story::mapped(ServiceKind::Upnp);
    story.now = story.now.later(8 * MINUTE);
    for failure in 1..=MAX_FAILURES {
        story.machine.handle_timeout(story.now);
        story.machine.handle_address(story.now, Err(NatFault::Silent));
        story.outputs();
        story.denied(Transport::Tcp, NatFault::Silent);
        story.denied(Transport::Udp, NatFault::Silent);
        let last = failure == MAX_FAILURES;
        assert_eq!(story.external().tcp, (!last).then_some(TCP));
        story.now = story.now.later(RETRY_AFTER + RETRY_JITTER);
    }
    let outputs = story.outputs();
    assert!(outputs.contains(&Output::Unmap(request(Transport::Tcp, TCP))), "{outputs:?}");
    assert!(outputs.contains(&Output::Unmap(request(Transport::Udp, UDP))), "{outputs:?}");
    story.machine.handle_unmap(story.now, Transport::Tcp, Err(NatFault::Silent));
    story.machine.handle_unmap(story.now, Transport::Udp, Err(NatFault::Silent));
    assert!(is_retry(story.advance()));
    assert_eq!(story.outputs(), [Output::Search]);
    assert_eq!(story.external(), External { ip: Some(PUBLIC), tcp: None, udp: None });
}

#[test]
fn a_search_is_repeated_after_five_minutes_and_given_up_after_five_failures() {
    let mut story = Story::new();
    for failure in 1..=MAX_FAILURES {
        story.machine.handle_search(story.now, Err(NatFault::Silent));
        if failure < MAX_FAILURES {
            assert!(is_retry(story.advance()));
            assert_eq!(story.outputs(), [Output::Search]);
        }
    }
    assert_eq!(story.outputs(), [Output::Event(Event::GaveUp)]);
    assert_eq!(story.machine.next_timeout(), None);
    assert_eq!(story.count(NatFault::Silent), u64::from(MAX_FAILURES));
}

#[test]
fn stun_tells_the_address_and_maps_nothing() {
    let mut story = Story::new();
    story.found(ServiceKind::Stun, Some(PUBLIC));
    let told = External { ip: Some(PUBLIC), tcp: None, udp: None };
    assert_eq!(story.outputs(), [Output::Event(Event::Changed(told))]);
    assert_eq!(story.advance(), ADDRESS_INTERVAL);
    assert_eq!(story.outputs(), [Output::Address]);
    for _ in 1..MAX_FAILURES {
        story.machine.handle_address(story.now, Err(NatFault::Silent));
        assert!(is_retry(story.advance()));
        assert_eq!(story.outputs(), [Output::Address]);
    }
    story.machine.handle_address(story.now, Err(NatFault::Silent));
    story.advance();
    assert_eq!(story.outputs(), [Output::Search], "another server may answer");
}

#[test]
fn a_shutdown_removes_what_is_mapped_and_what_is_being_mapped() {
    let mut story = Story::new();
    story.found(ServiceKind::Upnp, Some(PUBLIC));
    story.granted(Transport::Tcp, 4_000);
    story.outputs();
    story.machine.shutdown(story.now);
    assert_eq!(story.outputs(), [Output::Unmap(request(Transport::Tcp, 4_000))]);
    story.machine.handle_unmap(story.now, Transport::Tcp, Ok(()));
    assert!(!story.machine.is_closed());
    story.granted(Transport::Udp, UDP);
    assert_eq!(story.outputs(), [Output::Unmap(request(Transport::Udp, UDP))]);
    story.machine.handle_unmap(story.now, Transport::Udp, Ok(()));
    assert!(story.machine.is_closed());
}

#[test]
fn a_shutdown_does_not_wait_longer_than_five_seconds() {
    let mut story = Story::mapped(ServiceKind::NatPmp);
    story.machine.shutdown(story.now);
    assert_eq!(story.outputs().len(), 2);
    assert_eq!(story.advance(), SHUTDOWN_TIMEOUT);
    assert!(story.machine.is_closed());
}

#[test]
fn a_shutdown_before_anything_was_mapped_is_complete_at_once() {
    let mut story = Story::new();
    story.machine.shutdown(story.now);
    assert!(story.machine.is_closed());
    story.found(ServiceKind::Upnp, Some(PUBLIC));
    assert_eq!(story.outputs(), []);
}

#[test]
fn s13_an_external_address_that_is_not_global_is_refused_and_counted() {
    let mut story = Story::mapped(ServiceKind::Upnp);
    let bad = [
        "10.0.0.1",
        "192.168.1.1",
        "127.0.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "100.64.0.1",
        "::1",
        "::",
        "fe80::1",
        "ff02::1",
        "::ffff:10.0.0.1",
    ];
    for (index, text) in bad.iter().enumerate() {
        assert_eq!(story.after(ADDRESS_INTERVAL)[..1].len(), 1);
        story.machine.handle_address(story.now, Ok(text.parse().unwrap()));
        assert_eq!(story.count(NatFault::AddressNotGlobal), index as u64 + 1, "{text}");
        assert_eq!(story.external().ip, Some(PUBLIC), "{text}");
        story.granted(Transport::Tcp, TCP);
        story.granted(Transport::Udp, UDP);
        assert_eq!(story.outputs(), []);
    }
}

#[test]
fn s13_a_grant_for_no_time_or_of_port_0_is_none() {
    let mut story = Story::new();
    story.found(ServiceKind::NatPmp, Some(PUBLIC));
    let grant = Grant { external: TCP, lease: Duration::ZERO, ip: None };
    story.machine.handle_map(story.now, Transport::Tcp, Ok(grant));
    let grant = Grant { external: 0, lease: MAPPING_LEASE, ip: None };
    story.machine.handle_map(story.now, Transport::Udp, Ok(grant));
    assert_eq!(story.count(NatFault::EmptyGrant), 2);
    assert_eq!(story.external(), External { ip: Some(PUBLIC), tcp: None, udp: None });
}

#[test]
fn s13_absurd_leases_neither_flood_the_gateway_nor_stop_the_renewals() {
    for (lease, renewed) in [
        (Duration::from_secs(1), MIN_RENEWAL),
        (Duration::from_secs(100), Duration::from_secs(80)),
        (Duration::from_secs(u64::from(u32::MAX)), RENEW_AFTER),
        (Duration::MAX, RENEW_AFTER),
    ] {
        assert_eq!(super::mappings::renewal(ServiceKind::Upnp, lease), Some(renewed), "{lease:?}");
    }
}

#[test]
fn s13_outcomes_that_nobody_asked_for_change_nothing() {
    let mut story = Story::new();
    story.granted(Transport::Tcp, TCP);
    story.machine.handle_address(story.now, Ok(PUBLIC));
    story.machine.handle_unmap(story.now, Transport::Udp, Ok(()));
    assert_eq!((story.outputs(), story.external()), (vec![], External::default()));
    assert_eq!(NatFault::ALL.iter().map(|fault| story.count(*fault)).sum::<u64>(), 0);
}
