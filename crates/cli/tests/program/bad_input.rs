//! Bad input: one line on standard error that names what is wrong, exit code 2, nothing changed on disk.

use std::{
    fs,
    net::{TcpListener, UdpSocket},
    os::unix::fs::PermissionsExt,
    path::Path,
};

use crate::{run, text};

/// The public key of the secret 1: the curve's generator.
const BOOTNODE: &str = "79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798483ada7726a3c4655da4fbfc0e1108a8fd17b448a68554199c47d08ffb10d4b8";

const KEY: &str = "1111111111111111111111111111111111111111111111111111111111111111";

/// The program refuses `arguments` in one line that contains `expected`.
pub(crate) fn refused(arguments: &[&str], expected: &str) {
    let output = run(arguments);
    let (out, error) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {out}{error}");
    assert!(out.is_empty(), "{arguments:?}: {out}");
    assert_eq!(error.lines().count(), 1, "{arguments:?}: {error}");
    assert!(error.starts_with("devp2p: ") && error.contains(expected), "{arguments:?}: {error}");
}

#[test]
fn c07_bad_flags_are_named() {
    let url = format!("enode://{}@127.0.0.1:30303", "00".repeat(64));
    let cases: &[(&[&str], &str)] = &[
        (&["node", "--port", "70000"], "--port"),
        (&["node", "--bootnodes", "nonsense"], "not an enode URL"),
        (&["node", "--bootnodes", &url], "not a public key"),
        (&["node", "--nodekeyhex", "12"], "64 hex digits"),
        (&["node", "--nat", "upmp"], "extip"),
        (&["node", "--nat", "extip:host"], "extip:IP"),
        (&["node", "--nat", "pmp:host"], "IP address of a gateway"),
        (&["node", "--nat", "stun:a:b"], "STUN server"),
        (&["node", "--nat", "any", "--port", "0", "--nodekeyhex", KEY], "listens on 127.0.0.1 alone"),
        (&["node", "--netrestrict", "127.0.0.0/8,x"], "\"x\" is not a network"),
        (&["node", "--addr", "localhost"], "--addr"),
        (&["node", "--addr", "127.0.0.1", "--addr", "127.0.0.2", "--nodekeyhex", KEY], "one IPv6"),
        (&["node", "--addr", "127.0.0.1,::1,127.0.0.2", "--nodekeyhex", KEY], "one IPv6"),
        (&["node", "--verbosity", "6"], "--verbosity"),
        (&["node", "--genesis", "/nonexistent/genesis.json"], "/nonexistent/genesis.json"),
        (&["devnet", "--nodes", "0"], "1 to 200"),
        (&["devnet", "--kill", "12"], "--kill 12"),
        (&["devnet", "--tx-rate", "-1"], "--tx-rate"),
        (&["devnet", "--duration", "soon"], "--duration"),
        (&["rlpx", "ping", "enr:xyz"], "not a node record"),
        (&["discv4", "ping", "enode://12@127.0.0.1:1"], "128 hex digits"),
        (&["rlpx", "ping"], "NODE"),
        (&["frobnicate"], "frobnicate"),
    ];
    for (arguments, expected) in cases {
        refused(arguments, expected);
    }
}

#[test]
fn a_bad_genesis_file_is_named_with_its_field() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("genesis.json");
    let path = path.to_str().unwrap();
    for (content, expected) in [("{", "JSON"), ("{}", "config"), ("\u{0}", "JSON")] {
        fs::write(path, content).unwrap();
        refused(&["node", "--genesis", path, "--nodekeyhex", KEY], expected);
    }
}

#[test]
fn d07_a_bad_key_file_is_left_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("nodekey");
    let name = path.to_str().unwrap();
    for (content, mode, expected) in
        [(KEY, 0o644, "chmod 600"), ("", 0o600, "64 hex digits"), ("12", 0o600, "64 hex digits")]
    {
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        refused(&["node", "--nodekey", name], expected);
        refused(&["node", "--datadir", dir.path().to_str().unwrap()], expected);
        refused(&["key", "generate", name], "File exists");
        assert_eq!(fs::read_to_string(&path).unwrap(), content);
    }
}

#[test]
fn o06_without_a_home_directory_the_key_needs_a_place() {
    let output = crate::devp2p(&["node"]).env_remove("HOME").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("--datadir"));
    refused(&["node", "--port", "0"], "/dev/null/home/.devp2p");
}

#[test]
fn o03_a_port_in_use_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let datadir = dir.path().join("data");
    let datadir_name = datadir.to_str().unwrap();
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = tcp.local_addr().unwrap().port().to_string();
    refused(&["node", "--datadir", datadir_name, "--port", &port], &port);
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = udp.local_addr().unwrap().port().to_string();
    refused(
        &["node", "--datadir", datadir_name, "--port", "0", "--discovery.port", &port],
        "another discovery port",
    );
    assert!(!Path::new(&datadir).exists());
}

#[test]
fn o03_a_port_in_use_for_one_family_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let datadir = dir.path().join("data");
    let tcp = TcpListener::bind("[::1]:0").unwrap();
    let port = tcp.local_addr().unwrap().port().to_string();
    let addresses = ["--addr", "127.0.0.1", "--addr", "::1", "--port", &port];
    let arguments = [&["node", "--datadir", datadir.to_str().unwrap()], &addresses[..]].concat();
    refused(&arguments, &format!("[::1]:{port}"));
    assert!(!Path::new(&datadir).exists());
}

#[test]
fn d02_a_bad_address_book_is_named_and_left_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("addressbook.redb");
    let bootnode = format!("enode://{BOOTNODE}@127.0.0.1:9");
    let datadir = dir.path().to_str().unwrap();
    for content in ["my notes", KEY] {
        fs::write(&path, content).unwrap();
        refused(&["node", "--port", "0", "--datadir", datadir, "--bootnodes", &bootnode], "addressbook.redb");
        assert_eq!(fs::read_to_string(&path).unwrap(), content);
        assert!(!dir.path().join("nodekey").exists(), "no key for a node that does not start");
    }
}
