//! GetBlockHeaders (0x03) and what it asks for. Headers themselves are `block`'s.
//! devp2p specification, `caps/eth.md`, "GetBlockHeaders".

use bytes::Bytes;

use super::item::{self, Item, Items};
use crate::{
    Hash,
    error::{DecodeError, RlpFault},
};

/// The block that a query begins with.
///
/// ```text
/// 32 bytes: a hash    at most 8 bytes: a number
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// By hash, on whatever chain it is.
    Hash(Hash),
    /// By height on the canonical chain.
    Number(u64),
}

/// Which headers are asked for.
///
/// ```text
/// [origin, limit: at most 8 bytes, skip: at most 8 bytes, reverse: 0 or 1]
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadersQuery {
    /// The first block.
    pub origin: Origin,
    /// At most so many headers.
    pub limit: u64,
    /// So many blocks are left out between two.
    pub skip: u64,
    /// Towards the genesis block instead of away from it.
    pub reverse: bool,
}

impl HeadersQuery {
    /// `limit` headers from the block with `number` on, none left out.
    pub const fn from_number(number: u64, limit: u64) -> Self {
        Self { origin: Origin::Number(number), limit, skip: 0, reverse: false }
    }

    /// The header of one block.
    pub const fn of_hash(hash: Hash) -> Self {
        Self { origin: Origin::Hash(hash), limit: 1, skip: 0, reverse: false }
    }

    pub(super) fn encode(&self) -> Bytes {
        let origin = match self.origin {
            Origin::Hash(hash) => item::string_of(&hash.0),
            Origin::Number(number) => rlp::encode(&number).freeze(),
        };
        item::list_of([
            origin.as_ref(),
            rlp::encode(&self.limit).as_ref(),
            rlp::encode(&self.skip).as_ref(),
            rlp::encode(&self.reverse).as_ref(),
        ])
    }

    pub(crate) fn decode(mut items: Items<'_>) -> Result<Self, DecodeError> {
        let query = Self {
            origin: Origin::decode(items.next("origin")?)?,
            limit: items.u64("limit")?,
            skip: items.u64("skip")?,
            reverse: decode_bool(items.next("reverse")?)?,
        };
        items.end("headers query")?;
        Ok(query)
    }
}

impl Origin {
    /// The two are told apart by length.
    fn decode(origin: Item<'_>) -> Result<Self, DecodeError> {
        match origin.string("origin")?.len() {
            32 => origin.array("origin").map(|hash| Self::Hash(Hash(hash))),
            _ => origin.u64("origin").map(Self::Number),
        }
    }
}

fn decode_bool(item: Item<'_>) -> Result<bool, DecodeError> {
    match item.u64("reverse")? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(RlpFault::NotCanonical.of("reverse")),
    }
}
