//! What the owner thinks of nodes, as far as it has told: praise that protects from rotation, demerits that make a node
//! the first to go, strikes that end in a ban. Reports are kept for a while beyond a session, so that a new one does not
//! wipe them out. Nothing else is judged here, and nothing that a peer says of itself.

use std::{collections::VecDeque, time::Instant};

use identity::NodeId;

use crate::{expiring::Expiring, limits::ListLimits, server_config::ServerConfig};

/// What the owner reports of a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// It served us: for [`RotationTimes::praise`](crate::RotationTimes::praise) among those of whom rotation spares the
    /// most praised, one in [`ListLimits::peers_per_protected`], and one demerit less.
    Good,
    /// It is of little use: one demerit, and no protection. Among those that may go, rotation takes who has the most.
    Useless,
    /// It broke a rule, maybe in good faith: a demerit and a strike. The third strike in an hour
    /// ([`ListLimits::strikes`]) counts as `Malicious`.
    Misbehaved,
    /// No honest node does what it did: disconnected (0x10) and its id banned for
    /// [`ServerTimes::ban`](crate::ServerTimes::ban), static and trusted peers too.
    Malicious,
}

#[derive(Clone, Debug, Default)]
struct Standing {
    praised_until: Option<Instant>,
    praises: u32,
    demerits: u32,
    /// When the last strikes fell, the first at the front: fewer than are too many.
    strikes: VecDeque<Instant>,
}

impl Standing {
    /// A demerit, and no praise any more.
    const fn blame(&mut self) {
        self.praised_until = None;
        self.praises = 0;
        self.demerits = self.demerits.saturating_add(1);
    }

    /// One more strike; whether it is the one too many within [`ListLimits::report_memory`].
    fn strike(&mut self, now: Instant, limits: &ListLimits) -> bool {
        self.strikes.retain(|at| now.saturating_duration_since(*at) < limits.report_memory);
        self.strikes.push_back(now);
        self.strikes.len() >= limits.strikes
    }
}

/// The standing of nodes. At most [`ListLimits::reported`]; when full, the one reported longest ago is forgotten.
#[derive(Debug)]
pub(crate) struct Standings(Expiring<NodeId, Standing>);

impl Standings {
    pub(crate) const fn new(limits: &ListLimits) -> Self {
        Self(Expiring::new(limits.reported))
    }

    /// Takes a report to the record; whether the node has to go.
    pub(crate) fn report(
        &mut self,
        now: Instant,
        config: &ServerConfig,
        node_id: NodeId,
        verdict: Verdict,
    ) -> bool {
        let (praise, limits) = (config.times.rotation.praise, &config.limits.lists);
        let mut standing = self.0.find(now, &node_id).cloned().unwrap_or_default();
        let goes = match verdict {
            Verdict::Good => {
                standing.praised_until = now.checked_add(praise);
                standing.praises = standing.praises.saturating_add(1);
                standing.demerits = standing.demerits.saturating_sub(1);
                false
            }
            Verdict::Useless => {
                standing.blame();
                false
            }
            Verdict::Misbehaved => {
                standing.blame();
                standing.strike(now, limits)
            }
            Verdict::Malicious => true,
        };
        if goes {
            // The ban says the rest.
            self.0.remove(&node_id);
            return true;
        }
        if let Some(end) = now.checked_add(limits.report_memory.max(praise)) {
            self.0.insert(node_id, end, standing);
        }
        false
    }

    /// How often the node was praised, if that still counts.
    pub(crate) fn praises(&self, now: Instant, node_id: &NodeId) -> Option<u32> {
        let standing = self.0.find(now, node_id)?;
        standing.praised_until.filter(|end| *end > now).map(|_| standing.praises)
    }

    pub(crate) fn demerits(&self, now: Instant, node_id: &NodeId) -> u32 {
        self.0.find(now, node_id).map_or(0, |standing| standing.demerits)
    }

    pub(crate) fn expire(&mut self, now: Instant) {
        self.0.expire(now);
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}
