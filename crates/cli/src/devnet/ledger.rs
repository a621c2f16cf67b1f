//! When each item entered the network and when each node had it, read from the nodes' own pools and chains.
//! Counts deliveries; how they are shown stands in `summary`.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use devp2p::{eth_wire::Hash, identity::Now};

/// What one node has, and since when. Clones share the record: the node's pool and chain write it, the summary reads.
#[derive(Clone, Default)]
pub(super) struct Arrivals(Arc<Mutex<Record>>);

#[derive(Default)]
struct Record {
    transactions: BTreeMap<Hash, Instant>,
    blocks: BTreeMap<Hash, Instant>,
}

impl Arrivals {
    /// The node's pool took the transaction, or its chain a block that holds it.
    pub(super) fn transaction(&self, hash: Hash) {
        self.lock().transactions.entry(hash).or_insert_with(|| now().instant);
    }

    /// The node's chain took the block.
    pub(super) fn block(&self, hash: Hash) {
        self.lock().blocks.entry(hash).or_insert_with(|| now().instant);
    }

    /// How many transactions and blocks the node has.
    pub(super) fn counts(&self) -> (usize, usize) {
        let record = self.lock();
        (record.transactions.len(), record.blocks.len())
    }

    fn when(&self, kind: Kind, hash: &Hash) -> Option<Instant> {
        let record = self.lock();
        match kind {
            Kind::Transaction => record.transactions.get(hash).copied(),
            Kind::Block => record.blocks.get(hash).copied(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Record> {
        // Nothing under the lock can panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What kind of thing is delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A signed transaction.
    Transaction,
    /// A block of the private chain.
    Block,
}

/// Something that entered the network at one node.
#[derive(Clone, Debug)]
pub(super) struct Item {
    pub(super) kind: Kind,
    pub(super) hash: Hash,
    /// Bytes of its RLP.
    pub(super) len: usize,
    /// The node it entered at.
    pub(super) origin: usize,
    /// When it entered.
    pub(super) entered: Instant,
}

/// How the items of one kind were delivered.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Delivery {
    /// Items that entered the network.
    pub(super) entered: usize,
    /// Of these, the ones that every running node has.
    pub(super) everywhere: usize,
    /// Items that entered at a node less than a second before it was stopped: they may be lost with it.
    pub(super) in_last_second: usize,
    /// Deliveries to nodes other than the origin that happened.
    pub(super) deliveries: usize,
    /// Deliveries that are missing.
    pub(super) missing: usize,
    /// Bytes of what was delivered.
    pub(super) bytes: u64,
    /// Times from entering to arriving, sorted.
    latencies: Vec<Duration>,
}

impl Delivery {
    /// The latency that `share` (0 to 1) of the deliveries took at most.
    pub(super) fn percentile(&self, share: f64) -> Option<Duration> {
        let last = self.latencies.len().checked_sub(1)?;
        let index = (last as f64 * share).ceil() as usize;
        self.latencies.get(index.min(last)).copied()
    }

    /// Whether every item that had to arrive has arrived everywhere.
    pub(super) const fn is_complete(&self) -> bool {
        self.missing == 0
    }
}

/// A node as the count of deliveries sees it.
pub(super) struct Receiver {
    pub(super) arrivals: Arrivals,
    /// When it was stopped, if it was.
    pub(super) stopped: Option<Instant>,
}

/// How long before its stop a node may lose what entered at it.
const LAST_SECOND: Duration = Duration::from_secs(1);

/// Counts the deliveries of all items of one kind to all nodes that still run.
pub(super) fn deliveries(kind: Kind, items: &[Item], receivers: &[Receiver]) -> Delivery {
    let mut delivery = Delivery::default();
    for item in items.iter().filter(|item| item.kind == kind) {
        let lost_with_origin = receivers
            .get(item.origin)
            .and_then(|origin| origin.stopped)
            .is_some_and(|stopped| stopped.saturating_duration_since(item.entered) < LAST_SECOND);
        if lost_with_origin {
            delivery.in_last_second += 1;
            continue;
        }
        count_item(&mut delivery, item, receivers);
    }
    delivery.latencies.sort_unstable();
    delivery
}

fn count_item(delivery: &mut Delivery, item: &Item, receivers: &[Receiver]) {
    delivery.entered += 1;
    let mut missing = 0;
    for (index, receiver) in receivers.iter().enumerate() {
        if receiver.stopped.is_some() {
            continue;
        }
        match receiver.arrivals.when(item.kind, &item.hash) {
            None => missing += 1,
            Some(_) if index == item.origin => {}
            Some(arrived) => {
                delivery.deliveries += 1;
                delivery.bytes += item.len as u64;
                delivery.latencies.push(arrived.saturating_duration_since(item.entered));
            }
        }
    }
    delivery.missing += missing;
    if missing == 0 {
        delivery.everywhere += 1;
    }
}

/// The clocks: the devnet is a program, not a machine.
#[expect(clippy::disallowed_methods, reason = "the devnet measures real time")]
pub(super) fn now() -> Now {
    Now::system()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receiver(has: &[Hash], stopped: Option<Instant>) -> Receiver {
        let arrivals = Arrivals::default();
        has.iter().for_each(|hash| arrivals.transaction(*hash));
        Receiver { arrivals, stopped }
    }

    fn item(byte: u8, origin: usize, entered: Instant) -> Item {
        Item { kind: Kind::Transaction, hash: Hash([byte; 32]), len: 100, origin, entered }
    }

    #[test]
    fn a_missing_delivery_is_not_complete() {
        let start = now().instant;
        let items = [item(1, 0, start), item(2, 1, start)];
        let (one, two) = (items[0].hash, items[1].hash);
        let receivers = [receiver(&[one, two], None), receiver(&[one, two], None), receiver(&[one], None)];
        let found = deliveries(Kind::Transaction, &items, &receivers);
        assert_eq!((found.entered, found.everywhere, found.missing, found.deliveries), (2, 1, 1, 3));
        assert!(!found.is_complete());
    }

    #[test]
    fn what_entered_in_the_last_second_of_a_stopped_node_is_apart() {
        let start = now().instant;
        let stop = start + Duration::from_secs(10);
        let items =
            [item(1, 0, stop - Duration::from_millis(500)), item(2, 0, stop - Duration::from_secs(2))];
        let receivers = [receiver(&[], Some(stop)), receiver(&[items[1].hash], None)];
        let found = deliveries(Kind::Transaction, &items, &receivers);
        assert_eq!((found.in_last_second, found.entered, found.everywhere), (1, 1, 1));
        assert!(found.is_complete());
    }

    #[test]
    fn percentiles_are_of_the_deliveries() {
        let mut delivery = Delivery::default();
        assert_eq!(delivery.percentile(0.5), None);
        delivery.latencies = (1..=100).map(Duration::from_millis).collect();
        assert_eq!(delivery.percentile(0.99), Some(Duration::from_millis(100)));
        assert_eq!(delivery.percentile(0.5), Some(Duration::from_millis(51)));
    }
}
