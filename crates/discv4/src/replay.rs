//! The requests of the last seconds with their answers: the like again gets the same bytes, at no cost on the curve,
//! and not often.
//!
//! A datagram is known by its hash; a request also by (digest, signer), because anybody can turn a signature into
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

/// Who asked what. The digest comes first, because comparing most digests ends at their first byte.
type Content = ([u8; 32], NodeId);

#[derive(Clone, Debug)]
struct Answered {
    hash: [u8; 32],
    from: SocketAddr,
    content: Content,
    at: Instant,
    repeated: u8,
    answers: Vec<Bytes>,
}

/// At most [`MAX_REPLAYS`] requests; the oldest is forgotten first.
#[derive(Clone, Debug, Default)]
pub(crate) struct Replays {
    /// By age; each has a number, the first one's is `first`.
    requests: VecDeque<Answered>,
    first: u64,
    /// How many of the oldest have lost their answers, which are not sent again any more.
    bare_count: usize,
    by_hash: BTreeMap<[u8; 32], u64>,
    by_content: BTreeSet<Content>,
}

impl Replays {
    /// Whether a datagram with this hash from there was answered before.
    pub(crate) fn repeat(&mut self, now: Instant, hash: &[u8; 32], from: SocketAddr) -> Repetition {
        self.forget_old(now);
        let Some(known) = self.known(hash) else { return Repetition::New };
        let late = now.saturating_duration_since(known.at) >= REPLAY_ANSWER_WINDOW;
        if late || known.from != from || known.repeated >= MAX_REPEATED_ANSWERS || known.answers.is_empty() {
            return Repetition::Spent;
        }
        known.repeated = known.repeated.saturating_add(1);
        Repetition::Again(known.answers.clone())
    }

    /// Takes note of a request whose signer is known now. Returns false when it was noted before.
    pub(crate) fn note(&mut self, now: Instant, hash: [u8; 32], from: SocketAddr, content: Content) -> bool {
        self.forget_old(now);
        if self.by_hash.contains_key(&hash) || !self.by_content.insert(content) {
            return false;
        }
        self.by_hash.insert(hash, self.first.wrapping_add(self.requests.len() as u64));
        self.requests.push_back(Answered { hash, from, content, at: now, repeated: 0, answers: Vec::new() });
        if self.requests.len() > MAX_REPLAYS {
            self.forget_oldest();
        }
        true
    }

    /// Keeps an answer to a request that was noted.
    pub(crate) fn keep(&mut self, hash: &[u8; 32], answer: &Bytes) {
        if let Some(known) = self.known(hash) {
            known.answers.push(answer.clone());
        }
    }

    /// Its answer could not be made: the next like it is new.
    pub(crate) fn forget(&mut self, hash: &[u8; 32]) {
        if let Some(known) = self.known(hash) {
            let content = known.content;
            self.by_hash.remove(hash);
            self.by_content.remove(&content);
        }
    }

    fn known(&mut self, hash: &[u8; 32]) -> Option<&mut Answered> {
        let place = self.by_hash.get(hash)?.wrapping_sub(self.first);
        self.requests.get_mut(usize::try_from(place).ok()?)
    }

    fn forget_old(&mut self, now: Instant) {
        let is_over = |known: &Answered, window| now.saturating_duration_since(known.at) >= window;
        while self.requests.front().is_some_and(|known| is_over(known, REPLAY_WINDOW)) {
            self.forget_oldest();
        }
        while let Some(known) = self.requests.get_mut(self.bare_count)
            && is_over(known, REPLAY_ANSWER_WINDOW)
        {
            known.answers = Vec::new();
            self.bare_count = self.bare_count.saturating_add(1);
        }
    }

    fn forget_oldest(&mut self) {
        let Some(known) = self.requests.pop_front() else { return };
        // One that was forgotten before may have come again.
        if self.by_hash.get(&known.hash) == Some(&self.first) {
            self.by_hash.remove(&known.hash);
            self.by_content.remove(&known.content);
        }
        self.first = self.first.wrapping_add(1);
        self.bare_count = self.bare_count.saturating_sub(1);
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

    fn content(number: u32) -> Content {
        ([9; 32], story::key(number).node_id())
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
        assert!(replays.by_content.is_empty() && replays.requests.is_empty() && replays.by_hash.is_empty());
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
    fn answers_that_are_not_sent_again_take_no_memory() {
        let (mut replays, now) = (Replays::default(), story::start());
        for number in 0..10 {
            let at = now.later(Duration::from_secs(number)).instant;
            let hash = [number as u8; 32];
            assert!(replays.note(at, hash, from(1), (hash, story::key(1).node_id())));
            replays.keep(&hash, &Bytes::from_static(b"pong"));
        }
        let kept = replays.requests.iter().filter(|known| !known.answers.is_empty()).count();
        assert_eq!((kept, replays.requests.len(), replays.bare_count), (2, 10, 8));
        replays.forget_old(now.later(Duration::from_secs(22)).instant);
        assert_eq!((replays.requests.len(), replays.bare_count), (7, 7));
    }

    #[test]
    fn one_that_was_forgotten_and_came_again_has_its_whole_time() {
        let (mut replays, now) = (Replays::default(), story::start());
        assert!(replays.note(now.instant, [1; 32], from(1), content(1)));
        replays.forget(&[1; 32]);
        let again = now.later(Duration::from_secs(10));
        assert!(replays.note(again.instant, [1; 32], from(1), content(1)));
        let later = now.later(REPLAY_WINDOW).instant;
        assert_eq!(replays.repeat(later, &[1; 32], from(1)), Repetition::Spent);
        assert_eq!(replays.repeat(again.later(REPLAY_WINDOW).instant, &[1; 32], from(1)), Repetition::New);
        assert!(replays.by_content.is_empty() && replays.by_hash.is_empty());
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
            assert!(replays.note(now, hash, from(1), (hash, NodeId::from_bytes(hash))));
        }
        assert_eq!(
            [replays.by_hash.len(), replays.by_content.len(), replays.requests.len()],
            [MAX_REPLAYS; 3]
        );
    }
}
