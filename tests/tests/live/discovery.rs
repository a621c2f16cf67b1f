//! Discovery v4 with geth, each as the bootnode of the other, and six nodes that know but one.

use std::{collections::BTreeSet, time::Duration};

use devp2p::{
    discv4::NodeEntry,
    identity::{Enr, NodeId},
};
use interop::{
    Result, eventually,
    geth::{Geth, Options, Slots},
};

use crate::ours::{LIMIT, Ours, Setup, run};

/// In which six nodes that know one bootnode find all others.
const JOIN_LIMIT: Duration = Duration::from_secs(60);

#[test]
fn geth_that_knows_us_alone_has_us_live_with_our_record() -> Result<()> {
    let ours = Setup::new(1).start(|node| node)?;
    let geth = Geth::launch(Options::new().bootnode(ours.enode()))?;
    geth.wait_for_live_node(&ours.id(), LIMIT)?;
    let record = eventually("our record in geth's table", LIMIT, || {
        Ok(geth
            .discovery_table()?
            .into_iter()
            .find_map(|node| node.record.filter(|_| node.node_id == ours.id())))
    })?;
    assert_eq!(record, ours.node.enr());
    Ok(())
}

#[test]
fn we_that_know_geth_alone_bond_with_it_find_it_and_have_its_record() -> Result<()> {
    let geth = Geth::launch(Options::new())?;
    let id = geth.enode().node_id();
    let mut ours = Setup::new(2).start(|node| node.bootnodes([geth.enode().clone()]))?;

    let told = geth.node_info()?;
    let record: Enr = told["enr"].as_str().unwrap().parse().unwrap();
    let node =
        ours.wait_for_node("geth with its record", |node| node.live && node.enr.as_ref() == Some(&record))?;
    assert_eq!(node.node_id, id);
    let asked = run(ours.discovery().request_enr(geth.enode())).unwrap();
    assert_eq!(asked, record);

    let pong = run(ours.discovery().ping(geth.enode())).unwrap();
    assert_eq!(pong.enr_seq, Some(record.seq()));
    let target = geth.enode().public_key;
    let found = run(ours.discovery().lookup(target)).unwrap();
    assert_eq!(found.iter().map(|node| node.node_id).collect::<Vec<_>>(), [id]);

    // The fork id in the record is what makes peers of nodes that only discovery has brought together.
    ours.ready(id)?;
    Ok(())
}

#[test]
fn three_geths_and_three_of_ours_with_one_bootnode_all_know_each_other() -> Result<()> {
    let boot = Setup::new(3).start(|node| node)?;
    let slots = Slots::take(3);
    let geths =
        (0..3).map(|_| slots.launch(Options::new().bootnode(boot.enode()))).collect::<Result<Vec<_>>>()?;
    let join = |secret| Setup::new(secret).start(|node| node.bootnodes([boot.enode()]));
    let others = [join(4)?, join(5)?];
    let ours: Vec<&Ours> = std::iter::once(&boot).chain(&others).collect();

    let everyone: BTreeSet<NodeId> =
        ours.iter().map(|node| node.id()).chain(geths.iter().map(|geth| geth.enode().node_id())).collect();
    assert_eq!(everyone.len(), 6);
    let knows_all =
        |own: NodeId, known: BTreeSet<NodeId>| everyone.iter().all(|id| *id == own || known.contains(id));
    eventually("six nodes to know each other", JOIN_LIMIT, || {
        for node in &ours {
            let live = node.table()?.into_iter().filter(|entry| entry.live);
            if !knows_all(node.id(), live.map(|entry: NodeEntry| entry.node_id).collect()) {
                return Ok(None);
            }
        }
        for geth in &geths {
            let live = geth.discovery_table()?.into_iter().filter(|entry| entry.live);
            if !knows_all(geth.enode().node_id(), live.map(|entry| entry.node_id).collect()) {
                return Ok(None);
            }
        }
        Ok(Some(()))
    })
}
