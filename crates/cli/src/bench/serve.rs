//! The serving process of the rows `rlpx.*`: a server with its driver and a protocol that takes messages and drops them.
//! The rows `handshake.accept` and `tcp.*` have one in the bench's own process.

use std::{
    net::Ipv4Addr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use devp2p::{
    identity::{CurvePool, Endpoint, Enode, NodeKey},
    rlpx::{Protocol, Server, ServerConfig, Slots, protocol},
};
use rand::{rand_core::UnwrapErr, rngs::SysRng};
use tokio::{net::TcpListener, sync::Notify, time::timeout};

use super::{
    orders::{Order, PROTOCOL, V1, not_mine},
    usage,
};

/// Peers that may come in: more than any row has.
const MAX_PEERS: usize = 4_096;
/// How long peers or messages may take to come before the row fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// What has come.
#[derive(Default)]
struct Arrivals {
    count: AtomicUsize,
    awaited: AtomicUsize,
    all: Notify,
}

/// A server that accepts on loopback.
pub(super) struct Serving {
    server: Server,
    arrivals: Arc<Arrivals>,
    _curves: CurvePool,
}

impl Serving {
    /// Starts it, in the runtime this is called from.
    pub(super) fn start() -> Result<Self, String> {
        let arrivals = Arc::new(Arrivals::default());
        let curves = CurvePool::for_this_machine();
        let key = Arc::new(NodeKey::generate(&mut UnwrapErr(SysRng)));
        let slots = Slots { max_inbound: Some(MAX_PEERS), ..Slots::default() };
        let config = ServerConfig { max_peers: MAX_PEERS, slots, ..ServerConfig::default() };
        let server = Server::builder(curves.handle(key))
            .listener(listen()?)
            .protocol(receiver(Arc::clone(&arrivals)))
            .config(config)
            .start()
            .map_err(|error| error.to_string())?;
        Ok(Self { server, arrivals, _curves: curves })
    }

    /// Who and where it is.
    pub(super) fn enode(&self) -> Enode {
        let info = self.server.node_info();
        let port = info.local_addrs.first().map_or(0, std::net::SocketAddr::port);
        Enode::new(info.public_key, Endpoint { ip: Ipv4Addr::LOCALHOST.into(), udp: 0, tcp: port })
    }

    /// Carries out an order.
    pub(super) async fn obey(&self, order: Order) -> Result<u64, String> {
        match order {
            Order::Peers(count) => within(self.peers(count)).await,
            Order::Received(count) => within(self.received(count)).await,
            Order::Memory => usage::resident(),
            Order::Time => Ok(usage::processor_time()),
            Order::Prepare(_) | Order::Shake | Order::Connect(_) | Order::Send(_) => not_mine(order),
        }
    }

    async fn peers(&self, count: usize) -> u64 {
        let mut events = self.server.events();
        while self.server.peer_count() < count {
            if events.next().await.is_none() {
                break;
            }
        }
        self.server.peer_count() as u64
    }

    /// Waits until so many messages have come in all.
    pub(super) async fn received(&self, count: usize) -> u64 {
        self.arrivals.awaited.store(count, Ordering::Relaxed);
        while self.arrivals.count.load(Ordering::Relaxed) < count {
            self.arrivals.all.notified().await;
        }
        self.arrivals.count.load(Ordering::Relaxed) as u64
    }
}

async fn within(work: impl Future<Output = u64>) -> Result<u64, String> {
    timeout(PATIENCE, work).await.map_err(|_| format!("not all came within {PATIENCE:?}"))
}

/// A free port of loopback, with a backlog for a burst of connections.
fn listen() -> Result<TcpListener, String> {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    let listener = listener.and_then(|listener| listener.set_nonblocking(true).map(|()| listener));
    listener.and_then(TcpListener::from_std).map_err(|error| error.to_string())
}

fn receiver(arrivals: Arc<Arrivals>) -> Arc<dyn Protocol> {
    Arc::new(protocol(PROTOCOL, [V1], move |_, mut messages| {
        let arrivals = Arc::clone(&arrivals);
        async move {
            while messages.next().await.is_some() {
                let count = arrivals.count.fetch_add(1, Ordering::Relaxed) + 1;
                // Whoever waits runs on this thread too, and not for each message.
                if count == arrivals.awaited.load(Ordering::Relaxed) {
                    arrivals.all.notify_one();
                }
            }
        }
    }))
}
