//! RLPx of `@ethereumjs/devp2p` on loopback: a process of Node.js that runs `ethereumjs/peer.mjs`, is told what to do on its
//! standard input, and says what happens to it, both in lines of JSON. It does no discovery. Killed when dropped.

use std::{
    env, fs,
    io::Write,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    time::Duration,
};

use identity::{Endpoint, Enode, NodeKey, PublicKey};
use serde_json::{Value, json};

use crate::{
    Failure, Result,
    geth::{Slots, log::Log},
    rpc::text,
};

/// For Node.js to load the library and listen: 0.4 s on an idle machine.
const START_LIMIT: Duration = Duration::from_secs(60);
/// The folder below cargo's target directory where the library is installed.
const FOLDER: &str = "ethereumjs";
const SCRIPT: &str = include_str!("../ethereumjs/peer.mjs");
const MISSING: &str = "no @ethereumjs/devp2p in target/ethereumjs; get it, with Node.js 20 or newer: mkdir -p target/ethereumjs && cp tests/ethereumjs/package*.json -t target/ethereumjs && npm ci --prefix target/ethereumjs --ignore-scripts";

/// What a test chooses. By default: eth/68, its Status sent at once, ten peers.
#[derive(Clone, Debug)]
pub struct Options {
    /// The secret half of the node's key.
    pub secret: [u8; 32],
    /// The most peers.
    pub max_peers: usize,
    /// `eth` or `snap`.
    pub capability: &'static str,
    /// Whether it sends Status; else it waits for ever.
    pub sends_status: bool,
}

impl Options {
    /// The default, with the node key of 32 bytes `secret`.
    pub const fn new(secret: u8) -> Self {
        Self { secret: [secret; 32], max_peers: 10, capability: "eth", sends_status: true }
    }
}

/// A running node of `@ethereumjs/devp2p`, on the chain of [`crate::GENESIS`].
#[derive(Debug)]
pub struct EthereumJs {
    child: Child,
    orders: ChildStdin,
    log: Log,
    enode: Enode,
    /// Given back when it is dropped: one place of those that geths have.
    _slots: Slots,
}

impl EthereumJs {
    /// Launches a node that listens; waits for a free slot.
    ///
    /// # Errors
    /// Without the library one line that says how to get it; else why it did not start.
    pub fn launch(options: &Options) -> Result<Self> {
        let slots = Slots::take(1);
        let genesis: Value = serde_json::from_str(crate::GENESIS)
            .map_err(|error| Failure::new(format!("genesis.json: {error}")))?;
        let words = json!({
            "key": hex::encode(options.secret), "genesis": genesis, "genesisHash": crate::GENESIS_HASH,
            "maxPeers": options.max_peers, "capability": options.capability, "sendsStatus": options.sends_status,
        });
        let mut command = Command::new("node");
        command.arg(script()?).arg(words.to_string()).stdin(Stdio::piped()).stdout(Stdio::piped());
        let started = command.spawn();
        let mut child =
            started.map_err(|error| Failure::from(error).during(format_args!("node: {MISSING}")))?;
        let (orders, events) = (child.stdin.take(), child.stdout.take());
        let missing = || Failure::new("the process has no pipes");
        let (orders, events) = (orders.ok_or_else(missing)?, events.ok_or_else(missing)?);
        let log = Log::follow(events);
        let key = NodeKey::from_bytes(&options.secret).map_err(|error| Failure::new(error.to_string()))?;
        let enode = Enode::new(key.public_key(), Endpoint { ip: Ipv4Addr::LOCALHOST.into(), udp: 0, tcp: 0 });
        let mut started = Self { child, orders, log, enode, _slots: slots };
        started.enode = started.wait_for("listening", START_LIMIT, |event| {
            let port = event["port"].as_u64().and_then(|port| u16::try_from(port).ok())?;
            let told: PublicKey = public_key(text(event, "id").ok()?)?;
            Some(Enode::new(told, Endpoint { ip: Ipv4Addr::LOCALHOST.into(), udp: port, tcp: port }))
        })?;
        Ok(started)
    }

    /// Where it listens.
    pub const fn enode(&self) -> &Enode {
        &self.enode
    }

    /// Has it dial `node`.
    ///
    /// # Errors
    /// When it has ended; so for all orders.
    pub fn dial(&mut self, node: &Enode) -> Result<()> {
        let port = node.endpoint().map(|endpoint| endpoint.tcp);
        self.order(&json!({ "order": "dial", "id": hex::encode(node.public_key.as_bytes()), "port": port }))
    }

    /// Has it send its newest peer a message of eth: items of RLP, as hex digits and lists.
    ///
    /// # Errors
    /// As [`EthereumJs::dial`].
    pub fn send(&mut self, code: u64, payload: &Value) -> Result<()> {
        self.order(&json!({ "order": "send", "code": code, "payload": payload }))
    }

    /// Has it disconnect its newest peer.
    ///
    /// # Errors
    /// As [`EthereumJs::dial`].
    pub fn disconnect(&mut self, reason: u8) -> Result<()> {
        self.order(&json!({ "order": "disconnect", "reason": reason }))
    }

    /// Has it take leave of all peers.
    ///
    /// # Errors
    /// As [`EthereumJs::dial`].
    pub fn destroy(&mut self) -> Result<()> {
        self.order(&json!({ "order": "destroy" }))
    }

    /// Waits for an event of the name `event`, among those since the start or to come, in which `find` finds something.
    ///
    /// # Errors
    /// When there is none within `limit`, or the process ends: with what it said last.
    pub fn wait_for<T>(
        &self,
        event: &str,
        limit: Duration,
        mut find: impl FnMut(&Value) -> Option<T>,
    ) -> Result<T> {
        self.log.wait_for(event, limit, |line| {
            let said: Value = serde_json::from_str(line).ok()?;
            if said["event"] == event { find(&said) } else { None }
        })
    }

    fn order(&mut self, order: &Value) -> Result<()> {
        Ok(writeln!(self.orders, "{order}")?)
    }
}

impl Drop for EthereumJs {
    fn drop(&mut self) {
        // Both fail only when it has ended and been waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("{}\n{}", self.enode, self.log.tail());
        }
    }
}

fn public_key(digits: &str) -> Option<PublicKey> {
    let mut bytes = [0; 64];
    hex::decode_to_slice(digits, &mut bytes).ok()?;
    Some(PublicKey::from_bytes(bytes))
}

/// The script, beside the library that it imports: Node.js looks for it from there on upward.
fn script() -> Result<PathBuf> {
    let program = env::current_exe()?;
    let folder = program.ancestors().map(|folder| folder.join(FOLDER)).find(|folder| is_installed(folder));
    let script = folder.ok_or_else(|| Failure::new(MISSING))?.join("peer.mjs");
    // Tests write it at the same time: whole, or not at all.
    let own = tempfile::NamedTempFile::new_in(script.parent().unwrap_or(Path::new(".")))?;
    fs::write(own.path(), SCRIPT)?;
    own.persist(&script).map_err(|error| error.error)?;
    Ok(script)
}

fn is_installed(folder: &Path) -> bool {
    folder.join("node_modules/@ethereumjs/devp2p/package.json").is_file()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_lacks_the_library_is_told_in_one_line_how_to_get_it() {
        assert!(!is_installed(Path::new("/nowhere")));
        assert!(MISSING.contains("npm ci") && !MISSING.contains('\n'));
    }
}
