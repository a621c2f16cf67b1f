//! Transactions between us and geth: sent in full, announced and fetched, and carried from one geth to another.

use devp2p::eth_wire::{Hash, Insert, MessageKind, Pool};
use interop::{
    Result,
    geth::{Geth, Options, Slots},
};

use crate::ours::{LIMIT, Ours, Setup, run, transfer};

/// Our node with `geth` as its one peer, ready on both sides.
fn joined(secret: u8, geth: &Geth) -> Result<Ours> {
    let mut ours = Setup::new(secret).dialing(geth)?;
    ours.ready(geth.enode().node_id())?;
    geth.wait_for_peer(&ours.id(), LIMIT)?;
    Ok(ours)
}

#[test]
fn a_transaction_that_we_send_in_full_is_in_geths_pool() -> Result<()> {
    let geth = Geth::launch(Options::new().no_discovery())?;
    let ours = joined(41, &geth)?;
    let sent = transfer(0);
    let inserted = run(ours.eth().submit_transaction(sent.envelope().clone())).unwrap();
    assert_eq!(inserted, Insert::New);
    geth.wait_for_transaction(&sent.hash().0, LIMIT)?;
    let counters = ours.eth().counters();
    assert_eq!(counters.sent.count(MessageKind::Transactions), 1);
    assert_eq!(counters.received.count(MessageKind::GetPooledTransactions), 0, "it was not asked for");
    Ok(())
}

#[test]
fn a_transaction_that_we_only_announce_is_fetched_into_geths_pool() -> Result<()> {
    let geth = Geth::launch(Options::new().no_discovery())?;
    let ours = joined(42, &geth)?;
    let announced = transfer(0);
    let inserted = run(ours.eth().announce_transaction(announced.envelope().clone())).unwrap();
    assert_eq!(inserted, Insert::New);
    geth.wait_for_transaction(&announced.hash().0, LIMIT)?;
    let counters = ours.eth().counters();
    assert_eq!(counters.sent.count(MessageKind::Transactions), 0);
    assert_eq!(counters.received.count(MessageKind::GetPooledTransactions), 1);
    assert_eq!(counters.sent.count(MessageKind::PooledTransactions), 1);
    Ok(())
}

#[test]
fn a_transaction_of_one_geth_reaches_another_that_has_only_us() -> Result<()> {
    let slots = Slots::take(2);
    let first = slots.launch(Options::new().no_discovery())?;
    let second = slots.launch(Options::new().no_discovery())?;
    let mut ours = joined(43, &first)?;
    let from_first = ours.ready(first.enode().node_id())?.peer_id;
    ours.add_peer(second.enode());
    ours.ready(second.enode().node_id())?;
    second.wait_for_peer(&ours.id(), LIMIT)?;
    let has_only_us = |geth: &Geth| -> Result<bool> {
        Ok(matches!(&geth.admin_peers()?[..], [peer] if peer.node_id == ours.id()))
    };
    assert!(has_only_us(&first)? && has_only_us(&second)?);

    let sent: Vec<[u8; 32]> = interop::transactions()
        .iter()
        .take(3)
        .map(|bytes| first.send_transaction(bytes))
        .collect::<Result<_>>()?;
    for hash in &sent {
        second.wait_for_transaction(hash, LIMIT)?;
        assert!(ours.pool.contains(&Hash(*hash)));
    }
    assert!(has_only_us(&first)? && has_only_us(&second)?, "no way around us");
    assert_eq!(ours.giver(Hash(sent[0]))?, Some(from_first));
    Ok(())
}
