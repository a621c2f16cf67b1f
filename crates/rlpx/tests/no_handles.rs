//! A process that may open no more files dials nobody, blames nobody, and goes on when it may again. A binary with one
//! test, because the limit is the process's.

#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on ends")]

#[path = "driver/support.rs"]
#[expect(dead_code, reason = "made for the tests of the driver, of which this needs a few sentences")]
mod support;

use std::time::{Duration, Instant};

use rlpx::{Event, Refusal, SessionEnd, SessionError};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use support::{Stage, within};

#[expect(clippy::disallowed_methods, reason = "the least that a pause takes is measured")]
fn clock() -> Instant {
    Instant::now()
}

/// The handles of a process that has standard input, output and errors: what has more opens none.
const SPENT: u64 = 3;

/// Lets this process have `current` open files.
fn limit_files(limits: &Rlimit, current: Option<u64>) {
    setrlimit(Resource::Nofile, Rlimit { current, maximum: limits.maximum }).unwrap();
}

#[tokio::test]
async fn o04_without_file_handles_all_dials_pause_and_the_first_that_can_reaches_its_node() {
    let stage = Stage::new();
    let (target, mut dialer) = (stage.echoing().await, stage.echoing().await);
    let limits = getrlimit(Resource::Nofile);
    limit_files(&limits, Some(SPENT));
    dialer.server.add_peer(target.enode()).await.unwrap();
    let mut failed_at = Vec::new();
    while failed_at.len() < 2 {
        let event = dialer.event().await;
        let Event::DialFailed { end, rule: None, .. } = event else { panic!("{event:?}") };
        assert_eq!(end, SessionEnd::Broken(SessionError::Exhausted));
        failed_at.push(clock());
    }
    limit_files(&limits, limits.current);
    assert!(failed_at[1] - failed_at[0] >= Duration::from_millis(990), "{failed_at:?}");
    assert_eq!(within(dialer.connected()).await.public_key, target.key.public_key());
    assert_eq!(dialer.refused(Refusal::DialShortage), 2);
}
