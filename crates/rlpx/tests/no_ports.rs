//! A machine whose ports are all in use dials nobody, blames nobody, spins not, and goes on when one is free. A binary
//! with one test, which starts itself again in a network of its own with a few ports: no other is harmed, and nobody has
//! to be root. Where the system allows no such network it says that it did not run; what the system answers without a port,
//! `driver/dial.rs` asks it everywhere, and what a server does then is in `server/shortages.rs`.

#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on ends")]

#[path = "driver/support.rs"]
#[expect(dead_code, reason = "made for the tests of the driver, of which this needs a few sentences")]
mod support;

use std::{
    env,
    io::{self, Write},
    net::{Ipv4Addr, TcpListener},
    ops::RangeInclusive,
    pin::Pin,
    process::Command,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use rlpx::{Candidate, Event, Refusal, SessionEnd, SessionError};
use rustix::time::{ClockId, clock_gettime};
use support::{Node, Stage, echo, listener, within};

const NAME: &str = "o04_without_a_free_port_all_dials_pause_and_go_on_as_soon_as_one_is_free";
/// Set in the process that has a network of its own.
const INSIDE: &str = "RLPX_TEST_HAS_FEW_PORTS";
/// All that its system gives by itself.
const PORTS: RangeInclusive<u16> = 40_000..=40_007;
/// What a process may take of a core that has nothing to do but to wait.
const IDLE_PERCENT: u32 = 1;

#[test]
fn o04_without_a_free_port_all_dials_pause_and_go_on_as_soon_as_one_is_free() {
    if env::var_os(INSIDE).is_some() {
        bring_loopback_up();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        return runtime.block_on(run_out_of_ports());
    }
    let few_ports =
        format!("echo {} {} > /proc/sys/net/ipv4/ip_local_port_range", PORTS.start(), PORTS.end());
    let own_network = |script: &str| {
        let mut command = Command::new("unshare");
        command.args(["--map-root-user", "--net", "sh", "-c", script]).env(INSIDE, "1");
        command
    };
    let allowed = own_network(&few_ports).output().expect("the program `unshare`, which belongs to Linux");
    if !allowed.status.success() {
        // Past the test's own output, which is not shown when it passes.
        let why = String::from_utf8_lossy(&allowed.stderr);
        writeln!(io::stdout(), "{NAME}: NOT RUN, this system allows no network of one's own: {why}").unwrap();
        return;
    }
    let mut again = own_network(&format!("{few_ports} && exec \"$0\" \"$@\""));
    again.arg(env::current_exe().unwrap()).args([NAME, "--exact", "--nocapture"]);
    assert!(again.status().unwrap().success());
}

/// Sends rtnetlink's RTM_NEWLINK for the first link, which is loopback, and reads that it was done.
fn bring_loopback_up() {
    use socket2::{Domain, Protocol, Socket, Type};

    const AF_NETLINK: i32 = 16;
    const NETLINK_ROUTE: i32 = 0;
    const RTM_NEWLINK: u16 = 16;
    const REQUEST_AND_ACK: u16 = 1 | 4;
    const IFF_UP: u32 = 1;
    const LEN: u32 = 32;
    let mut message = Vec::new();
    message.extend(LEN.to_ne_bytes());
    message.extend([RTM_NEWLINK, REQUEST_AND_ACK].map(u16::to_ne_bytes).concat());
    // Sequence number, sender; family and type; which link; flags, and those of them that change.
    message.extend([0, 0, 0, 1, IFF_UP, IFF_UP].map(u32::to_ne_bytes).concat());
    let socket =
        Socket::new(Domain::from(AF_NETLINK), Type::RAW, Some(Protocol::from(NETLINK_ROUTE))).unwrap();
    socket.send(&message).unwrap();
    let mut answer = [0; 256];
    let len = io::Read::read(&mut &socket, &mut answer).unwrap();
    assert_eq!((len >= 20, &answer[16..20]), (true, &[0; 4][..]), "loopback stays down");
}

/// Finds the same nodes over and over.
struct Again(Vec<Candidate>, usize);

impl futures_core::Stream for Again {
    type Item = Candidate;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Candidate>> {
        self.1 += 1;
        Poll::Ready(self.0.get(self.1 % self.0.len()).cloned())
    }
}

fn found(node: &Node) -> Candidate {
    Candidate::new(node.key.public_key(), node.enode().endpoint().unwrap())
}

#[expect(clippy::disallowed_methods, reason = "the least that a pause takes is measured")]
fn clock() -> Instant {
    Instant::now()
}

/// What this process has taken of all cores.
fn cpu_time() -> Duration {
    clock_gettime(ClockId::ProcessCPUTime).try_into().unwrap()
}

/// A dial that failed for want of a port, and when: that of the next pause, if one has just failed.
async fn next_try(dialer: &mut Node, last: Option<Instant>) -> Instant {
    // Of a second and more.
    const AT_ONCE: Duration = Duration::from_millis(500);
    loop {
        let event = dialer.event().await;
        let Event::DialFailed { end, rule: None, .. } = event else { panic!("{event:?}") };
        assert_eq!(end, SessionEnd::Broken(SessionError::Exhausted));
        let now = clock();
        if last.is_none_or(|last| now - last > AT_ONCE) {
            return now;
        }
    }
}

async fn run_out_of_ports() {
    let stage = Stage::new();
    let (one, other) = (stage.echoing().await, stage.echoing().await);
    let key = stage.key();
    let builder = stage.builder(&key, listener().await).protocol(Arc::new(echo("echo")));
    let builder = builder.candidates(Again(vec![found(&one), found(&other)], 0));
    let take = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok();
    let taken: Vec<TcpListener> = PORTS.filter_map(take).collect();
    // The three nodes listen at the others.
    assert_eq!(taken.len() + 3, PORTS.count());
    let mut dialer = stage.start(key, builder);
    let first = next_try(&mut dialer, None).await;
    let cpu_before = cpu_time();
    let second = next_try(&mut dialer, Some(first)).await;
    let third = next_try(&mut dialer, Some(second)).await;
    let cpu = cpu_time() - cpu_before;
    let pauses = [second - first, third - second];
    println!("pauses {pauses:?}, in which {cpu:?} of a core were taken");
    assert!(
        pauses[0] >= Duration::from_millis(990) && pauses[1] >= Duration::from_millis(1_990),
        "{pauses:?}"
    );
    assert!(cpu * 100 <= (third - first) * IDLE_PERCENT, "a spin: {cpu:?} of {:?}", third - first);
    let failed = dialer.refused(Refusal::DialShortage);
    drop(taken);
    // One that was to blame would be put off for 35 s.
    let mut reached =
        [within(dialer.connected()).await, within(dialer.connected()).await].map(|peer| peer.public_key);
    let mut expected = [&one, &other].map(|node| node.key.public_key());
    reached.sort();
    expected.sort();
    assert_eq!((reached, dialer.refused(Refusal::DialShortage)), (expected, failed));
}
