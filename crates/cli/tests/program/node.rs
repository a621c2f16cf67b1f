//! A running node, and what the ping verbs find out about it.

use std::{
    fs,
    io::{BufRead, BufReader, ErrorKind, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    num::NonZeroUsize,
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use devp2p::{
    identity::{CurvePool, Endpoint, Enode, NodeKey},
    rlpx::{CapabilityName, DisconnectReason, LocalCapability, Server, SessionConfig, SessionEnd},
};

use serde_json::Value;

use crate::{devp2p, run, text, watched::clock};

/// How long a node may take to say goodbye.
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(5);

/// A node of the program, ended with the test.
pub(crate) struct Running {
    child: Option<Child>,
    pub(crate) enode: String,
    enr: String,
}

impl Running {
    pub(crate) fn start(arguments: &[&str]) -> Self {
        Self::start_logging(arguments, Stdio::inherit())
    }

    /// The same with its log in `log`.
    pub(crate) fn start_logging(arguments: &[&str], log: impl Into<Stdio>) -> Self {
        let mut command = devp2p(&["node", "--port", "0"]);
        Self::spawn(command.args(arguments).stderr(log))
    }

    fn spawn(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut line = || lines.next().expect("the node says who it is").unwrap();
        let (enode, enr) = (line(), line());
        Self { child: Some(child), enode, enr }
    }

    pub(crate) fn process_id(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    /// Where it listens, and who it is.
    fn enode(&self) -> Enode {
        self.enode.parse().unwrap()
    }

    fn tcp_addr(&self) -> SocketAddr {
        self.enode.split_once('@').unwrap().1.split('?').next().unwrap().parse().unwrap()
    }

    /// Sends signals, by their names, all at once.
    pub(crate) fn signal(&self, signals: &[&str]) {
        let pid = self.child.as_ref().unwrap().id();
        let kills: Vec<String> = signals.iter().map(|signal| format!("kill -{signal} {pid}")).collect();
        // The last may find that it has ended.
        let script = kills.join(" 2>/dev/null; ");
        let _ = Command::new("sh").args(["-c", &script]).stderr(Stdio::null()).status().unwrap();
    }

    /// Sends SIGTERM and waits for the end, not for ever.
    pub(crate) fn terminate(self) -> ExitStatus {
        self.signal(&["TERM"]);
        self.ended_within(SHUTDOWN_LIMIT)
    }

    pub(crate) fn ended_within(mut self, limit: Duration) -> ExitStatus {
        let mut child = self.child.take().unwrap();
        let (sender, ended) = mpsc::sync_channel(1);
        let waiting = thread::spawn(move || sender.send(child.wait().unwrap()));
        let status = ended.recv_timeout(limit).expect("the node ends in time");
        waiting.join().unwrap().unwrap();
        status
    }

    /// The processor time that its threads have taken, as exactly as the system knows.
    fn cpu_time(&self) -> Duration {
        self.scheduled(0)
    }

    /// How long its threads have waited for a processor that others had.
    pub(crate) fn starved(&self) -> Duration {
        self.scheduled(1)
    }

    /// A column of what `schedstat` says of all its threads (`Documentation/scheduler/sched-stats.rst`).
    fn scheduled(&self, column: usize) -> Duration {
        let threads = fs::read_dir(format!("/proc/{}/task", self.process_id())).unwrap();
        // One may have ended.
        threads.filter_map(|thread| schedstat(&thread.ok()?.path(), column)).sum()
    }

    fn answers(&self) -> bool {
        run(&["discv4", "ping", &self.enode]).status.success()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A column of what the system's scheduler says of a thread, by its directory in `/proc`.
fn schedstat(thread: &Path, column: usize) -> Option<Duration> {
    let times = fs::read_to_string(thread.join("schedstat")).ok()?;
    times.split(' ').nth(column)?.parse().ok().map(Duration::from_nanos)
}

/// How long this thread has waited for a processor that others had.
pub(crate) fn starved_here() -> Duration {
    schedstat(Path::new("/proc/thread-self"), 1).unwrap()
}

fn json(arguments: &[&str]) -> (Option<i32>, Value) {
    let output = run(arguments);
    let (out, error) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(out.lines().count(), 1, "{out}{error}");
    (output.status.code(), serde_json::from_str(&out).unwrap())
}

#[test]
fn s07_a_node_says_who_it_is_keeps_its_key_and_ends_on_a_signal() {
    let dir = tempfile::tempdir().unwrap();
    let datadir = dir.path().join("data");
    let arguments = ["--datadir", datadir.to_str().unwrap()];
    let key_of = |node: &Running| node.enode.split('@').next().unwrap().to_owned();
    let node = Running::start(&arguments);
    let first_key = key_of(&node);
    assert!(
        node.enode.starts_with("enode://") && node.enr.starts_with("enr:"),
        "{} {}",
        node.enode,
        node.enr
    );
    assert_eq!(fs::read_dir(&datadir).unwrap().count(), 1, "the key and nothing else");
    assert_eq!(node.terminate().code(), Some(0));
    let again = Running::start(&arguments);
    assert_eq!(key_of(&again), first_key);
    assert_eq!(again.terminate().code(), Some(0));
}

#[test]
fn rlpx_ping_shows_who_answers_and_whether_the_chains_fit() {
    let key = "2".repeat(64);
    let node = Running::start(&["--nodekeyhex", &key]);
    let (code, report) = json(&["rlpx", "ping", &node.enode, "--networkid", "1337", "--json"]);
    assert_eq!(code, Some(0), "{report}");
    assert_eq!(report["connected"], true);
    assert_eq!(report["eth"], "eth/69");
    assert!(report["client"].as_str().unwrap().starts_with("devp2p/v"), "{report}");
    assert_eq!(report["status"]["mismatch"], Value::Null);
    assert_eq!(report["status"]["fork_id"]["fits"], true);

    let (code, report) = json(&["rlpx", "ping", &node.enode, "--networkid", "7", "--json"]);
    assert_eq!(code, Some(1), "{report}");
    assert!(report["status"]["mismatch"].as_str().unwrap().contains("network id 1337"), "{report}");
    assert_eq!(report["disconnect"]["code"], 0x10);
    assert!(report["disconnect"]["advice"].as_str().unwrap().contains("--networkid"));

    let people = run(&["rlpx", "ping", &node.enode]);
    assert!(people.status.success());
    assert!(text(&people.stdout).contains("was not sent"), "{}", text(&people.stdout));
    node.terminate();
}

#[test]
fn discv4_ping_shows_the_record_and_its_fork_id() {
    let key = "3".repeat(64);
    let node = Running::start(&["--nodekeyhex", &key]);
    for target in [&node.enode, &node.enr] {
        let (code, report) = json(&["discv4", "ping", target, "--json"]);
        assert_eq!(code, Some(0), "{report}");
        assert_eq!(report["record"], node.enr.as_str());
        assert_eq!(report["fork_id"]["fits"], true);
        assert!(report["rtt_ms"].as_f64().unwrap() > 0.0);
    }
    let wrong_key = format!("enode://{}@", "1".repeat(128));
    let nobody = node.enode.replacen(&node.enode[..=node.enode.find('@').unwrap()], &wrong_key, 1);
    assert_eq!(run(&["discv4", "ping", &nobody]).status.code(), Some(2), "no point of the curve");
    let peer = Running::start(&["--nodekeyhex", &"4".repeat(64)]);
    let other_key = peer.enode.split('@').next().unwrap();
    let unanswered = format!("{other_key}@{}", node.enode.split('@').nth(1).unwrap());
    let (code, report) = json(&["discv4", "ping", &unanswered, "--json"]);
    assert_eq!((code, &report["answered"]), (Some(1), &Value::Bool(false)));
    assert!(report["advice"].as_str().unwrap().contains("UDP port"));
    peer.terminate();
    node.terminate();
}

#[test]
fn a_node_shows_its_peers_with_what_they_say_of_their_chain() {
    let first = Running::start(&["--nodekeyhex", &"9".repeat(64)]);
    let arguments = ["node", "--port", "0", "--nodekeyhex", &"a".repeat(64), "--nodiscover", "--show-peers"];
    let mut command = devp2p(&[&arguments[..], &["--peers", &first.enode]].concat());
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let second = Running { child: Some(child), enode: String::new(), enr: String::new() };
    let shown = lines.map(Result::unwrap).find(|line| line.starts_with("peer "));
    let shown = shown.expect("the node shows its peer when it comes");
    let words = [" out devp2p/v", "rtt unknown", "eth/69 received", " earliest=0 latest=0 latest_hash=0x"];
    assert!(words.iter().all(|word| shown.contains(word)), "{shown}");
    second.terminate();
    first.terminate();
}

#[test]
fn nodes_with_a_common_bootnode_become_peers() {
    let first = Running::start(&["--nodekeyhex", &"5".repeat(64)]);
    let second =
        Running::start(&["--nodekeyhex", &"6".repeat(64), "--bootnodes", &first.enode, "--maxpeers", "1"]);
    // Full with its one peer, the second node refuses a third with the reason that says so.
    let mut code = Value::Null;
    for _ in 0..100 {
        let (_, report) = json(&["rlpx", "ping", &second.enode, "--json"]);
        code = report["disconnect"]["code"].clone();
        if code == 4 {
            break;
        }
    }
    assert_eq!(code, 4, "too many peers");
    second.terminate();
    first.terminate();
}

#[cfg(target_os = "linux")]
#[test]
fn a_node_may_open_as_many_files_as_the_system_lets_it() {
    let mut command = Command::new("sh");
    let start = "ulimit -Sn 64 && exec \"$0\" node --port 0 --nodekeyhex \"$1\"";
    command.args(["-c", start, env!("CARGO_BIN_EXE_devp2p"), &"8".repeat(64)]);
    let mut node = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let first = BufReader::new(node.stdout.take().unwrap()).lines().next().unwrap().unwrap();
    let limits = fs::read_to_string(format!("/proc/{}/limits", node.id())).unwrap();
    node.kill().unwrap();
    node.wait().unwrap();
    assert!(first.starts_with("enode://"), "{first}");
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let [soft, hard] = [3, 4].map(|column| line.split_whitespace().nth(column).unwrap());
    assert!(soft == hard && soft != "64", "{line}");
}

#[test]
fn o06_sighup_and_sigint_end_a_node_as_sigterm_does() {
    for (name, key) in [("HUP", "7"), ("INT", "8"), ("TERM", "9")] {
        let node = Running::start(&["--nodekeyhex", &key.repeat(64)]);
        node.signal(&[name]);
        assert_eq!(node.ended_within(SHUTDOWN_LIMIT).code(), Some(0), "SIG{name}");
    }
}

#[test]
fn o06_a_storm_of_signals_is_survived_or_ends_a_node_in_order() {
    let node = Running::start(&["--nodekeyhex", &"a".repeat(64)]);
    node.signal(&["PIPE", "CONT", "WINCH", "CHLD", "URG"].repeat(20));
    assert!(node.answers());
    node.signal(&["HUP", "PIPE", "INT", "CONT", "TERM"].repeat(20));
    assert_eq!(node.ended_within(SHUTDOWN_LIMIT).code(), Some(0));
}

#[test]
fn o06_a_node_whose_output_nobody_reads_goes_on() {
    let key = NodeKey::from_bytes(&[0xbb; 32]).unwrap();
    for closed in ["stdout", "stderr"] {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let port = address.port().to_string();
        // All that can be said is said, so that writing fails at once and often.
        let mut command =
            devp2p(&["node", "--port", &port, "--nodekeyhex", &"b".repeat(64), "--verbosity", "5"]);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        match closed {
            "stdout" => command.stdout(writer),
            _ => command.stderr(writer),
        };
        let endpoint = Endpoint { ip: address.ip(), udp: address.port(), tcp: address.port() };
        let enode = Enode::new(key.public_key(), endpoint).to_string();
        let node = Running { child: Some(command.spawn().unwrap()), enode, enr: String::new() };
        assert!((0..50).any(|_| node.answers()), "{closed}");
        assert!(run(&["rlpx", "ping", &node.enode]).status.success(), "{closed}");
        assert!(node.answers(), "{closed}");
        assert_eq!(node.terminate().code(), Some(0), "{closed}");
    }
}

#[test]
fn o06_a_data_directory_that_cannot_be_written_is_bad_input() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "no directory").unwrap();
    // Nothing can be made in /proc, whoever asks.
    for datadir in [file.to_str().unwrap(), "/proc/devp2p"] {
        let output = run(&["node", "--port", "0", "--datadir", datadir]);
        let error = text(&output.stderr);
        let complaints: Vec<&str> = error.lines().filter(|line| line.starts_with("devp2p: ")).collect();
        assert_eq!((output.status.code(), complaints.len()), (Some(2), 1), "{error}");
        assert!(complaints[0].contains(datadir), "{error}");
        assert!(output.stdout.is_empty());
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), "no directory");
}

#[test]
fn s07_a_second_signal_ends_a_node_within_a_second_though_peers_are_stuck() {
    // One signal alone waits a second for peers that were told and do not close.
    const AT_ONCE: Duration = Duration::from_millis(700);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let pool = CurvePool::new(NonZeroUsize::MIN, NonZeroUsize::MIN);
    let node = Running::start(&["--nodekeyhex", &"c".repeat(64)]);
    let connect = |number| {
        let key = Arc::new(NodeKey::from_bytes(&[number; 32]).unwrap());
        let eth = LocalCapability::new(CapabilityName::new("eth").unwrap(), 69, 18);
        let config = SessionConfig::new(key.public_key(), "stuck", vec![eth]);
        runtime.block_on(Server::connect(pool.handle(key), config, node.tcp_addr(), node.enode().public_key))
    };
    // They have said Hello, and from then on neither read nor close.
    let stuck: Vec<_> = (1..10).map(|number| connect(number).unwrap()).collect();
    let mut told = connect(10).unwrap();
    node.signal(&["TERM"]);
    let quitting = SessionEnd::Remote(DisconnectReason::Quitting);
    while runtime.block_on(told.next()) != Err(quitting) {}
    node.signal(&["TERM"]);
    assert_eq!(node.ended_within(AT_ONCE).code(), Some(0));
    drop(stuck);
}

#[test]
fn s11_without_file_handles_it_rests_discovery_answers_and_tcp_is_back_within_a_second() {
    const HANDLES: usize = 64;
    // Seven are taken from the start, so that fewer are left than connections may be half-open (50).
    let start = "ulimit -n 64; exec 3<&0 4<&0 5<&0 6<&0 7<&0 8<&0 9<&0 \"$0\" \"$@\"";
    let program = devp2p(&["node", "--port", "0", "--nodekeyhex", &"d".repeat(64)]);
    let mut limited = Command::new("sh");
    limited.args(["-c", start]).arg(program.get_program()).args(program.get_args());
    limited.env("HOME", "/dev/null/home").stdin(Stdio::null());
    let log = tempfile::NamedTempFile::new().unwrap();
    let node = Running::spawn(limited.stderr(fs::File::create(log.path()).unwrap()));
    let address = node.tcp_addr();
    let began = clock();
    let streams: Vec<TcpStream> = (0..100).map(|_| TcpStream::connect(address).unwrap()).collect();
    let handles = format!("/proc/{}/fd", node.child.as_ref().unwrap().id());
    // Handles above the limit that the test's own caller left open do not count.
    let open = || {
        let numbers = fs::read_dir(&handles).unwrap().map(|entry| entry.unwrap().file_name());
        numbers.filter(|number| text(number.as_encoded_bytes()).parse::<usize>().unwrap() < HANDLES).count()
    };
    assert!((0..1_000_000).any(|_| open() == HANDLES), "only {} handles are taken", open());
    // A spin would take a core. It says nothing to who waits to be taken.
    const WATCHED: Duration = Duration::from_secs(2);
    let waiting = streams.last().unwrap();
    waiting.set_read_timeout(Some(WATCHED)).unwrap();
    let before = node.cpu_time();
    let nothing = (&mut &*waiting).read(&mut [0]).unwrap_err();
    let cpu = node.cpu_time().saturating_sub(before);
    // Those that were taken are let go after 5 s.
    let want = open() == HANDLES || clock().saturating_duration_since(began) >= Duration::from_secs(5);
    assert_eq!((nothing.kind(), want), (ErrorKind::WouldBlock, true), "{} handles are taken", open());
    println!("{cpu:?} of {WATCHED:?}");
    assert!(cpu < WATCHED / 100, "{cpu:?} of {WATCHED:?} while nothing can be done");
    // Longer than the longest pause between its tries.
    assert!((0..100).all(|_| node.answers()));
    drop(streams);
    // Whoever speaks no RLPx is closed by the node: it has taken the connection.
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    stream.write_all(&[0, 0]).unwrap();
    assert_eq!(stream.read(&mut [0]).unwrap(), 0);
    assert!(run(&["rlpx", "ping", &node.enode]).status.success());
    assert_eq!(node.terminate().code(), Some(0));
    let log = fs::read_to_string(log.path()).unwrap();
    assert_eq!(log.matches("no connection can be accepted").count(), 1, "{log}");
}

#[test]
fn a_node_of_a_named_network_keeps_its_address_book_with_its_key() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let datadir = dir.path().join("data");
    let first = Running::start(&["--nodekeyhex", &"7".repeat(64)]);
    let arguments = ["--datadir", datadir.to_str().unwrap(), "--bootnodes", &first.enode];
    let node = Running::start(&arguments);
    let book = datadir.join("addressbook.redb");
    assert_eq!(fs::metadata(&book).unwrap().permissions().mode() & 0o777, 0o600);
    // D04: a second node on the same directory does not start, and says which file is in use.
    let second = run(&[&["node", "--port", "0"], &arguments[..]].concat());
    assert_eq!(second.status.code(), Some(2));
    assert!(text(&second.stderr).contains("addressbook.redb is in use"), "{}", text(&second.stderr));
    assert_eq!(node.terminate().code(), Some(0));
    // Killed or told to end, it opens again.
    drop(Running::start(&arguments));
    assert_eq!(Running::start(&arguments).terminate().code(), Some(0));
    first.terminate();
}

#[test]
fn d02_a_node_with_a_damaged_address_book_starts_keeps_it_beside_and_has_its_key() {
    let dir = tempfile::tempdir().unwrap();
    let datadir = dir.path().join("data");
    let bootnode = Running::start(&["--nodekeyhex", &"7".repeat(64)]);
    let arguments = ["--datadir", datadir.to_str().unwrap(), "--bootnodes", &bootnode.enode];
    let node = Running::start(&arguments);
    let key_of = |node: &Running| node.enode.split('@').next().unwrap().to_owned();
    let key = key_of(&node);
    assert_eq!(node.terminate().code(), Some(0));
    let [book, kept, key_file] =
        ["addressbook.redb", "addressbook.redb.corrupt-1", "nodekey"].map(|name| datadir.join(name));
    let (whole, secret) = (fs::read(&book).unwrap(), fs::read(&key_file).unwrap());
    fs::write(&book, &whole[..whole.len() / 2]).unwrap();
    let again = Running::start(&arguments);
    assert_eq!(key_of(&again), key);
    assert_eq!(again.terminate().code(), Some(0));
    assert_eq!(fs::metadata(&kept).unwrap().len(), whole.len() as u64 / 2);
    assert!(fs::read(&key_file).unwrap() == secret);
    // What is no address book is not touched.
    fs::write(&book, "notes").unwrap();
    let refused = run(&[&["node", "--port", "0"], &arguments[..]].concat());
    assert_eq!(refused.status.code(), Some(2));
    assert!(text(&refused.stderr).contains("is no address book"), "{}", text(&refused.stderr));
    assert_eq!(fs::read_to_string(&book).unwrap(), "notes");
    bootnode.terminate();
}

#[test]
fn o03_a_node_listens_on_both_families_or_on_one() {
    for (addresses, families) in [("127.0.0.1,::1", 2), ("::1", 1), ("127.0.0.1", 1)] {
        let node = Running::start(&["--nodekeyhex", &"8".repeat(64), "--addr", addresses]);
        let (host, port) = node.enode.rsplit_once(':').unwrap();
        let key = host.split('@').next().unwrap();
        let mut reached = 0;
        for host in ["127.0.0.1", "[::1]"] {
            let enode = format!("{key}@{host}:{port}");
            let output = run(&["rlpx", "ping", &enode]);
            reached += usize::from(output.status.success());
        }
        assert_eq!(reached, families, "{addresses}");
        assert_eq!(node.terminate().code(), Some(0));
    }
}
