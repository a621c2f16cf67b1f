//! What the transport is told of how peers serve: praise for what was useful or came first, blame for what is no breach
//! and yet costs us. How often is `conduct`'s. What follows, and that praise protects few, is rlpx's.

use identity::Now;
use rlpx::{PeerId, Verdict};

use super::{Eth, Output};
impl Eth {
    /// The peer was useful.
    pub(super) fn praise(&mut self, now: Now, id: PeerId) {
        let Some(peer) = self.peers.of_mut(id).filter(|peer| peer.is_ready()) else { return };
        if peer.conduct.may_praise(now) {
            self.put(Output::Report { peer: id, verdict: Verdict::Good });
        }
    }

    /// The peer was of no use.
    pub(super) fn blame(&mut self, now: Now, id: PeerId) {
        let Some(peer) = self.peers.of_mut(id).filter(|peer| peer.is_ready()) else { return };
        if peer.conduct.may_blame(now) {
            self.put(Output::Report { peer: id, verdict: Verdict::Useless });
        }
    }
}
