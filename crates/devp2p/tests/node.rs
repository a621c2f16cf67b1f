//! Whole nodes on loopback: discovery leads to peers, other chains are left alone, shutdown says goodbye.
//! Gossip among many is the devnet's to show, real clients the live tests'.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{net::Ipv4Addr, sync::Arc, time::Duration};

use devp2p::{
    Node, NodeBuilder, NodeEvent, StartError,
    eth_wire::{BlockBuilder, EthConfig, EthEvent, ForkSchedule, MemoryChain, MemoryPool},
    identity::NodeKey,
    rlpx::{self, DisconnectReason, SessionEnd},
};

#[expect(dead_code, reason = "its main is the example's")]
#[path = "../examples/protocol.rs"]
mod protocol;

/// No step of these tests takes a second; only a fault takes this long.
const LIMIT: Duration = Duration::from_secs(30);

fn builder(secret: u8) -> NodeBuilder {
    let key = NodeKey::from_bytes(&[secret; 32]).unwrap();
    Node::builder(key).listen(Ipv4Addr::LOCALHOST.into(), 0)
}

/// A node on the private chain whose genesis block was made at `time`.
fn on_chain(secret: u8, time: u64) -> NodeBuilder {
    let genesis = BlockBuilder::genesis(time).build();
    let forks = ForkSchedule::new(genesis.header.hash, time, &[], &[]);
    let chain = Arc::new(MemoryChain::new(&genesis));
    builder(secret).eth(EthConfig::new(1337, forks), chain, Arc::new(MemoryPool::new(1337)))
}

/// How long a shutdown may take.
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(5);

/// The first event that `wanted` makes something of.
async fn first<T>(node: &mut devp2p::NodeEvents, wanted: impl Fn(&NodeEvent) -> Option<T>) -> T {
    let found = async {
        loop {
            let event = node.next().await.expect("the node runs");
            if let Some(found) = wanted(&event) {
                return found;
            }
        }
    };
    tokio::time::timeout(LIMIT, found).await.expect("the event comes")
}

fn ready(event: &NodeEvent) -> Option<()> {
    matches!(event, NodeEvent::Eth(EthEvent::PeerReady(_))).then_some(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_example_protocol_greets_both_ways() {
    let mut greetings = tokio::time::timeout(LIMIT, protocol::greetings()).await.unwrap().unwrap();
    greetings.sort();
    assert_eq!(greetings, ["hello from Alice", "hello from Bob"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn discovery_leads_to_peers_and_shutdown_says_goodbye() {
    let first_node = on_chain(11, 1).start().await.unwrap();
    let mut events = first_node.events();
    let second = on_chain(12, 1).bootnodes([first_node.enode()]).start().await.unwrap();
    first(&mut events, ready).await;
    assert_eq!(first_node.peers().await.len(), 1);
    tokio::time::timeout(SHUTDOWN_LIMIT, second.shutdown()).await.expect("goodbyes are short");
    let end = first(&mut events, |event| {
        let NodeEvent::Transport(rlpx::Event::PeerDisconnected { end, .. }) = event else { return None };
        Some(*end)
    });
    assert_eq!(end.await, SessionEnd::Remote(DisconnectReason::Quitting));
    first_node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_of_another_chain_is_found_and_not_dialed() {
    let hub = on_chain(21, 1).start().await.unwrap();
    let mut events = hub.events();
    let stranger = on_chain(22, 2).bootnodes([hub.enode()]).start().await.unwrap();
    let friend = on_chain(23, 1).bootnodes([hub.enode()]).start().await.unwrap();
    first(&mut events, ready).await;
    // The friend has come after the stranger, and both through the same door.
    let found = tokio::time::timeout(LIMIT, async {
        while hub.discovery().unwrap().table().await.unwrap().len() < 2 {
            tokio::task::yield_now().await;
        }
    });
    found.await.expect("discovery knows both");
    assert_eq!(hub.peers().await.iter().map(|peer| peer.node_id).collect::<Vec<_>>(), [friend.node_id()]);
    assert_eq!(stranger.peers().await.len(), 0);
    for node in [hub, stranger, friend] {
        node.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn o03_a_port_in_use_is_named_and_nothing_is_left() {
    let taken = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let error = builder(31).discovery_port(port).start().await.err().unwrap();
    assert!(matches!(&error, StartError::Bind { protocol: "UDP", .. }), "{error}");
    assert!(error.to_string().contains(&port.to_string()) && error.to_string().contains("discovery port"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_of_no_peers_discovers_and_dials_nobody() {
    let hub = builder(51).start().await.unwrap();
    let crawler = builder(52).max_peers(0).bootnodes([hub.enode()]).start().await.unwrap();
    let found = tokio::time::timeout(LIMIT, async {
        while crawler.discovery().unwrap().table().await.unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
    });
    found.await.expect("discovery works without peers");
    assert_eq!((hub.peers().await.len(), crawler.peers().await.len()), (0, 0));
    hub.shutdown().await;
    crawler.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_without_discovery_has_no_udp_port() {
    let node = builder(41).no_discovery().start().await.unwrap();
    assert!(node.discovery().is_none());
    assert_eq!((node.enode().udp, node.enr().endpoint().unwrap().udp), (0, 0));
    assert!(node.enode().to_string().ends_with("?discport=0"));
    assert_eq!(node.traffic(), devp2p::Traffic::default());
    node.shutdown().await;
}

/// A protocol that nobody speaks, with this entry in the record.
fn with_entry(name: &'static str, value: impl Fn() -> u8 + Send + Sync + 'static) -> impl rlpx::Protocol {
    let version = rlpx::ProtocolVersion { version: 1, message_count: 1 };
    let protocol = rlpx::protocol(name, [version], |_, _| async {});
    protocol.enr_entry(name, move || bytes::Bytes::copy_from_slice(&[value()]))
}

#[tokio::test(flavor = "multi_thread")]
async fn s10_the_entries_of_all_protocols_are_in_one_record_and_follow_it() {
    let value = Arc::new(std::sync::atomic::AtomicU8::new(5));
    let shared = Arc::clone(&value);
    let entry = with_entry("entry", move || shared.load(std::sync::atomic::Ordering::Relaxed));
    let node = builder(61).protocol(entry).protocol(with_entry("other", || 7)).start().await.unwrap();
    let first = node.enr();
    assert_eq!((first.entry("entry"), first.entry("other")), (Some(&[5][..]), Some(&[7][..])));
    node.refresh_record().await;
    assert_eq!(node.enr().seq(), first.seq(), "nothing has changed");
    value.store(6, std::sync::atomic::Ordering::Relaxed);
    node.refresh_record().await;
    assert_eq!((node.enr().entry("entry"), node.enr().seq()), (Some(&[6][..]), first.seq() + 1));
    let discovery = node.discovery().unwrap();
    assert_eq!(discovery.local_enr().seq(), first.seq() + 1, "discovery serves it");
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_node_finds_its_peer_without_discovery() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("data").join("addressbook.redb");
    let book = rlpx::BookTimes { stable: Duration::ZERO, ..Default::default() };
    let times = rlpx::ServerTimes { book, ..Default::default() };
    let config = || rlpx::ServerConfig { times: times.clone(), ..Default::default() };
    // The other dials nobody, so that the first is the one who has reached it.
    let slots = rlpx::Slots { no_discovered_dials: true, ..Default::default() };
    let passive = rlpx::ServerConfig { slots, ..Default::default() };
    let other = on_chain(61, 1_700_000_000).server_config(passive).start().await.unwrap();
    let first = on_chain(62, 1_700_000_000).server_config(config()).address_book(&path);
    let first = first.bootnodes([other.enode()]).start().await.unwrap();
    let mut events = first.events();
    self::first(&mut events, ready).await;
    first.shutdown().await;
    let again = on_chain(62, 1_700_000_000).server_config(config()).address_book(&path).no_discovery();
    let again = again.start().await.unwrap();
    let mut events = again.events();
    self::first(&mut events, ready).await;
    assert_eq!(again.peers().await[0].node_id, other.node_id());
    again.shutdown().await;
    other.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_with_both_families_is_reached_by_both_and_says_so() {
    let v6: std::net::IpAddr = std::net::Ipv6Addr::LOCALHOST.into();
    let node = on_chain(63, 1_700_000_000).listen_also(v6).start().await.unwrap();
    let record = node.enr();
    let (v4, v6) = (record.endpoint_v4().unwrap(), record.endpoint_v6().unwrap());
    assert_eq!((v6.ip, v6.tcp, v6.udp), (std::net::Ipv6Addr::LOCALHOST.into(), v4.tcp, 0));
    for (secret, endpoint) in [(64, v4), (65, v6)] {
        let enode = devp2p::identity::Enode::new(record.public_key(), endpoint);
        let peer =
            on_chain(secret, 1_700_000_000).no_discovery().static_peers([enode]).start().await.unwrap();
        let mut events = peer.events();
        first(&mut events, ready).await;
        assert_eq!(peer.peers().await[0].remote_addr, endpoint.tcp_addr().unwrap());
        peer.shutdown().await;
    }
    node.shutdown().await;
}

#[tokio::test]
async fn o03_a_port_taken_for_one_family_leaves_the_other_free() {
    let taken = std::net::TcpListener::bind("[::1]:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let builder = |other: &str| {
        builder(66).listen(Ipv4Addr::LOCALHOST.into(), port).listen_also(other.parse().unwrap())
    };
    let error = builder("::1").start().await.err().unwrap();
    assert!(
        matches!(&error, StartError::Bind { addr, .. } if addr.is_ipv6() && addr.port() == port),
        "{error}"
    );
    std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
    let same = builder("127.0.0.2").start().await.err().unwrap();
    assert!(matches!(same, StartError::SameFamily { .. }), "{same}");
}
