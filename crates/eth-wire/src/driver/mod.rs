//! Runs the eth machine under tokio: [`start`] gives a handle for its owner and a protocol for `rlpx::Server`.

mod backend;
mod inbox;
mod session;
mod task;

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use identity::AddressPolicy;
use rlpx::{PeerId, ProtocolVersion};
use tokio::sync::{broadcast, mpsc, oneshot};

use self::{
    backend::Backend,
    inbox::Inbox,
    task::{Command, ReplyTo, Task},
};
use crate::{
    Answer, Block, Body, Chain, ChainStatus, Eth, EthCounters, EthEvent, EthPeerInfo, EthTimes, EthVersion,
    ForkFilter, ForkSchedule, Hash, Header, HeadersQuery, Insert, Offer, Pool, Reply, Request, RequestError,
    TotalDifficulty, Transaction,
};

pub use session::EthProtocol;

/// Commands that may wait for the machine; more wait with their callers.
const MAX_WAITING_COMMANDS: usize = 64;
/// Events that may wait for one listener; the oldest are dropped and reported as [`EthEvent::Lagged`].
pub const MAX_EVENTS: usize = 1_024;

/// What a node says of itself and offers.
#[derive(Clone, Debug)]
pub struct EthConfig {
    /// The network id: usually the chain id.
    pub network_id: u64,
    /// The chain's forks.
    pub forks: ForkSchedule,
    /// The versions to offer. Default: all.
    pub versions: Vec<EthVersion>,
    /// Timeouts. Default: those of the specification.
    pub times: EthTimes,
    /// Which addresses are counted. Default: public ones.
    pub address_policy: AddressPolicy,
}

impl EthConfig {
    /// The defaults, for a network and its forks.
    pub fn new(network_id: u64, forks: ForkSchedule) -> Self {
        Self {
            network_id,
            forks,
            versions: EthVersion::ALL.to_vec(),
            times: EthTimes::default(),
            address_policy: AddressPolicy::default(),
        }
    }
}

/// Starts the machine in a task of its own, which ends when the handle and the protocol are gone. `seed` feeds its
/// choices. Asks `chain` for its head and genesis here; all later calls run on threads for blocking work.
///
/// # Panics
/// Outside of a tokio runtime.
pub fn start(
    config: EthConfig,
    chain: Arc<dyn Chain>,
    pool: Arc<dyn Pool>,
    seed: u64,
) -> (EthHandle, EthProtocol) {
    let status = ChainStatus::new(config.network_id, chain.genesis(), config.forks, chain.head());
    let filter = status.filter().clone();
    let machine = Eth::new(config.times, status, seed);
    let counters = machine.counters();
    let inbox = Arc::new(Inbox::default());
    let (commands, receiver) = mpsc::channel(MAX_WAITING_COMMANDS);
    let (events, _) = broadcast::channel(MAX_EVENTS);
    let task = Task {
        machine,
        inbox: Arc::clone(&inbox),
        backend: Arc::new(Backend::new(Arc::clone(&chain), pool, Arc::clone(&inbox))),
        commands: receiver,
        events: events.clone(),
        address_policy: config.address_policy,
        links: BTreeMap::new(),
        replies: BTreeMap::new(),
    };
    spawn(task.run());
    let handle = EthHandle {
        commands,
        events: events.downgrade(),
        chain,
        filter: filter.clone(),
        counters: counters.clone(),
    };
    let versions = config
        .versions
        .iter()
        .map(|version| ProtocolVersion { version: version.number(), message_count: version.message_count() });
    let versions = versions.collect();
    (handle.clone(), EthProtocol { versions, filter, inbox, counters, _handle: handle })
}

#[expect(clippy::disallowed_methods, reason = "the driver starts its one task; it ends with the last handle")]
fn spawn(run: impl Future<Output = ()> + Send + 'static) {
    tokio::spawn(run);
}

/// The owner's end of a running machine. Cheap to clone.
#[derive(Clone)]
pub struct EthHandle {
    commands: mpsc::Sender<Command>,
    events: broadcast::WeakSender<EthEvent>,
    chain: Arc<dyn Chain>,
    filter: ForkFilter,
    counters: EthCounters,
}

impl std::fmt::Debug for EthHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("EthHandle")
    }
}

impl EthHandle {
    /// The peers whose handshake is over; none when the machine has ended.
    pub async fn peers(&self) -> Vec<EthPeerInfo> {
        let (reply, peers) = oneshot::channel();
        if self.commands.send(Command::Peers(reply)).await.is_err() {
            return Vec::new();
        }
        peers.await.unwrap_or_default()
    }

    /// The events from now on.
    pub fn events(&self) -> EthEvents {
        EthEvents(self.events.upgrade().map(|events| events.subscribe()))
    }

    /// What is counted. The clone shares the counts.
    pub fn counters(&self) -> EthCounters {
        self.counters.clone()
    }

    /// Our fork id and whom it fits, as of the chain's head: a filter for node records.
    pub fn fork_filter(&self) -> ForkFilter {
        self.filter.clone()
    }

    /// Puts a transaction (its envelope) into the pool and, when it is new, gossips it.
    ///
    /// # Errors
    /// `Malformed`, `TooMany` or `Closed`.
    pub async fn submit_transaction(&self, envelope: Bytes) -> Result<Insert, RequestError> {
        self.submit(envelope, false).await
    }

    /// Puts a transaction into the pool and, when it is new, announces it to all peers; it is sent to those who ask.
    ///
    /// # Errors
    /// `Malformed`, `TooMany` or `Closed`.
    pub async fn announce_transaction(&self, envelope: Bytes) -> Result<Insert, RequestError> {
        self.submit(envelope, true).await
    }

    async fn submit(&self, envelope: Bytes, announce_only: bool) -> Result<Insert, RequestError> {
        let transactions = vec![Transaction::decode(envelope).map_err(RequestError::Malformed)?];
        match self.command(|reply| Command::Submit { transactions, announce_only, reply }).await? {
            Reply::Inserted(results) => results.first().copied().ok_or(RequestError::Closed),
            reply => Err(unexpected(reply)),
        }
    }

    /// Announces transactions that are in the pool already. Gives how many of them are.
    ///
    /// # Errors
    /// `TooMany` or `Closed`.
    pub async fn announce_pooled(&self, hashes: Vec<Hash>) -> Result<usize, RequestError> {
        match self.command(|reply| Command::Announce { hashes, reply }).await? {
            Reply::Announced(count) => Ok(count),
            reply => Err(unexpected(reply)),
        }
    }

    /// Offers a block (its RLP) to the chain and, when it is new, gossips it.
    ///
    /// # Errors
    /// `Malformed`, `TooMany` or `Closed`.
    pub async fn submit_block(
        &self,
        block: Bytes,
        claimed: Option<TotalDifficulty>,
    ) -> Result<Offer, RequestError> {
        let block = Box::new(Block::decode(block).map_err(RequestError::Malformed)?);
        match self.command(|reply| Command::SubmitBlock { block, claimed, reply }).await? {
            Reply::Offered(offer) => Ok(offer),
            reply => Err(unexpected(reply)),
        }
    }

    /// Tells that the chain has moved by itself: its head is read, and Status and fork id follow it.
    pub async fn notify_head(&self) {
        let chain = Arc::clone(&self.chain);
        if let Ok(head) = tokio::task::spawn_blocking(move || chain.head()).await {
            // When the machine has ended nobody needs to know.
            let _ = self.commands.send(Command::SetHead(head)).await;
        }
    }

    /// Asks for headers, of `peer` or of whoever seems best. They begin where the query does, follow its steps, and link
    /// where it leaves none out; there may be fewer than asked for.
    ///
    /// # Errors
    /// Why nothing came.
    pub async fn headers(
        &self,
        peer: Option<PeerId>,
        query: HeadersQuery,
    ) -> Result<Vec<Header>, RequestError> {
        match self.ask(peer, Request::Headers(query)).await? {
            (_, Answer::Headers(headers)) => Ok(headers),
            _ => Err(RequestError::WrongAnswer),
        }
    }

    /// Asks for bodies. Which block one belongs to is told by its digest alone: see [`EthHandle::blocks`].
    ///
    /// # Errors
    /// Why nothing came.
    pub async fn bodies(&self, peer: Option<PeerId>, hashes: Vec<Hash>) -> Result<Vec<Body>, RequestError> {
        match self.ask(peer, Request::Bodies(hashes)).await? {
            (_, Answer::Bodies(bodies)) => Ok(bodies),
            _ => Err(RequestError::WrongAnswer),
        }
    }

    /// Asks for the bodies of these headers and puts the blocks together: as many from the first header on as came, each
    /// with the body that its header commits to.
    ///
    /// # Errors
    /// Why nothing came; `WrongAnswer` when a body belongs to none of the headers.
    pub async fn blocks(&self, peer: Option<PeerId>, headers: &[Header]) -> Result<Vec<Block>, RequestError> {
        let hashes = headers.iter().map(|header| header.hash).collect();
        let bodies = self.bodies(peer, hashes).await?;
        crate::block_fetch::assemble(headers.iter(), &bodies).map_err(|_| RequestError::WrongAnswer)
    }

    /// Asks for transactions of the peer's pool. Those that it has come, in any order.
    ///
    /// # Errors
    /// Why nothing came.
    pub async fn pooled_transactions(
        &self,
        peer: Option<PeerId>,
        hashes: Vec<Hash>,
    ) -> Result<Vec<Transaction>, RequestError> {
        match self.ask(peer, Request::PooledTransactions(hashes)).await? {
            (_, Answer::PooledTransactions(transactions)) => Ok(transactions),
            _ => Err(RequestError::WrongAnswer),
        }
    }

    /// Asks for the receipts of blocks: an RLP list each, in the form of the version spoken with the peer.
    ///
    /// # Errors
    /// Why nothing came.
    pub async fn receipts(
        &self,
        peer: Option<PeerId>,
        hashes: Vec<Hash>,
    ) -> Result<Vec<Bytes>, RequestError> {
        match self.ask(peer, Request::Receipts(hashes)).await? {
            (_, Answer::Receipts(receipts)) => Ok(receipts),
            _ => Err(RequestError::WrongAnswer),
        }
    }

    /// Asks for anything; says who answered.
    ///
    /// # Errors
    /// Why nothing came.
    pub async fn ask(
        &self,
        peer: Option<PeerId>,
        request: Request,
    ) -> Result<(PeerId, Answer), RequestError> {
        match self.command(|reply| Command::Request { peer, request, reply }).await? {
            Reply::Answer(peer, answer) => Ok((peer, answer)),
            reply => Err(unexpected(reply)),
        }
    }

    async fn command(&self, command: impl FnOnce(ReplyTo) -> Command) -> Result<Reply, RequestError> {
        let (reply_to, reply) = oneshot::channel();
        self.commands.send(command(reply_to)).await.map_err(|_| RequestError::Closed)?;
        reply.await.map_err(|_| RequestError::Closed)
    }
}

/// The error in a reply that is not the one a command has when it succeeds.
fn unexpected(reply: Reply) -> RequestError {
    match reply {
        Reply::Failed(error) => error,
        Reply::Inserted(_) | Reply::Announced(_) | Reply::Offered(_) | Reply::Answer(..) => {
            RequestError::Closed
        }
    }
}

/// The events of a machine from the moment of asking on: bounded by [`MAX_EVENTS`], the oldest dropped.
#[derive(Debug)]
pub struct EthEvents(Option<broadcast::Receiver<EthEvent>>);

impl EthEvents {
    /// The next event; None when the machine has ended. Nothing is lost when this is dropped half-way.
    pub async fn next(&mut self) -> Option<EthEvent> {
        match self.0.as_mut()?.recv().await {
            Ok(event) => Some(event),
            Err(broadcast::error::RecvError::Lagged(count)) => Some(EthEvent::Lagged(count)),
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }
}
