//! A running node that a test attacks, and what of it is watched meanwhile: its log, its processor time, its memory, and
//! the three honest peers that no attack may harm. Whom it is attacked by is `stranger.rs`.

use std::{
    fs::{self, File},
    io::{self, Read},
    net::TcpStream,
    time::{Duration, Instant},
};

use rlpx::testing::Role;
use rustix::param::clock_ticks_per_second;
use tempfile::NamedTempFile;

use crate::{
    node::Running,
    stranger::{Paced, Stranger, address, key},
};

/// The key of the node of a test that plays its peers.
pub(crate) const NODE_KEY: u8 = 9;

/// Honest peers of a node that is attacked.
pub(crate) const HONEST: usize = 3;
/// The keys of the honest peers begin with this one.
const FIRST_HONEST: u8 = 11;

pub(crate) fn hex(byte: u8) -> String {
    format!("{byte:02x}").repeat(32)
}

#[expect(clippy::disallowed_methods, reason = "how long an attack has gone on is measured")]
pub(crate) fn clock() -> Instant {
    Instant::now()
}

/// A node whose log is read in the end.
pub(crate) struct Watched {
    pub(crate) node: Running,
    log: NamedTempFile,
    honest: Honest,
}

impl Watched {
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    /// The same with more arguments.
    pub(crate) fn start_with(more: &[&str]) -> Self {
        let log = NamedTempFile::new().unwrap();
        let key = hex(NODE_KEY);
        let arguments = [&["--nodekeyhex", &key, "--nodiscover"], more].concat();
        let node = Running::start_logging(&arguments, File::create(log.path()).unwrap());
        let honest = Honest::join(&node);
        Self { node, log, honest }
    }

    /// A connection to it.
    pub(crate) fn dial(&self) -> Paced {
        dial(&self.node)
    }

    /// A column of numbers of `/proc/PID/stat`, counted from 1 as proc(5) does.
    fn stat(&self, column: usize) -> u64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.node.process_id())).unwrap();
        // The second column is a name in brackets.
        let rest = stat.rsplit_once(") ").unwrap().1;
        rest.split(' ').nth(column - 3).unwrap().parse().unwrap()
    }

    /// The processor time that it has taken.
    pub(crate) fn cpu_time(&self) -> Duration {
        const UTIME: usize = 14;
        const STIME: usize = 15;
        let ticks = self.stat(UTIME) + self.stat(STIME);
        Duration::from_millis(ticks * 1_000 / clock_ticks_per_second())
    }

    /// Bytes that are resident.
    pub(crate) fn resident(&self) -> u64 {
        const RSS_PAGES: usize = 24;
        self.stat(RSS_PAGES) * rustix::param::page_size() as u64
    }

    /// It lives, nothing in it has panicked, its honest peers are there, and it ends in order: its log.
    pub(crate) fn assert_unharmed(mut self) -> String {
        self.honest.assert_unharmed();
        let ended = self.node.terminate();
        let log = fs::read_to_string(self.log.path()).unwrap();
        assert!(!log.contains("panicked"), "{log}");
        assert_eq!(ended.code(), Some(0), "{log}");
        log
    }
}

/// Peers that stay and answer nothing, which is long enough for a test: whether they are still there is what the node knows.
struct Honest(Vec<Paced>);

impl Honest {
    fn join(node: &Running) -> Self {
        Self((FIRST_HONEST..).take(HONEST).map(|secret| settled(node, secret)).collect())
    }

    /// They are connected: nothing has ended their streams.
    fn assert_unharmed(&mut self) {
        for peer in &mut self.0 {
            peer.stream.set_nonblocking(true).unwrap();
            loop {
                match peer.stream.read(&mut [0; 512]) {
                    Ok(0) => panic!("an honest peer was closed"),
                    // Pings and gossip.
                    Ok(_) => {}
                    Err(error) => break assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
                }
            }
        }
    }
}

/// A connection to `node`.
pub(crate) fn dial(node: &Running) -> Paced {
    Paced::free(TcpStream::connect(address(&node.enode)).unwrap())
}

/// A connection that is a peer of the node.
pub(crate) fn settled(node: &Running, secret: u8) -> Paced {
    let mut wire = dial(node);
    authenticated(&mut wire, secret).settle(&key(secret)).unwrap();
    wire
}

/// Whoever dialed over `wire` and has the key that `secret` makes, past the encrypted handshake.
pub(crate) fn authenticated(wire: &mut Paced, secret: u8) -> Stranger<'_> {
    Stranger::shake_hands(wire, Role::Dialer, &key(secret), key(NODE_KEY).public_key()).unwrap()
}
