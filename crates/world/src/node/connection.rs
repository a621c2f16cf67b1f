//! One connection of a node: its stream, its session, and what waits to be sent over it. Bytes go to and fro here, and
//! curve jobs are done; what a session says is for the node (`peering.rs`).

use std::{collections::VecDeque, net::SocketAddr, time::Instant};

use eth_wire::EthVersion;
use identity::{Now, PublicKey};
use rlpx::{ProtocolLimits, Session, SessionOutput, SharedMessage};
use simnet::{Net, StreamId};

use crate::SimCurve;

/// How far a connection has come.
#[derive(Debug)]
enum Stage {
    /// The stream is being opened.
    Dialing { remote: PublicKey, deadline: Option<Instant> },
    /// It stands.
    Open(Box<Session>),
}

/// The part of the eth capability in a connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seat {
    /// Its place among the shared capabilities.
    pub(super) protocol: usize,
    pub(super) version: EthVersion,
}

#[derive(Debug)]
pub(super) struct Connection {
    pub(super) stream: StreamId,
    pub(super) remote_addr: SocketAddr,
    stage: Stage,
    /// Set once the peer is one.
    pub(super) seat: Option<Seat>,
    queue: VecDeque<SharedMessage>,
    queue_len: usize,
    /// Messages that the session has taken: where each ends in what it writes, and its length.
    in_flight: VecDeque<(u64, usize)>,
    /// Messages written, and their bytes, for which the machine has not got its credit back.
    written: (usize, usize),
    /// The other end has closed the stream, and the session has not been told.
    pub(super) has_ended: bool,
    /// It waits for its turn.
    pub(super) is_touched: bool,
}

impl Connection {
    pub(super) fn dialing(
        stream: StreamId,
        remote_addr: SocketAddr,
        remote: PublicKey,
        deadline: Option<Instant>,
    ) -> Self {
        Self::new(stream, remote_addr, Stage::Dialing { remote, deadline })
    }

    pub(super) fn accepted(stream: StreamId, remote_addr: SocketAddr, session: Session) -> Self {
        Self::new(stream, remote_addr, Stage::Open(Box::new(session)))
    }

    fn new(stream: StreamId, remote_addr: SocketAddr, stage: Stage) -> Self {
        Self {
            stream,
            remote_addr,
            stage,
            seat: None,
            queue: VecDeque::new(),
            queue_len: 0,
            in_flight: VecDeque::new(),
            written: (0, 0),
            has_ended: false,
            is_touched: false,
        }
    }

    /// Who is dialed; None once the stream stands.
    pub(super) const fn dialed(&self) -> Option<PublicKey> {
        match &self.stage {
            Stage::Dialing { remote, .. } => Some(*remote),
            Stage::Open(_) => None,
        }
    }

    /// The stream stands.
    pub(super) fn open(&mut self, session: Session) {
        self.stage = Stage::Open(Box::new(session));
    }

    /// The session, once the stream stands.
    pub(super) fn session(&mut self) -> Option<&mut Session> {
        match &mut self.stage {
            Stage::Dialing { .. } => None,
            Stage::Open(session) => Some(session),
        }
    }

    pub(super) fn next_timeout(&self) -> Option<Instant> {
        match &self.stage {
            Stage::Dialing { deadline, .. } => *deadline,
            Stage::Open(session) => session.next_timeout(),
        }
    }

    /// Queues a message of eth. False when there is no room for it, or no eth.
    pub(super) fn push(&mut self, message: SharedMessage) -> bool {
        let (len, limits) = (message.payload().len(), ProtocolLimits::DEFAULT);
        let fits = self.queue.len() < limits.queued_messages
            && self.queue_len.saturating_add(len) <= limits.queued_len;
        if self.seat.is_none() || !(self.queue.is_empty() || fits) {
            return false;
        }
        self.queue_len += len;
        self.queue.push_back(message);
        true
    }

    /// Messages written since the last call, and their bytes.
    pub(super) fn take_written(&mut self) -> (usize, usize) {
        std::mem::take(&mut self.written)
    }

    /// Moves bytes until the session has something to say, or nothing moves any more.
    pub(super) fn turn(&mut self, net: &mut Net, now: Now, curve: &mut SimCurve) -> Option<SessionOutput> {
        loop {
            let Stage::Open(session) = &mut self.stage else { return None };
            match session.poll_output() {
                Some(SessionOutput::Curve(job)) => {
                    let result = curve.run(job.ops);
                    session.handle_curve(now, job.ticket, result);
                }
                Some(
                    output @ (SessionOutput::Authenticated { .. }
                    | SessionOutput::Hello { .. }
                    | SessionOutput::Message { .. }
                    | SessionOutput::Closed(_)),
                ) => return Some(output),
                None => {
                    let (sent, read) = (self.send(net, now), self.read(net, now));
                    if !sent && !read {
                        return None;
                    }
                }
            }
        }
    }

    fn send(&mut self, net: &mut Net, now: Now) -> bool {
        let Stage::Open(session) = &mut self.stage else { return false };
        while let Some(seat) = self.seat.filter(|_| session.has_room())
            && let Some(message) = self.queue.pop_front()
        {
            let len = message.payload().len();
            self.queue_len -= len;
            match session.send(now, seat.protocol, &message) {
                Ok(()) => self.in_flight.push_back((session.queued(), len)),
                // Too long once it is compressed; the room and the machine's own limits rule out the rest.
                Err(_) => self.in_flight.push_back((session.written(), len)),
            }
        }
        let mut has_sent = false;
        while !session.write_buf().is_empty() {
            let len = net.write(self.stream, session.write_buf());
            if len == 0 {
                break;
            }
            session.handle_written(now, len);
            has_sent = true;
        }
        let written = session.written();
        while let Some((_, len)) = self.in_flight.pop_front_if(|(end, _)| *end <= written) {
            self.written.0 += 1;
            self.written.1 += len;
        }
        has_sent
    }

    fn read(&mut self, net: &mut Net, now: Now) -> bool {
        let Stage::Open(session) = &mut self.stage else { return false };
        if !session.want_read() {
            return false;
        }
        let len = net.read(self.stream, session.read_buf());
        if len > 0 {
            session.handle_read(now, len);
            return true;
        }
        if std::mem::take(&mut self.has_ended) {
            session.handle_eof(now);
            return true;
        }
        false
    }
}
