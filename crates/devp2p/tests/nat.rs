//! A node behind a gateway on loopback: what the gateway says of the outside comes into the node's record, its URL and
//! its events, and the mappings are gone when the node is. How gateways are spoken to is tested in `rlpx`.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    net::{IpAddr, Ipv4Addr},
    process,
    time::Duration,
};

use devp2p::{
    Node, NodeBuilder, NodeEvent, StartError,
    identity::{Endpoint, NodeKey},
};
use tokio::{net::UdpSocket, sync::mpsc, time::timeout};

/// No step of these tests takes a second; only a fault takes this long.
const LIMIT: Duration = Duration::from_secs(30);

/// NAT-PMP's port (RFC 6886, section 3).
const PORT: u16 = 5351;

/// An address that others could reach; nothing is ever sent there.
const PUBLIC: Ipv4Addr = Ipv4Addr::new(11, 22, 33, 44);

fn builder() -> NodeBuilder {
    let key = NodeKey::from_bytes(&[7; 32]).unwrap();
    Node::builder(key).listen(Ipv4Addr::LOCALHOST.into(), 0)
}

/// An address of loopback whose port is nobody's.
async fn free() -> (Ipv4Addr, UdpSocket) {
    let [_, _, high, low] = process::id().to_be_bytes();
    for number in 1..=u8::MAX {
        let ip = Ipv4Addr::new(127, high | 1, low, number);
        if let Ok(socket) = UdpSocket::bind((ip, PORT)).await {
            return (ip, socket);
        }
    }
    panic!("no address of loopback has port {PORT} free");
}

/// The port that the gateway grants for `port`.
const fn shifted(port: u16) -> u16 {
    port ^ 1
}

/// A gateway with NAT-PMP; it tells which operations had their mappings removed.
async fn gateway() -> (Ipv4Addr, mpsc::Receiver<u8>) {
    let (ip, socket) = free().await;
    let (sender, removed) = mpsc::channel(8);
    let serve = async move {
        let mut request = [0; 64];
        while let Ok((len, from)) = socket.recv_from(&mut request).await {
            let op = request[1];
            let mut answer = vec![0, 128 + op, 0, 0, 0, 0, 0, 9];
            if len == 2 {
                answer.extend(PUBLIC.octets());
            } else {
                let wanted = u16::from_be_bytes([request[6], request[7]]);
                let is_removal = request[8..12] == [0; 4];
                let granted = if is_removal { 0 } else { shifted(wanted) };
                answer.extend([&request[4..6], &granted.to_be_bytes(), &request[8..12]].concat());
                if is_removal {
                    let _full = sender.try_send(op);
                }
            }
            socket.send_to(&answer, from).await.unwrap();
        }
    };
    #[expect(clippy::disallowed_methods, reason = "a responder is a task of its test")]
    tokio::spawn(serve);
    (ip, removed)
}

#[tokio::test]
async fn what_a_gateway_says_comes_into_record_url_and_events() {
    let (ip, mut removed) = gateway().await;
    let node = builder().nat(format!("pmp:{ip}").parse().unwrap()).start().await.unwrap();
    let mut events = node.events();
    let inside = node.server().local_addr().unwrap().port();
    let outside = Endpoint { ip: IpAddr::V4(PUBLIC), udp: shifted(inside), tcp: shifted(inside) };
    let moved = async {
        while node.enode().to_string()
            != devp2p::identity::Enode::new(node.enr().public_key(), outside).to_string()
        {
            let event = events.next().await.unwrap();
            assert!(matches!(event, NodeEvent::Moved(_)), "{event:?}");
        }
    };
    timeout(LIMIT, moved).await.unwrap();
    let served = async {
        let discovery = node.discovery().unwrap();
        while discovery.local_enr().endpoint() != Some(outside) {
            tokio::task::yield_now().await;
        }
    };
    timeout(LIMIT, served).await.unwrap();
    assert_eq!(node.enr().endpoint(), Some(outside));
    assert!(node.enr().seq() > 0);
    timeout(LIMIT, node.shutdown()).await.unwrap();
    let mut operations = [removed.recv().await.unwrap(), removed.recv().await.unwrap()];
    operations.sort_unstable();
    assert_eq!(operations, [1, 2], "UDP and TCP");
}

#[tokio::test]
async fn a_node_on_loopback_alone_asks_no_gateway_that_was_not_named() {
    let error = builder().nat("any".parse().unwrap()).start().await.err().unwrap();
    assert!(matches!(error, StartError::Nat(_)));
    assert!(error.to_string().contains("127.0.0.1"), "{error}");
}
