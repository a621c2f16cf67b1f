//! The task that owns the machine: takes what came, drains what is to be done, does it, sleeps until the next timeout.
//! No decision about the protocol is made here.

use std::{
    collections::BTreeMap,
    future::poll_fn,
    sync::Arc,
    task::{Context, Poll},
};

use identity::{AddressPolicy, Now};
use rlpx::{Details, DisconnectReason, Link, PeerId, SendError, SharedMessage};
use tokio::sync::{broadcast, mpsc, oneshot};

use super::{
    backend::Backend,
    inbox::{Inbox, Turn},
};
use crate::{
    Block, CommandId, Credit, Eth, EthEvent, EthPeerInfo, Hash, Head, Output, Position, Reply, Request,
    RequestError, TotalDifficulty, Transaction, counted_network,
};

/// Turns and commands that are taken before other tasks may run.
const WAKE_BUDGET: usize = 64;

/// Where the reply to a command goes.
pub(super) type ReplyTo = oneshot::Sender<Reply>;

/// What the owner wants done.
#[derive(Debug)]
pub(super) enum Command {
    Submit { transactions: Vec<Transaction>, announce_only: bool, reply: ReplyTo },
    Announce { hashes: Vec<Hash>, reply: ReplyTo },
    SubmitBlock { block: Box<Block>, claimed: Option<TotalDifficulty>, reply: ReplyTo },
    Request { peer: Option<PeerId>, request: Request, reply: ReplyTo },
    SetHead(Head),
    Peers(oneshot::Sender<Vec<EthPeerInfo>>),
}

pub(super) struct Task {
    pub(super) machine: Eth,
    pub(super) inbox: Arc<Inbox>,
    pub(super) backend: Arc<Backend>,
    pub(super) commands: mpsc::Receiver<Command>,
    pub(super) events: broadcast::Sender<EthEvent>,
    pub(super) address_policy: AddressPolicy,
    pub(super) links: BTreeMap<PeerId, Link>,
    /// Peers for whose last message memory was short, and how long it was.
    pub(super) held: BTreeMap<PeerId, usize>,
    pub(super) replies: BTreeMap<CommandId, ReplyTo>,
}

impl Task {
    /// Runs until the last handle is gone.
    pub(super) async fn run(mut self) {
        while let Some(command) = self.wake().await {
            self.work(command);
            if self.inbox.has_turns() {
                tokio::task::yield_now().await;
            }
        }
    }

    /// Waits for something to do; with a command, if it is one. None when there is no owner any more.
    async fn wake(&mut self) -> Option<Option<Command>> {
        if self.inbox.has_turns() {
            return Some(self.commands.try_recv().ok());
        }
        let timeout = self.machine.next_timeout();
        let sleep = async {
            match timeout {
                Some(at) => tokio::time::sleep_until(at.into()).await,
                None => std::future::pending().await,
            }
        };
        let Self { links, held, commands, inbox, .. } = self;
        let has_room = |peer: &PeerId, len: usize, cx: &mut Context<'_>| {
            links.get(peer).is_none_or(|link| link.poll_room(cx, len).is_ready())
        };
        let room = poll_fn(|cx| match held.iter().any(|(peer, len)| has_room(peer, *len, cx)) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        });
        tokio::select! {
            command = commands.recv() => command.map(Some),
            () = inbox.filled() => Some(None),
            () = sleep => Some(None),
            () = room => Some(None),
        }
    }

    fn work(&mut self, command: Option<Command>) {
        let now = clocks();
        if let Some(command) = command {
            self.handle_command(now, command);
        }
        if self.machine.next_timeout().is_some_and(|at| at <= now.instant) {
            self.machine.handle_timeout(now);
            self.act(now);
        }
        while let Some((ticket, answer)) = self.inbox.next_answer() {
            self.machine.handle_backend(now, ticket, answer);
            self.act(now);
        }
        self.release_held(now);
        for _ in 0..WAKE_BUDGET {
            let Some((peer, turn)) = self.inbox.next_turn() else { return };
            self.handle_turn(now, peer, turn);
        }
    }

    /// Lets on those for whom there is memory again.
    fn release_held(&mut self, now: Now) {
        let links = &self.links;
        let has_room = |peer: &PeerId, len: usize| links.get(peer).is_none_or(|link| link.has_room(len));
        let released: Vec<PeerId> =
            self.held.iter().filter(|(peer, len)| has_room(peer, **len)).map(|(peer, _)| *peer).collect();
        for peer in released {
            self.held.remove(&peer);
            self.machine.handle_room(now, peer);
            self.act(now);
        }
    }

    fn handle_turn(&mut self, now: Now, peer: PeerId, turn: Turn) {
        if let Some(arrival) = turn.arrival {
            let network = counted_network(self.address_policy, arrival.info.remote_addr.ip());
            // What `rlpx` lets wait for one peer.
            let limits = arrival.link.limits();
            let credit = Credit { len: limits.queued_len, messages: limits.queued_messages };
            self.links.insert(peer, arrival.link);
            self.machine.handle_connected(now, peer, arrival.info.node_id, arrival.version, network, credit);
            self.act(now);
        }
        if turn.sent_messages > 0 {
            self.machine.handle_credit(now, peer, turn.sent_messages, turn.sent_len);
            self.act(now);
        }
        for message in turn.messages {
            match message {
                Ok(message) => self.machine.handle_message(now, peer, message),
                Err(error) => self.machine.handle_refused(now, peer, error),
            }
            self.act(now);
        }
        if turn.is_last {
            self.links.remove(&peer);
            self.held.remove(&peer);
            self.machine.handle_disconnected(now, peer);
            self.act(now);
        }
    }

    fn handle_command(&mut self, now: Now, command: Command) {
        let (begun, reply) = match command {
            Command::Submit { transactions, announce_only, reply } => {
                (self.machine.submit_transactions(now, transactions, announce_only), reply)
            }
            Command::Announce { hashes, reply } => (self.machine.announce_transactions(now, hashes), reply),
            Command::SubmitBlock { block, claimed, reply } => {
                (self.machine.submit_block(now, *block, claimed), reply)
            }
            Command::Request { peer, request, reply } => {
                (self.machine.request(now, peer, request, None), reply)
            }
            Command::SetHead(head) => {
                self.machine.set_head(now, head);
                return self.act(now);
            }
            Command::Peers(reply) => return drop(reply.send(self.machine.peer_infos())),
        };
        self.file(begun, reply);
        self.act(now);
    }

    fn send(&mut self, now: Now, peer: PeerId, message: SharedMessage) {
        let Some(link) = self.links.get(&peer) else { return };
        match link.try_send(message.clone()) {
            Ok(()) => {}
            // The machine keeps within the link's credit, so the memory for all peers is spent.
            Err(SendError::Full) => {
                self.held.insert(peer, message.payload().len());
                self.machine.handle_unsent(now, peer, &message);
            }
            // The peer has gone, or the message is none that any peer could be sent.
            Err(SendError::Closed | SendError::TooLarge | SendError::UnknownCode) => {
                link.disconnect(DisconnectReason::SubprotocolError);
            }
        }
    }

    /// Tells the transport what a peer says of itself, for whoever looks at its peers.
    fn describe(&self, event: &EthEvent) {
        let (peer, position) = match event {
            EthEvent::PeerReady(info) => (info.peer_id, info.position),
            EthEvent::RangeUpdated { peer, range } => (*peer, Position::Range(*range)),
            EthEvent::PeerGone { .. }
            | EthEvent::PeerRefused { .. }
            | EthEvent::TransactionsReceived { .. }
            | EthEvent::BlockImported { .. }
            | EthEvent::FarAhead { .. }
            | EthEvent::Lagged(_) => return,
        };
        if let Some(link) = self.links.get(&peer) {
            link.describe(details(position));
        }
    }

    fn file(&mut self, begun: Result<CommandId, RequestError>, reply: ReplyTo) {
        match begun {
            Ok(command) => _ = self.replies.insert(command, reply),
            Err(error) => drop(reply.send(Reply::Failed(error))),
        }
    }

    /// Does all that the machine has put out.
    fn act(&mut self, now: Now) {
        while let Some(output) = self.machine.poll_output() {
            match output {
                Output::Send { peer, message } => self.send(now, peer, message),
                Output::Disconnect { peer, reason, fault } => {
                    // The transport has a line of its own for each end; the owner is told the fault.
                    tracing::trace!(%peer, %fault, "eth peer disconnected");
                    if let Some(link) = self.links.get(&peer) {
                        link.disconnect(reason);
                    }
                }
                Output::Report { peer, verdict } => {
                    if let Some(link) = self.links.get(&peer) {
                        link.report(verdict);
                    }
                }
                Output::Reading { peer, paused } => self.inbox.set_paused(peer, paused),
                Output::Backend { ticket, call } => self.backend.submit(ticket, call),
                Output::Reply { command, reply } => {
                    // Whoever asked may have stopped waiting.
                    let _ = self.replies.remove(&command).map(|to| to.send(reply));
                }
                Output::Event(event) => {
                    self.describe(&event);
                    // Without listeners nobody wants to know.
                    let _ = self.events.send(event);
                }
            }
        }
    }
}

/// How far a peer's chain goes, by its own word.
fn details(position: Position) -> Details {
    match position {
        Position::Head { hash, .. } => vec![("head", hash.to_string())],
        Position::Range(range) => vec![
            ("earliest", range.earliest.to_string()),
            ("latest", range.latest.to_string()),
            ("latest_hash", range.latest_hash.to_string()),
        ],
    }
}

/// However the task ends, by a panic too: no peer may stay with a machine that is gone.
impl Drop for Task {
    fn drop(&mut self) {
        self.links.values().for_each(|link| link.disconnect(DisconnectReason::Quitting));
        self.inbox.close();
    }
}

#[expect(clippy::disallowed_methods, reason = "the driver reads the clocks once per wake")]
fn clocks() -> Now {
    Now::system()
}
