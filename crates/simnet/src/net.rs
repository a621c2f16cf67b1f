//! The simulated network itself: the clock, what is due when, and the way of every packet.
//! Everything random comes from one seed; things due at the same moment happen in the order they were caused.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use bytes::Bytes;
use identity::Now;
use rand::{SeedableRng, rngs::ChaCha8Rng};

use crate::{
    Event, HostId, Link, NatConfig, NatId, StreamId, Trace,
    link::happens,
    places::Places,
    stream::{CONNECT_TIMEOUT, MAX_SEGMENT_LEN, PATIENCE, Piece, RETRANSMISSION, Segment, Streams},
    trace::{Recorder, Way},
};

/// The wall clock when every simulation begins: January 2027.
const START: Duration = Duration::from_secs(1_800_000_000);
/// How often one piece of a stream is lost at most.
const MAX_LOSSES: u32 = 6;

/// Something due.
#[derive(Debug)]
enum Due {
    Datagram {
        from: HostId,
        source: SocketAddr,
        to: SocketAddr,
        bytes: Bytes,
    },
    Connect {
        stream: StreamId,
        other: StreamId,
        source: SocketAddr,
        to: SocketAddr,
    },
    ConnectFailed(StreamId),
    /// The first piece that this end has sent.
    Segment(StreamId),
    /// There is room for this end to write.
    Room(StreamId),
    Alarm(HostId),
}

type Key = (Instant, u64);

/// A simulated network.
#[derive(Debug)]
pub struct Net {
    begin: Instant,
    now: Now,
    rng: ChaCha8Rng,
    places: Places,
    streams: Streams,
    listening: BTreeSet<(HostId, u16)>,
    queue: BTreeMap<Key, Due>,
    next_key: u64,
    alarms: BTreeMap<HostId, Key>,
    ready: VecDeque<Event>,
    recorder: Recorder,
}

/// Building it.
impl Net {
    /// An empty network. Its wall clock starts in January 2027 whatever the day.
    pub fn new(seed: u64) -> Self {
        let now = Now::simulated(START);
        Self {
            begin: now.instant,
            now,
            rng: ChaCha8Rng::seed_from_u64(seed),
            places: Places::default(),
            streams: Streams::default(),
            listening: BTreeSet::new(),
            queue: BTreeMap::new(),
            next_key: 0,
            alarms: BTreeMap::new(),
            ready: VecDeque::new(),
            recorder: Recorder::default(),
        }
    }

    /// A host at a public address. Panics when the address is taken.
    pub fn add_host(&mut self, ip: IpAddr) -> HostId {
        self.places.add_host(self.now.instant, ip, None)
    }

    /// An address translator. Panics when the address is taken.
    pub fn add_nat(&mut self, public_ip: IpAddr, config: NatConfig) -> NatId {
        self.places.add_nat(public_ip, config)
    }

    /// A host behind a translator. Panics when another one there has the address.
    pub fn add_host_behind(&mut self, nat: NatId, ip: IpAddr) -> HostId {
        self.places.add_host(self.now.instant, ip, Some(nat))
    }

    /// Takes a host away for good; another may have its address.
    pub fn remove_host(&mut self, host: HostId) {
        self.set_down(host, true);
        self.places.free_address(host);
    }

    /// Stops a host, or lets it run again. A host that is down neither sends nor hears; when it goes down its streams
    /// break, its alarm is gone and it listens no more.
    pub fn set_down(&mut self, host: HostId, is_down: bool) {
        if is_down {
            for stream in self.streams.of_host(host) {
                self.abort(stream);
            }
            self.listening.retain(|(own, _)| *own != host);
            self.wake_at(host, None);
        }
        self.places.host_mut(host).is_down = is_down;
    }

    /// What every way does to packets, but for those with a link of their own.
    pub fn set_link(&mut self, link: Link) {
        self.places.link = link;
    }

    /// What the ways between two hosts do, both ways.
    pub fn set_link_between(&mut self, a: HostId, b: HostId, link: &Link) {
        self.places.set_link_between(a, b, link);
    }

    /// Parts the network: only hosts of one group reach each other. Hosts added later are in group 0.
    pub fn partition(&mut self, group_of: impl Fn(HostId) -> u32) {
        self.places.part(group_of);
    }

    /// Makes the network whole again.
    pub fn heal(&mut self) {
        self.partition(|_| 0);
    }
}

/// Time.
impl Net {
    /// The virtual present.
    pub const fn now(&self) -> Now {
        self.now
    }

    /// Virtual time since the beginning.
    pub fn elapsed(&self) -> Duration {
        self.now.instant.saturating_duration_since(self.begin)
    }

    /// All that was delivered so far.
    pub fn trace(&self) -> Trace {
        self.recorder.trace()
    }

    /// Sets the one alarm of a host, in place of the former; None takes it back.
    pub fn wake_at(&mut self, host: HostId, at: Option<Instant>) {
        let key = self.alarms.get(&host).copied();
        if key.map(|(at, _)| at) == at.map(|at| at.max(self.now.instant)) {
            return;
        }
        if let Some(key) = key {
            self.alarms.remove(&host);
            self.queue.remove(&key);
        }
        if let Some(at) = at {
            let key = self.put(at.max(self.now.instant), Due::Alarm(host));
            self.alarms.insert(host, key);
        }
    }

    /// Goes on to the next event, not beyond `until`. None when there is none: the clock then stands at `until`.
    pub fn next_event(&mut self, until: Instant) -> Option<Event> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(event);
            }
            let due = self.queue.first_entry().filter(|entry| entry.key().0 <= until);
            let Some(due) = due else {
                self.go_to(until);
                return None;
            };
            let ((at, _), due) = due.remove_entry();
            self.go_to(at);
            self.happen(due);
        }
    }

    fn go_to(&mut self, at: Instant) {
        self.now = self.now.later(at.saturating_duration_since(self.now.instant));
    }

    fn after(&self, time: Duration) -> Instant {
        self.now.later(time).instant
    }

    fn put(&mut self, at: Instant, due: Due) -> Key {
        let key = (at, self.next_key);
        self.next_key += 1;
        self.queue.insert(key, due);
        key
    }

    fn happen(&mut self, due: Due) {
        match due {
            Due::Datagram { from, source, to, bytes } => self.datagram_arrives(from, source, to, bytes),
            Due::Connect { stream, other, source, to } => self.connect_arrives(stream, other, source, to),
            Due::ConnectFailed(stream) => self.connect_failed(stream),
            Due::Segment(stream) => self.segment_arrives(stream),
            Due::Room(stream) => self.tell(stream, |host| Event::Writable { host, stream }),
            Due::Alarm(host) => {
                self.alarms.remove(&host);
                self.ready.push_back(Event::Wake { host });
            }
        }
    }
}

/// Datagrams.
impl Net {
    /// Sends a datagram. Whether it arrives nobody is told.
    pub fn send_datagram(&mut self, from: HostId, from_port: u16, to: SocketAddr, bytes: Bytes) {
        if self.places.host(from).is_down {
            return;
        }
        let now = self.now.instant;
        let source = self.places.source(now, from, from_port, to);
        let host = self.places.destination(now, from, source, to).map(|(host, _)| host);
        let link = self.places.link_to(from, host);
        let sent = self.leave(from, &link, bytes.len());
        if happens(&mut self.rng, link.loss) {
            return;
        }
        let copies = 1 + u8::from(happens(&mut self.rng, link.duplication));
        for _ in 0..copies {
            let mut at = later(sent, link.draw_delay(&mut self.rng));
            if let Some(host) = host
                && !happens(&mut self.rng, link.reordering)
            {
                at = self.places.host_mut(from).in_order(now, host, at);
            }
            self.put(at, Due::Datagram { from, source, to, bytes: bytes.clone() });
        }
    }

    /// When bytes that a host sends now are on the line.
    fn leave(&mut self, from: HostId, link: &Link, len: usize) -> Instant {
        let now = self.now.instant;
        let host = self.places.host_mut(from);
        host.busy_until = later(host.busy_until.max(now), link.busy_for(len));
        host.busy_until
    }

    fn datagram_arrives(&mut self, from: HostId, source: SocketAddr, to: SocketAddr, bytes: Bytes) {
        let found = self.places.destination(self.now.instant, from, source, to);
        let Some((host, port)) = found.filter(|(host, _)| !self.places.is_cut(from, *host)) else { return };
        self.recorder.delivered(self.elapsed(), Way::Datagram, from, host, &bytes);
        self.ready.push_back(Event::Datagram { host, port, from: source, bytes });
    }
}

/// Streams, as their owners use them.
impl Net {
    /// Accepts connections at a port from now on.
    pub fn listen(&mut self, host: HostId, port: u16) {
        self.listening.insert((host, port));
    }

    /// Asks for a stream: [`Event::Connected`] or [`Event::ConnectFailed`] follows, unless it is closed before.
    pub fn connect(&mut self, from: HostId, to: SocketAddr) -> StreamId {
        let (stream, other) = self.streams.open(self.now.instant, from);
        let host = self.places.host_mut(from);
        let port = host.next_port;
        host.next_port = port.checked_add(1).unwrap_or(u16::MAX / 2);
        let source = self.places.source(self.now.instant, from, port, to);
        let host = self.places.destination(self.now.instant, from, source, to).map(|(host, _)| host);
        let delay = self.way_time(from, host);
        self.put(self.after(delay), Due::Connect { stream, other, source, to });
        stream
    }

    /// Takes as many bytes as the window has room for, and says how many. After less than all of them,
    /// [`Event::Writable`] tells when there is room again.
    pub fn write(&mut self, stream: StreamId, bytes: &[u8]) -> usize {
        let Some(end) = self.streams.end_mut(stream) else { return 0 };
        let len = bytes.len().min(end.room());
        end.is_blocked = len < bytes.len();
        end.unread_len += len;
        for piece in bytes[..len].chunks(MAX_SEGMENT_LEN) {
            self.send_piece(stream, Piece::Data(Bytes::copy_from_slice(piece)));
        }
        len
    }

    /// Takes what has come, as far as it fits into `buffer`, and says how many bytes.
    pub fn read(&mut self, stream: StreamId, buffer: &mut [u8]) -> usize {
        let Some(end) = self.streams.end_mut(stream) else { return 0 };
        let len = end.read(buffer);
        let (host, other, other_host) = (end.host, end.other, end.other_host);
        if let Some(other_end) = self.streams.end_mut(other).filter(|_| len > 0) {
            other_end.unread_len = other_end.unread_len.saturating_sub(len);
            if std::mem::take(&mut other_end.is_blocked) {
                let delay = self.way_time(host, other_host);
                self.put(self.after(delay), Due::Room(other));
            }
        }
        len
    }

    /// Ends a stream in order: the other end gets what was written, then the end. Its owner hears no more of it.
    pub fn close(&mut self, stream: StreamId) {
        let Some(end) = self.streams.end_mut(stream).filter(|end| !end.is_closing) else { return };
        end.is_closing = true;
        end.inbox.clear();
        if end.other_host.is_none() || end.is_ended {
            self.streams.remove(stream);
        } else {
            self.send_piece(stream, Piece::Fin);
        }
    }

    /// Breaks a stream: what was written and has not come is lost. Its owner hears no more of it.
    pub fn abort(&mut self, stream: StreamId) {
        let Some(end) = self.streams.end_mut(stream).filter(|end| !end.is_closing) else { return };
        end.is_closing = true;
        end.inbox.clear();
        end.outgoing.clear();
        end.last_arrival = self.now.instant;
        if end.other_host.is_none() || end.is_ended {
            self.streams.remove(stream);
        } else {
            self.send_piece(stream, Piece::Reset);
        }
    }

    /// Whether a stream stands and takes bytes.
    pub fn is_open(&self, stream: StreamId) -> bool {
        self.streams.end(stream).is_some_and(crate::stream::End::is_open)
    }
}

/// Streams, on their way.
impl Net {
    /// How long a piece takes from a host to another: lost ones are sent again.
    fn way_time(&mut self, from: HostId, to: Option<HostId>) -> Duration {
        let link = self.places.link_to(from, to);
        let losses = (0..MAX_LOSSES).take_while(|_| happens(&mut self.rng, link.loss)).count();
        let lost: Duration = (0..losses).map(|turn| RETRANSMISSION * (1 << turn)).sum();
        link.draw_delay(&mut self.rng).saturating_add(lost)
    }

    fn send_piece(&mut self, stream: StreamId, piece: Piece) {
        let Some(end) = self.streams.end(stream) else { return };
        let (host, other_host) = (end.host, end.other_host);
        let len = if let Piece::Data(bytes) = &piece { bytes.len() } else { 0 };
        let link = self.places.link_to(host, other_host);
        let sent = self.leave(host, &link, len);
        let at = later(sent, self.way_time(host, other_host));
        let Some(end) = self.streams.end_mut(stream) else { return };
        let at = at.max(end.last_arrival);
        end.last_arrival = at;
        end.outgoing.push_back(Segment { at, piece });
        if end.outgoing.len() == 1 {
            self.put(at, Due::Segment(stream));
        }
    }

    fn connect_arrives(&mut self, stream: StreamId, other: StreamId, source: SocketAddr, to: SocketAddr) {
        let Some(from) = self.streams.end(stream).map(|end| end.host) else { return };
        let now = self.now.instant;
        let found = self.places.destination(now, from, source, to);
        let Some((host, port)) = found.filter(|(host, _)| !self.places.is_cut(from, *host)) else {
            self.put(self.after(CONNECT_TIMEOUT), Due::ConnectFailed(stream));
            return;
        };
        if !self.listening.contains(&(host, port)) {
            let delay = self.way_time(host, Some(from));
            self.put(self.after(delay), Due::ConnectFailed(stream));
            return;
        }
        self.streams.insert(now, other, host, stream, Some(from));
        self.ready.push_back(Event::Accepted { host, stream: other, from: source });
        self.send_piece(other, Piece::Open);
    }

    fn connect_failed(&mut self, stream: StreamId) {
        if let Some(end) = self.streams.remove(stream) {
            self.ready.push_back(Event::ConnectFailed { host: end.host, stream });
        }
    }

    /// The first piece that an end has sent arrives, unless nothing gets through.
    fn segment_arrives(&mut self, stream: StreamId) {
        let Some(end) = self.streams.end(stream) else { return };
        let Some(at) = end.outgoing.front().map(|segment| segment.at) else { return };
        // What was due was replaced by something that comes later.
        if at > self.now.instant {
            return;
        }
        let (from, to) = (end.host, end.other_host);
        // That its process has ended is the last that a host says of a stream.
        let is_last_word = matches!(end.outgoing.front(), Some(Segment { piece: Piece::Reset, .. }));
        let is_cut = |to| match is_last_word {
            true => self.places.is_unreachable(from, to),
            false => self.places.is_cut(from, to),
        };
        if to.is_some_and(is_cut) {
            return self.stall(stream);
        }
        let Some(end) = self.streams.end_mut(stream) else { return };
        end.stalled_since = None;
        let Some(Segment { piece, .. }) = end.outgoing.pop_front() else { return };
        let next = end.outgoing.front().map(|segment| segment.at);
        if let Some(next) = next {
            self.put(next.max(self.now.instant), Due::Segment(stream));
        }
        self.deliver(stream, piece);
    }

    /// Nothing gets through: tries again, or gives up after a while.
    fn stall(&mut self, stream: StreamId) {
        let now = self.now.instant;
        let Some(end) = self.streams.end_mut(stream) else { return };
        let since = *end.stalled_since.get_or_insert(now);
        if now.saturating_duration_since(since) < PATIENCE {
            self.put(self.after(RETRANSMISSION), Due::Segment(stream));
            return;
        }
        let other = end.other;
        self.break_off(stream);
        self.break_off(other);
    }

    fn deliver(&mut self, stream: StreamId, piece: Piece) {
        let Some(end) = self.streams.end(stream) else { return };
        let (from, other) = (end.host, end.other);
        let Some(other_end) = self.streams.end_mut(other) else {
            // Whoever was there has given up.
            return self.break_off(stream);
        };
        let host = other_end.host;
        match piece {
            Piece::Open => {
                other_end.other_host = Some(from);
                self.tell(other, |host| Event::Connected { host, stream: other });
            }
            Piece::Data(bytes) => {
                if !other_end.is_closing {
                    other_end.inbox.extend_from_slice(&bytes);
                    self.recorder.delivered(self.elapsed(), Way::Stream, from, host, &bytes);
                }
                self.tell(other, |host| Event::Readable { host, stream: other });
            }
            Piece::Fin => {
                other_end.is_ended = true;
                let both_closed = other_end.is_closing;
                self.recorder.delivered(self.elapsed(), Way::End, from, host, &[]);
                self.tell(other, |host| Event::Closed { host, stream: other, reset: false });
                self.streams.remove(stream);
                if both_closed {
                    self.streams.remove(other);
                }
            }
            Piece::Reset => {
                self.recorder.delivered(self.elapsed(), Way::End, from, host, &[]);
                self.break_off(other);
                self.streams.remove(stream);
            }
        }
    }

    /// An end is gone, and its owner told.
    fn break_off(&mut self, stream: StreamId) {
        self.tell(stream, |host| Event::Closed { host, stream, reset: true });
        self.streams.remove(stream);
    }

    /// Tells the owner of an end, unless it has closed it.
    fn tell(&mut self, stream: StreamId, event: impl FnOnce(HostId) -> Event) {
        if let Some(end) = self.streams.end(stream).filter(|end| !end.is_closing) {
            self.ready.push_back(event(end.host));
        }
    }
}

fn later(at: Instant, by: Duration) -> Instant {
    at.checked_add(by).unwrap_or(at)
}
