//! The memory chain: what it takes, which branch it follows, and what it answers to every kind of headers query, held
//! against a model that computes in wider numbers and without limits.

use super::*;
use crate::{BlockBuilder, Header, Transaction, TransferRequest};
use identity::NodeKey;

fn genesis() -> Block {
    BlockBuilder::genesis(1_000).build()
}

fn transfer(nonce: u64) -> Transaction {
    let to = crate::Address([7; 20]);
    TransferRequest::new(1, nonce, to, 1).sign(&NodeKey::from_bytes(&[1; 32]).unwrap())
}

/// `count` blocks after `parent`, told from those of other branches by `mark`.
fn branch(parent: &Block, count: usize, mark: &'static str, difficulty: u64) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    while blocks.len() < count {
        let parent = blocks.last().unwrap_or(parent);
        let builder = BlockBuilder::child_of(&parent.header, 0).difficulty(difficulty);
        blocks.push(
            builder.extra(mark.as_bytes().into()).transactions(&[transfer(blocks.len() as u64)]).build(),
        );
    }
    blocks
}

fn offer(chain: &MemoryChain, block: &Block) -> Offer {
    chain.offer(block.raw.clone(), None)
}

const NEW_HEAD: Offer = Offer::New { is_head: true };
const NEW_SIDE: Offer = Offer::New { is_head: false };

/// A chain of 20 blocks, and a side branch of 3 from block 10 on.
fn forked() -> (MemoryChain, Vec<Block>, Vec<Block>) {
    let mut main = vec![genesis()];
    main.extend(branch(&genesis(), 20, "main", 1));
    let side = branch(&main[10], 3, "side", 1);
    let chain = MemoryChain::new(&main[0]);
    for block in main.iter().skip(1) {
        assert_eq!(offer(&chain, block), NEW_HEAD);
    }
    for block in &side {
        assert_eq!(offer(&chain, block), NEW_SIDE);
    }
    (chain, main, side)
}

#[test]
fn a_block_is_new_known_or_an_orphan() {
    let chain = MemoryChain::new(&genesis());
    let blocks = branch(&genesis(), 2, "", 1);
    assert_eq!(offer(&chain, &blocks[1]), Offer::Orphan);
    assert_eq!((offer(&chain, &blocks[0]), offer(&chain, &blocks[0])), (NEW_HEAD, Offer::Known));
    assert_eq!((offer(&chain, &blocks[1]), offer(&chain, &genesis())), (NEW_HEAD, Offer::Known));
    let head = chain.head();
    assert_eq!((head.hash, head.number, head.earliest), (blocks[1].header.hash, 2, 0));
    assert_eq!(head.total_difficulty, TotalDifficulty(3));
    assert_eq!((chain.genesis(), chain.len()), (genesis().header.hash, 3));
    assert_eq!(chain.block(&head.hash), Some(blocks[1].raw.clone()));
    assert_eq!(chain.body(&head.hash), Some(blocks[1].body()));
    assert_eq!(blocks[1].transactions(), [transfer(1).envelope().clone()]);
}

#[test]
fn a_block_that_does_not_follow_its_parent_is_bad() {
    let chain = MemoryChain::new(&genesis());
    let good = branch(&genesis(), 1, "", 1).remove(0);
    let bad = |parent: Header| offer(&chain, &BlockBuilder::child_of(&parent, 0).build());
    let parent = genesis().header;
    assert_eq!(bad(Header { number: 1, ..parent.clone() }), Offer::Bad(BadBlock::Number));
    assert_eq!(bad(Header { number: u64::MAX - 1, ..parent.clone() }), Offer::Bad(BadBlock::Number));
    assert_eq!(bad(Header { time: parent.time - 1, ..parent.clone() }), Offer::Bad(BadBlock::Time));
    let long = BlockBuilder::child_of(&parent, 0).extra(vec![1; MAX_EXTRA_DATA_LEN + 1].into()).build();
    assert_eq!(offer(&chain, &long), Offer::Bad(BadBlock::ExtraData));
    let fits = BlockBuilder::child_of(&parent, 0).extra(vec![1; MAX_EXTRA_DATA_LEN].into()).build();
    assert_eq!(offer(&chain, &fits), NEW_HEAD);
    assert_eq!(chain.offer(good.raw.slice(1..), None), Offer::Bad(BadBlock::Malformed));
    assert_eq!(chain.offer(Bytes::new(), None), Offer::Bad(BadBlock::Malformed));
}

#[test]
fn e11_a_block_with_a_body_of_another_is_bad() {
    let chain = MemoryChain::new(&genesis());
    let block = branch(&genesis(), 1, "", 1).remove(0);
    let other = BlockBuilder::child_of(&genesis().header, 0).transactions(&[transfer(9)]).build();
    let swapped = Block::assemble(&block.header.raw, &other.body()).unwrap();
    assert_eq!(offer(&chain, &swapped), Offer::Bad(BadBlock::Body));
    let empty = Block::assemble(&block.header.raw, &genesis().body()).unwrap();
    assert_eq!(offer(&chain, &empty), Offer::Bad(BadBlock::Body));
    assert_eq!((chain.len(), offer(&chain, &block)), (1, NEW_HEAD));
}

#[test]
fn headers_of_sixteen_fields_are_taken_too() {
    let chain = MemoryChain::new(&genesis());
    let block = BlockBuilder::child_of(&genesis().header, 5_000).base_fee(7).build();
    assert_eq!((offer(&chain, &block), chain.head().time), (NEW_HEAD, 5_000));
}

#[test]
fn the_heaviest_branch_is_canonical_and_a_tie_stays() {
    let (chain, main, _) = forked();
    let heavy = branch(&main[15], 2, "heavy", 3);
    // 21 + 5 is the weight of the main branch at block 20: 16 + 3 is below, 16 + 6 is above.
    assert_eq!(offer(&chain, &heavy[0]), NEW_SIDE);
    assert_eq!(offer(&chain, &heavy[1]), NEW_HEAD);
    assert_eq!(chain.head().number, 17);
    assert_eq!(chain.block_by_number(16), Some(heavy[0].clone()));
    assert_eq!(chain.block_by_number(15), Some(main[15].clone()));
    assert_eq!(chain.block_by_number(18), None, "nothing above the head is canonical");
    let tie = BlockBuilder::child_of(&heavy[0].header, 0).difficulty(3).extra("tie".into()).build();
    assert_eq!(offer(&chain, &tie), NEW_SIDE);
    assert_eq!(chain.head().hash, heavy[1].header.hash);
}

#[test]
fn without_difficulty_the_longest_branch_is_canonical() {
    let chain = MemoryChain::new(&genesis());
    let (short, long) = (branch(&genesis(), 2, "short", 0), branch(&genesis(), 3, "long", 0));
    assert_eq!([&short[0], &short[1]].map(|block| offer(&chain, block)), [NEW_HEAD, NEW_HEAD]);
    assert_eq!(
        [&long[0], &long[1], &long[2]].map(|block| offer(&chain, block)),
        [NEW_SIDE, NEW_SIDE, NEW_HEAD]
    );
    assert_eq!(chain.block_by_number(1), Some(long[0].clone()));
}

#[test]
fn beyond_its_limits_the_lowest_blocks_are_dropped() {
    let blocks = branch(&genesis(), 50, "", 1);
    let len = blocks[0].raw.len();
    let by_count = ChainLimits { blocks: 11, bytes: usize::MAX };
    let by_bytes = ChainLimits { blocks: usize::MAX, bytes: genesis().raw.len() + 10 * (len + 5) };
    for limits in [by_count, by_bytes] {
        let chain = MemoryChain::with_limits(&genesis(), limits);
        for block in &blocks {
            assert_eq!(offer(&chain, block), NEW_HEAD);
        }
        assert_eq!((chain.len(), chain.head().number, chain.head().earliest), (11, 50, 41));
        assert!(chain.block_by_number(0).is_some(), "the genesis block stays");
        assert!(chain.block_by_number(40).is_none() && chain.block_by_number(41).is_some());
        // What was dropped cannot be offered again and again.
        assert_eq!(offer(&chain, &blocks[0]), Offer::Known);
        let late = branch(&genesis(), 1, "late", 99).remove(0);
        assert_eq!((offer(&chain, &late), chain.len()), (Offer::Known, 11));
        let state = chain.read();
        assert_eq!((state.heights.len(), state.canonical.len()), (11, 11));
        assert_eq!(state.bytes, state.blocks.values().map(|held| held.block.raw.len()).sum::<usize>());
    }
}

/// What a query asks for, told without regard to cost: numbers that no `u64` holds included.
fn expected(query: &HeadersQuery, main: &[Block], side: &[Block]) -> Vec<Bytes> {
    let at = |number: i128| usize::try_from(number).ok().and_then(|number| main.get(number));
    let number_of = |block: &Block| i128::from(block.header.number);
    let all = || main.iter().chain(side);
    let origin = match query.origin {
        Origin::Hash(hash) => all().find(|block| block.header.hash == hash),
        Origin::Number(number) => at(number.into()),
    };
    let stride = i128::from(query.skip) + 1;
    let mut headers = Vec::new();
    let mut next = origin;
    while let Some(block) =
        next.filter(|_| (headers.len() as u64) < query.limit && headers.len() < MAX_ANSWER_ITEMS)
    {
        headers.push(block.header.raw.clone());
        next = match (main.contains(block), query.reverse) {
            (true, true) => at(number_of(block) - stride),
            (true, false) => at(number_of(block) + stride),
            (false, false) => None,
            (false, true) => {
                let target = number_of(block) - stride;
                // The side branch begins behind main block 10.
                if target <= 10 { at(target) } else { side.get((target - 11) as usize) }
            }
        };
    }
    headers
}

#[test]
fn e05_every_edge_of_a_query_is_answered_as_far_as_the_chain_goes() {
    let (chain, main, side) = forked();
    let numbers = [0, 1, 2, 9, 10, 19, 20, 21, 1 << 32, i64::MAX as u64, u64::MAX - 1, u64::MAX];
    let limits = [0, 1, 2, 1_023, 1_024, 1_025, u64::MAX];
    let origins = numbers
        .iter()
        .map(|number| Origin::Number(*number))
        .chain(main.iter().chain(&side).map(|block| Origin::Hash(block.header.hash)))
        .chain([Origin::Hash(Hash::ZERO)]);
    let mut rows = 0;
    for origin in origins {
        for skip in numbers {
            for limit in limits {
                for reverse in [false, true] {
                    let query = HeadersQuery { origin, limit, skip, reverse };
                    let headers = chain.headers(&query, MAX_ANSWER_ITEMS);
                    assert_eq!(headers, expected(&query, &main, &side), "{query:?}");
                    rows += 1;
                }
            }
        }
    }
    assert_eq!(rows, (12 + 24 + 1) * 12 * 7 * 2);
    let two = chain.headers(&HeadersQuery::from_number(0, 9), 2);
    assert_eq!(two.len(), 2, "the caller's own limit holds too");
}

#[test]
fn e05_an_answer_has_at_most_1024_headers() {
    let blocks = branch(&genesis(), 1_200, "", 1);
    let chain = MemoryChain::new(&genesis());
    for block in &blocks {
        offer(&chain, block);
    }
    let head = Origin::Hash(blocks[1_199].header.hash);
    for (origin, reverse) in [(Origin::Number(0), false), (head, true)] {
        let query = HeadersQuery { origin, limit: u64::MAX, skip: 0, reverse };
        assert_eq!(chain.headers(&query, usize::MAX).len(), MAX_ANSWER_ITEMS);
    }
}

#[test]
fn e05_a_walk_off_the_canonical_chain_is_short() {
    let side = branch(&genesis(), 300, "side", 1);
    let main = branch(&genesis(), 301, "main", 1);
    let chain = MemoryChain::new(&genesis());
    for block in main.iter().chain(&side) {
        offer(&chain, block);
    }
    let query =
        |skip| HeadersQuery { origin: Origin::Hash(side[299].header.hash), limit: 900, skip, reverse: true };
    // Parents one by one are had without end; strides cost one each and end after a hundred blocks.
    assert_eq!(chain.headers(&query(0), 1_024).len(), 301);
    assert_eq!(chain.headers(&query(9), 1_024).len(), 1 + MAX_NON_CANONICAL / 10);
}
