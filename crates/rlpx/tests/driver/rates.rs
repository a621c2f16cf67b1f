//! Limits on bytes per second, over real sockets: nothing is faster than they say, and nobody is closed for them. How
//! they are shared, and their numbers, are tested in virtual time beside `rate.rs` and `throttle.rs`.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use rlpx::{ConfigError, Contradiction, MIN_RATE, RateLimits, ServerConfig, ServerTimes, Timeouts};

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
    let config = ServerConfig { rates, times, ..quick() };
    let builder = stage.builder(&key, listener().await).protocol(Arc::new(echo("echo")));
    stage.start(key, builder.config(config).timeouts(timeouts))
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
