//! The loop that accepts connections. An `accept` that fails for want of something (file handles, memory) is counted and
//! tried again after a moment, so that it neither spins nor ends; a failure of the one connection is passed over. It
//! turns nobody away: that is `server`'s.

use std::{
    future::Future,
    io,
    net::SocketAddr,
    time::{Duration, Instant},
};

use identity::Counters;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::JoinSet,
};

use super::now;
use crate::{Refusal, config::BACKLOG, limits::QueueLimits};

/// The pause after a first failure.
const FIRST_PAUSE: Duration = Duration::from_millis(5);

/// The longest pause: what frees up is taken within a second.
const MAX_PAUSE: Duration = Duration::from_millis(500);

/// Between two warnings: where each connection takes the last handle, every other `accept` fails.
const WARNING_INTERVAL: Duration = Duration::from_secs(60);

/// Failures of single connections in a row that are passed over without a pause: a full backlog of them, and no more.
const MAX_PASSED_OVER: u32 = 128;

/// Listens on a TCP address. On an IPv6 address for IPv6 alone (`IPV6_V6ONLY`), so that a node may listen on both families
/// at one port and each connection has the family it came by.
///
/// # Errors
/// What the system says: the port is taken, the address is not this machine's, the family is switched off.
pub fn bind_listener(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // As tokio does: connections of an earlier run that are still ending do not hold the port.
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    TcpListener::from_std(socket.into())
}

/// Where connections come from: a socket, or a test's script.
pub(super) trait Accept {
    type Connection;

    fn accept(&mut self) -> impl Future<Output = io::Result<Self::Connection>> + Send;
}

impl Accept for TcpListener {
    type Connection = (TcpStream, SocketAddr);

    fn accept(&mut self) -> impl Future<Output = io::Result<Self::Connection>> + Send {
        TcpListener::accept(self)
    }
}

/// Accepts from all of `listeners`. What is accepted waits for the server in one queue.
pub(super) fn accept_from(
    listeners: Vec<TcpListener>,
    queues: &QueueLimits,
    refusals: &Counters<Refusal>,
    tasks: &mut JoinSet<()>,
) -> mpsc::Receiver<(TcpStream, SocketAddr)> {
    let (sender, accepted) = mpsc::channel(queues.accepted);
    for listener in listeners {
        tasks.spawn(run(listener, sender.clone(), refusals.clone()));
    }
    accepted
}

/// Accepts until the server is gone.
async fn run<A: Accept>(mut listener: A, accepted: mpsc::Sender<A::Connection>, refusals: Counters<Refusal>) {
    let (mut pause, mut failures) = (FIRST_PAUSE, 0);
    let mut warned_at: Option<Instant> = None;
    loop {
        match listener.accept().await {
            Ok(connection) => {
                (pause, failures) = (FIRST_PAUSE, 0);
                if accepted.send(connection).await.is_err() {
                    return;
                }
            }
            Err(error) if is_of_one(&error) && failures < MAX_PASSED_OVER => failures += 1,
            Err(error) => {
                refusals.add(Refusal::AcceptFailed);
                let now = now().instant;
                if warned_at.is_none_or(|at| now.saturating_duration_since(at) >= WARNING_INTERVAL) {
                    warned_at = Some(now);
                    tracing::warn!(%error, "no connection can be accepted; trying again");
                }
                rest(pause).await;
                pause = pause.saturating_mul(2).min(MAX_PAUSE);
            }
        }
    }
}

/// Whether the failure is of one connection and says nothing of the next: it is gone already, or the network reports
/// through `accept` what happened to it (accept(2), "Error handling").
fn is_of_one(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
            | io::ErrorKind::TimedOut
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::NetworkDown
    )
}

#[expect(
    clippy::disallowed_methods,
    reason = "no machine has a deadline for this: it is the loop's own pace"
)]
async fn rest(pause: Duration) {
    tokio::time::sleep(pause).await;
}

#[cfg(test)]
mod tests {
    use std::{
        future::pending,
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        },
    };

    use tokio::{task::yield_now, time::timeout};

    use super::*;

    /// errno of accept(2) on Linux.
    const EMFILE: i32 = 24;
    const ENFILE: i32 = 23;
    const ENOMEM: i32 = 12;
    const ECONNABORTED: i32 = 103;

    /// Fails with `errors` in turn, over and over, until `until`; then each try is a connection.
    struct Failing {
        errors: Vec<i32>,
        until: tokio::time::Instant,
        tries: Arc<AtomicUsize>,
    }

    #[expect(clippy::disallowed_methods, reason = "a test asks the paused clock of its runtime")]
    fn clock() -> tokio::time::Instant {
        tokio::time::Instant::now()
    }

    impl Accept for Failing {
        type Connection = tokio::time::Instant;

        async fn accept(&mut self) -> io::Result<tokio::time::Instant> {
            let tried = self.tries.fetch_add(1, Ordering::Relaxed);
            match self.errors.get(tried % self.errors.len().max(1)) {
                Some(error) if clock() < self.until => Err(io::Error::from_raw_os_error(*error)),
                _ => Ok(clock()),
            }
        }
    }

    /// Tries until the first connection, how long after the trouble it came, and failures counted.
    async fn outlive(errors: &[i32], trouble: Duration) -> (usize, Duration, u64) {
        let (tries, refusals) = (Arc::new(AtomicUsize::new(0)), Counters::default());
        let until = clock() + trouble;
        let listener = Failing { errors: errors.to_vec(), until, tries: Arc::clone(&tries) };
        let (sender, mut accepted) = mpsc::channel(1);
        tokio::select! {
            () = run(listener, sender, refusals.clone()) => unreachable!("the receiver is there"),
            connection = accepted.recv() => {
                let late = connection.unwrap().saturating_duration_since(until);
                (tries.load(Ordering::Relaxed), late, refusals.count(Refusal::AcceptFailed))
            }
        }
    }

    #[tokio::test]
    async fn p11_as_many_accepted_connections_wait_as_the_owner_says_and_none_is_lost() {
        const CALLERS: usize = 9;
        for limit in [1, 3] {
            let queues = QueueLimits { accepted: limit, ..QueueLimits::default() };
            let mut listeners = Vec::new();
            let mut callers = Vec::new();
            for _ in 0..2 {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                for _ in 0..CALLERS {
                    callers.push(TcpStream::connect(listener.local_addr().unwrap()).await.unwrap());
                }
                listeners.push(listener);
            }
            let mut tasks = JoinSet::new();
            let mut accepted = accept_from(listeners, &queues, &Counters::default(), &mut tasks);
            let full = async {
                while accepted.capacity() > 0 {
                    yield_now().await;
                }
            };
            timeout(Duration::from_secs(20), full).await.expect("there are more than may wait");
            assert_eq!(accepted.len(), limit);
            for _ in 0..callers.len() {
                timeout(Duration::from_secs(20), accepted.recv()).await.expect("its turn comes").unwrap();
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn s11_without_file_handles_it_tries_twice_a_second_and_recovers_within_a_second() {
        for errno in [EMFILE, ENFILE, ENOMEM] {
            let (tries, late, counted) = outlive(&[errno], Duration::from_secs(60)).await;
            assert!(tries < 140, "{tries} tries in a minute");
            assert!(late <= Duration::from_secs(1), "{late:?}");
            // One failure a try, but for the connections at the end.
            assert!(counted + 3 > tries as u64, "{counted} of {tries}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn s11_a_failure_of_one_connection_costs_the_next_no_time() {
        let (tries, refusals) = (Arc::new(AtomicUsize::new(0)), Counters::default());
        struct Aborting(Arc<AtomicUsize>);
        impl Accept for Aborting {
            type Connection = ();
            async fn accept(&mut self) -> io::Result<()> {
                match self.0.fetch_add(1, Ordering::Relaxed) {
                    0..100 => Err(io::Error::from_raw_os_error(ECONNABORTED)),
                    100 => Ok(()),
                    _ => pending().await,
                }
            }
        }
        let (sender, mut accepted) = mpsc::channel(1);
        let (begin, listening) = (clock(), run(Aborting(tries), sender, refusals.clone()));
        tokio::select! {
            () = listening => unreachable!("the receiver is there"),
            connection = accepted.recv() => assert_eq!(connection, Some(())),
        }
        assert_eq!((clock() - begin, refusals.count(Refusal::AcceptFailed)), (Duration::ZERO, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn s11_connections_that_all_fail_do_not_spin_it_either() {
        let (tries, late, _) = outlive(&[ECONNABORTED], Duration::from_secs(60)).await;
        assert!(tries < 300 && late <= Duration::from_secs(1), "{tries} tries, {late:?} late");
    }

    #[tokio::test(start_paused = true)]
    async fn it_ends_when_the_server_is_gone() {
        let until = clock();
        let listener = Failing { errors: vec![], until, tries: Arc::default() };
        let (sender, accepted) = mpsc::channel(1);
        drop(accepted);
        let listening = run(listener, sender, Counters::default());
        assert_eq!(timeout(Duration::from_secs(1), listening).await, Ok(()));
    }
}
