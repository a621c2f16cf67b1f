//! Who sent a transaction, on which chain: the fields that its signature covers, for each kind that is specified.
//! EIP-155, EIP-2930, EIP-1559, EIP-4844, EIP-7702; EIP-2 for the range of s.

use std::fmt;

use identity::{PublicKey, Signature, keccak256_concat};

use crate::{
    Transaction,
    error::{DecodeError, RlpFault},
    message::item::{self, Item, Items},
    transaction::{ACCESS_LIST, BLOB, DYNAMIC_FEE, LEGACY, SET_CODE},
};

/// Why a transaction is not valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTransaction {
    /// Its RLP or one of its fields is malformed.
    #[error("malformed transaction: {0}")]
    Malformed(DecodeError),
    /// Its kind is not one that is specified.
    #[error("transactions of kind {0:#04x} are unknown")]
    Kind(u8),
    /// It carries blobs, which are not held here.
    #[error("blob transactions are not held by this pool")]
    Blob,
    /// It is for another chain.
    #[error("the transaction is for another chain than {expected}")]
    ChainId {
        /// The chain it would have to be for.
        expected: u64,
    },
    /// No key gives its signature, or s is in the upper half of its range.
    #[error("the transaction's signature is wrong")]
    Signature,
    /// Its envelope is too long.
    #[error("the transaction has {found} bytes, at most {limit} are taken")]
    TooLarge {
        /// How many bytes it may have.
        limit: usize,
        /// How many it has.
        found: usize,
    },
    /// The client's own rules, such as nonce or balance, forbid it.
    #[error("the transaction breaks a rule of its chain")]
    Rules,
}

impl From<DecodeError> for InvalidTransaction {
    fn from(error: DecodeError) -> Self {
        Self::Malformed(error)
    }
}

/// The address of an account: the last 20 bytes of the hash of its public key.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address(pub [u8; 20]);

impl Address {
    /// The address of the account with this key.
    pub fn of(key: &PublicKey) -> Self {
        let id = key.node_id();
        let mut address = [0; 20];
        address.copy_from_slice(&id.as_bytes()[12..]);
        Self(address)
    }
}

impl fmt::Display for Address {
    /// `0x` and 40 hex digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("0x")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({self})")
    }
}

/// What is signed, and with what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signed {
    /// The chain it is for; None for an untyped transaction from before EIP-155, which is for every chain.
    pub chain_id: Option<u64>,
    /// How many transactions its sender sent before.
    pub nonce: u64,
    digest: [u8; 32],
    signature: Signature,
}

impl Signed {
    /// Reads the fields of a transaction, all of them in the form of its kind. A blob transaction's blobs are not looked at.
    ///
    /// # Errors
    /// `Malformed`, `Kind`, or `Signature` when s is in the upper half (EIP-2), which would give the transaction two names.
    pub fn read(transaction: &Transaction) -> Result<Self, InvalidTransaction> {
        let kind = transaction.kind();
        let fields = fields_of(kind).ok_or(InvalidTransaction::Kind(kind))?;
        let list = fields_list(transaction)?;
        let mut items = list;
        let (mut chain_id, mut nonce) = (0, 0);
        for field in fields {
            match field {
                Field::ChainId => chain_id = items.u64("chain id")?,
                Field::Nonce => nonce = items.u64("nonce")?,
                Field::Number
                | Field::Recipient
                | Field::Address
                | Field::Data
                | Field::AccessList
                | Field::BlobHashes
                | Field::Authorizations => field.check(items.next("field")?)?,
            }
        }
        let signed_len = list.rest().len().saturating_sub(items.rest().len());
        let signed = list.rest().get(..signed_len).unwrap_or_default();
        let v = items.u64("v")?;
        let (r, s) = (items.next("r")?.number::<32>("r")?, items.next("s")?.number::<32>("s")?);
        items.end("transaction")?;
        if s > MAX_S {
            return Err(InvalidTransaction::Signature);
        }
        let (chain_id, parity) = if kind == LEGACY { split_v(v)? } else { (Some(chain_id), v) };
        let parity =
            u8::try_from(parity).ok().filter(|parity| *parity <= 1).ok_or(InvalidTransaction::Signature)?;
        let mut signature = [parity; 65];
        signature[..32].copy_from_slice(&r);
        signature[32..64].copy_from_slice(&s);
        let digest = match (kind, chain_id) {
            (LEGACY, None) => keccak256_concat(&[&item::list_of([signed])]),
            (LEGACY, Some(id)) => {
                keccak256_concat(&[&item::list_of([signed, &rlp::encode(&id), &ZERO_ITEM, &ZERO_ITEM])])
            }
            _ => keccak256_concat(&[&[kind], &item::list_of([signed])]),
        };
        Ok(Self { chain_id, nonce, digest, signature: Signature(signature) })
    }

    /// The account that signed it. About 40 µs of work on the curve. None when no key gives this signature.
    pub fn sender(&self) -> Option<Address> {
        self.signature.recover(&self.digest).map(|key| Address::of(&key))
    }
}

/// The RLP of 0, which stands for r and s in what EIP-155 signs.
const ZERO_ITEM: [u8; 1] = [0x80];

/// The highest s: half the order of secp256k1 (EIP-2).
const MAX_S: [u8; 32] = [
    0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x5d,
    0x57, 0x6e, 0x73, 0x57, 0xa4, 0x50, 0x1d, 0xdf, 0xe9, 0x2f, 0x46, 0x68, 0x1b, 0x20, 0xa0,
];

/// v of an untyped transaction from before EIP-155, y even.
const FIRST_V: u64 = 27;
/// v of EIP-155 for chain 0, y even.
const FIRST_V_155: u64 = 35;

/// The chain and the parity of y in v of an untyped transaction.
fn split_v(v: u64) -> Result<(Option<u64>, u64), InvalidTransaction> {
    match (v.checked_sub(FIRST_V_155), v.checked_sub(FIRST_V)) {
        (Some(v), _) => Ok((Some(v / 2), v % 2)),
        (None, Some(parity)) if parity <= 1 => Ok((None, parity)),
        _ => Err(InvalidTransaction::Signature),
    }
}

/// The forms that fields have.
#[derive(Clone, Copy, Debug)]
enum Field {
    ChainId,
    Nonce,
    /// At most 32 bytes.
    Number,
    /// 20 bytes, or none to create a contract.
    Recipient,
    /// 20 bytes.
    Address,
    /// Any bytes.
    Data,
    /// `[[address, [slot: 32 bytes, ..]], ..]`.
    AccessList,
    /// `[hash: 32 bytes, ..]`.
    BlobHashes,
    /// `[[chain id, address, nonce, y parity, r, s], ..]`.
    Authorizations,
}

/// The fields of a kind before its signature.
const fn fields_of(kind: u8) -> Option<&'static [Field]> {
    use Field::{AccessList, Address, Authorizations, BlobHashes, ChainId, Data, Nonce, Number, Recipient};
    match kind {
        LEGACY => Some(&[Nonce, Number, Number, Recipient, Number, Data]),
        ACCESS_LIST => Some(&[ChainId, Nonce, Number, Number, Recipient, Number, Data, AccessList]),
        DYNAMIC_FEE => Some(&[ChainId, Nonce, Number, Number, Number, Recipient, Number, Data, AccessList]),
        BLOB => Some(&[
            ChainId, Nonce, Number, Number, Number, Address, Number, Data, AccessList, Number, BlobHashes,
        ]),
        SET_CODE => {
            Some(&[ChainId, Nonce, Number, Number, Number, Address, Number, Data, AccessList, Authorizations])
        }
        _ => None,
    }
}

impl Field {
    fn check(self, item: Item<'_>) -> Result<(), DecodeError> {
        match self {
            Self::ChainId | Self::Nonce => item.u64("number").map(drop),
            Self::Number => item.number::<32>("number").map(drop),
            Self::Recipient if item.payload.is_empty() => item.string("recipient").map(drop),
            Self::Recipient | Self::Address => item.array::<20>("recipient").map(drop),
            Self::Data => item.string("data").map(drop),
            Self::AccessList => each(item.list("access list")?, check_access),
            Self::BlobHashes => {
                each(item.list("blob hashes")?, |hash| hash.array::<32>("blob hash").map(drop))
            }
            Self::Authorizations => each(item.list("authorizations")?, check_authorization),
        }
    }
}

fn each<'a>(
    mut items: Items<'a>,
    check: impl Fn(Item<'a>) -> Result<(), DecodeError>,
) -> Result<(), DecodeError> {
    while let Some(item) = items.try_next("item")? {
        check(item)?;
    }
    Ok(())
}

fn check_access(entry: Item<'_>) -> Result<(), DecodeError> {
    let mut entry = entry.list("access list entry")?;
    entry.next("address")?.array::<20>("address")?;
    each(entry.list("slots")?, |slot| slot.array::<32>("slot").map(drop))?;
    entry.end("access list entry")
}

fn check_authorization(entry: Item<'_>) -> Result<(), DecodeError> {
    let mut entry = entry.list("authorization")?;
    entry.next("chain id")?.number::<32>("chain id")?;
    entry.next("address")?.array::<20>("address")?;
    entry.u64("nonce")?;
    entry.next("y parity")?.number::<1>("y parity")?;
    entry.next("r")?.number::<32>("r")?;
    entry.next("s")?.number::<32>("s")?;
    entry.end("authorization")
}

/// The list of the fields: of a blob transaction with its blobs the first item.
fn fields_list(transaction: &Transaction) -> Result<Items<'_>, DecodeError> {
    let what = "transaction";
    if transaction.kind() == LEGACY {
        return Items::only(transaction.envelope(), what);
    }
    let (_, list) = transaction.envelope().split_first().ok_or(RlpFault::Missing.of(what))?;
    let fields = Items::only(list, what)?;
    let first = { fields }.try_next(what)?;
    match first {
        Some(inner) if transaction.kind() == BLOB && inner.is_list => inner.list(what),
        Some(_) | None => Ok(fields),
    }
}

#[cfg(test)]
mod tests {
    use identity::NodeKey;

    use super::*;

    fn key() -> NodeKey {
        NodeKey::from_bytes(&[1; 32]).unwrap()
    }

    fn number(bytes: &[u8]) -> Vec<u8> {
        let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
        item::string_of(&bytes[zeros..]).to_vec()
    }

    fn string(bytes: &[u8]) -> Vec<u8> {
        item::string_of(bytes).to_vec()
    }

    fn list(items: &[Vec<u8>]) -> Vec<u8> {
        item::list_of(items).to_vec()
    }

    /// The fields of a kind before its signature, all in order, for chain 5 with nonce 3.
    fn good_fields(kind: u8) -> Vec<Vec<u8>> {
        let to = string(&[7; 20]);
        let access_list = list(&[list(&[to.clone(), list(&[string(&[9; 32])])])]);
        let (nonce, zero, data) = (number(&[3]), number(&[]), string(b"data"));
        if kind == LEGACY {
            return vec![nonce, zero.clone(), zero.clone(), to, zero, data];
        }
        let mut fields = vec![number(&[5]), nonce];
        let fees = if kind == ACCESS_LIST { 2 } else { 3 };
        fields.extend(std::iter::repeat_n(zero.clone(), fees));
        fields.extend([to.clone(), zero.clone(), data, access_list]);
        match kind {
            BLOB => fields.extend([zero, list(&[string(&[1; 32])])]),
            SET_CODE => {
                let authorization =
                    [number(&[5]), to, zero.clone(), zero, number(&[8; 32]), number(&[8; 32])];
                fields.push(list(&[list(&authorization)]));
            }
            _ => {}
        }
        fields
    }

    fn envelope(kind: u8, items: &[Vec<u8>]) -> Transaction {
        let list = list(items);
        let bytes = if kind == LEGACY { list } else { [&[kind], &list[..]].concat() };
        Transaction::decode(bytes.into()).unwrap()
    }

    /// Signs the fields as they are; an untyped transaction for chain 5 (EIP-155).
    fn signed(kind: u8, fields: &[Vec<u8>]) -> Transaction {
        let mut covered = fields.to_vec();
        if kind == LEGACY {
            covered.extend([number(&[5]), number(&[]), number(&[])]);
        }
        let prefix: &[u8] = if kind == LEGACY { &[] } else { &[kind] };
        let signature = key().sign(&keccak256_concat(&[prefix, &list(&covered)])).0;
        let v = if kind == LEGACY { signature[64] + 35 + 2 * 5 } else { signature[64] };
        envelope(
            kind,
            &[fields, &[number(&[v]), number(&signature[..32]), number(&signature[32..64])]].concat(),
        )
    }

    #[test]
    fn every_specified_kind_gives_its_sender_and_chain() {
        for kind in LEGACY..=SET_CODE {
            let signed = Signed::read(&signed(kind, &good_fields(kind))).unwrap();
            assert_eq!((signed.chain_id, signed.nonce), (Some(5), 3), "kind {kind}");
            assert_eq!(signed.sender(), Some(Address::of(&key().public_key())), "kind {kind}");
        }
    }

    #[test]
    fn the_example_of_eip_155_gives_its_sender() {
        let bytes = hex::decode("f86c098504a817c800825208943535353535353535353535353535353535353535880de0b6b3a76400008025a028ef61340bd939bc2195fe537567866003e1a15d3c71ff63e1590620aa636276a067cbe9d8997f761aecb703304b3800ccf555c9f3dc64214b297fb1966a3b6d83").unwrap();
        let signed = Signed::read(&Transaction::decode(bytes.into()).unwrap()).unwrap();
        assert_eq!((signed.chain_id, signed.nonce), (Some(1), 9));
        let sender = signed.sender().unwrap().to_string();
        assert_eq!(sender, "0x9d8a62f656a8d1615c1294fd71e9cfb3e4855a4f");
    }

    #[test]
    fn a_transaction_from_before_eip_155_is_for_every_chain() {
        let fields = good_fields(LEGACY);
        let signature = key().sign(&keccak256_concat(&[&list(&fields)])).0;
        let v = number(&[signature[64] + 27]);
        let items = [&fields[..], &[v, number(&signature[..32]), number(&signature[32..64])]].concat();
        let signed = Signed::read(&envelope(LEGACY, &items)).unwrap();
        assert_eq!((signed.chain_id, signed.sender()), (None, Some(Address::of(&key().public_key()))));
    }

    #[test]
    fn a_field_of_the_wrong_form_is_refused() {
        for kind in LEGACY..=SET_CODE {
            let good = good_fields(kind);
            for place in 0..good.len() {
                // A list in place of a string or the other way, and a number or string too long for any field but data.
                for bad in [list(&[list(&[number(&[1])])]), string(&[1; 33])] {
                    let is_data = good[place] == string(b"data") && bad == string(&[1; 33]);
                    let mut fields = good.clone();
                    fields[place] = bad;
                    assert_eq!(
                        Signed::read(&signed(kind, &fields)).is_ok(),
                        is_data,
                        "kind {kind}, field {place}"
                    );
                }
            }
            let missing = Signed::read(&signed(kind, &good[1..]));
            let extra = Signed::read(&signed(kind, &[&good[..], &[number(&[1])]].concat()));
            assert!(missing.is_err() && extra.is_err(), "kind {kind}");
        }
    }

    #[test]
    fn only_a_call_may_be_without_recipient_where_contracts_are_made() {
        for (kind, place, may) in
            [(LEGACY, 3, true), (DYNAMIC_FEE, 5, true), (BLOB, 5, false), (SET_CODE, 5, false)]
        {
            let mut fields = good_fields(kind);
            assert_eq!(fields[place], string(&[7; 20]));
            fields[place] = string(&[]);
            assert_eq!(Signed::read(&signed(kind, &fields)).is_ok(), may, "kind {kind}");
        }
    }

    #[test]
    fn signatures_out_of_range_give_no_sender() {
        let order = hex::decode("fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141").unwrap();
        let fields = good_fields(DYNAMIC_FEE);
        let good = key().sign(&keccak256_concat(&[&[DYNAMIC_FEE], &list(&fields)])).0;
        let (v, r, s) = (number(&[good[64]]), number(&good[..32]), number(&good[32..64]));
        let sender = |v: &[u8], r: &[u8], s: &[u8]| {
            let transaction =
                envelope(DYNAMIC_FEE, &[&fields[..], &[v.to_vec(), r.to_vec(), s.to_vec()]].concat());
            Signed::read(&transaction).and_then(|signed| signed.sender().ok_or(InvalidTransaction::Signature))
        };
        assert_eq!(sender(&v, &r, &s), Ok(Address::of(&key().public_key())));
        // The same signature with n - s: another hash for the same transaction, were it taken (EIP-2).
        let mut borrow = 0i16;
        let mut high = [0; 32];
        for place in (0..32).rev() {
            let difference = i16::from(order[place]) - i16::from(good[32 + place]) - borrow;
            borrow = i16::from(difference < 0);
            high[place] = difference.rem_euclid(256) as u8;
        }
        let other = number(&[1 - good[64]]);
        for (v, r, s) in [
            (&other, &r, &number(&high)),
            (&v, &number(&[]), &s),
            (&v, &r, &number(&[])),
            (&v, &number(&order), &s),
            (&number(&[2]), &r, &s),
            (&number(&[27]), &r, &s),
            (&number(&[1, 0, 0]), &r, &s),
        ] {
            assert_eq!(sender(v, r, s), Err(InvalidTransaction::Signature));
        }
    }

    #[test]
    fn v_of_untyped_transactions_names_chain_and_parity() {
        assert_eq!((split_v(27), split_v(28)), (Ok((None, 0)), Ok((None, 1))));
        assert_eq!(
            (split_v(35), split_v(36), split_v(37)),
            (Ok((Some(0), 0)), Ok((Some(0), 1)), Ok((Some(1), 0)))
        );
        assert_eq!(split_v(u64::MAX), Ok((Some((u64::MAX - 35) / 2), 0)));
        for v in [0, 1, 26, 29, 34] {
            assert_eq!(split_v(v), Err(InvalidTransaction::Signature));
        }
    }
}
