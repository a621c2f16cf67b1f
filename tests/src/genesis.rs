//! Genesis files whose first block is known, one a set of forks: what our reader is held against.
//! The hashes are go-ethereum v1.17.8's; the test binary `live` asks it again.

use serde_json::{Value, json};

/// A genesis file and the hash that geth gives its first block.
#[derive(Clone, Debug)]
pub struct Sample {
    /// What is special about it.
    pub name: &'static str,
    /// The text of the file.
    pub text: String,
    /// The hash of the first block: 64 hex digits.
    pub hash: &'static str,
}

/// Forks by block, all from the first block on; each sample takes them up to one.
const BLOCK_FORKS: [&str; 10] = [
    "homesteadBlock",
    "eip150Block",
    "eip155Block",
    "eip158Block",
    "byzantiumBlock",
    "constantinopleBlock",
    "petersburgBlock",
    "istanbulBlock",
    "berlinBlock",
    "londonBlock",
];
/// Forks by time.
const TIME_FORKS: [&str; 10] = [
    "shanghaiTime",
    "cancunTime",
    "pragueTime",
    "osakaTime",
    "bpo1Time",
    "bpo2Time",
    "bpo3Time",
    "bpo4Time",
    "bpo5Time",
    "amsterdamTime",
];

/// A sample's name, what its text is made of, its hash.
type Row<T> = (&'static str, T, &'static str);

/// All forks up to one, at the first block.
const FORK_SAMPLES: [Row<&str>; 8] = [
    ("no fork", "", "4ac0c9019e184b0ed333b977bb246084aadcf68d478618a2a33a2dd35e07afbb"),
    ("Berlin", "berlinBlock", "4ac0c9019e184b0ed333b977bb246084aadcf68d478618a2a33a2dd35e07afbb"),
    ("London", "londonBlock", "8bf9d631e786922a8f13b92896bcfd3a773c1a8d1676546edc20cbaf479da4b9"),
    ("Shanghai", "shanghaiTime", "83139a0c9642c361276899d8687023d8dfada0d6545fdd57b6dd7ddb43e1f959"),
    ("Cancun", "cancunTime", "227861dddf4cd26875c52cb4be1cdcc37c1240fc6012e1862672f4d7e350e955"),
    ("Prague", "pragueTime", "c96cadc4605fb8f5097fcaeaca05deaf1b1ba9c14893a1d8fd3d90ff0715db94"),
    (
        "all blob parameter forks",
        "bpo5Time",
        "c96cadc4605fb8f5097fcaeaca05deaf1b1ba9c14893a1d8fd3d90ff0715db94",
    ),
    ("Amsterdam", "amsterdamTime", "b11c9177a7654a1fae4c1535651d67fd00ec48d5478de55dfa8eb5b5c454ccbc"),
];
/// Files that differ in more.
const FIELD_SAMPLES: [Row<fn() -> Value>; 5] = [
    (
        "forks after the first block",
        later_forks,
        "5c0d9c7327d45de2949c31cb002eecabdaf07bbe1f48d8f2c9f8bf11c2799137",
    ),
    (
        "a base fee before London",
        early_base_fee,
        "7c73bf1f8dbef5b9ddb68dc480c2728ea1c3b93d05f3fd47d120635e57e9fdb1",
    ),
    (
        "blob gas before Cancun",
        early_blob_gas,
        "8a4aec1443552da8a37d8eb38f4e363e6a001a7d71fdcbcf7960fc3f109e2ef9",
    ),
    ("every header field", header_fields, "f4cedc86f6e27466ad0220d185715c6ada0d9a56cd5d46e810bb38572f715218"),
    (
        "code, storage and empty accounts",
        accounts,
        "02d2c0c70760aea3c76ef1141255275d6dc8ddbdc991f09a969b476c7b152e0d",
    ),
];

/// The genesis file of the test network, and one a set of forks or a kind of field.
pub fn samples() -> Vec<Sample> {
    let of_forks =
        FORK_SAMPLES.iter().map(|(name, last, hash)| Sample { name, text: chain(last).to_string(), hash });
    let of_fields =
        FIELD_SAMPLES.iter().map(|(name, file, hash)| Sample { name, text: file().to_string(), hash });
    let network =
        Sample { name: "the test network", text: crate::GENESIS.to_owned(), hash: crate::GENESIS_HASH };
    of_forks.chain(of_fields).chain([network]).collect()
}

/// A chain with all forks up to `last` at the first block.
fn chain(last: &str) -> Value {
    let mut config =
        json!({ "chainId": 4242, "terminalTotalDifficulty": 0, "blobSchedule": blob_schedule() });
    if let Some(end) = BLOCK_FORKS.iter().chain(&TIME_FORKS).position(|fork| *fork == last) {
        for fork in BLOCK_FORKS.iter().chain(&TIME_FORKS).take(end + 1) {
            config[*fork] = json!(0);
        }
    }
    json!({ "config": config, "gasLimit": "0x1c9c380", "difficulty": "0x1", "alloc": {} })
}

/// geth wants one for each fork with blobs; it does not enter the block.
fn blob_schedule() -> Value {
    let forks = ["cancun", "prague", "osaka", "bpo1", "bpo2", "bpo3", "bpo4", "bpo5", "amsterdam"];
    let parameters = json!({ "target": 3, "max": 6, "baseFeeUpdateFraction": 3_338_477 });
    forks.iter().map(|fork| ((*fork).to_owned(), parameters.clone())).collect()
}

fn later_forks() -> Value {
    let mut file = chain("cancunTime");
    file["timestamp"] = json!("0x6553f100");
    file["config"]["berlinBlock"] = json!(3);
    file["config"]["londonBlock"] = json!(5);
    file["config"]["mergeNetsplitBlock"] = json!(9);
    file["config"]["pragueTime"] = json!(1_700_000_100);
    file
}

fn early_base_fee() -> Value {
    let mut file = chain("berlinBlock");
    file["baseFeePerGas"] = json!("12345678901234567890123");
    file
}

fn early_blob_gas() -> Value {
    let mut file = chain("shanghaiTime");
    file["excessBlobGas"] = json!("0x20000");
    file["blobGasUsed"] = json!("0x20000");
    file
}

fn header_fields() -> Value {
    let mut file = chain("amsterdamTime");
    let fields = json!({
        "nonce": "0x0123456789abcdef", "timestamp": 1_700_000_000, "extraData": format!("0x{}", "5a".repeat(97)),
        "gasLimit": "0x0", "gasUsed": "0x5208", "difficulty": "131072",
        "mixHash": format!("0x{}", "11".repeat(32)), "parentHash": format!("0x{}", "22".repeat(32)),
        "coinbase": format!("0x{}", "33".repeat(20)), "baseFeePerGas": "0x1", "excessBlobGas": "0x60000",
        "blobGasUsed": "0x20000", "slotNumber": "0x7",
    });
    for (name, value) in fields.as_object().into_iter().flatten() {
        file[name] = value.clone();
    }
    file
}

fn accounts() -> Value {
    let mut file = chain("osakaTime");
    let slots: Value =
        (0..40u8).map(|slot| (format!("0x{slot:02x}"), json!(format!("0x{:02x}", slot % 5)))).collect();
    file["alloc"] = json!({
        "0000000000000000000000000000000000000001": { "balance": "0x1" },
        "0x0000000000000000000000000000000000000002": { "balance": 0 },
        "0x00000000000000000000000000000000000000aA": { "balance": "0x0", "nonce": "0x2", "code": "0x6001600255" },
        "0x00000000000000000000000000000000000000bb": {
            "balance": "115792089237316195423570985008687907853269984665640564039457584007913129639935",
            "storage": slots,
        },
        "0x00000000000000000000000000000000000000cc": { "balance": "0x00", "storage": {} },
    });
    file
}
