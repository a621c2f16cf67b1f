//! A peer that a test plays against the program over TCP, in either role: true up to a byte of its choice, where it hangs up
//! or goes on as slowly as it can. What it may say after the handshake is the test's too.

use std::{
    fs,
    io::{self, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    sync::Arc,
    thread,
    time::Duration,
};

use devp2p::identity::{Enode, NodeKey, PublicKey};
use rlpx::{
    BASE_MESSAGE_COUNT, Capability, CapabilityName, Hello,
    testing::{Role, ScriptedPeer, curve},
};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    net::sockopt::set_socket_linger,
};

/// Codes on the wire: of the base protocol (`rlpx.md`), and of eth where nothing else is shared.
pub(crate) const HELLO: u64 = 0x00;
pub(crate) const DISCONNECT: u64 = 0x01;
pub(crate) const PING: u64 = 0x02;
pub(crate) const PONG: u64 = 0x03;
pub(crate) const STATUS: u64 = BASE_MESSAGE_COUNT;

/// Longer than the program lets anybody wait who says nothing.
const READ_LIMIT: Duration = Duration::from_secs(20);
/// Between two bytes of who is slow.
const DRIP: Timespec = Timespec { tv_sec: 0, tv_nsec: 500_000_000 };
/// For the program to close what the other end has closed: well below the 5 s after which it closes by itself.
pub(crate) const CLOSING_LIMIT: Duration = Duration::from_secs(3);
/// Between two looks whether sockets are closed, and how many there are: as long.
const PAUSE: Duration = Duration::from_millis(5);
const MAX_LOOKS: u32 = 600;

/// How a connection is hung up.
#[derive(Clone, Copy, Debug)]
pub(crate) enum HangUp {
    /// Closed.
    Fin,
    /// Aborted.
    Rst,
    /// Closed one way; read to the end once the other end is closed.
    Half,
}

/// A stream that is written to at full speed for some bytes; what comes after them is `then`'s.
pub(crate) struct Paced {
    pub(crate) stream: TcpStream,
    /// All that was written.
    pub(crate) said: Vec<u8>,
    free: usize,
    then: Then,
    /// Bytes that were written one by one.
    pub(crate) drips: u32,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Then {
    /// Writing fails.
    Stop,
    /// Writing goes on, a byte each half second, until the other end has closed.
    Drip,
}

impl Paced {
    pub(crate) fn new(stream: TcpStream, free: usize, then: Then) -> Self {
        stream.set_read_timeout(Some(READ_LIMIT)).unwrap();
        Self { stream, said: Vec::new(), free, then, drips: 0 }
    }

    /// A stream without a limit.
    pub(crate) fn free(stream: TcpStream) -> Self {
        Self::new(stream, usize::MAX, Then::Stop)
    }

    /// Waits the time between two bytes, or until the other end closes: whether it has.
    fn is_closed(&self) -> bool {
        let closing = PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR;
        let mut polled = [PollFd::new(&self.stream, closing)];
        poll(&mut polled, Some(&DRIP)).unwrap() > 0
    }

    /// The other end closes within `limit` and says nothing before it does.
    pub(crate) fn assert_closed_without_a_word(&mut self, limit: Duration, what: &str) {
        self.stream.set_read_timeout(Some(limit)).unwrap();
        let mut said = Vec::new();
        if let Err(error) = self.stream.read_to_end(&mut said) {
            // Closed with something unread.
            assert_eq!(error.kind(), io::ErrorKind::ConnectionReset, "{what}: not closed in {limit:?}");
        }
        assert!(said.is_empty(), "{what}: {said:?}");
    }

    /// Hangs up; what half a connection still brings can be read from what is given back.
    pub(crate) fn hang_up(mut self, how: HangUp) -> Option<Self> {
        match how {
            HangUp::Fin => {
                // Closed with something unread it would be a reset.
                self.stream.set_nonblocking(true).unwrap();
                while self.stream.read(&mut [0; 512]).is_ok_and(|len| len > 0) {}
                None
            }
            HangUp::Rst => {
                set_socket_linger(&self.stream, Some(Duration::ZERO)).unwrap();
                None
            }
            HangUp::Half => {
                self.stream.shutdown(Shutdown::Write).unwrap();
                Some(self)
            }
        }
    }

    /// Reads to the end, which has come.
    pub(crate) fn assert_ended(mut self) {
        self.stream.set_read_timeout(Some(CLOSING_LIMIT)).unwrap();
        if let Err(error) = self.stream.read_to_end(&mut Vec::new()) {
            // The program may have had something unread.
            assert_eq!(error.kind(), io::ErrorKind::ConnectionReset, "not closed");
        }
    }

    /// The socket that is the other end, as `/proc` calls what a process holds open; None before it is accepted.
    pub(crate) fn other_end(&self) -> Option<String> {
        const INODE: usize = 9;
        let [here, there] = [self.stream.local_addr(), self.stream.peer_addr()]
            .map(|address| format!(":{:04X}", address.unwrap().port()));
        // In columns, of which the second is a socket's own address and the third whom it speaks to (proc(5)).
        let connections = fs::read_to_string("/proc/net/tcp").unwrap();
        let mut rows = connections.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let row = rows.find(|row| row[1].ends_with(&there) && row[2].ends_with(&here))?;
        Some(row[INODE]).filter(|inode| *inode != "0").map(|inode| format!("socket:[{inode}]"))
    }
}

impl Read for Paced {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.read(buffer)
    }
}

impl Write for Paced {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = self.free.saturating_sub(self.said.len());
        let taken = match (room, self.then) {
            (0, Then::Stop) => return Err(io::ErrorKind::BrokenPipe.into()),
            (0, Then::Drip) if self.is_closed() => return Err(io::ErrorKind::BrokenPipe.into()),
            (0, Then::Drip) => {
                self.drips += 1;
                1
            }
            (room, _) => room.min(bytes.len()),
        };
        let taken = self.stream.write(&bytes[..taken])?;
        self.said.extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

/// The key that `secret` makes.
pub(crate) fn key(secret: u8) -> Arc<NodeKey> {
    Arc::new(NodeKey::from_bytes(&[secret; 32]).unwrap())
}

/// Where the program listens.
pub(crate) fn address(enode: &str) -> SocketAddr {
    enode.parse::<Enode>().unwrap().endpoint().unwrap().tcp_addr().unwrap()
}

/// What the node with `public_key` says of itself: version 4, so that nothing is compressed, and eth/69.
pub(crate) fn hello(public_key: PublicKey) -> Hello {
    let eth = Capability { name: CapabilityName::new("eth").unwrap(), version: 69 };
    let name = "stranger".to_owned();
    Hello { protocol_version: 4, client_name: name, capabilities: vec![eth], listen_port: 0, public_key }
}

/// A connection past the encrypted handshake.
pub(crate) struct Stranger<'a> {
    pub(crate) wire: &'a mut Paced,
    peer: ScriptedPeer,
}

impl<'a> Stranger<'a> {
    /// The same bytes each time that keys and role are the same; the program's key is `remote`.
    pub(crate) fn shake_hands(
        wire: &'a mut Paced,
        role: Role,
        own: &Arc<NodeKey>,
        remote: PublicKey,
    ) -> io::Result<Self> {
        let curve = &mut curve(Arc::clone(own), 1);
        let peer = ScriptedPeer::connect_over(role, wire, (own.public_key(), remote), curve, 2)?;
        Ok(Self { wire, peer })
    }

    pub(crate) fn hello(&mut self, hello: &Hello) -> io::Result<()> {
        let frame = self.peer.hello(hello);
        self.wire.write_all(&frame)
    }

    /// The header of a frame, under the right MAC, that says how long its content is. Nothing can be sent after it.
    pub(crate) fn header(&mut self, len: u32) -> Vec<u8> {
        const HEADER_LEN: usize = 32;
        let mut header = [0; 16];
        header[..3].copy_from_slice(&len.to_be_bytes()[1..]);
        self.peer.frame(header, &[])[..HEADER_LEN].to_vec()
    }

    /// The frame of a message whose payload is compressed already, if it has to be. It has to be sent in its turn.
    pub(crate) fn block(&mut self, code: u64, payload: &[u8]) -> Vec<u8> {
        self.peer.block(code, payload)
    }

    /// The frame of a message. It has to be sent in its turn.
    pub(crate) fn message(&mut self, code: u64, payload: &[u8]) -> Vec<u8> {
        self.peer.message(code, payload)
    }

    pub(crate) fn send(&mut self, code: u64, payload: &[u8]) -> io::Result<()> {
        let frame = self.peer.message(code, payload);
        self.wire.write_all(&frame)
    }

    /// The next message; None at the end of the stream.
    pub(crate) fn next(&mut self) -> io::Result<Option<(u64, Vec<u8>)>> {
        let mut byte = [0];
        loop {
            match self.wire.read(&mut byte) {
                Ok(0) => return Ok(None),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
                Err(error) => return Err(error),
            }
            let read = self.peer.read(&byte).map_err(|error| io::Error::other(error.to_string()))?;
            if let Some(message) = read.into_iter().next() {
                return Ok(Some(message));
            }
        }
    }

    /// The payload of the next message with `code`.
    pub(crate) fn wait_for(&mut self, code: u64) -> io::Result<Vec<u8>> {
        loop {
            match self.next()? {
                Some((found, payload)) if found == code => return Ok(payload),
                Some(_) => {}
                None => return Err(io::ErrorKind::UnexpectedEof.into()),
            }
        }
    }

    /// The number in the Disconnect with which the program ends the connection; None when it says nothing.
    pub(crate) fn parting(&mut self) -> io::Result<Option<u8>> {
        let mut reason = None;
        while let Some((code, payload)) = self.next()? {
            if code == DISCONNECT {
                // A list of one number; RLP writes zero as 0x80.
                reason = payload.last().map(|number| number & 0x7f);
            }
        }
        Ok(reason)
    }

    /// All that makes a peer: Hello, and the program's own Status sent back.
    pub(crate) fn settle(&mut self, own: &Arc<NodeKey>) -> io::Result<()> {
        self.settle_as(&hello(own.public_key()))
    }

    /// The same with another Hello: from version 5 on payloads are compressed.
    pub(crate) fn settle_as(&mut self, said: &Hello) -> io::Result<()> {
        self.introduce(said)?;
        let status = self.wait_for(STATUS)?;
        self.send(STATUS, &status)
    }

    /// Hello alone; what follows is compressed if it has to be.
    pub(crate) fn introduce(&mut self, said: &Hello) -> io::Result<()> {
        self.hello(said)?;
        self.peer.snappy = said.protocol_version >= 5;
        Ok(())
    }

    /// The program answers a Ping: it has handled all that was sent before, and goes on.
    pub(crate) fn assert_answered(&mut self) {
        self.send(PING, &[0xc0]).unwrap();
        self.wait_for(PONG).unwrap();
    }
}

/// The sockets of any kind that a process holds open.
fn sockets(process_id: u32) -> impl Iterator<Item = String> {
    let entries = fs::read_dir(format!("/proc/{process_id}/fd")).unwrap();
    // One that was closed meanwhile has no target any more.
    let targets = entries.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
    targets.map(|target| target.to_string_lossy().into_owned()).filter(|target| target.starts_with("socket:"))
}

pub(crate) fn open_sockets(process_id: u32) -> usize {
    sockets(process_id).count()
}

pub(crate) fn holds(process_id: u32, socket: &str) -> bool {
    sockets(process_id).any(|held| held == socket)
}

/// Looks until `is_so`, for 3 s.
pub(crate) fn eventually(what: &str, is_so: impl Fn() -> bool) {
    let seen = (0..MAX_LOOKS).any(|look| {
        if look > 0 {
            thread::park_timeout(PAUSE);
        }
        is_so()
    });
    assert!(seen, "waited 3 s for {what}");
}
