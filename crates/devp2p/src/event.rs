//! What a node tells its owner: events of the transport and of the chain protocol as one bounded stream, and the task
//! that joins them. Each layer decides what it tells (rlpx, `driver/event.rs`; eth-wire, `eth/output.rs`); discovery
//! tells nothing here but where another has the node's key: for the rest it is asked through its own handle.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use eth_wire::EthEvent;
use identity::Endpoint;
use rlpx::{NatChanges, nat::External};
use tokio::{sync::broadcast, task::JoinHandle, time::MissedTickBehavior};

use crate::shared::Shared;

/// Events kept for a slow reader; older ones are dropped and counted in [`NodeEvent::Lagged`].
pub const MAX_EVENTS: usize = 1_024;

/// How often the protocols are asked whether their entries in the node's record have changed: a fork may pass while the chain
/// moves by itself.
const RECORD_INTERVAL: Duration = Duration::from_secs(10);

/// Something that happened at a node.
#[derive(Clone, Debug)]
pub enum NodeEvent {
    /// A peer came, left, or was refused.
    Transport(rlpx::Event),
    /// Something on the chain protocol.
    Eth(EthEvent),
    /// Others reach the node here from now on: a gateway or a server said so, and the node's record says it too.
    Moved(Endpoint),
    /// Another process uses the node's key, and was seen at this address: others see one node at two places, and find
    /// neither for sure. Told once; how often it is seen is counted by the layers (`own_key`).
    KeyInUse(SocketAddr),
    /// The reader was slow and missed this many events.
    Lagged(u64),
}

/// A reader of a node's events.
#[derive(Debug)]
pub struct NodeEvents(broadcast::Receiver<NodeEvent>);

impl NodeEvents {
    pub(crate) const fn new(events: broadcast::Receiver<NodeEvent>) -> Self {
        Self(events)
    }

    /// The next event; None when the node has ended. May be dropped and called again without loss.
    pub async fn next(&mut self) -> Option<NodeEvent> {
        match self.0.recv().await {
            Ok(event) => Some(event),
            Err(broadcast::error::RecvError::Lagged(missed)) => Some(NodeEvent::Lagged(missed)),
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }
}

/// Starts the task that joins the streams of the layers, and renews the node's record when the chain moves or the node
/// is seen elsewhere from outside.
#[expect(clippy::disallowed_methods, reason = "the node's one task of its own, ended with it")]
pub(crate) fn start_pump(shared: Arc<Shared>, events: broadcast::Sender<NodeEvent>) -> JoinHandle<()> {
    // Subscribed here and not in the task, which may first run when a peer has come already.
    let streams = Streams {
        transport: shared.server.events(),
        eth: shared.eth.as_ref().map(eth_wire::EthHandle::events),
        nat: shared.nat.as_ref().map(rlpx::Nat::changes),
    };
    tokio::spawn(run(shared, streams, events))
}

/// What the layers tell.
struct Streams {
    transport: rlpx::EventStream,
    eth: Option<eth_wire::EthEvents>,
    nat: Option<NatChanges>,
}

async fn run(shared: Arc<Shared>, mut streams: Streams, events: broadcast::Sender<NodeEvent>) {
    let mut look = tokio::time::interval(RECORD_INTERVAL);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut key_in_use = false;
    loop {
        let event = tokio::select! {
            _ = look.tick() => {
                shared.refresh_record(shared.endpoint()).await;
                continue;
            }
            from = seen_by_discovery(&shared), if !key_in_use => NodeEvent::KeyInUse(from),
            event = streams.transport.next() => match event {
                Some(rlpx::Event::KeyInUse { address }) => NodeEvent::KeyInUse(address),
                Some(event) => NodeEvent::Transport(event),
                None => return,
            },
            event = next_eth(streams.eth.as_mut()) => event,
            external = next_external(&mut streams.nat) => NodeEvent::Moved(shared.endpoint_from(external)),
        };
        match &event {
            NodeEvent::Eth(EthEvent::BlockImported { .. }) => shared.refresh_record(shared.endpoint()).await,
            // A node moves back to where it listens when its mappings are lost.
            NodeEvent::Moved(endpoint) if *endpoint == shared.endpoint() => continue,
            NodeEvent::Moved(endpoint) => shared.refresh_record(*endpoint).await,
            NodeEvent::KeyInUse(_) if key_in_use => continue,
            NodeEvent::KeyInUse(from) => {
                key_in_use = true;
                tracing::warn!(
                    %from,
                    "another process uses this node's key; peers find neither for sure: give each node a key of its own"
                );
            }
            NodeEvent::Eth(_) | NodeEvent::Transport(_) | NodeEvent::Lagged(_) => {}
        }
        // Nobody may be listening.
        let _ = events.send(event);
    }
}

/// The next event of the chain protocol; never, without one.
async fn next_eth(events: Option<&mut eth_wire::EthEvents>) -> NodeEvent {
    match events {
        Some(events) => match events.next().await {
            Some(event) => NodeEvent::Eth(event),
            None => std::future::pending().await,
        },
        None => std::future::pending().await,
    }
}

/// Where discovery sees another with the node's key; never, without discovery.
async fn seen_by_discovery(shared: &Shared) -> SocketAddr {
    match &shared.discovery {
        Some(discovery) => discovery.key_in_use().await,
        None => std::future::pending().await,
    }
}

/// The next change of what is known of the outside; never, without a method or when it has given up.
async fn next_external(changes: &mut Option<NatChanges>) -> External {
    if let Some(stream) = changes {
        if let Some(external) = stream.next().await {
            return external;
        }
        *changes = None;
    }
    std::future::pending().await
}
