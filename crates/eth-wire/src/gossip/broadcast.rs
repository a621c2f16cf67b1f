//! Who is sent a transaction or a block in full; everybody else is told its hash.
//! devp2p specification, `caps/eth.md`; the draw is that of go-ethereum's `eth/handler.go`.

use std::{collections::BTreeSet, fmt};

use identity::NodeId;
use rlpx::PeerId;
use siphasher::sip::SipHasher24;

/// How many of `peers` get an item in full: the square root, rounded up.
pub(crate) fn direct_count(peers: usize) -> usize {
    let root = peers.isqrt();
    if root * root < peers { root + 1 } else { root }
}

/// Draws those who get an item in full. As in go-ethereum the draw depends on a secret of this process and the item's
/// origin alone: a sender's transactions go the same ways, so that one does not overtake the one before it.
#[derive(Clone)]
pub(crate) struct DirectChoice(SipHasher24);

impl DirectChoice {
    /// A choice with 128 random bits.
    pub(crate) fn new(low: u64, high: u64) -> Self {
        Self(SipHasher24::new_with_keys(low, high))
    }

    /// The [`direct_count`] of `peers` for an item from `origin`: a transaction's sender, or the item's own hash.
    pub(crate) fn choose<'a>(
        &self,
        origin: &[u8],
        peers: impl Iterator<Item = (PeerId, &'a NodeId)>,
    ) -> BTreeSet<PeerId> {
        let mut drawn: Vec<(u64, PeerId)> = peers.map(|(peer, id)| (self.lot(origin, id), peer)).collect();
        let count = direct_count(drawn.len());
        if count < drawn.len() {
            drawn.select_nth_unstable(count);
            drawn.truncate(count);
        }
        drawn.into_iter().map(|(_, peer)| peer).collect()
    }

    fn lot(&self, origin: &[u8], id: &NodeId) -> u64 {
        let mut bytes = id.as_bytes().to_vec();
        bytes.extend_from_slice(origin);
        self.0.hash(&bytes)
    }
}

impl fmt::Debug for DirectChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DirectChoice")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(count: u8) -> Vec<NodeId> {
        (0..count).map(|byte| NodeId::from_bytes([byte; 32])).collect()
    }

    fn choose(choice: &DirectChoice, origin: &[u8], ids: &[NodeId]) -> BTreeSet<PeerId> {
        choice.choose(origin, ids.iter().enumerate().map(|(at, id)| (PeerId(at as u64), id)))
    }

    #[test]
    fn the_square_root_rounded_up_gets_it_in_full() {
        let rows = [(0, 0), (1, 1), (2, 2), (4, 2), (5, 3), (9, 3), (10, 4), (49, 7), (50, 8)];
        for (peers, expected) in rows {
            assert_eq!(direct_count(peers), expected, "{peers}");
            let chosen = choose(&DirectChoice::new(1, 2), b"a", &ids(u8::try_from(peers).unwrap()));
            assert_eq!(chosen.len(), expected, "{peers}");
        }
    }

    #[test]
    fn one_sender_always_takes_the_same_ways_and_senders_spread() {
        let (choice, ids) = (DirectChoice::new(1, 2), ids(50));
        let mut used = BTreeSet::new();
        for sender in 0..=u8::MAX {
            let chosen = choose(&choice, &[sender; 20], &ids);
            assert_eq!(chosen, choose(&choice, &[sender; 20], &ids));
            used.extend(chosen);
        }
        assert_eq!(used.len(), 50);
        assert_ne!(choose(&choice, &[1; 20], &ids), choose(&DirectChoice::new(3, 4), &[1; 20], &ids));
    }
}
