//! The machine on a socket, under tokio: a handle that may be cloned, and the task behind it.
//! No decision of the protocol is made here, and no socket is bound: the owner gives one. `task.rs` reads and writes,
//! `waiting.rs` brings answers to those who asked, `stream.rs` is the search for nodes to connect to.

mod stream;
mod task;
mod waiting;

use std::{
    fmt,
    future::pending,
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use identity::{Counters, CurveHandle, Endpoint, Enode, Enr, Host, PublicKey};
use rand::{Rng, rand_core::UnwrapErr, rngs::SysRng};
use tokio::{
    net::UdpSocket,
    sync::{mpsc, oneshot, watch},
};

pub use stream::CandidateStream;
use task::{Command, Task};

use crate::{Config, Discovery, NodeEntry, PongInfo, Reject, RequestError, TableSnapshot};

/// Commands that wait for the task; one more makes its caller wait.
const MAX_COMMANDS: usize = 256;

/// A running node of discovery. Cheap to clone; the node ends when the last clone is dropped, or by
/// [`Discv4::shutdown`].
#[derive(Clone)]
pub struct Discv4 {
    shared: Arc<Shared>,
    local: watch::Receiver<Enr>,
    key_in_use: watch::Receiver<Option<SocketAddr>>,
    commands: mpsc::Sender<Command>,
}

struct Shared {
    local_addr: SocketAddr,
    counts: Counts,
    stream_count: AtomicUsize,
}

/// What a node has counted since it began.
#[derive(Debug, Default)]
pub struct Counts {
    /// What was dropped and why.
    pub rejects: Counters<Reject>,
    datagrams_in: AtomicU64,
    bytes_in: AtomicU64,
    datagrams_out: AtomicU64,
    bytes_out: AtomicU64,
    io_errors: AtomicU64,
}

impl Counts {
    /// Datagrams received, good or bad.
    pub fn datagrams_in(&self) -> u64 {
        self.datagrams_in.load(Ordering::Relaxed)
    }

    /// Their bytes, without IP and UDP headers; of a datagram over 1,281 bytes so many.
    pub fn bytes_in(&self) -> u64 {
        self.bytes_in.load(Ordering::Relaxed)
    }

    /// Datagrams sent.
    pub fn datagrams_out(&self) -> u64 {
        self.datagrams_out.load(Ordering::Relaxed)
    }

    /// Their bytes, without IP and UDP headers.
    pub fn bytes_out(&self) -> u64 {
        self.bytes_out.load(Ordering::Relaxed)
    }

    /// Errors of the socket: mostly that nobody listens where a datagram went.
    pub fn io_errors(&self) -> u64 {
        self.io_errors.load(Ordering::Relaxed)
    }

    fn received(&self, len: usize) {
        self.datagrams_in.fetch_add(1, Ordering::Relaxed);
        self.bytes_in.fetch_add(len as u64, Ordering::Relaxed);
    }

    fn sent(&self, len: usize) {
        self.datagrams_out.fetch_add(1, Ordering::Relaxed);
        self.bytes_out.fetch_add(len as u64, Ordering::Relaxed);
    }

    fn failed(&self) {
        self.io_errors.fetch_add(1, Ordering::Relaxed);
    }
}

/// Discovery has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("discovery has ended")]
pub struct Closed;

impl Discv4 {
    /// Starts a node on a bound socket. `local` is our record, signed with the key of `curve`.
    ///
    /// # Errors
    /// The socket's, when it has no address; `InvalidInput` when the record has another key; another kind when no
    /// tokio runtime is entered.
    pub fn start(socket: UdpSocket, config: Config, local: Enr, curve: CurveHandle) -> io::Result<Self> {
        if local.public_key() != curve.node_key().public_key() {
            let error = "the record is not signed with the node key";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, error));
        }
        let runtime = tokio::runtime::Handle::try_current().map_err(io::Error::other)?;
        let local_addr = socket.local_addr()?;
        let machine = Discovery::new(config, local.clone(), UnwrapErr(SysRng).next_u64());
        let counts = Counts { rejects: machine.rejects(), ..Counts::default() };
        let shared = Arc::new(Shared { local_addr, counts, stream_count: AtomicUsize::new(0) });
        let (commands, command_queue) = mpsc::channel(MAX_COMMANDS);
        let (local_sender, local) = watch::channel(local);
        let task = Task::new(socket, machine, curve, Arc::clone(&shared), local_sender, command_queue);
        let key_in_use = task.key_in_use();
        runtime.spawn(task.run());
        Ok(Self { shared, local, key_in_use, commands })
    }

    /// Where the socket is bound.
    pub fn local_addr(&self) -> SocketAddr {
        self.shared.local_addr
    }

    /// Our own record.
    pub fn local_enr(&self) -> Enr {
        self.local.borrow().clone()
    }

    /// Gives us a new record; the owner has signed it with the same key (one of another key is ignored).
    ///
    /// # Errors
    /// [`Closed`].
    pub async fn set_local_enr(&self, enr: Enr) -> Result<(), Closed> {
        self.ask(|done| Command::SetLocal(enr, done)).await
    }

    /// Pings a node, once.
    ///
    /// # Errors
    /// `Timeout` after 500 ms; `Busy`, `NoEndpoint`, `NetRestrict`, `Unresolved` or `Closed` at once.
    pub async fn ping(&self, target: &Enode) -> Result<PongInfo, RequestError> {
        let (key, endpoint) = resolve(target).await?;
        self.ask(|answer| Command::Ping(key, endpoint, answer)).await.unwrap_or(Err(RequestError::Closed))
    }

    /// Asks a node for its record, after the endpoint proof where that is missing.
    ///
    /// # Errors
    /// As [`Discv4::ping`], `Timeout` after 2 s at most, and `BadRecord` when the record is not the node's.
    pub async fn request_enr(&self, target: &Enode) -> Result<Enr, RequestError> {
        let (key, endpoint) = resolve(target).await?;
        self.ask(|answer| Command::RequestEnr(key, endpoint, answer))
            .await
            .unwrap_or(Err(RequestError::Closed))
    }

    /// Searches the nodes nearest to `target`: at most 16, all of which answered, the nearest first. Takes 10 s at most.
    ///
    /// # Errors
    /// [`Closed`].
    pub async fn lookup(&self, target: PublicKey) -> Result<Vec<NodeEntry>, Closed> {
        self.ask(|answer| Command::Lookup(target, answer)).await
    }

    /// Looks for nodes anew, as after a change of network: now, or 10 s after the last time.
    ///
    /// # Errors
    /// [`Closed`].
    pub async fn refresh(&self) -> Result<(), Closed> {
        self.ask(Command::Refresh).await
    }

    /// The table as it is.
    ///
    /// # Errors
    /// [`Closed`].
    pub async fn table(&self) -> Result<TableSnapshot, Closed> {
        self.ask(Command::Table).await
    }

    /// What was counted.
    pub fn counters(&self) -> &Counts {
        &self.shared.counts
    }

    /// Waits until another process is seen that signs with our key, and says where. Never comes when discovery has ended.
    pub async fn key_in_use(&self) -> SocketAddr {
        let mut seen = self.key_in_use.clone();
        let seen = seen.wait_for(Option::is_some).await.ok().and_then(|from| *from);
        match seen {
            Some(from) => from,
            None => pending().await,
        }
    }

    /// Nodes to connect to: the table's at once, then those of random lookups, at least 1 s apart and only while the
    /// stream is polled. Each comes with its record, if it gave one; a node may come again. The stream ends with the
    /// node; it does not keep the node alive. At most 64 streams run at once; one more is empty.
    pub fn candidates(&self) -> CandidateStream {
        CandidateStream::new(Arc::clone(&self.shared), self.commands.downgrade())
    }

    /// Ends the node and waits until its socket is closed.
    pub async fn shutdown(&self) {
        // An error says that it has ended already.
        let _ = self.ask(Command::Shutdown).await;
        self.commands.closed().await;
    }

    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Result<T, Closed> {
        let (sender, answer) = oneshot::channel();
        self.commands.send(command(sender)).await.map_err(|_| Closed)?;
        answer.await.map_err(|_| Closed)
    }
}

/// Whom a URL names, and where that is now.
async fn resolve(target: &Enode) -> Result<(PublicKey, Endpoint), RequestError> {
    let ip = match &target.host {
        Host::Ip(ip) => *ip,
        Host::Dns(name) => {
            let mut addrs = tokio::net::lookup_host((name.as_str(), target.udp))
                .await
                .map_err(|_| RequestError::Unresolved)?;
            addrs.next().ok_or(RequestError::Unresolved)?.ip()
        }
    };
    Ok((target.public_key, Endpoint { ip, udp: target.udp, tcp: target.tcp }))
}

impl fmt::Debug for Discv4 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Discv4({})", self.shared.local_addr)
    }
}
