//! Less of everything: memory that the system does not give, a core that others use. Each without being root.
//! Linux alone pins a process to a core; elsewhere that fails, and says so.

use std::time::Duration;

use interop::{Deadline, Failure, Result};
use rustix::process::{Resource, Rlimit, setrlimit};

use super::ready;

/// What the process, and its threads, may have of memory of their own, in bytes: asked for more the system refuses, and a
/// Rust program that is refused memory ends.
pub(super) fn limit_memory(len: u64) -> Result<()> {
    let limit = Rlimit { current: Some(len), maximum: Some(len) };
    setrlimit(Resource::Data, limit).map_err(|error| Failure::new(format!("no limit on memory: {error}")))
}

/// Runs on this core alone, with all threads that are started from now on.
#[cfg(target_os = "linux")]
pub(super) fn stay_on(core: usize) -> Result<()> {
    use rustix::thread::{CpuSet, sched_setaffinity};

    let mut set = CpuSet::new();
    set.set(core);
    sched_setaffinity(None, &set).map_err(|error| Failure::new(format!("not on core {core}: {error}")))
}

#[cfg(not(target_os = "linux"))]
pub(super) fn stay_on(core: usize) -> Result<()> {
    Err(Failure::new(format!("not on core {core}: this system pins no process")))
}

/// Keeps a core busy, and ends.
pub(super) fn burn(core: usize, seconds: u32) -> Result<()> {
    stay_on(core)?;
    ready()?;
    let deadline = Deadline::after(Duration::from_secs(seconds.into()));
    while !deadline.passed() {
        std::hint::spin_loop();
    }
    println!("core {core} was busy for {seconds} s");
    Ok(())
}
