//! The consensus client's side of a node: it names the head, builds blocks, and has blocks fetched from peers.
//! Engine API of "execution-apis" for Cancun, Prague and Osaka. A node takes part in gossip from the first head on.

use std::time::Duration;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::{
    Failure, Result, Rpc, eventually,
    geth::log::Log,
    rpc::{bytes, data, hash, quantity, text},
};

/// Chain time between built blocks, in seconds: a slot.
const BLOCK_TIME: u64 = 12;
/// For geth to fill a block with the pool's transactions, which takes it some milliseconds.
const BUILD_LIMIT: Duration = Duration::from_secs(10);
/// For geth to take a head, which it may have to fetch from its peers.
const SYNC_LIMIT: Duration = Duration::from_secs(60);
/// What geth says while its syncer is not to be disturbed.
const SYNCER_BUSY: &str = "beacon syncer reorging";

const ZERO_HASH: [u8; 32] = [0; 32];
const ZERO_ADDRESS: [u8; 20] = [0; 20];

/// Pairs of methods that give a built block and take it; a node allows only the pair of the block's fork.
const BUILDERS: [(&str, &str); 3] = [
    ("engine_getPayloadV5", "engine_newPayloadV4"), // Osaka
    ("engine_getPayloadV4", "engine_newPayloadV4"), // Prague
    ("engine_getPayloadV3", "engine_newPayloadV3"), // Cancun
];

/// The engine API of one node.
#[derive(Debug)]
pub(crate) struct Engine {
    rpc: Rpc,
}

impl Engine {
    pub(crate) const fn new(rpc: Rpc) -> Self {
        Self { rpc }
    }

    /// Makes the node's own head its head again: from then on it takes transactions from peers.
    pub(crate) fn confirm_head(&self) -> Result<()> {
        let head = hash(&self.head()?, "hash")?;
        self.sync_to(&head)
    }

    /// Makes `head` the head; the node fetches from its peers what it lacks.
    pub(crate) fn sync_to(&self, head: &[u8; 32]) -> Result<()> {
        eventually(&format!("the head {}", data(head)), SYNC_LIMIT, || {
            let answer = match self.update_head(head, &Value::Null) {
                Ok(answer) => answer,
                // While geth's syncer turns to this head it takes no second order for it.
                Err(failure) if failure.to_string().contains(SYNCER_BUSY) => return Ok(None),
                Err(failure) => return Err(failure),
            };
            match text(&answer["payloadStatus"], "status")? {
                "VALID" => Ok(Some(())),
                "SYNCING" | "ACCEPTED" => Ok(None),
                refused => Err(Failure::new(format!("the head {} is {refused}", data(head)))),
            }
        })
    }

    /// Builds a block of the pool's transactions on the head, and makes it the head. `log` tells when it is filled.
    pub(crate) fn build(&self, log: &Log) -> Result<[u8; 32]> {
        let parent = self.head()?;
        let attributes = json!({
            "timestamp": format!("{:#x}", quantity(&parent, "timestamp")? + BLOCK_TIME),
            "prevRandao": data(&ZERO_HASH),
            "suggestedFeeRecipient": data(&ZERO_ADDRESS),
            "withdrawals": [],
            "parentBeaconBlockRoot": data(&ZERO_HASH),
        });
        let started = self.update_head(&hash(&parent, "hash")?, &attributes)?;
        let payload_id = text(&started, "payloadId")?;
        let filled = format!("id={payload_id}");
        log.wait_for("the block to be filled", BUILD_LIMIT, |line| {
            (line.contains("Updated payload") && line.contains(&filled)).then_some(())
        })?;
        let block = self.import(payload_id)?;
        self.sync_to(&block)?;
        Ok(block)
    }

    fn head(&self) -> Result<Value> {
        self.rpc.call("eth_getBlockByNumber", &json!(["latest", false]))
    }

    fn update_head(&self, head: &[u8; 32], attributes: &Value) -> Result<Value> {
        let state = json!({
            "headBlockHash": data(head), "safeBlockHash": data(head), "finalizedBlockHash": data(&ZERO_HASH),
        });
        self.rpc.call("engine_forkchoiceUpdatedV3", &json!([state, attributes]))
    }

    /// Takes the built block from the node and gives it back as a new one.
    fn import(&self, payload_id: &str) -> Result<[u8; 32]> {
        let (built, new_payload) = self.built(payload_id)?;
        let payload = &built["executionPayload"];
        let mut params = vec![payload.clone(), blob_hashes(&built)?, json!(data(&ZERO_HASH))];
        if new_payload.ends_with("V4") {
            params.push(built["executionRequests"].clone());
        }
        let answer = self.rpc.call(new_payload, &Value::Array(params))?;
        match text(&answer, "status")? {
            "VALID" => hash(payload, "blockHash"),
            refused => Err(Failure::new(format!("the built block is {refused}"))),
        }
    }

    fn built(&self, payload_id: &str) -> Result<(Value, &'static str)> {
        let mut refused = Failure::new("no way to get a built block");
        for (get_payload, new_payload) in BUILDERS {
            match self.rpc.call(get_payload, &json!([payload_id])) {
                Ok(built) => return Ok((built, new_payload)),
                Err(failure) => refused = failure,
            }
        }
        Err(refused)
    }
}

/// Versioned hashes of a block's blobs (EIP-4844): SHA-256 of the commitment, its first byte replaced by 1.
fn blob_hashes(built: &Value) -> Result<Value> {
    let commitments = built["blobsBundle"]["commitments"].as_array().map(Vec::as_slice).unwrap_or_default();
    let versioned = |commitment: &Value| {
        let mut hash = Sha256::digest(bytes(commitment.as_str().unwrap_or_default())?);
        hash[0] = 1;
        Ok(json!(data(&hash)))
    };
    commitments.iter().map(versioned).collect()
}
