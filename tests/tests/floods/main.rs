//! A node under floods of connections: rows F03, H03, H11, H12, O05, P10, P12, P13, S05 and S07. Node and attackers are processes of their own, honest
//! peers this one. An ordinary run takes seconds and small counts; the counts of the rows, and the times that pings may
//! take, are for `--features thorough` on a machine that does nothing else.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod fragile;
mod honest;
mod process;
#[cfg(feature = "thorough")]
mod timing;

#[cfg(target_os = "linux")]
use std::time::Duration;

use honest::Honest;
use process::Flood;
use tokio::sync::Mutex;
#[cfg(target_os = "linux")]
use {interop::eventually, tokio::time::interval};

/// What all peers together may hold: the default of a node, and the least that one takes.
const BUDGET: usize = if THOROUGH { 256 << 20 } else { 32 << 20 };
/// What each may hold besides (SECURITY.md).
const PER_PEER: u64 = 256 * 1_024;
/// What the system may keep for each: what it has not sent, and a segment of loopback (SECURITY.md).
#[cfg(target_os = "linux")]
const PER_SOCKET: u64 = (128 + 64) * 1_024;
/// For how long an attack goes on.
const SECONDS: u32 = if THOROUGH { 60 } else { 4 };
/// Honest peers that are there from the beginning.
const HONEST: u32 = if THOROUGH { 20 } else { 5 };
const THOROUGH: bool = cfg!(feature = "thorough");

/// Held by the test that runs: the others would be its load.
static ALONE: Mutex<()> = Mutex::const_new(());

/// Lets an attack run to its end beside honest peers: what it says of itself, and what the node has counted. It has to have
/// done `least` of each, but for a hundredth; in an ordinary run, beside whatever else the machine does, a fourth of it.
async fn endure(role: &str, numbers: &[(&str, u32)], least: &[(&str, u32)]) {
    let _alone = ALONE.lock().await;
    let (mut node, enode) = Flood::node(BUDGET);
    let mut attack = Flood::attack(role, &enode, SECONDS, numbers);
    let honest = Honest::start(&enode, HONEST).await;
    let (said, attack) = tokio::task::spawn_blocking(move || {
        attack.say();
        (attack.line(), attack)
    })
    .await
    .unwrap();
    let seen = honest.end().await;
    println!("attack: {said}\nnode: {}", node.counts());
    // Without a processor in time a node refuses what it would have answered.
    #[cfg(target_os = "linux")]
    println!("the node took {:?} of processors and waited {:?} for them", node.cpu_time(), node.waited());
    seen.assert_unharmed(role);
    for (what, count) in least {
        let done = told(&said, what);
        let least = if THOROUGH { count / 100 * 99 } else { count / 4 };
        assert!(done >= least, "no attack: {done} {what} of {count}");
    }
    drop(attack);
}

/// The number that stands before `what`.
fn told(said: &str, what: &str) -> u32 {
    let words: Vec<&str> = said.split([' ', ',', ';', ':']).filter(|word| !word.is_empty()).collect();
    let place = words.iter().position(|word| *word == what).expect(said);
    words[place - 1].parse().expect(said)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h12_handshakes_good_and_bad_by_the_thousand_harm_no_honest_peer() {
    const VALID: u32 = if THOROUGH { 1_000 } else { 50 };
    const BAD: u32 = if THOROUGH { 5_000 } else { 250 };
    println!(
        "{VALID} valid and {BAD} bad handshakes a second for {SECONDS} s (thorough: 1000 and 5000 for 60 s)"
    );
    let least = [("answered", VALID * SECONDS), ("closed", BAD * SECONDS)];
    endure("handshakes", &[("valid", VALID), ("bad", BAD)], &least).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h11_half_open_connections_by_the_thousand_harm_no_honest_peer() {
    const COUNT: u32 = if THOROUGH { 10_000 } else { 500 };
    println!("{COUNT} half-open connections for {SECONDS} s (thorough: 10000 for 60 s)");
    endure("half-open", &[("count", COUNT)], &[("connected", COUNT / 10 * SECONDS)]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p10_nodes_that_come_and_go_by_the_thousand_harm_no_honest_peer() {
    const RATE: u32 = if THOROUGH { 1_000 } else { 100 };
    println!("{RATE} sessions a second for {SECONDS} s (thorough: 1000 for 60 s)");
    endure("storm", &[("rate", RATE)], &[("sessions", RATE * SECONDS)]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p12_peers_that_never_stop_talking_harm_no_honest_peer() {
    const COUNT: u32 = if THOROUGH { 20 } else { 2 };
    const MESSAGES: u32 = 40_000;
    println!("{COUNT} peers that never stop talking for {SECONDS} s (thorough: 20 for 60 s)");
    endure("talkative", &[("count", COUNT)], &[("messages", MESSAGES * SECONDS)]).await;
}

#[cfg(feature = "thorough")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h03_the_time_in_which_a_bad_auth_is_refused_does_not_tell_where_its_tag_differs() {
    let _alone = ALONE.lock().await;
    let (mut node, enode) = Flood::node(BUDGET);
    let honest = Honest::start(&enode, 3).await;
    let (runtime, target) = (tokio::runtime::Handle::current(), enode.clone());
    let times = tokio::task::spawn_blocking(move || timing::measure(&runtime, &target, 0..)).await.unwrap();
    let seen = honest.end().await;
    println!("node: {}", node.counts());
    seen.assert_unharmed("timing");
    times.assert_nothing_told();
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p13_peers_that_never_read_take_no_more_memory_than_is_published() {
    use interop::flood::POURED_LEN;

    const PEERS: u32 = if THOROUGH { 1_000 } else { 50 };
    println!("{PEERS} peers that never read (thorough: 1000)");
    let _alone = ALONE.lock().await;
    let (mut node, enode) = Flood::node(BUDGET);
    let (base, _) = node.memory();
    let mut attack = Flood::attack("deaf", &enode, SECONDS, &[("count", PEERS)]);
    let before = node.memory().0;
    let honest = Honest::start(&enode, HONEST).await;
    attack.say();
    println!("attack: {}", attack.line());
    let mut attack = tokio::task::spawn_blocking(move || {
        println!("attack: {}", attack.line());
        attack
    });
    let (mut queued, mut looks) = (0, interval(Duration::from_millis(500)));
    let attack = loop {
        tokio::select! {
            attack = &mut attack => break attack.unwrap(),
            _ = looks.tick() => queued = node.longest_send_queue(enode.tcp).max(queued),
        }
    };
    let seen = honest.end().await;
    let (now, most) = node.memory();
    let limit = base + u64::from(PEERS + HONEST) * PER_PEER + BUDGET as u64;
    let counts = node.counts();
    println!("node: {counts}");
    println!("base {base}, connected {before}, most {most}, now {now}, limit {limit} bytes");
    println!("the longest queue of the system: {queued} bytes");
    seen.assert_unharmed("deaf");
    // Each is sent what the system takes and holds some messages more.
    assert!(most > before + u64::from(PEERS) * POURED_LEN as u64, "the node was never asked for much");
    assert!(most <= limit);
    assert!(queued > 0 && queued <= PER_SOCKET, "{queued} bytes wait in the system");
    // A peer that takes nothing for 20 s is closed.
    assert!(!THOROUGH || counts.contains(&format!("\"write_timeout\": {PEERS}")), "{counts}");
    drop(attack);
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f03_peers_that_claim_16_mib_each_and_drip_take_no_more_memory_than_is_published() {
    const PEERS: u32 = if THOROUGH { 1_000 } else { 100 };
    println!("{PEERS} peers claim 16 MiB each and drip for {SECONDS} s (thorough: 1000 for 60 s)");
    let _alone = ALONE.lock().await;
    let (mut node, enode) = Flood::node(BUDGET);
    let (base, _) = node.memory();
    let mut attack = Flood::attack("claims", &enode, SECONDS, &[("count", PEERS)]);
    let before = node.memory().0;
    let honest = Honest::start(&enode, HONEST).await;
    attack.say();
    println!("attack: {}", attack.line());
    let (said, attack) = tokio::task::spawn_blocking(move || (attack.line(), attack)).await.unwrap();
    let seen = honest.end().await;
    let most = node.memory().1;
    let limit = base + u64::from(PEERS + HONEST) * PER_PEER + BUDGET as u64;
    println!("attack: {said}\nnode: {}", node.counts());
    println!("base {base}, connected {before}, most {most}, limit {limit} bytes");
    seen.assert_unharmed("claims");
    // Whatever the others take, of each that drips half of what it may have of its own has come.
    assert!(told(&said, "MiB") > 0 && most > before + u64::from(PEERS / 2) * PER_PEER / 4, "no attack");
    assert!(most <= limit);
    drop(attack);
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s07_a_node_with_many_peers_of_whom_some_are_stuck_says_goodbye_and_ends_within_5_s() {
    const GUESTS: u32 = if THOROUGH { 900 } else { 90 };
    const STUCK: u32 = GUESTS / 9;
    /// More than the system keeps for who reads.
    const FULL: u64 = 64 * 1_024;
    const LIMIT: Duration = Duration::from_secs(5);
    println!("{GUESTS} peers and {STUCK} that are stuck (thorough: 900 and 100)");
    let _alone = ALONE.lock().await;
    let (mut node, enode) = Flood::node(BUDGET);
    let mut guests = Flood::attack("guests", &enode, 60, &[("count", GUESTS), ("stuck", STUCK)]);
    guests.say();
    println!("guests: {}\nnode: {}", guests.line(), node.counts());
    let is_full = || Ok((node.longest_send_queue(enode.tcp) > FULL).then_some(()));
    eventually("peers that are stuck", LIMIT, is_full).unwrap();
    assert!(node.end(LIMIT).success());
    let said = guests.line();
    println!("guests: {said}");
    assert_eq!(told(&said, "told"), GUESTS, "{said}");
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn o05_a_starved_node_loses_no_more_than_one_of_ten_and_needs_no_memory_that_it_has_not() {
    const HOSTILE: u32 = 200;
    const HONEST: u32 = if THOROUGH { 20 } else { 10 };
    const SECONDS: u32 = if THOROUGH { 60 } else { 8 };
    // With the node there are four that want the core.
    const BURNERS: usize = 3;
    const MEMORY: u64 = if THOROUGH { 512 << 20 } else { 160 << 20 };
    println!(
        "{HOSTILE} hostile and {HONEST} honest peers of a starved node for {SECONDS} s (thorough: 20, 60 s)"
    );
    println!(
        "{} MiB for it, and {} MiB of them for all peers (thorough: 512, 256)",
        MEMORY >> 20,
        BUDGET >> 20
    );
    let _alone = ALONE.lock().await;
    let core = process::first_core();
    let (mut node, enode) = Flood::node_in_need(BUDGET, MEMORY, core);
    let honest = Honest::start(&enode, HONEST).await;
    let mut burners: Vec<Flood> = (0..BURNERS).map(|_| Flood::burner(core, SECONDS)).collect();
    let mut attack = Flood::attack("mixed", &enode, SECONDS, &[("count", HOSTILE)]);
    let used = node.cpu_time();
    burners.iter_mut().for_each(Flood::say);
    attack.say();
    let (said, attack) = tokio::task::spawn_blocking(move || (attack.line(), attack)).await.unwrap();
    let used = node.cpu_time() - used;
    let burnt: Vec<Duration> = burners.iter().map(Flood::cpu_time).collect();
    let seen = honest.end().await;
    let counts = node.counts();
    let (_, most) = node.memory();
    println!(
        "attack: {said}\nnode: {counts}\n{used:?} of processor time beside {burnt:?}, at most {most} bytes"
    );
    seen.assert_mostly_there("starved", HONEST);
    // Each of the four had as much as another wanted, and the node wanted something.
    assert!(burnt.iter().all(|burnt| used < *burnt * 5 / 4), "not starved: {used:?} beside {burnt:?}");
    assert!(used > Duration::from_secs(SECONDS.into()) / 100, "idle: {used:?}");
    assert!(most <= MEMORY);
    drop(attack);
}
