//! A watchdog over tasks that never run out of work: it names those that stand still for ten seconds. It looks at what they
//! have done at fixed intervals and counts its looks, so that a machine that stops for a while makes nobody stand still.

use std::{
    convert::Infallible,
    fmt,
    future::{Future, pending, ready},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::{MissedTickBehavior, interval, timeout};

/// Longer than anybody who has work may stand still (row S06).
pub(crate) const STILL: Duration = Duration::from_secs(10);

/// Looks in [`STILL`].
const LOOKS: u32 = 100;

/// What somebody has done; clones share it.
#[derive(Clone, Default)]
pub(crate) struct Count(Arc<AtomicU64>);

impl Count {
    pub(crate) fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn done(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

struct Watched {
    name: &'static str,
    count: Count,
    seen: u64,
    /// Looks since it went on.
    still: u32,
}

/// Shown with what was done, by name.
#[derive(Default)]
pub(crate) struct Watchdog(Vec<Watched>);

impl Watchdog {
    /// Watches `name`, who counts what it does.
    pub(crate) fn watch(&mut self, name: &'static str) -> Count {
        let count = Count::default();
        self.0.push(Watched { name, count: count.clone(), seen: 0, still: 0 });
        count
    }

    /// Watches as many of a kind, each by itself.
    pub(crate) fn watch_each(&mut self, name: &'static str, number: usize) -> Vec<Count> {
        (0..number).map(|_| self.watch(name)).collect()
    }

    /// Watches while `load` runs, and then until everybody has gone on once more: so it is seen, too, who stopped at the end.
    ///
    /// # Errors
    /// The names of those who stood still for [`STILL`], and of those who soon did so with them.
    pub(crate) async fn over<T>(&mut self, load: impl Future<Output = T>) -> Result<T, String> {
        let mut load = pin!(load);
        let mut looks = interval(STILL / LOOKS);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let result = loop {
            tokio::select! {
                result = &mut load => break result,
                _ = looks.tick() => self.look()?,
            }
        };
        let ends: Vec<u64> = self.0.iter().map(|watched| watched.count.done()).collect();
        while self.0.iter().zip(&ends).any(|(watched, end)| watched.count.done() == *end) {
            looks.tick().await;
            self.look()?;
        }
        Ok(result)
    }

    fn look(&mut self) -> Result<(), String> {
        for Watched { count, seen, still, .. } in &mut self.0 {
            let done = count.done();
            *still = if done == *seen { *still + 1 } else { 0 };
            *seen = done;
        }
        if self.0.iter().all(|watched| watched.still <= LOOKS) {
            return Ok(());
        }
        let stuck = self.0.iter().filter(|watched| watched.still > LOOKS / 2);
        let mut names: Vec<&str> = stuck.map(|watched| watched.name).collect();
        names.dedup();
        Err(names.join(", "))
    }
}

impl fmt::Display for Watchdog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of_one_name = self.0.chunk_by(|one, other| one.name == other.name);
        of_one_name.into_iter().try_for_each(|watched| {
            let done: Vec<String> = watched.iter().map(|watched| watched.count.done().to_string()).collect();
            writeln!(f, "{}: {}", watched[0].name, done.join(", "))
        })
    }
}

/// Goes on at each of these intervals.
async fn go_on(count: Count, pause: Duration) -> Infallible {
    let mut pauses = interval(pause);
    loop {
        pauses.tick().await;
        count.add();
    }
}

#[tokio::test(start_paused = true)]
async fn s06_the_watchdog_names_who_stands_still_for_ten_seconds_and_nobody_who_goes_on() {
    let mut watchdog = Watchdog::default();
    let [often, seldom] = ["one", "another"].map(|name| watchdog.watch(name));
    watchdog.watch("a third").add();
    let mut watching = pin!(async {
        tokio::select! {
            found = watchdog.over(pending::<()>()) => found,
            _ = go_on(often, STILL / 1_000) => unreachable!("it goes on"),
            _ = go_on(seldom, STILL / 10 * 9) => unreachable!("it goes on"),
        }
    });
    let look = STILL / LOOKS;
    assert!(timeout(STILL - look, &mut watching).await.is_err(), "it has ten seconds");
    assert_eq!(timeout(2 * look, watching).await, Ok(Err("a third".to_owned())));
}

#[tokio::test(start_paused = true)]
async fn s06_the_watchdog_sees_who_stops_at_the_end_of_the_load() {
    for stops in [false, true] {
        let mut watchdog = Watchdog::default();
        let [one, other] = ["one", "another"].map(|name| watchdog.watch(name));
        other.add();
        let found = tokio::select! {
            found = watchdog.over(ready("done")) => found,
            _ = go_on(one, STILL / 2) => unreachable!("it goes on"),
            _ = go_on(other, STILL / 2), if !stops => unreachable!("it goes on"),
        };
        assert_eq!(found, if stops { Err("another".to_owned()) } else { Ok("done") });
    }
}
