//! BlockRangeUpdate (0x11, eth/69), and the range that Status of eth/69 carries too.
//! EIP-7642; devp2p specification, `caps/eth.md`, "BlockRangeUpdate".

use bytes::Bytes;

use super::item::{self, Items};
use crate::{Hash, error::DecodeError};

/// Which blocks a node can serve.
///
/// ```text
/// [earliest: at most 8 bytes, latest: at most 8 bytes, latest_hash: 32 bytes]
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockRange {
    /// The number of the first block.
    pub earliest: u64,
    /// The number of the head.
    pub latest: u64,
    /// The hash of the head.
    pub latest_hash: Hash,
}

impl BlockRange {
    /// Whether a chain can have it: the earliest is not above the latest, and the latest hash is not zero.
    pub fn is_valid(&self) -> bool {
        self.earliest <= self.latest && self.latest_hash != Hash::ZERO
    }

    /// The list of the three fields.
    pub(super) fn encode(&self) -> Bytes {
        item::list_of([
            rlp::encode(&self.earliest).as_ref(),
            rlp::encode(&self.latest).as_ref(),
            item::string_of(&self.latest_hash.0).as_ref(),
        ])
    }

    /// The three fields, and no more.
    pub(crate) fn decode(mut items: Items<'_>) -> Result<Self, DecodeError> {
        let range = Self {
            earliest: items.u64("earliest block")?,
            latest: items.u64("latest block")?,
            latest_hash: items.hash("latest hash")?,
        };
        items.end("block range")?;
        Ok(range)
    }
}
