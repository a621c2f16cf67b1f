//! The versions of the eth capability that this crate speaks. Which one a connection speaks is agreed in Hello, by rlpx
//! (`capability.rs`); where their messages differ is said in `message`.
//! devp2p specification, `caps/eth.md`, "Change Log".

use std::fmt;

/// A version of the eth capability.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EthVersion {
    /// eth/68: Status with total difficulty, blocks announced and pushed, receipts with bloom.
    Eth68,
    /// eth/69 (EIP-7642): Status with a block range, receipts without bloom, no blocks by gossip.
    Eth69,
}

impl EthVersion {
    /// Every version, the preferred one first.
    pub const ALL: [Self; 2] = [Self::Eth69, Self::Eth68];

    /// The version with this number, if it is spoken here.
    pub const fn from_number(number: u32) -> Option<Self> {
        match number {
            68 => Some(Self::Eth68),
            69 => Some(Self::Eth69),
            _ => None,
        }
    }

    /// The number that Hello and Status carry.
    pub const fn number(self) -> u32 {
        match self {
            Self::Eth68 => 68,
            Self::Eth69 => 69,
        }
    }

    /// How many message codes the version takes, as go-ethereum counts them: codes of later capabilities follow.
    pub const fn message_count(self) -> u64 {
        match self {
            Self::Eth68 => 17,
            Self::Eth69 => 18,
        }
    }
}

impl fmt::Display for EthVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "eth/{}", self.number())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_name_their_version() {
        for version in EthVersion::ALL {
            assert_eq!(EthVersion::from_number(version.number()), Some(version));
        }
        assert_eq!(EthVersion::from_number(67).or(EthVersion::from_number(70)), None);
    }
}
