//! The task that owns the socket and the machine: wait, read, hand in, drain, send. It never waits for anything but
//! its next wake: what the socket does not take at once stays in a bounded outbox.

use std::{
    collections::VecDeque,
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use identity::{
    CurveHandle, Endpoint, Enr, Now, PublicKey,
    curve::{CurveResult, Ticket},
};
use tokio::{
    net::UdpSocket,
    sync::{mpsc, oneshot, watch},
    time::{Instant, sleep_until},
};

use super::{
    Shared,
    waiting::{Waiting, reply},
};
use crate::{
    Discovery, NodeEntry, Output, PongInfo, Reject, RequestError, TableSnapshot, config::MAX_JOBS,
    wire::MAX_DATAGRAM_LEN,
};

/// Datagrams, and curve results, handed in on one wake; the rest comes with the next.
const MAX_READS_PER_WAKE: usize = 64;

/// Datagrams that wait for the socket; one more is dropped and counted.
const MAX_OUTBOX: usize = 1024;

/// How long reading pauses when the socket gives nothing but errors.
const ERROR_PAUSE: Duration = Duration::from_secs(1);

/// What a handle or a stream wants.
pub(super) enum Command {
    Ping(PublicKey, Endpoint, oneshot::Sender<Result<PongInfo, RequestError>>),
    RequestEnr(PublicKey, Endpoint, oneshot::Sender<Result<Enr, RequestError>>),
    Lookup(PublicKey, oneshot::Sender<Vec<NodeEntry>>),
    Table(oneshot::Sender<TableSnapshot>),
    SetLocal(Enr, oneshot::Sender<()>),
    Refresh(oneshot::Sender<()>),
    TableCandidates(mpsc::Sender<NodeEntry>),
    MoreCandidates(mpsc::Sender<NodeEntry>),
    Shutdown(oneshot::Sender<()>),
}

type JobResult = (Ticket, CurveResult);

pub(super) struct Task {
    socket: UdpSocket,
    machine: Discovery,
    curve: CurveHandle,
    shared: Arc<Shared>,
    local: watch::Sender<Enr>,
    commands: mpsc::Receiver<Command>,
    results: (mpsc::Sender<JobResult>, mpsc::Receiver<JobResult>),
    waiting: Waiting,
    outbox: VecDeque<(SocketAddr, Bytes)>,
    paused_until: Option<Instant>,
    buffer: Box<[u8]>,
}

/// Why the task woke.
enum Wake {
    Command(Option<Command>),
    Result(Option<JobResult>),
    Io,
}

impl Task {
    pub(super) fn new(
        socket: UdpSocket,
        machine: Discovery,
        curve: CurveHandle,
        shared: Arc<Shared>,
        local: watch::Sender<Enr>,
        commands: mpsc::Receiver<Command>,
    ) -> Self {
        Self {
            socket,
            machine,
            curve,
            shared,
            local,
            commands,
            // The machine has no more jobs out than this, so a result always finds room.
            results: mpsc::channel(MAX_JOBS),
            waiting: Waiting::default(),
            outbox: VecDeque::new(),
            paused_until: None,
            // One byte more than a datagram may have, so that a longer one is seen to be.
            buffer: vec![0; MAX_DATAGRAM_LEN + 1].into(),
        }
    }

    /// Where another process with our key is seen.
    pub(super) fn key_in_use(&self) -> watch::Receiver<Option<SocketAddr>> {
        self.waiting.key_in_use.subscribe()
    }

    pub(super) async fn run(mut self) {
        self.machine.handle_timeout(read_clocks());
        self.drain();
        let done = loop {
            let wake = self.wake().await;
            let now = read_clocks();
            match wake {
                Wake::Command(None) => break None,
                Wake::Command(Some(Command::Shutdown(done))) => break Some(done),
                Wake::Command(Some(command)) => self.command(now, command),
                Wake::Result(Some((ticket, result))) => self.machine.handle_curve(now, ticket, result),
                Wake::Result(None) | Wake::Io => {}
            }
            self.drain();
            self.take_results(now);
            self.read(now);
            if self.machine.next_timeout().is_some_and(|at| at <= now.instant) {
                self.machine.handle_timeout(now);
                self.drain();
            }
            self.flush();
        };
        drop(self);
        if let Some(done) = done {
            // Who asked may have gone.
            let _ = done.send(());
        }
    }

    async fn wake(&mut self) -> Wake {
        let timeout = self.machine.next_timeout().map(Instant::from_std);
        let paused_until = self.paused_until;
        let until = timeout.into_iter().chain(paused_until).min();
        tokio::select! {
            command = self.commands.recv() => Wake::Command(command),
            result = self.results.1.recv() => Wake::Result(result),
            _ = self.socket.readable(), if paused_until.is_none() => Wake::Io,
            _ = self.socket.writable(), if !self.outbox.is_empty() => Wake::Io,
            () = async { if let Some(until) = until { sleep_until(until).await } }, if until.is_some() => Wake::Io,
        }
    }

    fn take_results(&mut self, now: Now) {
        for _ in 0..MAX_READS_PER_WAKE {
            let Ok((ticket, result)) = self.results.1.try_recv() else { return };
            self.machine.handle_curve(now, ticket, result);
            self.drain();
        }
    }

    /// Reads what the socket has. Its errors (nobody listens where a datagram went) end nothing.
    fn read(&mut self, now: Now) {
        if self.paused_until.is_some_and(|until| until.into_std() > now.instant) {
            return;
        }
        self.paused_until = None;
        for _ in 0..MAX_READS_PER_WAKE {
            match self.socket.try_recv_from(&mut self.buffer) {
                Ok((len, from)) => {
                    self.shared.counts.received(len);
                    let datagram = self.buffer.get(..len).unwrap_or_default();
                    self.machine.handle_datagram(now, from, datagram);
                    self.drain();
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) => {
                    self.shared.counts.failed();
                    tracing::debug!(%error, "the discovery socket failed to read");
                    if error.kind() != io::ErrorKind::ConnectionRefused {
                        self.paused_until = now.instant.checked_add(ERROR_PAUSE).map(Instant::from_std);
                        return;
                    }
                }
            }
        }
    }

    fn drain(&mut self) {
        while let Some(output) = self.machine.poll_output() {
            match output {
                Output::Send { to, datagram } if self.outbox.len() < MAX_OUTBOX => {
                    self.outbox.push_back((to, datagram));
                }
                Output::Send { .. } => self.shared.counts.rejects.add(Reject::SendQueueFull),
                Output::Curve(job) => {
                    let results = self.results.0.clone();
                    self.curve.submit(job, move |ticket, result| {
                        // Fails only when the task has ended.
                        let _ = results.try_send((ticket, result));
                    });
                }
                Output::Event(event) => self.waiting.tell(event),
            }
        }
    }

    /// Sends what the socket takes.
    fn flush(&mut self) {
        while let Some((to, datagram)) = self.outbox.front() {
            match self.socket.try_send_to(datagram, self.for_socket(*to)) {
                Ok(len) => self.shared.counts.sent(len),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) => {
                    self.shared.counts.failed();
                    tracing::debug!(%error, %to, "the discovery socket failed to send");
                }
            }
            self.outbox.pop_front();
        }
    }

    /// An IPv4 address as a socket for both families takes it.
    fn for_socket(&self, to: SocketAddr) -> SocketAddr {
        match to.ip() {
            IpAddr::V4(ip) if self.shared.local_addr.is_ipv6() => {
                SocketAddr::from((ip.to_ipv6_mapped(), to.port()))
            }
            IpAddr::V4(_) | IpAddr::V6(_) => to,
        }
    }

    fn command(&mut self, now: Now, command: Command) {
        match command {
            Command::Ping(key, endpoint, answer) => {
                let id = self.machine.ping(now, key, endpoint);
                self.waiting.pings.insert(id, answer);
            }
            Command::RequestEnr(key, endpoint, answer) => {
                let id = self.machine.request_enr(now, key, endpoint);
                self.waiting.records.insert(id, answer);
            }
            Command::Lookup(target, answer) => {
                let id = self.machine.lookup(now, target);
                self.waiting.lookups.insert(id, answer);
            }
            Command::Table(answer) => reply(answer, self.machine.table()),
            Command::SetLocal(enr, done) => {
                self.machine.set_local(enr);
                self.local.send_replace(self.machine.local().clone());
                reply(done, ());
            }
            Command::Refresh(done) => {
                self.machine.refresh(now);
                reply(done, ());
            }
            Command::TableCandidates(round) => {
                let table = self.machine.table();
                for node in table.nodes().filter(|node| node.live && !node.has_newer_record()) {
                    // The round has room for a whole table; a reader that has gone needs none.
                    let _ = round.try_send(node.clone());
                }
            }
            Command::MoreCandidates(round) => {
                self.waiting.streams.push(round);
                self.machine.want_candidates(now);
            }
            // Taken by the loop.
            Command::Shutdown(done) => reply(done, ()),
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the driver reads the clocks, once a wake")]
fn read_clocks() -> Now {
    Now::system()
}
