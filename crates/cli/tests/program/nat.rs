//! `--nat` of a running node: a STUN server of the test says where the node is, and the node says it too.

use std::{
    io::{BufRead, BufReader},
    net::{Ipv4Addr, UdpSocket},
    process::Stdio,
    str::FromStr,
    thread,
    time::Duration,
};

use devp2p::identity::{Enode, Enr};

use crate::devp2p as program;

/// Far beyond what a start takes, so that only what never comes fails.
const LIMIT: Duration = Duration::from_secs(20);

/// Answers one STUN binding (RFC 8489) with 11.22.33.44.
fn answer_once(server: &UdpSocket) {
    let mut request = [0; 64];
    let (_, from) = server.recv_from(&mut request).unwrap();
    let mixed: Vec<u8> =
        [11, 22, 33, 44].iter().zip(&request[4..8]).map(|(octet, key)| octet ^ key).collect();
    let attribute = [&[0, 0x20, 0, 8, 0, 1, 0, 0], &mixed[..]].concat();
    server.send_to(&[&[1, 1, 0, 12], &request[4..20], &attribute].concat(), from).unwrap();
}

#[test]
fn a_node_says_the_address_that_a_stun_server_tells_it() {
    let server = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    server.set_read_timeout(Some(LIMIT)).unwrap();
    let nat = format!("stun:{}", server.local_addr().unwrap());
    let key = "11".repeat(32);
    let arguments = ["node", "--port", "0", "--nodekeyhex", &key, "--verbosity", "0", "--nat", &nat];
    let mut child = program(&arguments).stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let answering = thread::spawn(move || answer_once(&server));
    // The server may answer before the node says who it is, or after.
    let mut lines = lines.map(|line| line.unwrap()).skip_while(|line| !line.contains("@11.22.33.44:"));
    let (enode, enr) = (lines.next().unwrap(), lines.next().unwrap());
    child.kill().unwrap();
    child.wait().unwrap();
    answering.join().unwrap();
    assert!(enode.starts_with("enode://"), "{enode}");
    let (record, node_id) = (Enr::from_str(&enr).unwrap(), Enode::from_str(&enode).unwrap().node_id());
    assert_eq!((record.node_id(), record.endpoint().unwrap().ip), (node_id, [11, 22, 33, 44].into()));
}
