//! The launcher itself: a geth that builds and gives blocks, two that gossip, find each other, end and come back.

use std::time::Duration;

use identity::keccak256;
use interop::{
    Result,
    geth::{Geth, Options, Slots},
};

/// For what takes geths some hundred milliseconds.
const LIMIT: Duration = Duration::from_secs(30);

#[test]
fn a_geth_builds_blocks_of_its_pool_and_gives_them_back() -> Result<()> {
    let geth = Geth::launch(Options::new().no_discovery())?;
    assert_eq!(geth.network_id()?, 1337);
    assert_eq!(geth.head()?.number, 0);
    let sent = interop::transactions()
        .iter()
        .take(3)
        .map(|bytes| geth.send_transaction(bytes))
        .collect::<Result<Vec<_>>>()?;
    assert!(geth.pool_contains(&sent[2])?);
    let head = geth.build(2)?;

    let (first, second) = (geth.block(1)?.unwrap(), geth.head()?);
    assert_eq!((second.number, second.hash, second.parent_hash), (2, head, first.hash));
    assert_eq!(first.transactions, sent, "the pool's transactions are in the first block");
    assert!(!geth.pool_contains(&sent[2])? && second.transactions.is_empty());
    assert_eq!(second.timestamp - first.timestamp, 12);
    assert_eq!(keccak256(&geth.raw_header(2)?), head);
    assert!(geth.raw_block(1)?.len() > geth.raw_header(1)?.len());
    assert_eq!(geth.block(3)?, None);
    Ok(())
}

#[test]
fn a_transaction_and_a_chain_go_from_one_geth_to_another() -> Result<()> {
    let slots = Slots::take(2);
    let (one, two) =
        (slots.launch(Options::new().no_discovery())?, slots.launch(Options::new().no_discovery())?);
    two.admin_add_peer(one.enode())?;
    let peer = two.wait_for_peer(&one.enode().node_id(), LIMIT)?;
    assert!(
        !peer.inbound && peer.name.starts_with("Geth/") && peer.capabilities.contains(&"eth/69".to_owned())
    );
    assert!(one.wait_for_peer(&two.enode().node_id(), LIMIT)?.inbound);

    let transaction = one.send_transaction(&interop::transactions()[0])?;
    two.wait_for_transaction(&transaction, LIMIT)?;

    let head = one.build(3)?;
    two.sync_to(&head)?;
    assert_eq!(two.head()?.hash, head);
    assert_eq!(two.block(1)?.unwrap().transactions, [transaction]);
    Ok(())
}

#[test]
fn geths_find_each_other_through_a_bootnode_and_a_killed_one_comes_back() -> Result<()> {
    let slots = Slots::take(2);
    let boot = slots.launch(Options::new())?;
    let key = "b71c71a67e1177ad4e901695e1b4b9ee17ae16c6668d313eac2f96dbcda3f291";
    let mut other = slots.launch(Options::new().bootnode(boot.enode().clone()).node_key(key))?;
    let id = other.enode().node_id();
    assert_eq!(id, identity::NodeKey::from_hex(key).unwrap().node_id());
    let found = boot.wait_for_live_node(&id, LIMIT)?;
    assert_eq!(found.record.unwrap().node_id(), id);
    boot.wait_for_peer(&id, LIMIT)?;

    let head = other.build(1)?;
    other.stop()?;
    assert!(other.head().is_err(), "stopped");
    other.start()?;
    assert_eq!(other.head()?.hash, head, "stopped in good order, it keeps its head");
    other.build(1)?;
    other.kill();
    assert!(other.head().is_err(), "killed");
    other.start()?;
    assert_eq!((other.head()?.hash, other.enode().node_id()), (head, id));
    Ok(())
}

#[test]
fn other_chains_network_ids_and_flags_reach_geth() -> Result<()> {
    let genesis = interop::GENESIS.replace("1337", "4242");
    let options = Options::new().genesis(genesis).network_id(77).flag("--identity").flag("tested");
    let geth = Geth::launch(options)?;
    assert_eq!(geth.network_id()?, 77);
    let info = geth.node_info()?;
    assert!(info["name"].as_str().unwrap().contains("/tested/"), "{info}");
    assert_eq!(info["protocols"]["eth"]["config"]["chainId"], 4242);
    Ok(())
}

#[test]
fn a_geth_that_does_not_start_shows_its_own_words() {
    let failure = Geth::launch(Options::new().flag("--no-such-flag")).unwrap_err().to_string();
    assert!(failure.contains("the process has ended") && failure.contains("no-such-flag"), "{failure}");
    let failure = Geth::launch(Options::new().genesis("{}")).unwrap_err().to_string();
    assert!(failure.contains("invalid genesis file"), "{failure}");
}
