//! The requests of the last seconds with their answers: the like again gets the same bytes, at no cost on the curve,
//! and not often.
//!
//! A datagram is known by its hash; a request also by (signer, digest), because anybody can turn a signature into
//! another one of the same signer that has another hash.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    net::SocketAddr,
    time::Instant,
};

use bytes::Bytes;
use identity::NodeId;

use crate::config::{MAX_REPEATED_ANSWERS, MAX_REPLAYS, REPLAY_ANSWER_WINDOW, REPLAY_WINDOW};

/// What to do with a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Repetition {
    /// It is new.
    New,
    /// Send the same answer again.
    Again(Vec<Bytes>),
    /// It had its answers.
    Spent,
}

#[derive(Clone, Debug)]
struct Answered {
    from: SocketAddr,
    content: (NodeId, [u8; 32]),
    at: Instant,
    repeated: u8,
    answers: Vec<Bytes>,
}

/// At most [`MAX_REPLAYS`] requests; the oldest is forgotten first.
#[derive(Clone, Debug, Default)]
pub(crate) struct Replays {
    by_hash: BTreeMap<[u8; 32], Answered>,
    by_content: BTreeSet<(NodeId, [u8; 32])>,
    order: VecDeque<[u8; 32]>,
}

impl Replays {
    /// Whether a datagram with this hash from there was answered before.
    pub(crate) fn repeat(&mut self, now: Instant, hash: &[u8; 32], from: SocketAddr) -> Repetition {
        self.forget_old(now);
        let Some(known) = self.by_hash.get_mut(hash) else { return Repetition::New };
        let late = now.saturating_duration_since(known.at) >= REPLAY_ANSWER_WINDOW;
        if late || known.from != from || known.repeated >= MAX_REPEATED_ANSWERS || known.answers.is_empty() {
            return Repetition::Spent;
        }
        known.repeated = known.repeated.saturating_add(1);
        Repetition::Again(known.answers.clone())
    }

    /// Takes note of a request whose signer is known now. Returns false when it was noted before.
    pub(crate) fn note(
        &mut self,
        now: Instant,
        hash: [u8; 32],
        from: SocketAddr,
        content: (NodeId, [u8; 32]),
    ) -> bool {
        self.forget_old(now);
        if self.by_hash.contains_key(&hash) || !self.by_content.insert(content) {
            return false;
        }
        let answers = Vec::new();
        self.by_hash.insert(hash, Answered { from, content, at: now, repeated: 0, answers });
        self.order.push_back(hash);
        if self.order.len() > MAX_REPLAYS {
            self.forget_oldest();
        }
        true
    }

    /// Keeps an answer to a request that was noted.
    pub(crate) fn keep(&mut self, hash: &[u8; 32], answer: &Bytes) {
        if let Some(known) = self.by_hash.get_mut(hash) {
            known.answers.push(answer.clone());
        }
    }

    /// Its answer could not be made: the next like it is new.
    pub(crate) fn forget(&mut self, hash: &[u8; 32]) {
        if let Some(known) = self.by_hash.remove(hash) {
            self.by_content.remove(&known.content);
        }
    }

    fn forget_old(&mut self, now: Instant) {
        let is_old = |known: &Answered| now.saturating_duration_since(known.at) >= REPLAY_WINDOW;
        while self.order.front().is_some_and(|hash| self.by_hash.get(hash).is_none_or(is_old)) {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        if let Some(known) = self.order.pop_front().and_then(|hash| self.by_hash.remove(&hash)) {
            self.by_content.remove(&known.content);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::story;

    fn from(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    fn content(number: u32) -> (NodeId, [u8; 32]) {
        (story::key(number).node_id(), [9; 32])
    }

    #[test]
    fn u09_the_same_bytes_get_the_same_answer_four_times_within_two_seconds() {
        let (mut replays, now) = (Replays::default(), story::start());
        assert_eq!(replays.repeat(now.instant, &[1; 32], from(1)), Repetition::New);
        assert!(replays.note(now.instant, [1; 32], from(1), content(1)));
        assert_eq!(
            replays.repeat(now.instant, &[1; 32], from(1)),
            Repetition::Spent,
            "there is no answer yet"
        );
        replays.keep(&[1; 32], &Bytes::from_static(b"pong"));
        assert_eq!(
            replays.repeat(now.instant, &[1; 32], from(2)),
            Repetition::Spent,
            "not to another endpoint"
        );
        let soon = now.later(Duration::from_millis(1_999)).instant;
        for _ in 0..4 {
            assert_eq!(
                replays.repeat(soon, &[1; 32], from(1)),
                Repetition::Again(vec![Bytes::from_static(b"pong")])
            );
        }
        assert_eq!(replays.repeat(soon, &[1; 32], from(1)), Repetition::Spent);
        let after = now.later(Duration::from_secs(20)).instant;
        assert_eq!(replays.repeat(after, &[1; 32], from(1)), Repetition::New);
        assert!(replays.by_content.is_empty() && replays.order.is_empty());
    }

    #[test]
    fn u09_an_answer_older_than_two_seconds_is_not_sent_again() {
        let (mut replays, now) = (Replays::default(), story::start());
        replays.note(now.instant, [1; 32], from(1), content(1));
        replays.keep(&[1; 32], &Bytes::from_static(b"pong"));
        assert_eq!(
            replays.repeat(now.later(REPLAY_ANSWER_WINDOW).instant, &[1; 32], from(1)),
            Repetition::Spent
        );
    }

    #[test]
    fn u10_another_signature_of_the_same_request_is_known() {
        let (mut replays, now) = (Replays::default(), story::start().instant);
        assert!(replays.note(now, [1; 32], from(1), content(1)));
        assert!(!replays.note(now, [2; 32], from(1), content(1)));
        assert!(replays.note(now, [3; 32], from(1), content(2)));
    }

    #[test]
    fn u09_4096_requests_are_kept() {
        let (mut replays, now) = (Replays::default(), story::start().instant);
        for number in 0..5000u32 {
            let mut hash = [0; 32];
            hash[..4].copy_from_slice(&number.to_be_bytes());
            assert!(replays.note(now, hash, from(1), (NodeId::from_bytes(hash), hash)));
        }
        assert_eq!([replays.by_hash.len(), replays.by_content.len(), replays.order.len()], [MAX_REPLAYS; 3]);
    }
}
