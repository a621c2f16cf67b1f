//! Row H03: what the time says in which a bad auth is refused, from its last byte to the end of the connection. Only for
//! `--features thorough`, on a machine that does little else.
//!
//! Each packet is the same but for its tag, and sealed with a point of the curve: one that is not is refused before any work,
//! which tells nothing that its sender does not know. Seen is what takes microseconds: another path, a line that is logged.
//! A comparison that stopped at the first difference would tell nanoseconds; that `ecies.rs` has none is for who reads it.

use std::{
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use devp2p::identity::{Enode, NodeKey};
use interop::flood::{attacker, socket};
use rand::{RngExt, SeedableRng, rngs::ChaCha8Rng};
use rlpx::testing::seal;
use tokio::runtime::Handle;

/// Who sends what.
#[derive(Clone, Copy, Debug)]
enum Kind {
    /// A tag whose first byte differs.
    First,
    /// A tag whose last byte differs.
    Last,
    /// Another tag whose first byte differs: how far apart two of a kind are by chance.
    FirstAgain,
    /// A good tag over what is no auth. Only who sealed it knows the key that makes one.
    Content,
}

const KINDS: [Kind; 4] = [Kind::First, Kind::Last, Kind::FirstAgain, Kind::Content];
/// Of each kind.
const SAMPLES: usize = 10_000;
/// Of each kind that are open at a time: all together are fewer than the connections without an auth that a node keeps.
const AT_ONCE: usize = 10;
/// Bytes under the seal: as many as an auth has with the least padding.
const CONTENT_LEN: usize = 280;
/// How long a connection may take to be closed.
const PATIENCE: Duration = Duration::from_secs(5);
/// Of 10,000 and as many of the same kind, one is the longer in 50 of 100 pairs, give or take 0.41 (Mann and Whitney's
/// U): five times that, and a second for the drift of a machine.
const CHANCE: f64 = 0.03;
/// How far apart medians of what must look the same may be, besides twice what those of a kind are in the same run.
const MEDIAN_LIMIT: Duration = Duration::from_micros(2);
/// How far what only its sender can make may be from the others: opening and parsing it, and no curve work (200 us).
const CONTENT_LIMIT: Duration = Duration::from_micros(20);

/// How long each connection lasted, by kind, in nanoseconds and in order of length.
pub(crate) struct Times([Vec<u64>; KINDS.len()]);

/// Takes all samples, in turns; `numbers` are those of the connections' addresses, of which none comes twice.
pub(crate) fn measure(runtime: &Handle, node: &Enode, mut numbers: impl Iterator<Item = u32>) -> Times {
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let mut times: [Vec<u64>; KINDS.len()] = Default::default();
    let target = node.endpoint().unwrap().tcp_addr().unwrap();
    for round in 0..SAMPLES / AT_ONCE {
        let packet = no_auth(node, &mut rng);
        let mut open = Vec::new();
        for place in 0..AT_ONCE * KINDS.len() {
            let place = (place + round) % KINDS.len();
            let mut packet = packet.clone();
            change(KINDS[place], &mut packet);
            let stream = connect(runtime, numbers.next().unwrap(), target);
            open.push((place, begin(stream, &packet)));
        }
        for (place, (stream, last)) in open {
            times[place].push(finish(stream, last));
        }
    }
    times.iter_mut().for_each(|times| times.sort_unstable());
    Times(times)
}

/// Sealed for the node as an auth is, with a new key.
fn no_auth(node: &Enode, rng: &mut ChaCha8Rng) -> Vec<u8> {
    let key = NodeKey::from_bytes(&rng.random()).unwrap();
    let shared = key.agree(&node.public_key).unwrap();
    seal(&shared, &key.public_key(), rng.random(), &[0xc0; CONTENT_LEN])
}

fn change(kind: Kind, packet: &mut [u8]) {
    let tag = packet.last_chunk_mut::<32>().unwrap();
    match kind {
        Kind::First | Kind::FirstAgain => tag[0] ^= 1,
        Kind::Last => tag[31] ^= 1,
        Kind::Content => {}
    }
}

fn connect(runtime: &Handle, number: u32, target: SocketAddr) -> TcpStream {
    let stream = runtime.block_on(socket(attacker(number)).unwrap().connect(target)).unwrap();
    let stream = stream.into_std().unwrap();
    stream.set_nonblocking(false).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Sends all but the last byte.
fn begin(mut stream: TcpStream, packet: &[u8]) -> (TcpStream, u8) {
    let (last, rest) = packet.split_last().unwrap();
    stream.write_all(rest).unwrap();
    (stream, *last)
}

/// Sends the last byte: how long it takes until the node closes.
fn finish(mut stream: TcpStream, last: u8) -> u64 {
    let sent = clock();
    stream.write_all(&[last]).unwrap();
    match stream.read(&mut [0]) {
        Ok(0) => {}
        Ok(_) => panic!("the node has answered"),
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset, "not closed in time"),
    }
    clock().saturating_duration_since(sent).as_nanos() as u64
}

#[expect(clippy::disallowed_methods, reason = "what an attacker measures")]
fn clock() -> Instant {
    Instant::now()
}

impl Times {
    /// Where a tag differs cannot be told: neither by the medians nor by guessing which of two connections it was.
    pub(crate) fn assert_nothing_told(&self) {
        let [first, last, again, content] = &self.0;
        let by_chance = (apart(first, again), shorter(first, again));
        let by_place = (apart(first, last), shorter(first, last));
        let by_content = (apart(first, content), shorter(first, content));
        println!("{SAMPLES} of each kind; median {:?}", median(first));
        for (what, (apart, shorter)) in
            [("two of a kind", by_chance), ("first or last byte", by_place), ("tag or content", by_content)]
        {
            println!("{what}: medians {apart:?} apart, the first shorter in {:.1} of 100", shorter * 100.0);
        }
        assert!(by_place.0 <= MEDIAN_LIMIT + 2 * by_chance.0, "where a tag differs shows: {:?}", by_place.0);
        assert!((by_place.1 - 0.5).abs() <= CHANCE, "where a tag differs shows: {:.3}", by_place.1);
        // Or nothing was shown.
        assert!((by_chance.1 - 0.5).abs() <= CHANCE, "the machine does other things: {:.3}", by_chance.1);
        assert!(by_chance.0 <= 2 * MEDIAN_LIMIT, "the machine does other things: {:?}", by_chance.0);
        assert!(by_content.0 <= CONTENT_LIMIT, "{:?}", by_content.0);
    }
}

fn median(times: &[u64]) -> Duration {
    Duration::from_nanos(times[times.len() / 2])
}

fn apart(one: &[u64], other: &[u64]) -> Duration {
    median(one).abs_diff(median(other))
}

/// Of all pairs, in how many the first is the shorter; of those that are equal half. Both are in order.
fn shorter(one: &[u64], other: &[u64]) -> f64 {
    let pairs = one.iter().map(|time| {
        let longer = other.len() - other.partition_point(|found| found <= time);
        let shorter = other.partition_point(|found| found < time);
        longer as f64 + (other.len() - longer - shorter) as f64 / 2.0
    });
    pairs.sum::<f64>() / (one.len() * other.len()) as f64
}
