//! The first block's header: fields of the file, fields that each fork adds, defaults, and its RLP.
//! go-ethereum `core/genesis.go` (`toBlockWithRoot`); EIP-1559, 4895, 4844, 4788, 7685, 7928 and 7843 for what forks add.

use alloy_primitives::{B256, b256};
use alloy_trie::EMPTY_ROOT_HASH;
use rlp::RlpStream;

use super::{
    GenesisError,
    fields::{Field, Object},
    forks::Forks,
};

/// keccak256 of an empty RLP list: no uncles, no block access list.
const EMPTY_LIST_HASH: B256 = b256!("1dcc4de8dec75d7aab85b567b6ccd41ad312451b948a7413f0a142fd40d49347");
/// SHA-256 of nothing: no requests (EIP-7685).
const EMPTY_REQUESTS_HASH: B256 = b256!("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
/// The gas limit that stands for 0 (go-ethereum `params.GenesisGasLimit`).
const DEFAULT_GAS_LIMIT: u64 = 4_712_388;
/// The base fee of London at genesis in wei (EIP-1559 `INITIAL_BASE_FEE`).
const DEFAULT_BASE_FEE: u64 = 1_000_000_000;
/// Bytes of a logs bloom filter.
const BLOOM_LEN: usize = 256;

const HASH: &str = "a hash in quotes: 0x and 64 hex digits";
const ADDRESS: &str = "an address in quotes: 0x and 40 hex digits";

/// The content of an RLP string.
type Item = Vec<u8>;

/// The RLP of the first block's header.
///
/// ```text
/// [parent32, uncles32, coinbase20, state root32, transactions32, receipts32, bloom256, difficulty, number, gas limit,
///  gas used, time, extra data, mix hash32, nonce8,
///  base fee?, withdrawals32?, blob gas used?, excess blob gas?, beacon root32?, requests32?, access list32?, slot?]
/// ```
/// An optional item that is absent before a present one is empty.
pub(super) fn encode(file: &Object<'_>, forks: &Forks, state_root: B256) -> Result<Vec<u8>, GenesisError> {
    let mut items = base_items(file, state_root)?;
    let added = added_items(file, forks)?;
    let present = added.iter().rposition(Option::is_some).map_or(0, |last| last + 1);
    items.extend(added.into_iter().take(present).map(Option::unwrap_or_default));
    let mut header = RlpStream::new_list(items.len());
    for item in &items {
        header.append(item);
    }
    Ok(header.out().to_vec())
}

fn base_items(file: &Object<'_>, state_root: B256) -> Result<Vec<Item>, GenesisError> {
    let hash = |name| file.optional(name).map_or(Ok([0; 32]), |field| field.fixed(HASH));
    let coinbase: [u8; 20] = file.optional("coinbase").map_or(Ok([0; 20]), |field| field.fixed(ADDRESS))?;
    let extra_data = file.optional("extraData").map_or(Ok(Vec::new()), Field::bytes)?;
    let number = number(file, "number")?.unwrap_or(0);
    if number != 0 {
        return Err(file.refused("number", "0: the first block has that number", &number.to_string()));
    }
    let gas_limit = match file.required("gasLimit")?.u64()? {
        0 => DEFAULT_GAS_LIMIT,
        given => given,
    };
    Ok(vec![
        hash("parentHash")?.to_vec(),
        EMPTY_LIST_HASH.to_vec(),
        coinbase.to_vec(),
        state_root.to_vec(),
        EMPTY_ROOT_HASH.to_vec(),
        EMPTY_ROOT_HASH.to_vec(),
        vec![0; BLOOM_LEN],
        integer(&file.required("difficulty")?.u256()?),
        integer(&number.to_be_bytes()),
        integer(&gas_limit.to_be_bytes()),
        integer(&self::number(file, "gasUsed")?.unwrap_or(0).to_be_bytes()),
        integer(&self::number(file, "timestamp")?.unwrap_or(0).to_be_bytes()),
        extra_data,
        hash("mixHash")?.to_vec(),
        self::number(file, "nonce")?.unwrap_or(0).to_be_bytes().to_vec(),
    ])
}

/// What forks added, in the order of the header. Base fee and excess blob gas stand even before their forks when the
/// file has them, as in geth.
fn added_items(file: &Object<'_>, forks: &Forks) -> Result<[Option<Item>; 8], GenesisError> {
    let since = |fork, value: B256| forks.active(fork).then(|| value.to_vec());
    let cancun = forks.active("cancunTime");
    let excess_blob_gas = number(file, "excessBlobGas")?.or(cancun.then_some(0));
    let blob_gas_used = number(file, "blobGasUsed")?.unwrap_or(0);
    let slot_number = number(file, "slotNumber")?.unwrap_or(0);
    Ok([
        base_fee(file, forks)?,
        since("shanghaiTime", EMPTY_ROOT_HASH),
        cancun.then(|| integer(&blob_gas_used.to_be_bytes())),
        excess_blob_gas.map(|gas| integer(&gas.to_be_bytes())),
        since("cancunTime", B256::ZERO),
        since("pragueTime", EMPTY_REQUESTS_HASH),
        since("amsterdamTime", EMPTY_LIST_HASH),
        forks.active("amsterdamTime").then(|| integer(&slot_number.to_be_bytes())),
    ])
}

fn base_fee(file: &Object<'_>, forks: &Forks) -> Result<Option<Item>, GenesisError> {
    let given = file.optional("baseFeePerGas").map(Field::u256).transpose()?;
    let default = || forks.active("londonBlock").then(|| integer(&DEFAULT_BASE_FEE.to_be_bytes()));
    Ok(given.map(|fee| integer(&fee)).or_else(default))
}

fn number(file: &Object<'_>, name: &str) -> Result<Option<u64>, GenesisError> {
    file.optional(name).map(Field::u64).transpose()
}

/// An RLP integer: big-endian without leading zeros.
fn integer(big_endian: &[u8]) -> Item {
    big_endian.iter().copied().skip_while(|byte| *byte == 0).collect()
}
