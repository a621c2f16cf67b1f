//! The eth handshake with geth: the highest common version, and who refuses whom by which rule. Both sides send Status
//! at once, so that each can name the rule; whose Disconnect arrives first is chance.

use devp2p::{
    NodeEvent,
    eth_wire::{
        BlockBuilder, BlockRange, EthVersion, ForkIdError, HandshakeError, Hash, PeerFault, Position, Reject,
    },
    identity::NodeId,
    rlpx::{DisconnectReason, Event, SessionEnd},
};
use interop::{
    Result,
    geth::{Geth, Options},
};

use crate::ours::{CHAIN_ID, GENESIS_TIME, LIMIT, Ours, Setup};

/// When the first block is built on the test network's.
const FIRST_BLOCK_TIME: u64 = GENESIS_TIME + 12;

/// A geth that tells why it refuses.
fn talkative() -> Options {
    Options::new().no_discovery().flag("--verbosity").flag("5")
}

fn dialing(setup: Setup, geth: &Geth) -> Result<Ours> {
    setup.start(|node| node.no_discovery().static_peers([geth.enode().clone()]))
}

/// Waits until geth logs that the handshake with the peer `id` failed by `rule`.
fn refused_by_geth(geth: &Geth, id: &NodeId, rule: &str) -> Result<()> {
    let id = &id.to_string()[..16];
    geth.wait_for_log("geth to refuse us", LIMIT, |line| {
        let is_it = line.contains("Ethereum handshake failed") && line.contains(id) && line.contains(rule);
        is_it.then_some(())
    })
}

/// Both refuse each other: we by the rule that `is_rule` knows, geth by the one it calls `geth_rule`.
fn assert_both_refuse(
    setup: Setup,
    geth: &Geth,
    is_rule: impl Fn(&HandshakeError) -> bool,
    reject: Reject,
    geth_rule: &str,
) -> Result<()> {
    let id = geth.enode().node_id();
    let mut ours = dialing(setup, geth)?;
    let fault = ours.refused(id)?;
    assert!(matches!(&fault, PeerFault::Handshake(error) if is_rule(error)), "{fault}");
    assert_eq!(ours.disconnected(id)?.reason(), DisconnectReason::SubprotocolError);
    assert!(ours.eth().counters().rejects.count(reject) > 0);
    refused_by_geth(geth, &ours.id(), geth_rule)
}

#[test]
fn the_highest_common_version_is_spoken_and_each_knows_the_others_blocks() -> Result<()> {
    let geth = Geth::launch(Options::new().no_discovery())?;
    let head = geth.build(3)?;
    let mut ours = dialing(Setup::new(31).block(geth.raw_block(1)?), &geth)?;
    let peer = ours.ready(geth.enode().node_id())?;
    assert_eq!(peer.version, EthVersion::Eth69);
    let range = BlockRange { earliest: 0, latest: 3, latest_hash: Hash(head) };
    assert_eq!(peer.position, Position::Range(range));

    let of_us = geth.wait_for_peer(&ours.id(), LIMIT)?;
    assert_eq!(of_us.eth_version, Some(69));
    assert_eq!(of_us.raw["protocols"]["eth"]["latestBlock"], 1, "{}", of_us.raw);
    Ok(())
}

#[test]
fn a_peer_with_another_genesis_is_refused_for_it_on_both_sides() -> Result<()> {
    let geth = Geth::launch(talkative())?;
    let other = interop::GENESIS.replace("\"extraData\": \"0x\"", "\"extraData\": \"0x01\"");
    assert_ne!(other, interop::GENESIS);
    let is_rule = |error: &HandshakeError| matches!(error, HandshakeError::Genesis { .. });
    assert_both_refuse(Setup::new(32).genesis(&other), &geth, is_rule, Reject::Genesis, "genesis mismatch")
}

#[test]
fn a_peer_with_another_network_id_is_refused_for_it_on_both_sides() -> Result<()> {
    let geth = Geth::launch(talkative())?;
    let is_rule =
        |error: &HandshakeError| *error == HandshakeError::NetworkId { ours: CHAIN_ID + 1, theirs: CHAIN_ID };
    let setup = Setup::new(33).network_id(CHAIN_ID + 1);
    assert_both_refuse(setup, &geth, is_rule, Reject::NetworkId, "network ID mismatch")
}

/// A fork lies behind us of which geth knows nothing.
#[test]
fn a_peer_with_another_fork_id_is_refused_for_it_on_both_sides() -> Result<()> {
    let geth = Geth::launch(talkative())?;
    geth.build(1)?;
    let setup = Setup::new(34).time_fork(FIRST_BLOCK_TIME).block(geth.raw_block(1)?);
    let is_rule = |error: &HandshakeError| {
        matches!(error, HandshakeError::ForkId { error: ForkIdError::RemoteStale, .. })
    };
    assert_both_refuse(setup, &geth, is_rule, Reject::ForkId, "fork ID rejected")
}

/// A fork lies before us of which geth, whose chain has passed it, knows nothing: EIP-2124 has only geth refuse.
#[test]
fn geth_alone_refuses_us_where_only_its_chain_has_passed_our_fork() -> Result<()> {
    let geth = Geth::launch(talkative())?;
    geth.build(1)?;
    let id = geth.enode().node_id();
    let mut ours = dialing(Setup::new(35).time_fork(FIRST_BLOCK_TIME), &geth)?;
    ours.ready(id)?;
    assert_eq!(ours.disconnected(id)?, SessionEnd::Remote(DisconnectReason::SubprotocolError));
    assert_eq!(ours.eth().counters().rejects.count(Reject::ForkId), 0);
    refused_by_geth(&geth, &ours.id(), "fork ID rejected")
}

/// The other way round: only we refuse, and geth reads our reason.
#[test]
fn we_alone_refuse_geth_where_only_our_chain_has_passed_its_fork() -> Result<()> {
    let forked = interop::GENESIS
        .replace("\"osakaTime\": 0,", &format!("\"osakaTime\": 0, \"bpo1Time\": {FIRST_BLOCK_TIME},"))
        .replace("\"blobSchedule\": {", "\"blobSchedule\": { \"bpo1\": { \"target\": 6, \"max\": 9, \"baseFeeUpdateFraction\": 5007716 },");
    assert_ne!(forked, interop::GENESIS);
    let geth = Geth::launch(talkative().genesis(forked))?;
    let setup = Setup::new(36);
    let block = BlockBuilder::child_of(&setup.first_block().header, FIRST_BLOCK_TIME).build();
    let mut ours = dialing(setup.block(block.raw.to_vec()), &geth)?;
    let id = geth.enode().node_id();
    let fault = ours.refused(id)?;
    let is_rule = matches!(
        &fault,
        PeerFault::Handshake(HandshakeError::ForkId { error: ForkIdError::LocalIncompatibleOrStale, .. })
    );
    assert!(is_rule, "{fault}");
    let end = ours.wait_for("the end of the session", |event| match event {
        NodeEvent::Transport(Event::PeerDisconnected { info, end }) if info.node_id == id => Some(*end),
        _ => None,
    })?;
    assert!(matches!(end, SessionEnd::Local { reason: DisconnectReason::SubprotocolError, .. }), "{end}");
    let name = &ours.id().to_string()[..16];
    geth.wait_for_log("geth to read our reason", LIMIT, |line| {
        let is_it =
            line.contains("Removing p2p peer") && line.contains(name) && line.contains("subprotocol error");
        is_it.then_some(())
    })
}
