//! A transaction as gossip sees it: its envelope with hash, kind and size. What its fields say is `sender`'s.
//! EIP-2718; EIP-4844, "Networking", for the form with blobs.

use bytes::Bytes;
use identity::keccak256_concat;

use crate::{
    Hash,
    error::{DecodeError, RlpFault},
    hash::keccak,
    message::{
        Announcement,
        item::{Item, Items},
    },
};

/// Untyped: a list (yellow paper, 4.2).
pub const LEGACY: u8 = 0;
/// With an access list (EIP-2930).
pub const ACCESS_LIST: u8 = 1;
/// With a base fee and a tip (EIP-1559).
pub const DYNAMIC_FEE: u8 = 2;
/// With blobs (EIP-4844): announced, never pushed.
pub const BLOB: u8 = 3;
/// With code authorizations (EIP-7702).
pub const SET_CODE: u8 = 4;
/// The last kind that is specified.
pub const LAST_KIND: u8 = SET_CODE;

/// The first byte that begins a list; kinds end at 0x7f.
const FIRST_LIST_BYTE: u8 = 0xc0;
/// The last byte that can be a kind (EIP-2718).
const LAST_KIND_BYTE: u8 = 0x7f;

/// A transaction whose RLP is in order. Nothing is said of its fields or signature. Cheap to clone.
///
/// ```text
/// untyped: list    typed: kind (1 byte, at most 0x7f), list
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transaction {
    hash: Hash,
    kind: u8,
    envelope: Bytes,
}

impl Transaction {
    /// Reads an envelope and hashes it. A slice is kept, not copied.
    ///
    /// # Errors
    /// What cannot be read and why.
    #[inline]
    pub fn decode(envelope: Bytes) -> Result<Self, DecodeError> {
        let (kind, fields) = open_envelope(&envelope)?;
        let hash = typed_hash(kind, &envelope, fields)?;
        Ok(Self { hash, kind, envelope })
    }

    /// The hash: of the envelope, without the blobs that one may carry.
    pub const fn hash(&self) -> Hash {
        self.hash
    }

    /// The kind (EIP-2718), 0 when untyped.
    pub const fn kind(&self) -> u8 {
        self.kind
    }

    /// The length of the envelope, bytes.
    pub fn size(&self) -> u32 {
        u32::try_from(self.envelope.len()).unwrap_or(u32::MAX)
    }

    /// The envelope.
    pub const fn envelope(&self) -> &Bytes {
        &self.envelope
    }

    /// What is told of it to those who do not have it.
    pub fn announcement(&self) -> Announcement {
        Announcement { hash: self.hash, kind: self.kind, size: self.size() }
    }

    /// The same with an envelope of its own, to be kept: it pins no message.
    #[must_use]
    pub fn to_owned(&self) -> Self {
        Self { envelope: Bytes::copy_from_slice(&self.envelope), ..*self }
    }
}

/// The kind and the fields of an envelope, everything inside in order.
#[inline]
pub(crate) fn open_envelope(envelope: &[u8]) -> Result<(u8, Items<'_>), DecodeError> {
    let what = "transaction";
    let (kind, list) = match envelope.split_first() {
        None => return Err(RlpFault::Missing.of(what)),
        Some((first, _)) if *first >= FIRST_LIST_BYTE => (LEGACY, envelope),
        Some((kind, list)) if *kind <= LAST_KIND_BYTE => (*kind, list),
        Some(_) => return Err(RlpFault::NotList.of(what)),
    };
    let item = Item::only(list, what)?;
    let fields = item.list(what)?;
    item.check_inside(what)?;
    Ok((kind, fields))
}

/// With its blobs a blob transaction is a list of which the first item is the transaction (EIP-4844, "Networking").
#[inline]
fn typed_hash(kind: u8, envelope: &Bytes, mut fields: Items<'_>) -> Result<Hash, DecodeError> {
    let first = if kind == BLOB { fields.try_next("transaction")? } else { None };
    match first {
        Some(inner) if inner.is_list => Ok(Hash(keccak256_concat(&[&[kind], inner.raw]))),
        Some(_) | None => Ok(keccak(envelope)),
    }
}
