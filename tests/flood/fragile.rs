//! A whole node, as a client runs it, whose own protocol panics where a peer wants it to: in the task of the connection, or
//! in the protocol's own. What else it is told comes back.

use std::{
    net::Ipv4Addr,
    panic,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use devp2p::{
    Node,
    identity::NodeKey,
    rlpx::{
        DisconnectReason, Link, MessageStream, PeerInfo, Protocol, ProtocolPeer, ProtocolSession,
        ProtocolVersion, SessionEnd, protocol,
    },
};
use interop::{
    Failure, Result,
    flood::{ECHO, FATAL, FATAL_APART, PROTOCOL, V1},
};
use rand::{rand_core::UnwrapErr, rngs::SysRng};

use super::node::{counts, questions};

/// Panics of any thread, whoever has caught them.
static PANICS: AtomicU64 = AtomicU64::new(0);
/// What is said by those that a peer wanted.
const WANTED: &str = "as the peer wants";

pub(super) async fn run() -> Result<()> {
    let print = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        PANICS.fetch_add(1, Ordering::Relaxed);
        if !panic.to_string().contains(WANTED) {
            print(panic);
        }
    }));
    let key = NodeKey::generate(&mut UnwrapErr(SysRng));
    let builder = Node::builder(key).listen(Ipv4Addr::LOCALHOST.into(), 0).no_discovery();
    let starting = builder.protocol(Fragile(panic_or_echo())).start();
    let node = starting.await.map_err(|error| Failure::new(error.to_string()))?;
    println!("{}", node.enode());
    let mut questions = questions()?;
    while questions.recv().await.is_some() {
        println!("panics {} {}", PANICS.load(Ordering::Relaxed), counts(node.server()));
    }
    node.shutdown().await;
    Ok(())
}

fn panic_or_echo() -> impl Protocol {
    protocol(PROTOCOL, [V1], |peer: ProtocolPeer, mut messages: MessageStream| async move {
        while let Some(message) = messages.next().await {
            assert_ne!(message.code, FATAL_APART, "{WANTED}");
            if message.code == ECHO && peer.send(ECHO, message.payload).await.is_err() {
                return;
            }
        }
    })
}

/// A protocol that panics at a message before it is the protocol's.
struct Fragile<P>(P);

struct FragileSession(Box<dyn ProtocolSession>);

impl<P: Protocol> Protocol for Fragile<P> {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn versions(&self) -> &[ProtocolVersion] {
        self.0.versions()
    }

    fn connect(&self, peer: Arc<PeerInfo>, version: u32, link: Link) -> Box<dyn ProtocolSession> {
        Box::new(FragileSession(self.0.connect(peer, version, link)))
    }
}

impl ProtocolSession for FragileSession {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.0.poll_ready(cx)
    }

    fn handle_message(&mut self, code: u64, payload: Bytes) -> Result<(), DisconnectReason> {
        assert_ne!(code, FATAL, "{WANTED}");
        self.0.handle_message(code, payload)
    }

    fn handle_sent(&mut self, len: usize) {
        self.0.handle_sent(len);
    }

    fn handle_closed(&mut self, end: &SessionEnd) {
        self.0.handle_closed(end);
    }
}
