//! Streams between hosts, as TCP gives them: in order, whole, with a window. Loss costs time, not bytes; a parted network
//! stalls a stream, and breaks it after [`PATIENCE`]. Here are the ends and what waits in them; `net` moves it.

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

use bytes::{Buf, Bytes, BytesMut};

use crate::{HostId, StreamId};

/// What one end may have sent that the other's owner has not read, in bytes: a socket's usual buffers.
pub const WINDOW_LEN: usize = 256 * 1024;
/// The longest piece that travels, and is lost, as one, in bytes.
pub const MAX_SEGMENT_LEN: usize = 16 * 1024;
/// How long a lost piece takes to be sent again; twice as long each further time (RFC 6298's least is 1 s, systems take
/// 200 ms).
pub const RETRANSMISSION: Duration = Duration::from_millis(200);
/// How long a stream through a parted network lives.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// How long a connection to nobody takes to fail.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);

/// What travels from one end to the other.
#[derive(Debug)]
pub(crate) enum Piece {
    /// The answer to a connect.
    Open,
    Data(Bytes),
    Fin,
    Reset,
}

/// A piece on its way.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) at: Instant,
    pub(crate) piece: Piece,
}

/// One end of a stream.
#[derive(Debug)]
pub(crate) struct End {
    pub(crate) host: HostId,
    pub(crate) other: StreamId,
    /// Who is at the other end; None until somebody accepts.
    pub(crate) other_host: Option<HostId>,
    /// What came and was not read.
    pub(crate) inbox: BytesMut,
    /// On the way to the other end, the first to come first.
    pub(crate) outgoing: VecDeque<Segment>,
    /// Bytes sent that the other's owner has not read.
    pub(crate) unread_len: usize,
    /// When the last piece that was sent arrives: none arrives before it.
    pub(crate) last_arrival: Instant,
    /// Since when nothing gets through.
    pub(crate) stalled_since: Option<Instant>,
    /// A write was not taken in full.
    pub(crate) is_blocked: bool,
    /// The owner has closed it and hears no more of it.
    pub(crate) is_closing: bool,
    /// The other end has closed.
    pub(crate) is_ended: bool,
}

impl End {
    pub(crate) const fn is_open(&self) -> bool {
        self.other_host.is_some() && !self.is_closing && !self.is_ended
    }

    /// How many bytes a write takes now.
    pub(crate) const fn room(&self) -> usize {
        if self.is_open() { WINDOW_LEN.saturating_sub(self.unread_len) } else { 0 }
    }

    /// Takes what has come, as far as it fits.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> usize {
        let len = buffer.len().min(self.inbox.len());
        if let Some(front) = buffer.get_mut(..len) {
            self.inbox.copy_to_slice(front);
        }
        len
    }
}

/// The ends of all streams.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    ends: BTreeMap<StreamId, End>,
    next: u64,
}

impl Streams {
    /// Two ids that belong together; only the first has an end yet.
    pub(crate) fn open(&mut self, now: Instant, host: HostId) -> (StreamId, StreamId) {
        let (id, other) = (StreamId(self.next), StreamId(self.next + 1));
        self.next += 2;
        self.insert(now, id, host, other, None);
        (id, other)
    }

    pub(crate) fn insert(
        &mut self,
        now: Instant,
        id: StreamId,
        host: HostId,
        other: StreamId,
        other_host: Option<HostId>,
    ) {
        let end = End {
            host,
            other,
            other_host,
            inbox: BytesMut::new(),
            outgoing: VecDeque::new(),
            unread_len: 0,
            last_arrival: now,
            stalled_since: None,
            is_blocked: false,
            is_closing: false,
            is_ended: false,
        };
        self.ends.insert(id, end);
    }

    pub(crate) fn end(&self, id: StreamId) -> Option<&End> {
        self.ends.get(&id)
    }

    pub(crate) fn end_mut(&mut self, id: StreamId) -> Option<&mut End> {
        self.ends.get_mut(&id)
    }

    pub(crate) fn remove(&mut self, id: StreamId) -> Option<End> {
        self.ends.remove(&id)
    }

    /// The ends at a host whose owner has not closed them.
    pub(crate) fn of_host(&self, host: HostId) -> Vec<StreamId> {
        let own = self.ends.iter().filter(|(_, end)| end.host == host && !end.is_closing);
        own.map(|(id, _)| *id).collect()
    }
}
