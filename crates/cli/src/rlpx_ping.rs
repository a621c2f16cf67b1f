//! `devp2p rlpx`: one connection to a node over the encrypted transport, told to people or as JSON.
//! Our Status is sent too, and the node's verdict awaited, only where the user names a chain.

use std::{process::ExitCode, sync::Arc, time::Duration};

use clap::Subcommand;
use devp2p::{
    eth_wire::{EthVersion, Incoming, MessageKind, Position, Status, intake},
    identity::{CurvePool, Enode, Host},
    rlpx::{
        Capability, CapabilityName, ConnectError, Connection, DisconnectReason, Hello, LocalCapability,
        Server, SessionConfig, SessionEnd,
    },
};
use serde::Serialize;
use tokio::time::timeout;

use crate::{
    advice,
    args::PingArgs,
    failure::Failure,
    fork_check::ForkCheck,
    logging,
    output::{printable, say},
    setup::{NewChain, node_key_or_random},
};

/// The capability that this verb looks into.
const ETH: &str = "eth";
/// How long the node may take for its Status (geth allows itself 5 s).
const STATUS_TIMEOUT: Duration = Duration::from_secs(5);
/// How long after both Status the node may take to say that ours does not fit.
const VERDICT_TIMEOUT: Duration = Duration::from_millis(500);

#[derive(Subcommand)]
pub(crate) enum RlpxCommand {
    /// Connect to a node, and show who it is and whether it would keep us.
    Ping(PingArgs),
}

/// What a node told us.
#[derive(Serialize)]
struct Report {
    node: String,
    node_id: String,
    /// Whether a session was established.
    connected: bool,
    client: Option<String>,
    p2p_version: Option<u64>,
    capabilities: Vec<String>,
    our_capabilities: Vec<String>,
    /// At which version both speak eth.
    eth: Option<String>,
    status: Option<StatusReport>,
    /// Why the session ended, where the node or a fault ended it.
    disconnect: Option<DisconnectReport>,
}

/// A Status beside ours.
#[derive(Serialize)]
struct StatusReport {
    network_id: u64,
    our_network_id: u64,
    genesis: String,
    our_genesis: String,
    fork_id: ForkCheck,
    /// The head, or the range of blocks.
    blocks: String,
    /// The first check that fails, if one does.
    mismatch: Option<String>,
    /// Whether our Status was sent too, so that the node could judge it: only with --genesis or --networkid.
    ours_sent: bool,
}

#[derive(Serialize)]
struct DisconnectReport {
    /// The number on the wire, where there was one.
    code: Option<u8>,
    words: String,
    advice: String,
}

pub(crate) async fn run(command: RlpxCommand) -> Result<ExitCode, Failure> {
    let RlpxCommand::Ping(command) = command;
    logging::start(command.verbosity);
    let chain = NewChain::from_args(&command.chain)?;
    let key = Arc::new(node_key_or_random(&command.key)?);
    let judge_us = command.chain.genesis.is_some() || command.chain.networkid.is_some();
    let pool = CurvePool::for_this_machine();
    let config = SessionConfig::new(key.public_key(), client_name(), capabilities());
    let address = address_of(&command.node.0).await?;
    let mut report = Report::of(&command.node.0, &config.hello);
    match Server::connect(pool.handle(key), config, address, command.node.public_key()).await {
        Ok(connection) => look(&mut report, connection, &chain, judge_us).await,
        Err(ConnectError::Session { end, hello }) => {
            hello.iter().for_each(|hello| report.add_hello(hello));
            report.ended(&end);
        }
        Err(error @ ConnectError::Tcp { .. }) => {
            let advice = "check that the node runs and listens on that TCP port".to_owned();
            report.disconnect = Some(DisconnectReport { code: None, words: error.to_string(), advice });
        }
    }
    if command.json {
        say(serde_json::to_string(&report).expect("a report has string keys"));
    } else {
        print(&report);
    }
    let good = report.connected && report.disconnect.is_none();
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Exchanges Status where both speak eth, and waits for the node's verdict.
async fn look(report: &mut Report, mut connection: Connection, chain: &NewChain, judge_us: bool) {
    report.connected = true;
    report.add_hello(connection.hello());
    let place = connection.shared().iter().position(|shared| shared.name.as_str() == ETH);
    let version = place.and_then(|place| EthVersion::from_number(connection.shared().get(place)?.version));
    let (Some(place), Some(version)) = (place, version) else {
        connection.disconnect(DisconnectReason::UselessPeer).await;
        return;
    };
    report.eth = Some(version.to_string());
    if judge_us {
        // A session that has ended meanwhile says why in what is read next.
        let _ =
            connection.send(place, MessageKind::Status.code(), chain.status.status(version).encode()).await;
    }
    match timeout(STATUS_TIMEOUT, read_status(&mut connection, place, version)).await {
        Ok(Ok(status)) => report.status = Some(StatusReport::of(&status, version, chain, judge_us)),
        Ok(Err(end)) => return report.ended(&end),
        Err(_) => {}
    }
    if judge_us && let Ok(end) = timeout(VERDICT_TIMEOUT, until_end(&mut connection)).await {
        return report.ended(&end);
    }
    connection.disconnect(DisconnectReason::Requested).await;
}

/// The node's Status; what else comes first is passed over.
async fn read_status(
    connection: &mut Connection,
    place: usize,
    version: EthVersion,
) -> Result<Status, SessionEnd> {
    loop {
        let received = connection.next().await?;
        if received.protocol != place {
            continue;
        }
        if let Ok(Incoming::Status(status)) = intake(version, received.message.code, received.message.payload)
        {
            return Ok(status);
        }
    }
}

async fn until_end(connection: &mut Connection) -> SessionEnd {
    loop {
        if let Err(end) = connection.next().await {
            return end;
        }
    }
}

fn client_name() -> String {
    concat!("devp2p/v", env!("CARGO_PKG_VERSION"), "/ping").to_owned()
}

fn capabilities() -> Vec<LocalCapability> {
    let name = CapabilityName::new(ETH).expect("three ASCII letters");
    EthVersion::ALL
        .iter()
        .map(|version| LocalCapability::new(name, version.number(), version.message_count()))
        .collect()
}

async fn address_of(node: &Enode) -> Result<std::net::SocketAddr, Failure> {
    if node.tcp == 0 {
        return Err(Failure::input("the node has no TCP port: it takes part in discovery only"));
    }
    match &node.host {
        Host::Ip(ip) => Ok((*ip, node.tcp).into()),
        Host::Dns(name) => {
            let failed =
                |error: std::io::Error| Failure::input(format!("host {name:?} cannot be resolved: {error}"));
            let mut found = tokio::net::lookup_host((name.as_str(), node.tcp)).await.map_err(failed)?;
            found.next().ok_or_else(|| failed(std::io::ErrorKind::NotFound.into()))
        }
    }
}

impl Report {
    fn of(node: &Enode, ours: &Hello) -> Self {
        Self {
            node: node.to_string(),
            node_id: node.node_id().to_string(),
            connected: false,
            client: None,
            p2p_version: None,
            capabilities: Vec::new(),
            our_capabilities: ours.capabilities.iter().map(Capability::to_string).collect(),
            eth: None,
            status: None,
            disconnect: None,
        }
    }

    fn add_hello(&mut self, hello: &Hello) {
        self.client = Some(printable(&hello.client_name));
        self.p2p_version = Some(hello.protocol_version);
        self.capabilities = hello.capabilities.iter().map(Capability::to_string).collect();
    }

    fn ended(&mut self, end: &SessionEnd) {
        let code = match end {
            SessionEnd::Local { reason, .. } | SessionEnd::Remote(reason) => Some(reason.code()),
            SessionEnd::Broken(_) => None,
        };
        self.disconnect =
            Some(DisconnectReport { code, words: end.to_string(), advice: advice::for_end(end).to_owned() });
    }
}

impl StatusReport {
    fn of(theirs: &Status, version: EthVersion, chain: &NewChain, ours_sent: bool) -> Self {
        let ours = &chain.status;
        let blocks = match &theirs.position {
            Position::Head { hash, total_difficulty } => {
                format!("head {hash}, total difficulty {}", total_difficulty.0)
            }
            Position::Range(range) => {
                format!("{} to {}, the last is {}", range.earliest, range.latest, range.latest_hash)
            }
        };
        Self {
            network_id: theirs.network_id,
            our_network_id: ours.network_id(),
            genesis: theirs.genesis.to_string(),
            our_genesis: ours.genesis().to_string(),
            fork_id: ForkCheck::new(&theirs.fork_id, ours),
            blocks,
            mismatch: ours.check(version, theirs).err().map(|error| error.to_string()),
            ours_sent,
        }
    }
}

fn print(report: &Report) {
    say(format_args!("node          {}", report.node));
    say(format_args!("id            {}", report.node_id));
    say(format_args!("client        {}", report.client.as_deref().unwrap_or("not told")));
    if let Some(version) = report.p2p_version {
        say(format_args!("p2p version   {version}"));
    }
    say(format_args!("capabilities  {}", report.capabilities.join(" ")));
    say(format_args!("ours          {}", report.our_capabilities.join(" ")));
    if let Some(version) = &report.eth {
        say(format_args!("eth           {version}"));
    }
    if let Some(status) = &report.status {
        print_status(status);
    }
    if let Some(disconnect) = &report.disconnect {
        let code = disconnect.code.map_or(String::new(), |code| format!(" (0x{code:02x})"));
        say(format_args!("disconnect    {}{code}", disconnect.words));
        say(format_args!("advice        {}", disconnect.advice));
    }
}

fn print_status(status: &StatusReport) {
    say(format_args!("network id    {}, ours is {}", status.network_id, status.our_network_id));
    say(format_args!("genesis       {}", status.genesis));
    say(format_args!("  ours        {}", status.our_genesis));
    say(format_args!("fork id       {}", status.fork_id));
    say(format_args!("blocks        {}", status.blocks));
    match &status.mismatch {
        None => say("verdict       the chains fit"),
        Some(mismatch) => say(format_args!("verdict       the chains do not fit: {mismatch}")),
    }
    if !status.ours_sent {
        say("note          ours is the private network's and was not sent: give --genesis to be judged");
    }
}
