//! The owner's end of a running machine: commands as async methods, and events.
//! Every command is a message to the machine's task and waits for its reply.

use std::sync::Arc;

use bytes::Bytes;
use rlpx::PeerId;
use tokio::sync::{broadcast, mpsc, oneshot};

use super::task::{Command, ReplyTo};
use crate::{
    Answer, Block, Body, Chain, EthCounters, EthEvent, EthPeerInfo, ForkFilter, Hash, Header, HeadersQuery,
    Insert, Offer, Reply, Request, RequestError, TotalDifficulty, Transaction,
};

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
    pub(super) fn new(
        commands: mpsc::Sender<Command>,
        events: broadcast::WeakSender<EthEvent>,
        chain: Arc<dyn Chain>,
        filter: ForkFilter,
        counters: EthCounters,
    ) -> Self {
        Self { commands, events, chain, filter, counters }
    }

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
        let reply = self.command(|reply| Command::Submit { transactions, announce_only, reply }).await?;
        let Reply::Inserted(results) = reply else { return Err(unexpected(reply)) };
        results.first().copied().ok_or(RequestError::Closed)
    }

    /// Announces transactions that are in the pool already. Gives how many of them are.
    ///
    /// # Errors
    /// `TooMany` or `Closed`.
    pub async fn announce_pooled(&self, hashes: Vec<Hash>) -> Result<usize, RequestError> {
        let reply = self.command(|reply| Command::Announce { hashes, reply }).await?;
        let Reply::Announced(count) = reply else { return Err(unexpected(reply)) };
        Ok(count)
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
        let reply = self.command(|reply| Command::SubmitBlock { block, claimed, reply }).await?;
        let Reply::Offered(offer) = reply else { return Err(unexpected(reply)) };
        Ok(offer)
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
        let (_, answer) = self.ask(peer, Request::Headers(query)).await?;
        let Answer::Headers(headers) = answer else { return Err(RequestError::WrongAnswer) };
        Ok(headers)
    }

    /// Asks for bodies. Which block one belongs to is told by its digest alone: see [`EthHandle::blocks`].
    ///
    /// # Errors
    /// Why nothing came.
    pub async fn bodies(&self, peer: Option<PeerId>, hashes: Vec<Hash>) -> Result<Vec<Body>, RequestError> {
        let (_, answer) = self.ask(peer, Request::Bodies(hashes)).await?;
        let Answer::Bodies(bodies) = answer else { return Err(RequestError::WrongAnswer) };
        Ok(bodies)
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
        let (_, answer) = self.ask(peer, Request::PooledTransactions(hashes)).await?;
        let Answer::PooledTransactions(transactions) = answer else { return Err(RequestError::WrongAnswer) };
        Ok(transactions)
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
        let (_, answer) = self.ask(peer, Request::Receipts(hashes)).await?;
        let Answer::Receipts(receipts) = answer else { return Err(RequestError::WrongAnswer) };
        Ok(receipts)
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
        let reply = self.command(|reply| Command::Request { peer, request, reply }).await?;
        let Reply::Answer(peer, answer) = reply else { return Err(unexpected(reply)) };
        Ok((peer, answer))
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

/// The events of a machine from the moment of asking on: bounded by [`MAX_EVENTS`](super::MAX_EVENTS), the oldest dropped.
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
