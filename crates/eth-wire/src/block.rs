//! Blocks as this crate sees them: raw RLP with the few header fields that link a chain, and whether a body is the one
//! that its header commits to. No state, no execution, no seal.
//! Yellow paper, 4.4; EIP-4895 (withdrawals).

use alloy_trie::root::ordered_trie_root_encoded;
use bytes::Bytes;
use identity::keccak256_concat;

use crate::{
    Hash,
    config::{MIN_HEADER_LEN, MIN_TRANSACTION_LEN, MIN_WITHDRAWAL_LEN},
    error::{DecodeError, RlpFault},
    hash::keccak,
    message::{
        bodies::BodyParts,
        item::{self, Item, Items, share},
        transactions::envelope_of,
    },
};

/// A header: its RLP and what is needed to link it and to know its body. Later forks append fields, which are left alone.
///
/// ```text
/// [parent: 32, uncles hash: 32, beneficiary: 20, state root: 32, transactions root: 32, receipts root: 32, bloom: 256,
///  difficulty, number, gas limit, gas used, time, extra, mix: 32, nonce: 8, base fee?, withdrawals root: 32?, ..]
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// The RLP.
    pub raw: Bytes,
    /// The hash of the RLP: the block's name.
    pub hash: Hash,
    /// The hash of the block before.
    pub parent: Hash,
    /// The height; the genesis block's is 0.
    pub number: u64,
    /// When it was made, seconds since 1970.
    pub time: u64,
    /// What it adds to the total difficulty; 0 under proof of stake.
    pub difficulty: u128,
    /// The length of the extra-data, bytes.
    pub extra_len: usize,
    /// The root of the trie of the transactions.
    pub transactions_root: Hash,
    /// The hash of the list of uncles.
    pub uncles_hash: Hash,
    /// The root of the trie of the withdrawals, from Shanghai on.
    pub withdrawals_root: Option<Hash>,
}

impl Header {
    /// Reads the RLP of a header. A slice is kept, not copied.
    ///
    /// # Errors
    /// What cannot be read and why.
    pub fn decode(raw: Bytes) -> Result<Self, DecodeError> {
        let what = "header";
        if raw.len() < MIN_HEADER_LEN {
            return Err(RlpFault::TooShort { found: raw.len() }.of(what));
        }
        let mut items = Items::only(&raw, what)?;
        let parent = items.hash("parent hash")?;
        let uncles_hash = items.hash("uncles hash")?;
        items.next("beneficiary")?.array::<20>("beneficiary")?;
        items.hash("state root")?;
        let transactions_root = items.hash("transactions root")?;
        items.hash("receipts root")?;
        items.next("bloom")?.array::<256>("bloom")?;
        let difficulty = items.next("difficulty")?.u128("difficulty")?;
        let number = items.u64("number")?;
        items.u64("gas limit")?;
        items.u64("gas used")?;
        let time = items.u64("time")?;
        let extra_len = items.next("extra-data")?.string("extra-data")?.len();
        items.hash("mix hash")?;
        items.next("nonce")?.array::<8>("nonce")?;
        if let Some(base_fee) = items.try_next("base fee")? {
            base_fee.number::<32>("base fee")?;
        }
        let withdrawals_root = match items.try_next("withdrawals root")? {
            Some(root) => Some(Hash(root.array("withdrawals root")?)),
            None => None,
        };
        while let Some(later) = items.try_next("later header field")? {
            later.string("later header field")?;
        }
        let hash = keccak(&raw);
        Ok(Self {
            hash,
            parent,
            number,
            time,
            difficulty,
            extra_len,
            transactions_root,
            uncles_hash,
            withdrawals_root,
            raw,
        })
    }

    /// What the body of this block has as its [`Body::digest`].
    pub fn body_digest(&self) -> Hash {
        digest(&self.transactions_root, &self.uncles_hash, self.withdrawals_root.as_ref())
    }
}

/// The body of a block, by its roots: `[transactions, uncles, withdrawals?]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Body {
    /// The RLP.
    pub raw: Bytes,
    /// The hash of its roots: that of the header it belongs to is [`Header::body_digest`].
    pub digest: Hash,
}

impl Body {
    /// Reads the RLP of a body and hashes what is in it. A slice is kept, not copied.
    ///
    /// # Errors
    /// What cannot be read and why.
    pub fn decode(raw: Bytes) -> Result<Self, DecodeError> {
        let digest = parts_digest(&BodyParts::read(&mut Items::only(&raw, "body")?)?)?;
        Ok(Self { raw, digest })
    }
}

/// A whole block: `[header, transactions, uncles, withdrawals?]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// The RLP.
    pub raw: Bytes,
    /// Its header, a slice of it.
    pub header: Header,
}

impl Block {
    /// Reads the RLP of a block. That the body is the header's is not looked at: see [`Block::check_body`]. A slice is
    /// kept, not copied.
    ///
    /// # Errors
    /// What cannot be read and why.
    pub fn decode(raw: Bytes) -> Result<Self, DecodeError> {
        let mut items = Items::only(&raw, "block")?;
        let header = Header::decode(share(&raw, items.next("header")?.raw))?;
        BodyParts::read(&mut items)?;
        Ok(Self { header, raw })
    }

    /// Puts together a header and a body that were had one by one.
    ///
    /// # Errors
    /// What cannot be read and why.
    pub fn assemble(header: &Bytes, body: &Bytes) -> Result<Self, DecodeError> {
        let parts = Items::only(body, "body")?.rest();
        Self::decode(item::list_of([header.as_ref(), parts]))
    }

    /// The body alone.
    pub fn body(&self) -> Bytes {
        item::list_of([self.body_items().map(|items| items.rest()).unwrap_or_default()])
    }

    /// Whether the body is the one that the header commits to. Hashes all of it.
    pub fn check_body(&self) -> bool {
        let digest = self.body_items().and_then(|mut items| parts_digest(&BodyParts::read(&mut items)?));
        digest == Ok(self.header.body_digest())
    }

    /// The envelopes of the transactions, in order, slices of the block.
    pub fn transactions(&self) -> Vec<Bytes> {
        let parts = self.body_items().and_then(|mut items| BodyParts::read(&mut items));
        let envelopes = parts.and_then(|parts| envelopes(parts.transactions)).unwrap_or_default();
        envelopes.into_iter().map(|envelope| share(&self.raw, envelope)).collect()
    }

    /// What follows the header.
    fn body_items(&self) -> Result<Items<'_>, DecodeError> {
        let mut items = Items::only(&self.raw, "block")?;
        items.next("header")?;
        Ok(items)
    }
}

/// The hash over the roots that a header has of its body.
fn digest(transactions_root: &Hash, uncles_hash: &Hash, withdrawals_root: Option<&Hash>) -> Hash {
    let withdrawals = withdrawals_root.map(AsRef::as_ref).unwrap_or_default();
    Hash(keccak256_concat(&[transactions_root.as_ref(), uncles_hash.as_ref(), withdrawals]))
}

fn parts_digest(parts: &BodyParts<'_>) -> Result<Hash, DecodeError> {
    let transactions_root = ordered_root(&envelopes(parts.transactions)?);
    let withdrawals_root = match parts.withdrawals {
        Some(list) => Some(ordered_root(&elements(list, MIN_WITHDRAWAL_LEN, "withdrawals", |item| {
            item.list("withdrawal").map(|_| item.raw)
        })?)),
        None => None,
    };
    Ok(digest(&transactions_root, &keccak(parts.uncles), withdrawals_root.as_ref()))
}

/// The root of the trie that holds `values` under their places, as headers commit to lists (yellow paper, 4.4.2).
pub(crate) fn ordered_root(values: &[&[u8]]) -> Hash {
    Hash(ordered_trie_root_encoded(values).0)
}

/// The envelopes in a list of transactions: what the trie holds, and what is hashed.
fn envelopes(list: &[u8]) -> Result<Vec<&[u8]>, DecodeError> {
    elements(list, MIN_TRANSACTION_LEN, "transactions", envelope_of)
}

/// The items of a list, refused before anything is allocated when they are too small for what they are said to be.
fn elements<'a>(
    list: &'a [u8],
    min_len: usize,
    what: &'static str,
    read: impl Fn(Item<'a>) -> Result<&'a [u8], DecodeError>,
) -> Result<Vec<&'a [u8]>, DecodeError> {
    let mut items = Items::only(list, what)?;
    let count = items.count(items.rest().len() / min_len, what)?;
    let count = count.ok_or(RlpFault::TooShort { found: items.rest().len() }.of(what))?;
    let mut elements = Vec::with_capacity(count);
    while let Some(item) = items.try_next(what)? {
        elements.push(read(item)?);
    }
    Ok(elements)
}
