//! The loop that accepts connections. A failing `accept` (too many open files, a connection that is gone already) is
//! tried again after a moment, so that it neither spins nor ends. It turns nobody away: that is `server`'s.

use std::{io, net::SocketAddr, time::Duration};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::mpsc,
    time::{Instant, sleep_until},
};

use super::now;

/// Connections that wait for the server; further ones wait in the system's backlog.
pub(super) const MAX_ACCEPTED: usize = 16;

/// The pause after a first failure.
const FIRST_PAUSE: Duration = Duration::from_millis(5);

/// The longest pause: what frees up is taken within a second.
const MAX_PAUSE: Duration = Duration::from_millis(500);

/// Accepts until the server is gone.
pub(super) async fn run(listener: TcpListener, accepted: mpsc::Sender<(TcpStream, SocketAddr)>) {
    let mut pause = FIRST_PAUSE;
    loop {
        match listener.accept().await {
            Ok(connection) => {
                pause = FIRST_PAUSE;
                if accepted.send(connection).await.is_err() {
                    return;
                }
            }
            Err(error) => {
                tracing::debug!(%error, "accept failed");
                if !is_the_peers(&error) {
                    rest(pause).await;
                    pause = pause.saturating_mul(2).min(MAX_PAUSE);
                }
            }
        }
    }
}

/// Whether the failure is of one connection and says nothing of the next.
fn is_the_peers(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset)
}

async fn rest(pause: Duration) {
    if let Some(end) = now().instant.checked_add(pause) {
        sleep_until(Instant::from_std(end)).await;
    }
}
