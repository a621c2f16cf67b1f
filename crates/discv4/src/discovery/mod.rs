//! The machine of discovery v4: datagrams, time, curve results and commands go in; datagrams, curve jobs and events
//! come out of [`Discovery::poll_output`]. It reads no clock and no socket, and has no randomness but its seed.
//!
//! What comes in is in `inbound` and `answers`, what we ask in `outbound`, what goes on by itself (lookups, refresh, revalidation,
//! candidates) in `upkeep`. `discv4.md`; limits in [`crate::config`].

mod answers;
mod event;
mod inbound;
mod outbound;
mod own_key;
mod upkeep;

use std::{
    collections::VecDeque,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Instant,
};

use bytes::Bytes;
use identity::{
    Counters, Endpoint, Enr, NodeId, Now, PublicKey, Signature,
    curve::{CurveJob, CurveOutput, CurveResult, Ticket},
    unmapped,
};
use rand::{Rng, SeedableRng, rngs::ChaCha8Rng};

pub use event::{Event, PongInfo, RequestError};
use upkeep::Upkeep;

use crate::{
    Config, LookupId, NodeEntry, Reject, RequestId, TableSnapshot,
    bond::Bonds,
    config::MAX_WORK_PER_CALL,
    jobs::{Draft, Job, Jobs, Purpose},
    limiter::Limiter,
    pending::{Asker, Peer, Pending, Question},
    replay::Replays,
    table::{Change, Offered, Table},
    twin::Twin,
};

/// What one call puts out at most: 64 deadlines or lookups with an event and three requests each, and what is due besides.
pub const MAX_OUTPUTS_PER_CALL: usize = 1024;

/// What the machine wants done, in order.
#[derive(Debug)]
pub enum Output {
    /// Send a datagram.
    Send {
        /// Where to; never an IPv4-mapped address.
        to: SocketAddr,
        /// At most 1,280 bytes.
        datagram: Bytes,
    },
    /// Run a job and hand its result to [`Discovery::handle_curve`].
    Curve(CurveJob),
    /// Something the owner may want to know.
    Event(Event),
}

/// Ourselves.
#[derive(Clone, Debug)]
struct Local {
    enr: Enr,
    public_key: PublicKey,
    id: NodeId,
}

impl Local {
    fn new(enr: Enr) -> Self {
        Self { public_key: enr.public_key(), id: enr.node_id(), enr }
    }

    /// What we say of ourselves to somebody at `to`.
    fn endpoint(&self, to: IpAddr) -> Endpoint {
        let own = if to.is_ipv6() { self.enr.endpoint_v6() } else { self.enr.endpoint_v4() };
        let nowhere = Endpoint { ip: Ipv4Addr::UNSPECIFIED.into(), udp: 0, tcp: 0 };
        own.or_else(|| self.enr.endpoint()).unwrap_or(nowhere)
    }
}

/// One node's part in discovery. Call [`Discovery::handle_timeout`] once to begin, and drain
/// [`Discovery::poll_output`] after every call.
#[derive(Debug)]
pub struct Discovery {
    config: Config,
    local: Local,
    table: Table,
    bonds: Bonds,
    pending: Pending,
    jobs: Jobs,
    replays: Replays,
    limiter: Limiter,
    upkeep: Upkeep,
    twin: Twin,
    outputs: VecDeque<Output>,
    rejects: Counters<Reject>,
}

impl Discovery {
    /// A node with the record `local`. `seed` decides what is left to chance; it is no secret.
    pub fn new(config: Config, local: Enr, seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut draw_key = || (rng.next_u64(), rng.next_u64());
        let (limiter_key, lane_key) = (draw_key(), draw_key());
        let local = Local::new(local);
        Self {
            table: Table::new(local.id, config.address_policy),
            bonds: Bonds::new(config.bond_lifetime),
            pending: Pending::default(),
            jobs: Jobs::new(lane_key),
            replays: Replays::default(),
            limiter: Limiter::new(config.address_policy, config.recoveries_per_second, limiter_key),
            upkeep: Upkeep::new(&config, rng),
            twin: Twin::new(local.enr.seq()),
            outputs: VecDeque::new(),
            rejects: Counters::default(),
            config,
            local,
        }
    }

    /// A datagram came. Longer ones must not be cut, or their length is not seen.
    pub fn handle_datagram(&mut self, now: Now, from: SocketAddr, datagram: &[u8]) {
        let from = SocketAddr::new(unmapped(from.ip()), from.port());
        let admitted = self.admit(now, from, datagram);
        self.count(admitted);
    }

    /// Time has passed: call when [`Discovery::next_timeout`] says, and once to begin.
    pub fn handle_timeout(&mut self, now: Now) {
        self.twin.begin(now, self.config.packet_lifetime);
        for _ in 0..MAX_WORK_PER_CALL {
            let Some(id) = self.pending.due(now.instant) else { break };
            self.timed_out(now, id);
        }
        self.keep_up(now);
    }

    /// A curve job came back. A ticket that is not out is ignored.
    pub fn handle_curve(&mut self, now: Now, ticket: Ticket, result: CurveResult) {
        let Some(job) = self.jobs.take(ticket) else { return };
        match (job, result) {
            (Job::Recover(inbound), CurveResult::Done(outputs)) => {
                let handled = self.recovered(now, inbound, outputs);
                self.count(handled);
            }
            (Job::Recover(_), CurveResult::Refused) => self.rejects.add(Reject::CurveRefused),
            (Job::Sign(drafts), CurveResult::Done(outputs)) => {
                for (draft, output) in drafts.into_iter().zip(outputs) {
                    if let CurveOutput::Signed(signature) = output {
                        self.signed(now, draft, &signature);
                    }
                }
            }
            (Job::Sign(drafts), CurveResult::Refused) => {
                self.rejects.add(Reject::CurveRefused);
                self.unsigned(now, drafts);
            }
        }
    }

    /// The next thing to do; None when all is done.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to call [`Discovery::handle_timeout`] next; may be past. None before the first call.
    pub fn next_timeout(&self) -> Option<Instant> {
        self.pending.next_deadline().into_iter().chain(self.next_upkeep()).min()
    }

    /// Pings a node. Ends with [`Event::PongReceived`] or [`Event::RequestFailed`].
    pub fn ping(&mut self, now: Now, public_key: PublicKey, endpoint: Endpoint) -> RequestId {
        self.begin_for_owner(now, public_key, endpoint, Question::Ping)
    }

    /// Asks a node for its record, after the endpoint proof if that is missing. Ends with [`Event::EnrReceived`] or
    /// [`Event::RequestFailed`].
    pub fn request_enr(&mut self, now: Now, public_key: PublicKey, endpoint: Endpoint) -> RequestId {
        self.begin_for_owner(now, public_key, endpoint, Question::Enr)
    }

    /// Searches the nodes nearest to `target`. Ends with [`Event::LookupFinished`] within 10 s.
    pub fn lookup(&mut self, now: Now, target: PublicKey) -> LookupId {
        self.start_lookup(now, target, upkeep::LookupAsker::Owner)
    }

    /// Ends a lookup without an event.
    pub fn cancel_lookup(&mut self, lookup: LookupId) {
        self.upkeep.lookups.remove(&lookup);
        for id in self.pending.ids_of(Asker::Lookup(lookup)) {
            self.pending.remove(id);
        }
    }

    /// Ends a request of the owner without an event.
    pub fn cancel_request(&mut self, request: RequestId) {
        if self.pending.get(request).is_some_and(|known| known.asker == Asker::Owner) {
            self.pending.remove(request);
        }
    }

    /// Looks for nodes anew, as after a change of network: now, or 10 s after the last time.
    pub fn refresh(&mut self, now: Now) {
        self.upkeep.refresh.request(now.instant);
        self.keep_up(now);
    }

    /// Asks for nodes to connect to: a random lookup, at least 1 s after the last one, whose nodes come as
    /// [`Event::Candidate`], each after a request for its record, and then [`Event::CandidatesFinished`]. With no
    /// live node in the table it waits for one, or tries the bootnodes every 10 s.
    pub fn want_candidates(&mut self, now: Now) {
        self.upkeep.candidates.want(now.instant);
        self.keep_up(now);
    }

    /// Takes a new record of our own, signed by the same key; one of another key is ignored.
    pub fn set_local(&mut self, enr: Enr) {
        if enr.public_key() == self.local.public_key {
            self.twin.note_record(enr.seq());
            self.local.enr = enr;
        }
    }

    /// Our own record.
    pub const fn local(&self) -> &Enr {
        &self.local.enr
    }

    /// The table as it is.
    pub fn table(&self) -> TableSnapshot {
        self.table.snapshot()
    }

    /// What was dropped and why; the clone goes on counting.
    pub fn rejects(&self) -> Counters<Reject> {
        self.rejects.clone()
    }

    /// How much is kept, for tests and metrics.
    pub fn load(&self) -> Load {
        Load {
            pending: self.pending.len(),
            jobs: self.jobs.len(),
            bonds: self.bonds.len(),
            lookups: self.upkeep.lookups.len(),
        }
    }
}

/// How much a machine keeps at a moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Requests in flight or waiting, at most 4,096.
    pub pending: usize,
    /// Curve jobs that are out, at most 1,024.
    pub jobs: usize,
    /// Proven endpoints, at most 16,384.
    pub bonds: usize,
    /// Lookups that run, at most 64.
    pub lookups: usize,
}

/// What the files of the machine share: the one way out, and the one way to count.
impl Discovery {
    fn send(&mut self, to: SocketAddr, datagram: Bytes) {
        self.outputs.push_back(Output::Send { to, datagram });
    }

    fn event(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }

    fn count(&self, result: Result<(), Reject>) {
        if let Err(reject) = result {
            self.rejects.add(reject);
        }
    }

    /// When packets that are sent now end, Unix seconds.
    fn expiration(&self, now: Now) -> u64 {
        now.unix_seconds().saturating_add(self.config.packet_lifetime.as_secs())
    }

    fn changed(&mut self, changes: impl IntoIterator<Item = Change>) {
        for change in changes {
            self.event(match change {
                Change::Seen(node) => Event::NodeSeen(node),
                Change::Live(node) => Event::NodeLive(node),
                Change::Removed(id) => Event::NodeRemoved(id),
            });
        }
    }

    /// What the table said of a node that was offered; a full bucket's oldest node is asked whether it is still there.
    fn offered(&mut self, now: Now, offered: Offered) {
        if offered.limited {
            self.rejects.add(Reject::TableLimit);
        }
        self.changed(offered.change);
        if let Some(oldest) = offered.challenge {
            self.check(now, &oldest, Asker::Challenge);
        }
    }

    /// Puts drafts to one endpoint out for signing, or gives them up when too much is out.
    fn sign(&mut self, now: Now, to: SocketAddr, drafts: Vec<Draft>, for_stranger: bool) {
        if let Err(reject) = self.jobs.has_room(for_stranger) {
            self.rejects.add(reject);
            self.unsigned(now, drafts);
            return;
        }
        let job = self.jobs.sign(to, drafts);
        self.outputs.push_back(Output::Curve(job));
    }

    /// A draft has its signature: it goes out, and what waits for its answer is filed under its hash.
    fn signed(&mut self, now: Now, draft: Draft, signature: &Signature) {
        let (datagram, hash) = draft.unsigned.seal(signature);
        match draft.purpose {
            Purpose::Answer { request_hash } => {
                self.replays.keep(&request_hash, &datagram);
                self.send(draft.to, datagram);
            }
            Purpose::Pong { request_hash, key } => {
                self.replays.keep(&request_hash, &datagram);
                self.send(draft.to, datagram);
                self.pong_sent(now, &key);
            }
            Purpose::Ping(id) => self.file(now, id, draft.to, datagram, hash, true),
            Purpose::Question(id) => self.file(now, id, draft.to, datagram, hash, false),
            Purpose::Notice => self.send(draft.to, datagram),
        }
    }

    /// Drafts will not be signed.
    fn unsigned(&mut self, now: Now, drafts: Vec<Draft>) {
        for draft in drafts {
            match draft.purpose {
                Purpose::Answer { request_hash } | Purpose::Pong { request_hash, .. } => {
                    self.replays.forget(&request_hash);
                }
                Purpose::Ping(id) | Purpose::Question(id) => self.fail(now, id, RequestError::Busy),
                Purpose::Notice => {}
            }
        }
    }

    /// A node as the table knows it, or else as it is given.
    fn known(&self, node: NodeEntry) -> NodeEntry {
        self.table.node(&node.node_id).filter(|known| known.live).cloned().unwrap_or(node)
    }

    fn begin_for_owner(
        &mut self,
        now: Now,
        public_key: PublicKey,
        endpoint: Endpoint,
        question: Question,
    ) -> RequestId {
        let endpoint = Endpoint { ip: unmapped(endpoint.ip), ..endpoint };
        let peer = Peer { public_key, id: public_key.node_id(), endpoint };
        let id = self.pending.take_id();
        if let Err(error) = self.begin(now, id, peer, question, Asker::Owner) {
            self.event(Event::RequestFailed { request: id, error });
        }
        id
    }
}
