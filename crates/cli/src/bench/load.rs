//! The load of the rows on TCP, in a process of its own: it shakes hands with auths that were made beforehand, and is any
//! number of peers that stay, answer Pings and send when they are told to.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use devp2p::{
    identity::{
        CurvePool, Enode, Host, NodeKey, PublicKey,
        curve::{InlineCurve, Lane},
    },
    rlpx::{Connection, LocalCapability, Server, Session, SessionConfig, SessionOutput},
};
use rand::{Rng, rand_core::UnwrapErr, rngs::SysRng};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::{Semaphore, mpsc, watch},
    task::JoinSet,
    time::timeout,
};

use super::{
    measure::read_clocks,
    orders::{Order, PROTOCOL, V1, capability_name, not_mine},
};

/// Handshakes under way at once: fewer than a server lets wait without a key (50).
const IN_FLIGHT: usize = 32;
/// Peers that send a long message at once: together as much as all peers of a node may hold. The load, too, holds each
/// message twice while it goes out.
const SENDERS: usize = 16;
/// Reports of connected and done peers that may wait.
const MAX_REPORTS: usize = 64;
/// How long a handshake or a message may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a peer reports: that it is connected, or that its message is written.
type Report = Result<(), String>;

/// All that the load is.
pub(super) struct Peers {
    remote: PublicKey,
    address: SocketAddr,
    curves: CurvePool,
    auths: Vec<Vec<u8>>,
    tasks: JoinSet<()>,
    reporter: mpsc::Sender<Report>,
    reports: mpsc::Receiver<Report>,
    connected: usize,
    payload: watch::Sender<Bytes>,
    shared: Arc<Shared>,
}

/// What the tasks of all peers have in common.
struct Shared {
    dialing: Semaphore,
    sending: Semaphore,
}

impl Peers {
    /// None yet, of the node `target`.
    pub(super) fn new(target: &Enode) -> Result<Self, String> {
        let Host::Ip(ip) = target.host else { return Err("the node has no address".to_owned()) };
        let (reporter, reports) = mpsc::channel(MAX_REPORTS);
        let shared = Shared { dialing: Semaphore::new(IN_FLIGHT), sending: Semaphore::new(SENDERS) };
        Ok(Self {
            remote: target.public_key,
            address: SocketAddr::new(ip, target.tcp),
            curves: CurvePool::inline(),
            auths: Vec::new(),
            tasks: JoinSet::new(),
            reporter,
            reports,
            connected: 0,
            payload: watch::Sender::new(Bytes::new()),
            shared: Arc::new(shared),
        })
    }

    /// Carries out an order.
    pub(super) async fn obey(&mut self, order: Order) -> Result<u64, String> {
        match order {
            Order::Prepare(count) => {
                let auths: Result<_, _> = (0..count).map(|_| self.auth()).collect();
                self.auths = auths?;
                Ok(count as u64)
            }
            Order::Shake => self.shake().await,
            Order::Connect(count) => {
                for _ in 0..count {
                    self.connect()?;
                }
                self.connected += count;
                self.heard(count).await
            }
            Order::Send(len) => {
                let mut payload = vec![0; len];
                UnwrapErr(SysRng).fill_bytes(&mut payload);
                self.payload.send_replace(payload.into());
                self.heard(self.connected).await
            }
            Order::Peers(_) | Order::Received(_) | Order::Memory | Order::Time => not_mine(order),
        }
    }

    /// Waits for so many reports.
    async fn heard(&mut self, count: usize) -> Result<u64, String> {
        for _ in 0..count {
            let report = timeout(PATIENCE, self.reports.recv()).await;
            report.map_err(|_| format!("not all were done within {PATIENCE:?}"))?.unwrap_or(Ok(()))?;
        }
        Ok(count as u64)
    }

    /// What a node with a key of its own says first.
    fn auth(&self) -> Result<Vec<u8>, String> {
        let rng = &mut UnwrapErr(SysRng);
        let key = Arc::new(NodeKey::generate(rng));
        let now = read_clocks();
        let config = Arc::new(session_config(&key)?);
        let mut session = Session::initiator(now, config, self.remote, Lane(0), rng);
        let mut curve = InlineCurve::new(key, UnwrapErr(SysRng));
        while let Some(output) = session.poll_output() {
            let SessionOutput::Curve(job) = output else { return Err("an auth was not made".to_owned()) };
            let result = curve.run(job.ops);
            session.handle_curve(now, job.ticket, result);
        }
        Ok(session.write_buf().to_vec())
    }

    /// Sends each auth on a connection of its own; done when all were greeted.
    async fn shake(&mut self) -> Result<u64, String> {
        let mut under_way = JoinSet::new();
        let mut greeted = 0;
        for auth in std::mem::take(&mut self.auths) {
            if under_way.len() >= IN_FLIGHT {
                greeted += joined(under_way.join_next().await)?;
            }
            under_way.spawn(shake_hands(self.address, auth));
        }
        while !under_way.is_empty() {
            greeted += joined(under_way.join_next().await)?;
        }
        Ok(greeted)
    }

    fn connect(&mut self) -> Result<(), String> {
        let key = Arc::new(NodeKey::generate(&mut UnwrapErr(SysRng)));
        let config = session_config(&key)?;
        let (curve, address, remote) = (self.curves.handle(key), self.address, self.remote);
        let (shared, reporter) = (Arc::clone(&self.shared), self.reporter.clone());
        let payloads = self.payload.subscribe();
        self.tasks.spawn(async move {
            let dialing = shared.dialing.acquire().await;
            let connection = Server::connect(curve, config, address, remote).await;
            drop(dialing);
            let report = connection.as_ref().map(drop).map_err(|error| format!("no connection: {error}"));
            let _ = reporter.send(report).await;
            if let Ok(connection) = connection {
                stay(connection, payloads, &shared, &reporter).await;
            }
        });
        Ok(())
    }
}

/// A peer's life: it answers Pings, and sends each payload that there is to send.
async fn stay(
    mut connection: Connection,
    mut payloads: watch::Receiver<Bytes>,
    shared: &Shared,
    reporter: &mpsc::Sender<Report>,
) {
    loop {
        let payload = tokio::select! {
            received = connection.next() => match received {
                Ok(_) => continue,
                Err(end) => {
                    let _ = reporter.send(Err(format!("a peer was lost: {end}"))).await;
                    return;
                }
            },
            changed = payloads.changed() => match changed {
                Ok(()) => payloads.borrow_and_update().clone(),
                Err(_) => return,
            },
        };
        let report = send(&mut connection, payload, shared).await;
        let _ = reporter.send(report.map_err(|why| format!("a message was not sent: {why}"))).await;
    }
}

/// Sends a message when it is this peer's turn. Until then it answers Pings.
async fn send(connection: &mut Connection, payload: Bytes, shared: &Shared) -> Result<(), String> {
    let turn = shared.sending.acquire();
    tokio::pin!(turn);
    let _turn = loop {
        tokio::select! {
            turn = &mut turn => break turn,
            received = connection.next() => drop(received.map_err(|end| end.to_string())?),
        }
    };
    match connection.send(0, 0, payload).await {
        Ok(()) => Ok(()),
        Err(error) => Err(connection.next().await.err().map_or(error.to_string(), |end| end.to_string())),
    }
}

fn session_config(key: &NodeKey) -> Result<SessionConfig, String> {
    let capability = LocalCapability::new(capability_name()?, V1.version, V1.message_count);
    Ok(SessionConfig::new(key.public_key(), PROTOCOL, vec![capability]))
}

/// Sends an auth, and reads ack and the first bytes of Hello: then the node has let this one in.
async fn shake_hands(address: SocketAddr, auth: Vec<u8>) -> Result<(), String> {
    /// Bytes of Hello that are waited for: it is written whole.
    const HELLO_START: usize = 2;
    let talk = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        stream.write_all(&auth).await?;
        let size = stream.read_u16().await?;
        let mut ack = vec![0; usize::from(size) + HELLO_START];
        stream.read_exact(&mut ack).await
    };
    let talked = timeout(PATIENCE, talk).await.map_err(|_| format!("no ack within {PATIENCE:?}"))?;
    talked.map(drop).map_err(|error| format!("a handshake: {error}"))
}

fn joined(ended: Option<Result<Result<(), String>, tokio::task::JoinError>>) -> Result<u64, String> {
    match ended {
        Some(Ok(result)) => result.map(|()| 1),
        Some(Err(error)) => Err(error.to_string()),
        None => Ok(0),
    }
}
