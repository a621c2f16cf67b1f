//! What a geth is asked by the tests: its peers, its table, its pool, its blocks.
//! go-ethereum's namespaces admin, debug, eth, net and txpool; answers are taken apart no further than tests need.

use std::time::Duration;

use identity::{Enode, Enr, NodeId};
use serde_json::{Map, Value, json};

use super::Geth;
use crate::{
    Failure, Result, eventually,
    rpc::{bytes, data, hash, quantity, text, unexpected},
};

/// A peer as `admin_peers` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminPeer {
    /// Who it is.
    pub node_id: NodeId,
    /// What it calls itself.
    pub name: String,
    /// What it offers, like `eth/69`.
    pub capabilities: Vec<String>,
    /// Whether it dialed geth.
    pub inbound: bool,
    /// The eth version in use; None until Status messages are exchanged.
    pub eth_version: Option<u64>,
    /// The whole entry.
    pub raw: Value,
}

/// A node of the table of discovery v4.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableNode {
    /// Who it is.
    pub node_id: NodeId,
    /// Its record, when geth has it.
    pub record: Option<Enr>,
    /// Whether it has answered a Ping since it was added.
    pub live: bool,
    /// The whole entry.
    pub raw: Value,
}

/// A block as `eth_getBlockByNumber` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// Its number.
    pub number: u64,
    /// Its hash.
    pub hash: [u8; 32],
    /// Its parent's hash.
    pub parent_hash: [u8; 32],
    /// The root over its transactions.
    pub transactions_root: [u8; 32],
    /// Its time in Unix seconds.
    pub timestamp: u64,
    /// The hashes of its transactions, in order.
    pub transactions: Vec<[u8; 32]>,
    /// The whole block, without the transactions' contents.
    pub raw: Value,
}

impl Geth {
    fn call(&self, method: &str, params: &Value) -> Result<Value> {
        self.rpc().call(method, params)
    }

    /// `admin_nodeInfo`: name, ids, ENR, protocols.
    ///
    /// # Errors
    /// When geth does not answer; so for all calls.
    pub fn node_info(&self) -> Result<Value> {
        self.call("admin_nodeInfo", &json!([]))
    }

    /// The peers, also those that have not exchanged Status messages yet.
    ///
    /// # Errors
    /// As [`Geth::node_info`].
    pub fn admin_peers(&self) -> Result<Vec<AdminPeer>> {
        array(&self.call("admin_peers", &json!([]))?)?.iter().map(admin_peer).collect()
    }

    /// Makes a node a static peer, which geth dials now and again.
    ///
    /// # Errors
    /// As [`Geth::node_info`].
    pub fn admin_add_peer(&self, node: &Enode) -> Result<()> {
        self.call("admin_addPeer", &json!([node.to_string()])).map(drop)
    }

    /// Ends the connection to a node, which is no static peer any more.
    ///
    /// # Errors
    /// As [`Geth::node_info`].
    pub fn admin_remove_peer(&self, node: &Enode) -> Result<()> {
        self.call("admin_removePeer", &json!([node.to_string()])).map(drop)
    }

    /// Waits until the node `id` is a peer with which Status messages were exchanged.
    ///
    /// # Errors
    /// When it is none within `limit`: with the end of the log.
    pub fn wait_for_peer(&self, id: &NodeId, limit: Duration) -> Result<AdminPeer> {
        let found = eventually(&format!("the peer {id}"), limit, || {
            let mut peers = self.admin_peers()?.into_iter();
            Ok(peers.find(|peer| peer.node_id == *id && peer.eth_version.is_some()))
        });
        found.map_err(|failure| self.with_log(&failure))
    }

    /// The nodes of the table of discovery v4, replacements not among them.
    ///
    /// # Errors
    /// As [`Geth::node_info`], also when discovery is off.
    pub fn discovery_table(&self) -> Result<Vec<TableNode>> {
        let buckets = self.call("debug_discoveryV4Table", &json!([]))?;
        let entries = array(&buckets)?.iter().filter_map(Value::as_array).flatten();
        entries.map(table_node).collect()
    }

    /// Waits until the node `id` is in the table and has answered a Ping.
    ///
    /// # Errors
    /// When it is not within `limit`: with the end of the log.
    pub fn wait_for_live_node(&self, id: &NodeId, limit: Duration) -> Result<TableNode> {
        let found = eventually(&format!("{id} in the table"), limit, || {
            Ok(self.discovery_table()?.into_iter().find(|node| node.node_id == *id && node.live))
        });
        found.map_err(|failure| self.with_log(&failure))
    }

    /// Gives geth a signed transaction, which it sends to its peers; returns the hash.
    ///
    /// # Errors
    /// As [`Geth::node_info`], also when the pool refuses it.
    pub fn send_transaction(&self, transaction: &[u8]) -> Result<[u8; 32]> {
        let answer = self.call("eth_sendRawTransaction", &json!([data(transaction)]))?;
        hash(&json!({ "hash": answer }), "hash")
    }

    /// Whether the pool holds the transaction, be it executable yet or not.
    ///
    /// # Errors
    /// As [`Geth::node_info`].
    pub fn pool_contains(&self, transaction: &[u8; 32]) -> Result<bool> {
        let content = self.call("txpool_content", &json!([]))?;
        let senders =
            ["pending", "queued"].iter().filter_map(|part| content[*part].as_object()).flat_map(Map::values);
        let mut transactions = senders.filter_map(Value::as_object).flat_map(Map::values);
        let wanted = data(transaction);
        Ok(transactions.any(|entry| entry["hash"] == wanted))
    }

    /// Waits until the pool holds the transaction.
    ///
    /// # Errors
    /// When it does not within `limit`: with the end of the log.
    pub fn wait_for_transaction(&self, transaction: &[u8; 32], limit: Duration) -> Result<()> {
        let found = eventually(&format!("the transaction {} in the pool", data(transaction)), limit, || {
            Ok(self.pool_contains(transaction)?.then_some(()))
        });
        found.map_err(|failure| self.with_log(&failure))
    }

    /// The block at the head.
    ///
    /// # Errors
    /// As [`Geth::node_info`].
    pub fn head(&self) -> Result<Block> {
        self.block_at("latest")?.ok_or_else(|| Failure::new("no head"))
    }

    /// The block with `number`, if there is one.
    ///
    /// # Errors
    /// As [`Geth::node_info`].
    pub fn block(&self, number: u64) -> Result<Option<Block>> {
        self.block_at(&format!("{number:#x}"))
    }

    /// The RLP of the header with `number`.
    ///
    /// # Errors
    /// As [`Geth::node_info`], also when there is none.
    pub fn raw_header(&self, number: u64) -> Result<Vec<u8>> {
        self.raw("debug_getRawHeader", number)
    }

    /// The RLP of the whole block with `number`.
    ///
    /// # Errors
    /// As [`Geth::node_info`], also when there is none.
    pub fn raw_block(&self, number: u64) -> Result<Vec<u8>> {
        self.raw("debug_getRawBlock", number)
    }

    /// The network id.
    ///
    /// # Errors
    /// As [`Geth::node_info`].
    pub fn network_id(&self) -> Result<u64> {
        let answer = self.call("net_version", &json!([]))?;
        answer.as_str().and_then(|id| id.parse().ok()).ok_or_else(|| unexpected("net_version", &answer))
    }

    fn block_at(&self, place: &str) -> Result<Option<Block>> {
        let found = self.call("eth_getBlockByNumber", &json!([place, false]))?;
        if found.is_null() { Ok(None) } else { block(found).map(Some) }
    }

    fn raw(&self, method: &str, number: u64) -> Result<Vec<u8>> {
        let answer = self.call(method, &json!([format!("{number:#x}")]))?;
        bytes(answer.as_str().unwrap_or_default())
    }
}

fn array(answer: &Value) -> Result<&Vec<Value>> {
    answer.as_array().ok_or_else(|| unexpected("a list", answer))
}

fn node_id(text: &str) -> Result<NodeId> {
    let mut id = [0; 32];
    hex::decode_to_slice(text, &mut id).map_err(|_| unexpected("a node id", text))?;
    Ok(NodeId::from_bytes(id))
}

fn admin_peer(entry: &Value) -> Result<AdminPeer> {
    let capabilities = array(&entry["caps"])?.iter().filter_map(Value::as_str).map(str::to_owned).collect();
    Ok(AdminPeer {
        node_id: node_id(text(entry, "id")?)?,
        name: text(entry, "name")?.to_owned(),
        capabilities,
        inbound: entry["network"]["inbound"] == true,
        eth_version: entry["protocols"]["eth"]["version"].as_u64(),
        raw: entry.clone(),
    })
}

/// geth writes a node without a record as a URL.
fn table_node(entry: &Value) -> Result<TableNode> {
    let node = text(entry, "node")?;
    let record = node.parse::<Enr>().ok();
    let id =
        record.as_ref().map(Enr::node_id).or_else(|| node.parse::<Enode>().ok().map(|url| url.node_id()));
    Ok(TableNode {
        node_id: id.ok_or_else(|| unexpected("a node", node))?,
        record,
        live: entry["live"] == true,
        raw: entry.clone(),
    })
}

fn block(raw: Value) -> Result<Block> {
    let transactions =
        array(&raw["transactions"])?.iter().map(|entry| hash(&json!({ "hash": entry }), "hash"));
    Ok(Block {
        number: quantity(&raw, "number")?,
        hash: hash(&raw, "hash")?,
        parent_hash: hash(&raw, "parentHash")?,
        transactions_root: hash(&raw, "transactionsRoot")?,
        timestamp: quantity(&raw, "timestamp")?,
        transactions: transactions.collect::<Result<_>>()?,
        raw,
    })
}
