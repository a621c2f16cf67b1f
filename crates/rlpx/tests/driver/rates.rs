//! Limits on bytes per second, over real sockets: nothing is faster than they say, peers share them evenly, and nobody is
//! closed for them. Their numbers are tested in virtual time beside `rate.rs` and `throttle.rs`.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use rlpx::{
    ConfigError, Connection, Contradiction, MIN_RATE, PeerInfo, RateLimits, ServerConfig, ServerTimes,
    Timeouts,
};
use tokio::task::JoinSet;

use crate::support::{Node, Stage, ask_echo, echo, listener, quick, within};

const MIB: usize = 1 << 20;

#[expect(clippy::disallowed_methods, reason = "the least that a transfer takes is measured")]
fn clock() -> Instant {
    Instant::now()
}

fn passed(since: Instant) -> Duration {
    clock().saturating_duration_since(since)
}

async fn limited(stage: &Stage, rates: RateLimits, stall: Duration, timeouts: Timeouts) -> Node {
    let key = stage.key();
    let times = ServerTimes { protocol_stall: stall, ..quick().times };
    let config = ServerConfig { rates, times, timeouts, ..quick() };
    let builder = stage.builder(&key, listener().await).protocol(Arc::new(echo("echo")));
    stage.start(key, builder.config(config))
}

/// Bytes that do not compress.
fn noise(len: usize) -> Bytes {
    let mut state = 1u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_be_bytes()[3]
    };
    (0..len).map(|_| next()).collect()
}

#[tokio::test]
async fn a_peer_is_not_read_faster_than_its_limit_and_stays() {
    let stage = Stage::new();
    let rates = RateLimits { peer_download: Some(2 * MIB as u64), ..Default::default() };
    let node = limited(&stage, rates, Duration::from_secs(5), Timeouts::default()).await;
    let mut tool = stage.tool(&node).await;
    let begun = clock();
    // A second's bytes go at once, the rest takes a second and a half.
    for _ in 0..5 {
        within(tool.send(0, 1, noise(MIB))).await.unwrap();
    }
    ask_echo(&mut tool, b"last").await;
    assert!(passed(begun) >= Duration::from_millis(1_400), "{:?}", passed(begun));
    assert_eq!(node.server.peer_count(), 1);
}

#[tokio::test]
async fn a_peer_is_sent_no_more_than_its_limit_and_neither_pings_nor_the_stalled_protocol_end_it() {
    let stage = Stage::new();
    let rates = RateLimits { upload: Some(8 * MIB as u64), ..Default::default() };
    // Each message waits for a quarter of a second, longer than a protocol may stall. A Ping goes out a second.
    let timeouts = Timeouts { ping: Duration::from_secs(1), ..Timeouts::default() };
    let mut node = limited(&stage, rates, Duration::from_millis(50), timeouts).await;
    let mut tool = stage.tool(&node).await;
    node.connected().await;
    let (begun, message) = (clock(), noise(2 * MIB));
    let mut back = 0;
    for _ in 0..16 {
        within(tool.send(0, 0, message.clone())).await.unwrap();
    }
    while back < 16 {
        let received = within(tool.next()).await.unwrap();
        assert_eq!(received.message.payload, message);
        back += 1;
    }
    assert!(passed(begun) >= Duration::from_millis(2_500), "{:?}", passed(begun));
    let base = &node.server.counters().protocols()[0];
    assert!(base.codes[2].sent.messages > 0 && node.server.peer_count() == 1, "{base:?}");
}

/// A direction as the node sees it.
#[derive(Clone, Copy)]
enum Direction {
    Download,
    Upload,
}

/// What a tool does that always has something to send, or to be sent; it never ends.
async fn want_all(mut tool: Connection, direction: Direction) {
    const UNDER_WAY: usize = 4;
    let message = noise(32 * 1_024);
    match direction {
        // Nobody answers a message of code 1.
        Direction::Download => while tool.send(0, 1, message.clone()).await.is_ok() {},
        Direction::Upload => {
            for _ in 0..UNDER_WAY {
                tool.send(0, 0, message.clone()).await.unwrap();
            }
            while tool.next().await.is_ok() {
                tool.send(0, 0, message.clone()).await.unwrap();
            }
        }
    }
    unreachable!("the node ends no session");
}

/// Lets `count` tools want all that the limits leave them until they have `first` bytes, and then `more`: how much of those
/// each got, in order, and how long it took.
async fn shares(
    rates: RateLimits,
    direction: Direction,
    count: usize,
    (first, more): (u64, u64),
) -> (Vec<u64>, Duration) {
    let stage = Stage::new();
    let mut node = limited(&stage, rates, Duration::from_secs(5), Timeouts::default()).await;
    let (mut tools, mut peers) = (Vec::new(), Vec::new());
    for _ in 0..count {
        tools.push(stage.tool(&node).await);
        peers.push(node.connected().await);
    }
    let mut wanting: JoinSet<()> = tools.into_iter().map(|tool| want_all(tool, direction)).collect();
    let bytes = |peer: &Arc<PeerInfo>| {
        let status = peer.status();
        match direction {
            Direction::Download => status.bytes_in,
            Direction::Upload => status.bytes_out,
        }
    };
    let until = async |total: u64| {
        while peers.iter().map(bytes).sum::<u64>() < total {
            tokio::task::yield_now().await;
        }
        (clock(), peers.iter().map(bytes).collect::<Vec<u64>>())
    };
    let (begun, before) = within(until(first)).await;
    let (_, after) = within(until(first + more)).await;
    let took = passed(begun);
    assert_eq!((node.server.peer_count(), wanting.try_join_next().is_none()), (count, true));
    let mut shares: Vec<u64> = after.iter().zip(before).map(|(after, before)| after - before).collect();
    shares.sort_unstable();
    println!("{shares:?} bytes in {took:?}");
    (shares, took)
}

#[tokio::test]
async fn several_peers_share_a_limit_in_equal_parts() {
    const RATE: u64 = 4 * MIB as u64;
    const COUNT: usize = 5;
    let limits = [
        (RateLimits { download: Some(RATE), ..Default::default() }, Direction::Download),
        (RateLimits { upload: Some(RATE), ..Default::default() }, Direction::Upload),
    ];
    for (rates, direction) in limits {
        // The bytes of a first second go at once, and to whoever comes first.
        let (shares, took) = shares(rates, direction, COUNT, (RATE + RATE / 4, 2 * RATE)).await;
        assert!(took >= Duration::from_millis(1_900), "{took:?}");
        let even = shares.iter().sum::<u64>() / COUNT as u64;
        assert!(shares[0] * 10 >= even * 8 && shares[COUNT - 1] * 10 <= even * 12, "{shares:?}");
    }
}

#[tokio::test]
async fn no_peer_passes_its_own_limit_where_the_nodes_would_let_it() {
    const RATE: u64 = MIB as u64;
    const COUNT: usize = 3;
    let all = Some(64 * RATE);
    let limits = [
        (RateLimits { download: all, peer_download: Some(RATE), ..Default::default() }, Direction::Download),
        (RateLimits { upload: all, peer_upload: Some(RATE), ..Default::default() }, Direction::Upload),
    ];
    for (rates, direction) in limits {
        let all = COUNT as u64 * RATE;
        let (shares, took) = shares(rates, direction, COUNT, (all + all / 4, 2 * all)).await;
        let most = RATE as f64 * (0.1 + took.as_secs_f64());
        assert!(shares[COUNT - 1] as f64 <= most, "{shares:?} in {took:?}");
        // Nor does it get less, for want of others.
        assert!(shares[0] * 10 >= 2 * RATE * 8, "{shares:?}");
    }
}

#[tokio::test]
async fn limits_that_cannot_be_kept_are_refused_at_the_start() {
    let stage = Stage::new();
    let key = stage.key();
    let rates = RateLimits { download: Some(MIN_RATE - 1), ..Default::default() };
    let builder = stage.builder(&key, listener().await).config(ServerConfig { rates, ..quick() });
    let refused = builder.start().unwrap_err();
    let expected = Contradiction::RateTooLow { setting: "download", rate: MIN_RATE - 1 };
    assert!(matches!(refused, ConfigError::Contradiction(found) if found == expected), "{refused}");
}
