//! Fetches as conversations: what is asked, what comes, what is asked next.
//! The peers are numbers and the chain's knowledge is a list of bools: no machine is needed.

use super::*;
use crate::{BlockBuilder, testing::start};

const A: PeerId = PeerId(1);
const B: PeerId = PeerId(2);

/// The genesis block and `len` blocks on it.
fn chain(len: usize) -> Vec<Block> {
    let next = |last: &Block| Some(BlockBuilder::child_of(&last.header, 0).build());
    std::iter::successors(Some(BlockBuilder::genesis(1).build()), next).take(len + 1).collect()
}

fn hash(block: &Block) -> Hash {
    block.header.hash
}

fn bodies(blocks: &[Block]) -> Vec<Body> {
    blocks.iter().map(|block| Body::decode(block.body()).unwrap()).collect()
}

/// Headers from `from` downwards.
fn down(chain: &[Block], from: usize, count: usize) -> Vec<Header> {
    chain[..=from].iter().rev().take(count).map(|block| block.header.clone()).collect()
}

fn asked_headers(hash: Hash, limit: u64) -> Request {
    Request::Headers(HeadersQuery { origin: Origin::Hash(hash), limit, skip: 0, reverse: true })
}

/// A fetch of the last block, begun, from `A`.
fn begun(chain: &[Block]) -> (BlockFetches, Hash) {
    let (now, mut fetches) = (start(), BlockFetches::default());
    let tip = hash(chain.last().unwrap());
    assert!(fetches.begin(now, tip, A, true));
    assert_eq!(fetches.next_due(now), Some((tip, Step::Ask(A, asked_headers(tip, 1)))));
    (fetches, tip)
}

#[test]
fn an_announced_block_may_come_by_itself_before_it_is_asked_for() {
    let (now, mut fetches, tip) = (start(), BlockFetches::default(), Hash([1; 32]));
    assert!(fetches.begin(now, tip, A, false));
    assert_eq!(fetches.next_due(now), None);
    assert_eq!(fetches.next_timeout(), now.instant.checked_add(BLOCK_FETCH_WAIT));
    fetches.arrived(&tip);
    assert_eq!((fetches.next_due(now.later(BLOCK_FETCH_WAIT)), fetches.len()), (None, 0));
}

#[test]
fn a_block_on_a_known_parent_is_had_in_two_requests() {
    let chain = chain(1);
    let (mut fetches, tip) = begun(&chain);
    let step = fetches.handle_headers(&tip, A, down(&chain, 1, 1)).unwrap();
    assert_eq!(step, Step::Check(vec![tip, hash(&chain[0])]));
    assert_eq!(fetches.handle_checked(&tip, &[true, false]), Step::Ask(A, Request::Bodies(vec![tip])));
    let step = fetches.handle_bodies(&tip, A, &bodies(&chain[1..])).unwrap();
    assert_eq!(step, Step::Offer(vec![chain[1].clone()], A));
    assert_eq!(fetches.handle_taken(&tip), Some(Step::Done));
}

#[test]
fn a_missing_branch_is_walked_down_to_what_the_chain_has_and_offered_upwards() {
    let chain = chain(300);
    let (mut fetches, tip) = begun(&chain);
    let (mut top, mut limits) = (300, Vec::new());
    let mut step = fetches.handle_headers(&tip, A, down(&chain, top, 1)).unwrap();
    top -= 1;
    // The chain has the first 51 blocks.
    while let Step::Check(hashes) = &step {
        let unknown: Vec<bool> =
            hashes.iter().map(|one| !chain[..=50].iter().any(|block| hash(block) == *one)).collect();
        step = fetches.handle_checked(&tip, &unknown);
        if let Step::Ask(A, Request::Headers(query)) = &step {
            limits.push(query.limit);
            let count = usize::try_from(query.limit).unwrap();
            step = fetches.handle_headers(&tip, A, down(&chain, top, count)).unwrap();
            top = top.saturating_sub(count);
        }
    }
    assert_eq!(limits, [16, 192, 192]);
    let mut offered = Vec::new();
    while let Step::Ask(A, Request::Bodies(hashes)) = &step {
        assert!(hashes.len() <= BLOCK_FETCH_BODIES);
        // The peer gives half of what it is asked for.
        let first = 51 + offered.len();
        let given = bodies(&chain[first..first + hashes.len().div_ceil(2)]);
        let Step::Offer(blocks, A) = fetches.handle_bodies(&tip, A, &given).unwrap() else { panic!() };
        let count = blocks.len();
        offered.extend(blocks);
        step = (0..count).find_map(|_| fetches.handle_taken(&tip)).unwrap();
    }
    assert_eq!(step, Step::Done);
    assert_eq!(offered, chain[51..]);
}

#[test]
fn e11_headers_and_bodies_that_are_not_those_asked_for_are_a_breach() {
    let chain = chain(3);
    let (mut fetches, tip) = begun(&chain);
    assert_eq!(fetches.handle_headers(&tip, A, down(&chain, 2, 1)), Err(WrongAnswer));
    let unlinked = vec![chain[3].header.clone(), chain[1].header.clone()];
    assert_eq!(fetches.handle_headers(&tip, A, unlinked), Err(WrongAnswer));

    let transaction = crate::TransferRequest::new(1, 0, crate::Address([1; 20]), 1)
        .sign(&identity::NodeKey::from_bytes(&[1; 32]).unwrap());
    let other = BlockBuilder::child_of(&chain[2].header, 0).transactions(&[transaction]).build();
    let (mut fetches, tip) = begun(&chain);
    fetches.handle_headers(&tip, A, down(&chain, 3, 1)).unwrap();
    fetches.handle_checked(&tip, &[true, false]);
    assert_eq!(fetches.handle_bodies(&tip, A, &bodies(&[other])), Err(WrongAnswer));
}

#[test]
fn whoever_is_silent_is_replaced_until_nobody_is_left() {
    let chain = chain(1);
    let (mut fetches, tip) = begun(&chain);
    fetches.begin(start(), tip, B, false);
    assert_eq!(fetches.handle_silence(&tip, A), Step::Ask(B, asked_headers(tip, 1)));
    assert_eq!(fetches.handle_headers(&tip, B, Vec::new()), Ok(Step::GiveUp));
    assert_eq!(fetches.retry(&tip, [A, B]), Step::GiveUp, "both were asked");
    assert_eq!(fetches.retry(&tip, [A, PeerId(3)]), Step::Ask(PeerId(3), asked_headers(tip, 1)));
}

#[test]
fn a_branch_that_is_too_deep_is_left_alone() {
    let chain = chain(MAX_BLOCK_FETCH_DEPTH + 300);
    let (mut fetches, tip) = begun(&chain);
    let mut top = chain.len() - 1;
    let mut step = fetches.handle_headers(&tip, A, down(&chain, top, 1)).unwrap();
    top -= 1;
    let mut had = 1;
    while let Step::Check(hashes) = &step {
        step = fetches.handle_checked(&tip, &vec![true; hashes.len()]);
        if let Step::Ask(_, Request::Headers(query)) = &step {
            let count = usize::try_from(query.limit).unwrap();
            step = fetches.handle_headers(&tip, A, down(&chain, top, count)).unwrap();
            (top, had) = (top - count, had + count);
        }
    }
    assert_eq!((step, had), (Step::TooDeep(Some(A)), MAX_BLOCK_FETCH_DEPTH));
}

#[test]
fn fetches_are_bounded_and_one_peer_cannot_take_them_all() {
    let (now, mut fetches) = (start(), BlockFetches::default());
    let mut begin = |number: u8, peer| fetches.begin(now, Hash([number; 32]), PeerId(peer), false);
    assert_eq!((0..100).filter(|number| begin(*number, 1)).count(), MAX_BLOCK_FETCHES_PER_PEER);
    let rest = (100..=255).filter(|number| begin(*number, u64::from(*number))).count();
    assert_eq!(rest, MAX_BLOCK_FETCHES - MAX_BLOCK_FETCHES_PER_PEER);
    fetches.disconnected(A);
    assert_eq!(fetches.len(), MAX_BLOCK_FETCHES - MAX_BLOCK_FETCHES_PER_PEER, "who has gone cannot be asked");
}
