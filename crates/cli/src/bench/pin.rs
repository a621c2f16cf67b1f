//! Cores: the one that the bench runs on, and the one that loads its sockets. Where the system pins no threads, or there
//! is one core only, the bench says so and runs all the same.

use std::thread;

/// Which core is whose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cores {
    /// The bench's, when it is pinned.
    pub(super) bench: Option<usize>,
    /// The load's, when there is another one.
    pub(super) load: Option<usize>,
}

impl Cores {
    /// Pins the calling thread, and all that it starts from now on, to the last core that it may use.
    pub(super) fn pin() -> Self {
        let mut allowed = allowed().into_iter().rev();
        let bench = allowed.next().filter(|core| pin_to(*core));
        Self { bench, load: allowed.next().filter(|_| bench.is_some()) }
    }

    /// Starts `run` on the load's core.
    pub(super) fn spawn_load(self, run: impl FnOnce() + Send + 'static) -> Result<(), String> {
        let pinned = move || {
            if let Some(core) = self.load {
                // Where this fails it stays on the bench's core, and the row is slower than it could be.
                let _ = pin_to(core);
            }
            run();
        };
        let started = thread::Builder::new().name("load".to_owned()).spawn(pinned);
        started.map(drop).map_err(|error| format!("the load cannot start: {error}"))
    }
}

#[cfg(target_os = "linux")]
fn allowed() -> Vec<usize> {
    use rustix::thread::{CpuSet, sched_getaffinity};

    let set = sched_getaffinity(None).unwrap_or_else(|_| CpuSet::new());
    (0..CpuSet::MAX_CPU).filter(|core| set.is_set(*core)).collect()
}

/// Pins the calling thread, and all that it starts from now on; false where that cannot be.
#[cfg(target_os = "linux")]
pub(super) fn pin_to(core: usize) -> bool {
    use rustix::thread::{CpuSet, sched_setaffinity};

    let mut set = CpuSet::new();
    set.set(core);
    sched_setaffinity(None, &set).is_ok()
}

#[cfg(not(target_os = "linux"))]
fn allowed() -> Vec<usize> {
    Vec::new()
}

#[cfg(not(target_os = "linux"))]
pub(super) fn pin_to(_: usize) -> bool {
    false
}
