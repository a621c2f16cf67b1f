//! Transactions (0x02), PooledTransactions (0x0a) and NewPooledTransactionHashes (0x08).
//! On the wire an untyped transaction is a list and a typed one a string of kind and list (EIP-2976); here it is always
//! its envelope (EIP-2718), the form that is hashed and stored.

use bytes::Bytes;

use super::item::{self, Item, Items, share};
use crate::{
    Hash, MessageError, Transaction,
    config::{MAX_ANNOUNCEMENTS, MAX_TRANSACTIONS, MIN_TRANSACTION_LEN},
    error::{DecodeError, RlpFault},
    message::MessageKind,
    transaction,
};

/// The first byte of a list, and so of an untyped transaction.
const FIRST_LIST_BYTE: u8 = 0xc0;

/// A transaction by hash, as it is announced (EIP-5793).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Announcement {
    /// The transaction's hash.
    pub hash: Hash,
    /// Its kind (EIP-2718), 0 when untyped.
    pub kind: u8,
    /// The length of its envelope, bytes; of a blob transaction with its blobs.
    pub size: u32,
}

/// Envelopes as a list of the wire form.
pub(super) fn encode(envelopes: &[Bytes]) -> Bytes {
    let wire: Vec<Bytes> = envelopes.iter().map(to_wire).collect();
    item::list_of(&wire)
}

/// An envelope as it stands in a list: a string when it is typed.
pub(crate) fn to_wire(envelope: &Bytes) -> Bytes {
    match envelope.first() {
        Some(first) if *first < FIRST_LIST_BYTE => item::string_of(envelope),
        Some(_) | None => envelope.clone(),
    }
}

/// The envelope of a transaction as it stands in a list. An untyped one in a string would be a second form of the same.
#[inline]
pub(crate) fn envelope_of(item: Item<'_>) -> Result<&[u8], DecodeError> {
    match item.payload.first() {
        _ if item.is_list => Ok(item.raw),
        Some(first) if *first < FIRST_LIST_BYTE => Ok(item.payload),
        Some(_) | None => Err(RlpFault::NotList.of("transaction")),
    }
}

/// Reads a list of transactions of `message`, none of them twice.
pub(crate) fn decode(
    message: &Bytes,
    list: Items<'_>,
    kind: MessageKind,
) -> Result<Vec<Transaction>, MessageError> {
    let malformed = |error| MessageError::Malformed { kind, error };
    let count = list.count(MAX_TRANSACTIONS, "transactions").map_err(malformed)?;
    let count = count.ok_or(MessageError::TooMany { kind, limit: MAX_TRANSACTIONS })?;
    // Elements this small amplify: they are refused before the list is allocated.
    if list.rest().len() < count.saturating_mul(MIN_TRANSACTION_LEN) {
        return Err(malformed(RlpFault::TooShort { found: list.rest().len() }.of("transactions")));
    }
    let mut list = list;
    let mut transactions = Vec::with_capacity(count);
    while let Some(item) = list.try_next("transaction").map_err(malformed)? {
        let envelope = share(message, envelope_of(item).map_err(malformed)?);
        let transaction = Transaction::decode(envelope).map_err(malformed)?;
        if transaction.kind() > transaction::LAST_KIND {
            return Err(MessageError::UnknownTransactionKind(transaction.kind()));
        }
        transactions.push(transaction);
    }
    if has_twice(&transactions) { Err(MessageError::DuplicateTransaction(kind)) } else { Ok(transactions) }
}

/// Whether two transactions have one hash. Sorts the first eight bytes of each; only where two of those are the same,
/// which nobody can bring about often, whole hashes are looked at.
fn has_twice(transactions: &[Transaction]) -> bool {
    let prefix = |transaction: &Transaction| {
        let [a, b, c, d, e, f, g, h, ..] = transaction.hash().0;
        u64::from_be_bytes([a, b, c, d, e, f, g, h])
    };
    let mut prefixes: Vec<u64> = transactions.iter().map(prefix).collect();
    prefixes.sort_unstable();
    let alike = prefixes.windows(2).any(|pair| matches!(pair, [a, b] if a == b));
    drop(prefixes);
    alike && {
        let mut hashes: Vec<Hash> = transactions.iter().map(Transaction::hash).collect();
        hashes.sort_unstable();
        hashes.windows(2).any(|pair| matches!(pair, [a, b] if a == b))
    }
}

/// `[kinds: a byte each, [size, ..], [hash, ..]]`.
pub(super) fn encode_announcements(announced: &[Announcement]) -> Bytes {
    let kinds: Vec<u8> = announced.iter().map(|entry| entry.kind).collect();
    let sizes: Vec<_> = announced.iter().map(|entry| rlp::encode(&entry.size)).collect();
    let hashes: Vec<Hash> = announced.iter().map(|entry| entry.hash).collect();
    item::list_of([item::string_of(&kinds), item::list_of(&sizes), item::hashes_of(&hashes)])
}

/// Reads an announcement. Entries of an unknown kind are left out: there is nothing to be done with them.
pub(crate) fn decode_announcements(message: &[u8]) -> Result<Vec<Announcement>, MessageError> {
    let kind = MessageKind::NewPooledTransactionHashes;
    let malformed = |error| MessageError::Malformed { kind, error };
    let lists = || -> Result<_, DecodeError> {
        let mut items = Items::only(message, "announcement")?;
        let kinds = items.next("kinds")?.string("kinds")?;
        let lists = (kinds, items.list("sizes")?, items.list("hashes")?);
        items.end("announcement")?;
        Ok(lists)
    };
    let (kinds, mut sizes, mut hashes) = lists().map_err(malformed)?;
    let too_many = MessageError::TooMany { kind, limit: MAX_ANNOUNCEMENTS };
    let size_count = sizes.count(MAX_ANNOUNCEMENTS, "sizes").map_err(malformed)?.ok_or(too_many)?;
    let hash_count = hashes.count(MAX_ANNOUNCEMENTS, "hashes").map_err(malformed)?.ok_or(too_many)?;
    if kinds.len() != size_count || size_count != hash_count {
        return Err(MessageError::UnequalLengths {
            types: kinds.len(),
            sizes: size_count,
            hashes: hash_count,
        });
    }
    let mut announced = Vec::with_capacity(size_count.min(hashes.rest().len() / size_of::<Hash>()));
    for kind in kinds {
        let size = sizes.u64("size").map_err(malformed)?;
        let hash = hashes.hash("hash").map_err(malformed)?;
        if *kind <= transaction::LAST_KIND {
            // What is larger than any message is as undeliverable as 4 GiB.
            let size = u32::try_from(size).unwrap_or(u32::MAX);
            announced.push(Announcement { hash, kind: *kind, size });
        }
    }
    Ok(announced)
}
