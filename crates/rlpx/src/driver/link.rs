//! The way of a protocol's messages to one peer: a bounded queue that the connection's task empties as the socket takes
//! what is in it. How it is bounded is `queue.rs`; credit for what was written is given in `attached.rs`.

use std::{
    fmt,
    future::poll_fn,
    sync::{Arc, OnceLock},
    task::{Context, Poll},
};

use identity::Counters;
use tokio::sync::{Notify, mpsc};

use super::{
    attached::Ending,
    held::{Held, Kept},
    orders::Report,
    pool::Purse,
    queue::{PushError, Queue},
};
use crate::{
    CapabilityName, Details, Refusal, SendError, SharedMessage, Verdict,
    capability::SharedCapability,
    config::MAX_MESSAGE_LEN,
    limits::ProtocolLimits,
    p2p::DisconnectReason,
    peer::{PeerId, PeerInfo},
    status::Live,
};

/// One protocol's way to one peer. Cheap to clone; clones share the queue.
#[derive(Clone)]
pub struct Link(Arc<Shared>);

struct Shared {
    peer_id: PeerId,
    message_count: u64,
    queue: Queue<SharedMessage>,
    exit: Arc<Exit>,
    kept: Arc<Kept>,
    live: Arc<Live>,
    /// Its place among the peer's protocols.
    seat: usize,
}

/// The order to end a connection, given by one of its protocols.
#[derive(Debug)]
pub(super) struct Exit {
    order: OnceLock<Ending>,
    given: Notify,
    refusals: Counters<Refusal>,
    reports: mpsc::Sender<(PeerId, Report)>,
}

impl Exit {
    pub(super) fn new(refusals: Counters<Refusal>, reports: mpsc::Sender<(PeerId, Report)>) -> Self {
        Self { order: OnceLock::new(), given: Notify::new(), refusals, reports }
    }

    /// Whether the server hears of it.
    fn report(&self, peer_id: PeerId, verdict: Verdict) -> bool {
        self.reports.try_send((peer_id, Report::Verdict(verdict))).is_ok()
    }

    /// The first order counts.
    fn order(&self, ending: Ending) {
        let _ = self.order.set(ending);
        self.given.notify_one();
    }

    /// Waits for the order.
    pub(super) async fn ordered(&self) -> Ending {
        loop {
            if let Some(ending) = self.order.get() {
                return *ending;
            }
            self.given.notified().await;
        }
    }
}

impl Link {
    pub(super) fn new(
        info: &PeerInfo,
        (seat, capability): (usize, &SharedCapability),
        exit: Arc<Exit>,
        purse: &Arc<Purse>,
    ) -> Self {
        let (peer_id, live) = (info.peer_id, Arc::clone(&info.live));
        let limits = &purse.pool.protocols;
        let queue = Queue::outbound((limits.queued_messages, limits.queued_len), Arc::clone(purse));
        let kept = Kept::new(purse);
        let message_count = capability.message_count;
        Self(Arc::new(Shared { peer_id, message_count, queue, exit, kept, live, seat }))
    }

    /// How much of this protocol may wait in each direction.
    pub fn limits(&self) -> &ProtocolLimits {
        &self.0.kept.purse().pool.protocols
    }

    /// The session at the other end of the link.
    pub fn peer_id(&self) -> PeerId {
        self.0.peer_id
    }

    /// Queues a message, if there is room.
    ///
    /// # Errors
    /// - [`SendError::Full`] when as many messages or bytes wait as may ([`ProtocolLimits`]), or more than the peer's own part
    ///   ([`SessionLimits::free_len`](crate::SessionLimits::free_len)) would be held for it
    ///   and the budget for all is spent,
    /// - [`SendError::Closed`] when the session has ended,
    /// - [`SendError::TooLarge`] and [`SendError::UnknownCode`] when no message of the protocol can be like this.
    pub fn try_send(&self, message: SharedMessage) -> Result<(), SendError> {
        self.check(&message)?;
        let len = message.payload().len();
        self.0.queue.try_push(message, len).map_err(|(_, error)| error.into())
    }

    /// Queues a message as soon as there is room.
    ///
    /// # Errors
    /// As [`Link::try_send`], without `Full`.
    pub async fn send(&self, mut message: SharedMessage) -> Result<(), SendError> {
        self.check(&message)?;
        let len = message.payload().len();
        loop {
            match self.0.queue.try_push(message, len) {
                Ok(()) => return Ok(()),
                Err((_, PushError::Closed)) => return Err(SendError::Closed),
                Err((back, PushError::Full)) => message = back,
            }
            poll_fn(|cx| self.0.queue.poll_room(cx, len)).await;
        }
    }

    /// Whether [`Link::try_send`] would take a message of `len` bytes now, or the session has ended.
    pub fn has_room(&self, len: usize) -> bool {
        self.0.queue.takes(len)
    }

    /// The same for whoever waits for it: the task is woken when it is worth asking again.
    pub fn poll_room(&self, cx: &mut Context<'_>, len: usize) -> Poll<()> {
        self.0.queue.poll_room(cx, len)
    }

    /// For a protocol that keeps messages of the peer's in a queue of its own: what they take is to be told there.
    pub fn held(&self) -> Held {
        Held::new(Arc::clone(&self.0.kept))
    }

    /// Tells of the peer what [`PeerInfo::status`](crate::PeerInfo::status) shows from now on, in place of what was told
    /// before: at most [`MAX_DETAILS`](crate::MAX_DETAILS), each text cut at [`MAX_DETAIL_LEN`](crate::MAX_DETAIL_LEN).
    pub fn describe(&self, details: Details) {
        self.0.live.describe(self.0.seat, details);
    }

    /// Says how the peer serves, as [`Server::report`](crate::Server::report) does. While the server is behind an opinion is
    /// lost; of a malicious peer the ban is, and it goes all the same.
    pub fn report(&self, verdict: Verdict) {
        if !self.0.exit.report(self.0.peer_id, verdict) && verdict == Verdict::Malicious {
            self.disconnect(DisconnectReason::SubprotocolError);
        }
    }

    /// Ends the session with this peer. Of several reasons given, the first goes out.
    pub fn disconnect(&self, reason: DisconnectReason) {
        self.order(|name| Ending::Ordered(name, reason));
    }

    /// Ends the session because the protocol panicked in a task of its own.
    pub(super) fn panicked(&self) {
        self.0.exit.refusals.add(Refusal::ProtocolPanicked);
        self.order(Ending::Panicked);
    }

    fn order(&self, ending: impl FnOnce(CapabilityName) -> Ending) {
        self.0.exit.order(self.0.live.name(self.0.seat).map_or(Ending::Gone, ending));
    }

    fn check(&self, message: &SharedMessage) -> Result<(), SendError> {
        if message.code() >= self.0.message_count {
            return Err(SendError::UnknownCode);
        }
        if message.payload().len() > MAX_MESSAGE_LEN {
            return Err(SendError::TooLarge);
        }
        Ok(())
    }

    /// What the protocol keeps of the peer's.
    pub(super) fn kept(&self) -> &Arc<Kept> {
        &self.0.kept
    }

    pub(super) fn queue(&self) -> &Queue<SharedMessage> {
        &self.0.queue
    }
}

impl From<PushError> for SendError {
    fn from(error: PushError) -> Self {
        match error {
            PushError::Full => Self::Full,
            PushError::Closed => Self::Closed,
        }
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Link(to session {})", self.0.peer_id)
    }
}
