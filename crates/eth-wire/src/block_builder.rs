//! Making blocks for a private chain: headers that link, commit to their body and can be checked by anybody. There is no
//! state behind them: state and receipts roots are those of empty tries, and no gas is used.
//! Yellow paper, 4.4; EIP-1559 for the sixteenth field.

use bytes::Bytes;

use crate::{
    Address, Block, Hash, Header, Transaction,
    block::ordered_root,
    hash::keccak,
    message::{
        item::{list_of, string_of},
        transactions::to_wire,
    },
};

/// The difficulty of a block whose maker does not say otherwise: every block counts the same.
pub const DEFAULT_DIFFICULTY: u64 = 1;
/// The gas limit of a block whose maker does not say otherwise.
pub const DEFAULT_GAS_LIMIT: u64 = 30_000_000;
/// An empty list: of uncles, here.
const EMPTY_LIST: [u8; 1] = [0xc0];
/// An empty bloom filter of logs.
const EMPTY_BLOOM: [u8; 256] = [0; 256];

/// The header and transactions of a block to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockBuilder {
    parent: Hash,
    number: u64,
    time: u64,
    difficulty: u64,
    gas_limit: u64,
    base_fee: Option<u64>,
    beneficiary: Address,
    extra: Bytes,
    transactions: Vec<Bytes>,
}

impl BlockBuilder {
    /// A genesis block, made at `time` (seconds since 1970), of difficulty [`DEFAULT_DIFFICULTY`] and without a base fee.
    pub const fn genesis(time: u64) -> Self {
        Self {
            parent: Hash::ZERO,
            number: 0,
            time,
            difficulty: DEFAULT_DIFFICULTY,
            gas_limit: DEFAULT_GAS_LIMIT,
            base_fee: None,
            beneficiary: Address([0; 20]),
            extra: Bytes::new(),
            transactions: Vec::new(),
        }
    }

    /// The block after `parent`, made at `time`, or a second after its parent when that is later.
    pub fn child_of(parent: &Header, time: u64) -> Self {
        let number = parent.number.saturating_add(1);
        let time = time.max(parent.time.saturating_add(1));
        Self { parent: parent.hash, number, ..Self::genesis(time) }
    }

    /// What it adds to the total difficulty.
    #[must_use]
    pub const fn difficulty(mut self, difficulty: u64) -> Self {
        self.difficulty = difficulty;
        self
    }

    /// The base fee, wei: makes it a header of sixteen fields.
    #[must_use]
    pub const fn base_fee(mut self, base_fee: u64) -> Self {
        self.base_fee = Some(base_fee);
        self
    }

    /// Who made it.
    #[must_use]
    pub const fn beneficiary(mut self, beneficiary: Address) -> Self {
        self.beneficiary = beneficiary;
        self
    }

    /// Extra-data: at most 32 bytes, or no chain takes the block.
    #[must_use]
    pub fn extra(mut self, extra: Bytes) -> Self {
        self.extra = extra;
        self
    }

    /// The transactions, in order.
    #[must_use]
    pub fn transactions(mut self, transactions: &[Transaction]) -> Self {
        self.transactions = transactions.iter().map(|transaction| transaction.envelope().clone()).collect();
        self
    }

    /// Makes the block.
    pub fn build(&self) -> Block {
        let wire: Vec<Bytes> = self.transactions.iter().map(to_wire).collect();
        let block = list_of([self.header(), list_of(&wire), Bytes::from_static(&EMPTY_LIST)]);
        Block::decode(block).expect("a header with all its fields and two lists")
    }

    fn header(&self) -> Bytes {
        let envelopes: Vec<&[u8]> = self.transactions.iter().map(AsRef::as_ref).collect();
        let number = |number: u64| rlp::encode(&number).freeze();
        let hash = |hash: Hash| string_of(&hash.0);
        let empty_root = ordered_root(&[]);
        let mut fields = vec![
            hash(self.parent),
            hash(keccak(&EMPTY_LIST)),
            string_of(&self.beneficiary.0),
            hash(empty_root),
            hash(ordered_root(&envelopes)),
            hash(empty_root),
            string_of(&EMPTY_BLOOM),
            number(self.difficulty),
            number(self.number),
            number(self.gas_limit),
            number(0),
            number(self.time),
            string_of(&self.extra),
            hash(Hash::ZERO),
            string_of(&[0; 8]),
        ];
        fields.extend(self.base_fee.map(number));
        list_of(&fields)
    }
}
