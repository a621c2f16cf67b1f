//! What is on its way to one peer, and what waits for room: the credit by which a machine sends. Messages are counted
//! by their uncompressed bytes until the connection has written them.

use std::collections::VecDeque;

use rlpx::SharedMessage;

use crate::machine_config::{GOSSIP_CREDIT, MAX_OUTBOX, MAX_UNSENT_MESSAGES};

/// What a link to a peer holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Credit {
    /// Bytes of messages.
    pub len: usize,
    /// Messages.
    pub messages: usize,
}

impl From<usize> for Credit {
    /// So many bytes, of as many messages as a machine sends at once ([`MAX_UNSENT_MESSAGES`]).
    fn from(len: usize) -> Self {
        Self { len, messages: MAX_UNSENT_MESSAGES }
    }
}

/// The credit of one peer. An idle link takes one message of any length.
#[derive(Debug)]
pub(crate) struct Outbound {
    credit: Credit,
    unsent_bytes: usize,
    unsent_messages: usize,
    outbox: VecDeque<SharedMessage>,
    /// Memory was short for a message: nothing is put out until there is room.
    held: bool,
}

impl Outbound {
    /// An idle link.
    pub(crate) fn new(credit: Credit) -> Self {
        let credit = Credit { messages: credit.messages.clamp(1, MAX_UNSENT_MESSAGES), ..credit };
        Self { credit, unsent_bytes: 0, unsent_messages: 0, outbox: VecDeque::new(), held: false }
    }

    /// Queues a single message; gossip waits until all of these have gone. False when [`MAX_OUTBOX`] wait already.
    pub(crate) fn push(&mut self, message: SharedMessage) -> bool {
        let room = self.outbox.len() < MAX_OUTBOX;
        if room {
            self.outbox.push_back(message);
        }
        room
    }

    /// The next queued message that may be put out now. It counts from here on.
    pub(crate) fn next_message(&mut self) -> Option<SharedMessage> {
        if self.held {
            return None;
        }
        let len = self.outbox.front()?.payload().len();
        let fits = self.unsent_messages < self.credit.messages
            && self.unsent_bytes.saturating_add(len) <= self.credit.len;
        if !fits && self.unsent_messages > 0 {
            return None;
        }
        self.count(len);
        self.outbox.pop_front()
    }

    /// Whether a pack of gossip may be put out now.
    pub(crate) fn takes_gossip(&self) -> bool {
        let share = GOSSIP_CREDIT.min(self.credit.len / 2).max(1);
        !self.is_backed_up() && self.unsent_bytes < share && self.unsent_messages < self.credit.messages
    }

    /// Whether a request may be put out or queued.
    pub(crate) fn takes_request(&self) -> bool {
        self.outbox.len() < MAX_OUTBOX
    }

    /// A message of `len` bytes was put out.
    pub(crate) fn count(&mut self, len: usize) {
        self.unsent_bytes = self.unsent_bytes.saturating_add(len);
        self.unsent_messages = self.unsent_messages.saturating_add(1);
    }

    /// The connection has written so many messages, of `len` bytes together.
    pub(crate) fn handle_sent(&mut self, messages: usize, len: usize) {
        self.unsent_bytes = self.unsent_bytes.saturating_sub(len);
        self.unsent_messages = self.unsent_messages.saturating_sub(messages);
    }

    /// How many bytes are on their way.
    pub(crate) fn unsent_bytes(&self) -> usize {
        self.unsent_bytes
    }

    /// A message of `len` bytes that was put out was not taken: there is no memory for it.
    pub(crate) fn handle_unsent(&mut self, len: usize) {
        self.handle_sent(1, len);
        self.held = true;
    }

    /// There is memory again.
    pub(crate) fn handle_room(&mut self) {
        self.held = false;
    }

    /// Whether memory was short for the last message.
    pub(crate) fn is_held(&self) -> bool {
        self.held
    }

    /// Takes back a single message that was put out and not taken: it goes next. False when [`MAX_OUTBOX`] wait already:
    /// its place may have been given to another since.
    pub(crate) fn push_back(&mut self, message: SharedMessage) -> bool {
        let room = self.outbox.len() < MAX_OUTBOX;
        if room {
            self.outbox.push_front(message);
        }
        room
    }

    /// Whether single messages wait for room.
    pub(crate) fn is_backed_up(&self) -> bool {
        self.held || !self.outbox.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn message(len: usize) -> SharedMessage {
        SharedMessage::new(0, Bytes::from(vec![0; len]))
    }

    #[test]
    fn an_idle_link_takes_one_message_of_any_length_and_then_no_more_than_its_credit() {
        let mut outbound = Outbound::new(1_000.into());
        for len in [5_000, 400, 400, 400] {
            assert!(outbound.push(message(len)));
        }
        assert_eq!(outbound.next_message().map(|message| message.payload().len()), Some(5_000));
        assert!(outbound.next_message().is_none());
        outbound.handle_sent(1, 5_000);
        assert_eq!(std::iter::from_fn(|| outbound.next_message()).count(), 2);
        assert_eq!(outbound.unsent_bytes(), 800);
        outbound.handle_sent(1, 400);
        assert!(outbound.next_message().is_some() && !outbound.is_backed_up());
    }

    #[test]
    fn gossip_leaves_room_for_answers_and_waits_behind_them() {
        let mut outbound = Outbound::new(1_000.into());
        assert!(outbound.takes_gossip());
        outbound.push(message(100));
        assert!(!outbound.takes_gossip());
        outbound.next_message();
        assert!(outbound.takes_gossip());
        outbound.count(400);
        assert!(!outbound.takes_gossip());
    }

    #[test]
    fn what_waits_is_bounded() {
        let mut outbound = Outbound::new(0.into());
        assert_eq!((0..1_000).filter(|_| outbound.push(message(1))).count(), MAX_OUTBOX);
        assert!(!outbound.takes_request());
    }

    #[test]
    fn what_comes_back_waits_within_the_same_bound() {
        let mut outbound = Outbound::new(1_000.into());
        assert!((0..MAX_OUTBOX).all(|_| outbound.push(message(1))));
        let put_out: Vec<SharedMessage> = std::iter::from_fn(|| outbound.next_message()).collect();
        assert_eq!(put_out.len(), MAX_OUTBOX);
        // Memory is short for the first; others are queued before the rest come back.
        outbound.handle_unsent(1);
        assert!((0..MAX_OUTBOX - 1).all(|_| outbound.push(message(2))));
        assert_eq!(put_out.into_iter().filter(|message| outbound.push_back(message.clone())).count(), 1);
        outbound.handle_room();
        let lens = std::iter::from_fn(|| outbound.next_message()).map(|message| message.payload().len());
        let lens: Vec<usize> = lens.collect();
        assert_eq!((lens.len(), lens[0]), (MAX_OUTBOX, 1), "it goes first");
    }
}
