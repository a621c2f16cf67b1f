//! What a test chooses about a geth, and the command line and configuration file that come of it.
//! Only the file can name the address of RLPx and discovery; the flag for the port would open every interface.

use std::{ffi::OsString, path::Path};

use identity::Enode;

use super::ports::Ports;

/// How a geth is launched. By default: the test network, discovery on loopback without bootnodes, a new node key.
#[derive(Clone, Debug)]
pub struct Options {
    genesis: String,
    network_id: Option<u64>,
    node_key: Option<String>,
    bootnodes: Vec<Enode>,
    discovery: bool,
    flags: Vec<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            genesis: crate::GENESIS.to_owned(),
            network_id: None,
            node_key: None,
            bootnodes: Vec::new(),
            discovery: true,
            flags: Vec::new(),
        }
    }
}

impl Options {
    /// The default.
    pub fn new() -> Self {
        Self::default()
    }

    /// Another chain: the text of its `genesis.json`.
    #[must_use]
    pub fn genesis(mut self, text: impl Into<String>) -> Self {
        self.genesis = text.into();
        self
    }

    /// Another network id than the chain id.
    #[must_use]
    pub const fn network_id(mut self, id: u64) -> Self {
        self.network_id = Some(id);
        self
    }

    /// A known node key: 64 hex digits.
    #[must_use]
    pub fn node_key(mut self, digits: impl Into<String>) -> Self {
        self.node_key = Some(digits.into());
        self
    }

    /// One more bootnode.
    #[must_use]
    pub fn bootnode(mut self, node: Enode) -> Self {
        self.bootnodes.push(node);
        self
    }

    /// No discovery at all.
    #[must_use]
    pub const fn no_discovery(mut self) -> Self {
        self.discovery = false;
        self
    }

    /// One more word for geth's command line.
    #[must_use]
    pub fn flag(mut self, word: impl Into<String>) -> Self {
        self.flags.push(word.into());
        self
    }

    pub(super) fn genesis_text(&self) -> &str {
        &self.genesis
    }

    pub(super) fn arguments(&self, directory: &Path, ports: &Ports) -> Vec<OsString> {
        let bootnodes: Vec<String> = self.bootnodes.iter().map(Enode::to_string).collect();
        let mut words = Words(Vec::new());
        words.pair("--config", directory.join("config.toml")).pair("--datadir", directory.join("data"));
        words.pair("--bootnodes", bootnodes.join(",")).pair("--nat", "none");
        words.pair("--netrestrict", "127.0.0.0/8").pair("--discovery.dns", "");
        words.word("--ipcdisable").pair("--syncmode", "full").pair("--cache", "64");
        words.pair("--miner.extradata", "loopback").pair("--verbosity", "3");
        words.pair("--authrpc.addr", "127.0.0.1").pair("--authrpc.port", ports.engine.to_string());
        words.pair("--authrpc.jwtsecret", directory.join("jwt"));
        words.word("--http").pair("--http.addr", "127.0.0.1").pair("--http.port", ports.http.to_string());
        words.pair("--http.api", "admin,debug,eth,net,txpool,web3");
        if let Some(id) = self.network_id {
            words.pair("--networkid", id.to_string());
        }
        if let Some(key) = &self.node_key {
            words.pair("--nodekeyhex", key);
        }
        if !self.discovery {
            words.word("--nodiscover");
        }
        words.0.extend(self.flags.iter().map(OsString::from));
        words.0
    }
}

/// A command line that grows.
struct Words(Vec<OsString>);

impl Words {
    fn word(&mut self, word: &str) -> &mut Self {
        self.0.push(word.into());
        self
    }

    fn pair(&mut self, flag: &str, value: impl Into<OsString>) -> &mut Self {
        self.0.extend([flag.into(), value.into()]);
        self
    }
}

/// The configuration file that binds RLPx and discovery to 127.0.0.1.
pub(super) fn config_file(ports: &Ports) -> String {
    let address = format!("127.0.0.1:{}", ports.p2p);
    format!("[Node.P2P]\nListenAddr = \"{address}\"\nDiscAddr = \"{address}\"\n")
}
