//! Peers that come back: static ones of ours and of geth, and trusted ones, after the restart of either side.

use std::net::Ipv4Addr;

use devp2p::{
    identity::{Enode, NodeId},
    rlpx::{DisconnectReason, ServerConfig, SessionEnd},
};
use interop::{
    Result, eventually,
    geth::{Geth, Options},
};

use crate::{
    ours::{LIMIT, Ours, Setup, run},
    stranger::{Parting, Stranger, key},
};

/// Our node without discovery, at the port where it was before.
fn started_again(secret: u8, before: &Enode, config: ServerConfig) -> Result<Ours> {
    let port = before.endpoint().expect("an address").tcp;
    Setup::new(secret)
        .start(|node| node.no_discovery().listen(Ipv4Addr::LOCALHOST.into(), port).server_config(config))
}

#[test]
fn a_static_peer_that_ended_in_good_order_is_back_by_itself() -> Result<()> {
    let mut geth = Geth::launch(Options::new().no_discovery())?;
    let id = geth.enode().node_id();
    let mut ours = Setup::new(61).dialing(&geth)?;
    let before = ours.ready(id)?;
    geth.stop()?;
    assert_eq!(ours.disconnected(id)?, SessionEnd::Remote(DisconnectReason::Quitting));

    ours.forget_events();
    geth.start()?;
    let after = ours.ready(id)?;
    assert_ne!(after.peer_id, before.peer_id);
    assert!(!geth.wait_for_peer(&ours.id(), LIMIT)?.raw["network"]["static"].as_bool().unwrap());
    Ok(())
}

/// geth dials a node it has lost after 35 s.
#[test]
fn we_that_start_again_are_found_by_the_geth_whose_static_peer_we_are() -> Result<()> {
    let geth = Geth::launch(Options::new().no_discovery())?;
    let id = geth.enode().node_id();
    let mut ours = Setup::new(62).start(|node| node.no_discovery())?;
    let enode = ours.enode();
    geth.admin_add_peer(&enode)?;
    ours.ready(id)?;
    run(ours.node.shutdown());
    drop(ours);
    eventually("geth to be alone", LIMIT, || Ok(geth.admin_peers()?.is_empty().then_some(())))?;

    let mut ours = started_again(62, &enode, ServerConfig::default())?;
    assert_eq!(ours.enode(), enode);
    ours.ready(id)?;
    let of_us = geth.wait_for_peer(&ours.id(), LIMIT)?;
    assert!(!of_us.inbound && of_us.raw["network"]["static"] == true, "{}", of_us.raw);
    Ok(())
}

/// Who has our one place.
struct Filler {
    node: Ours,
}

impl Filler {
    fn start() -> Result<Self> {
        Ok(Self { node: Setup::new(64).start(|node| node.no_discovery())? })
    }

    /// Takes the place; afterwards a stranger hears that there is none.
    fn fill(&self, ours: &mut Ours) -> Result<()> {
        ours.add_peer(&self.node.enode());
        ours.connected(self.node.id())?;
        let parting = Stranger::dial(&ours.enode(), key(65))?.parting()?;
        assert_eq!(parting, Parting::Told(DisconnectReason::TooManyPeers));
        Ok(())
    }
}

/// Both are peers of ours, the second beyond the one place.
fn assert_both(ours: &Ours, filler: &Filler, geth: NodeId) {
    let mut peers: Vec<NodeId> = run(ours.node.peers()).iter().map(|peer| peer.node_id).collect();
    let mut expected = vec![filler.node.id(), geth];
    peers.sort_unstable();
    expected.sort_unstable();
    assert_eq!(peers, expected);
}

#[test]
fn a_trusted_geth_gets_in_where_we_are_full_and_again_after_the_restart_of_either() -> Result<()> {
    let mut geth = Geth::launch(Options::new().no_discovery())?;
    let id = geth.enode().node_id();
    let config = ServerConfig { max_peers: 1, trusted: vec![id], ..ServerConfig::default() };
    let filler = Filler::start()?;
    let mut ours = Setup::new(63).start(|node| node.no_discovery().server_config(config.clone()))?;
    let enode = ours.enode();
    filler.fill(&mut ours)?;
    geth.admin_add_peer(&enode)?;
    let first = ours.ready(id)?;
    assert_both(&ours, &filler, id);

    ours.forget_events();
    geth.stop()?;
    ours.disconnected(id)?;
    geth.start()?;
    geth.admin_add_peer(&enode)?;
    let again = ours.ready(id)?;
    assert_ne!(again.peer_id, first.peer_id);
    assert_both(&ours, &filler, id);

    run(ours.node.shutdown());
    drop(ours);
    let mut ours = started_again(63, &enode, config)?;
    filler.fill(&mut ours)?;
    ours.ready(id)?;
    assert_both(&ours, &filler, id);
    Ok(())
}
