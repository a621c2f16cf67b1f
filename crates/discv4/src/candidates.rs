//! When to search for nodes to connect to, and whose records are still awaited.
//! It paces; the machine searches and asks.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use crate::{LookupId, NodeEntry, RequestId, config::MIN_REFRESH_INTERVAL};

/// The search for candidates: nothing, a lookup, or the records of at most 16 nodes.
#[derive(Clone, Debug)]
pub(crate) struct Candidates {
    interval: Duration,
    /// Since when they are wanted.
    wanted_at: Option<Instant>,
    last_at: Option<Instant>,
    /// The lookup that runs for them.
    pub(crate) lookup: Option<LookupId>,
    /// Nodes whose record is awaited, by the request for it.
    pub(crate) waiting: BTreeMap<RequestId, NodeEntry>,
}

impl Candidates {
    pub(crate) const fn new(interval: Duration) -> Self {
        Self { interval, wanted_at: None, last_at: None, lookup: None, waiting: BTreeMap::new() }
    }

    /// They are wanted from now on.
    pub(crate) fn want(&mut self, now: Instant) {
        self.wanted_at.get_or_insert(now);
    }

    /// Whether they are wanted and nothing is done about it yet.
    pub(crate) fn is_idle(&self) -> bool {
        self.wanted_at.is_some() && self.lookup.is_none() && self.waiting.is_empty()
    }

    /// When the next search may start. In a deserted table there is nobody to ask but bootnodes, and those seldom.
    pub(crate) fn due_at(&self, is_deserted: bool) -> Option<Instant> {
        let wanted_at = self.wanted_at.filter(|_| self.is_idle())?;
        if is_deserted {
            wanted_at.max(self.last_at.unwrap_or(wanted_at)).checked_add(MIN_REFRESH_INTERVAL)
        } else {
            self.last_at.and_then(|last| last.checked_add(self.interval)).or(Some(wanted_at))
        }
    }

    /// A search starts.
    pub(crate) const fn start(&mut self, now: Instant) {
        self.last_at = Some(now);
    }

    /// All that was found is told.
    pub(crate) const fn finish(&mut self) {
        self.wanted_at = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::story;

    #[test]
    fn searches_are_a_second_apart_and_only_when_wanted() {
        let (mut candidates, now) = (Candidates::new(Duration::from_secs(1)), story::start());
        assert_eq!(candidates.due_at(false), None);
        candidates.want(now.instant);
        assert_eq!(candidates.due_at(false), Some(now.instant));
        candidates.start(now.instant);
        candidates.lookup = Some(LookupId(1));
        assert_eq!(candidates.due_at(false), None, "one runs");
        candidates.lookup = None;
        candidates.finish();
        assert_eq!(candidates.due_at(false), None, "nobody wants more");
        candidates.want(now.later(Duration::from_millis(100)).instant);
        assert_eq!(candidates.due_at(false), Some(now.later(Duration::from_secs(1)).instant));
    }

    #[test]
    fn t09_a_deserted_table_is_searched_every_ten_seconds() {
        let (mut candidates, now) = (Candidates::new(Duration::from_secs(1)), story::start());
        candidates.want(now.instant);
        assert_eq!(candidates.due_at(true), Some(now.later(Duration::from_secs(10)).instant));
        candidates.start(now.later(Duration::from_secs(10)).instant);
        assert_eq!(candidates.due_at(true), Some(now.later(Duration::from_secs(20)).instant));
    }
}
