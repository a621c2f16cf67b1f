//! The protocols of one peer, as its connection's task serves them: messages in, queues out, credit for what is written.
//! A protocol that panics costs its peer alone: the others hear of the end as of any other.

mod sending;
mod untaken;

use std::{
    collections::VecDeque,
    future::poll_fn,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::sync::mpsc;

use self::untaken::Patience;
use super::{
    link::{Exit, Link},
    now,
    orders::Report,
    pool::{Gauge, Purse},
    protocol::{Protocol, ProtocolSession},
    traffic::{Counts, Traffic},
};
use crate::{
    CapabilityName, Message, Refusal, SessionEnd, SessionError,
    p2p::DisconnectReason,
    peer::{PeerId, PeerInfo},
    status::Live,
    tally::ProtocolTally,
};

/// One protocol of one peer.
struct Seat {
    /// None once it has panicked or was told the end.
    session: Option<Box<dyn ProtocolSession>>,
    link: Link,
    name: CapabilityName,
    /// Counts its messages with all peers, by code.
    tally: Option<Arc<ProtocolTally>>,
}

/// Why a protocol's peer is to go. Small: every connection has room for some of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// This protocol wants it.
    Ordered(CapabilityName, DisconnectReason),
    /// This protocol has panicked.
    Panicked(CapabilityName),
    /// This protocol took no messages for too long.
    Stalled(CapabilityName),
    /// A protocol that is gone was asked for something.
    Gone,
}

impl Ending {
    /// What the peer is told.
    pub(super) fn reason(self) -> DisconnectReason {
        match self {
            Self::Ordered(_, reason) => reason,
            Self::Stalled(_) => DisconnectReason::Requested,
            Self::Panicked(_) | Self::Gone => DisconnectReason::SubprotocolError,
        }
    }

    /// Which protocol is the cause.
    pub(super) const fn error(self) -> Option<SessionError> {
        match self {
            Self::Ordered(name, _) => Some(SessionError::Protocol(name)),
            Self::Panicked(name) => Some(SessionError::Panicked(name)),
            Self::Stalled(name) => Some(SessionError::Stalled(name)),
            Self::Gone => None,
        }
    }
}

impl From<Ending> for SessionEnd {
    fn from(ending: Ending) -> Self {
        Self::Local { reason: ending.reason(), error: ending.error() }
    }
}

/// A message that was put out, until it is written.
struct InFlight {
    /// What [`Session::written`] is when it is out.
    end: u64,
    seat: usize,
    code: u64,
    len: usize,
}

/// The protocols of one peer, in the order of its shared capabilities.
pub(super) struct Attached {
    seats: Vec<Seat>,
    exit: Arc<Exit>,
    in_flight: VecDeque<InFlight>,
    /// Messages whose protocol has no room: one, for then reading stops.
    waiting: VecDeque<(usize, Message)>,
    /// Counts what waits.
    gauge: Gauge,
    purse: Arc<Purse>,
    patience: Patience,
    counts: Counts,
    traffic: Arc<Traffic>,
    live: Arc<Live>,
    /// Whose turn it is to send.
    next_seat: usize,
}

impl Attached {
    /// Tells each of `protocols` that the peer shares.
    pub(super) fn new(
        protocols: &[Arc<dyn Protocol>],
        info: &Arc<PeerInfo>,
        stall_limit: Duration,
        (counts, purse): (Counts, &Arc<Purse>),
        reports: mpsc::Sender<(PeerId, Report)>,
    ) -> Result<Self, Ending> {
        let mut attached = Self {
            seats: Vec::new(),
            exit: Arc::new(Exit::new(counts.refusals.clone(), reports)),
            in_flight: VecDeque::new(),
            waiting: VecDeque::new(),
            gauge: Gauge::default(),
            purse: Arc::clone(purse),
            patience: Patience { limit: stall_limit, stall_end: None, untaken_since: None },
            traffic: counts.traffic(),
            counts,
            live: Arc::clone(&info.live),
            next_seat: 0,
        };
        info.live.seat(now().instant, &info.shared);
        for (seat, shared) in info.shared.iter().enumerate() {
            let link = Link::new(info, (seat, shared), Arc::clone(&attached.exit), purse);
            let (name, tally) = (shared.name, attached.traffic.tally(shared.name));
            let protocol = protocols.iter().find(|protocol| shared.name == *protocol.name());
            let connect = || protocol.map(|own| own.connect(Arc::clone(info), shared.version, link.clone()));
            match attached.guard(name, connect) {
                Ok(session) => attached.seats.push(Seat { session, link, name, tally }),
                Err(ending) => {
                    attached.close(&ending.into());
                    return Err(ending);
                }
            }
        }
        Ok(attached)
    }

    fn guard<T>(&self, name: CapabilityName, call: impl FnOnce() -> T) -> Result<T, Ending> {
        // What a panicking protocol leaves half done is its own, and it is not called again.
        catch_unwind(AssertUnwindSafe(call)).map_err(|_| {
            self.counts.refusals.add(Refusal::ProtocolPanicked);
            Ending::Panicked(name)
        })
    }

    fn call<T>(
        &mut self,
        seat: usize,
        call: impl FnOnce(&mut dyn ProtocolSession) -> T,
    ) -> Result<T, Ending> {
        let Some(Seat { session, name, .. }) = self.seats.get_mut(seat) else { return Err(Ending::Gone) };
        let (session, name) = (session.take(), *name);
        let mut session = session.ok_or(Ending::Gone)?;
        let result = self.guard(name, || call(session.as_mut()));
        match &result {
            Ok(_) => {
                if let Some(seat) = self.seats.get_mut(seat) {
                    seat.session = Some(session);
                }
            }
            Err(_) => drop(self.guard(name, || drop(session))),
        }
        result
    }

    /// Takes a message that has come. True when it was handed on; otherwise its protocol has no room, and nothing more
    /// may be read until [`Attached::turn`] has handed it on.
    ///
    /// # Errors
    /// Why the peer is to go.
    pub(super) async fn handle_message(&mut self, seat: usize, message: Message) -> Result<bool, Ending> {
        let len = message.payload.len();
        self.count_in(seat, message.code, len);
        if self.is_behind() {
            self.look_at_untaken();
        }
        self.waiting.push_back((seat, message));
        let poll = poll_fn(|cx| Poll::Ready(self.poll_waiting(cx))).await;
        self.look_at_untaken();
        match poll {
            Poll::Ready(result) => result.map(|()| true),
            Poll::Pending => {
                self.gauge.tell(&self.purse, len);
                self.patience.begin();
                Ok(false)
            }
        }
    }

    fn count_in(&self, seat: usize, code: u64, len: usize) {
        self.traffic.message_in();
        if let Some(tally) = self.live.tally(seat) {
            tally.received(len);
        }
        if let Some(tally) = self.seats.get(seat).and_then(|seat| seat.tally.as_ref()) {
            tally.received(code, len);
        }
    }

    /// Whether a message waits for its protocol.
    pub(super) fn is_stalled(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Ready when no message waits any more.
    fn poll_waiting(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Ending>> {
        while let Some((seat, _)) = self.waiting.front() {
            let seat = *seat;
            match self.call(seat, |session| session.poll_ready(cx)) {
                Ok(poll) => ready!(poll),
                Err(ending) => return Poll::Ready(Err(ending)),
            }
            let Some((_, Message { code, payload })) = self.waiting.pop_front() else { break };
            if let Err(reason) = self.call(seat, |session| session.handle_message(code, payload))? {
                let name = self.seats.get(seat).map(|seat| seat.name);
                return Poll::Ready(Err(name.map_or(Ending::Gone, |name| Ending::Ordered(name, reason))));
            }
        }
        self.patience.stall_end = None;
        self.gauge.tell(&self.purse, 0);
        Poll::Ready(Ok(()))
    }

    /// Waits until a stalled message was handed on, there is something to send (if `has_room`), or a protocol wants the
    /// end. Nothing is lost when this is dropped half-way. Whoever waits looks at [`Attached::stall_end`] too.
    ///
    /// # Errors
    /// Why the peer is to go.
    pub(super) async fn turn(&mut self, has_room: bool) -> Result<(), Ending> {
        let exit = Arc::clone(&self.exit);
        tokio::select! {
            ending = exit.ordered() => Err(ending),
            result = poll_fn(|cx| self.poll_turn(cx, has_room)) => result,
        }
    }

    fn poll_turn(&mut self, cx: &mut Context<'_>, has_room: bool) -> Poll<Result<(), Ending>> {
        if self.is_stalled()
            && let Poll::Ready(result) = self.poll_waiting(cx)
        {
            return Poll::Ready(result);
        }
        // Every queue is asked, so that each of them wakes the task.
        let ready =
            self.seats.iter().filter(|seat| has_room && seat.link.queue().poll_item(cx).is_ready()).count();
        if ready > 0 { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    /// The connection has ended.
    pub(super) fn close(&mut self, end: &SessionEnd) {
        self.waiting.clear();
        self.gauge.tell(&self.purse, 0);
        for seat in 0..self.seats.len() {
            if let Some(seat) = self.seats.get(seat) {
                seat.link.queue().close();
            }
            // Counted when it panics; there is nothing left to end.
            let _ = self.call(seat, |session| session.handle_closed(end));
        }
        for Seat { session, name, .. } in self.seats.drain(..).collect::<Vec<_>>() {
            let _ = self.guard(name, || drop(session));
        }
    }
}

/// A connection's task that is aborted or panics leaves no protocol with a peer that is gone.
impl Drop for Attached {
    fn drop(&mut self) {
        self.close(&SessionEnd::ABORTED);
    }
}
