//! geth that dials us while we are full: it hears so, our peer stays, and it gets in once there is room.

use devp2p::{
    NodeEvent,
    rlpx::{DisconnectReason, Event, Refusal, ServerConfig, SessionEnd, Slots},
};
use interop::{
    Result,
    geth::{Geth, Options},
};

use crate::ours::{LIMIT, Setup, run};

/// geth dials a node that refused it after 35 s.
#[test]
fn a_geth_that_dials_us_while_we_are_full_is_told_and_gets_in_once_there_is_room() -> Result<()> {
    let geth = Geth::launch(Options::new().no_discovery().flag("--verbosity").flag("5"))?;
    let id = geth.enode().node_id();
    let slots = Slots { max_inbound: Some(1), ..Slots::default() };
    let config = ServerConfig { max_peers: 1, slots, ..ServerConfig::default() };
    let other = Setup::new(72).start(|node| node.no_discovery())?;
    let mut ours = Setup::new(71).start(|node| node.no_discovery().server_config(config))?;
    other.add_peer(&ours.enode());
    let peer = ours.connected(other.id())?;

    geth.admin_add_peer(&ours.enode())?;
    let (end, rule) = ours.wait_for("geth to be refused", |event| {
        let NodeEvent::Transport(Event::Refused { public_key, end, rule, .. }) = event else { return None };
        (public_key.node_id() == id).then_some((*end, *rule))
    })?;
    assert_eq!(end, SessionEnd::Local { reason: DisconnectReason::TooManyPeers, error: None });
    assert_eq!(rule, Some(Refusal::TooManyPeers));
    let name = ours.id().to_string()[..16].to_owned();
    geth.wait_for_log("geth to read why", LIMIT, |line| {
        let is_it = line.contains("Failed p2p handshake") && line.contains(&name);
        (is_it && line.contains("err=\"too many peers\"")).then_some(())
    })?;
    let left: Vec<_> = run(ours.node.peers()).iter().map(|peer| peer.peer_id).collect();
    assert_eq!(left, [peer.peer_id], "our peer is the one that it was");
    assert_eq!(ours.node.server().counters().left.total(), 0);

    run(other.node.remove_peer(ours.id())).expect("the node runs");
    ours.ready(id)?;
    geth.wait_for_peer(&ours.id(), LIMIT)?;
    assert_eq!(run(ours.node.peers()).len(), 1);
    Ok(())
}
