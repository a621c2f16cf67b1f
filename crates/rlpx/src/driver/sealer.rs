//! Brings together what connections seal at the same time: a message to many peers wakes their tasks one after the other,
//! and each leaves its job here before it goes on. The fourth does the work of all four; one that nobody joins does its own
//! when its turn comes again.

use std::{
    pin::Pin,
    sync::{Arc, PoisonError},
    task::{Context, Poll},
};

use identity::keccak_lanes;
use tokio::sync::oneshot;

use super::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicU64, Ordering},
};
use crate::SealJob;

/// Where the connections of a server leave their jobs: one each at most, and that is what bounds it.
pub(super) struct Sealer {
    waiting: Mutex<Vec<Waiting>>,
    next: AtomicU64,
    /// How many are done at a time.
    lanes: usize,
}

struct Waiting {
    number: u64,
    job: SealJob,
    answer: oneshot::Sender<SealJob>,
}

/// A job that is being done. Given up when dropped.
pub(super) struct Sealing {
    sealer: Arc<Sealer>,
    number: u64,
    answer: oneshot::Receiver<SealJob>,
    /// Whether all whose turn came meanwhile have had the chance to join.
    waited: bool,
}

impl Sealer {
    pub(super) fn new() -> Arc<Self> {
        Self::with_lanes(keccak_lanes())
    }

    pub(super) fn with_lanes(lanes: usize) -> Arc<Self> {
        Arc::new(Self { waiting: Mutex::default(), next: AtomicU64::new(0), lanes })
    }

    /// One for a single connection: there is nobody to share the work with.
    #[cfg(feature = "testing")]
    pub(super) fn alone() -> Arc<Self> {
        Self::with_lanes(1)
    }

    /// Whether several jobs at once take less time than one after the other.
    pub(super) const fn is_worth_it(&self) -> bool {
        self.lanes > 1
    }

    pub(super) fn submit(self: &Arc<Self>, job: SealJob) -> Sealing {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, answer) = oneshot::channel();
        let mut waiting = self.lock();
        waiting.push(Waiting { number, job, answer: sender });
        let is_full = waiting.len() >= self.lanes;
        drop(waiting);
        if is_full {
            self.run();
        }
        Sealing { sealer: Arc::clone(self), number, answer, waited: false }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Waiting>> {
        // No code that can panic runs under the lock.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does as many jobs as can be done at once, the oldest first; false when there is none.
    fn run(&self) -> bool {
        let mut waiting = self.lock();
        let count = waiting.len().min(self.lanes);
        let taken: Vec<Waiting> = waiting.drain(..count).collect();
        drop(waiting);
        let (mut jobs, mut answers) = (Vec::with_capacity(count), Vec::with_capacity(count));
        for Waiting { job, answer, .. } in taken {
            jobs.push(job);
            answers.push(answer);
        }
        SealJob::run(&mut jobs);
        for (job, answer) in jobs.into_iter().zip(answers) {
            // Whoever has gone does not need it.
            let _ = answer.send(job);
        }
        count > 0
    }
}

impl Sealing {
    /// Ready with the job once it is done.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<SealJob> {
        loop {
            if let Poll::Ready(answer) = Pin::new(&mut self.answer).poll(cx) {
                return Poll::Ready(answer.expect("a job that was taken is done"));
            }
            if !self.waited {
                self.waited = true;
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            if !self.sealer.run() {
                // Another thread is at it, and answers.
                return Poll::Pending;
            }
        }
    }
}

impl Drop for Sealing {
    fn drop(&mut self) {
        self.sealer.lock().retain(|waiting| waiting.number != self.number);
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use identity::keccak256;
    use tokio::task::JoinSet;

    use super::*;

    fn job(byte: u8) -> SealJob {
        SealJob::of(vec![byte; 20_000])
    }

    async fn done(mut sealing: Sealing) -> SealJob {
        poll_fn(|cx| sealing.poll(cx)).await
    }

    /// As on a processor with four lanes, whatever there is here.
    fn sealer() -> Arc<Sealer> {
        Sealer::with_lanes(4)
    }

    #[tokio::test]
    async fn the_fourth_does_the_work_of_all_and_one_alone_its_own() {
        let sealer = sealer();
        let mut waiting: Vec<_> = (0..3).map(|byte| sealer.submit(job(byte))).collect();
        assert_eq!(sealer.lock().len(), 3);
        waiting.push(sealer.submit(job(3)));
        assert_eq!(sealer.lock().len(), 0);
        waiting.push(sealer.submit(job(4)));
        for (byte, sealing) in (0..).zip(waiting) {
            assert_eq!(done(sealing).await.digest(), keccak256(&[byte; 20_000]));
        }
    }

    #[tokio::test]
    async fn what_is_given_up_is_not_kept() {
        let sealer = sealer();
        let (kept, given_up) = (sealer.submit(job(1)), sealer.submit(job(2)));
        drop(given_up);
        assert_eq!(sealer.lock().len(), 1);
        assert_eq!(done(kept).await.digest(), keccak256(&[1; 20_000]));
        assert_eq!(sealer.lock().len(), 0);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn everybody_is_answered_whoever_does_the_work() {
        const ROUNDS: usize = if cfg!(feature = "thorough") { 5_000 } else { 200 };
        let sealer = sealer();
        let mut tasks = JoinSet::new();
        for byte in 0..9 {
            let sealer = Arc::clone(&sealer);
            tasks.spawn(async move {
                for round in 0..ROUNDS {
                    let sealing = sealer.submit(job(byte));
                    // Some change their minds.
                    if round % 7 != usize::from(byte) {
                        assert_eq!(done(sealing).await.digest(), keccak256(&[byte; 20_000]));
                    }
                }
            });
        }
        while let Some(joined) = tasks.join_next().await {
            joined.unwrap();
        }
        assert_eq!(sealer.lock().len(), 0);
    }
}
