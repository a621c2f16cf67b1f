//! A running node and peers that cost it work: their sessions are as they should be, and what they say in them is too much.
//! Each costs the node what it may and no more, and harms no honest peer. Who is no peer at all is in `hostile.rs`.

use std::{
    io::{self, Write},
    net::TcpStream,
    thread,
    time::Duration,
};

use rlpx::Hello;
use snap::raw::Encoder;

use crate::{
    stranger::{DISCONNECT, PING, PONG, Paced, STATUS, Stranger, hello, key},
    watched::{Watched, authenticated, clock},
};

/// Codes of eth on the wire (`caps/eth.md`).
const GET_BLOCK_BODIES: u64 = STATUS + 0x05;
const BLOCK_BODIES: u64 = STATUS + 0x06;

/// A peer that compresses, as clients do.
fn settled<'a>(wire: &'a mut Paced, secret: u8) -> Stranger<'a> {
    let mut stranger = authenticated(wire, secret);
    stranger.settle_as(&Hello { protocol_version: 5, ..hello(key(secret).public_key()) }).unwrap();
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
