//! Dials to nodes with two addresses, over real sockets: one of them works, the other refuses or says nothing at all.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use identity::{Endpoint, Enode, Host};
use rlpx::{Candidate, Event, ServerConfig, ServerTimes, SessionEnd, SessionError};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::support::{Node, One, Stage, ask_echo, echo, listener, quick, within};

#[expect(clippy::disallowed_methods, reason = "how long a dial takes is measured")]
fn clock() -> Instant {
    Instant::now()
}

fn endpoint(address: SocketAddr) -> Endpoint {
    Endpoint { ip: address.ip(), udp: 0, tcp: address.port() }
}

/// An address that refuses: its port was free a moment ago and is held, not listened on.
fn refusing(ip: IpAddr) -> (TcpSocket, SocketAddr) {
    let socket = if ip.is_ipv6() { TcpSocket::new_v6() } else { TcpSocket::new_v4() }.unwrap();
    socket.bind(SocketAddr::new(ip, 0)).unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

/// An address that says nothing: its one place for a connection that nobody accepts is taken.
async fn silent(ip: IpAddr) -> (TcpListener, TcpStream, SocketAddr) {
    let (socket, _) = refusing(ip);
    let listener = socket.listen(0).unwrap();
    let address = listener.local_addr().unwrap();
    let first = within(TcpStream::connect(address)).await.unwrap();
    (listener, first, address)
}

async fn dial(stage: &Stage, candidate: Candidate, config: ServerConfig) -> Node {
    let key = stage.key();
    let builder = stage.builder(&key, listener().await).protocol(Arc::new(echo("echo"))).config(config);
    stage.start(key, builder.candidates(One(Some(candidate))))
}

async fn at(stage: &Stage, ip: IpAddr) -> Node {
    let key = stage.key();
    let listener = TcpListener::bind((ip, 0)).await.unwrap();
    stage.start(Arc::clone(&key), stage.builder(&key, listener).protocol(Arc::new(echo("echo"))))
}

const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

/// Dials a node that is reached at `works` alone, and says where the session stands.
async fn reached(works: IpAddr, other: SocketAddr) -> SocketAddr {
    let stage = Stage::new();
    let target = at(&stage, works).await;
    let address = target.server.local_addr().unwrap();
    // Named second where it is IPv4, first where it is IPv6: the order of the record decides nothing.
    let candidate = Candidate {
        other: Some(endpoint(address)),
        ..Candidate::new(target.key.public_key(), endpoint(other))
    };
    let mut node = dial(&stage, candidate, quick()).await;
    let info = node.connected().await;
    assert_eq!(info.remote_addr, address);
    node.server.shutdown().await;
    target.server.shutdown().await;
    info.remote_addr
}

#[tokio::test]
async fn a_node_whose_ipv6_address_refuses_is_reached_by_ipv4_and_the_other_way_round() {
    for (works, refuses) in [(V4, V6), (V6, V4)] {
        let (_held, other) = refusing(refuses);
        assert_eq!(reached(works, other).await.ip(), works);
    }
}

#[tokio::test]
async fn a_node_whose_ipv6_address_is_a_black_hole_is_reached_by_ipv4_and_the_other_way_round() {
    for (works, says_nothing) in [(V4, V6), (V6, V4)] {
        let (_listener, _first, other) = silent(says_nothing).await;
        assert_eq!(reached(works, other).await.ip(), works);
    }
}

#[tokio::test]
async fn a_name_with_both_families_is_raced_too() {
    let stage = Stage::new();
    let target = stage.echoing().await;
    let port = target.server.local_addr().unwrap().port();
    let enode = Enode {
        public_key: target.key.public_key(),
        host: Host::Dns("localhost".to_owned()),
        tcp: port,
        udp: 0,
    };
    let key = stage.key();
    let config = ServerConfig { static_peers: vec![enode], ..quick() };
    let builder = stage.builder(&key, listener().await).protocol(Arc::new(echo("echo"))).config(config);
    let mut node = stage.start(key, builder);
    assert_eq!(node.connected().await.remote_addr, SocketAddr::new(V4, port));
    let mut tool = stage.tool(&node).await;
    ask_echo(&mut tool, b"there").await;
}

#[tokio::test]
async fn h14_an_address_that_accepts_nothing_is_given_up_when_the_time_to_connect_is_over() {
    assert_eq!(ServerTimes::default().connect, Duration::from_secs(5));
    const CONNECT: Duration = Duration::from_millis(400);
    let stage = Stage::new();
    for ip in [V4, V6] {
        let (_listener, _first, address) = silent(ip).await;
        let target = stage.key().public_key();
        let times = ServerTimes { connect: CONNECT, ..quick().times };
        let begun = clock();
        let mut node =
            dial(&stage, Candidate::new(target, endpoint(address)), ServerConfig { times, ..quick() }).await;
        let event = node.event().await;
        let took = clock().saturating_duration_since(begun);
        let Event::DialFailed { public_key, address: to, end, rule: None } = event else {
            panic!("{event:?}")
        };
        let late = SessionEnd::Broken(SessionError::Io(std::io::ErrorKind::TimedOut));
        assert_eq!((public_key, to, end), (target, Some(address), late));
        // Less than a handshake has, and far less than the system waits by itself.
        assert!((CONNECT..Duration::from_secs(4)).contains(&took), "{took:?}");
        node.server.shutdown().await;
    }
}
