//! Names to addresses, and addresses to connections: the effects of a dial. Whom to dial, when, and which addresses are
//! allowed is decided before (`dialer`, `server`), in which order and how far apart they are tried by `race`; once
//! connected it becomes a `peer_task.rs`.

use std::{future::Future, io, net::SocketAddr, sync::Arc, time::Duration};

use identity::{PublicKey, curve::Lane};
use tokio::{
    net::{TcpStream, lookup_host},
    sync::{mpsc, oneshot},
    task::JoinSet,
    time::{Instant, timeout},
};

use super::{
    now,
    orders::{Order, Report},
    peer_task::PeerTask,
    shared::Common,
    sleep_until_some,
    wire::Wire,
};
use crate::{Race, SessionEnd, SessionError, peer::PeerId, server_config::MAX_DIAL_ADDRESSES};

/// The addresses of a name; none when the lookup fails or takes too long.
pub(super) async fn resolve(name: String, port: u16, limit: Duration) -> Vec<SocketAddr> {
    match timeout(limit, lookup_host((name.as_str(), port))).await {
        // Filtered by the server before it takes as many as it tries.
        Ok(Ok(addresses)) => addresses.take(4 * MAX_DIAL_ADDRESSES).collect(),
        Ok(Err(error)) => {
            tracing::debug!(%name, %error, "name not resolved");
            Vec::new()
        }
        Err(_) => Vec::new(),
    }
}

/// A dial on its way to become a connection.
pub(super) struct Dial {
    pub(super) id: PeerId,
    pub(super) remote: PublicKey,
    pub(super) addresses: Vec<SocketAddr>,
    pub(super) common: Arc<Common>,
    pub(super) orders: mpsc::Receiver<Order>,
}

impl Dial {
    pub(super) async fn run(mut self) -> SessionEnd {
        let addresses = std::mem::take(&mut self.addresses);
        let first = addresses.first().copied();
        let attempts = OverTcp { id: self.id, first, reports: &self.common.reports };
        let racing = timeout(self.common.times.connect, race(addresses, attempts));
        let connected = tokio::select! {
            // Before it is connected, a dial is only ever called off.
            _ = self.orders.recv() => return SessionEnd::ABORTED,
            connected = racing => connected,
        };
        match connected {
            Ok(Ok((stream, address))) => self.introduce(stream, address).await,
            Err(_) => SessionEnd::Broken(SessionError::Io(io::ErrorKind::TimedOut)),
            Ok(Err(error)) => SessionEnd::Broken(SessionError::Io(error.kind())),
        }
    }

    async fn introduce(self, stream: TcpStream, remote_addr: SocketAddr) -> SessionEnd {
        let Self { id, remote, common, orders, .. } = self;
        // When the server is gone, the orders' way is closed too.
        let _ = common.reports.send((id, Report::Connected(remote_addr))).await;
        let (curve, session) = (common.curve.clone(), Arc::clone(&common.session));
        let wire = Wire::dialed(stream, curve, session, (remote, Lane(id.0)), common.counts.traffic());
        PeerTask::new(id, common, orders, wire, (remote_addr, false)).run().await
    }
}

/// Who allows attempts and makes them: a running server, or a test's script.
trait Attempts {
    type Stream: Send + 'static;

    /// Whether an address may be tried now.
    fn may_try(&mut self, address: SocketAddr) -> impl Future<Output = bool> + Send;

    /// One attempt; ends when it is dropped.
    fn connect(&self, address: SocketAddr)
    -> impl Future<Output = io::Result<Self::Stream>> + Send + 'static;
}

/// Attempts over TCP that the server allows; the first address it has allowed already.
struct OverTcp<'a> {
    id: PeerId,
    first: Option<SocketAddr>,
    reports: &'a mpsc::Sender<(PeerId, Report)>,
}

impl Attempts for OverTcp<'_> {
    type Stream = TcpStream;

    async fn may_try(&mut self, address: SocketAddr) -> bool {
        if self.first.take() == Some(address) {
            return true;
        }
        let (answer, answered) = oneshot::channel();
        // When the server is gone, nothing may be tried.
        let _ = self.reports.send((self.id, Report::Trying(address, answer))).await;
        answered.await.unwrap_or(false)
    }

    fn connect(&self, address: SocketAddr) -> impl Future<Output = io::Result<TcpStream>> + Send + 'static {
        TcpStream::connect(address)
    }
}

/// Carries a race out: who connects first wins, the others are dropped.
async fn race<A: Attempts>(
    addresses: Vec<SocketAddr>,
    mut attempts: A,
) -> io::Result<(A::Stream, SocketAddr)> {
    let mut race = Race::new(now().instant, addresses);
    let mut running = JoinSet::new();
    let mut failure = io::Error::from(io::ErrorKind::AddrNotAvailable);
    loop {
        while let Some(address) = race.start_due(now().instant) {
            if attempts.may_try(address).await {
                let attempt = attempts.connect(address);
                running.spawn(async move { (address, attempt.await) });
            } else {
                race.handle_failed(now().instant);
            }
        }
        if race.is_lost() {
            return Err(failure);
        }
        tokio::select! {
            Some(joined) = running.join_next() => match joined {
                Ok((address, Ok(stream))) => return Ok((stream, address)),
                Ok((_, Err(error))) => {
                    failure = error;
                    race.handle_failed(now().instant);
                }
                Err(_) => race.handle_failed(now().instant),
            },
            () = sleep_until_some(race.next_start().map(Instant::from_std)) => {}
        }
    }
}
