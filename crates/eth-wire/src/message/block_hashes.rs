//! NewBlockHashes (0x01, eth/68): new blocks by hash and number. What follows from one is the machine's.
//! devp2p specification, `caps/eth.md`, "NewBlockHashes".

use bytes::Bytes;

use super::item::{self, Items};
use crate::{Hash, error::DecodeError};

/// A block by hash and number.
///
/// ```text
/// [hash: 32 bytes, number: at most 8 bytes]
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockHashNumber {
    /// The block's hash.
    pub hash: Hash,
    /// Its height, as the peer says.
    pub number: u64,
}

/// `[[hash, number], ..]`.
pub(super) fn encode(blocks: &[BlockHashNumber]) -> Bytes {
    let entries: Vec<Bytes> = blocks.iter().map(encode_entry).collect();
    item::list_of(&entries)
}

fn encode_entry(block: &BlockHashNumber) -> Bytes {
    item::list_of([item::string_of(&block.hash.0).as_ref(), rlp::encode(&block.number).as_ref()])
}

/// One entry.
pub(crate) fn decode_entry(mut entry: Items<'_>) -> Result<BlockHashNumber, DecodeError> {
    let block = BlockHashNumber { hash: entry.hash("block hash")?, number: entry.u64("block number")? };
    entry.end("announced block")?;
    Ok(block)
}
