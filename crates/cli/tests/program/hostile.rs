//! A running node and whoever speaks no RLPx, hangs up, crawls, lies about its key or storms it: each is gone in time, leaves
//! nothing behind, and harms no honest peer.

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{Barrier, Mutex},
    thread,
    time::Duration,
};

use devp2p::identity::{NodeKey, PublicKey};
use rlpx::testing::Role;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::{
    node::Running,
    run,
    stranger::{HangUp, Paced, Stranger, Then, address, eventually, hello, key, open_sockets},
};

/// The key of the node of a test that plays its peers.
pub(crate) const NODE_KEY: u8 = 9;
/// More than the 5 s that a handshake may take, in the half seconds between two bytes of who is slow.
const MAX_HANDSHAKE_DRIPS: u32 = 16;
/// As long again for Status.
const MAX_STATUS_DRIPS: u32 = 2 * MAX_HANDSHAKE_DRIPS;
/// Hanging up without a word.
const HANG_UPS: [HangUp; 3] = [HangUp::Fin, HangUp::Rst, HangUp::Half];

fn start() -> Running {
    Running::start(&["--nodekeyhex", &hex(NODE_KEY), "--nodiscover"])
}

pub(crate) fn hex(byte: u8) -> String {
    format!("{byte:02x}").repeat(32)
}

/// Three peers that stay, each on a thread that answers nothing: how many there still are is what the node knows.
pub(crate) struct Honest(Vec<Paced>);

impl Honest {
    pub(crate) fn join(node: &Running) -> Self {
        Self((11..14).map(|secret| settled(node, secret)).collect())
    }

    /// They are connected: nothing has ended their streams.
    pub(crate) fn assert_unharmed(&mut self) {
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

/// A connection that is a peer of the node.
fn settled(node: &Running, secret: u8) -> Paced {
    let mut wire = Paced::free(TcpStream::connect(address(&node.enode)).unwrap());
    talk(&mut wire, Role::Dialer, secret, key(NODE_KEY).public_key()).unwrap();
    wire
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
    let handshake = stranger.wire.written;
    stranger.hello(&hello(own.public_key()))?;
    let said = stranger.wire.written;
    let status = stranger.wait_for(crate::stranger::STATUS)?;
    stranger.send(crate::stranger::STATUS, &status)?;
    Ok(Marks { handshake, hello: said, status: stranger.wire.written })
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
    let node = start();
    let mut honest = Honest::join(&node);
    // Before EIP-8 a handshake began with a signature, in 307 bytes without a size.
    let mut old_auth = [0x5a; 307];
    old_auth[..2].copy_from_slice(&[0x04, 0x01]);
    let mut client_hello = vec![0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3];
    client_hello.resize(517, 0x5a);
    let scanners: [&[u8]; 5] = [
        &old_auth,
        &client_hello,
        b"GET / HTTP/1.1\r\nHost: node\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"\x00\x00\x00\x00",
    ];
    thread::scope(|scope| {
        for scanner in scanners {
            let address = address(&node.enode);
            scope.spawn(move || {
                let mut stream = TcpStream::connect(address).unwrap();
                stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
                stream.write_all(scanner).unwrap();
                let mut answer = Vec::new();
                if let Err(error) = stream.read_to_end(&mut answer) {
                    // Closed with something unread.
                    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset, "{scanner:?}");
                }
                assert!(answer.is_empty(), "{scanner:?}: {answer:?}");
            });
        }
    });
    honest.assert_unharmed();
    assert_eq!(node.terminate().code(), Some(0));
}

#[test]
fn h10_who_says_a_byte_each_half_second_is_closed_at_any_stage_of_an_inbound_handshake() {
    let node = start();
    let mut honest = Honest::join(&node);
    let marks = marks_of_a_dialer(&node);
    // The last drips in Status, all others before: in sizes, in packets, in the header of Hello and in its body.
    let stages = [0, 2, marks.handshake, marks.handshake + 8, marks.handshake + 40, marks.hello];
    thread::scope(|scope| {
        for (secret, free) in (20..).zip(stages) {
            let address = address(&node.enode);
            scope.spawn(move || {
                let mut wire = Paced::new(TcpStream::connect(address).unwrap(), free, Then::Drip);
                let limit = if free < marks.hello { MAX_HANDSHAKE_DRIPS } else { MAX_STATUS_DRIPS };
                talk(&mut wire, Role::Dialer, secret, key(NODE_KEY).public_key()).unwrap_err();
                assert!((1..=limit).contains(&wire.drips), "{free} bytes, then {}", wire.drips);
            });
        }
    });
    honest.assert_unharmed();
    assert_eq!(node.terminate().code(), Some(0));
}

fn marks_of_a_dialer(node: &Running) -> Marks {
    let mut wire = Paced::free(TcpStream::connect(address(&node.enode)).unwrap());
    talk(&mut wire, Role::Dialer, 14, key(NODE_KEY).public_key()).unwrap()
}

/// A node that dials as many listeners as there are stages, each with a key of its own.
fn dialing<const N: usize>(log: impl Into<std::process::Stdio>) -> (Running, [(u8, TcpListener); N]) {
    let listeners =
        std::array::from_fn(|index| (30 + index as u8, TcpListener::bind(("127.0.0.1", 0)).unwrap()));
    let peers = listeners.each_ref().map(|(secret, listener)| url(&key(*secret), listener)).join(",");
    let arguments = ["--nodekeyhex", &hex(NODE_KEY), "--nodiscover", "--peers", &peers, "--verbosity", "4"];
    (Running::start_logging(&arguments, log), listeners)
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
    let (node, [first, rest @ ..]) = dialing::<7>(std::process::Stdio::null());
    let accept = |(_, listener): &(u8, TcpListener)| listener.accept().unwrap().0;
    // The first says all it has to.
    let mut wire = Paced::free(accept(&first));
    let marks = talk(&mut wire, Role::Listener, first.0, key(NODE_KEY).public_key()).unwrap();
    let stages = [0, 2, marks.handshake, marks.handshake + 8, marks.handshake + 40, marks.hello];
    thread::scope(|scope| {
        for (peer, free) in rest.iter().zip(stages) {
            scope.spawn(move || {
                let mut wire = Paced::new(accept(peer), free, Then::Drip);
                let limit = if free < marks.hello { MAX_HANDSHAKE_DRIPS } else { MAX_STATUS_DRIPS };
                talk(&mut wire, Role::Listener, peer.0, key(NODE_KEY).public_key()).unwrap_err();
                assert!((1..=limit).contains(&wire.drips), "{free} bytes, then {}", wire.drips);
            });
        }
    });
    assert_eq!(node.terminate().code(), Some(0));
}

#[test]
fn h15_who_says_hello_with_another_key_than_it_proved_is_told_so() {
    let node = start();
    let own = key(40);
    let mut wire = Paced::free(TcpStream::connect(address(&node.enode)).unwrap());
    let mut liar = Stranger::shake_hands(&mut wire, Role::Dialer, &own, key(NODE_KEY).public_key()).unwrap();
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
    assert_eq!(node.terminate().code(), Some(0));
}

#[test]
fn h20_a_hang_up_at_any_stage_of_an_inbound_handshake_leaves_no_socket_and_a_line_at_most() {
    let log = tempfile::NamedTempFile::new().unwrap();
    let arguments = ["--nodekeyhex", &hex(NODE_KEY), "--nodiscover", "--verbosity", "4"];
    let node = Running::start_logging(&arguments, File::create(log.path()).unwrap());
    let mut honest = Honest::join(&node);
    let marks = marks_of_a_dialer(&node);
    let before = honest_sockets(&node);
    let lines = || fs::read_to_string(log.path()).unwrap().lines().count();
    let logged = lines();
    let mut hung_up = 0;
    for free in marks.stages() {
        for how in HANG_UPS {
            let mut wire = Paced::new(TcpStream::connect(address(&node.enode)).unwrap(), free, Then::Stop);
            talk(&mut wire, Role::Dialer, 50 + hung_up, key(NODE_KEY).public_key()).unwrap_err();
            wire.hang_up(how);
            hung_up += 1;
        }
    }
    eventually("all sockets to be closed", || open_sockets(node.process_id()) == before);
    assert!(lines() - logged <= usize::from(hung_up), "{}", fs::read_to_string(log.path()).unwrap());
    honest.assert_unharmed();
    assert_eq!(node.terminate().code(), Some(0));
}

/// The sockets that the node holds for its three honest peers and for itself, once those who have left are gone.
fn honest_sockets(node: &Running) -> usize {
    // Its listener, its three peers; its runtime and its signals have theirs.
    let idle = {
        let alone = start();
        open_sockets(alone.process_id())
    };
    eventually("the others to be gone", || open_sockets(node.process_id()) == idle + 3);
    idle + 3
}

#[test]
fn h20_a_hang_up_at_any_stage_of_an_outbound_handshake_leaves_no_socket() {
    let (node, [first, rest @ ..]) = dialing::<25>(std::process::Stdio::null());
    let mut wire = Paced::free(first.1.accept().unwrap().0);
    let marks = talk(&mut wire, Role::Listener, first.0, key(NODE_KEY).public_key()).unwrap();
    let ends = marks.stages().into_iter().flat_map(|free| HANG_UPS.map(|how| (free, how)));
    thread::scope(|scope| {
        for ((secret, listener), (free, how)) in rest.into_iter().zip(ends) {
            scope.spawn(move || {
                let mut wire = Paced::new(listener.accept().unwrap().0, free, Then::Stop);
                // Who dials again finds nobody.
                drop(listener);
                talk(&mut wire, Role::Listener, secret, key(NODE_KEY).public_key()).unwrap_err();
                wire.hang_up(how);
            });
        }
    });
    let idle = open_sockets(start().process_id());
    // The first is still a peer.
    eventually("all sockets to be closed", || open_sockets(node.process_id()) == idle + 1);
    assert_eq!(node.terminate().code(), Some(0));
}

/// Honest peers of a node that quits.
const QUITTERS: u8 = 120;

#[test]
fn s07_many_peers_hear_that_the_node_quits_though_some_are_stuck() {
    let arguments = ["--nodekeyhex", &hex(NODE_KEY), "--nodiscover", "--maxpeers", "300"];
    let node = Running::start(&arguments);
    let dial = || Paced::free(TcpStream::connect(address(&node.enode)).unwrap());
    // Stuck: half of them say nothing at all, half are peers, and none will read or close.
    let silent: Vec<Paced> = (0..10).map(|_| dial()).collect();
    let stuck: Vec<Paced> = (60..70).map(|secret| settled(&node, secret)).collect();
    // One after the other, or some would make room for others before they are peers.
    let (door, all_in) = (Mutex::new(()), Barrier::new(usize::from(QUITTERS) + 1));
    thread::scope(|scope| {
        for secret in 100..100 + QUITTERS {
            let (dial, door, all_in) = (&dial, &door, &all_in);
            scope.spawn(move || {
                let entering = door.lock().unwrap();
                let (own, mut wire) = (key(secret), dial());
                let caller = key(NODE_KEY).public_key();
                let mut peer = Stranger::shake_hands(&mut wire, Role::Dialer, &own, caller).unwrap();
                peer.settle(&own).unwrap();
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
    let log = tempfile::NamedTempFile::new().unwrap();
    let arguments = ["--nodekeyhex", &hex(NODE_KEY), "--nodiscover"];
    let node = Running::start_logging(&arguments, File::create(log.path()).unwrap());
    let mut honest = Honest::join(&node);
    for _ in 0..100 {
        for secret in [80, 81, 82] {
            drop(settled(&node, secret));
        }
    }
    // More than are told at once why they have to go: each goes on sending, told or not, until it is cut off.
    thread::scope(|scope| {
        for secret in 110..150 {
            let address = address(&node.enode);
            scope.spawn(move || {
                let mut wire = Paced::free(TcpStream::connect(address).unwrap());
                let caller = key(NODE_KEY).public_key();
                let mut liar = Stranger::shake_hands(&mut wire, Role::Dialer, &key(secret), caller).unwrap();
                liar.hello(&hello(key(83).public_key())).unwrap();
                wire.stream.set_write_timeout(Some(Duration::from_secs(10))).unwrap();
                let cut_off = (0..MAX_FLOOD_CHUNKS).find_map(|_| wire.stream.write_all(&FLOOD_CHUNK).err());
                let error = cut_off.expect("cut off");
                assert_ne!(error.kind(), io::ErrorKind::WouldBlock, "still open after 10 s");
            });
        }
    });
    honest_sockets(&node);
    honest.assert_unharmed();
    assert_eq!(node.terminate().code(), Some(0));
    let lines = fs::read_to_string(log.path()).unwrap();
    assert_eq!(lines.lines().count(), 0, "{lines}");
}

#[test]
fn p10_fifteen_who_lied_are_waited_for_at_a_time_and_no_more() {
    const LIARS: u8 = 40;
    const WAITED_FOR: usize = 15;
    let node = Running::start(&["--nodekeyhex", &hex(NODE_KEY), "--nodiscover"]);
    let mut honest = Honest::join(&node);
    let told: Vec<TcpStream> = thread::scope(|scope| {
        let liars: Vec<_> = (110..110 + LIARS)
            .map(|secret| {
                let address = address(&node.enode);
                scope.spawn(move || {
                    let mut wire = Paced::free(TcpStream::connect(address).unwrap());
                    let caller = key(NODE_KEY).public_key();
                    let mut liar =
                        Stranger::shake_hands(&mut wire, Role::Dialer, &key(secret), caller).unwrap();
                    liar.hello(&hello(key(83).public_key())).unwrap();
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
    honest.assert_unharmed();
    assert_eq!(node.terminate().code(), Some(0));
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
