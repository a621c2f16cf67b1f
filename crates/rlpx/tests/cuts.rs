//! Two sessions over a simulated link that is cut after every byte of the handshake and of messages, in each direction:
//! by an end in order, by a break, and by silence. Both ends end, for the right reason and in time, and every message
//! that came whole is delivered, and no other.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on ends")]

use std::{io::ErrorKind, sync::Arc, time::Duration};

use bytes::Bytes;
use identity::{
    NodeKey,
    curve::{InlineCurve, Lane},
};
use rand::{SeedableRng, rngs::ChaCha20Rng};
use rlpx::{
    CapabilityName, LocalCapability, Session, SessionConfig, SessionEnd, SessionError, SessionOutput,
    SharedMessage, Wait,
    config::{HANDSHAKE_TIMEOUT, READ_TIMEOUT},
};
use simnet::{Event, HostId, Link, Net, StreamId};

/// Messages that each side sends once it may: lengths of their payloads, in bytes.
const PAYLOAD_LENS: [usize; 5] = [0, 1, 16, 300, 2_000];
/// How long any run may take: what is noticed last is silence.
const LIMIT: Duration = Duration::from_secs(60);

/// How long bytes are on their way, with all that goes before a wait.
const MOMENT: Duration = Duration::from_millis(100);

/// How a link ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cut {
    Eof,
    Reset,
    Silence,
}

/// One end of the connection.
struct Side {
    host: HostId,
    stream: Option<StreamId>,
    session: Session,
    curve: InlineCurve<ChaCha20Rng>,
    /// Where each message that was sent ends, in bytes of this direction.
    message_ends: Vec<u64>,
    written: u64,
    read: u64,
    delivered: Vec<Bytes>,
    end: Option<SessionEnd>,
    ended_at: Duration,
}

/// Both ends and the link between them.
struct Story {
    net: Net,
    sides: [Side; 2],
    /// Which side's bytes are counted, after how many the link is cut, and how.
    cut: Option<(usize, u64, Cut)>,
}

fn payload(len: usize) -> Bytes {
    rlp::encode(&vec![7u8; len].as_slice()).freeze()
}

fn side(net: &mut Net, own: u8, initiates: bool, snappy: bool) -> Side {
    let key = |byte: u8| NodeKey::from_bytes(&[byte; 32]).unwrap();
    let chat = LocalCapability::new(CapabilityName::new("chat").unwrap(), 1, 1);
    let mut config = SessionConfig::new(key(own).public_key(), "test", vec![chat]);
    config.hello.protocol_version = if snappy { 5 } else { 4 };
    let (now, config) = (net.now(), Arc::new(config));
    let mut rng = ChaCha20Rng::seed_from_u64(u64::from(own));
    let session = if initiates {
        Session::initiator(now, config, key(3 - own).public_key(), Lane(1), &mut rng)
    } else {
        Session::recipient(now, config, Lane(1), &mut rng)
    };
    let host = net.add_host([8, 0, 0, own].into());
    let curve = InlineCurve::new(Arc::new(key(own)), rng);
    let (message_ends, delivered) = (Vec::new(), Vec::new());
    let ended_at = Duration::ZERO;
    Side {
        host,
        stream: None,
        session,
        curve,
        message_ends,
        written: 0,
        read: 0,
        delivered,
        end: None,
        ended_at,
    }
}

impl Story {
    fn new(cut: Option<(usize, u64, Cut)>, snappy: bool) -> Self {
        let mut net = Net::new(1);
        net.set_link(Link { delay: Duration::from_millis(5)..Duration::from_millis(5), ..Link::default() });
        let sides = [side(&mut net, 1, true, snappy), side(&mut net, 2, false, snappy)];
        net.listen(sides[1].host, 1);
        let stream = net.connect(sides[0].host, "8.0.0.2:1".parse().unwrap());
        let mut story = Self { net, sides, cut };
        story.sides[0].stream = Some(stream);
        // Its time runs, whether the link ever stands or not.
        story.net.wake_at(story.sides[0].host, story.sides[0].session.next_timeout());
        story
    }

    /// Plays until nothing happens any more.
    fn play(mut self) -> Self {
        let until = self.net.now().later(LIMIT).instant;
        while let Some(event) = self.net.next_event(until) {
            self.happen(event);
            if self.cut.is_none() && self.sides.iter().all(|side| side.delivered.len() == PAYLOAD_LENS.len())
            {
                break;
            }
        }
        self
    }

    fn happen(&mut self, event: Event) {
        let now = self.net.now();
        match event {
            Event::Connected { .. } => self.act(0),
            Event::Accepted { stream, .. } => {
                self.sides[1].stream = Some(stream);
                self.act(1);
            }
            Event::Readable { host, .. } | Event::Writable { host, .. } => self.act(self.index(host)),
            Event::Closed { host, reset, .. } => {
                let index = self.index(host);
                self.act(index);
                let session = &mut self.sides[index].session;
                if reset {
                    session.handle_io_error(now, ErrorKind::ConnectionReset);
                } else {
                    session.handle_eof(now);
                }
                self.act(index);
            }
            Event::Wake { host } => {
                let index = self.index(host);
                self.sides[index].session.handle_timeout(now);
                self.act(index);
            }
            Event::Datagram { .. } | Event::ConnectFailed { .. } => panic!("{event:?}"),
        }
    }

    fn index(&self, host: HostId) -> usize {
        usize::from(self.sides[1].host == host)
    }

    /// Reads, lets the session act, writes, until nothing is left to do.
    fn act(&mut self, index: usize) {
        loop {
            self.drain(index);
            let (read, written) = (self.read(index), self.write(index));
            if !read && !written {
                break;
            }
        }
        let side = &self.sides[index];
        let alarm = if side.end.is_some() { None } else { side.session.next_timeout() };
        self.net.wake_at(side.host, alarm);
    }

    fn drain(&mut self, index: usize) {
        let now = self.net.now();
        let side = &mut self.sides[index];
        while let Some(output) = side.session.poll_output() {
            match output {
                SessionOutput::Curve(job) => {
                    let result = side.curve.run(job.ops);
                    side.session.handle_curve(now, job.ticket, result);
                }
                SessionOutput::Authenticated { .. } => side.session.admit(now),
                SessionOutput::Hello { .. } => {
                    side.session.admit(now);
                    for len in PAYLOAD_LENS {
                        side.session.send(now, 0, &SharedMessage::new(0, payload(len))).unwrap();
                        side.message_ends.push(side.session.queued());
                    }
                }
                SessionOutput::Message { message, .. } => side.delivered.push(message.payload),
                SessionOutput::Closed(end) => {
                    side.end = Some(end);
                    side.ended_at = self.net.elapsed();
                    if let Some(stream) = side.stream {
                        self.net.close(stream);
                    }
                }
            }
        }
    }

    fn read(&mut self, index: usize) -> bool {
        let side = &mut self.sides[index];
        let Some(stream) = side.stream else { return false };
        let len = self.net.read(stream, side.session.read_buf());
        if len > 0 {
            side.read += len as u64;
            side.session.handle_read(self.net.now(), len);
        }
        len > 0
    }

    /// Writes what may still go over the link, and cuts it when that was the last byte.
    fn write(&mut self, index: usize) -> bool {
        let side = &mut self.sides[index];
        let Some(stream) = side.stream.filter(|stream| self.net.is_open(*stream)) else { return false };
        let waiting = side.session.write_buf();
        let cut = self.cut.filter(|(of, ..)| *of == index);
        let left = cut.map_or(usize::MAX, |(_, after, _)| (after - side.written) as usize);
        let len = self.net.write(stream, &waiting[..waiting.len().min(left)]);
        side.written += len as u64;
        if len > 0 {
            side.session.handle_written(self.net.now(), len);
        }
        if let Some((_, after, cut)) = cut
            && side.written == after
        {
            self.cut_now(index, stream, cut);
        }
        len > 0
    }

    fn cut_now(&mut self, index: usize, stream: StreamId, cut: Cut) {
        let (now, session) = (self.net.now(), &mut self.sides[index].session);
        match cut {
            Cut::Eof => {
                self.net.close(stream);
                session.handle_eof(now);
            }
            Cut::Reset => {
                self.net.abort(stream);
                session.handle_io_error(now, ErrorKind::ConnectionReset);
            }
            Cut::Silence => {
                let host = self.sides[index].host;
                self.net.partition(|other| u32::from(other == host));
            }
        }
        self.cut = None;
        self.sides[index].stream = Some(stream).filter(|_| cut == Cut::Silence);
        self.drain(index);
        self.cut = Some((index, u64::MAX, cut));
    }
}

/// How many bytes each side writes when nothing is cut.
fn whole(snappy: bool) -> [u64; 2] {
    let story = Story::new(None, snappy).play();
    for side in &story.sides {
        let expected = PAYLOAD_LENS.map(payload);
        assert_eq!(side.delivered, expected);
    }
    story.sides.map(|side| side.written)
}

fn check(from: usize, after: u64, cut: Cut, snappy: bool) {
    let story = Story::new(Some((from, after, cut)), snappy).play();
    let place = format!("{cut:?} after {after} bytes of side {from}");
    for (index, side) in story.sides.iter().enumerate() {
        let (SessionEnd::Broken(error) | SessionEnd::Local { error: Some(error), .. }) = side.end.unwrap()
        else {
            panic!("{place}: side {index} ended by {:?}", side.end)
        };
        let right = match cut {
            Cut::Eof => error == SessionError::Eof,
            Cut::Reset => matches!(error, SessionError::Eof | SessionError::Io(ErrorKind::ConnectionReset)),
            Cut::Silence => matches!(
                error,
                SessionError::TimedOut(Wait::Handshake | Wait::Read | Wait::Write | Wait::Frame)
                    | SessionError::Io(ErrorKind::ConnectionReset)
                    | SessionError::Eof
            ),
        };
        assert!(right, "{place}: side {index} ended by {error:?}");
        // Who has had the other's Hello waits as long as between messages; before, there is one budget for all.
        let limit = match (cut, side.message_ends.is_empty()) {
            (Cut::Eof | Cut::Reset, _) => MOMENT,
            (Cut::Silence, true) => HANDSHAKE_TIMEOUT + MOMENT,
            (Cut::Silence, false) => READ_TIMEOUT + MOMENT,
        };
        assert!(side.ended_at <= limit, "{place}: side {index} ended after {:?}", side.ended_at);
        let other = &story.sides[1 - index];
        let whole = other.message_ends.iter().filter(|end| **end <= side.read).count();
        assert_eq!(
            side.delivered,
            PAYLOAD_LENS[..whole].iter().map(|len| payload(*len)).collect::<Vec<_>>(),
            "{place}"
        );
    }
}

fn check_all(cut: Cut, step: usize, snappy: bool) {
    for (from, len) in whole(snappy).into_iter().enumerate() {
        for after in (0..len).step_by(step) {
            check(from, after, cut, snappy);
        }
    }
}

#[test]
fn h19_an_end_after_any_byte_is_an_end_of_both() {
    check_all(Cut::Eof, 1, true);
}

#[test]
fn h19_a_break_after_any_byte_is_an_end_of_both() {
    check_all(Cut::Reset, 1, false);
}

#[test]
fn h10_f02_silence_after_any_byte_ends_both_in_time() {
    check_all(Cut::Silence, if cfg!(feature = "thorough") { 1 } else { 5 }, true);
}
