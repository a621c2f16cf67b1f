//! The inbox without a runtime: who is read, whose turn it is, what is left in the end.
//! Sockets, tasks and the machine behind it are in `tests/loopback`.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    task::Wake,
};

use bytes::Bytes;
use rlpx::{Limits, ProtocolVersion, protocol, testing::ProtocolPair};

use super::*;
use crate::{MessageKind, intake};

const LIMITS: ProtocolLimits = ProtocolLimits::DEFAULT;

const A: PeerId = PeerId(1);
const B: PeerId = PeerId(2);

#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// An inbox with both peers, and nothing to take.
fn inbox() -> Inbox {
    let inbox = Inbox::default();
    [A, B].into_iter().for_each(|peer| assert!(inbox.open(peer, None)));
    inbox
}

fn push(inbox: &Inbox, peer: PeerId, count: usize, len: usize) {
    (0..count).for_each(|_| inbox.push(peer, Ok(Incoming::Transactions(Vec::new())), len));
}

fn is_read(inbox: &Inbox, peer: PeerId) -> bool {
    inbox.poll_room(peer, &mut Context::from_waker(Waker::noop())).is_ready()
}

/// The turns that are due: whose, and how many messages.
fn turns(inbox: &Inbox) -> Vec<(PeerId, usize)> {
    std::iter::from_fn(|| inbox.next_turn()).map(|(peer, turn)| (peer, turn.messages.len())).collect()
}

#[test]
fn p12_a_peer_with_endless_messages_does_not_starve_another() {
    let inbox = inbox();
    push(&inbox, A, 40, 10);
    push(&inbox, B, 1, 10);
    assert_eq!(turns(&inbox), [(A, 16), (B, 1), (A, 16), (A, 8)]);
}

#[test]
fn p11_a_peer_is_left_unread_when_its_messages_wait_and_others_are_not() {
    for (count, len) in
        [(LIMITS.waiting_messages, 1), (8, LIMITS.waiting_len / 8), (1, 10 * LIMITS.waiting_len)]
    {
        let inbox = inbox();
        push(&inbox, A, count - 1, len);
        assert!(is_read(&inbox, A));
        push(&inbox, A, 1, len);
        assert!(!is_read(&inbox, A));
        assert!(is_read(&inbox, B));
        inbox.next_turn();
        assert!(is_read(&inbox, A));
    }
}

#[test]
fn p11_short_messages_that_take_much_once_they_are_read_count_with_that() {
    let inbox = inbox();
    // A thousand empty bodies: 3 KiB on the wire.
    let body = [0xc2, 0xc0, 0xc0];
    let message =
        || Bytes::from([&[0xf9, 0x0c, 0x04, 1, 0xf9, 0x0c, 0x00][..], &body.repeat(1_024)].concat());
    let mut count = 0;
    while is_read(&inbox, A) {
        let read = intake(EthVersion::Eth68, MessageKind::BlockBodies.code(), message());
        assert!(read.is_ok(), "{read:?}");
        inbox.push(A, read, message().len());
        count += 1;
    }
    assert!((100..150).contains(&count), "{count} messages");
    while let Some((_, turn)) = inbox.next_turn() {
        assert!(!turn.messages.is_empty());
    }
    assert_eq!(inbox.lock().peers[&A].len, 0);
}

#[test]
fn whoever_waits_for_room_is_woken_when_there_is_some() {
    let inbox = inbox();
    let wakes = Arc::new(Wakes::default());
    let waker = Waker::from(Arc::clone(&wakes));
    push(&inbox, A, LIMITS.waiting_messages, 1);
    assert!(inbox.poll_room(A, &mut Context::from_waker(&waker)).is_pending());
    inbox.next_turn();
    assert_eq!(wakes.0.load(Ordering::Relaxed), 1);
    push(&inbox, A, LIMITS.waiting_messages, 1);
    assert!(inbox.poll_room(A, &mut Context::from_waker(&waker)).is_pending());
    inbox.close();
    assert_eq!(wakes.0.load(Ordering::Relaxed), 2);
    assert!(is_read(&inbox, A) && !inbox.open(A, None), "nobody is there any more");
}

#[test]
fn a_paused_peer_keeps_its_messages_and_gets_its_credit() {
    let inbox = inbox();
    inbox.set_paused(A, true);
    push(&inbox, A, 3, 10);
    assert_eq!(turns(&inbox), []);
    inbox.sent(A, 500);
    inbox.sent(A, 70);
    let (_, turn) = inbox.next_turn().unwrap();
    assert_eq!((turn.sent_messages, turn.sent_len, turn.messages.len()), (2, 570, 0));
    inbox.set_paused(A, false);
    assert_eq!(turns(&inbox), [(A, 3)]);
}

#[test]
fn the_last_messages_of_a_peer_are_heard_and_then_nothing_is_left_of_it() {
    let inbox = inbox();
    push(&inbox, A, 20, 10);
    inbox.close_peer(A);
    let lasts: Vec<(usize, bool)> = std::iter::from_fn(|| inbox.next_turn())
        .map(|(_, turn)| (turn.messages.len(), turn.is_last))
        .collect();
    assert_eq!(lasts, [(16, false), (4, true)]);
    push(&inbox, A, 1, 10);
    assert!(turns(&inbox).is_empty() && is_read(&inbox, A));
    // A paused one does not stay for what nobody reads.
    inbox.set_paused(B, true);
    push(&inbox, B, 5, 10);
    inbox.close_peer(B);
    assert!(inbox.next_turn().is_some_and(|(_, turn)| turn.is_last && turn.messages.is_empty()));
    assert!(inbox.lock().peers.is_empty() && !inbox.has_turns());
}

/// An inbox to which a peer has come under `limits`, and the peer's link.
fn visited(limits: &Limits) -> (Inbox, Link) {
    const V1: ProtocolVersion = ProtocolVersion { version: 1, message_count: 1 };
    let links = Arc::new(Mutex::new(Vec::new()));
    let given = Arc::clone(&links);
    let kept = protocol("eth", [V1], move |peer, _| {
        given.lock().unwrap().push(peer.link().clone());
        std::future::pending()
    });
    let other = protocol("eth", [V1], |_, _| std::future::pending());
    let pair = ProtocolPair::connect_with(kept, other, limits).unwrap();
    let link = links.lock().unwrap()[0].clone();
    let inbox = Inbox::default();
    let (info, version) = (Arc::clone(pair.peer(0)), EthVersion::Eth69);
    assert!(inbox.connect(A, Arrival { info, version, link: link.clone() }));
    (inbox, link)
}

#[tokio::test]
async fn p11_p12_as_much_waits_and_as_many_are_taken_at_a_turn_as_the_owner_says() {
    for (waiting_messages, waiting_len, turn_messages) in [(3, 1 << 20, 2), (9, 80_000, 1)] {
        let mut limits = Limits::default();
        (limits.protocols.waiting_messages, limits.protocols.waiting_len) = (waiting_messages, waiting_len);
        limits.protocols.turn_messages = turn_messages;
        let (inbox, _) = visited(&limits);
        assert_eq!(turns(&inbox), [(A, 0)], "it arrives");
        push(&inbox, A, 2, 30_000);
        assert!(is_read(&inbox, A));
        // The third is the last, by the number of one and by the length of the other.
        push(&inbox, A, 1, 30_000);
        assert!(!is_read(&inbox, A));
        assert_eq!(turns(&inbox)[0], (A, turn_messages));
    }
}

#[tokio::test]
async fn p11_of_a_peer_one_message_waits_while_the_budget_for_all_is_spent() {
    let (inbox, link) = visited(&Limits::default());
    push(&inbox, A, 1, 300_000);
    assert!(is_read(&inbox, A));
    // Somebody holds more than there is.
    let mut treasure = link.held();
    treasure.set(256 << 20);
    let wakes = Arc::new(Wakes::default());
    let waker = Waker::from(Arc::clone(&wakes));
    let poll = || inbox.poll_room(A, &mut Context::from_waker(&waker));
    assert!(poll().is_pending());
    treasure.set(0);
    assert_eq!(wakes.0.load(Ordering::Relaxed), 1);
    assert!(poll().is_ready());
    // What has been taken makes room for one, whatever the budget says.
    treasure.set(256 << 20);
    assert!(poll().is_pending());
    inbox.next_turn();
    assert!(poll().is_ready());
}
