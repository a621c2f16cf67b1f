//! The state root of the accounts that a genesis file funds (`alloc`), by the Merkle-Patricia trie of `alloy-trie`.
//! go-ethereum `core/genesis.go` (`hashAlloc`): accounts stay even when empty, storage slots of value zero do not.

use std::collections::BTreeMap;

use alloy_primitives::{Address, B256, U256, keccak256};
use alloy_trie::{
    TrieAccount,
    root::{state_root_unhashed, storage_root_unhashed},
};

use super::{
    GenesisError,
    fields::{Field, Object},
};

/// The root over all accounts of `alloc`.
pub(super) fn state_root(file: &Object<'_>) -> Result<B256, GenesisError> {
    let mut accounts = BTreeMap::new();
    for field in file.required("alloc")?.members()? {
        if accounts.insert(Address::from(field.name_as_address()?), account(&field)?).is_some() {
            return Err(field.duplicate());
        }
    }
    Ok(state_root_unhashed(accounts))
}

fn account(field: &Field<'_>) -> Result<TrieAccount, GenesisError> {
    let fields = field.object()?;
    let code = fields.optional("code").map_or(Ok(Vec::new()), Field::bytes)?;
    Ok(TrieAccount {
        nonce: fields.optional("nonce").map_or(Ok(0), Field::u64)?,
        balance: U256::from_be_bytes(fields.required("balance")?.u256()?),
        storage_root: fields.optional("storage").map_or(Ok(alloy_trie::EMPTY_ROOT_HASH), storage_root)?,
        code_hash: keccak256(&code),
    })
}

fn storage_root(field: &Field<'_>) -> Result<B256, GenesisError> {
    let mut slots = BTreeMap::new();
    for slot in field.members()? {
        let value = U256::from_be_bytes(slot.word()?);
        if slots.insert(B256::from(slot.name_as_word()?), value).is_some() {
            return Err(slot.duplicate());
        }
    }
    slots.retain(|_, value| !value.is_zero());
    Ok(storage_root_unhashed(slots))
}
