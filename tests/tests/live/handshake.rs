//! The eth handshake with geth: the highest common version, and who refuses whom by which rule. Both sides send Status at
//! once. Ours is always out before we refuse, so geth always names the rule; geth may refuse before its own is out, and
//! then we hear its Disconnect alone. So each case is tried until geth's Status has come.

use devp2p::{
    eth_wire::{
        BlockBuilder, BlockRange, EthVersion, ForkIdError, HandshakeError, Hash, MessageKind, PeerFault,
        Position, Reject,
    },
    identity::NodeId,
    rlpx::{CapabilityName, DisconnectReason, SessionEnd, SessionError},
};
use interop::{
    Failure, Result,
    geth::{Geth, Options},
};

use crate::ours::{CHAIN_ID, GENESIS_TIME, LIMIT, Ours, Setup};

/// When the first block is built on the test network's.
const FIRST_BLOCK_TIME: u64 = GENESIS_TIME + 12;
/// Sessions until geth's Status comes before its refusal.
const MAX_SESSIONS: u8 = 100;

/// A geth that tells why it refuses.
fn talkative() -> Options {
    Options::new().no_discovery().flag("--verbosity").flag("5")
}

/// A session with a new node of ours that geth dials, until `check` has heard geth's Status in one.
fn try_sessions(
    geth: &Geth,
    setup: impl Fn(u8) -> Setup,
    check: impl Fn(&mut Ours, SessionEnd) -> Result<()>,
    check_status: impl Fn(&mut Ours) -> Result<()>,
) -> Result<()> {
    let id = geth.enode().node_id();
    for secret in 100..100 + MAX_SESSIONS {
        let mut ours = setup(secret).start(|node| node.no_discovery())?;
        geth.admin_add_peer(&ours.enode())?;
        let end = ours.disconnected(id)?;
        geth.admin_remove_peer(&ours.enode())?;
        check(&mut ours, end)?;
        if ours.eth().counters().received.count(MessageKind::Status) == 1 {
            return check_status(&mut ours);
        }
    }
    Err(Failure::new(format!("geth has sent Status in none of {MAX_SESSIONS} sessions")))
}

/// Waits until geth logs that the handshake with the peer `id` failed by `rule`.
fn wait_for_refusal_by_geth(geth: &Geth, id: &NodeId, rule: &str) -> Result<()> {
    let id = &id.to_string()[..16];
    geth.wait_for_log("geth to refuse us", LIMIT, |line| {
        let is_it = line.contains("Ethereum handshake failed") && line.contains(id) && line.contains(rule);
        is_it.then_some(())
    })
}

/// Both refuse each other: geth by the rule that it calls `geth_rule`, we by the one that `is_rule` knows.
fn assert_both_refuse(
    geth: &Geth,
    setup: impl Fn(u8) -> Setup,
    geth_rule: &str,
    reject: Reject,
    is_rule: impl Fn(&HandshakeError) -> bool,
) -> Result<()> {
    let by_geth = |ours: &mut Ours, end: SessionEnd| {
        assert_eq!(end.reason(), DisconnectReason::SubprotocolError, "{end}");
        wait_for_refusal_by_geth(geth, &ours.id(), geth_rule)
    };
    try_sessions(geth, setup, by_geth, |ours| {
        let fault = ours.refused(geth.enode().node_id())?;
        assert!(matches!(&fault, PeerFault::Handshake(error) if is_rule(error)), "{fault}");
        assert_eq!(ours.eth().counters().rejects.count(reject), 1);
        Ok(())
    })
}

#[test]
fn the_highest_common_version_is_spoken_and_each_knows_the_others_blocks() -> Result<()> {
    let geth = Geth::launch(Options::new().no_discovery())?;
    let head = geth.build(3)?;
    let setup = Setup::new(31).block(geth.raw_block(1)?);
    let mut ours = setup.dialing(&geth)?;
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
    let setup = |secret| Setup::new(secret).genesis(&other);
    assert_both_refuse(&geth, setup, "genesis mismatch", Reject::Genesis, |error| {
        matches!(error, HandshakeError::Genesis { .. })
    })
}

#[test]
fn a_peer_with_another_network_id_is_refused_for_it_on_both_sides() -> Result<()> {
    let geth = Geth::launch(talkative())?;
    let setup = |secret| Setup::new(secret).network_id(CHAIN_ID + 1);
    let rule = HandshakeError::NetworkId { ours: CHAIN_ID + 1, theirs: CHAIN_ID };
    assert_both_refuse(&geth, setup, "network ID mismatch", Reject::NetworkId, |error| *error == rule)
}

/// A fork lies behind us of which geth knows nothing.
#[test]
fn a_peer_with_another_fork_id_is_refused_for_it_on_both_sides() -> Result<()> {
    let geth = Geth::launch(talkative())?;
    geth.build(1)?;
    let block = geth.raw_block(1)?;
    let setup = |secret| Setup::new(secret).time_fork(FIRST_BLOCK_TIME).block(block.clone());
    assert_both_refuse(&geth, setup, "fork ID rejected", Reject::ForkId, |error| {
        matches!(error, HandshakeError::ForkId { error: ForkIdError::RemoteStale, .. })
    })
}

/// A fork lies before us of which geth, whose chain has passed it, knows nothing: by EIP-2124 geth alone refuses.
#[test]
fn geth_alone_refuses_where_only_its_chain_has_passed_our_fork() -> Result<()> {
    let geth = Geth::launch(talkative())?;
    geth.build(1)?;
    let setup = |secret| Setup::new(secret).time_fork(FIRST_BLOCK_TIME);
    let by_geth = |ours: &mut Ours, end| {
        assert_eq!(end, SessionEnd::Remote(DisconnectReason::SubprotocolError));
        wait_for_refusal_by_geth(&geth, &ours.id(), "fork ID rejected")
    };
    try_sessions(&geth, setup, by_geth, |ours| {
        ours.ready(geth.enode().node_id())?;
        assert_eq!(ours.eth().counters().rejects.count(Reject::ForkId), 0);
        Ok(())
    })
}

/// The other way round: we alone refuse, and geth reads our reason.
#[test]
fn we_alone_refuse_where_only_our_chain_has_passed_geths_fork() -> Result<()> {
    let parameters = r#"{ "target": 6, "max": 9, "baseFeeUpdateFraction": 5007716 }"#;
    let forked = interop::GENESIS
        .replace("\"osakaTime\": 0,", &format!("\"osakaTime\": 0, \"bpo1Time\": {FIRST_BLOCK_TIME},"))
        .replace("\"blobSchedule\": {", &format!("\"blobSchedule\": {{ \"bpo1\": {parameters},"));
    let geth = Geth::launch(talkative().genesis(forked))?;
    let setup = Setup::new(36);
    let block = BlockBuilder::child_of(&setup.first_block().header, FIRST_BLOCK_TIME).build();
    let setup = setup.block(block.raw.to_vec());
    let mut ours = setup.dialing(&geth)?;

    let id = geth.enode().node_id();
    let fault = ours.refused(id)?;
    let PeerFault::Handshake(HandshakeError::ForkId { error, theirs, .. }) = fault else {
        return Err(Failure::new(format!("refused for another rule: {fault}")));
    };
    assert_eq!((error, theirs.next), (ForkIdError::LocalIncompatibleOrStale, FIRST_BLOCK_TIME));
    let error = Some(SessionError::Protocol(CapabilityName::new("eth").expect("a name")));
    let expected = SessionEnd::Local { reason: DisconnectReason::SubprotocolError, error };
    assert_eq!(ours.disconnected(id)?, expected);
    let name = &ours.id().to_string()[..16];
    geth.wait_for_log("geth to read our reason", LIMIT, |line| {
        let is_it = line.contains("Removing p2p peer") && line.contains(name);
        (is_it && line.contains("req=true") && line.contains("subprotocol error")).then_some(())
    })
}
