//! Curve jobs on a bounded set of threads, one pool a process. On one core there is no thread that could run them
//! meanwhile, so they run where they are submitted.
//!
//! A lane always lands on the same thread, so its jobs finish in order. Each thread takes begun handshakes first, then
//! datagrams and unproven handshakes by turns; a full queue drops the oldest unproven job, or refuses the new one when
//! there is none. Datagrams fill three quarters of it at most.

use std::{
    collections::VecDeque,
    fmt,
    num::NonZeroUsize,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
};

use rand::{CryptoRng, rand_core::UnwrapErr, rngs::SysRng};

use crate::{
    NodeKey,
    curve::{CurveJob, CurveOp, CurveResult, Lane, Ticket, Urgency, run_op},
};

/// Jobs that wait for one thread, for each node that shares the pool. At 41 µs a recovery and 230 µs a recipient's
/// handshake the last one waits 60 ms at most.
const MAX_QUEUED_PER_THREAD: usize = 256;

/// Where a job's result goes. Called on a thread of the pool, so it must not block.
type Answer = Box<dyn FnOnce(Ticket, CurveResult) + Send>;

/// Gives a job what it draws its ephemeral keys from.
pub type JobRng = fn() -> Box<dyn CryptoRng>;

/// Threads that run curve jobs. Dropping the pool ends them; what still waits is answered `Refused`.
///
/// Ephemeral keys are drawn from the operating system. A job for which that fails is answered `Refused`: no key comes of it.
pub struct CurvePool {
    runner: Runner,
    threads: Vec<JoinHandle<()>>,
    rng: JobRng,
}

/// A pool seen by one node: adds the node's key to its jobs. Cheap to clone.
#[derive(Clone)]
pub struct CurveHandle {
    runner: Runner,
    work: Work,
}

/// With what a job runs.
#[derive(Clone)]
struct Work {
    key: Arc<NodeKey>,
    rng: JobRng,
}

/// Where jobs run.
#[derive(Clone)]
enum Runner {
    /// On threads, a queue each.
    Threads(Arc<[Worker]>),
    /// Where they are submitted, unless the pool is closed.
    Inline { closed: Arc<AtomicBool> },
}

struct Worker {
    queue: Mutex<Queue>,
    wake: Condvar,
    max_queued: usize,
}

#[derive(Default)]
struct Queue {
    begun: VecDeque<Queued>,
    normal: VecDeque<Queued>,
    unproven: VecDeque<Queued>,
    /// Whether the next job is a normal one's turn: neither kind may starve the other.
    normal_next: bool,
    closed: bool,
}

struct Queued {
    work: Work,
    ticket: Ticket,
    ops: Vec<CurveOp>,
    answer: Answer,
}

impl CurvePool {
    /// Starts a pool with `threads` threads, for `nodes` nodes: each thread's queue holds 256 jobs for each of them.
    pub fn new(threads: NonZeroUsize, nodes: NonZeroUsize) -> Self {
        let max_queued = MAX_QUEUED_PER_THREAD.saturating_mul(nodes.get());
        let workers: Arc<[Worker]> = (0..threads.get()).map(|_| Worker::new(max_queued)).collect();
        let threads = (0..threads.get()).map(|index| {
            let workers = Arc::clone(&workers);
            let name = format!("curve-{index}");
            let run = move || workers[index].run();
            thread::Builder::new().name(name).spawn(run).expect("the system can start a thread")
        });
        let threads = threads.collect();
        Self { runner: Runner::Threads(workers), threads, rng: system_rng }
    }

    /// A pool without threads: a job runs in [`CurveHandle::submit`], which gives the answer before it returns.
    pub fn inline() -> Self {
        Self { runner: Runner::Inline { closed: Arc::default() }, threads: Vec::new(), rng: system_rng }
    }

    /// A pool for one node on this machine: a thread a core, but one core left to the sockets; without threads when this
    /// thread may run on one core only.
    pub fn for_this_machine() -> Self {
        Self::shared_by(NonZeroUsize::MIN)
    }

    /// A pool that `nodes` nodes on this machine share: as many threads, with longer queues.
    pub fn shared_by(nodes: NonZeroUsize) -> Self {
        let cores = thread::available_parallelism().map_or(1, NonZeroUsize::get);
        NonZeroUsize::new(cores.saturating_sub(1))
            .map_or_else(Self::inline, |threads| Self::new(threads, nodes))
    }

    /// The same pool, whose handles from now on draw from `rng`: for tests of a system that has no randomness.
    #[must_use]
    pub fn drawing_from(mut self, rng: JobRng) -> Self {
        self.rng = rng;
        self
    }

    /// The pool as the node with `key` uses it. The pool must outlive its use: later jobs are refused.
    pub fn handle(&self, key: Arc<NodeKey>) -> CurveHandle {
        CurveHandle { runner: self.runner.clone(), work: Work { key, rng: self.rng } }
    }
}

impl Drop for CurvePool {
    fn drop(&mut self) {
        self.runner.close();
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl CurveHandle {
    /// The public half of the key that jobs of this handle use.
    pub fn node_key(&self) -> &Arc<NodeKey> {
        &self.work.key
    }

    /// Queues `job`; `answer` is called exactly once, on a thread of the pool or, when the job is refused, here.
    pub fn submit(&self, job: CurveJob, answer: impl FnOnce(Ticket, CurveResult) + Send + 'static) {
        let CurveJob { ticket, lane: Lane(lane), urgency, ops } = job;
        let workers = match &self.runner {
            Runner::Threads(workers) => workers,
            Runner::Inline { closed } if closed.load(Ordering::Relaxed) => {
                return answer(ticket, CurveResult::Refused);
            }
            Runner::Inline { .. } => return self.work.run(ticket, ops, answer),
        };
        let queued = Queued { work: self.work.clone(), ticket, ops, answer: Box::new(answer) };
        let worker = usize::try_from(lane % workers.len() as u64).unwrap_or(0);
        if let Some(refused) = workers[worker].push(queued, urgency) {
            (refused.answer)(refused.ticket, CurveResult::Refused);
        }
    }
}

impl Runner {
    /// Ends the threads, and refuses what comes from now on.
    fn close(&self) {
        match self {
            Self::Threads(workers) => {
                for worker in workers.iter() {
                    worker.lock().closed = true;
                    worker.wake.notify_all();
                }
            }
            Self::Inline { closed } => closed.store(true, Ordering::Relaxed),
        }
    }
}

/// The operating system's randomness; it fails by a panic. Takes no memory, so the box costs nothing.
fn system_rng() -> Box<dyn CryptoRng> {
    Box::new(UnwrapErr(SysRng))
}

impl Work {
    /// Runs a job and gives its answer. A job or an answer that panics costs itself: whoever runs it goes on.
    fn run(&self, ticket: Ticket, ops: Vec<CurveOp>, answer: impl FnOnce(Ticket, CurveResult)) {
        let run = || {
            let mut rng = (self.rng)();
            ops.into_iter().map(|op| run_op(&self.key, op, &mut *rng)).collect()
        };
        let outputs = catch_unwind(AssertUnwindSafe(run));
        let result = outputs.map_or(CurveResult::Refused, CurveResult::Done);
        let _ = catch_unwind(AssertUnwindSafe(|| answer(ticket, result)));
    }
}

impl Worker {
    fn new(max_queued: usize) -> Self {
        Self { queue: Mutex::default(), wake: Condvar::new(), max_queued }
    }

    /// Queues a job and returns the one that had to go for it, if any.
    fn push(&self, queued: Queued, urgency: Urgency) -> Option<Queued> {
        let mut queue = self.lock();
        if queue.closed {
            return Some(queued);
        }
        // Datagrams cost their senders nothing: a quarter of the queue stays for handshakes.
        if urgency == Urgency::Normal && queue.normal.len() >= self.max_queued / 4 * 3 {
            return Some(queued);
        }
        let mut dropped = None;
        if queue.len() >= self.max_queued {
            dropped = queue.unproven.pop_front();
            if dropped.is_none() {
                return Some(queued);
            }
        }
        match urgency {
            Urgency::Begun => queue.begun.push_back(queued),
            Urgency::Normal => queue.normal.push_back(queued),
            Urgency::Unproven => queue.unproven.push_back(queued),
        }
        drop(queue);
        self.wake.notify_one();
        dropped
    }

    fn run(&self) {
        while let Some(Queued { work, ticket, ops, answer }) = self.next() {
            work.run(ticket, ops, answer);
        }
        let waiting: Vec<Queued> = std::iter::from_fn(|| self.lock().pop()).collect();
        for queued in waiting {
            (queued.answer)(queued.ticket, CurveResult::Refused);
        }
    }

    /// The next job; None when the pool has closed.
    fn next(&self) -> Option<Queued> {
        let mut queue = self.lock();
        loop {
            if queue.closed {
                return None;
            }
            if let Some(queued) = queue.pop() {
                return Some(queued);
            }
            queue = self.wake.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        // No code that can panic runs under the lock.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    fn len(&self) -> usize {
        self.begun.len() + self.normal.len() + self.unproven.len()
    }

    fn pop(&mut self) -> Option<Queued> {
        if let Some(begun) = self.begun.pop_front() {
            return Some(begun);
        }
        self.normal_next = !self.normal_next;
        let (first, second) = if self.normal_next {
            (&mut self.normal, &mut self.unproven)
        } else {
            (&mut self.unproven, &mut self.normal)
        };
        first.pop_front().or_else(|| second.pop_front())
    }
}

impl fmt::Debug for CurvePool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CurvePool({} threads)", self.threads.len())
    }
}

impl fmt::Debug for CurveHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CurveHandle({:?})", self.work.key)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use rand::{TryCryptoRng, TryRng};

    use super::*;
    use crate::curve::{CurveOutput, KeyRef};

    fn job(ticket: u64, urgency: Urgency, ops: Vec<CurveOp>) -> CurveJob {
        CurveJob { ticket: Ticket(ticket), lane: Lane(1), urgency, ops }
    }

    /// A pool whose only thread is busy until the returned sender is dropped.
    fn blocked_pool() -> (CurvePool, CurveHandle, mpsc::SyncSender<()>) {
        let pool = CurvePool::new(NonZeroUsize::MIN, NonZeroUsize::MIN);
        let handle = pool.handle(Arc::new(NodeKey::from_bytes(&[1; 32]).unwrap()));
        let (block, blocked) = mpsc::sync_channel::<()>(0);
        let (entered, has_entered) = mpsc::sync_channel(1);
        handle.submit(job(0, Urgency::Begun, vec![]), move |_, _| {
            entered.send(()).unwrap();
            let _ = blocked.recv();
        });
        has_entered.recv().unwrap();
        (pool, handle, block)
    }

    #[test]
    fn a_lane_keeps_its_order_and_every_ticket_is_answered() {
        let pool = CurvePool::new(NonZeroUsize::new(3).unwrap(), NonZeroUsize::MIN);
        let handle = pool.handle(Arc::new(NodeKey::from_bytes(&[1; 32]).unwrap()));
        let (sender, receiver) = mpsc::sync_channel(100);
        for ticket in 0..100 {
            let sender = sender.clone();
            let ops = vec![CurveOp::Sign(KeyRef::Node, [ticket as u8; 32])];
            handle.submit(job(ticket, Urgency::Normal, ops), move |ticket, result| {
                sender.send((ticket, result)).unwrap();
            });
        }
        for expected in 0..100u64 {
            let (ticket, result) = receiver.recv().unwrap();
            assert_eq!(ticket, Ticket(expected));
            let CurveResult::Done(outputs) = result else { panic!("refused") };
            let CurveOutput::Signed(signature) = &outputs[0] else { panic!("{outputs:?}") };
            assert_eq!(signature.recover(&[expected as u8; 32]), Some(handle.node_key().public_key()));
        }
    }

    #[test]
    fn h12_a_full_pool_drops_the_oldest_unproven_job() {
        let (_pool, handle, block) = blocked_pool();
        let (sender, receiver) = mpsc::sync_channel(1024);
        let submit = |ticket, urgency| {
            let sender = sender.clone();
            handle.submit(job(ticket, urgency, vec![]), move |ticket, result| {
                sender.send((ticket.0, matches!(result, CurveResult::Refused))).unwrap();
            });
        };
        let urgencies = [(2, Urgency::Unproven), (192, Urgency::Normal), (62, Urgency::Begun)];
        let filling = urgencies.into_iter().flat_map(|(count, urgency)| std::iter::repeat_n(urgency, count));
        (1..).zip(filling).for_each(|(ticket, urgency)| submit(ticket, urgency));
        submit(899, Urgency::Normal);
        submit(900, Urgency::Begun);
        submit(901, Urgency::Unproven);
        submit(902, Urgency::Begun);
        submit(903, Urgency::Begun);
        let refused: Vec<_> = receiver.try_iter().collect();
        assert_eq!(refused, [(899, true), (1, true), (2, true), (901, true), (903, true)]);
        drop(block);
        let begun: Vec<_> = receiver.iter().skip(62).take(2).collect();
        assert_eq!(begun, [(900, false), (902, false)], "begun ones go first, in order");
    }

    #[test]
    fn datagrams_do_not_starve_new_handshakes() {
        let (_pool, handle, block) = blocked_pool();
        let (sender, receiver) = mpsc::sync_channel(64);
        for ticket in 0..10 {
            let (sender, urgency) =
                (sender.clone(), if ticket < 8 { Urgency::Normal } else { Urgency::Unproven });
            handle.submit(job(ticket, urgency, vec![]), move |ticket, _| sender.send(ticket.0).unwrap());
        }
        drop((block, sender));
        let order: Vec<u64> = receiver.iter().collect();
        assert_eq!(order.len(), 10);
        assert!(order[..4].contains(&8) && order[..4].contains(&9), "{order:?}");
    }

    #[test]
    fn an_answer_that_panics_costs_itself_alone() {
        let pool = CurvePool::new(NonZeroUsize::MIN, NonZeroUsize::MIN);
        let handle = pool.handle(Arc::new(NodeKey::from_bytes(&[1; 32]).unwrap()));
        let (sender, receiver) = mpsc::sync_channel(1);
        handle.submit(job(1, Urgency::Normal, vec![]), |_, _| panic!("an answer of the test"));
        handle.submit(job(2, Urgency::Normal, vec![]), move |ticket, _| sender.send(ticket).unwrap());
        assert_eq!(receiver.recv(), Ok(Ticket(2)));
    }

    #[test]
    fn without_threads_a_job_is_answered_before_submit_returns() {
        let pool = CurvePool::inline();
        let handle = pool.handle(Arc::new(NodeKey::from_bytes(&[1; 32]).unwrap()));
        let (sender, receiver) = mpsc::sync_channel(3);
        let submit = |ticket| {
            let sender = sender.clone();
            let ops = vec![CurveOp::Sign(KeyRef::Node, [7; 32])];
            handle.submit(job(ticket, Urgency::Unproven, ops), move |ticket, result| {
                sender.send((ticket.0, matches!(result, CurveResult::Done(_)))).unwrap();
            });
            receiver.try_recv().unwrap()
        };
        assert_eq!(submit(1), (1, true));
        handle.submit(job(2, Urgency::Normal, vec![]), |_, _| panic!("an answer of the test"));
        assert_eq!(submit(3), (3, true));
        drop(pool);
        assert_eq!(submit(4), (4, false), "a closed pool refuses");
    }

    /// A system whose randomness breaks off when something is there already that could pass for a key.
    struct BreaksOff;

    impl TryRng for BreaksOff {
        type Error = std::io::Error;

        fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
            Err(std::io::ErrorKind::Other.into())
        }

        fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
            Err(std::io::ErrorKind::Other.into())
        }

        fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Self::Error> {
            bytes.fill(7);
            Err(std::io::ErrorKind::Other.into())
        }
    }

    impl TryCryptoRng for BreaksOff {}

    #[test]
    fn h21_without_randomness_a_pool_gives_no_key_and_goes_on() {
        for pool in [CurvePool::new(NonZeroUsize::MIN, NonZeroUsize::MIN), CurvePool::inline()] {
            let key = Arc::new(NodeKey::from_bytes(&[1; 32]).unwrap());
            let good = pool.handle(Arc::clone(&key));
            let pool = pool.drawing_from(|| Box::new(UnwrapErr(BreaksOff)));
            let bad = pool.handle(key);
            let run = |handle: &CurveHandle, ops| {
                let (sender, receiver) = mpsc::sync_channel(1);
                handle.submit(job(1, Urgency::Begun, ops), move |_, result| sender.send(result).unwrap());
                receiver.recv().expect("every ticket is answered")
            };
            let sign = || CurveOp::Sign(KeyRef::Node, [7; 32]);
            for ops in [vec![CurveOp::Generate], vec![sign(), CurveOp::Generate, sign()]] {
                let result = run(&bad, ops);
                assert!(matches!(result, CurveResult::Refused), "{pool:?}: {result:?}");
            }
            // What draws nothing is done, and others draw from the system.
            assert!(matches!(run(&bad, vec![sign()]), CurveResult::Done(_)));
            let CurveResult::Done(drawn) = run(&good, vec![CurveOp::Generate; 2]) else { panic!("refused") };
            let [CurveOutput::Generated(one), CurveOutput::Generated(other)] = &drawn[..] else {
                panic!("{drawn:?}")
            };
            assert_ne!(one.public_key(), other.public_key());
        }
    }

    #[test]
    fn dropping_the_pool_refuses_what_waits() {
        let (pool, handle, block) = blocked_pool();
        let (sender, receiver) = mpsc::sync_channel(1);
        handle.submit(job(7, Urgency::Normal, vec![]), move |ticket, result| {
            sender.send((ticket, result)).unwrap();
        });
        pool.runner.close();
        drop(block);
        drop(pool);
        assert!(matches!(receiver.recv().unwrap(), (Ticket(7), CurveResult::Refused)));
    }
}
