//! What protocols say to a node that was found: one that wants it is enough, and nobody who minds is as good.
//! Whom a running server asks, and with which record, is in `tests/driver/candidates.rs`.

use std::time::Duration;

use rlpx::{Refusal, ServerConfig};

use crate::story::{Story, candidate, far, key};

#[test]
fn a_node_is_dialed_that_one_protocol_wants_or_when_none_minds() {
    let rows: [(&[Option<bool>], bool); 7] = [
        (&[], true),
        (&[None], true),
        (&[Some(true)], true),
        (&[Some(false)], false),
        (&[Some(false), None], false),
        (&[Some(false), Some(true), None], true),
        (&[None, Some(false), Some(false)], false),
    ];
    for (opinions, is_dialed) in rows {
        let mut story = Story::new(ServerConfig::default());
        story.server.handle_judged(story.now, candidate(1, "77.0.0.1"), opinions.iter().copied());
        let dialed: Vec<_> = story.dials().into_iter().map(|(_, remote)| remote).collect();
        let expected = if is_dialed { vec![key(1)] } else { vec![] };
        assert_eq!(dialed, expected, "{opinions:?}");
        assert_eq!(story.count(Refusal::CandidateUnwanted), u64::from(!is_dialed), "{opinions:?}");
    }
}

#[test]
fn s03_a_source_of_unwanted_nodes_is_not_asked_without_end_and_fills_no_record() {
    let mut story = Story::new(ServerConfig::default());
    let mut asked = 0;
    while story.server.wanted_candidates(story.now) > 0 {
        story.server.handle_judged(story.now, candidate(asked, &far(asked)), [Some(false)]);
        asked += 1;
        assert!(asked <= 64);
    }
    assert_eq!((asked, story.server.record_count(), story.dials()), (64, 0, vec![]));
    story.wait(Duration::from_secs(1));
    // It was not held against the node: a record of another kind is looked at anew.
    story.server.handle_judged(story.now, candidate(0, &far(0)), [Some(true)]);
    assert_eq!(story.dials().len(), 1);
}
