//! One search for the nodes nearest to a key: whom to ask next, and what was found. `discv4.md`, "Recursive Lookup".
//!
//! It asks three nodes at once, ends when the 16 nearest it knows have answered, and gives only nodes that answered. A
//! node that is slow to answer no longer holds up the others. It sends nothing and knows no packets.

use std::{collections::BTreeMap, time::Instant};

use identity::{Distance, NodeId, PublicKey};

use crate::{
    NodeEntry,
    config::{
        BUCKET_SIZE, LOOKUP_DEADLINE, LOOKUP_PARALLELISM, LOOKUP_STALL, MAX_LOOKUP_NODES, MAX_LOOKUP_QUERIES,
    },
};

/// Names a lookup.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LookupId(pub(crate) u64);

/// A lookup that runs.
#[derive(Clone, Debug)]
pub(crate) struct Lookup {
    local: NodeId,
    target: PublicKey,
    target_id: NodeId,
    deadline: Option<Instant>,
    /// By distance from the target; the limit drops the farthest.
    candidates: BTreeMap<Distance, Candidate>,
    query_count: usize,
}

#[derive(Clone, Debug)]
struct Candidate {
    node: NodeEntry,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    New,
    /// Asked, and no longer counted as in flight from then on.
    Asked(Option<Instant>),
    Stalled,
    Answered,
    Failed,
}

impl Lookup {
    /// A lookup of `target` that knows nobody yet. `local` is never asked nor given.
    pub(crate) fn new(now: Instant, local: NodeId, target: PublicKey) -> Self {
        let deadline = now.checked_add(LOOKUP_DEADLINE);
        let candidates = BTreeMap::new();
        Self { local, target, target_id: target.node_id(), deadline, candidates, query_count: 0 }
    }

    pub(crate) const fn target(&self) -> PublicKey {
        self.target
    }

    /// Learns of nodes. What it knows of a node already stays.
    pub(crate) fn add(&mut self, nodes: impl IntoIterator<Item = NodeEntry>) {
        for node in nodes {
            if node.node_id != self.local {
                let distance = self.target_id.distance(&node.node_id);
                self.candidates.entry(distance).or_insert(Candidate { node, state: State::New });
            }
        }
        while self.candidates.len() > MAX_LOOKUP_NODES {
            self.candidates.pop_last();
        }
    }

    /// The next node to ask, if one may be asked now.
    pub(crate) fn next_query(&mut self, now: Instant) -> Option<NodeEntry> {
        let (mut in_flight, mut next) = (0, None);
        for candidate in self.candidates.values_mut() {
            match candidate.state {
                State::Asked(Some(until)) if until <= now => candidate.state = State::Stalled,
                State::Asked(_) => in_flight += 1,
                State::New | State::Stalled | State::Answered | State::Failed => {}
            }
        }
        if in_flight >= LOOKUP_PARALLELISM || self.query_count >= MAX_LOOKUP_QUERIES || self.is_overdue(now) {
            return None;
        }
        for candidate in nearest(&mut self.candidates) {
            if candidate.state == State::New {
                candidate.state = State::Asked(now.checked_add(LOOKUP_STALL));
                next = Some(candidate.node.clone());
                break;
            }
        }
        self.query_count += usize::from(next.is_some());
        next
    }

    /// The node answered, and named `nodes`.
    pub(crate) fn answered(&mut self, id: &NodeId, nodes: impl IntoIterator<Item = NodeEntry>) {
        if let Some(candidate) = self.candidates.get_mut(&self.target_id.distance(id)) {
            candidate.state = State::Answered;
            candidate.node.live = true;
        }
        self.add(nodes);
    }

    /// The node did not answer, or could not be asked.
    pub(crate) fn failed(&mut self, id: &NodeId) {
        if let Some(candidate) = self.candidates.get_mut(&self.target_id.distance(id)) {
            candidate.state = State::Failed;
        }
    }

    /// Whether nodes that were asked have neither answered nor failed.
    pub(crate) fn is_waiting(&self) -> bool {
        self.candidates.values().any(|node| matches!(node.state, State::Asked(_) | State::Stalled))
    }

    /// Whether nothing more can come of it. Ask after [`Lookup::next_query`] gave None.
    pub(crate) fn is_finished(&self, now: Instant) -> bool {
        self.is_overdue(now) || !self.is_waiting()
    }

    /// The nearest nodes that answered, at most 16, the nearest first.
    pub(crate) fn into_nodes(self) -> Vec<NodeEntry> {
        let answered = self.candidates.into_values().filter(|candidate| candidate.state == State::Answered);
        answered.take(BUCKET_SIZE).map(|candidate| candidate.node).collect()
    }

    /// When to call [`Lookup::next_query`] again without an answer.
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        let stalls = self.candidates.values().filter_map(|candidate| match candidate.state {
            State::Asked(until) => until,
            State::New | State::Stalled | State::Answered | State::Failed => None,
        });
        stalls.chain(self.deadline).min()
    }

    fn is_overdue(&self, now: Instant) -> bool {
        self.deadline.is_none_or(|deadline| deadline <= now)
    }
}

/// The 16 nearest that have not failed.
fn nearest(candidates: &mut BTreeMap<Distance, Candidate>) -> impl Iterator<Item = &mut Candidate> {
    candidates.values_mut().filter(|candidate| candidate.state != State::Failed).take(BUCKET_SIZE)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rand::{RngExt, SeedableRng, rngs::ChaCha8Rng, seq::SliceRandom};

    use super::*;
    use crate::story;

    fn lookup(target: u32) -> Lookup {
        Lookup::new(story::start().instant, story::key(0).node_id(), story::key(target).public_key())
    }

    fn nodes(numbers: impl Iterator<Item = u32>) -> Vec<NodeEntry> {
        numbers.map(|number| story::node(number, "127.0.0.1")).collect()
    }

    fn by_distance(mut nodes: Vec<NodeEntry>, target: u32) -> Vec<NodeEntry> {
        let target = story::key(target).node_id();
        nodes.sort_by_key(|node| target.distance(&node.node_id));
        nodes
    }

    #[test]
    fn three_are_in_flight_and_a_slow_one_frees_its_place() {
        let (mut lookup, now) = (lookup(999), story::start());
        lookup.add(nodes(1..30));
        let first: Vec<_> = std::iter::from_fn(|| lookup.next_query(now.instant)).collect();
        assert_eq!(first, by_distance(nodes(1..30), 999)[..3]);
        let stalled = now.later(LOOKUP_STALL).instant;
        assert_eq!(std::iter::from_fn(|| lookup.next_query(stalled)).count(), 3);
        lookup.answered(&first[0].node_id, []);
        assert_eq!(
            std::iter::from_fn(|| lookup.next_query(stalled)).count(),
            0,
            "its place was freed before"
        );
        assert!(!lookup.is_finished(stalled));
    }

    #[test]
    fn only_nodes_that_answered_are_given_nearest_first() {
        let (mut lookup, now) = (lookup(999), story::start().instant);
        lookup.add(nodes(0..40));
        let (mut asked, mut expected) = (0, Vec::new());
        while let Some(node) = lookup.next_query(now) {
            assert_ne!(node.node_id, story::key(0).node_id(), "we do not ask ourselves");
            asked += 1;
            if asked % 3 == 0 {
                lookup.failed(&node.node_id);
            } else {
                lookup.answered(&node.node_id, []);
                expected.push(node.node_id);
            }
        }
        assert!(lookup.is_finished(now));
        let found: Vec<_> = lookup.into_nodes().into_iter().map(|node| node.node_id).collect();
        assert_eq!((found.len(), asked), (16, 23));
        assert_eq!(found, expected);
    }

    #[test]
    fn u33_liars_end_a_lookup_after_64_queries_and_10_seconds() {
        let (mut lookup, start) = (lookup(999), story::start());
        lookup.add(nodes(1..17));
        let (mut queries, mut fresh) = (0, 1000);
        while let Some(node) = lookup.next_query(start.instant) {
            queries += 1;
            fresh += 16;
            if node.node_id == story::key(1).node_id() {
                lookup.answered(&node.node_id, []);
            } else {
                lookup.add(nodes(fresh..fresh + 16));
                lookup.failed(&node.node_id);
            }
            assert!(lookup.candidates.len() <= MAX_LOOKUP_NODES);
        }
        assert!(queries <= 64 && lookup.is_finished(start.instant), "{queries}");
        assert!(lookup.into_nodes().iter().all(|node| node.node_id == story::key(1).node_id()));

        let mut silent = self::lookup(999);
        silent.add(nodes(1..17));
        let begun = story::start();
        while silent.next_query(begun.instant).is_some() {}
        let end = begun.later(LOOKUP_DEADLINE + Duration::from_secs(1)).instant;
        assert!(silent.next_query(end).is_none() && silent.is_finished(end));
    }

    #[test]
    fn a_lookup_finds_the_16_nearest_of_a_connected_net() {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let all = nodes(1..400);
        // Each node knows 16 at random and the 16 nearest to itself.
        let tables: BTreeMap<NodeId, Vec<NodeEntry>> = all
            .iter()
            .map(|node| {
                let mut known = by_distance_from(&all, &node.node_id);
                known.truncate(17);
                let mut shuffled = all.clone();
                shuffled.shuffle(&mut rng);
                known.extend(shuffled.into_iter().take(16));
                (node.node_id, known)
            })
            .collect();
        for _ in 0..20 {
            let target: u32 = rng.random_range(10_000..20_000);
            let (mut lookup, now) = (lookup(target), story::start().instant);
            lookup.add(all.iter().take(3).cloned());
            let target_id = story::key(target).node_id();
            while let Some(node) = lookup.next_query(now) {
                let mut told = by_distance_from(&tables[&node.node_id], &target_id);
                told.truncate(16);
                lookup.answered(&node.node_id, told);
            }
            let found: Vec<_> = lookup.into_nodes().into_iter().map(|node| node.node_id).collect();
            let best: Vec<_> =
                by_distance_from(&all, &target_id).iter().take(16).map(|node| node.node_id).collect();
            assert!(found.iter().filter(|id| best.contains(id)).count() >= 15, "{found:?} {best:?}");
        }
    }

    fn by_distance_from(nodes: &[NodeEntry], from: &NodeId) -> Vec<NodeEntry> {
        let mut nodes = nodes.to_vec();
        nodes.sort_by_key(|node| from.distance(&node.node_id));
        nodes
    }
}
