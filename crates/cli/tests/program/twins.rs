//! Two programs with one node key, as when a data directory was copied: each says so, once, and where the other is.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::Path,
    sync::mpsc::{self, Receiver},
    thread::{self, JoinHandle},
    time::Duration,
};

use crate::{node::Running, run, text};

/// Far beyond what it takes: a node tells of itself every ten seconds at most.
const PATIENCE: Duration = Duration::from_secs(60);

/// Warnings that are kept of a node; of as many it would have failed long before.
const MAX_WARNINGS: usize = 16;

/// A node of the program, and the warnings that it logs.
struct Watched {
    node: Running,
    warnings: Receiver<String>,
    reader: JoinHandle<()>,
}

impl Watched {
    fn start(arguments: &[&str]) -> Self {
        let (log, writer) = std::io::pipe().unwrap();
        let node = Running::start_logging(arguments, writer);
        let (sender, warnings) = mpsc::sync_channel(MAX_WARNINGS);
        let reader = thread::spawn(move || {
            let lines = BufReader::new(log).lines().map(Result::unwrap);
            for line in lines.filter(|line| line.contains("another process uses this node's key")) {
                sender.try_send(line).unwrap();
            }
        });
        Self { node, warnings, reader }
    }

    fn udp_addr(&self) -> String {
        let address = self.node.enode.split_once('@').unwrap().1;
        assert!(!address.contains('?'), "one port for both: {address}");
        address.to_owned()
    }

    fn warned(&self) -> String {
        self.warnings.recv_timeout(PATIENCE).expect("it warns")
    }

    /// What else it warned of until it ended.
    fn end(self) -> Vec<String> {
        assert_eq!(self.node.terminate().code(), Some(0));
        self.reader.join().unwrap();
        self.warnings.try_iter().collect()
    }
}

fn copy_key(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    // With its mode, or the copy would be refused.
    fs::copy(from.join("nodekey"), to.join("nodekey")).unwrap();
}

#[test]
fn s10_two_programs_with_one_key_each_warn_once_and_name_where_the_other_is() {
    let dir = tempfile::tempdir().unwrap();
    let [original, copy] = ["original", "copy"].map(|name| dir.path().join(name));
    let bootnode = Running::start(&["--nodekeyhex", &"e".repeat(64)]);
    let start = |datadir: &Path| {
        Watched::start(&["--datadir", datadir.to_str().unwrap(), "--bootnodes", &bootnode.enode])
    };
    let first = start(&original);
    copy_key(&original, &copy);
    let second = start(&copy);
    let key = |node: &Watched| node.node.enode.split('@').next().unwrap().to_owned();
    assert_eq!(key(&first), key(&second));
    assert!(second.warned().contains(&first.udp_addr()));
    assert!(first.warned().contains(&second.udp_addr()));
    // Seen again, and by the other layer, it is no news.
    let key_file = copy.join("nodekey");
    for verb in ["rlpx", "discv4"] {
        let output = run(&[verb, "ping", &first.node.enode, "--nodekey", key_file.to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(1), "{}", text(&output.stdout));
    }
    let none: Vec<String> = Vec::new();
    assert_eq!((first.end(), second.end()), (none.clone(), none));
    bootnode.terminate();
}

#[test]
fn s10_a_node_without_discovery_warns_of_who_comes_in_with_its_key() {
    let key = "1f".repeat(32);
    let node = Watched::start(&["--nodiscover", "--nodekeyhex", &key]);
    for _ in 0..2 {
        assert_eq!(run(&["rlpx", "ping", &node.node.enode, "--nodekeyhex", &key]).status.code(), Some(1));
    }
    assert!(node.warned().contains("127.0.0.1:"));
    assert_eq!(node.end(), Vec::<String>::new());
}
