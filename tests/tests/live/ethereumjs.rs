//! RLPx and eth/68 with `@ethereumjs/devp2p`: both roles, compressed and not, and the reasons of Disconnect both ways.
//! It sends its Disconnect uncompressed whatever the version.

use std::sync::Arc;

use devp2p::{
    eth_wire::{EthVersion, Insert},
    identity::{CurvePool, NodeKey},
    rlpx::{
        Capability, CapabilityName, ConnectError, Connection, DisconnectReason, Hello, LocalCapability,
        Server, ServerConfig, SessionConfig, SessionEnd,
    },
};
use interop::{
    Failure, GENESIS_HASH, Result,
    ethereumjs::{EthereumJs, Options},
};
use serde_json::{Value, json};

use crate::{
    ours::{LIMIT, Ours, Setup, run, transfer},
    stranger::{Parting, STATUS as STATUS_ON_WIRE, Stranger, capability, hello, key},
};

/// The key of a node of the library that is told about itself.
const JS_SECRET: u8 = 88;
/// Codes of eth.
const STATUS: u64 = 0x00;
const TRANSACTIONS: u64 = 0x02;
const GET_BLOCK_HEADERS: u64 = 0x03;
const BLOCK_HEADERS: u64 = 0x04;
const POOLED_HASHES: u64 = 0x08;
/// When the first block of the test network was made, as RLP writes it, and its place in a header.
const GENESIS_TIME: &str = "6553f100";
const TIME_FIELD: usize = 11;

/// Request 7: one header from block 0 on.
fn request() -> Value {
    json!(["07", ["", "01", "", ""]])
}

/// The payload of the message with `code` that it has received.
fn received(js: &EthereumJs, code: u64) -> Result<Value> {
    js.wait_for("message", LIMIT, |event| (event["code"] == code).then(|| event["payload"].clone()))
}

/// Both know each other, each has checked the other's Status, and messages go both ways.
fn assert_agreed(js: &mut EthereumJs, ours: &mut Ours) -> Result<()> {
    let id = js.enode().node_id();
    let peer = ours.connected(id)?;
    assert!(peer.client_name.starts_with("ethereumjs-devp2p/"), "{}", peer.client_name);
    assert_eq!(ours.ready(id)?.version, EthVersion::Eth68);
    let hello = js.wait_for("hello", LIMIT, |event| Some(event.clone()))?;
    assert_eq!(hello["client"], concat!("devp2p/v", env!("CARGO_PKG_VERSION"), "/rust"));
    assert_eq!((&hello["version"], &hello["offered"]), (&json!(5), &json!(["eth/68", "eth/69"])));
    assert_eq!(hello["id"], hex::encode(ours.enode().public_key.as_bytes()));
    let status = js.wait_for("status", LIMIT, |event| Some(event.clone()))?;
    assert_eq!((&status["chainId"], &status["genesisHash"]), (&json!("0539"), &json!(GENESIS_HASH)));

    js.send(GET_BLOCK_HEADERS, &request())?;
    let answer = received(js, BLOCK_HEADERS)?;
    assert_eq!((&answer[0], &answer[1][0][TIME_FIELD]), (&json!("07"), &json!(GENESIS_TIME)));
    let sent = transfer(0);
    let inserted = run(ours.eth().submit_transaction(sent.envelope().clone())).expect("the node runs");
    assert_eq!(inserted, Insert::New);
    let transactions = received(js, TRANSACTIONS)?;
    // A transaction with a type is a string of RLP, of the type and its fields.
    assert_eq!(transactions, json!([hex::encode(sent.envelope().clone())]));
    Ok(())
}

#[test]
fn we_dial_ethereumjs_and_both_read_status_and_messages() -> Result<()> {
    let mut js = EthereumJs::launch(&Options::new(80))?;
    let mut ours = Setup::new(81).start(|node| node.no_discovery())?;
    ours.add_peer(js.enode());
    assert_agreed(&mut js, &mut ours)?;
    assert!(!ours.connected(js.enode().node_id())?.inbound);
    Ok(())
}

#[test]
fn ethereumjs_dials_us_and_both_read_status_and_messages() -> Result<()> {
    let mut js = EthereumJs::launch(&Options::new(82))?;
    let mut ours = Setup::new(83).start(|node| node.no_discovery())?;
    js.dial(&ours.enode())?;
    assert_agreed(&mut js, &mut ours)?;
    assert!(ours.connected(js.enode().node_id())?.inbound);
    Ok(())
}

/// A connection of ours by itself, that says to speak `version` of the base protocol.
fn connect(
    pool: &CurvePool,
    js: &EthereumJs,
    key: &Arc<NodeKey>,
    version: u64,
) -> Result<Connection, ConnectError> {
    let eth = LocalCapability::new(CapabilityName::new("eth").expect("a name"), 68, 17);
    let mut config = SessionConfig::new(key.public_key(), "one connection", vec![eth]);
    config.hello.protocol_version = version;
    let address = js.enode().endpoint().and_then(|endpoint| endpoint.tcp_addr()).expect("it listens");
    run(Server::connect(pool.handle(Arc::clone(key)), config, address, js.enode().public_key))
}

fn told(failure: ConnectError) -> Failure {
    Failure::new(failure.to_string())
}

#[test]
fn f11_of_version_4_nothing_is_compressed_either_way() -> Result<()> {
    let mut js = EthereumJs::launch(&Options::new(84))?;
    let pool = CurvePool::for_this_machine();
    let mut connection = connect(&pool, &js, &key(85), 4).map_err(told)?;
    assert_eq!(connection.hello().protocol_version, 5);
    let status = run(connection.next()).expect("a message").message;
    assert_eq!(status.code, STATUS);
    run(connection.send(0, STATUS, status.payload)).expect("it is open");
    assert_eq!(js.wait_for("hello", LIMIT, |event| event["version"].as_u64())?, 4);
    js.wait_for("status", LIMIT, |event| (event["genesisHash"] == GENESIS_HASH).then_some(()))?;

    js.send(GET_BLOCK_HEADERS, &request())?;
    let asked = run(connection.next()).expect("a message").message;
    assert_eq!((asked.code, &asked.payload[..]), (GET_BLOCK_HEADERS, &b"\xc6\x07\xc4\x80\x01\x80\x80"[..]));
    run(connection.send(0, BLOCK_HEADERS, (&b"\xc2\x07\xc0"[..]).into())).expect("it is open");
    assert_eq!(received(&js, BLOCK_HEADERS)?, json!(["07", []]));

    js.disconnect(DisconnectReason::TooManyPeers.code())?;
    let end = loop {
        if let Err(end) = run(connection.next()) {
            break end;
        }
    };
    assert_eq!(end, SessionEnd::Remote(DisconnectReason::TooManyPeers));
    Ok(())
}

#[test]
fn ethereumjs_reads_every_reason_that_we_give() -> Result<()> {
    let pool = CurvePool::for_this_machine();
    let js = EthereumJs::launch(&Options { max_peers: DisconnectReason::NAMED.len(), ..Options::new(86) })?;
    for (secret, reason) in (100..).zip(DisconnectReason::NAMED) {
        let connection = connect(&pool, &js, &key(secret), 5).map_err(told)?;
        assert_eq!(run(connection.disconnect(reason)), SessionEnd::Local { reason, error: None });
        js.wait_for("told", LIMIT, |event| (event["reason"] == reason.code()).then_some(()))?;
        js.wait_for("closed", LIMIT, |event| {
            (event["reason"] == reason.code() && event["byUs"] == false).then_some(())
        })?;
    }
    Ok(())
}

#[test]
fn we_read_every_reason_that_ethereumjs_gives() -> Result<()> {
    let pool = CurvePool::for_this_machine();
    let mut js =
        EthereumJs::launch(&Options { max_peers: DisconnectReason::NAMED.len(), ..Options::new(87) })?;
    for (secret, reason) in (100..).zip(DisconnectReason::NAMED) {
        let key = key(secret);
        let mut connection = connect(&pool, &js, &key, 5).map_err(told)?;
        let id = hex::encode(key.public_key().as_bytes());
        js.wait_for("hello", LIMIT, |event| (event["id"] == id).then_some(()))?;
        js.disconnect(reason.code())?;
        let end = loop {
            if let Err(end) = run(connection.next()) {
                break end;
            }
        };
        assert_eq!(end, SessionEnd::Remote(reason));
    }
    Ok(())
}

/// What a row does to a node of the library: how that parts.
type Provocation = fn(&mut EthereumJs) -> Result<Parting>;

/// Reasons by what makes the library give them, each to a node of its own with as many places for peers.
const BY_ETHEREUMJS: [(DisconnectReason, usize, Provocation); 8] = [
    (DisconnectReason::ProtocolError, 1, |js| {
        let mut stranger = introduced(js, 90, capability("eth", 68))?;
        // Beyond the codes of eth/68.
        stranger.send(STATUS_ON_WIRE + 40, &[0xc0])?;
        stranger.parting()
    }),
    (DisconnectReason::UselessPeer, 1, |js| introduced(js, 90, capability("other", 1))?.parting()),
    (DisconnectReason::TooManyPeers, 0, |js| introduced(js, 90, capability("eth", 68))?.parting()),
    (DisconnectReason::AlreadyConnected, 2, |js| {
        let _first = introduced(js, 90, capability("eth", 68))?;
        js.wait_for("hello", LIMIT, |_| Some(()))?;
        introduced(js, 90, capability("eth", 68))?.parting()
    }),
    (DisconnectReason::Quitting, 1, |js| {
        let mut stranger = introduced(js, 90, capability("eth", 68))?;
        js.wait_for("hello", LIMIT, |_| Some(()))?;
        js.destroy()?;
        stranger.parting()
    }),
    (DisconnectReason::ConnectedToSelf, 1, |js| introduced(js, JS_SECRET, capability("eth", 68))?.parting()),
    // No Status for 5 s.
    (DisconnectReason::ReadTimeout, 1, |js| introduced(js, 90, capability("eth", 68))?.parting()),
    (DisconnectReason::SubprotocolError, 1, |js| {
        let mut stranger = introduced(js, 90, capability("eth", 68))?;
        // A list that is longer than the message.
        stranger.send(STATUS_ON_WIRE, &[0xf8, 0xff])?;
        stranger.parting()
    }),
];

/// A stranger that has said Hello, in version 4: the library never compresses a Disconnect.
fn introduced(js: &EthereumJs, secret: u8, capability: Capability) -> Result<Stranger> {
    let mut stranger = Stranger::dial(js.enode(), key(secret))?;
    let ordinary = hello(key(secret).public_key());
    stranger.hello(&Hello { protocol_version: 4, capabilities: vec![capability], ..ordinary })?;
    Ok(stranger)
}

#[test]
fn ethereumjs_gives_each_reason_that_it_can_for_what_we_do() -> Result<()> {
    for (reason, max_peers, provoke) in BY_ETHEREUMJS {
        let mut js = EthereumJs::launch(&Options { max_peers, ..Options::new(JS_SECRET) })?;
        let parting = provoke(&mut js).map_err(|failure| failure.during(format_args!("{reason:?}")))?;
        assert_eq!(parting, Parting::Told(reason));
    }
    Ok(())
}

/// Before Hello, where nothing is compressed, and for messages of eth.
#[test]
fn ethereumjs_reads_the_reasons_that_our_rules_give() -> Result<()> {
    let full = ServerConfig { max_peers: 0, ..ServerConfig::default() };
    told_for(full, DisconnectReason::TooManyPeers, |js, ours| js.dial(&ours.enode()))?;
    told_for(ServerConfig::default(), DisconnectReason::UselessPeer, |js, ours| {
        run(ours.node.server().ban(js.enode().node_id(), LIMIT)).expect("the node runs");
        js.dial(&ours.enode())
    })?;
    told_for(ServerConfig::default(), DisconnectReason::Quitting, |js, ours| {
        met(js, ours)?;
        run(ours.node.shutdown());
        Ok(())
    })?;
    // Text where a list should be.
    told_for(ServerConfig::default(), DisconnectReason::ProtocolError, |js, ours| {
        met(js, ours)?;
        js.send(POOLED_HASHES, &json!("01"))
    })?;
    // Two sizes and no hash.
    told_for(ServerConfig::default(), DisconnectReason::SubprotocolError, |js, ours| {
        met(js, ours)?;
        js.send(POOLED_HASHES, &json!(["02", ["01", "02"], []]))
    })
}

/// A node of the library and one of ours to which `then` happens: the former reads `reason`.
fn told_for(
    config: ServerConfig,
    reason: DisconnectReason,
    then: impl FnOnce(&mut EthereumJs, &mut Ours) -> Result<()>,
) -> Result<()> {
    let mut js = EthereumJs::launch(&Options::new(JS_SECRET))?;
    let mut ours = Setup::new(91).start(|node| node.no_discovery().server_config(config))?;
    then(&mut js, &mut ours)?;
    assert_eq!(js.wait_for("told", LIMIT, |event| event["reason"].as_u64())?, u64::from(reason.code()));
    Ok(())
}

/// Has the library dial us, and Status messages go both ways.
fn met(js: &mut EthereumJs, ours: &mut Ours) -> Result<()> {
    js.dial(&ours.enode())?;
    ours.ready(js.enode().node_id())?;
    js.wait_for("status", LIMIT, |_| Some(()))
}
