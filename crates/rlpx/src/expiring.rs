//! A bounded map whose entries end by themselves: throttles and histories of peers and addresses.
//! When it is full, the entry that would end first makes room.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

/// Keys with a value until a moment.
#[derive(Debug)]
pub(crate) struct Expiring<K, V = ()> {
    by_key: BTreeMap<K, (Instant, V)>,
    by_end: BTreeSet<(Instant, K)>,
    limit: usize,
}

impl<K: Ord + Copy, V> Expiring<K, V> {
    /// An empty map that never holds more than `limit` entries.
    pub(crate) const fn new(limit: usize) -> Self {
        Self { by_key: BTreeMap::new(), by_end: BTreeSet::new(), limit }
    }

    /// Sets `key` until `end`, in place of what it had.
    pub(crate) fn insert(&mut self, key: K, end: Instant, value: V) {
        self.remove(&key);
        if self.by_key.len() >= self.limit
            && let Some((_, first)) = self.by_end.pop_first()
        {
            self.by_key.remove(&first);
        }
        self.by_key.insert(key, (end, value));
        self.by_end.insert((end, key));
    }

    /// What `key` has, unless it has ended by `now`.
    pub(crate) fn find(&self, now: Instant, key: &K) -> Option<&V> {
        self.by_key.get(key).filter(|(end, _)| *end > now).map(|(_, value)| value)
    }

    /// When `key` ends, unless it has by `now`.
    pub(crate) fn end_of(&self, now: Instant, key: &K) -> Option<Instant> {
        self.by_key.get(key).map(|(end, _)| *end).filter(|end| *end > now)
    }

    /// Every end with its key, the first at the front.
    pub(crate) fn ends(&self) -> impl Iterator<Item = (Instant, K)> {
        self.by_end.iter().copied()
    }

    /// Whether `key` has an entry that has not ended by `now`.
    pub(crate) fn contains(&self, now: Instant, key: &K) -> bool {
        self.find(now, key).is_some()
    }

    /// Forgets `key`.
    pub(crate) fn remove(&mut self, key: &K) {
        if let Some((end, _)) = self.by_key.remove(key) {
            self.by_end.remove(&(end, *key));
        }
    }

    /// Forgets what has ended by `now`.
    pub(crate) fn expire(&mut self, now: Instant) {
        while let Some((end, key)) = self.by_end.first().copied()
            && end <= now
        {
            self.by_end.remove(&(end, key));
            self.by_key.remove(&key);
        }
    }

    /// How many entries are kept, ended ones included.
    pub(crate) fn len(&self) -> usize {
        self.by_key.len()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[expect(clippy::disallowed_methods, reason = "virtual time begins somewhere")]
    fn epoch() -> Instant {
        Instant::now()
    }

    #[test]
    fn s09_a_full_map_drops_what_would_end_first() {
        let start = epoch();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut map = Expiring::new(4_096);
        for key in 0..10_000u64 {
            map.insert(key, at(10 + key), key);
        }
        assert_eq!(map.len(), 4_096);
        assert!(!map.contains(start, &0) && map.contains(start, &9_999));
        map.expire(at(10 + 9_998));
        assert_eq!(map.len(), 1);
        map.expire(at(10 + 9_999));
        assert_eq!(map.len(), 0);
    }

    #[test]
    fn an_entry_ends_on_time_and_is_replaced_whole() {
        let start = epoch();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut map = Expiring::new(2);
        map.insert('a', at(5), 1);
        map.insert('a', at(9), 2);
        assert_eq!((map.find(at(8), &'a'), map.find(at(9), &'a')), (Some(&2), None));
        map.expire(at(5));
        assert_eq!(map.len(), 1);
        map.remove(&'a');
        map.expire(at(99));
        assert_eq!(map.len(), 0);
    }
}
