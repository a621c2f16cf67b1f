//! Blocks between us and geth: headers and bodies that we request and verify, and a geth that fetches them from us.

use devp2p::{
    eth_wire::{Block, Chain, Hash, Header, HeadersQuery, Offer, keccak},
    rlpx::PeerId,
};
use interop::{
    Result,
    geth::{Geth, Options, Slots},
};

use crate::ours::{LIMIT, Ours, Setup, run};

/// Blocks of the chain above the first.
const BLOCKS: u64 = 200;
/// Blocks built after each transaction, so that some hold one and most none.
const STRIDE: usize = 10;

/// A chain of [`BLOCKS`] blocks, one in [`STRIDE`] with a transaction.
fn build_chain(geth: &Geth) -> Result<[u8; 32]> {
    let mut head = [0; 32];
    for transaction in interop::transactions() {
        geth.send_transaction(&transaction)?;
        head = geth.build(STRIDE)?;
    }
    Ok(head)
}

/// All headers above the first block, in as many answers as it takes.
fn fetch_headers(ours: &Ours, peer: PeerId) -> Vec<Header> {
    let mut headers: Vec<Header> = Vec::new();
    while headers.len() < BLOCKS as usize {
        let next = headers.len() as u64 + 1;
        let query = HeadersQuery::from_number(next, BLOCKS + 1 - next);
        let more = run(ours.eth().headers(Some(peer), query)).expect("geth answers");
        assert!(!more.is_empty(), "no header from {next} on");
        headers.extend(more);
    }
    headers
}

fn fetch_blocks(ours: &Ours, peer: PeerId, headers: &[Header]) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    while let Some(rest) = headers.get(blocks.len()..).filter(|rest| !rest.is_empty()) {
        let more = run(ours.eth().blocks(Some(peer), rest)).expect("geth answers");
        assert!(!more.is_empty(), "no body of {}", rest[0].number);
        blocks.extend(more);
    }
    blocks
}

#[test]
fn two_hundred_blocks_come_from_geth_verified_and_go_on_to_another() -> Result<()> {
    let slots = Slots::take(2);
    let geth = slots.launch(Options::new().no_discovery())?;
    let head = build_chain(&geth)?;
    let mut ours = Setup::new(51).dialing(&geth)?;
    let peer = ours.ready(geth.enode().node_id())?.peer_id;

    let headers = fetch_headers(&ours, peer);
    let blocks = fetch_blocks(&ours, peer, &headers);
    assert_eq!((headers.len() as u64, blocks.len() as u64), (BLOCKS, BLOCKS));
    let mut parent = ours.chain.genesis();
    let mut transaction_count = 0;
    for (number, (header, block)) in (1..).zip(headers.iter().zip(&blocks)) {
        assert_eq!((header.number, header.parent), (number, parent));
        assert_eq!(header.hash, keccak(&header.raw));
        assert_eq!(&block.header, header);
        assert!(block.check_body(), "block {number}: the roots are the body's");

        let theirs = geth.block(number)?.unwrap();
        assert_eq!(header.hash.0, theirs.hash);
        assert_eq!(header.parent.0, theirs.parent_hash);
        assert_eq!(header.transactions_root.0, theirs.transactions_root);
        let hashes: Vec<[u8; 32]> = block.transactions().iter().map(|envelope| keccak(envelope).0).collect();
        assert_eq!(hashes, theirs.transactions);
        assert_eq!(block.raw, geth.raw_block(number)?);
        transaction_count += hashes.len();
        parent = header.hash;
    }
    assert_eq!((transaction_count, parent), (interop::transactions().len(), Hash(head)));

    for block in blocks {
        assert_eq!(ours.chain.offer(block.raw, None), Offer::New { is_head: true });
    }
    run(ours.eth().notify_head());
    another_fetches_from(&mut ours, &slots.launch(Options::new().no_discovery())?, &head)
}

/// A geth that has only us is told of the head: it takes headers and bodies from us and runs them.
fn another_fetches_from(ours: &mut Ours, other: &Geth, head: &[u8; 32]) -> Result<()> {
    ours.add_peer(other.enode());
    ours.ready(other.enode().node_id())?;
    let peer = other.wait_for_peer(&ours.id(), LIMIT)?;
    assert_eq!(other.admin_peers()?.len(), 1, "{}", peer.raw);
    other.sync_to(head)?;
    let reached = other.head()?;
    assert_eq!((reached.number, reached.hash), (BLOCKS, *head));
    Ok(())
}
