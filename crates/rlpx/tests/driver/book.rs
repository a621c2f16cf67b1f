//! The address book of a running server: who served is dialed by the next run, which finds nobody else.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use identity::{Endpoint, NodeKey};
use rlpx::{BookTimes, Candidate, ConfigError, DisconnectReason, ServerBuilder, ServerConfig, ServerTimes};

use crate::support::{Node, One, Stage, ask_echo, echo, listener, quick};

fn candidate(node: &Node) -> Candidate {
    let address: SocketAddr = node.server.local_addr().unwrap();
    Candidate::new(node.key.public_key(), Endpoint { ip: address.ip(), udp: 0, tcp: address.port() })
}

async fn with_book(stage: &Stage, key: &Arc<NodeKey>, path: &std::path::Path) -> ServerBuilder {
    let book = BookTimes { stable: Duration::ZERO, store: Duration::from_millis(1) };
    let builder = stage.builder(key, listener().await).protocol(Arc::new(echo("echo")));
    let config = quick();
    let times = ServerTimes { book, ..config.times };
    builder.config(ServerConfig { times, ..config }).address_book(path)
}

#[tokio::test]
async fn a_node_dials_whom_it_knew_before_its_restart() {
    let (stage, dir) = (Stage::new(), tempfile::tempdir().unwrap());
    let path = dir.path().join("addressbook.redb");
    let (key, target) = (stage.key(), stage.echoing().await);
    let found = One(Some(candidate(&target)));
    let mut first = stage.start(Arc::clone(&key), with_book(&stage, &key, &path).await.candidates(found));
    let info = first.connected().await;
    assert_eq!(info.public_key, target.key.public_key());
    first.server.shutdown().await;
    let mut again = stage.start(Arc::clone(&key), with_book(&stage, &key, &path).await);
    let info = again.connected().await;
    assert_eq!((info.public_key, info.static_peer), (target.key.public_key(), false));
    // Until the owner wants nothing to do with it, which the third run knows.
    let id = target.key.node_id();
    again.server.ban(id, Duration::from_secs(60)).await.unwrap();
    assert_eq!(again.disconnected().await.0.node_id, id);
    again.server.shutdown().await;
    let third = stage.start(Arc::clone(&key), with_book(&stage, &key, &path).await);
    let mut tool = stage.tool(&third).await;
    ask_echo(&mut tool, b"alive").await;
    assert_eq!(third.server.peer_count(), 1, "nobody but the tool");
    tool.disconnect(DisconnectReason::Requested).await;
}

#[tokio::test]
async fn d04_two_servers_do_not_share_a_file_and_the_second_does_not_half_start() {
    let (stage, dir) = (Stage::new(), tempfile::tempdir().unwrap());
    let path = dir.path().join("addressbook.redb");
    let key = stage.key();
    let first = stage.start(Arc::clone(&key), with_book(&stage, &key, &path).await);
    let port = listener().await;
    let address = port.local_addr().unwrap();
    let second = with_book(&stage, &key, &path).await.listener(port).start();
    assert!(matches!(second, Err(ConfigError::AddressBook(_))));
    // Its listener is gone, so that the port is free at once.
    tokio::net::TcpListener::bind(address).await.unwrap();
    first.server.shutdown().await;
    with_book(&stage, &key, &path).await.start().unwrap().shutdown().await;
}
