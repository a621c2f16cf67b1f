//! How many geths run at once in a test binary: each takes a core for its start and 150 MB.
//! A test takes all it needs at one time, or two tests could each hold what the other waits for.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::{Geth, Options};
use crate::Result;

/// The most that run at once.
const MAX_RUNNING: usize = 3;

static FREE: Mutex<usize> = Mutex::new(MAX_RUNNING);
static FREED: Condvar = Condvar::new();

/// The right to run a number of geths; given back when it and they are dropped.
#[derive(Debug)]
pub struct Slots(Arc<Taken>);

/// Shared by the [`Slots`] and the geths launched in them.
#[derive(Debug)]
pub(super) struct Taken {
    count: usize,
}

impl Slots {
    /// Waits until `count` geths may run.
    ///
    /// # Panics
    /// When `count` is more than 3, which may never run.
    pub fn take(count: usize) -> Self {
        assert!(count <= MAX_RUNNING, "{count} geths asked for, at most {MAX_RUNNING} run at once");
        let mut free = FREED.wait_while(lock(), |free| *free < count).unwrap_or_else(PoisonError::into_inner);
        *free -= count;
        Self(Arc::new(Taken { count }))
    }

    /// Launches a geth in one of the slots.
    ///
    /// # Errors
    /// As [`Geth::launch`].
    ///
    /// # Panics
    /// When a geth runs in each of them.
    pub fn launch(&self, options: Options) -> Result<Geth> {
        let used = Arc::strong_count(&self.0) - 1;
        assert!(used < self.0.count, "a geth runs in each of the {used} slots that were taken");
        Geth::launch_in(Arc::clone(&self.0), options)
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        *lock() += self.count;
        FREED.notify_all();
    }
}

fn lock() -> MutexGuard<'static, usize> {
    FREE.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, thread};

    use super::*;

    #[test]
    fn slots_are_waited_for_until_others_give_theirs_back() {
        let two = Slots::take(2);
        let (sender, taken) = mpsc::sync_channel(1);
        let waiter = thread::spawn(move || {
            let _two_more = Slots::take(2);
            sender.send(()).unwrap();
        });
        let _last = Slots::take(1);
        assert!(taken.try_recv().is_err(), "three of three are taken");
        drop(two);
        taken.recv().unwrap();
        waiter.join().unwrap();
    }
}
