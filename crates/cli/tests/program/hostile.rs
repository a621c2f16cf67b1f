//! A running node and whoever speaks no RLPx, hangs up, crawls, lies about its key, storms it or takes all its places: each
//! is gone in time, leaves nothing behind, and harms no honest peer. Who breaks the rules in its first words is `breaches.rs`.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    ops::Range,
    sync::{Barrier, Mutex},
    thread,
    time::Duration,
};

use devp2p::identity::{NodeKey, PublicKey};
use rlpx::testing::Role;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::{
    node::{Running, starved_here},
    run,
    stranger::{HangUp, Paced, STATUS, Stranger, Then, eventually, hello, holds, key, open_sockets},
    watched::{HONEST, NODE_KEY, Watched, authenticated, clock, dial, hex, settled},
};

/// The 5 s that a handshake may take, and Status as long again after it, in the half seconds between two bytes of who is slow:
/// whoever has written one more was closed over half a second late.
const MAX_DRIPS: u32 = 10;
/// Hanging up without a word.
const HANG_UPS: [HangUp; 3] = [HangUp::Fin, HangUp::Rst, HangUp::Half];
/// From a hang-up to the end of what the node held for it, of the time in which it had a processor.
const FREED_LIMIT: Duration = Duration::from_millis(100);

fn start() -> Running {
    Running::start(&["--nodekeyhex", &hex(NODE_KEY), "--nodiscover"])
}

/// How many bytes a peer has written once its handshake, its Hello and its Status are out.
#[derive(Clone, Copy, Debug)]
struct Marks {
    handshake: usize,
    hello: usize,
    status: usize,
}

/// All that makes a peer.
fn talk(wire: &mut Paced, role: Role, secret: u8, remote: PublicKey) -> io::Result<Marks> {
    let own = key(secret);
    let mut stranger = Stranger::shake_hands(wire, role, &own, remote)?;
    let handshake = stranger.wire.said.len();
    stranger.hello(&hello(own.public_key()))?;
    let said = stranger.wire.said.len();
    let status = stranger.wait_for(STATUS)?;
    stranger.send(STATUS, &status)?;
    Ok(Marks { handshake, hello: said, status: stranger.wire.said.len() })
}

impl Marks {
    /// Eight places to stop at: before anything, in the prefix of the handshake packet, in the packet, after it, in the header of
    /// Hello, in its body, after it, and in Status.
    fn stages(self) -> [usize; 8] {
        let Self { handshake, hello, status } = self;
        [0, 1, handshake / 2, handshake, handshake + 8, hello - 8, hello, hello.midpoint(status)]
    }
}

#[test]
fn h08_scanners_of_other_protocols_are_closed_without_a_word() {
    /// The two bytes of a size that no handshake has.
    const AT_ONCE: Duration = Duration::from_secs(1);
    /// What could be a handshake may take 5 s.
    const IN_TIME: Duration = Duration::from_millis(5_500);
    let watched = Watched::start();
    // Before EIP-8 a handshake began with a signature, in 307 bytes without a size.
    let mut old_auth = [0x5a; 307];
    let without_size = old_auth;
    old_auth[..2].copy_from_slice(&[0x04, 0x01]);
    let mut client_hello = vec![0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3];
    client_hello.resize(517, 0x5a);
    let scanners: [(&[u8], Duration); 6] = [
        (&old_auth, IN_TIME),
        (&without_size, AT_ONCE),
        (&client_hello, AT_ONCE),
        (b"GET / HTTP/1.1\r\nHost: node\r\n\r\n", AT_ONCE),
        (b"SSH-2.0-OpenSSH_9.6\r\n", AT_ONCE),
        (b"\x00\x00\x00\x00", AT_ONCE),
    ];
    thread::scope(|scope| {
        for (scanner, limit) in scanners {
            let mut wire = watched.dial();
            scope.spawn(move || {
                wire.write_all(scanner).unwrap();
                wire.assert_closed_without_a_word(limit, &String::from_utf8_lossy(scanner));
            });
        }
    });
    watched.assert_unharmed();
}

#[test]
fn h10_who_says_a_byte_each_half_second_is_closed_at_any_stage_of_an_inbound_handshake() {
    let watched = Watched::start();
    let marks = marks_of_a_dialer(&watched);
    // The last drips in Status, all others before: in sizes, in packets, in the header of Hello and in its body.
    let stages = [0, 2, marks.handshake, marks.handshake + 8, marks.handshake + 40, marks.hello];
    thread::scope(|scope| {
        for (secret, free) in (20..).zip(stages) {
            let stream = watched.dial().stream;
            scope.spawn(move || {
                let mut wire = Paced::new(stream, free, Then::Drip);
                talk(&mut wire, Role::Dialer, secret, key(NODE_KEY).public_key()).unwrap_err();
                assert!((1..=MAX_DRIPS).contains(&wire.drips), "{free} bytes, then {}", wire.drips);
            });
        }
    });
    watched.assert_unharmed();
}

fn marks_of_a_dialer(watched: &Watched) -> Marks {
    talk(&mut watched.dial(), Role::Dialer, 14, key(NODE_KEY).public_key()).unwrap()
}

/// A node that dials as many listeners as there are stages, each with a key of its own.
fn dialing<const N: usize>(more: &[&str]) -> (Watched, [(u8, TcpListener); N]) {
    let listeners =
        std::array::from_fn(|index| (30 + index as u8, TcpListener::bind(("127.0.0.1", 0)).unwrap()));
    let peers = listeners.each_ref().map(|(secret, listener)| url(&key(*secret), listener)).join(",");
    (Watched::start_with(&[&["--peers", &peers], more].concat()), listeners)
}

/// What has dialed a listener.
fn accepted((_, listener): &(u8, TcpListener)) -> TcpStream {
    listener.accept().unwrap().0
}

fn url(key: &NodeKey, listener: &TcpListener) -> String {
    let endpoint = listener.local_addr().unwrap();
    format!("enode://{}@{endpoint}", hex_of(&key.public_key()))
}

fn hex_of(key: &PublicKey) -> String {
    key.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn h10_who_says_a_byte_each_half_second_is_closed_at_any_stage_of_an_outbound_handshake() {
    let (watched, [first, rest @ ..]) = dialing::<7>(&["--verbosity", "4"]);
    // The first says all it has to.
    let mut wire = Paced::free(accepted(&first));
    let marks = talk(&mut wire, Role::Listener, first.0, key(NODE_KEY).public_key()).unwrap();
    let stages = [0, 2, marks.handshake, marks.handshake + 8, marks.handshake + 40, marks.hello];
    thread::scope(|scope| {
        for (peer, free) in rest.iter().zip(stages) {
            scope.spawn(move || {
                let mut wire = Paced::new(accepted(peer), free, Then::Drip);
                talk(&mut wire, Role::Listener, peer.0, key(NODE_KEY).public_key()).unwrap_err();
                assert!((1..=MAX_DRIPS).contains(&wire.drips), "{free} bytes, then {}", wire.drips);
            });
        }
    });
    watched.assert_unharmed();
}

#[test]
fn h15_who_says_hello_with_another_key_than_it_proved_is_told_so() {
    let watched = Watched::start();
    let mut wire = watched.dial();
    let mut liar = authenticated(&mut wire, 40);
    liar.hello(&hello(key(41).public_key())).unwrap();
    assert_eq!(liar.parting().unwrap(), Some(0x09));

    // The same of a node that we dial; and the wrong node, which cannot read who calls.
    let (liar, wrong) =
        (TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
    let (to_liar, to_wrong) = (url(&key(42), &liar), url(&key(43), &wrong));
    thread::scope(|scope| {
        scope.spawn(|| {
            let output = run(&["rlpx", "ping", &to_liar, "--nodekeyhex", &hex(NODE_KEY), "--json"]);
            assert_eq!(output.status.code(), Some(1));
            let output = run(&["rlpx", "ping", &to_wrong, "--nodekeyhex", &hex(NODE_KEY), "--json"]);
            assert_eq!(output.status.code(), Some(1));
        });
        let mut wire = Paced::free(liar.accept().unwrap().0);
        let caller = key(NODE_KEY).public_key();
        let mut answer = Stranger::shake_hands(&mut wire, Role::Listener, &key(42), caller).unwrap();
        answer.hello(&hello(key(41).public_key())).unwrap();
        assert_eq!(answer.parting().unwrap(), Some(0x09));

        let mut wire = Paced::free(wrong.accept().unwrap().0);
        assert!(Stranger::shake_hands(&mut wire, Role::Listener, &key(44), caller).is_err());
        // An ack for another call than this one.
        let size = 300_u16;
        wire.write_all(&size.to_be_bytes()).unwrap();
        wire.write_all(&vec![0x04; usize::from(size)]).unwrap();
        let mut said = Vec::new();
        wire.read_to_end(&mut said).unwrap();
        assert!(said.is_empty(), "after the auth: {said:?}");
    });
    watched.assert_unharmed();
}

#[test]
fn h20_a_hang_up_at_any_stage_of_an_inbound_handshake_is_seen_in_time_and_leaves_a_line_at_most() {
    let watched = Watched::start_with(&["--verbosity", "4"]);
    let marks = marks_of_a_dialer(&watched);
    let ends = marks.stages().into_iter().flat_map(|free| HANG_UPS.map(|how| (free, how)));
    let dialers = (50..).zip(ends).map(|(secret, (free, how))| {
        let mut wire = Paced::new(watched.dial().stream, free, Then::Stop);
        talk(&mut wire, Role::Dialer, secret, key(NODE_KEY).public_key()).unwrap_err();
        assert_hang_up_is_seen_in_time(wire, how, &watched, free)
    });
    let dialers: Vec<SocketAddr> = dialers.collect();
    sockets_with(&watched, 0);
    let lines = lines_of_ends(&watched.assert_unharmed(), HONEST + 1, &dialers);
    assert!(lines.iter().all(|count| *count <= 1), "{lines:?}");
}

/// Hangs up, and looks how long the node then has the socket. What it and the test have waited for a processor that others
/// had is not the node's time. The address of our end is given back.
fn assert_hang_up_is_seen_in_time(wire: Paced, how: HangUp, watched: &Watched, free: usize) -> SocketAddr {
    let address = wire.stream.local_addr().unwrap();
    let node = &watched.node;
    let is_held = || wire.other_end().is_some_and(|socket| holds(node.process_id(), &socket));
    eventually("the connection to be accepted", is_held);
    let socket = wire.other_end().unwrap();
    let starved = || node.starved() + starved_here();
    // Read first, and last: whatever the test waits for between the two readings of the clock is in it.
    let starved_before = starved();
    let begun = clock();
    let rest = wire.hang_up(how);
    eventually("its socket to be closed", || !holds(node.process_id(), &socket));
    let time = clock() - begun;
    let starved = starved().saturating_sub(starved_before);
    assert!(time <= FREED_LIMIT + starved, "{free} bytes, then {how:?}: {time:?}, starved for {starved:?}");
    rest.into_iter().for_each(Paced::assert_ended);
    address
}

/// The sockets that the node holds for itself, for its honest peers and for so many others, once all others are gone.
fn sockets_with(watched: &Watched, others: usize) -> usize {
    // Its listener; its runtime and its signals have theirs.
    let sockets = open_sockets(start().process_id()) + HONEST + others;
    eventually("the others to be gone", || open_sockets(watched.node.process_id()) == sockets);
    sockets
}

/// How many lines of a whole log tell of the end of each stranger's connection. No line more tells of an end, but for those of
/// so many others, whom the node lets go at its own.
fn lines_of_ends(log: &str, others: usize, strangers: &[SocketAddr]) -> Vec<usize> {
    // Who became a peer before it went has a line for that. A node dials again who has hung up, in vain.
    let is_of_an_end = |line: &&str| !line.contains("=PeerConnected(") && !line.contains("ConnectionRefused");
    let ends: Vec<&str> = log.lines().filter(is_of_an_end).collect();
    let names = |line: &str, stranger: &str| line.split([' ', ',', '(', ')']).any(|word| word == stranger);
    let of = |stranger: &SocketAddr| {
        let stranger = stranger.to_string();
        ends.iter().filter(|line| names(line, &stranger)).count()
    };
    let lines: Vec<usize> = strangers.iter().map(of).collect();
    assert!(ends.len() <= lines.iter().sum::<usize>() + others, "{log}");
    lines
}

#[test]
fn h20_who_breaks_a_rule_of_eth_leaves_one_line_too() {
    const NO_STATUS: &[u8] = &[0xc0];
    let watched = Watched::start_with(&["--verbosity", "4"]);
    let mut wire = watched.dial();
    let address = wire.stream.local_addr().unwrap();
    let mut stranger = authenticated(&mut wire, 50);
    stranger.hello(&hello(key(50).public_key())).unwrap();
    stranger.send(STATUS, NO_STATUS).unwrap();
    assert!(stranger.parting().unwrap().is_some());
    drop(wire);
    sockets_with(&watched, 0);
    assert_eq!(lines_of_ends(&watched.assert_unharmed(), HONEST, &[address]), [1]);
}

#[test]
fn h20_a_hang_up_at_any_stage_of_an_outbound_handshake_is_seen_in_time_and_leaves_one_line() {
    // A node for each way: whom it has dialed it waits for no longer than 5 s.
    for how in HANG_UPS {
        let (watched, [first, rest @ ..]) = dialing::<9>(&["--verbosity", "4"]);
        let mut wire = Paced::free(accepted(&first));
        let marks = talk(&mut wire, Role::Listener, first.0, key(NODE_KEY).public_key()).unwrap();
        let listeners = rest.into_iter().zip(marks.stages()).map(|(peer, free)| {
            let mut wire = Paced::new(accepted(&peer), free, Then::Stop);
            talk(&mut wire, Role::Listener, peer.0, key(NODE_KEY).public_key()).unwrap_err();
            // Who dials again finds nobody.
            drop(peer);
            assert_hang_up_is_seen_in_time(wire, how, &watched, free)
        });
        let listeners: Vec<SocketAddr> = listeners.collect();
        sockets_with(&watched, 1);
        let lines = lines_of_ends(&watched.assert_unharmed(), HONEST + 1, &listeners);
        assert!(lines.iter().all(|count| *count == 1), "{how:?}: {lines:?}");
    }
}

#[test]
fn h17_the_second_connection_of_a_node_is_refused_and_the_first_unharmed() {
    let watched = Watched::start_with(&["--verbosity", "5"]);
    let (mut one, mut other) = (watched.dial(), watched.dial());
    let mut first = authenticated(&mut one, 84);
    first.settle(&key(84)).unwrap();
    assert_eq!(authenticated(&mut other, 84).parting().unwrap(), Some(0x05));
    first.assert_answered();
    watched.assert_unharmed();
}

#[test]
fn h17_a_first_connection_that_is_half_dead_gives_way_within_45_s() {
    const SECRET: u8 = 91;
    let node = start();
    let mut half_dead = settled(&node, SECRET);
    let begun = clock();
    assert_eq!(authenticated(&mut dial(&node), SECRET).parting().unwrap(), Some(0x05));
    // It keeps its socket and says nothing more, until the node has had enough.
    half_dead.stream.read_to_end(&mut Vec::new()).unwrap();
    assert!(clock() - begun < Duration::from_secs(45));
    // Told and not closed, it has a second more.
    drop(half_dead);
    let again = || authenticated(&mut dial(&node), SECRET).settle(&key(SECRET)).is_ok();
    eventually("a place for the node", again);
    assert_eq!(node.terminate().code(), Some(0));
}

#[test]
fn s01_whoever_comes_in_fills_two_thirds_of_the_places_and_the_node_dials_all_the_same() {
    /// Of six places two are for dials, and the honest have three.
    const MORE: Range<u8> = 85..86;
    const TOO_MANY: Range<u8> = 86..90;
    let (watched, dialed) = dialing::<2>(&["--maxpeers", "6", "--verbosity", "5"]);
    // It dials again, a second later: then whoever comes in has been first.
    dialed.iter().for_each(|peer| drop(accepted(peer)));
    let more: Vec<Paced> = MORE.map(|secret| settled(&watched.node, secret)).collect();
    let refuse = || {
        for secret in TOO_MANY {
            assert_eq!(authenticated(&mut watched.dial(), secret).parting().unwrap(), Some(0x04));
        }
    };
    refuse();
    let mut wires = dialed.each_ref().map(|peer| Paced::free(accepted(peer)));
    let caller = key(NODE_KEY).public_key();
    for (wire, (secret, _)) in wires.iter_mut().zip(&dialed) {
        let own = key(*secret);
        let mut peer = Stranger::shake_hands(wire, Role::Listener, &own, caller).unwrap();
        peer.settle(&own).unwrap();
        peer.assert_answered();
    }
    refuse();
    drop((more, wires));
    watched.assert_unharmed();
}

/// Honest peers of a node that quits.
const QUITTERS: u8 = 120;

#[test]
fn s07_many_peers_hear_that_the_node_quits_though_some_are_stuck() {
    let arguments = ["--nodekeyhex", &hex(NODE_KEY), "--nodiscover", "--maxpeers", "300"];
    let node = Running::start(&arguments);
    // Stuck: half of them say nothing at all, half are peers, and none will read or close.
    let silent: Vec<Paced> = (0..10).map(|_| dial(&node)).collect();
    let stuck: Vec<Paced> = (60..70).map(|secret| settled(&node, secret)).collect();
    // One after the other, or some would make room for others before they are peers.
    let (door, all_in) = (Mutex::new(()), Barrier::new(usize::from(QUITTERS) + 1));
    thread::scope(|scope| {
        for secret in 100..100 + QUITTERS {
            let (node, door, all_in) = (&node, &door, &all_in);
            scope.spawn(move || {
                let entering = door.lock().unwrap();
                let mut wire = dial(node);
                let mut peer = authenticated(&mut wire, secret);
                peer.settle(&key(secret)).unwrap();
                drop(entering);
                all_in.wait();
                assert_eq!(peer.parting().unwrap(), Some(0x08));
            });
        }
        all_in.wait();
        node.signal(&["TERM"]);
    });
    // A second signal does not kill it: it ends by itself, as after one.
    assert_eq!(node.terminate().code(), Some(0));
    drop((silent, stuck));
}

#[test]
fn p10_a_storm_of_sessions_and_data_after_our_disconnect_leave_nothing_and_no_line() {
    let watched = Watched::start();
    let sockets = sockets_with(&watched, 0);
    for _ in 0..100 {
        for secret in [80, 81, 82] {
            drop(settled(&watched.node, secret));
        }
        // Or one who comes again is told that it is there already.
        eventually("the three to be gone", || open_sockets(watched.node.process_id()) == sockets);
    }
    // More than are told at once why they have to go: each goes on sending, told or not, until it is cut off.
    thread::scope(|scope| {
        for secret in 110..150 {
            let mut wire = watched.dial();
            scope.spawn(move || {
                lie(&mut wire, secret);
                wire.stream.set_write_timeout(Some(Duration::from_secs(10))).unwrap();
                let cut_off = (0..MAX_FLOOD_CHUNKS).find_map(|_| wire.stream.write_all(&FLOOD_CHUNK).err());
                let error = cut_off.expect("cut off");
                assert_ne!(error.kind(), io::ErrorKind::WouldBlock, "still open after 10 s");
            });
        }
    });
    sockets_with(&watched, 0);
    let log = watched.assert_unharmed();
    assert_eq!(log.lines().count(), 0, "{log}");
}

/// Says Hello with another key than it proved.
fn lie(wire: &mut Paced, secret: u8) {
    authenticated(wire, secret).hello(&hello(key(83).public_key())).unwrap();
}

#[test]
fn p10_fifteen_who_lied_are_waited_for_at_a_time_and_no_more() {
    const LIARS: u8 = 40;
    const WAITED_FOR: usize = 15;
    let watched = Watched::start();
    let told: Vec<TcpStream> = thread::scope(|scope| {
        let liars: Vec<_> = (110..110 + LIARS)
            .map(|secret| {
                let mut wire = watched.dial();
                scope.spawn(move || {
                    lie(&mut wire, secret);
                    // Told or not, the node says nothing more.
                    let _ = wire.stream.read_to_end(&mut Vec::new());
                    wire.stream
                })
            })
            .collect();
        liars.into_iter().map(|liar| liar.join().unwrap()).collect()
    });
    // Who is waited for may write; who is not is reset.
    let waited_for = told.iter().filter(|stream| still_takes(stream)).count();
    assert!(waited_for <= WAITED_FOR, "{waited_for} are waited for");
    drop(told);
    watched.assert_unharmed();
}

/// Whether the other end still has the socket: a byte to one that has not is answered by a reset.
fn still_takes(mut stream: &TcpStream) -> bool {
    const ANSWER_TIME: Timespec = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
    let written = stream.write_all(&[0]);
    let mut polled = [PollFd::new(stream, PollFlags::ERR | PollFlags::HUP)];
    written.is_ok() && poll(&mut polled, Some(&ANSWER_TIME)).unwrap() == 0
}

/// What a peer sends after it was told to go, at most 64 MiB: the node throws away 1 MiB.
static FLOOD_CHUNK: [u8; 65_536] = [0; 65_536];
const MAX_FLOOD_CHUNKS: usize = 1_024;
