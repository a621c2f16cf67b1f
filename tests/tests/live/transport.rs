//! RLPx with geth: who dialed, what both say of themselves, why a session ends, and a peer that crashes and comes back.

use std::sync::Arc;

use devp2p::{
    identity::{CurvePool, NodeId, NodeKey},
    rlpx::{ConnectError, DisconnectReason, PeerInfo, Server, SessionConfig, SessionEnd},
};
use interop::{
    Result,
    geth::{AdminPeer, Geth, Options, Slots},
};

use crate::ours::{LIMIT, Ours, Setup, run};

/// What geth v1.17.8 offers.
const GETH_CAPABILITIES: [&str; 5] = ["eth/69", "eth/70", "eth/71", "eth/72", "snap/1"];

fn capabilities(peer: &PeerInfo) -> Vec<String> {
    peer.capabilities.iter().map(ToString::to_string).collect()
}

/// Both sides tell the same of one session.
fn assert_agreed(ours: &Ours, peer: &Arc<PeerInfo>, geth: &Geth, of_us: &AdminPeer) -> Result<()> {
    let told = geth.node_info()?;
    assert_eq!(told["name"], peer.client_name);
    assert_eq!(capabilities(peer), GETH_CAPABILITIES);
    assert_eq!(peer.public_key, geth.enode().public_key);
    assert_eq!(of_us.name, concat!("devp2p/v", env!("CARGO_PKG_VERSION"), "/rust"));
    assert_eq!(of_us.capabilities, ["eth/68", "eth/69"]);
    assert_eq!(of_us.node_id, ours.id());
    let shared: Vec<String> = peer.shared.iter().map(|shared| shared.capability().to_string()).collect();
    assert_eq!((shared, of_us.eth_version), (vec!["eth/69".to_owned()], Some(69)));
    assert_eq!(of_us.raw["network"]["remoteAddress"], peer.local_addr.to_string());
    assert_eq!(of_us.raw["network"]["localAddress"], peer.remote_addr.to_string());
    assert_ne!(of_us.inbound, peer.inbound);
    assert_eq!(geth.admin_peers()?.len(), 1);
    assert_eq!(run(ours.node.peers()).len(), 1);
    Ok(())
}

/// Waits until geth logs that it parted from the peer `id` for `reason`, and returns that line.
fn parting(geth: &Geth, id: &NodeId, reason: &str) -> Result<String> {
    let id = &id.to_string()[..16];
    geth.wait_for_log("the parting", LIMIT, |line| {
        let is_it = line.contains("Removing p2p peer") && line.contains(id) && line.contains(reason);
        is_it.then(|| line.to_owned())
    })
}

#[test]
fn we_dial_geth_and_both_tell_the_same() -> Result<()> {
    let geth = Geth::launch(Options::new().no_discovery())?;
    let id = geth.enode().node_id();
    let mut ours = Setup::new(11).dialing(&geth)?;
    let peer = ours.connected(id)?;
    assert!(!peer.inbound && peer.static_peer);
    ours.ready(id)?;
    assert_agreed(&ours, &peer, &geth, &geth.wait_for_peer(&ours.id(), LIMIT)?)
}

#[test]
fn geth_dials_us_and_both_tell_the_same() -> Result<()> {
    let geth = Geth::launch(Options::new().no_discovery())?;
    let id = geth.enode().node_id();
    let mut ours = Setup::new(12).start(|node| node.no_discovery())?;
    geth.admin_add_peer(&ours.enode())?;
    let peer = ours.connected(id)?;
    assert!(peer.inbound && !peer.static_peer);
    ours.ready(id)?;
    assert_agreed(&ours, &peer, &geth, &geth.wait_for_peer(&ours.id(), LIMIT)?)
}

#[test]
fn geth_reads_the_reasons_that_we_end_a_session_with() -> Result<()> {
    let geth = Geth::launch(Options::new().no_discovery().flag("--verbosity").flag("5"))?;
    let id = geth.enode().node_id();
    let mut ours = Setup::new(13).dialing(&geth)?;
    ours.ready(id)?;
    run(ours.node.server().disconnect(id, DisconnectReason::TooManyPeers)).unwrap();
    assert_eq!(
        ours.disconnected(id)?,
        SessionEnd::Local { reason: DisconnectReason::TooManyPeers, error: None }
    );
    let line = parting(&geth, &ours.id(), "too many peers")?;
    assert!(line.contains("req=true"), "the peer's wish: {line}");

    ours.forget_events();
    ours.ready(id)?;
    run(ours.node.shutdown());
    parting(&geth, &ours.id(), "client quitting")?;
    Ok(())
}

#[test]
fn we_read_the_reasons_that_geth_ends_a_session_with() -> Result<()> {
    let mut geth = Geth::launch(Options::new().no_discovery())?;
    let id = geth.enode().node_id();
    let mut ours = Setup::new(14).start(|node| node.no_discovery())?;
    geth.admin_add_peer(&ours.enode())?;
    ours.ready(id)?;
    geth.admin_remove_peer(&ours.enode())?;
    assert_eq!(ours.disconnected(id)?, SessionEnd::Remote(DisconnectReason::Requested));

    ours.forget_events();
    ours.add_peer(geth.enode());
    ours.ready(id)?;
    geth.stop()?;
    assert_eq!(ours.disconnected(id)?, SessionEnd::Remote(DisconnectReason::Quitting));
    Ok(())
}

#[test]
fn we_read_the_reasons_that_geth_refuses_a_session_with() -> Result<()> {
    let slots = Slots::take(2);
    // Of two peers geth dials one, so one may come in.
    let full = slots.launch(Options::new().no_discovery().flag("--maxpeers").flag("2"))?;
    let join = |secret| Setup::new(secret).dialing(&full);
    let mut first = join(15)?;
    first.ready(full.enode().node_id())?;
    let end = join(16)?.dial_failed(full.enode().node_id())?;
    assert_eq!(end, SessionEnd::Remote(DisconnectReason::TooManyPeers));

    let free = slots.launch(Options::new().no_discovery())?;
    assert_eq!(end_without_capabilities(&free), SessionEnd::Remote(DisconnectReason::UselessPeer));
    Ok(())
}

/// How a session ends in which we offer nothing, and do not mind.
fn end_without_capabilities(geth: &Geth) -> SessionEnd {
    let key = Arc::new(NodeKey::from_bytes(&[17; 32]).expect("a small number is a key"));
    let curves = CurvePool::for_this_machine();
    let config = SessionConfig::new(key.public_key(), "nothing to offer", Vec::new());
    let address = geth.enode().endpoint().and_then(|endpoint| endpoint.tcp_addr()).expect("geth listens");
    run(async {
        match Server::connect(curves.handle(key), config, address, geth.enode().public_key).await {
            Ok(mut connection) => connection.next().await.expect_err("no message without capabilities"),
            Err(ConnectError::Session { end, .. }) => end,
            Err(error @ ConnectError::Tcp { .. }) => panic!("{error}"),
        }
    })
}

#[test]
fn geth_that_is_killed_and_started_again_is_a_peer_again_without_help() -> Result<()> {
    let mut geth = Geth::launch(Options::new().no_discovery())?;
    let id = geth.enode().node_id();
    let mut ours = Setup::new(18).dialing(&geth)?;
    let before = ours.ready(id)?;
    geth.kill();
    let end = ours.disconnected(id)?;
    assert!(matches!(end, SessionEnd::Broken(_)), "a killed process says no goodbye: {end}");

    ours.forget_events();
    geth.start()?;
    let after = ours.ready(id)?;
    assert_ne!(after.peer_id, before.peer_id);
    assert_eq!(after.version, before.version);
    geth.wait_for_peer(&ours.id(), LIMIT)?;
    Ok(())
}
