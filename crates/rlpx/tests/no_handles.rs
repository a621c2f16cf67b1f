//! A process that may open no more files dials nobody, blames nobody, writes its address book all the same, and goes on
//! when it may again. A binary of its own, because the limit is the process's; its tests take turns.

#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on ends")]

#[path = "driver/support.rs"]
#[expect(dead_code, reason = "made for the tests of the driver, of which this needs a few sentences")]
mod support;

use std::{
    fs::File,
    os::unix::fs::FileExt,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use identity::NodeKey;
use rlpx::{
    BookTimes, Candidate, Event, Refusal, ServerBuilder, ServerConfig, ServerTimes, SessionEnd, SessionError,
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use support::{One, Stage, echo, listener, quick, within};

#[expect(clippy::disallowed_methods, reason = "the least that a pause takes is measured")]
fn clock() -> Instant {
    Instant::now()
}

/// The handles of a process that has standard input, output and errors: what has more opens none.
const SPENT: u64 = 3;

/// Runs `test` when no other of this process runs: its runtime, too, needs handles that another may have forbidden.
fn alone(test: impl Future<Output = ()>) {
    static ALONE: Mutex<()> = Mutex::new(());
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test);
}

/// Lets this process have `current` open files.
fn limit_files(limits: &Rlimit, current: Option<u64>) {
    setrlimit(Resource::Nofile, Rlimit { current, maximum: limits.maximum }).unwrap();
}

#[test]
fn o04_without_file_handles_all_dials_pause_and_the_first_that_can_reaches_its_node() {
    alone(dials_pause());
}

async fn dials_pause() {
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

async fn with_book(stage: &Stage, key: &Arc<NodeKey>, path: &Path) -> ServerBuilder {
    // Time enough between a session and the book for what makes the handles scarce.
    let book = BookTimes { stable: Duration::from_secs(1), store: Duration::from_millis(1) };
    let config = quick();
    let times = ServerTimes { book, ..config.times };
    let builder = stage.builder(key, listener().await).protocol(Arc::new(echo("echo")));
    builder.config(ServerConfig { times, ..config }).address_book(path)
}

/// The whole of a file that is open.
fn content(file: &File) -> Vec<u8> {
    let mut bytes = vec![0; file.metadata().unwrap().len() as usize];
    file.read_exact_at(&mut bytes, 0).unwrap();
    bytes
}

#[test]
fn s11_without_file_handles_a_node_that_served_gets_into_the_address_book() {
    alone(the_book_is_written());
}

async fn the_book_is_written() {
    let (stage, dir) = (Stage::new(), tempfile::tempdir().unwrap());
    let path = dir.path().join("addressbook.redb");
    let (key, target) = (stage.key(), stage.echoing().await);
    let found = Candidate::new(target.key.public_key(), target.enode().endpoint().unwrap());
    let builder = with_book(&stage, &key, &path).await.candidates(One(Some(found)));
    let mut first = stage.start(Arc::clone(&key), builder);
    first.connected().await;
    let file = File::open(&path).unwrap();
    let limits = getrlimit(Resource::Nofile);
    limit_files(&limits, Some(SPENT));
    let before = content(&file);
    File::open(&path).unwrap_err();
    within(async {
        while content(&file) == before {
            tokio::task::yield_now().await;
        }
    })
    .await;
    first.server.shutdown().await;
    limit_files(&limits, limits.current);
    // The next run finds nobody, and knows it from the book alone.
    let mut again = stage.start(Arc::clone(&key), with_book(&stage, &key, &path).await);
    assert_eq!(again.connected().await.public_key, target.key.public_key());
}
