//! Names to addresses, and addresses to connections: the effects of a dial, tried one address after the other. Whom to
//! dial, when, and which addresses are allowed is decided before (`dialer`, `server`); once connected it becomes a
//! `peer_task.rs`.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use identity::{PublicKey, curve::Lane};
use tokio::{
    net::{TcpStream, lookup_host},
    sync::mpsc,
    time::timeout,
};

use super::{
    peer_task::{Common, Order, PeerTask, Report},
    wire::Wire,
};
use crate::{SessionEnd, SessionError, peer::PeerId, server_config::MAX_DIAL_ADDRESSES};

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
        let connected = tokio::select! {
            // Before it is connected, a dial is only ever called off.
            _ = self.orders.recv() => return SessionEnd::ABORTED,
            connected = connect(&self.addresses, self.common.times.connect) => connected,
        };
        match connected {
            Ok((stream, address)) => self.introduce(stream, address).await,
            Err(error) => SessionEnd::Broken(SessionError::Io(error.kind())),
        }
    }

    async fn introduce(self, stream: TcpStream, remote_addr: SocketAddr) -> SessionEnd {
        let Self { id, remote, common, orders, .. } = self;
        // When the server is gone, the orders' way is closed too.
        let _ = common.reports.send((id, Report::Connected)).await;
        let (curve, session) = (common.curve.clone(), Arc::clone(&common.session));
        let wire = Wire::dialed(stream, curve, session, (remote, Lane(id.0)), common.counts.traffic());
        PeerTask::new(id, common, orders, wire, (remote_addr, false)).run().await
    }
}

/// One address after the other, all within `limit`.
async fn connect(addresses: &[SocketAddr], limit: Duration) -> io::Result<(TcpStream, SocketAddr)> {
    let attempts = async {
        let mut failure = io::Error::from(io::ErrorKind::AddrNotAvailable);
        for address in addresses {
            match TcpStream::connect(address).await {
                Ok(stream) => return Ok((stream, *address)),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    };
    timeout(limit, attempts).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}
