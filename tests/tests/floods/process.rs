//! The program `flood` as a test sees it: the node, and its attackers. Both end with the test.
//! What they do is told by the program (`flood/`).

#[cfg(target_os = "linux")]
use std::fs;
use std::{
    io::{BufRead, BufReader, Lines, Write},
    process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio},
    time::Duration,
};

use devp2p::identity::Enode;
use interop::eventually;
#[cfg(target_os = "linux")]
use interop::sockets::longest_send_queue;
#[cfg(target_os = "linux")]
use rustix::{
    param::clock_ticks_per_second,
    thread::{CpuSet, sched_getaffinity},
};

/// A process of the program.
pub(crate) struct Flood {
    child: Child,
    /// None once it was closed.
    input: Option<ChildStdin>,
    output: Lines<BufReader<ChildStdout>>,
}

impl Flood {
    fn start(arguments: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_flood"));
        let command = command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (input, output) = (child.stdin.take(), child.stdout.take().unwrap());
        Self { child, input, output: BufReader::new(output).lines() }
    }

    /// A node whose peers may hold so many bytes together, and its URL.
    pub(crate) fn node(budget: usize) -> (Self, Enode) {
        let mut node = Self::start(&["node", "--budget", &budget.to_string()]);
        let enode = node.line().parse().unwrap();
        (node, enode)
    }

    /// A node whose protocol panics where a peer wants it to, and its URL.
    pub(crate) fn fragile() -> (Self, Enode) {
        let mut node = Self::start(&["fragile"]);
        let enode = node.line().parse().unwrap();
        (node, enode)
    }

    /// The same as [`Flood::node`] on one core, and with so much memory of its own that the system gives it.
    #[cfg(target_os = "linux")]
    pub(crate) fn node_in_need(budget: usize, memory: u64, core: usize) -> (Self, Enode) {
        let [budget, memory, core] = [budget as u64, memory, core as u64].map(|number| number.to_string());
        let mut node = Self::start(&["node", "--budget", &budget, "--memory", &memory, "--core", &core]);
        let enode = node.line().parse().unwrap();
        (node, enode)
    }

    /// A process that keeps a core busy for so long once it is given the word.
    #[cfg(target_os = "linux")]
    pub(crate) fn burner(core: usize, seconds: u32) -> Self {
        let mut burner =
            Self::start(&["burn", "--core", &core.to_string(), "--seconds", &seconds.to_string()]);
        assert_eq!(burner.line(), "ready");
        burner
    }

    /// An attack that is prepared, and waits for [`Flood::say`].
    pub(crate) fn attack(role: &str, node: &Enode, seconds: u32, numbers: &[(&str, u32)]) -> Self {
        let (node, seconds) = (node.to_string(), seconds.to_string());
        let numbers: Vec<[String; 2]> =
            numbers.iter().map(|(name, number)| [format!("--{name}"), number.to_string()]).collect();
        let mut arguments = vec![role, &node, "--seconds", &seconds];
        arguments.extend(numbers.iter().flatten().map(String::as_str));
        let mut attack = Self::start(&arguments);
        assert_eq!(attack.line(), "ready");
        attack
    }

    /// The next line of its output.
    pub(crate) fn line(&mut self) -> String {
        self.output.next().expect("the process says something").unwrap()
    }

    /// Gives it a line.
    pub(crate) fn say(&mut self) {
        self.input.as_mut().unwrap().write_all(b"\n").unwrap();
    }

    /// Gives it no more lines, with which a node ends: how it has ended, and it must within `limit`.
    pub(crate) fn end(mut self, limit: Duration) -> ExitStatus {
        self.input = None;
        eventually("the end of the process", limit, || Ok(self.child.try_wait()?)).unwrap()
    }

    /// What a node has counted. It is alive, and nothing in it has panicked unless it is fragile.
    pub(crate) fn counts(&mut self) -> String {
        self.say();
        self.line()
    }

    /// The most that the system keeps for one of a node's connections, in bytes.
    #[cfg(target_os = "linux")]
    pub(crate) fn longest_send_queue(&self, port: u16) -> u64 {
        longest_send_queue(self.child.id(), port).unwrap()
    }

    /// The processor time that it has taken.
    #[cfg(target_os = "linux")]
    pub(crate) fn cpu_time(&self) -> Duration {
        const UTIME: usize = 14;
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        // The second column, a name in brackets, is the last to have any.
        let columns = stat.rsplit_once(") ").unwrap().1.split(' ').skip(UTIME - 3);
        let ticks: u64 = columns.take(2).map(|ticks| ticks.parse::<u64>().unwrap()).sum();
        Duration::from_millis(ticks * 1_000 / clock_ticks_per_second())
    }

    /// How long its threads have waited for a processor, whoever had it (`Documentation/scheduler/sched-stats.rst`). None where
    /// the system does not say.
    #[cfg(target_os = "linux")]
    pub(crate) fn waited(&self) -> Option<Duration> {
        let threads = fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap();
        // One may have ended.
        let times =
            threads.filter_map(|thread| fs::read_to_string(thread.ok()?.path().join("schedstat")).ok());
        let waits = times.filter_map(|times| times.split(' ').nth(1)?.parse().ok().map(Duration::from_nanos));
        waits.reduce(|one, other| one + other)
    }

    /// Bytes that are resident, and the most that ever were.
    #[cfg(target_os = "linux")]
    pub(crate) fn memory(&self) -> (u64, u64) {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let bytes = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.trim().strip_suffix("kB").unwrap().trim().parse::<u64>().unwrap() * 1_024
        };
        (bytes("VmRSS:"), bytes("VmHWM:"))
    }
}

/// The first core that this process may use.
#[cfg(target_os = "linux")]
pub(crate) fn first_core() -> usize {
    let allowed = sched_getaffinity(None).unwrap();
    (0..CpuSet::MAX_CPU).find(|core| allowed.is_set(*core)).unwrap()
}

impl Drop for Flood {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
