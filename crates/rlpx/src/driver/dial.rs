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
use crate::{Race, SessionEnd, SessionError, config::MAX_RESOLVED, peer::PeerId};

/// The addresses of a name; none when the lookup fails or takes too long.
pub(super) async fn resolve(name: String, port: u16, limit: Duration) -> Vec<SocketAddr> {
    match timeout(limit, lookup_host((name.as_str(), port))).await {
        // Filtered by the server before it takes as many as it tries.
        Ok(Ok(addresses)) => addresses.take(MAX_RESOLVED).collect(),
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
            Ok(Err(error)) if is_shortage(&error) => {
                // The server has a line for each dial that fails, which does not name what is missing.
                tracing::trace!(%error, "this system has nothing to dial with");
                SessionEnd::Broken(SessionError::Exhausted)
            }
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

/// What connect(2) and socket(2) say for want of something that is this system's: no file handle left for the process, or
/// for all of them, and no memory for the socket.
#[cfg(any(target_os = "linux", target_os = "android"))]
const SHORTAGES: [i32; 3] = [24, 23, 105];
/// The same on the BSDs and macOS.
#[cfg(all(unix, not(any(target_os = "linux", target_os = "android"))))]
const SHORTAGES: [i32; 3] = [24, 23, 55];
/// The same of Winsock: WSAEMFILE, WSAENOBUFS.
#[cfg(windows)]
const SHORTAGES: [i32; 2] = [10_024, 10_055];
#[cfg(not(any(unix, windows)))]
const SHORTAGES: [i32; 0] = [];

/// Whether a connection failed for want of something that is this system's and not the node's. No port is left when the
/// address that is not available is our own.
fn is_shortage(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::AddrNotAvailable | io::ErrorKind::OutOfMemory)
        || error.raw_os_error().is_some_and(|code| SHORTAGES.contains(&code))
}

/// Carries a race out: who connects first wins, the others are dropped.
async fn race<A: Attempts>(
    addresses: Vec<SocketAddr>,
    mut attempts: A,
) -> io::Result<(A::Stream, SocketAddr)> {
    let mut race = Race::new(now().instant, addresses);
    let mut running = JoinSet::new();
    let mut failure: Option<io::Error> = None;
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
            // None may be tried: called off, as it were.
            return Err(failure.unwrap_or(io::ErrorKind::ConnectionAborted.into()));
        }
        tokio::select! {
            Some(joined) = running.join_next() => match joined {
                Ok((address, Ok(stream))) => return Ok((stream, address)),
                Ok((_, Err(error))) => {
                    // One that got as far as the network says more than one that did not.
                    failure = failure.filter(|known| is_shortage(&error) && !is_shortage(known)).or(Some(error));
                    race.handle_failed(now().instant);
                }
                Err(_) => race.handle_failed(now().instant),
            },
            () = sleep_until_some(race.next_start().map(Instant::from_std)) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Attempts that end as the script says, in the order in which they are made; beyond it none may be made.
    struct Scripted(std::collections::VecDeque<io::Error>);

    impl Attempts for Scripted {
        type Stream = ();

        async fn may_try(&mut self, _: SocketAddr) -> bool {
            !self.0.is_empty()
        }

        fn connect(&self, address: SocketAddr) -> impl Future<Output = io::Result<()>> + Send + 'static {
            let error = self.0.get(usize::from(address.port())).map(copy);
            async move { Err(error.unwrap_or(io::ErrorKind::Other.into())) }
        }
    }

    fn copy(error: &io::Error) -> io::Error {
        error.raw_os_error().map_or(error.kind().into(), io::Error::from_raw_os_error)
    }

    async fn outcome(errors: Vec<io::Error>) -> io::Error {
        let addresses = (0..errors.len().max(1)).map(|port| SocketAddr::from(([127, 0, 0, 1], port as u16)));
        race(addresses.collect(), Scripted(errors.into())).await.map(|_| ()).expect_err("every attempt fails")
    }

    #[tokio::test]
    async fn o04_a_dial_failed_for_want_of_something_here_only_if_no_attempt_got_as_far_as_the_network() {
        let starved = || io::Error::from_raw_os_error(SHORTAGES[0]);
        let refused = || io::Error::from(io::ErrorKind::ConnectionRefused);
        let no_port = || io::Error::from(io::ErrorKind::AddrNotAvailable);
        let rows = [
            (vec![starved()], true),
            (vec![no_port()], true),
            (vec![refused()], false),
            (vec![refused(), starved()], false),
            (vec![starved(), refused()], false),
            (vec![starved(), no_port(), starved()], true),
            (vec![starved(), refused(), no_port()], false),
            // None may be made: the bans of this server are no shortage.
            (vec![], false),
        ];
        for (number, (errors, expected)) in rows.into_iter().enumerate() {
            let error = outcome(errors).await;
            assert_eq!(is_shortage(&error), expected, "row {number}: {error}");
        }
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn o04_the_system_itself_says_that_no_port_is_left_for_a_node_until_one_is() {
        use tokio::net::{TcpListener, TcpSocket};

        /// Attempts from one port, for want of another.
        struct FromPort(SocketAddr);

        impl Attempts for FromPort {
            type Stream = TcpStream;

            async fn may_try(&mut self, _: SocketAddr) -> bool {
                true
            }

            fn connect(
                &self,
                address: SocketAddr,
            ) -> impl Future<Output = io::Result<TcpStream>> + Send + 'static {
                let socket = TcpSocket::new_v4().and_then(|socket| {
                    socket.set_reuseaddr(true)?;
                    socket.bind(self.0)?;
                    Ok(socket)
                });
                async move { socket?.connect(address).await }
            }
        }

        let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
        let node = TcpListener::bind(loopback).await.unwrap();
        let dial = |from| race(vec![node.local_addr().unwrap()], FromPort(from));
        let (stream, _) = dial(loopback).await.unwrap();
        let port = stream.local_addr().unwrap();
        let error = dial(port).await.unwrap_err();
        assert!(is_shortage(&error), "{error}");
        // Closed by a reset, it leaves its port at once.
        stream.set_zero_linger().unwrap();
        drop(stream);
        dial(port).await.unwrap();
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn o04_errors_of_the_network_are_no_shortage() {
        // EMFILE, ENFILE, ENOBUFS, ENOMEM, EADDRNOTAVAIL.
        for code in [24, 23, 105, 12, 99] {
            assert!(is_shortage(&io::Error::from_raw_os_error(code)), "{code}");
        }
        // ECONNREFUSED, EHOSTUNREACH, ENETUNREACH, ETIMEDOUT, ECONNRESET, EACCES, EADDRINUSE.
        for code in [111, 113, 101, 110, 104, 13, 98] {
            assert!(!is_shortage(&io::Error::from_raw_os_error(code)), "{code}");
        }
    }
}
