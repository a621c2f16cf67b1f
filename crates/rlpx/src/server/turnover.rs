//! Turnover: one peer of a full server makes room for another from time to time, so that neither zombies nor crawlers
//! hold its slots for good. As in go-ethereum, those who were dialed and those who came in are full by themselves.

use std::{cmp::Reverse, collections::BTreeSet};

use identity::Now;

use super::Server;
use crate::{
    admission::Refusal,
    p2p::DisconnectReason,
    peer::PeerId,
    peer_set::{Entry, Stage},
};

impl Server {
    fn inbound_is_full(&self) -> bool {
        self.peers.inbound_established() >= self.config.max_inbound()
    }

    fn outbound_is_full(&self) -> bool {
        self.peers.outbound_established() >= self.config.max_dialed()
    }

    /// Begins an interval when a pool is full and has someone in it.
    pub(super) fn begin_rotation(&mut self, now: Now) {
        let inbound = self.inbound_is_full() && self.peers.inbound_established() > 0;
        let outbound = self.outbound_is_full() && self.peers.outbound_established() > 0;
        if inbound || outbound {
            self.rotation.begin(now.instant, &self.config.times.rotation);
        }
    }

    /// Lets one peer go when an interval has ended and there is still no room. Told 0x03, as go-ethereum does: to most
    /// nodes it means to stay away for a while, and our own dialer does for an hour.
    pub(super) fn rotate(&mut self, now: Now) {
        if self.shutting_down || !self.rotation.take_due(now.instant) {
            return;
        }
        let candidates = self.dispensable(now);
        if let Some(id) = self.rotation.choose(&candidates) {
            self.refuse(now, id, Refusal::Rotated, DisconnectReason::UselessPeer);
        }
        self.begin_rotation(now);
    }

    /// The most praised peers of each pool, as many as praise protects; of equals those who came first.
    fn protected(&self, now: Now) -> BTreeSet<PeerId> {
        let mut protected = BTreeSet::new();
        for inbound in [true, false] {
            let pool = self
                .peers
                .iter()
                .filter(|(_, entry)| entry.stage == Stage::Established && entry.is_inbound() == inbound);
            let mut praised = Vec::new();
            let mut count = 0usize;
            for (id, entry) in pool {
                count += 1;
                let praises = entry.node_id.and_then(|node_id| self.standings.praises(now.instant, &node_id));
                praised.extend(praises.map(|praises| (Reverse(praises), id)));
            }
            praised.sort_unstable();
            let places = count.div_ceil(self.config.limits.lists.peers_per_protected.max(1));
            protected.extend(praised.into_iter().take(places).map(|(_, id)| id));
        }
        protected
    }

    /// Peers that may go, with their demerits: of a full pool, old enough, neither static, trusted nor protected by praise.
    fn dispensable(&self, now: Now) -> Vec<(u32, PeerId)> {
        let (inbound, outbound) = (self.inbound_is_full(), self.outbound_is_full());
        let protected = self.protected(now);
        let min_age = self.config.times.rotation.min_age;
        let may_go = |entry: &Entry| {
            let age = entry.established_at.map(|at| now.instant.saturating_duration_since(at));
            let is_full = if entry.is_inbound() { inbound } else { outbound };
            entry.stage == Stage::Established && is_full && age.is_some_and(|age| age > min_age)
        };
        let judged = self.peers.iter().filter(|(_, entry)| may_go(entry)).filter_map(|(id, entry)| {
            let node_id = entry.node_id?;
            let (is_static, is_trusted) = self.privileges(&node_id);
            let stays = is_static || is_trusted || protected.contains(&id);
            (!stays).then(|| (self.standings.demerits(now.instant, &node_id), id))
        });
        judged.collect()
    }
}
