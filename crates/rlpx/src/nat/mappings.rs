//! The machine that keeps a node reachable: it searches for a gateway, has the ports mapped, renews them, follows the
//! external address, and removes the mappings at the end. It sends nothing and knows no protocol: an [`Output`] asks the
//! driver for one operation, whose outcome comes back by the `handle_` method of the same name.

use std::{collections::VecDeque, net::IpAddr, time::Duration, time::Instant};

use identity::{AddressClass, Counters, Now, unmapped};
use rand::{RngExt, SeedableRng, rngs::ChaCha8Rng};

use super::{
    ADDRESS_INTERVAL, External, FIRST_ALTERNATIVE_PORT, MAPPING_LEASE, MAX_ALTERNATIVES, MAX_FAILURES,
    MIN_RENEWAL, NatFault, RENEW_AFTER, RETRY_AFTER, RETRY_JITTER, SHUTDOWN_TIMEOUT,
};

/// The protocol of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Transport {
    /// For peers.
    Tcp,
    /// For discovery.
    Udp,
}

/// How a gateway or server is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServiceKind {
    /// UPnP IGD.
    Upnp,
    /// NAT-PMP.
    NatPmp,
    /// PCP: it tells the external address with each mapping, and has no other way to.
    Pcp,
    /// STUN: it tells the external address and maps nothing.
    Stun,
}

/// A gateway or server that answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// What it speaks.
    pub kind: ServiceKind,
    /// Our external address, where the answer has it.
    pub ip: Option<IpAddr>,
}

/// A mapping to ask for or to remove.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MapRequest {
    /// The protocol of both ports.
    pub transport: Transport,
    /// Our port.
    pub internal: u16,
    /// The gateway's port: wanted, or granted before.
    pub external: u16,
    /// For how long.
    pub lease: Duration,
}

/// What a gateway granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The gateway's port, which need not be the one that was wanted.
    pub external: u16,
    /// For how long, which need not be what was wanted.
    pub lease: Duration,
    /// The external address, where the answer has it.
    pub ip: Option<IpAddr>,
}

/// What the machine wants done, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// Find a gateway; then [`Mappings::handle_search`].
    Search,
    /// Ask the found one for our external address; then [`Mappings::handle_address`].
    Address,
    /// Have a port mapped, or its mapping renewed; then [`Mappings::handle_map`].
    Map(MapRequest),
    /// Have a mapping removed; then [`Mappings::handle_unmap`].
    Unmap(MapRequest),
    /// Something the owner wants to know.
    Event(Event),
}

/// What the owner wants to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The address or a port is another one than before.
    Changed(External),
    /// Nothing answers, or nothing is granted: nothing is sent any more.
    GaveUp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Waiting(Instant),
    Searching,
    Found(ServiceKind),
    GaveUp,
    /// Mappings are being removed, until then at most.
    Closing(Option<Instant>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PortState {
    /// Not mapped, and nothing is done for it.
    Idle,
    /// To be mapped or renewed then.
    Due(Instant),
    Mapping,
    Unmapping,
}

#[derive(Clone, Copy, Debug)]
struct Port {
    transport: Transport,
    internal: u16,
    /// The external port to ask for.
    wanted: u16,
    /// The external port that we have.
    granted: Option<u16>,
    state: PortState,
    failures: u32,
    alternatives: u32,
}

impl Port {
    const fn new(transport: Transport, internal: u16) -> Self {
        let state = PortState::Idle;
        Self { transport, internal, wanted: internal, granted: None, state, failures: 0, alternatives: 0 }
    }

    const fn request(&self) -> MapRequest {
        let external = match self.granted {
            Some(port) => port,
            None => self.wanted,
        };
        MapRequest { transport: self.transport, internal: self.internal, external, lease: MAPPING_LEASE }
    }
}

/// The mappings of one node. Call [`Mappings::handle_timeout`] once to begin, and drain [`Mappings::poll_output`]
/// after every call. At most one operation of a kind, and one a port, is under way.
#[derive(Debug)]
pub struct Mappings {
    stage: Stage,
    ports: Vec<Port>,
    /// When the address is asked for next; None while it is being asked for, or is not to be.
    address_due: Option<Instant>,
    /// Searches and gateways in a row that led to nothing.
    failures: u32,
    address_failures: u32,
    known: External,
    told: External,
    outputs: VecDeque<Output>,
    faults: Counters<NatFault>,
    rng: ChaCha8Rng,
}

impl Mappings {
    /// For a node that listens on the TCP port `tcp`, and with discovery on the UDP port `udp`. `seed` decides jitter and
    /// which ports are tried; it is no secret.
    pub fn new(now: Now, tcp: u16, udp: Option<u16>, seed: u64) -> Self {
        let udp = udp.map(|port| Port::new(Transport::Udp, port));
        Self {
            stage: Stage::Waiting(now.instant),
            ports: [Port::new(Transport::Tcp, tcp)].into_iter().chain(udp).collect(),
            address_due: None,
            failures: 0,
            address_failures: 0,
            known: External::default(),
            told: External::default(),
            outputs: VecDeque::new(),
            faults: Counters::default(),
            rng: ChaCha8Rng::seed_from_u64(seed),
        }
    }

    /// What was wrong with answers so far.
    pub const fn faults(&self) -> &Counters<NatFault> {
        &self.faults
    }

    /// What is known of the outside.
    pub const fn external(&self) -> External {
        self.known
    }

    /// The next thing to do.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`Mappings::handle_timeout`] is due; None while only outcomes are waited for.
    pub fn next_timeout(&self) -> Option<Instant> {
        match self.stage {
            Stage::Waiting(due) => Some(due),
            Stage::Found(_) => {
                let ports = self.ports.iter().filter_map(|port| match port.state {
                    PortState::Due(due) => Some(due),
                    PortState::Idle | PortState::Mapping | PortState::Unmapping => None,
                });
                ports.chain(self.address_due).min()
            }
            Stage::Closing(deadline) => deadline,
            Stage::Searching | Stage::GaveUp => None,
        }
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Now) {
        match self.stage {
            Stage::Waiting(due) if due <= now.instant => {
                self.stage = Stage::Searching;
                self.outputs.push_back(Output::Search);
            }
            Stage::Found(_) => self.do_what_is_due(now),
            Stage::Closing(Some(deadline)) if deadline <= now.instant => {
                self.ports.iter_mut().for_each(|port| port.state = PortState::Idle);
            }
            Stage::Waiting(_) | Stage::Searching | Stage::GaveUp | Stage::Closing(_) => {}
        }
    }

    fn do_what_is_due(&mut self, now: Now) {
        for port in &mut self.ports {
            if matches!(port.state, PortState::Due(due) if due <= now.instant) {
                port.state = PortState::Mapping;
                self.outputs.push_back(Output::Map(port.request()));
            }
        }
        if self.address_due.is_some_and(|due| due <= now.instant) {
            self.address_due = None;
            self.outputs.push_back(Output::Address);
        }
    }

    /// A gateway was found, or none.
    pub fn handle_search(&mut self, now: Now, outcome: Result<Found, NatFault>) {
        if self.stage != Stage::Searching {
            return;
        }
        match outcome {
            Ok(found) => {
                self.stage = Stage::Found(found.kind);
                self.address_failures = 0;
                match found.kind {
                    ServiceKind::Stun => self.failures = 0,
                    ServiceKind::Upnp | ServiceKind::NatPmp | ServiceKind::Pcp => self.begin_mapping(now),
                }
                self.address_due = match found.kind {
                    ServiceKind::Pcp => None,
                    ServiceKind::Upnp | ServiceKind::NatPmp | ServiceKind::Stun => {
                        now.instant.checked_add(ADDRESS_INTERVAL)
                    }
                };
                self.learn(found.ip);
                self.do_what_is_due(now);
                self.tell();
            }
            Err(fault) => {
                self.faults.add(fault);
                self.lose_gateway(now);
            }
        }
    }

    fn begin_mapping(&mut self, now: Now) {
        for port in &mut self.ports {
            *port = Port { state: PortState::Due(now.instant), ..Port::new(port.transport, port.internal) };
        }
    }

    /// The external address was told, or not.
    pub fn handle_address(&mut self, now: Now, outcome: Result<IpAddr, NatFault>) {
        let Stage::Found(kind) = self.stage else { return };
        match outcome {
            Ok(ip) => {
                self.address_failures = 0;
                self.address_due = now.instant.checked_add(ADDRESS_INTERVAL);
                self.learn(Some(ip));
                self.tell();
            }
            Err(fault) => {
                self.faults.add(fault);
                self.address_failures = self.address_failures.saturating_add(1);
                self.address_due = self.retry_at(now);
                // A gateway that does not map either is noticed by its mappings.
                if kind == ServiceKind::Stun && self.address_failures >= MAX_FAILURES {
                    self.lose_gateway(now);
                }
            }
        }
    }

    /// A port was mapped or its mapping renewed, or not.
    pub fn handle_map(&mut self, now: Now, transport: Transport, outcome: Result<Grant, NatFault>) {
        let outcome = outcome.and_then(|grant| {
            let is_empty = grant.external == 0 || grant.lease.is_zero();
            if is_empty { Err(NatFault::EmptyGrant) } else { Ok(grant) }
        });
        if let Err(fault) = outcome {
            self.faults.add(fault);
        }
        match (self.stage, outcome) {
            (Stage::Found(kind), Ok(grant)) => self.handle_granted(now, kind, transport, grant),
            (Stage::Found(_), Err(fault)) => self.handle_denied(now, transport, fault),
            (Stage::Closing(_), outcome) => self.remove_at_the_end(transport, outcome.ok()),
            (Stage::Waiting(_) | Stage::Searching | Stage::GaveUp, _) => {}
        }
    }

    fn handle_granted(&mut self, now: Now, kind: ServiceKind, transport: Transport, grant: Grant) {
        let due = renewal(kind, grant.lease).and_then(|after| now.instant.checked_add(after));
        let Some(port) = self.port(transport) else { return };
        port.granted = Some(grant.external);
        port.state = due.map_or(PortState::Idle, PortState::Due);
        (port.failures, port.alternatives) = (0, 0);
        self.failures = 0;
        self.learn(grant.ip);
        self.tell();
    }

    fn handle_denied(&mut self, now: Now, transport: Transport, fault: NatFault) {
        let retry = self.retry_at(now);
        let other = self.rng.random_range(FIRST_ALTERNATIVE_PORT..=u16::MAX);
        let Some(port) = self.port(transport) else { return };
        if fault == NatFault::PortTaken && port.alternatives < MAX_ALTERNATIVES {
            port.alternatives += 1;
            port.wanted = other;
            // Ours until now, another's from now on.
            port.granted = None;
            let request = port.request();
            self.outputs.push_back(Output::Map(request));
            return self.tell();
        }
        (port.alternatives, port.wanted) = (0, port.internal);
        port.failures = port.failures.saturating_add(1);
        if port.failures < MAX_FAILURES {
            port.state = retry.map_or(PortState::Idle, PortState::Due);
            return;
        }
        port.state = PortState::Idle;
        if port.granted.is_some() {
            port.state = PortState::Unmapping;
            let request = port.request();
            port.granted = None;
            self.outputs.push_back(Output::Unmap(request));
        }
        self.tell();
        self.give_gateway_up(now);
    }

    /// A mapping was removed, or the gateway did not say so: it runs out by itself then.
    pub fn handle_unmap(&mut self, now: Now, transport: Transport, outcome: Result<(), NatFault>) {
        if let Err(fault) = outcome {
            self.faults.add(fault);
        }
        let Some(port) = self.port(transport) else { return };
        if port.state == PortState::Unmapping {
            port.state = PortState::Idle;
            port.granted = None;
        }
        self.give_gateway_up(now);
    }

    /// Removes the mappings. Done when [`Mappings::is_closed`], after [`SHUTDOWN_TIMEOUT`] at the latest.
    pub fn shutdown(&mut self, now: Now) {
        if matches!(self.stage, Stage::Closing(_)) {
            return;
        }
        self.stage = Stage::Closing(now.instant.checked_add(SHUTDOWN_TIMEOUT));
        self.address_due = None;
        for port in &mut self.ports {
            // One that is being asked for is removed when it has been granted.
            match (port.state, port.granted) {
                (PortState::Idle | PortState::Due(_), Some(_)) => {
                    port.state = PortState::Unmapping;
                    self.outputs.push_back(Output::Unmap(port.request()));
                }
                (PortState::Idle | PortState::Due(_), None) => port.state = PortState::Idle,
                (PortState::Mapping | PortState::Unmapping, _) => {}
            }
        }
    }

    /// Whether a shutdown is complete.
    pub fn is_closed(&self) -> bool {
        let busy = |port: &Port| matches!(port.state, PortState::Mapping | PortState::Unmapping);
        matches!(self.stage, Stage::Closing(_)) && !self.ports.iter().any(busy)
    }

    fn remove_at_the_end(&mut self, transport: Transport, grant: Option<Grant>) {
        let Some(port) = self.port(transport) else { return };
        if port.state != PortState::Mapping {
            return;
        }
        port.granted = grant.map(|grant| grant.external).or(port.granted);
        port.state = PortState::Idle;
        if port.granted.is_some() {
            port.state = PortState::Unmapping;
            let request = port.request();
            self.outputs.push_back(Output::Unmap(request));
        }
    }

    /// With no port left to keep, the gateway is as good as none: another search may find a better one.
    fn give_gateway_up(&mut self, now: Now) {
        let maps = matches!(self.stage, Stage::Found(kind) if kind != ServiceKind::Stun);
        if maps && self.ports.iter().all(|port| port.state == PortState::Idle) {
            self.lose_gateway(now);
        }
    }

    fn lose_gateway(&mut self, now: Now) {
        self.address_due = None;
        self.failures = self.failures.saturating_add(1);
        self.stage = match self.retry_at(now) {
            Some(due) if self.failures < MAX_FAILURES => Stage::Waiting(due),
            Some(_) | None => Stage::GaveUp,
        };
        if self.stage == Stage::GaveUp {
            self.outputs.push_back(Output::Event(Event::GaveUp));
        }
    }

    fn port(&mut self, transport: Transport) -> Option<&mut Port> {
        self.ports.iter_mut().find(|port| port.transport == transport)
    }

    fn retry_at(&mut self, now: Now) -> Option<Instant> {
        let jitter = RETRY_JITTER.mul_f64(self.rng.random_range(0.0..1.0));
        now.instant.checked_add(RETRY_AFTER + jitter)
    }

    /// Takes an address that others can reach. What was known before stands otherwise: a gateway that says nonsense once
    /// must not cost the node its record.
    fn learn(&mut self, ip: Option<IpAddr>) {
        let Some(ip) = ip.map(unmapped) else { return };
        match AddressClass::of(ip) {
            AddressClass::Global => self.known.ip = Some(ip),
            AddressClass::Loopback | AddressClass::Lan | AddressClass::Special => {
                self.faults.add(NatFault::AddressNotGlobal);
            }
        }
    }

    fn tell(&mut self) {
        let granted = |transport: Transport| {
            self.ports.iter().find(|port| port.transport == transport).and_then(|port| port.granted)
        };
        self.known.tcp = granted(Transport::Tcp);
        self.known.udp = granted(Transport::Udp);
        if self.known != self.told {
            self.told = self.known;
            self.outputs.push_back(Output::Event(Event::Changed(self.known)));
        }
    }
}

/// When a mapping is renewed after it was granted for `lease`.
pub(super) fn renewal(kind: ServiceKind, lease: Duration) -> Option<Duration> {
    // A lease of centuries is renewed like any other: the gateway may forget it in a restart.
    let lease = lease.min(MAPPING_LEASE);
    let share = lease.checked_mul(u32::try_from(RENEW_AFTER.as_secs()).ok()?)?;
    let after = share.checked_div(u32::try_from(MAPPING_LEASE.as_secs()).ok()?)?;
    // With PCP a renewal is also how the external address is followed.
    let most = if kind == ServiceKind::Pcp { ADDRESS_INTERVAL } else { RENEW_AFTER };
    Some(after.min(most).max(MIN_RENEWAL))
}
