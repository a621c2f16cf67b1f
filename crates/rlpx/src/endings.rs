//! How connections ended, counted by reason and by who gave it: `disconnect_total{by,reason}`. A `DisconnectReason` is a
//! closed set of labels here, all unknown numbers being one. What was refused before a key was proved is counted as a
//! `Refusal` (`admission`) or a `Reject` alone.

use identity::{Counters, Label};

use crate::{error::SessionEnd, p2p::DisconnectReason};

/// Ends of connections. Clones share the counts.
#[derive(Clone, Debug, Default)]
pub struct Endings {
    /// By a Disconnect of ours.
    pub by_us: Counters<DisconnectReason>,
    /// By a Disconnect of the peer.
    pub by_peer: Counters<DisconnectReason>,
    /// Without a word, whoever closed: under the reason that comes nearest.
    pub wordless: Counters<DisconnectReason>,
}

impl Endings {
    pub(crate) fn add(&self, end: &SessionEnd) {
        let counters = match end {
            SessionEnd::Local { .. } => &self.by_us,
            SessionEnd::Remote(_) => &self.by_peer,
            SessionEnd::Broken(_) => &self.wordless,
        };
        counters.add(end.reason());
    }

    /// All of them.
    pub fn total(&self) -> u64 {
        self.by_us.total() + self.by_peer.total() + self.wordless.total()
    }
}

impl Label for DisconnectReason {
    /// Those that have a name, and one for all others.
    const ALL: &'static [Self] = &{
        let mut all = [Self::INVALID; Self::NAMED.len() + 1];
        all.split_at_mut(Self::NAMED.len()).0.copy_from_slice(&Self::NAMED);
        all
    };

    fn index(self) -> usize {
        let place = Self::ALL.iter().position(|reason| *reason == self);
        place.unwrap_or(Self::ALL.len() - 1)
    }

    fn label(self) -> &'static str {
        match self {
            Self::Requested => "requested",
            Self::NetworkError => "network_error",
            Self::ProtocolError => "protocol_error",
            Self::UselessPeer => "useless_peer",
            Self::TooManyPeers => "too_many_peers",
            Self::AlreadyConnected => "already_connected",
            Self::IncompatibleVersion => "incompatible_version",
            Self::InvalidIdentity => "invalid_identity",
            Self::Quitting => "quitting",
            Self::UnexpectedIdentity => "unexpected_identity",
            Self::ConnectedToSelf => "connected_to_self",
            Self::ReadTimeout => "read_timeout",
            Self::SubprotocolError => "subprotocol_error",
            Self::Unknown(_) => "unknown",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_on_the_wire_has_one_label() {
        for code in 0..=u8::MAX {
            let reason = DisconnectReason::from_code(code);
            let listed = DisconnectReason::ALL[reason.index()];
            assert_eq!(listed.label(), reason.label());
        }
        let mut labels: Vec<&str> = DisconnectReason::ALL.iter().map(|reason| reason.label()).collect();
        labels.sort_unstable();
        labels.dedup();
        assert_eq!(labels.len(), DisconnectReason::ALL.len());
    }
}
