//! A running node, and what the ping verbs find out about it.

use std::{
    fs,
    io::{BufRead, BufReader},
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use serde_json::Value;

use crate::{devp2p, run, text};

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
        let mut child = command.args(arguments).stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut line = || lines.next().expect("the node says who it is").unwrap();
        let (enode, enr) = (line(), line());
        Self { child: Some(child), enode, enr }
    }

    pub(crate) fn process_id(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    /// Sends SIGTERM.
    pub(crate) fn signal(&self) {
        let pid = self.process_id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    }

    /// Sends SIGTERM and waits for the end, not for ever.
    pub(crate) fn terminate(mut self) -> ExitStatus {
        self.signal();
        let mut child = self.child.take().unwrap();
        let (sender, ended) = mpsc::sync_channel(1);
        let waiting = thread::spawn(move || sender.send(child.wait().unwrap()));
        let status = ended.recv_timeout(SHUTDOWN_LIMIT).expect("the node ends in time");
        waiting.join().unwrap().unwrap();
        status
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
