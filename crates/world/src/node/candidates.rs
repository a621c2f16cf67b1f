//! Nodes to dial as discovery finds them: first those of the table, then round after round of a search, each asked for
//! when the last is used up and somebody is wanted. Of a node's record the fork id must fit. What discv4 and rlpx do
//! with streams is done here by hand.

use std::collections::VecDeque;

use discv4::{Discovery, Event, NodeEntry};
use eth_wire::ForkFilter;
use identity::Now;
use rlpx::Candidate;

/// What was found and not yet wanted.
#[derive(Debug)]
pub(super) struct Candidates {
    chain: ForkFilter,
    has_read_table: bool,
    is_searching: bool,
    found: VecDeque<NodeEntry>,
}

impl Candidates {
    pub(super) const fn new(chain: ForkFilter) -> Self {
        Self { chain, has_read_table: false, is_searching: false, found: VecDeque::new() }
    }

    /// Whether a search runs.
    pub(super) const fn is_searching(&self) -> bool {
        self.is_searching
    }

    /// Discovery says something; most of it is for others.
    pub(super) fn hear(&mut self, event: Event) {
        match event {
            Event::Candidate(node) if self.is_searching => self.found.push_back(node),
            Event::CandidatesFinished => self.is_searching = false,
            Event::Candidate(_)
            | Event::NodeSeen(_)
            | Event::NodeLive(_)
            | Event::NodeRemoved(_)
            | Event::PongReceived { .. }
            | Event::EnrReceived { .. }
            | Event::RequestFailed { .. }
            | Event::LookupFinished { .. }
            | Event::KeyInUse { .. } => {}
        }
    }

    /// The next node that is worth a dial; starts a search when there is none.
    pub(super) fn next(&mut self, now: Now, discovery: &mut Discovery) -> Option<Candidate> {
        loop {
            while let Some(node) = self.found.pop_front() {
                if node.endpoint.tcp != 0 && node.enr.is_some_and(|record| self.chain.accepts_enr(&record)) {
                    return Some(Candidate::new(node.public_key, node.endpoint));
                }
            }
            if self.has_read_table {
                if !std::mem::replace(&mut self.is_searching, true) {
                    discovery.want_candidates(now);
                }
                return None;
            }
            self.has_read_table = true;
            let table = discovery.table();
            self.found.extend(table.nodes().filter(|node| node.live && !node.has_newer_record()).cloned());
        }
    }
}
