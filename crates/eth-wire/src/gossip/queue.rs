//! What waits to be told to one peer, as hashes: bounded, the oldest dropped.
//! Nothing here knows bytes or messages.

use std::collections::VecDeque;

use crate::{machine_config::MAX_QUEUED_HASHES, message::Announcement};

/// A queue of hashes to one peer: at most [`MAX_QUEUED_HASHES`], the oldest dropped.
#[derive(Clone, Debug, Default)]
pub(crate) struct HashQueue {
    waiting: VecDeque<Announcement>,
}

impl HashQueue {
    /// Queues `item`. True when the oldest had to go for it.
    pub(crate) fn push(&mut self, item: Announcement) -> bool {
        let full = self.waiting.len() >= MAX_QUEUED_HASHES;
        if full {
            self.waiting.pop_front();
        }
        self.waiting.push_back(item);
        full
    }

    /// Takes the next items that `wanted` lets pass, until one more would exceed `count` or `len` bytes by `measure`.
    /// The first wanted item is taken whatever it measures; unwanted ones are dropped.
    pub(crate) fn pack(
        &mut self,
        count: usize,
        len: usize,
        measure: impl Fn(&Announcement) -> usize,
        mut wanted: impl FnMut(&Announcement) -> bool,
    ) -> Vec<Announcement> {
        let mut pack = Vec::new();
        let mut packed_len = 0usize;
        while let Some(item) = self.waiting.front().copied() {
            if wanted(&item) {
                let item_len = measure(&item);
                let fits = pack.len() < count && packed_len.saturating_add(item_len) <= len;
                if !pack.is_empty() && !fits {
                    break;
                }
                packed_len = packed_len.saturating_add(item_len);
                pack.push(item);
            }
            self.waiting.pop_front();
        }
        pack
    }

    /// How many wait.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Hash;

    fn item(number: u32) -> Announcement {
        let mut hash = [0; 32];
        hash[..4].copy_from_slice(&number.to_be_bytes());
        Announcement { hash: Hash(hash), kind: 2, size: number }
    }

    #[test]
    fn g11_a_slow_reader_costs_4096_hashes_the_oldest_dropped() {
        let mut queue = HashQueue::default();
        let dropped = (0..100_000).filter(|number| queue.push(item(*number))).count();
        assert_eq!((queue.len(), dropped), (4_096, 100_000 - 4_096));
        assert_eq!(queue.pack(1, 0, |_| 1, |_| true), [item(100_000 - 4_096)]);
    }

    #[test]
    fn packs_end_before_they_grow_past_count_or_length() {
        let mut queue = HashQueue::default();
        (0..10).for_each(|number| _ = queue.push(item(number)));
        assert_eq!(queue.pack(3, 1_000, |_| 10, |_| true).len(), 3);
        assert_eq!(queue.pack(100, 25, |_| 10, |_| true).len(), 2);
        assert_eq!(queue.pack(100, 5, |_| 10, |_| true).len(), 1, "one item always goes");
        assert_eq!(queue.pack(100, 1_000, |_| 10, |item| item.size % 2 == 1), [item(7), item(9)]);
        assert!(queue.is_empty());
    }
}
