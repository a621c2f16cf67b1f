//! Who has which transaction: handed in, arrived, lost by a restart; and how long arrivals took. The pools have the last
//! word: at the end `run` asks them too.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use eth_wire::{Hash, Transaction};

use super::Propagation;

/// One transaction.
#[derive(Debug)]
struct Item {
    transaction: Transaction,
    submitted_at: Duration,
    submitted_to: usize,
    /// The nodes that have it now.
    holders: BTreeSet<usize>,
    /// The nodes that ever had it.
    reached: BTreeSet<usize>,
}

/// Times of arrivals, in milliseconds.
#[derive(Debug, Default)]
struct Times(Vec<u32>);

/// The books of a run.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    items: Vec<Item>,
    by_hash: BTreeMap<Hash, usize>,
    all: Times,
    lately: Times,
}

impl Ledger {
    /// A transaction is about to be handed to a node.
    pub(super) fn submit(&mut self, at: Duration, node: usize, transaction: Transaction) {
        self.by_hash.insert(transaction.hash(), self.items.len());
        self.items.push(Item {
            transaction,
            submitted_at: at,
            submitted_to: node,
            holders: BTreeSet::new(),
            reached: BTreeSet::new(),
        });
    }

    /// A node has a transaction.
    pub(super) fn arrive(&mut self, at: Duration, node: usize, hash: &Hash) {
        let Some(item) = self.by_hash.get(hash).and_then(|place| self.items.get_mut(*place)) else { return };
        item.holders.insert(node);
        if item.reached.insert(node) && node != item.submitted_to {
            let took = at.saturating_sub(item.submitted_at).as_millis();
            let took = u32::try_from(took).unwrap_or(u32::MAX);
            self.all.0.push(took);
            self.lately.0.push(took);
        }
    }

    /// A node has stopped, and its pool is gone.
    pub(super) fn lose(&mut self, node: usize) {
        for item in &mut self.items {
            item.holders.remove(&node);
        }
    }

    /// What was handed to a node, in order.
    pub(super) fn submitted_to(&self, node: usize) -> impl Iterator<Item = &Transaction> {
        self.items.iter().filter(move |item| item.submitted_to == node).map(|item| &item.transaction)
    }

    /// How many were handed in.
    pub(super) fn submitted(&self) -> usize {
        self.items.len()
    }

    /// Their hashes.
    pub(super) fn hashes(&self) -> impl Iterator<Item = Hash> {
        self.items.iter().map(|item| item.transaction.hash())
    }

    /// How many are held by so many nodes.
    pub(super) fn held_by(&self, nodes: usize) -> usize {
        self.items.iter().filter(|item| item.holders.len() == nodes).count()
    }

    /// How long it took so far.
    pub(super) fn propagation(&mut self) -> Option<Propagation> {
        self.all.sum_up()
    }

    /// How long it took since the last call.
    pub(super) fn propagation_lately(&mut self) -> Option<Propagation> {
        std::mem::take(&mut self.lately).sum_up()
    }
}

impl Times {
    fn sum_up(&mut self) -> Option<Propagation> {
        self.0.sort_unstable();
        let last = self.0.len().checked_sub(1)?;
        // The smallest time that so many per cent did not exceed.
        let of = |percent: usize| {
            let place = (self.0.len() * percent).div_ceil(100).saturating_sub(1);
            Duration::from_millis(self.0[place.min(last)].into())
        };
        Some(Propagation { arrivals: self.0.len(), p50: of(50), p90: of(90), p99: of(99), max: of(100) })
    }
}

#[cfg(test)]
mod tests {
    use eth_wire::{Address, TransferRequest};

    use super::*;
    use crate::{node::CHAIN_ID, numbered_key};

    fn second(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    #[test]
    fn percentiles_are_times_that_so_many_did_not_exceed() {
        let sum_up = |times: &[u32]| Times(times.to_vec()).sum_up();
        assert_eq!(sum_up(&[]), None);
        let millis = Duration::from_millis;
        let one = Propagation { arrivals: 1, p50: millis(7), p90: millis(7), p99: millis(7), max: millis(7) };
        assert_eq!(sum_up(&[7]), Some(one));
        let hundred: Vec<u32> = (1..=100).rev().collect();
        let expected = Propagation {
            arrivals: 100,
            p50: millis(50),
            p90: millis(90),
            p99: millis(99),
            max: millis(100),
        };
        assert_eq!(sum_up(&hundred), Some(expected));
    }

    #[test]
    fn what_a_node_has_lost_is_missing_until_it_comes_again_and_counts_once() {
        let transaction = TransferRequest::new(CHAIN_ID, 1, Address([1; 20]), 1).sign(&numbered_key(1));
        let (mut ledger, hash) = (Ledger::default(), transaction.hash());
        ledger.submit(second(1), 0, transaction);
        ledger.arrive(second(1), 0, &hash);
        ledger.arrive(second(3), 1, &hash);
        assert_eq!(ledger.held_by(2), 1);
        ledger.lose(1);
        assert_eq!((ledger.held_by(2), ledger.held_by(1)), (0, 1));
        ledger.arrive(second(9), 1, &hash);
        assert_eq!(ledger.held_by(2), 1);
        assert_eq!(ledger.propagation().map(|times| (times.arrivals, times.max)), Some((1, second(2))));
        assert!(ledger.propagation_lately().is_some() && ledger.propagation_lately().is_none());
        assert_eq!(ledger.submitted_to(0).count(), 1);
    }
}
