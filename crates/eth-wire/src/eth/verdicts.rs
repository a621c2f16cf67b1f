//! What the transport is told of how peers serve: praise for what was useful or came first, blame for what is no breach
//! and yet costs us. Each at most once in a while for one peer. What follows, and that praise protects few, is rlpx's.

use std::time::{Duration, Instant};

use identity::Now;
use rlpx::{PeerId, Verdict};

use super::{Eth, Output};
use crate::machine_config::VERDICT_INTERVAL;

/// How a peer has served.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Conduct {
    /// Answers in a row that were empty or did not come.
    pub(crate) strikes: u32,
    praised_at: Option<Instant>,
    blamed_at: Option<Instant>,
}

/// Whether enough time has passed to say it again; then it has been said now.
fn is_due(said_at: &mut Option<Instant>, now: Now) -> bool {
    let since = said_at.map(|at| now.instant.saturating_duration_since(at));
    let due = since.is_none_or(|since: Duration| since >= VERDICT_INTERVAL);
    if due {
        *said_at = Some(now.instant);
    }
    due
}

impl Eth {
    /// The peer was useful.
    pub(super) fn praise(&mut self, now: Now, id: PeerId) {
        let Some(peer) = self.peers.of_mut(id).filter(|peer| peer.is_ready()) else { return };
        if is_due(&mut peer.conduct.praised_at, now) {
            self.put(Output::Report { peer: id, verdict: Verdict::Good });
        }
    }

    /// The peer was of no use.
    pub(super) fn blame(&mut self, now: Now, id: PeerId) {
        let Some(peer) = self.peers.of_mut(id).filter(|peer| peer.is_ready()) else { return };
        if is_due(&mut peer.conduct.blamed_at, now) {
            self.put(Output::Report { peer: id, verdict: Verdict::Useless });
        }
    }
}
