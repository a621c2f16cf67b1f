//! Making transactions: the signed transfer that private networks and tests gossip. No nonces are kept and no gas is
//! estimated; reading any kind of transaction is `sender`'s. EIP-1559.

use bytes::Bytes;
use identity::{NodeKey, keccak256_concat};

use crate::{
    Address, Transaction,
    message::item::{list_of, string_of},
    transaction::DYNAMIC_FEE,
};

/// The gas of a plain transfer (yellow paper, G_transaction).
pub const TRANSFER_GAS: u64 = 21_000;
/// 1 gwei in wei.
const GWEI: u128 = 1_000_000_000;
/// An empty list, as the access list of a transfer.
const EMPTY_LIST: [u8; 1] = [0xc0];

/// A transfer to be signed. The fee is at most `max_fee_per_gas` times `gas_limit`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransferRequest {
    /// The chain it is for.
    pub chain_id: u64,
    /// How many transactions the sender sent before.
    pub nonce: u64,
    /// Who gets it.
    pub to: Address,
    /// How much, wei.
    pub value: u128,
    /// The most gas it may use.
    pub gas_limit: u64,
    /// The most it pays for a unit of gas, wei.
    pub max_fee_per_gas: u128,
    /// The most of that which goes to the block's maker, wei.
    pub max_priority_fee_per_gas: u128,
    /// What comes with it.
    pub data: Bytes,
}

impl TransferRequest {
    /// A plain transfer: 21,000 gas at up to 2 gwei, 1 gwei of it as a tip, no data.
    pub const fn new(chain_id: u64, nonce: u64, to: Address, value: u128) -> Self {
        Self {
            chain_id,
            nonce,
            to,
            value,
            gas_limit: TRANSFER_GAS,
            max_fee_per_gas: 2 * GWEI,
            max_priority_fee_per_gas: GWEI,
            data: Bytes::new(),
        }
    }

    /// Signs it with the key of its sender.
    pub fn sign(&self, sender: &NodeKey) -> Transaction {
        let fields = self.fields();
        let signature = sender.sign(&keccak256_concat(&[&[DYNAMIC_FEE], &list_of([&fields])])).0;
        let (r, s) = (&signature[..32], &signature[32..64]);
        let list = list_of([fields, encode_number(&[signature[64]]), encode_number(r), encode_number(s)]);
        let envelope = [&[DYNAMIC_FEE], &list[..]].concat();
        Transaction::decode(envelope.into()).expect("a kind and a list of our own making")
    }

    /// The RLP of the fields that are signed, one after the other.
    fn fields(&self) -> Bytes {
        let number = |number: u128| encode_number(&number.to_be_bytes());
        [
            number(self.chain_id.into()),
            number(self.nonce.into()),
            number(self.max_priority_fee_per_gas),
            number(self.max_fee_per_gas),
            number(self.gas_limit.into()),
            string_of(&self.to.0),
            number(self.value),
            string_of(&self.data),
            Bytes::from_static(&EMPTY_LIST),
        ]
        .concat()
        .into()
    }
}

/// The RLP of a number that is given big-endian.
fn encode_number(bytes: &[u8]) -> Bytes {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    string_of(bytes.get(zeros..).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Signed;

    const VECTORS: &str = include_str!("../tests/vectors/transfers.json");

    #[test]
    fn transfers_are_byte_for_byte_those_of_the_vectors() {
        let vectors: serde_json::Value = serde_json::from_str(VECTORS).unwrap();
        let key = NodeKey::from_hex(vectors["key"].as_str().unwrap()).unwrap();
        let to = hex::decode("70997970c51812dc3a010c7d01b50e0d17dc79c8").unwrap();
        let to = Address(to.try_into().unwrap());
        let envelopes = vectors["envelopes"].as_array().unwrap();
        assert_eq!(envelopes.len(), 20);
        for (nonce, envelope) in (0..).zip(envelopes) {
            let value = 1_000_000_000_000_000 + u128::from(nonce);
            let ours = TransferRequest::new(1337, nonce, to, value).sign(&key);
            assert_eq!(hex::encode(ours.envelope()), envelope.as_str().unwrap());
            let signed = Signed::read(&ours).unwrap();
            assert_eq!((signed.chain_id, signed.nonce), (Some(1337), nonce));
            assert_eq!(signed.sender().unwrap().to_string(), vectors["sender"].as_str().unwrap());
        }
    }
}
