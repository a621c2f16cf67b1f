//! `devp2p node`: one node until it is interrupted. It says who it is once it listens, then how it goes every ten seconds.
//! Its chain has the genesis block alone: it serves and gossips, and does not follow a consensus.

use std::{process::ExitCode, sync::Arc, time::Duration};

use clap::Args;
use devp2p::{
    Node, NodeBuilder, NodeEvent,
    eth_wire::{Chain, EthEvent, MemoryChain, MemoryPool},
    rlpx::PeerInfo,
};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::interval,
};

use crate::{
    args::{ChainArgs, KeyArgs, Nat, NetworkArgs},
    failure::Failure,
    logging, memory,
    output::say,
    peer_view::{peer_line, traffic_lines},
    setup::{ChosenKey, NewChain, book_path},
};

/// How often the status line is printed.
const STATUS_INTERVAL: Duration = Duration::from_secs(10);

/// Run a node until it is interrupted. Without --genesis it is a private network on 127.0.0.1, and without --bootnodes or
/// --peers it contacts nobody.
#[derive(Args)]
pub(crate) struct NodeCommand {
    #[command(flatten)]
    key: KeyArgs,
    #[command(flatten)]
    network: NetworkArgs,
    #[command(flatten)]
    chain: ChainArgs,
    /// With the status line, and when a peer comes, a line for each peer, and one for each message code that was used.
    #[arg(long)]
    show_peers: bool,
    /// 0 silent, 1 errors, 2 warnings, 3 information, 4 debugging, 5 everything.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(0..=5))]
    verbosity: u8,
}

pub(crate) async fn run(command: NodeCommand) -> Result<ExitCode, Failure> {
    logging::start(command.verbosity);
    let new_chain = NewChain::from_args(&command.chain)?;
    let chosen = ChosenKey::from_args(&command.key)?;
    let chain = Arc::new(MemoryChain::new(&new_chain.genesis));
    let pool = Arc::new(MemoryPool::new(new_chain.chain_id));
    let config = new_chain.eth_config();
    let mut builder = Node::builder(chosen.key.clone());
    // Whoever names no network contacts nobody, whomever the node knew before.
    if !command.network.bootnodes.is_empty() && !command.network.nodiscover {
        builder = book_path(&command.key)?.into_iter().fold(builder, NodeBuilder::address_book);
    }
    let builder = network(builder, command.network)?.eth(config, Arc::clone(&chain) as Arc<dyn Chain>, pool);
    let mut stop = StopSignals::new()?;
    let node = builder.start().await.map_err(Failure::input)?;
    // Only now is anything written: bad input must leave nothing behind.
    chosen.keep()?;
    // Subscribed first: what changes while this is said is said anew.
    let mut events = node.events();
    say(node.enode());
    say(node.enr());
    let show_peers = command.show_peers;
    let mut status = interval(STATUS_INTERVAL);
    status.tick().await;
    let mut return_times = memory::return_times();
    loop {
        tokio::select! {
            Some(event) = events.next() => match event {
                NodeEvent::Moved(_) => {
                    say(node.enode());
                    say(node.enr());
                }
                NodeEvent::Eth(EthEvent::PeerReady(ready)) if show_peers => {
                    show(node.peers().await.into_iter().filter(|peer| peer.peer_id == ready.peer_id));
                }
                // Warned of in the log.
                NodeEvent::KeyInUse(_) => {}
                NodeEvent::Eth(_) | NodeEvent::Transport(_) | NodeEvent::Lagged(_) => {}
            },
            _ = status.tick() => {
                say(status_line(&node, chain.as_ref()).await);
                if show_peers {
                    show(node.peers().await);
                    traffic_lines(&node.server().counters().protocols()).iter().for_each(say);
                }
            }
            _ = return_times.tick() => memory::return_free_memory(),
            () = stop.next() => break,
        }
    }
    // A second signal does not wait for the farewells.
    tokio::select! {
        () = node.shutdown() => {}
        () = stop.next() => {}
    }
    Ok(ExitCode::SUCCESS)
}

fn show(peers: impl IntoIterator<Item = Arc<PeerInfo>>) {
    peers.into_iter().for_each(|peer| say(peer_line(&peer)));
}

/// The signals that ask a node to end. A terminal that closes sends SIGHUP: the peers are told then too.
struct StopSignals([Signal; 3]);

impl StopSignals {
    fn new() -> Result<Self, Failure> {
        let listen = |kind| signal(kind).map_err(|error| Failure::system("signals", &error));
        Ok(Self([
            listen(SignalKind::terminate())?,
            listen(SignalKind::interrupt())?,
            listen(SignalKind::hangup())?,
        ]))
    }

    async fn next(&mut self) {
        let [terminate, interrupt, hangup] = &mut self.0;
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}

fn network(builder: NodeBuilder, args: NetworkArgs) -> Result<NodeBuilder, Failure> {
    let (addr, other) = match args.addr[..] {
        [addr] => (addr, None),
        [addr, other] => (addr, Some(other)),
        _ => return Err(Failure::input("--addr takes one IPv4 and one IPv6 address, or one alone")),
    };
    let mut builder = builder
        .listen(addr, args.port)
        .bootnodes(args.bootnodes)
        .static_peers(args.peers)
        .max_peers(args.maxpeers)
        .rates(args.rates.limits());
    if let Some(other) = other {
        builder = builder.listen_also(other);
    }
    if let Some(port) = args.discovery_port {
        builder = builder.discovery_port(port);
    }
    if let Some(networks) = args.netrestrict {
        builder = builder.net_restrict(networks);
    }
    if args.nodiscover {
        builder = builder.no_discovery();
    }
    Ok(match args.nat {
        Nat::None => builder,
        Nat::ExtIp(ip) => builder.external_ip(ip),
        Nat::Ask(method) => builder.nat(method),
    })
}

async fn status_line(node: &Node, chain: &MemoryChain) -> String {
    let peers = node.peers().await;
    let outbound = peers.iter().filter(|peer| !peer.inbound).count();
    let table_len = match node.discovery() {
        Some(discovery) => discovery.table().await.map_or(0, |table| table.len()),
        None => 0,
    };
    let traffic = node.traffic();
    format!(
        "peers {} ({outbound} dialed), table {table_len}, block {}, received {} B, sent {} B",
        peers.len(),
        chain.head().number,
        traffic.received,
        traffic.sent,
    )
}
