//! Servers that listen on IPv4 and on IPv6, each by a socket of its own.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
};

use rlpx::{ConfigError, MAX_LISTENERS, Server, ServerBuilder, SessionConfig, bind_listener};
use tokio::net::{TcpListener, TcpStream};

use crate::support::{Stage, ask_echo, echo, quick, within};

const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

fn builder(stage: &Stage) -> ServerBuilder {
    let builder = Server::builder(stage.pool.handle(stage.key()));
    builder.config(quick()).protocol(Arc::new(echo("echo")))
}

#[tokio::test]
async fn peers_come_in_by_both_families() {
    let stage = Stage::new();
    let key = stage.key();
    let builder = Server::builder(stage.pool.handle(Arc::clone(&key)));
    let builder = builder.config(quick()).protocol(Arc::new(echo("echo")));
    let builder = builder.listen(SocketAddr::new(V4, 0)).listen(SocketAddr::new(V6, 0));
    let node = stage.start(key, builder);
    let addresses = node.server.node_info().local_addrs.clone();
    assert_eq!(addresses.iter().map(SocketAddr::ip).collect::<Vec<_>>(), [V4, V6]);
    assert_eq!(node.server.local_addr(), Some(addresses[0]));
    for address in addresses {
        let own = stage.key();
        let name = rlpx::CapabilityName::new("echo").unwrap();
        let capability = rlpx::LocalCapability::new(name, 1, 2);
        let config = SessionConfig::new(own.public_key(), "tool/1", vec![capability]);
        let connecting = Server::connect(stage.pool.handle(own), config, address, node.key.public_key());
        let mut tool = within(connecting).await.unwrap();
        ask_echo(&mut tool, b"here").await;
    }
}

#[tokio::test]
async fn o03_a_port_that_is_taken_for_one_family_is_an_error_and_the_other_is_free_again() {
    let stage = Stage::new();
    let taken = TcpListener::bind((V6, 0)).await.unwrap();
    let address = taken.local_addr().unwrap();
    let free = SocketAddr::new(V4, address.port());
    let error = builder(&stage).listen(free).listen(address).start().unwrap_err();
    let is_named = matches!(&error, ConfigError::Listen { address: named, .. } if *named == address);
    assert!(is_named, "{error}");
    TcpListener::bind(free).await.unwrap();
}

#[tokio::test]
async fn o03_an_ipv6_listener_is_for_ipv6_alone_so_that_one_port_serves_both_families() {
    // All addresses of both families at one port: only where IPv6 does not take IPv4 with it.
    let v6 = bind_listener(SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), 0)).unwrap();
    let port = v6.local_addr().unwrap().port();
    assert!(within(TcpStream::connect((V4, port))).await.is_err(), "nobody listens on IPv4");
    let v4 = bind_listener(SocketAddr::new(V4, port)).unwrap();
    within(TcpStream::connect((V4, port))).await.unwrap();
    within(TcpStream::connect((V6, port))).await.unwrap();
    assert!(within(v4.accept()).await.unwrap().1.is_ipv4());
    assert!(within(v6.accept()).await.unwrap().1.is_ipv6());
}

#[tokio::test]
async fn o03_one_family_alone_works() {
    for ip in [V4, V6] {
        let stage = Stage::new();
        let server = builder(&stage).listen(SocketAddr::new(ip, 0)).start().unwrap();
        within(TcpStream::connect(server.local_addr().unwrap())).await.unwrap();
    }
}

#[tokio::test]
async fn a_server_has_no_more_listeners_than_it_may() {
    let stage = Stage::new();
    let many = (0..=MAX_LISTENERS).fold(builder(&stage), |builder, _| builder.listen(SocketAddr::new(V4, 0)));
    assert!(matches!(many.start(), Err(ConfigError::Listeners { found: 9 })));
}
