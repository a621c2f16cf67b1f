//! Which headers answer which query.
//! Whole conversations with peers are played in `tests/machines`.

use super::*;
use crate::{Block, BlockBuilder};

fn branch(len: usize) -> Vec<Header> {
    let genesis = BlockBuilder::genesis(1).build();
    let next = |last: &Block| Some(BlockBuilder::child_of(&last.header, 0).build());
    std::iter::successors(Some(genesis), next).take(len).map(|block| block.header).collect()
}

fn query(origin: Origin, skip: u64, reverse: bool) -> HeadersQuery {
    HeadersQuery { origin, limit: 10, skip, reverse }
}

#[test]
fn e11_headers_that_do_not_answer_their_query_are_told() {
    let up = branch(8);
    let down: Vec<Header> = up.iter().rev().cloned().collect();
    let third: Vec<Header> = up.iter().step_by(3).cloned().collect();
    let other = {
        let sibling = BlockBuilder::child_of(&up[0], 99).build().header;
        vec![up[0].clone(), sibling, up[2].clone()]
    };
    let rows: [(&str, HeadersQuery, &[Header], bool); 12] = [
        ("upwards by number", query(Origin::Number(0), 0, false), &up, true),
        ("upwards by hash", query(Origin::Hash(up[2].hash), 0, false), &up[2..], true),
        ("downwards", query(Origin::Number(7), 0, true), &down, true),
        ("with gaps", query(Origin::Number(0), 2, false), &third, true),
        ("nothing", query(Origin::Number(5), 0, false), &[], true),
        ("the wrong way", query(Origin::Number(0), 0, true), &up, false),
        ("another origin by number", query(Origin::Number(1), 0, false), &up, false),
        ("another origin by hash", query(Origin::Hash(up[2].hash), 0, false), &up, false),
        ("a gap", query(Origin::Number(0), 0, false), &third, false),
        ("no gap", query(Origin::Number(0), 2, false), &up, false),
        ("a header of another branch", query(Origin::Number(0), 0, false), &other, false),
        ("one twice", query(Origin::Number(0), 0, false), &[up[0].clone(), up[0].clone()], false),
    ];
    for (what, query, headers, expected) in rows {
        assert_eq!(headers_fit(&query, headers), expected, "{what}");
    }
    let extreme = query(Origin::Number(0), u64::MAX, false);
    assert!(!headers_fit(&extreme, &up));
}
