//! NewBlock (0x07, eth/68): a block in full, with the total difficulty that its sender gives it.
//! devp2p specification, `caps/eth.md`, "NewBlock".

use bytes::Bytes;

use super::item::{self, Item};
use crate::{
    config::MAX_TOTAL_DIFFICULTY_BITS,
    error::{DecodeError, RlpFault},
};

/// The sum of the difficulties of a chain's blocks: the heavier chain is the one that counts. At most
/// [`MAX_TOTAL_DIFFICULTY_BITS`] bits, as in go-ethereum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TotalDifficulty(pub u128);

impl TotalDifficulty {
    /// The sum with one more block's difficulty.
    #[must_use]
    pub const fn plus(self, difficulty: u128) -> Self {
        Self(self.0.saturating_add(difficulty))
    }

    pub(crate) fn encode(self) -> Bytes {
        let bytes = self.0.to_be_bytes();
        let zeros = (self.0.leading_zeros() / 8) as usize;
        item::string_of(bytes.get(zeros..).unwrap_or_default())
    }

    pub(crate) fn decode(item: Item<'_>) -> Result<Self, DecodeError> {
        let what = "total difficulty";
        let number = item.u128(what)?;
        let bits = u128::BITS - number.leading_zeros();
        if bits > MAX_TOTAL_DIFFICULTY_BITS {
            let expected = MAX_TOTAL_DIFFICULTY_BITS as usize / 8;
            return Err(RlpFault::Length { expected, found: item.payload.len() }.of(what));
        }
        Ok(Self(number))
    }
}

/// `[block, total difficulty]`.
pub(super) fn encode(block: &Bytes, total_difficulty: TotalDifficulty) -> Bytes {
    item::list_of([block, &total_difficulty.encode()])
}
