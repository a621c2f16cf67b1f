//! What Status must say: the checks of a peer's first message, in go-ethereum's order.
//! devp2p specification, `caps/eth.md`, "Session Management"; EIP-2124.

use crate::{
    Hash, Head, Reject,
    fork_id::{ForkFilter, ForkId, ForkIdError, ForkSchedule},
    message::{Position, Status},
    version::EthVersion,
};

/// Our side of every handshake: which chain we are on and how far it goes. Clones share the head that fork ids are
/// checked against.
#[derive(Clone, Debug)]
pub struct ChainStatus {
    network_id: u64,
    genesis: Hash,
    filter: ForkFilter,
    head: Head,
}

/// Why a peer is on another chain. Each ends the connection with 0x10.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HandshakeError {
    /// Another network.
    #[error("network id {theirs}, ours is {ours}")]
    NetworkId {
        /// Ours.
        ours: u64,
        /// The peer's.
        theirs: u64,
    },
    /// Status names another version than Hello agreed on.
    #[error("Status of eth/{theirs}, agreed on was eth/{ours}")]
    Version {
        /// What was agreed on.
        ours: u64,
        /// What Status names.
        theirs: u64,
    },
    /// Another genesis block.
    #[error("genesis block {theirs}, ours is {ours}")]
    Genesis {
        /// Ours.
        ours: Hash,
        /// The peer's.
        theirs: Hash,
    },
    /// A fork id that does not fit.
    #[error("fork id {theirs}, ours is {ours}: {error}")]
    ForkId {
        /// Ours.
        ours: ForkId,
        /// The peer's.
        theirs: ForkId,
        /// Which of the two is behind or elsewhere.
        error: ForkIdError,
    },
    /// A block range that cannot be: its earliest is above its latest, or its latest hash is zero.
    #[error("the block range from {earliest} to {latest} cannot be")]
    Range {
        /// The earliest block.
        earliest: u64,
        /// The latest.
        latest: u64,
    },
}

impl HandshakeError {
    /// The label it is counted under.
    pub const fn reject(&self) -> Reject {
        match self {
            Self::NetworkId { .. } => Reject::NetworkId,
            Self::Version { .. } => Reject::Version,
            Self::Genesis { .. } => Reject::Genesis,
            Self::ForkId { .. } => Reject::ForkId,
            Self::Range { .. } => Reject::InvalidRange,
        }
    }
}

impl ChainStatus {
    /// A chain by its network id, genesis block, forks and head.
    pub fn new(network_id: u64, genesis: Hash, schedule: ForkSchedule, head: Head) -> Self {
        Self { network_id, genesis, filter: ForkFilter::new(schedule, head.number, head.time), head }
    }

    /// The network id.
    pub const fn network_id(&self) -> u64 {
        self.network_id
    }

    /// The hash of the genesis block.
    pub const fn genesis(&self) -> Hash {
        self.genesis
    }

    /// The head.
    pub const fn head(&self) -> &Head {
        &self.head
    }

    /// The check of fork ids; its clones follow [`ChainStatus::set_head`].
    pub const fn filter(&self) -> &ForkFilter {
        &self.filter
    }

    /// Our own fork id.
    pub fn fork_id(&self) -> ForkId {
        self.filter.fork_id()
    }

    /// The head has moved.
    pub fn set_head(&mut self, head: Head) {
        self.head = head;
        self.filter.set_head(head.number, head.time);
    }

    /// What we say of ourselves.
    pub fn status(&self, version: EthVersion) -> Status {
        Status {
            version: u64::from(version.number()),
            network_id: self.network_id,
            genesis: self.genesis,
            fork_id: self.fork_id(),
            position: self.head.position(version),
        }
    }

    /// Whether a peer that says `theirs` is on our chain.
    ///
    /// # Errors
    /// The first check that fails: network id, version, genesis, fork id, block range.
    pub fn check(&self, version: EthVersion, theirs: &Status) -> Result<(), HandshakeError> {
        if theirs.network_id != self.network_id {
            return Err(HandshakeError::NetworkId { ours: self.network_id, theirs: theirs.network_id });
        }
        let ours = u64::from(version.number());
        if theirs.version != ours {
            return Err(HandshakeError::Version { ours, theirs: theirs.version });
        }
        if theirs.genesis != self.genesis {
            return Err(HandshakeError::Genesis { ours: self.genesis, theirs: theirs.genesis });
        }
        self.filter.validate(&theirs.fork_id).map_err(|error| HandshakeError::ForkId {
            ours: self.fork_id(),
            theirs: theirs.fork_id,
            error,
        })?;
        match &theirs.position {
            Position::Range(range) if !range.is_valid() => {
                Err(HandshakeError::Range { earliest: range.earliest, latest: range.latest })
            }
            Position::Range(_) | Position::Head { .. } => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{BlockRange, TotalDifficulty};

    const VERSIONS: [EthVersion; 2] = EthVersion::ALL;

    fn chain() -> ChainStatus {
        let genesis = Hash([1; 32]);
        let schedule = ForkSchedule::new(genesis, 0, &[100], &[1_700_000_000]);
        let head = Head {
            hash: Hash([9; 32]),
            number: 200,
            time: 1_800_000_000,
            total_difficulty: TotalDifficulty(200),
            earliest: 3,
        };
        ChainStatus::new(1337, genesis, schedule, head)
    }

    #[test]
    fn nodes_of_one_chain_accept_each_other() {
        for version in VERSIONS {
            assert_eq!(chain().check(version, &chain().status(version)), Ok(()));
        }
    }

    #[test]
    fn e02_each_difference_is_told_and_the_first_one_counts() {
        for version in VERSIONS {
            let ours = chain();
            let mut theirs = ours.status(version);
            let is_refused_for = |theirs: &Status, reject| {
                assert_eq!(ours.check(version, theirs).map_err(|error| error.reject()), Err(reject));
            };
            // Each change is checked before the one made before it.
            theirs.fork_id.hash = [0; 4];
            is_refused_for(&theirs, Reject::ForkId);
            theirs.genesis = Hash([2; 32]);
            is_refused_for(&theirs, Reject::Genesis);
            theirs.version += 1;
            is_refused_for(&theirs, Reject::Version);
            theirs.network_id = 1;
            is_refused_for(&theirs, Reject::NetworkId);
        }
    }

    #[test]
    fn e02_the_next_fork_may_be_unknown_or_far_but_not_past() {
        let ours = chain();
        for (next, is_fine) in
            [(0, true), (u64::MAX, true), (1, false), (1_800_000_000, false), (1_800_000_001, true)]
        {
            let mut theirs = ours.status(EthVersion::Eth69);
            theirs.fork_id.next = next;
            assert_eq!(ours.check(EthVersion::Eth69, &theirs).is_ok(), is_fine, "{next}");
        }
    }

    #[test]
    fn e03_status_with_a_range_that_cannot_be_is_refused() {
        let (ours, good) = (chain(), BlockRange { earliest: 5, latest: 5, latest_hash: Hash([7; 32]) });
        let rows = [
            (good, true),
            (BlockRange { earliest: 6, ..good }, false),
            (BlockRange { latest_hash: Hash::ZERO, ..good }, false),
        ];
        for (range, is_fine) in rows {
            let theirs = Status { position: Position::Range(range), ..ours.status(EthVersion::Eth69) };
            assert_eq!(ours.check(EthVersion::Eth69, &theirs).is_ok(), is_fine, "{range:?}");
        }
    }

    #[test]
    fn the_fork_id_follows_the_head() {
        let mut chain = chain();
        let later = chain.fork_id();
        chain.set_head(Head { number: 99, time: 0, ..*chain.head() });
        assert_ne!(chain.fork_id(), later);
        assert_eq!(chain.status(EthVersion::Eth68).fork_id, chain.fork_id());
    }
}
