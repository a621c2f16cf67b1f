//! A running node and peers that cost it work: their sessions are as they should be, and what they say in them is too much.
//! Each costs the node what it may and no more, and harms no honest peer. Who is no peer at all is in `hostile.rs`.

use std::{
    fs::{self, File},
    io::{self, Write},
    net::TcpStream,
    thread,
    time::{Duration, Instant},
};

use rlpx::{Hello, testing::Role};
use rustix::param::clock_ticks_per_second;
use snap::raw::Encoder;
use tempfile::NamedTempFile;

use crate::{
    hostile::{Honest, NODE_KEY, hex},
    node::Running,
    stranger::{DISCONNECT, Paced, STATUS, Stranger, address, hello, key},
};

/// Codes on the wire, of the base protocol and of eth (`rlpx.md`, `caps/eth.md`).
const PING: u64 = 0x02;
const PONG: u64 = 0x03;
const GET_BLOCK_BODIES: u64 = STATUS + 0x05;
const BLOCK_BODIES: u64 = STATUS + 0x06;

/// A node whose log is read in the end.
struct Watched {
    node: Running,
    log: NamedTempFile,
    honest: Honest,
}

impl Watched {
    fn start() -> Self {
        let log = NamedTempFile::new().unwrap();
        let arguments = ["--nodekeyhex", &hex(NODE_KEY), "--nodiscover"];
        let node = Running::start_logging(&arguments, File::create(log.path()).unwrap());
        let honest = Honest::join(&node);
        Self { node, log, honest }
    }

    /// A connection to it.
    fn dial(&self) -> Paced {
        Paced::free(TcpStream::connect(address(&self.node.enode)).unwrap())
    }

    /// A column of numbers of `/proc/PID/stat`, counted from 1 as proc(5) does.
    fn stat(&self, column: usize) -> u64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.node.process_id())).unwrap();
        // The second column is a name in brackets.
        let rest = stat.rsplit_once(") ").unwrap().1;
        rest.split(' ').nth(column - 3).unwrap().parse().unwrap()
    }

    /// The processor time that it has taken.
    fn cpu_time(&self) -> Duration {
        const UTIME: usize = 14;
        const STIME: usize = 15;
        let ticks = self.stat(UTIME) + self.stat(STIME);
        Duration::from_millis(ticks * 1_000 / clock_ticks_per_second())
    }

    /// Bytes that are resident.
    fn resident(&self) -> u64 {
        const RSS_PAGES: usize = 24;
        self.stat(RSS_PAGES) * rustix::param::page_size() as u64
    }

    /// It lives, nothing in it has panicked, its honest peers are there, and it ends in order.
    fn assert_unharmed(mut self) {
        self.honest.assert_unharmed();
        let ended = self.node.terminate();
        let log = fs::read_to_string(self.log.path()).unwrap();
        assert!(!log.contains("panicked"), "{log}");
        assert_eq!(ended.code(), Some(0), "{log}");
    }
}

#[expect(clippy::disallowed_methods, reason = "how long an attack has gone on is measured")]
fn clock() -> Instant {
    Instant::now()
}

/// A peer that compresses, as clients do.
fn settled<'a>(wire: &'a mut Paced, secret: u8) -> Stranger<'a> {
    let own = key(secret);
    let caller = key(NODE_KEY).public_key();
    let mut stranger = Stranger::shake_hands(wire, Role::Dialer, &own, caller).unwrap();
    stranger.settle_as(&Hello { protocol_version: 5, ..hello(own.public_key()) }).unwrap();
    stranger
}

/// A lawful request for bodies, as long as a message may be, of hashes that are all zero: its RLP, and what is sent.
fn bomb() -> (usize, Vec<u8>) {
    const HASHES: usize = 317_000;
    let mut hashes = Vec::with_capacity(33 * HASHES);
    for _ in 0..HASHES {
        hashes.push(0xa0);
        hashes.extend_from_slice(&[0; 32]);
    }
    // Lists whose lengths have three bytes: of an id, and of the hashes.
    let list = |content: &[u8]| [&[0xfa][..], &(content.len() as u32).to_be_bytes()[1..], content].concat();
    let message = list(&[&[0x07][..], &list(&hashes)].concat());
    (message.len(), Encoder::new().compress_vec(&message).unwrap())
}

#[test]
fn f09_snappy_bombs_at_line_rate_are_read_as_fast_as_they_are_paid_for() {
    const MIB: usize = 1 << 20;
    const BOMBERS: u8 = 3;
    const TIME: Duration = Duration::from_secs(6);
    /// More than their time costs: read without a limit they take twice the processor time that is allowed.
    const BOMBS: usize = 120;
    let watched = Watched::start();
    let (len, block) = bomb();
    assert!(len > 20 * block.len(), "{len} bytes in {}", block.len());
    let before = watched.cpu_time();
    let answers: Vec<usize> = thread::scope(|scope| {
        let bomber = |number| {
            let (watched, block) = (&watched, &block);
            scope.spawn(move || {
                let mut wire = watched.dial();
                let writer = wire.stream.try_clone().unwrap();
                let mut stranger = settled(&mut wire, 20 + number);
                let bombs = (0..BOMBS).map(|_| stranger.block(GET_BLOCK_BODIES, block)).collect();
                drop_bombs(&mut stranger, writer, bombs, TIME)
            })
        };
        let bombers: Vec<_> = (0..BOMBERS).map(bomber).collect();
        bombers.into_iter().map(|bomber| bomber.join().unwrap()).collect()
    });
    let spent = watched.cpu_time() - before;
    // 32 MiB at once, 8 MiB each second, and one that may be overdrawn; and it is read for that long.
    let paid = 32 * MIB + 8 * MIB * TIME.as_secs() as usize;
    let most = paid / (len - 4 * block.len()) + 2;
    println!("{answers:?} answers, at most {most}; {spent:?} of processor time in {TIME:?}");
    assert!(answers.iter().all(|count| (most / 2..=most).contains(count)), "{answers:?}, {most}");
    // Of a core each may have a twentieth.
    assert!(spent <= TIME * u32::from(BOMBERS) / 20, "{spent:?} of processor time");
    watched.assert_unharmed();
}

/// Sends without a pause and reads meanwhile: how much was answered in so long. The connection stays open.
fn drop_bombs(stranger: &mut Stranger, mut writer: TcpStream, bombs: Vec<Vec<u8>>, time: Duration) -> usize {
    writer.set_write_timeout(Some(time)).unwrap();
    writer.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    let (begun, mut answers) = (clock(), 0);
    thread::scope(|scope| {
        // What the node does not take in time is not sent.
        scope.spawn(move || bombs.iter().try_for_each(|bomb| writer.write_all(bomb)).is_ok());
        while clock().saturating_duration_since(begun) < time {
            match stranger.next() {
                Ok(Some((BLOCK_BODIES, _))) => answers += 1,
                Ok(Some((DISCONNECT, reason))) => panic!("told to go: {reason:?}"),
                Ok(Some(_)) => {}
                Ok(None) => panic!("closed after {answers} answers"),
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
            }
        }
        stranger.wire.stream.shutdown(std::net::Shutdown::Both).unwrap();
    });
    answers
}

#[test]
fn p06_a_flood_of_pings_is_a_breach_whose_memory_stays_flat() {
    /// At once: what the row has in a second.
    const PINGS: usize = 10_000;
    const FLOODS: u8 = 40;
    /// Five at once and one more each second; a flood takes less than two.
    const MAX_PONGS: usize = 7;
    /// Frames of a flood are 640 KiB, all of them 25 MiB.
    const MAX_GROWTH: u64 = 4 << 20;
    let watched = Watched::start();
    let mut resident = Vec::new();
    for flood in 0..FLOODS {
        let mut wire = watched.dial();
        let mut writer = wire.stream.try_clone().unwrap();
        let mut stranger = settled(&mut wire, 20 + flood);
        let pings: Vec<u8> = (0..PINGS).flat_map(|_| stranger.message(PING, &[0xc0])).collect();
        thread::scope(|scope| {
            // It may be closed before it has taken all of it.
            scope.spawn(move || writer.write_all(&pings).is_ok());
            let (mut pongs, mut told) = (0, Vec::new());
            while let Some((code, payload)) = stranger.next().unwrap() {
                match code {
                    PONG => pongs += 1,
                    DISCONNECT => told = payload,
                    _ => {}
                }
            }
            assert_eq!(told, [0xc1, 0x02], "flood {flood}, {pongs} pongs");
            assert!(pongs <= MAX_PONGS, "{pongs} pongs");
        });
        resident.push(watched.resident());
    }
    // Once it has buffers for one.
    let (first, last) = (resident[4], *resident.iter().max().unwrap());
    println!("{FLOODS} floods of {PINGS} pings: {first} bytes resident, then at most {last}");
    assert!(last <= first + MAX_GROWTH, "{resident:?}");
    watched.assert_unharmed();
}
