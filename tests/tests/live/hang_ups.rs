//! Many sessions with geth, one after the other, ended by both sides in turn: nothing stays behind on either.

use devp2p::{
    identity::NodeId,
    rlpx::{DisconnectReason, RedialTimes, ServerConfig, ServerTimes, SessionEnd},
};
use interop::{
    Result, eventually,
    geth::{Geth, Options},
    sockets::{open_connections, open_sockets},
};

use crate::ours::{LIMIT, Ours, Setup, run};

/// Sessions, of which each side ends every other one.
const SESSIONS: u64 = 50;

/// The TCP port at which geth takes peers.
fn port(geth: &Geth) -> u16 {
    geth.enode().endpoint().expect("an address").tcp
}

/// A session, to its end by `hang_up`; afterwards neither side knows the other.
fn session(
    ours: &mut Ours,
    geth: &Geth,
    hang_up: impl FnOnce(&Ours, NodeId) -> Result<()>,
) -> Result<SessionEnd> {
    let id = geth.enode().node_id();
    ours.forget_events();
    ours.add_peer(geth.enode());
    ours.ready(id)?;
    geth.wait_for_peer(&ours.id(), LIMIT)?;
    assert_eq!(run(ours.node.peers()).len(), 1);
    hang_up(ours, id)?;
    let end = ours.disconnected(id)?;
    run(ours.node.remove_peer(id)).expect("the node runs");
    eventually("geth to be alone", LIMIT, || Ok(geth.admin_peers()?.is_empty().then_some(())))?;
    Ok(end)
}

fn by_us(ours: &Ours, id: NodeId) -> Result<()> {
    run(ours.node.remove_peer(id)).expect("the node runs");
    Ok(())
}

#[test]
fn fifty_sessions_in_a_row_leave_nothing_behind_on_either_side() -> Result<()> {
    let geth = Geth::launch(Options::new().no_discovery())?;
    let (us, them) = (std::process::id(), geth.process_id());
    // No redial of our own, so that every session is one that the test asked for.
    let times =
        ServerTimes { static_redial: RedialTimes { first: LIMIT, max: LIMIT }, ..ServerTimes::default() };
    let config = ServerConfig { times, ..ServerConfig::default() };
    let mut ours = Setup::new(51).start(|node| node.no_discovery().server_config(config))?;
    let before = open_sockets(them)?;
    let by_geth = |ours: &Ours, _| geth.admin_remove_peer(&ours.enode());

    for count in 0..SESSIONS {
        let (end, expected) = if count % 2 == 0 {
            let end = session(&mut ours, &geth, by_us)?;
            (end, SessionEnd::Local { reason: DisconnectReason::Requested, error: None })
        } else {
            (session(&mut ours, &geth, by_geth)?, SessionEnd::Remote(DisconnectReason::Requested))
        };
        assert_eq!(end, expected, "session {count}");
    }

    assert_eq!((run(ours.node.peers()).len(), ours.node.server().peer_count()), (0, 0));
    let counts = ours.node.server().counters().clone();
    assert_eq!(counts.left.by_us.count(DisconnectReason::Requested), SESSIONS / 2);
    assert_eq!(counts.left.by_peer.count(DisconnectReason::Requested), SESSIONS / 2);
    assert_eq!((counts.left.total(), counts.turned_away.total()), (SESSIONS, 0));
    assert_eq!((counts.refusals.total(), counts.rejects.total()), (0, 0));
    eventually("our sockets to be closed", LIMIT, || {
        Ok((open_connections(us, port(&geth))? == 0).then_some(()))
    })?;
    eventually("geth's sockets to be closed", LIMIT, || {
        Ok((open_connections(them, port(&geth))? == 0 && open_sockets(them)? <= before).then_some(()))
    })?;
    assert_eq!(geth.rpc().call("net_peerCount", &serde_json::json!([]))?, "0x0");

    session(&mut ours, &geth, by_us)?;
    assert_eq!(counts.left.total(), SESSIONS + 1);
    Ok(())
}
