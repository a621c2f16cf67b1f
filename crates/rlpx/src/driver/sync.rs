//! Locks and counters of what tasks share. The tests of interleavings put shuttle's in their place, which decide who runs
//! next whenever one is used.

#[cfg(all(test, shuttle))]
pub(super) use shuttle::sync::{Mutex, MutexGuard, atomic};
#[cfg(not(all(test, shuttle)))]
pub(super) use std::sync::{Mutex, MutexGuard, atomic};
