//! Protocols that return, panic, have no room for messages or a peer that does not read: what comes of it for their
//! peer and for others, and what they are told of a session's end. One is scripted by its test.

use std::{
    future::poll_fn,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use rlpx::{
    CapabilityName, Connection, DisconnectReason, Event, Link, PeerInfo, Protocol, ProtocolLimits,
    ProtocolSession, ProtocolVersion, Refusal, SendError, ServerConfig, ServerTimes, SessionEnd,
    SessionError, SharedMessage, protocol,
};
use tokio::{
    task::{JoinSet, yield_now},
    time::pause,
};

use crate::support::{Node, Stage, V1, ask_echo, echo, listener, quick, within};

const LIMITS: ProtocolLimits = ProtocolLimits::DEFAULT;

#[test]
fn a_runtime_that_ends_tells_the_protocols() {
    let stage = Stage::new();
    let mortal = tokio::runtime::Runtime::new().unwrap();
    let scripted = Scripted::new("echo", Script::default());
    let tool = mortal.block_on(async {
        let key = stage.key();
        let builder = stage.builder(&key, listener().await).protocol(Arc::new(scripted.clone()));
        let mut node = stage.start(key, builder);
        let tool = stage.tool(&node).await;
        node.connected().await;
        (node, tool)
    });
    assert!(scripted.script.closed.lock().unwrap().is_empty());
    drop(mortal);
    assert_eq!(scripted.script.closed.lock().unwrap().len(), 1);
    drop(tool);
}

#[tokio::test]
async fn a_function_that_returns_ends_its_session_with_quitting() {
    let stage = Stage::new();
    let key = stage.key();
    let once = protocol("echo", [V1], |_, mut messages| async move { drop(messages.next().await) });
    let node = stage.start(Arc::clone(&key), stage.builder(&key, listener().await).protocol(Arc::new(once)));
    let mut tool = stage.tool(&node).await;
    within(tool.send(0, 0, Bytes::new())).await.unwrap();
    assert_eq!(within(tool.next()).await, Err(SessionEnd::Remote(DisconnectReason::Quitting)));
}

/// Stops time while this is held. Time that is paused goes on where everybody waits: so somebody does not, as long as
/// anything here may take.
fn stopped_time() -> JoinSet<()> {
    const MANY_TURNS: usize = 5_000_000;
    pause();
    let mut restless = JoinSet::new();
    restless.spawn(async {
        for _ in 0..MANY_TURNS {
            yield_now().await;
        }
    });
    restless
}

#[tokio::test]
async fn p10_fifteen_that_a_protocol_ends_are_waited_for_and_the_next_only_when_one_has_gone() {
    const WAITED_FOR: usize = 15;
    let stage = Stage::new();
    let key = stage.key();
    let once = protocol("echo", [V1], |_, mut messages| async move { drop(messages.next().await) });
    let builder = stage.builder(&key, listener().await).protocol(Arc::new(once));
    let mut node = stage.start(key, builder);
    let mut tools = Vec::new();
    for _ in 0..WAITED_FOR + 3 {
        let tool = stage.tool(&node).await;
        tools.push((node.connected().await.public_key, Some(tool)));
    }
    let still = stopped_time();
    // They are told, and close nothing.
    let told = async |tool: &mut Connection| {
        within(tool.send(0, 0, Bytes::new())).await.unwrap();
        assert_eq!(within(tool.next()).await, Err(SessionEnd::Remote(DisconnectReason::Quitting)));
    };
    for (_, tool) in &mut tools[..=WAITED_FOR] {
        told(tool.as_mut().unwrap()).await;
    }
    assert_eq!(node.disconnected().await.0.public_key, tools[WAITED_FOR].0, "the first that is gone");
    tools[0].1 = None;
    assert_eq!(node.disconnected().await.0.public_key, tools[0].0, "it was waited for");
    for (_, tool) in &mut tools[WAITED_FOR + 1..] {
        told(tool.as_mut().unwrap()).await;
    }
    assert_eq!(node.disconnected().await.0.public_key, tools[WAITED_FOR + 2].0, "one place and no more");
    drop(still);
}

/// What a scripted protocol is asked to do, and what it saw.
#[derive(Default)]
struct Script {
    links: Mutex<Vec<Link>>,
    closed: Mutex<Vec<SessionEnd>>,
    sent_len: AtomicUsize,
    handled: AtomicUsize,
    /// Takes no message while this is set.
    blocked: Mutex<Option<Vec<Waker>>>,
    /// Who wants its turn when the next message is handled.
    witness: Mutex<Option<Waker>>,
    /// Panics at a message, or already when a peer comes.
    panics_at_message: bool,
    panics_at_connect: bool,
}

#[derive(Clone)]
struct Scripted {
    name: &'static str,
    script: Arc<Script>,
}

impl Scripted {
    fn new(name: &'static str, script: Script) -> Self {
        Self { name, script: Arc::new(script) }
    }
}

impl Protocol for Scripted {
    fn name(&self) -> &str {
        self.name
    }

    fn versions(&self) -> &[ProtocolVersion] {
        &[V1]
    }

    fn connect(&self, _: Arc<PeerInfo>, _: u32, link: Link) -> Box<dyn ProtocolSession> {
        assert!(!self.script.panics_at_connect, "as the script says");
        self.script.links.lock().unwrap().push(link);
        Box::new(self.clone())
    }
}

impl ProtocolSession for Scripted {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut *self.script.blocked.lock().unwrap() {
            Some(wakers) => {
                wakers.push(cx.waker().clone());
                Poll::Pending
            }
            None => Poll::Ready(()),
        }
    }

    fn handle_message(&mut self, _: u64, _: Bytes) -> Result<(), DisconnectReason> {
        assert!(!self.script.panics_at_message, "as the script says");
        self.script.handled.fetch_add(1, Ordering::Relaxed);
        if let Some(witness) = self.script.witness.lock().unwrap().take() {
            witness.wake();
        }
        Ok(())
    }

    fn handle_sent(&mut self, len: usize) {
        self.script.sent_len.fetch_add(len, Ordering::Relaxed);
    }

    fn handle_closed(&mut self, end: &SessionEnd) {
        self.script.closed.lock().unwrap().push(*end);
    }
}

/// So many bytes that cannot be compressed.
fn noise(len: usize) -> Bytes {
    let words = (0..u32::MAX).flat_map(|number| number.wrapping_mul(2_654_435_761).to_be_bytes());
    words.take(len).collect()
}

#[tokio::test]
async fn s05_a_panic_costs_its_peer_alone() {
    let stage = Stage::new();
    let beside = Scripted::new("beside", Script::default());
    let (in_task, at_start) = (
        Scripted::new("bad", Script { panics_at_message: true, ..Script::default() }),
        Scripted::new("worse", Script { panics_at_connect: true, ..Script::default() }),
    );
    let own_task = protocol("task", [V1], |_, mut messages| async move {
        messages.next().await.unwrap();
        panic!("as the script says");
    });
    let key = stage.key();
    let builder = stage.builder(&key, listener().await).protocol(Arc::new(echo("echo")));
    let builder =
        builder.protocol(Arc::new(beside.clone())).protocol(Arc::new(in_task)).protocol(Arc::new(own_task));
    let node = stage.start(key, builder.protocol(Arc::new(at_start)));

    let mut honest = stage.tool(&node).await;
    ask_echo(&mut honest, b"before").await;
    let end = SessionEnd::Remote(DisconnectReason::SubprotocolError);
    for (count, name) in ["bad", "task", "worse"].into_iter().enumerate() {
        let mut tool = stage.tool_with(&node, &[name, "beside"]).await;
        let bad = tool.shared().iter().position(|shared| shared.name == *name).unwrap();
        // At the start already, `worse` may have ended it.
        let sent = within(tool.send(bad, 0, Bytes::new())).await;
        assert!(sent.is_ok() || name == "worse");
        assert_eq!(within(tool.next()).await, Err(end), "{name}");
        assert_eq!(node.refused(Refusal::ProtocolPanicked), count as u64 + 1);
    }
    ask_echo(&mut honest, b"after").await;
    assert_eq!(node.server.peer_count(), 1);
    // The protocol beside was told each time, and of which.
    let ends = ["bad", "task", "worse"].map(|name| {
        let error = Some(SessionError::Panicked(CapabilityName::new(name).unwrap()));
        SessionEnd::Local { reason: DisconnectReason::SubprotocolError, error }
    });
    assert_eq!(*beside.script.closed.lock().unwrap(), ends);
}

#[tokio::test]
async fn a_protocol_without_room_stops_the_reading_and_then_costs_the_peer() {
    let stage = Stage::new();
    let slow = Scripted::new("echo", Script { blocked: Mutex::new(Some(Vec::new())), ..Script::default() });
    let key = stage.key();
    let times = ServerTimes { protocol_stall: Duration::from_millis(300), ..quick().times };
    let config = ServerConfig { times, ..quick() };
    let builder = stage.builder(&key, listener().await).protocol(Arc::new(slow.clone())).config(config);
    let mut node = stage.start(key, builder);
    let mut tool = stage.tool(&node).await;
    node.connected().await;
    // Far more than the socket and the session's buffers hold between the two.
    let flood = async {
        let payload = noise(1 << 20);
        for _ in 0..64 {
            if tool.send(0, 0, payload.clone()).await.is_err() {
                return;
            }
        }
        panic!("64 MiB went to a protocol that takes nothing");
    };
    within(flood).await;
    let (_, end) = node.disconnected().await;
    assert_eq!(end, stalled("echo"));
    assert_eq!((node.refused(Refusal::ProtocolStalled), slow.script.handled.load(Ordering::Relaxed)), (1, 0));
    assert!(node.server.counters().bytes_in() < 8 << 20, "{}", node.server.counters().bytes_in());
}

/// The end of a peer whose protocol with this name took nothing for too long.
fn stalled(name: &str) -> SessionEnd {
    let error = Some(SessionError::Stalled(CapabilityName::new(name).unwrap()));
    SessionEnd::Local { reason: DisconnectReason::Requested, error }
}

#[tokio::test]
async fn p11_a_slow_protocol_delays_no_other_until_its_own_queue_is_full_and_is_named_then() {
    // But for the first, as other owners say: so many messages, or so many bytes.
    tokio::join!(
        slow_beside_another(LIMITS, 1),
        slow_beside_another(ProtocolLimits { waiting_messages: 128, ..LIMITS }, 1),
        slow_beside_another(ProtocolLimits { waiting_len: 1 << 16, ..LIMITS }, 1 << 10),
        slow_beside_another(ProtocolLimits { waiting_len: 1 << 17, ..LIMITS }, 1 << 10),
    );
}

/// Of messages of `len` bytes a protocol takes as many as the limits say, beside one that takes its own.
async fn slow_beside_another(limits: ProtocolLimits, len: usize) {
    let room = limits.waiting_messages.min(limits.waiting_len / len);
    let stage = Stage::new();
    let key = stage.key();
    let slow = protocol("slow", [V1], |_, messages| async move {
        std::future::pending::<()>().await;
        drop(messages);
    });
    let times = ServerTimes { protocol_stall: Duration::from_millis(300), ..quick().times };
    let mut config = ServerConfig { times, ..quick() };
    config.limits.protocols = limits;
    let builder = stage.builder(&key, listener().await).protocol(Arc::new(echo("echo"))).config(config);
    let mut node = stage.start(key, builder.protocol(Arc::new(slow)));
    let mut tool = stage.tool_with(&node, &["echo", "slow"]).await;
    let slow = tool.shared().iter().position(|shared| shared.name == *"slow").unwrap();
    for _ in 0..room / 64 {
        for _ in 0..64 {
            within(tool.send(slow, 0, noise(len))).await.unwrap();
        }
        // What comes behind them is not held up.
        ask_echo(&mut tool, b"in between").await;
    }
    assert_eq!(node.refused(Refusal::ProtocolStalled), 0);
    within(tool.send(slow, 0, Bytes::from_static(b"one too many"))).await.unwrap();
    assert_eq!(within(tool.next()).await, Err(SessionEnd::Remote(DisconnectReason::Requested)));
    assert_eq!((node.disconnected().await.1, node.refused(Refusal::ProtocolStalled)), (stalled("slow"), 1));
}

#[tokio::test]
async fn a_protocol_that_finds_room_again_goes_on() {
    let stage = Stage::new();
    let slow = Scripted::new("echo", Script { blocked: Mutex::new(Some(Vec::new())), ..Script::default() });
    let key = stage.key();
    let builder = stage.builder(&key, listener().await).protocol(Arc::new(slow.clone()));
    let mut node = stage.start(key, builder.protocol(Arc::new(echo("other"))));
    let mut tool = stage.tool(&node).await;
    node.connected().await;
    for _ in 0..100 {
        within(tool.send(0, 0, Bytes::from_static(b"x"))).await.unwrap();
    }
    let wakers = loop {
        let asked = slow.script.blocked.lock().unwrap().as_ref().is_some_and(|wakers| !wakers.is_empty());
        if asked {
            break slow.script.blocked.lock().unwrap().take().unwrap();
        }
        tokio::task::yield_now().await;
    };
    wakers.into_iter().for_each(Waker::wake);
    let all = async {
        while slow.script.handled.load(Ordering::Relaxed) < 100 {
            tokio::task::yield_now().await;
        }
    };
    within(all).await;
    assert_eq!((node.refused(Refusal::ProtocolStalled), node.server.peer_count()), (0, 1));
}

/// A node that runs `script`, its peer, and the link to that.
async fn linked(stage: &Stage, script: &Scripted) -> (Node, Connection, Link) {
    linked_to(stage, script, quick()).await
}

async fn linked_to(stage: &Stage, script: &Scripted, config: ServerConfig) -> (Node, Connection, Link) {
    let key = stage.key();
    let builder = stage.builder(&key, listener().await).config(config).protocol(Arc::new(script.clone()));
    let mut node = stage.start(key, builder);
    let tool = stage.tool(&node).await;
    node.connected().await;
    let link = script.script.links.lock().unwrap()[0].clone();
    (node, tool, link)
}

#[tokio::test]
async fn p13_a_queue_to_a_peer_that_does_not_read_is_bounded_and_credit_comes_back() {
    let stage = Stage::new();
    let script = Scripted::new("echo", Script::default());
    let (mut node, mut tool, link) = linked(&stage, &script).await;
    assert_eq!(link.try_send(SharedMessage::new(2, Bytes::new())), Err(SendError::UnknownCode));
    assert_eq!(link.try_send(SharedMessage::new(0, vec![0; 0x100_0000].into())), Err(SendError::TooLarge));
    // What is queued is what is written.
    let payload = noise(1 << 17);
    let message = SharedMessage::new(0, payload.clone());
    let mut sent = 0;
    let fill = async {
        // A socket that is full takes nothing more, whoever is let run.
        let mut refusals_in_a_row = 0;
        while refusals_in_a_row < 1_000 {
            match link.try_send(message.clone()) {
                Ok(()) => (sent, refusals_in_a_row) = (sent + 1, 0),
                Err(SendError::Full) => refusals_in_a_row += 1,
                Err(error) => panic!("{error}"),
            }
            tokio::task::yield_now().await;
        }
    };
    within(fill).await;
    let in_queue = LIMITS.queued_len / payload.len();
    let credited = script.script.sent_len.load(Ordering::Relaxed) / payload.len();
    assert!(sent - credited <= in_queue + 2, "{sent} sent, {credited} written");
    let waiting = link.send(message.clone());
    let reading = async {
        for _ in 0..=sent {
            assert_eq!(tool.next().await.unwrap().message.payload, payload);
        }
    };
    let (late, ()) = within(async { tokio::join!(waiting, reading) }).await;
    late.unwrap();
    let all = async {
        while script.script.sent_len.load(Ordering::Relaxed) < (sent + 1) * payload.len() {
            tokio::task::yield_now().await;
        }
    };
    within(all).await;
    link.disconnect(DisconnectReason::TooManyPeers);
    link.disconnect(DisconnectReason::Requested);
    assert_eq!(within(tool.next()).await, Err(SessionEnd::Remote(DisconnectReason::TooManyPeers)));
    let error = Some(SessionError::Protocol(CapabilityName::new("echo").unwrap()));
    let wanted = SessionEnd::Local { reason: DisconnectReason::TooManyPeers, error };
    assert_eq!(node.disconnected().await.1, wanted);
    assert_eq!(link.try_send(message), Err(SendError::Closed));
}

#[tokio::test]
async fn p13_a_queue_to_a_peer_takes_1024_messages_and_no_more() {
    let stage = Stage::new();
    let script = Scripted::new("echo", Script::default());
    let (_node, mut tool, link) = linked(&stage, &script).await;
    // Nobody else runs meanwhile, so nothing is taken out.
    let taken = (0..2_000).take_while(|_| link.try_send(SharedMessage::new(0, Bytes::new())).is_ok()).count();
    assert_eq!((taken, LIMITS.queued_messages), (1_024, 1_024));
    assert_eq!(link.try_send(SharedMessage::new(0, Bytes::new())), Err(SendError::Full));
    for _ in 0..taken {
        assert_eq!(within(tool.next()).await.unwrap().message.payload, Bytes::new());
    }
    assert_eq!(link.try_send(SharedMessage::new(0, Bytes::new())), Ok(()));
}

#[tokio::test]
async fn p13_queues_are_as_long_as_the_owner_says() {
    let (stage, mut config) = (Stage::new(), quick());
    config.limits.protocols = ProtocolLimits { queued_messages: 3, queued_len: 1 << 16, ..LIMITS };
    config.limits.queues.events = 1;
    let script = Scripted::new("echo", Script::default());
    let (mut node, mut tool, link) = linked_to(&stage, &script, config).await;
    // Nobody else runs meanwhile, so nothing is taken out.
    let taken = |len| {
        (0..9).take_while(|_| link.try_send(SharedMessage::new(0, vec![0; len].into())).is_ok()).count()
    };
    assert_eq!(taken(0), 3);
    for _ in 0..3 {
        within(tool.next()).await.unwrap();
    }
    assert_eq!(taken(30_000), 2);
    drop(tool);
    let gone = async {
        while node.server.peer_count() > 0 {
            tokio::task::yield_now().await;
        }
    };
    within(gone).await;
    stage.open(&stage.key(), "chat", &node).await.unwrap_err();
    let told = async {
        while node.server.counters().turned_away.total() == 0 {
            tokio::task::yield_now().await;
        }
    };
    within(told).await;
    assert!(matches!(node.event().await, Event::Lagged(_)), "one event waits, the one before is lost");
}

#[tokio::test]
async fn p12_a_peer_that_sends_without_end_keeps_no_other_waiting() {
    const ECHOES: usize = if cfg!(feature = "thorough") { 10_000 } else { 100 };
    let stage = Stage::new();
    let (key, greedy) = (stage.key(), Scripted::new("greedy", Script::default()));
    let builder = stage.builder(&key, listener().await).protocol(Arc::new(echo("echo")));
    let node = stage.start(key, builder.protocol(Arc::new(greedy.clone())));
    let mut flooder = stage.tool_with(&node, &["greedy"]).await;
    let mut honest = stage.tool(&node).await;
    let flood = async { while flooder.send(0, 0, Bytes::from_static(b"x")).await.is_ok() {} };
    let echoes = async {
        for _ in 0..ECHOES {
            ask_echo(&mut honest, b"ping").await;
        }
    };
    tokio::select! {
        () = within(echoes) => {}
        () = flood => panic!("the flood is no breach"),
    }
    let handled = greedy.script.handled.load(Ordering::Relaxed);
    println!("{ECHOES} echoes (thorough: 10000) beside {handled} messages");
    assert!(handled > ECHOES, "{handled} messages");
}

/// The most of `count` messages that were handled before somebody else had its turn who wanted it since the first of them.
async fn most_in_a_turn(script: Arc<Script>, count: usize) -> usize {
    let (mut before, mut most) = (0, 0);
    poll_fn(|cx| {
        let handled = script.handled.load(Ordering::Relaxed);
        most = most.max(handled - before);
        before = handled;
        *script.witness.lock().unwrap() = Some(cx.waker().clone());
        if handled < count { Poll::Pending } else { Poll::Ready(most) }
    })
    .await
}

#[tokio::test]
async fn p12_of_a_peer_that_has_sent_many_messages_sixteen_are_handled_before_others_have_their_turn() {
    // Of short ones a read brings more than that, of long ones less. The last is what another owner says.
    for (count, len, turn_messages) in [(1_000, 1, 16), (500, 4_000, 16), (100, 1, 5)] {
        let stage = Stage::new();
        let (key, greedy) = (stage.key(), Scripted::new("greedy", Script::default()));
        let mut config = quick();
        config.limits.protocols.turn_messages = turn_messages;
        let builder = stage.builder(&key, listener().await).protocol(Arc::new(greedy.clone()));
        let node = stage.start(key, builder.config(config));
        let mut flooder = stage.tool_with(&node, &["greedy"]).await;
        // On the one thread of this test whoever is woken first is run first.
        let mut others = JoinSet::new();
        others.spawn(most_in_a_turn(Arc::clone(&greedy.script), count));
        let payload = noise(len);
        for _ in 0..count {
            within(flooder.send(0, 0, payload.clone())).await.unwrap();
        }
        let most = within(others.join_next()).await.unwrap().unwrap();
        // How many of the long ones a read brings is the system's to say.
        let least = if len == 1 { turn_messages } else { turn_messages / 2 };
        assert!((least..=turn_messages).contains(&most), "{most} of {count} with {len} bytes");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_message_to_many_peers_comes_whole_to_each_and_between_others() {
    const PEERS: usize = 9;
    const ROUNDS: u32 = 10;
    let stage = Stage::new();
    let (links, mut joined) = tokio::sync::mpsc::channel(PEERS);
    let cast = protocol("cast", [V1], move |peer, mut messages| {
        let links = links.clone();
        async move {
            links.send(peer.link().clone()).await.unwrap();
            while messages.next().await.is_some() {}
        }
    });
    let key = stage.key();
    let builder = stage.builder(&key, listener().await).protocol(Arc::new(cast));
    let node = stage.start(key, builder.config(quick()));
    let (mut tools, mut links) = (Vec::new(), Vec::new());
    for _ in 0..PEERS {
        tools.push(stage.tool_with(&node, &["cast"]).await);
        links.push(within(joined.recv()).await.unwrap());
    }
    let body =
        |round: u32| -> Bytes { (0..50_000u32).flat_map(|word| (word * 7 + round).to_be_bytes()).collect() };
    for round in 0..ROUNDS {
        let message = SharedMessage::new(0, body(round));
        for link in &links {
            link.try_send(message.clone()).unwrap();
            link.try_send(SharedMessage::new(1, Bytes::from(round.to_be_bytes().to_vec()))).unwrap();
        }
        for tool in &mut tools {
            let long = within(tool.next()).await.unwrap().message;
            assert_eq!((long.code, long.payload), (0, body(round)));
            let short = within(tool.next()).await.unwrap().message;
            assert_eq!((short.code, &short.payload[..]), (1, &round.to_be_bytes()[..]));
        }
    }
}

#[tokio::test]
async fn of_several_protocols_that_send_much_each_has_its_turn() {
    const MESSAGES: usize = 500;
    let stage = Stage::new();
    let key = stage.key();
    let wordy = |name: &str| {
        protocol(name, [V1], |peer, mut messages| async move {
            // It waits until both are connected, and then sends all it may.
            if messages.next().await.is_some() {
                for _ in 0..MESSAGES {
                    peer.send(0, Bytes::from(vec![0xa5; 1_500])).await.unwrap();
                }
                while messages.next().await.is_some() {}
            }
        })
    };
    let builder = stage.builder(&key, listener().await);
    let node = stage.start(key, builder.protocol(Arc::new(wordy("a"))).protocol(Arc::new(wordy("b"))));
    let mut tool = stage.tool_with(&node, &["a", "b"]).await;
    for protocol in 0..2 {
        within(tool.send(protocol, 0, Bytes::new())).await.unwrap();
    }
    let mut order = Vec::new();
    for _ in 0..2 * MESSAGES {
        order.push(within(tool.next()).await.unwrap().protocol);
    }
    // What was in the session when the second began went before; from then on they alternate, until one has no more.
    for part in order[200..800].chunks(100) {
        let first = part.iter().filter(|protocol| **protocol == 0).count();
        assert!((30..=70).contains(&first), "{first} of 100 are the first protocol's");
    }
}
