//! Rows `tcp.*`: two servers with their drivers, connected over loopback TCP, on one core: from a protocol that sends to a
//! protocol that receives, with snappy, as nodes talk. Messages of a turn are sent in one burst. System calls and tasks
//! are measured, but in no floor: that is the floor of the row `frame` with the same payload.

use std::{
    net::Ipv4Addr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use devp2p::{
    identity::{CurvePool, Endpoint, Enode, NodeKey},
    rlpx::{ProtocolPeer, ProtocolVersion, Server, protocol},
};
use rand::{rand_core::UnwrapErr, rngs::SysRng};
use tokio::{
    net::TcpListener,
    runtime::Runtime,
    sync::{Notify, mpsc},
    time::timeout,
};

use super::{
    floors::Floors,
    frame::Floor,
    measure::{Turns, time_each},
    payload::Payload,
};

/// Bytes of payload that a turn sends, about, and how many messages at most.
const TURN_LEN: usize = 1 << 20;
const MAX_TURN_MESSAGES: usize = 1_000;
/// How long anything may take before the row fails.
const PATIENCE: Duration = Duration::from_secs(10);
const V1: ProtocolVersion = ProtocolVersion { version: 1, message_count: 1 };

/// What has arrived.
#[derive(Default)]
struct Arrivals {
    count: AtomicUsize,
    awaited: AtomicUsize,
    all: Notify,
}

pub(super) struct Burst {
    runtime: Runtime,
    peer: ProtocolPeer,
    arrivals: Arc<Arrivals>,
    payload: Bytes,
    turn: usize,
    floor: Floor,
    _servers: [Server; 2],
    _curves: CurvePool,
}

impl Burst {
    pub(super) fn start(floors: &Floors, len: usize) -> Result<Self, String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| error.to_string())?;
        let curves = CurvePool::for_this_machine();
        let arrivals = Arc::new(Arrivals::default());
        let (servers, peer) = runtime.block_on(connect(&curves, &arrivals))?;
        let payload = Payload::Transactions.bytes(len)?;
        let floor = Floor::new(*floors, &payload, true);
        let turn = (TURN_LEN / len).min(MAX_TURN_MESSAGES);
        Ok(Self {
            runtime,
            peer,
            arrivals,
            payload: payload.into(),
            turn,
            floor,
            _servers: servers,
            _curves: curves,
        })
    }

    async fn send_all(&self) -> Result<(), String> {
        for _ in 0..self.turn {
            self.peer.send(0, self.payload.clone()).await.map_err(|error| error.to_string())?;
        }
        while self.arrivals.count.load(Ordering::Relaxed) < self.arrivals.awaited.load(Ordering::Relaxed) {
            self.arrivals.all.notified().await;
        }
        Ok(())
    }
}

impl Turns for Burst {
    fn measured(&mut self) -> Result<f64, String> {
        self.arrivals.awaited.fetch_add(self.turn, Ordering::Relaxed);
        let mut result = Ok(());
        let time = time_each(self.turn, || {
            let sent = self.runtime.block_on(async { timeout(PATIENCE, self.send_all()).await });
            result = sent.unwrap_or_else(|_| Err(format!("not all messages came within {PATIENCE:?}")));
        });
        result.map(|()| time)
    }

    fn floor(&mut self) -> f64 {
        self.floor.time(self.turn)
    }
}

/// Two servers that are connected, and the one's way to the other.
async fn connect(
    curves: &CurvePool,
    arrivals: &Arc<Arrivals>,
) -> Result<([Server; 2], ProtocolPeer), String> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(|error| error.to_string())?;
    let address = listener.local_addr().map_err(|error| error.to_string())?;
    let [receiving, sending] = [(); 2].map(|()| Arc::new(NodeKey::generate(&mut UnwrapErr(SysRng))));
    let enode =
        Enode::new(receiving.public_key(), Endpoint { ip: address.ip(), udp: 0, tcp: address.port() });

    let arrivals = Arc::clone(arrivals);
    let receive = protocol("bench", [V1], move |_, mut messages| {
        let arrivals = Arc::clone(&arrivals);
        async move {
            while messages.next().await.is_some() {
                let count = arrivals.count.fetch_add(1, Ordering::Relaxed) + 1;
                if count == arrivals.awaited.load(Ordering::Relaxed) {
                    arrivals.all.notify_one();
                }
            }
        }
    });
    let (found, mut peers) = mpsc::channel(1);
    let send = protocol("bench", [V1], move |peer, mut messages| {
        let found = found.clone();
        async move {
            let _ = found.send(peer).await;
            while messages.next().await.is_some() {}
        }
    });
    let start = |builder: devp2p::rlpx::ServerBuilder| builder.start().map_err(|error| error.to_string());
    let receiver =
        start(Server::builder(curves.handle(receiving)).listener(listener).protocol(Arc::new(receive)))?;
    let sender = start(Server::builder(curves.handle(sending)).protocol(Arc::new(send)))?;
    sender.add_peer(enode).await.map_err(|error| error.to_string())?;
    let peer = timeout(PATIENCE, peers.recv()).await.ok().flatten();
    peer.map(|peer| ([receiver, sender], peer)).ok_or_else(|| "the servers did not connect".to_owned())
}
