//! A gateway on loopback that speaks NAT-PMP (RFC 6886) or PCP (RFC 6887), on the one port that both have: so every
//! gateway has an address of its own in 127.0.0.0/8.

use std::{
    net::Ipv4Addr,
    process,
    sync::{Arc, Mutex},
    time::Duration,
};

use rlpx::{
    Nat,
    nat::{
        ADDRESS_INTERVAL, External, MAPPING_LEASE, MAX_FAILURES, MIN_RENEWAL, NatFault, RENEW_AFTER,
        RETRY_AFTER, RETRY_JITTER,
    },
};
use tokio::{net::UdpSocket, task::AbortHandle, time::pause};

use crate::support::{PUBLIC, Seen, TCP, UDP, becomes, counted, external, pass, start, within};

/// The port of both protocols (RFC 6886, section 3; RFC 6887, section 19).
const PORT: u16 = 5351;

/// A request to map a port; removed with a lease of 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mapped {
    /// As IANA numbers protocols.
    protocol: u8,
    internal: u16,
    external: u16,
    lease: u32,
}

/// What the gateway says.
#[derive(Clone)]
struct Mood {
    ip: Ipv4Addr,
    /// Added to every external port it is asked for.
    shift: u16,
    lease: Option<u32>,
    /// The result code of every answer.
    code: u8,
    /// Said instead of everything.
    says: Option<Vec<u8>>,
    is_silent: bool,
}

struct Gateway {
    ip: Ipv4Addr,
    mood: Arc<Mutex<Mood>>,
    seen: Seen<Mapped>,
    task: AbortHandle,
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Gateway {
    async fn start() -> Self {
        let (ip, socket) = free().await;
        let mood = Mood { ip: PUBLIC, shift: 0, lease: None, code: 0, says: None, is_silent: false };
        let mood = Arc::new(Mutex::new(mood));
        let (sender, seen) = Seen::new();
        let held = Arc::clone(&mood);
        let serve = async move {
            let mut request = [0; 1_500];
            while let Ok((len, from)) = socket.recv_from(&mut request).await {
                let mood = held.lock().unwrap().clone();
                let (answer, mapped) = answer(&request[..len], &mood);
                if let Some(mapped) = mapped {
                    let _full = sender.try_send(mapped);
                }
                if !mood.is_silent {
                    let _gone = socket.send_to(&mood.says.unwrap_or(answer), from).await;
                }
            }
        };
        #[expect(clippy::disallowed_methods, reason = "a responder is a task of its test")]
        let task = tokio::spawn(serve).abort_handle();
        Self { ip, mood, seen, task }
    }

    fn change(&self, change: impl FnOnce(&mut Mood)) {
        change(&mut self.mood.lock().unwrap());
    }

    /// The next two requests about mappings, TCP first.
    async fn both(&mut self) -> [Mapped; 2] {
        let mut both = [self.seen.next().await, self.seen.next().await];
        both.sort_by_key(|mapped| mapped.protocol);
        both
    }
}

/// An address of loopback whose port is nobody's.
async fn free() -> (Ipv4Addr, UdpSocket) {
    let [_, _, high, low] = process::id().to_be_bytes();
    for number in 1..=u8::MAX {
        let ip = Ipv4Addr::new(127, high | 1, low, number);
        if let Ok(socket) = UdpSocket::bind((ip, PORT)).await {
            return (ip, socket);
        }
    }
    panic!("no address of loopback has port {PORT} free");
}

fn answer(request: &[u8], mood: &Mood) -> (Vec<u8>, Option<Mapped>) {
    let word = |at: usize| u16::from_be_bytes([request[at], request[at + 1]]);
    let long = |at: usize| u32::from_be_bytes(request[at..at + 4].try_into().unwrap());
    match (request[0], request[1]) {
        (0, 0) => ([&[0, 128, 0, mood.code, 0, 0, 0, 9], &mood.ip.octets()[..]].concat(), None),
        (0, op) => {
            let protocol = if op == 2 { 6 } else { 17 };
            let mapped = Mapped { protocol, internal: word(4), external: word(6), lease: long(8) };
            let (external, lease) = granted(mapped, mood);
            let answer = [
                &[0, 128 + op, 0, mood.code, 0, 0, 0, 9],
                &request[4..6],
                &external.to_be_bytes(),
                &lease.to_be_bytes(),
            ];
            (answer.concat(), Some(mapped))
        }
        _ => {
            let mapped =
                Mapped { protocol: request[36], internal: word(40), external: word(42), lease: long(4) };
            let (external, lease) = granted(mapped, mood);
            let answer = [
                &[2, 129, 0, mood.code],
                &lease.to_be_bytes()[..],
                &[0; 16],
                &request[24..42],
                &external.to_be_bytes(),
                &mood.ip.to_ipv6_mapped().octets(),
            ];
            (answer.concat(), Some(mapped))
        }
    }
}

fn granted(mapped: Mapped, mood: &Mood) -> (u16, u32) {
    if mapped.lease == 0 {
        (0, 0)
    } else {
        (mapped.external + mood.shift, mood.lease.unwrap_or(mapped.lease))
    }
}

/// Both ports with `lease`, in seconds.
fn asked(lease: u32, shift: u16) -> [Mapped; 2] {
    [(6, TCP), (17, UDP)].map(|(protocol, internal)| {
        let external = if lease == 0 { 0 } else { internal + shift };
        Mapped { protocol, internal, external, lease }
    })
}

const LEASE: u32 = MAPPING_LEASE.as_secs() as u32;

/// A gateway of `kind` that has mapped both ports `shift` higher.
async fn mapped(kind: &str, shift: u16) -> (Gateway, Nat) {
    let mut gateway = Gateway::start().await;
    gateway.change(|mood| mood.shift = shift);
    let nat = start(&format!("{kind}:{}", gateway.ip));
    becomes(&nat, external(PUBLIC, TCP + shift, UDP + shift)).await;
    if kind == "pcp" {
        assert_eq!(
            gateway.seen.next().await,
            Mapped { external: 0, lease: 0, ..asked(0, 0)[0] },
            "the probe"
        );
    }
    assert_eq!(gateway.both().await, asked(LEASE, 0));
    (gateway, nat)
}

#[tokio::test]
async fn nat_pmp_and_pcp_map_renew_and_remove_both_ports() {
    for (kind, renewed_after) in [("pmp", RENEW_AFTER), ("pcp", ADDRESS_INTERVAL)] {
        let (mut gateway, nat) = mapped(kind, 0).await;
        for _ in 0..2 {
            pass(renewed_after).await;
            assert_eq!(gateway.both().await, asked(LEASE, 0), "{kind}");
            settle().await;
        }
        within(nat.shutdown()).await;
        assert_eq!(gateway.both().await, asked(0, 0), "{kind}");
    }
}

/// Lets answers that were written be read, before time is moved.
async fn settle() {
    for _ in 0..1_000 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn another_port_than_was_wanted_is_told_and_renewed() {
    for (kind, renewed_after) in [("pmp", RENEW_AFTER), ("pcp", ADDRESS_INTERVAL)] {
        let (mut gateway, nat) = mapped(kind, 1_000).await;
        gateway.change(|mood| mood.shift = 0);
        pass(renewed_after).await;
        assert_eq!(gateway.both().await, asked(LEASE, 1_000), "{kind}");
        settle().await;
        assert_eq!(nat.external(), external(PUBLIC, TCP + 1_000, UDP + 1_000), "{kind}");
    }
}

#[tokio::test]
async fn another_port_at_a_renewal_is_told_and_asked_for_from_then_on() {
    for (kind, renewed_after) in [("pmp", RENEW_AFTER), ("pcp", ADDRESS_INTERVAL)] {
        let (mut gateway, nat) = mapped(kind, 0).await;
        gateway.change(|mood| mood.shift = 500);
        pass(renewed_after).await;
        assert_eq!(gateway.both().await, asked(LEASE, 0), "{kind}");
        becomes(&nat, external(PUBLIC, TCP + 500, UDP + 500)).await;
        gateway.change(|mood| mood.shift = 0);
        pass(renewed_after).await;
        assert_eq!(gateway.both().await, asked(LEASE, 500), "{kind}");
    }
}

#[tokio::test]
async fn a_changed_external_address_is_followed() {
    let moved = Ipv4Addr::new(11, 22, 33, 45);
    for kind in ["pmp", "pcp"] {
        let (gateway, nat) = mapped(kind, 0).await;
        gateway.change(|mood| mood.ip = moved);
        pass(ADDRESS_INTERVAL).await;
        becomes(&nat, external(moved, TCP, UDP)).await;
    }
}

#[tokio::test]
async fn s13_a_silent_gateway_is_given_up_after_five_searches() {
    for kind in ["pmp", "pcp"] {
        let gateway = Gateway::start().await;
        gateway.change(|mood| mood.is_silent = true);
        pause();
        let nat = start(&format!("{kind}:{}", gateway.ip));
        assert_eq!(nat.changes().next().await, None);
        assert_eq!(nat.faults().count(NatFault::Silent), u64::from(MAX_FAILURES), "{kind}");
        tokio::time::resume();
    }
}

#[tokio::test]
async fn s13_a_refusal_is_counted_and_nothing_told() {
    for (kind, maps) in [("pmp", false), ("pcp", true)] {
        let gateway = Gateway::start().await;
        // Not authorized, in both protocols.
        gateway.change(|mood| mood.code = 2);
        let nat = start(&format!("{kind}:{}", gateway.ip));
        // PCP that refuses is still PCP: its search succeeds, and its mappings fail.
        counted(&nat, NatFault::Refused, if maps { 2 } else { 1 }).await;
        assert_eq!(nat.external(), External::default(), "{kind}");
    }
}

#[tokio::test]
async fn s13_garbage_short_and_long_answers_are_malformed_and_an_honest_one_later_counts() {
    for kind in ["pmp", "pcp"] {
        for says in [vec![], vec![0], vec![0xff; 60], vec![0; 1_400], vec![2; 7], vec![0xff; 20_000]] {
            let gateway = Gateway::start().await;
            let len = says.len();
            gateway.change(|mood| mood.says = Some(says));
            let nat = start(&format!("{kind}:{}", gateway.ip));
            counted(&nat, NatFault::Malformed, 1).await;
            assert_eq!(nat.external(), External::default(), "{kind} {len}");
            gateway.change(|mood| mood.says = None);
            pass(RETRY_AFTER + RETRY_JITTER).await;
            becomes(&nat, external(PUBLIC, TCP, UDP)).await;
        }
    }
}

#[tokio::test]
async fn s13_an_external_address_that_is_not_global_is_never_told() {
    for kind in ["pmp", "pcp"] {
        let gateway = Gateway::start().await;
        gateway.change(|mood| mood.ip = Ipv4Addr::new(192, 168, 1, 1));
        let nat = start(&format!("{kind}:{}", gateway.ip));
        becomes(&nat, External { ip: None, tcp: Some(TCP), udp: Some(UDP) }).await;
        assert!(nat.faults().count(NatFault::AddressNotGlobal) >= 1, "{kind}");
    }
}

#[tokio::test]
async fn s13_absurd_leases_are_renewed_no_sooner_than_a_minute_and_no_later_than_eight() {
    for (lease, sooner, renewed_after) in
        [(1, MIN_RENEWAL / 2, MIN_RENEWAL), (u32::MAX, RENEW_AFTER / 2, RENEW_AFTER)]
    {
        let mut gateway = Gateway::start().await;
        gateway.change(|mood| mood.lease = Some(lease));
        let nat = start(&format!("pmp:{}", gateway.ip));
        becomes(&nat, external(PUBLIC, TCP, UDP)).await;
        gateway.both().await;
        pass(sooner).await;
        settle().await;
        assert_eq!(gateway.seen.rest(), [], "{lease}");
        pass(renewed_after - sooner + Duration::from_millis(1)).await;
        assert_eq!(gateway.both().await, asked(LEASE, 0), "{lease}");
    }
}

#[tokio::test]
async fn s13_a_lease_of_no_time_is_no_mapping() {
    let gateway = Gateway::start().await;
    gateway.change(|mood| mood.lease = Some(0));
    let nat = start(&format!("pmp:{}", gateway.ip));
    counted(&nat, NatFault::EmptyGrant, 2).await;
    assert_eq!(nat.external(), External { ip: Some(PUBLIC.into()), ..External::default() });
}
