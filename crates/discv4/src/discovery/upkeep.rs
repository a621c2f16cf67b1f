//! What goes on by itself: lookups, the refresh of the table, the revalidation of its nodes, the search for candidates.
//! When each is due, its part decides; here it is done.

use std::{collections::BTreeMap, time::Instant};

use identity::{Enr, NodeId, Now, PublicKey};
use rand::{Rng, rngs::ChaCha8Rng};

use super::{Discovery, Event, RequestError};
use crate::{
    Config, LookupId, NodeEntry, RequestId,
    candidates::Candidates,
    config::{BUCKET_SIZE, MAX_LOOKUPS, MAX_WORK_PER_CALL},
    home::Home,
    lookup::Lookup,
    pending::{Asker, Peer, Question},
    refresh::{Refresh, Step},
    revalidation::{Revalidation, Turn},
};

/// For whom a lookup runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LookupAsker {
    Owner,
    Refresh(Step),
    Candidates,
}

/// The parts that act on their own.
#[derive(Debug)]
pub(super) struct Upkeep {
    pub(super) lookups: BTreeMap<LookupId, (Lookup, LookupAsker)>,
    pub(super) refresh: Refresh,
    pub(super) candidates: Candidates,
    revalidation: Revalidation,
    home: Home,
    next_lookup: u64,
    rng: ChaCha8Rng,
}

impl Upkeep {
    pub(super) fn new(config: &Config, rng: ChaCha8Rng) -> Self {
        Self {
            lookups: BTreeMap::new(),
            refresh: Refresh::new(config.refresh_interval),
            candidates: Candidates::new(config.lookup_interval),
            revalidation: Revalidation::new(config.fast_revalidation, config.slow_revalidation),
            home: Home::default(),
            next_lookup: 0,
            rng,
        }
    }

    fn draw_target(&mut self) -> PublicKey {
        let mut target = [0; 64];
        self.rng.fill_bytes(&mut target);
        PublicKey::from_bytes(target)
    }
}

impl Discovery {
    /// Does what is due.
    pub(super) fn keep_up(&mut self, now: Now) {
        let due = |(id, (lookup, _)): (&LookupId, &(Lookup, LookupAsker))| {
            lookup.next_timeout().is_some_and(|at| at <= now.instant).then_some(*id)
        };
        let due: Vec<LookupId> = self.upkeep.lookups.iter().filter_map(due).collect();
        for lookup in due {
            self.drive_lookup(now, lookup);
        }
        self.refresh_due(now);
        self.revalidate_due(now);
        self.check_bootnodes(now);
        self.search_candidates(now);
    }

    /// When [`Discovery::keep_up`] has something to do next.
    pub(super) fn next_upkeep(&self) -> Option<Instant> {
        let upkeep = &self.upkeep;
        let lookups = upkeep.lookups.values().filter_map(|(lookup, _)| lookup.next_timeout()).min();
        let clocks = [
            lookups,
            self.candidates_due(),
            upkeep.refresh.next_timeout(),
            upkeep.revalidation.next_timeout(),
            upkeep.home.next_timeout(),
        ];
        clocks.into_iter().flatten().min()
    }

    fn refresh_due(&mut self, now: Now) {
        while let Some(step) = self.upkeep.refresh.take_step(now.instant) {
            let target = match step {
                Step::Own | Step::Home => self.local.public_key,
                Step::Random => self.upkeep.draw_target(),
            };
            self.start_lookup(now, target, LookupAsker::Refresh(step));
        }
    }

    fn revalidate_due(&mut self, now: Now) {
        for _ in 0..MAX_WORK_PER_CALL {
            let Some(turn) = self.upkeep.revalidation.take_turn(now.instant, &mut self.upkeep.rng) else {
                return;
            };
            let node = match turn {
                Turn::Unverified => self.table.take_unverified(&mut self.upkeep.rng),
                Turn::LeastRecent => self.table.take_least_recent(&mut self.upkeep.rng),
            };
            if let Some(node) = node {
                self.check(now, &node, Asker::Revalidation);
            }
        }
    }

    fn check_bootnodes(&mut self, now: Now) {
        let bootnodes = &self.config.bootnodes;
        let turn = self.upkeep.home.take_turn(now.instant, bootnodes.len());
        if let Some(node) = turn.and_then(|turn| bootnodes.get(turn)).cloned() {
            self.check(now, &node, Asker::Bootnode);
        }
    }

    /// A bootnode was asked whether it can be reached.
    pub(super) fn bootnode_told(&mut self, now: Now, node: NodeId, error: Option<RequestError>) {
        match error {
            None if self.upkeep.home.answered(&node) => {
                self.upkeep.refresh.request_from_home(now.instant);
                self.refresh_due(now);
            }
            Some(RequestError::Timeout) => self.upkeep.home.silent(node),
            // What we could not ask says nothing about the node.
            None | Some(_) => {}
        }
    }

    fn search_candidates(&mut self, now: Now) {
        if self.candidates_due().is_some_and(|at| at <= now.instant) {
            self.upkeep.candidates.start(now.instant);
            let target = self.upkeep.draw_target();
            self.start_lookup(now, target, LookupAsker::Candidates);
        }
    }

    fn candidates_due(&self) -> Option<Instant> {
        // Whether anybody lives in the table is asked only when it matters.
        self.upkeep.candidates.is_idle().then(|| self.upkeep.candidates.due_at(self.table.is_deserted()))?
    }

    /// Starts a lookup among the nearest nodes we know, and the bootnodes while we know nobody; one from home among the
    /// bootnodes alone.
    pub(super) fn start_lookup(&mut self, now: Now, target: PublicKey, asker: LookupAsker) -> LookupId {
        self.upkeep.next_lookup = self.upkeep.next_lookup.wrapping_add(1);
        let id = LookupId(self.upkeep.next_lookup);
        let mut lookup = Lookup::new(now.instant, self.local.id, target);
        let is_full = self.upkeep.lookups.len() >= MAX_LOOKUPS;
        if !is_full {
            if asker != LookupAsker::Refresh(Step::Home) {
                lookup.add(self.table.closest(&target.node_id(), BUCKET_SIZE, |_| true).into_iter().cloned());
            }
            if matches!(asker, LookupAsker::Refresh(_)) || self.table.is_deserted() {
                lookup.add(self.config.bootnodes.iter().cloned());
            }
        }
        match asker {
            LookupAsker::Owner => {}
            LookupAsker::Refresh(_) => self.upkeep.refresh.lookup = Some(id),
            LookupAsker::Candidates => self.upkeep.candidates.lookup = Some(id),
        }
        if is_full {
            self.lookup_ended(now, id, asker, Vec::new());
        } else {
            self.upkeep.lookups.insert(id, (lookup, asker));
            self.drive_lookup(now, id);
        }
        id
    }

    /// A node that a lookup asked has answered with nodes, or failed.
    pub(super) fn lookup_told(
        &mut self,
        now: Now,
        id: LookupId,
        node: &NodeId,
        nodes: Option<Vec<NodeEntry>>,
    ) {
        let Some((lookup, _)) = self.upkeep.lookups.get_mut(&id) else { return };
        match nodes {
            Some(nodes) => lookup.answered(node, nodes),
            None => lookup.failed(node),
        }
        self.drive_lookup(now, id);
    }

    fn drive_lookup(&mut self, now: Now, id: LookupId) {
        loop {
            let Some((lookup, _)) = self.upkeep.lookups.get_mut(&id) else { return };
            let Some(node) = lookup.next_query(now.instant) else { break };
            let question = Question::FindNode(lookup.target());
            let request = self.pending.take_id();
            let begun = self.begin(now, request, Peer::from(&node), question, Asker::Lookup(id));
            if let (Err(_), Some((lookup, _))) = (begun, self.upkeep.lookups.get_mut(&id)) {
                lookup.failed(&node.node_id);
            }
        }
        let is_finished =
            self.upkeep.lookups.get(&id).is_some_and(|(lookup, _)| lookup.is_finished(now.instant));
        if is_finished {
            self.finish_lookup(now, id);
        }
    }

    fn finish_lookup(&mut self, now: Now, id: LookupId) {
        let Some((lookup, asker)) = self.upkeep.lookups.remove(&id) else { return };
        if lookup.is_waiting() {
            for request in self.pending.ids_of(Asker::Lookup(id)) {
                self.pending.remove(request);
            }
        }
        let nodes = lookup.into_nodes().into_iter().map(|node| self.known(node)).collect();
        self.lookup_ended(now, id, asker, nodes);
    }

    fn lookup_ended(&mut self, now: Now, id: LookupId, asker: LookupAsker, nodes: Vec<NodeEntry>) {
        match asker {
            LookupAsker::Owner => self.event(Event::LookupFinished { lookup: id, nodes }),
            LookupAsker::Refresh(step) => {
                let live_count = self.table.nodes().filter(|node| node.live).count();
                let Upkeep { refresh, rng, .. } = &mut self.upkeep;
                refresh.lookup_ended(now.instant, step, live_count, rng);
                self.refresh_due(now);
            }
            LookupAsker::Candidates => {
                self.upkeep.candidates.lookup = None;
                self.offer_candidates(now, nodes);
            }
        }
    }

    /// Tells the candidates that a lookup found, each once its record is there.
    fn offer_candidates(&mut self, now: Now, nodes: Vec<NodeEntry>) {
        for node in nodes {
            let request = self.pending.take_id();
            let lacks_record = node.enr.is_none() || node.has_newer_record();
            if lacks_record
                && self.begin(now, request, Peer::from(&node), Question::Enr, Asker::Candidate).is_ok()
            {
                self.upkeep.candidates.waiting.insert(request, node);
            } else {
                self.event(Event::Candidate(node));
            }
        }
        self.finish_candidates();
    }

    /// The request for a candidate's record has ended.
    pub(super) fn candidate_told(&mut self, request: RequestId, record: Option<Enr>) {
        let Some(mut node) = self.upkeep.candidates.waiting.remove(&request) else { return };
        node = self.known(node);
        if record.is_some() {
            node.enr = record;
        }
        self.event(Event::Candidate(node));
        self.finish_candidates();
    }

    fn finish_candidates(&mut self) {
        if self.upkeep.candidates.waiting.is_empty() && self.upkeep.candidates.lookup.is_none() {
            self.upkeep.candidates.finish();
            self.event(Event::CandidatesFinished);
        }
    }
}
