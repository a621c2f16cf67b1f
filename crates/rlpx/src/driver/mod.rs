//! The driver: sockets, tasks and handles around the machines of this crate, on tokio.
//!
//! A [`Server`] is one task with the machine of that name, a task that accepts, and one task for each connection, which
//! owns the socket, the [`Session`](crate::Session) and the peer's [`ProtocolSession`]s. A [`Connection`] is one of
//! those by itself. Decisions are made in the machines; here bytes, orders and time are carried to and fro.

mod account;
mod attached;
#[cfg(feature = "address-book")]
mod book;
mod builder;
mod config_error;
mod connection;
mod dial;
mod event;
mod function;
mod held;
mod intake;
#[cfg(all(test, shuttle))]
mod interleavings;
mod keeper;
mod link;
mod listener;
#[cfg(feature = "nat")]
mod nat;
mod node_info;
mod orders;
mod peer_task;
mod pool;
mod protocol;
#[cfg(feature = "testing")]
mod protocol_pair;
mod queue;
mod sealer;
mod server_task;
mod shared;
mod sync;
mod throttle;
mod traffic;
mod trim;
mod turn;
mod wire;

use std::{
    fmt,
    future::{Future, pending},
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use identity::{CurveHandle, Enode, NodeId, Now, PublicKey};
use tokio::{
    sync::{broadcast, mpsc, oneshot},
    task::JoinHandle,
    time::{Instant, sleep_until},
};

#[cfg(feature = "address-book")]
pub use self::book::BookError;
use self::intake::Command;
#[cfg(feature = "nat")]
pub use self::nat::{Nat, NatChanges, NatConfig, NatConfigError};
#[cfg(feature = "testing")]
pub use self::protocol_pair::ProtocolPair;
pub use self::{
    builder::ServerBuilder,
    config_error::ConfigError,
    connection::{ConnectError, Connection, Received},
    event::{Event, EventStream},
    function::{FunctionProtocol, MessageStream, ProtocolPeer, protocol},
    held::Held,
    link::Link,
    listener::bind_listener,
    node_info::NodeInfo,
    protocol::{Protocol, ProtocolSession, ProtocolVersion},
    traffic::Counts,
};
use crate::{Ban, BanTarget, CommandError, SessionConfig, Verdict, p2p::DisconnectReason, peer::PeerInfo};

/// A running server. Cheap to clone; the server shuts down when the last handle is gone.
#[derive(Clone)]
pub struct Server(Arc<Handle>);

struct Handle {
    commands: mpsc::Sender<Command>,
    events: broadcast::WeakSender<Event>,
    counts: Counts,
    peer_count: Arc<AtomicUsize>,
    node_info: NodeInfo,
}

impl Server {
    /// A server for the node whose key `curve` uses.
    pub fn builder(curve: CurveHandle) -> ServerBuilder {
        ServerBuilder::new(curve)
    }

    fn new(handle: Handle) -> Self {
        Self(Arc::new(handle))
    }

    /// Opens one connection to the node with key `remote`, without a server: for tools and tests. `config` is for the
    /// key that `curve` uses; with no capabilities in it any node will do, at least until that one says useless peer.
    ///
    /// # Errors
    /// [`ConnectError`] when TCP does not connect, or the session ends before both Hellos are through.
    pub async fn connect(
        curve: CurveHandle,
        config: SessionConfig,
        address: SocketAddr,
        remote: PublicKey,
    ) -> Result<Connection, ConnectError> {
        Connection::open(curve, config, address, remote).await
    }

    /// Keeps a connection to a node from now on: while there is room for it, unless it is trusted too.
    ///
    /// # Errors
    /// [`CommandError`] when the node is this one, has no TCP port, the list is full, or the server has shut down.
    pub async fn add_peer(&self, enode: Enode) -> Result<(), CommandError> {
        self.ask(|answer| Command::AddStatic(enode, answer)).await.unwrap_or(Err(CommandError::Closed))
    }

    /// No longer keeps a connection to a node, and ends the one there is.
    ///
    /// # Errors
    /// [`CommandError::Closed`].
    pub async fn remove_peer(&self, node_id: NodeId) -> Result<(), CommandError> {
        self.ask(|answer| Command::RemoveStatic(node_id, answer)).await
    }

    /// Lets a node in from now on whatever the number of peers.
    ///
    /// # Errors
    /// [`CommandError`] when the node is this one, the list is full, or the server has shut down.
    pub async fn add_trusted(&self, node_id: NodeId) -> Result<(), CommandError> {
        self.ask(|answer| Command::AddTrusted(node_id, answer)).await.unwrap_or(Err(CommandError::Closed))
    }

    /// Treats a node like any other from now on.
    ///
    /// # Errors
    /// [`CommandError::Closed`].
    pub async fn remove_trusted(&self, node_id: NodeId) -> Result<(), CommandError> {
        self.ask(|answer| Command::RemoveTrusted(node_id, answer)).await
    }

    /// Ends every connection with a node. A static peer is dialed again.
    ///
    /// # Errors
    /// [`CommandError::Closed`].
    pub async fn disconnect(&self, node_id: NodeId, reason: DisconnectReason) -> Result<(), CommandError> {
        self.ask(|answer| Command::Disconnect(node_id, reason, answer)).await
    }

    /// Wants nothing to do with a node, or the addresses of a host or site, for `duration`, at most
    /// [`ListLimits::longest_ban`](crate::ListLimits::longest_ban): ends what there is, refuses who comes, dials nobody there.
    /// Holds for static and trusted peers too. Of [`ListLimits::bans`](crate::ListLimits::bans) the one that would end first
    /// makes room.
    ///
    /// # Errors
    /// [`CommandError`] when the node is this one, or the server has shut down.
    pub async fn ban(&self, target: impl Into<BanTarget>, duration: Duration) -> Result<(), CommandError> {
        let target = target.into();
        self.ask(|answer| Command::Ban(target, duration, answer)).await.unwrap_or(Err(CommandError::Closed))
    }

    /// Lifts a ban.
    ///
    /// # Errors
    /// [`CommandError::Closed`].
    pub async fn unban(&self, target: impl Into<BanTarget>) -> Result<(), CommandError> {
        let target = target.into();
        self.ask(|answer| Command::Unban(target, answer)).await
    }

    /// The bans in force, the one that ends first at the front; none when the server has shut down.
    pub async fn bans(&self) -> Vec<Ban> {
        self.ask(Command::Bans).await.unwrap_or_default()
    }

    /// Says how a peer serves; [`Verdict`] says what follows. Counts for a node that has just left, too.
    ///
    /// # Errors
    /// [`CommandError::Closed`].
    pub async fn report(&self, node_id: NodeId, verdict: Verdict) -> Result<(), CommandError> {
        self.ask(|answer| Command::Report(node_id, verdict, answer)).await
    }

    /// The peers, in order of their sessions' beginning; none when the server has shut down.
    pub async fn peers(&self) -> Vec<Arc<PeerInfo>> {
        self.ask(Command::Peers).await.unwrap_or_default()
    }

    /// How many peers there are.
    pub fn peer_count(&self) -> usize {
        self.0.peer_count.load(Ordering::Relaxed)
    }

    /// This node: what its Hello says, its limits, and the addresses that it listens at.
    pub fn node_info(&self) -> &NodeInfo {
        &self.0.node_info
    }

    /// Where the server listens, if it does: the first address, where there are several.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.0.node_info.local_addrs.first().copied()
    }

    /// What happens from now on.
    pub fn events(&self) -> EventStream {
        EventStream::new(self.0.events.upgrade().map(|events| events.subscribe()))
    }

    /// What was refused, and what went over TCP.
    pub fn counters(&self) -> &Counts {
        &self.0.counts
    }

    /// Says goodbye to every peer with reason 8 and ends; done within 5 s, by default. Waits for the end also when someone else
    /// asked for it.
    pub async fn shutdown(&self) {
        // Closed: it has ended already.
        let _ = self.ask(Command::Shutdown).await;
        self.0.commands.closed().await;
    }

    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Result<T, CommandError> {
        let (answer, answered) = oneshot::channel();
        self.0.commands.send(command(answer)).await.map_err(|_| CommandError::Closed)?;
        answered.await.map_err(|_| CommandError::Closed)
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Server({} peers, listening at {:?})", self.peer_count(), self.local_addr())
    }
}

/// Reads the clocks, once for each thing that happens.
#[expect(clippy::disallowed_methods, reason = "the one place in this driver that reads the clocks")]
fn now() -> Now {
    Now::system()
}

/// Ready at `wake`; never when there is none.
async fn sleep_until_some(wake: Option<Instant>) {
    match wake {
        Some(wake) => sleep_until(wake).await,
        None => pending().await,
    }
}

/// Starts a task.
#[expect(clippy::disallowed_methods, reason = "the one place in this driver that starts tasks outside a set")]
fn spawn<T: Send + 'static>(task: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
    tokio::spawn(task)
}
