//! Whom the owner wants nothing to do with, for how long: nodes by id, hosts and sites by address. Looked up at the
//! door, after authentication and before each dial, in O(log n). Who gets banned is the owner's decision, or follows
//! from its reports (`standing`); what a ban does to connections is `server`'s.

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use identity::{NodeId, Prefix};

use crate::{expiring::Expiring, limits::ListLimits};

/// Whom a ban is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum BanTarget {
    /// One node, wherever it is.
    Node(NodeId),
    /// Every node at the addresses of a [`Prefix::host`] (/32, /64) or a [`Prefix::site`] (/24, /48). Unlike limits by
    /// address it holds for loopback and private addresses too: the owner has named them.
    Addresses(Prefix),
}

impl From<NodeId> for BanTarget {
    fn from(node_id: NodeId) -> Self {
        Self::Node(node_id)
    }
}

impl From<IpAddr> for BanTarget {
    /// The host: a /32 or a /64.
    fn from(ip: IpAddr) -> Self {
        Self::Addresses(Prefix::host(ip))
    }
}

impl From<Prefix> for BanTarget {
    fn from(prefix: Prefix) -> Self {
        Self::Addresses(prefix)
    }
}

/// A ban and its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ban {
    /// Whom it is for.
    pub target: BanTarget,
    /// When it ends.
    pub ends: Instant,
}

/// The bans in force. At most [`ListLimits::bans`]; when full, the one that would end first makes room.
#[derive(Debug)]
pub(crate) struct Bans {
    ends: Expiring<BanTarget>,
    longest: Duration,
}

impl Bans {
    pub(crate) const fn new(limits: &ListLimits) -> Self {
        Self { ends: Expiring::new(limits.bans), longest: limits.longest_ban }
    }

    /// Bans `target` for `duration` from now on, in place of what was said of it before.
    pub(crate) fn insert(&mut self, now: Instant, target: BanTarget, duration: Duration) {
        // What has ended makes room before what has not.
        self.ends.expire(now);
        if let Some(end) = now.checked_add(duration.min(self.longest)).filter(|end| *end > now) {
            self.ends.insert(target, end, ());
        }
    }

    pub(crate) fn remove(&mut self, target: &BanTarget) {
        self.ends.remove(target);
    }

    /// When the ban of a node ends, if there is one.
    pub(crate) fn end_of_node(&self, now: Instant, node_id: NodeId) -> Option<Instant> {
        self.ends.end_of(now, &node_id.into())
    }

    pub(crate) fn holds_node(&self, now: Instant, node_id: NodeId) -> bool {
        self.end_of_node(now, node_id).is_some()
    }

    pub(crate) fn holds_address(&self, now: Instant, ip: IpAddr) -> bool {
        self.ends.contains(now, &Prefix::host(ip).into()) || self.ends.contains(now, &Prefix::site(ip).into())
    }

    /// Those in force, the one that ends first at the front.
    pub(crate) fn iter(&self, now: Instant) -> impl Iterator<Item = Ban> {
        self.ends.ends().filter(move |(end, _)| *end > now).map(|(ends, target)| Ban { target, ends })
    }

    pub(crate) fn expire(&mut self, now: Instant) {
        self.ends.expire(now);
    }

    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }
}
