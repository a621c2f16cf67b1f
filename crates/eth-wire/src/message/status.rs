//! Status (0x00): the first message both ways. Its form differs between the versions; what it must say is in `handshake`.
//! devp2p specification, `caps/eth.md`, "Status"; EIP-7642 for the form of eth/69.

use bytes::Bytes;

use super::{
    BlockRange, TotalDifficulty,
    item::{self, Items},
};
use crate::{EthVersion, Hash, error::DecodeError, fork_id::ForkId};

/// What a node says of itself.
///
/// ```text
/// eth/68: [version, network id, total difficulty, head hash, genesis hash, fork id]
/// eth/69: [version, network id, genesis hash, fork id, earliest, latest, latest hash]
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// The version's number: that agreed on in Hello.
    pub version: u64,
    /// The network id: usually the chain id.
    pub network_id: u64,
    /// The hash of the genesis block.
    pub genesis: Hash,
    /// The forks passed and the next one (EIP-2124).
    pub fork_id: ForkId,
    /// How far its chain goes.
    pub position: Position,
}

/// How far a chain goes, as the version puts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Position {
    /// eth/68: the head and its weight.
    Head {
        /// The hash of the head.
        hash: Hash,
        /// The total difficulty up to it.
        total_difficulty: TotalDifficulty,
    },
    /// eth/69: which blocks it has.
    Range(BlockRange),
}

impl Status {
    /// The RLP of the message.
    pub fn encode(&self) -> Bytes {
        let version = rlp::encode(&self.version);
        let network_id = rlp::encode(&self.network_id);
        let genesis = item::string_of(&self.genesis.0);
        let fork_id = self.fork_id.encode();
        match &self.position {
            Position::Head { hash, total_difficulty } => item::list_of([
                version.as_ref(),
                network_id.as_ref(),
                total_difficulty.encode().as_ref(),
                item::string_of(&hash.0).as_ref(),
                genesis.as_ref(),
                fork_id.as_ref(),
            ]),
            Position::Range(range) => item::list_of([
                version.as_ref(),
                network_id.as_ref(),
                genesis.as_ref(),
                fork_id.as_ref(),
                rlp::encode(&range.earliest).as_ref(),
                rlp::encode(&range.latest).as_ref(),
                item::string_of(&range.latest_hash.0).as_ref(),
            ]),
        }
    }

    /// Reads the form of `version`. That it names this version is for the handshake to check.
    ///
    /// # Errors
    /// What cannot be read and why.
    pub fn decode(version: EthVersion, message: &[u8]) -> Result<Self, DecodeError> {
        let mut items = Items::only(message, "status")?;
        let (named, network_id) = (items.u64("version")?, items.u64("network id")?);
        match version {
            EthVersion::Eth68 => {
                let total_difficulty = TotalDifficulty::decode(items.next("total difficulty")?)?;
                let position = Position::Head { total_difficulty, hash: items.hash("head")? };
                let genesis = items.hash("genesis")?;
                let fork_id = ForkId::decode(items.list("fork id")?)?;
                items.end("status")?;
                Ok(Self { version: named, network_id, genesis, fork_id, position })
            }
            EthVersion::Eth69 => {
                let genesis = items.hash("genesis")?;
                let fork_id = ForkId::decode(items.list("fork id")?)?;
                let position = Position::Range(BlockRange::decode(items)?);
                Ok(Self { version: named, network_id, genesis, fork_id, position })
            }
        }
    }
}
