//! What a node tells its owner: events of the transport and of the chain protocol as one bounded stream, and the task
//! that joins them. Each layer decides what it tells (rlpx, `driver/event.rs`; eth-wire, `eth/output.rs`); discovery
//! tells nothing here: it is asked through its own handle.

use std::sync::Arc;

use eth_wire::EthEvent;
use tokio::{sync::broadcast, task::JoinHandle};

use crate::shared::Shared;

/// Events kept for a slow reader; older ones are dropped and counted in [`NodeEvent::Lagged`].
pub const MAX_EVENTS: usize = 1_024;

/// Something that happened at a node.
#[derive(Clone, Debug)]
pub enum NodeEvent {
    /// A peer came, left, or was refused.
    Transport(rlpx::Event),
    /// Something on the chain protocol.
    Eth(EthEvent),
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

/// Starts the task that joins the streams of the layers, and renews the node's record when the chain moves.
#[expect(clippy::disallowed_methods, reason = "the node's one task of its own, ended with it")]
pub(crate) fn start_pump(shared: Arc<Shared>, events: broadcast::Sender<NodeEvent>) -> JoinHandle<()> {
    // Subscribed here and not in the task, which may first run when a peer has come already.
    let (transport, eth) = (shared.server.events(), shared.eth.as_ref().map(eth_wire::EthHandle::events));
    tokio::spawn(run(shared, transport, eth, events))
}

async fn run(
    shared: Arc<Shared>,
    mut transport: rlpx::EventStream,
    mut eth: Option<eth_wire::EthEvents>,
    events: broadcast::Sender<NodeEvent>,
) {
    loop {
        let event = tokio::select! {
            event = transport.next() => match event {
                Some(event) => NodeEvent::Transport(event),
                None => return,
            },
            event = next_eth(eth.as_mut()) => event,
        };
        if matches!(&event, NodeEvent::Eth(EthEvent::BlockImported { .. })) {
            shared.refresh_record().await;
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
