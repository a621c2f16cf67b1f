//! Protocols written as one async function over a stream of messages, run in a task of its own for each peer.
//! When the function returns, its peer is disconnected as go-ethereum does it: with reason 8.

use std::{fmt, future::Future, future::poll_fn, sync::Arc, task::Context, task::Poll, time::Duration};

use bytes::Bytes;
use tokio::{
    sync::oneshot,
    task::JoinHandle,
    time::{Instant, timeout_at},
};

use super::{
    link::Link,
    now,
    protocol::{Protocol, ProtocolSession, ProtocolVersion},
    queue::Queue,
    spawn,
};
use crate::{Message, SendError, SessionEnd, SharedMessage, p2p::DisconnectReason, peer::PeerInfo};

/// Messages of one peer that wait for the function. When they are as many, nothing more is read from the peer.
pub const MAX_WAITING_MESSAGES: usize = 1_024;

/// Bytes that wait for the function; an empty queue takes one message of any size.
pub const MAX_WAITING_LEN: usize = 8 << 20;

/// How long a function may run on after its peer has gone.
const GRACE: Duration = Duration::from_secs(5);

/// Makes a protocol of an async function, which runs once for each peer until it returns or its messages end.
pub fn protocol<F, R, const N: usize>(
    name: &str,
    versions: [ProtocolVersion; N],
    run: F,
) -> impl Protocol + use<F, R, N>
where
    F: Fn(ProtocolPeer, MessageStream) -> R + Send + Sync + 'static,
    R: Future<Output = ()> + Send + 'static,
{
    FunctionProtocol { name: name.to_owned(), versions: versions.into(), run }
}

struct FunctionProtocol<F> {
    name: String,
    versions: Vec<ProtocolVersion>,
    run: F,
}

/// The peer that a protocol's function talks to.
#[derive(Clone, Debug)]
pub struct ProtocolPeer {
    info: Arc<PeerInfo>,
    version: u32,
    link: Link,
}

impl ProtocolPeer {
    /// Who it is.
    pub fn info(&self) -> &Arc<PeerInfo> {
        &self.info
    }

    /// The version of the protocol in use.
    pub const fn version(&self) -> u32 {
        self.version
    }

    /// The peer's queue, for what is to be sent without waiting.
    pub const fn link(&self) -> &Link {
        &self.link
    }

    /// Queues a message, its code counted from the protocol's first, as soon as there is room.
    ///
    /// # Errors
    /// As [`Link::send`].
    pub async fn send(&self, code: u64, payload: Bytes) -> Result<(), SendError> {
        self.link.send(SharedMessage::new(code, payload)).await
    }

    /// Ends the session.
    pub fn disconnect(&self, reason: DisconnectReason) {
        self.link.disconnect(reason);
    }
}

/// The messages of one peer.
pub struct MessageStream(Arc<Queue<Message>>);

impl MessageStream {
    /// The next message; None when the session has ended. Nothing is lost when this is dropped half-way.
    pub async fn next(&mut self) -> Option<Message> {
        poll_fn(|cx| self.0.poll_pop(cx)).await.map(|(message, _)| message)
    }
}

impl fmt::Debug for MessageStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MessageStream")
    }
}

struct FunctionSession {
    queue: Arc<Queue<Message>>,
    /// Dropped at the end of the session.
    _open: oneshot::Sender<()>,
}

impl<F, R> Protocol for FunctionProtocol<F>
where
    F: Fn(ProtocolPeer, MessageStream) -> R + Send + Sync + 'static,
    R: Future<Output = ()> + Send + 'static,
{
    fn name(&self) -> &str {
        &self.name
    }

    fn versions(&self) -> &[ProtocolVersion] {
        &self.versions
    }

    fn connect(&self, peer: Arc<PeerInfo>, version: u32, link: Link) -> Box<dyn ProtocolSession> {
        let queue = Arc::new(Queue::inbound(MAX_WAITING_MESSAGES, MAX_WAITING_LEN, Arc::clone(link.purse())));
        let (open, closed) = oneshot::channel();
        let peer = ProtocolPeer { info: peer, version, link: link.clone() };
        let task = spawn((self.run)(peer, MessageStream(Arc::clone(&queue))));
        spawn(supervise(task, closed, link));
        Box::new(FunctionSession { queue, _open: open })
    }
}

/// Ends the session with the function, and the function some time after the session.
async fn supervise(mut task: JoinHandle<()>, closed: oneshot::Receiver<()>, link: Link) {
    tokio::select! {
        result = &mut task => match result {
            Ok(()) => link.disconnect(DisconnectReason::Quitting),
            Err(error) if error.is_panic() => link.panicked(),
            // The runtime is going.
            Err(_) => {}
        },
        _ = closed => {
            if let Some(end) = now().instant.checked_add(GRACE) {
                let _ = timeout_at(Instant::from_std(end), &mut task).await;
            }
            task.abort();
        }
    }
}

impl ProtocolSession for FunctionSession {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // The next message's length is not known yet, so it may pass the limit once.
        self.queue.poll_room(cx, 0)
    }

    fn handle_message(&mut self, code: u64, payload: Bytes) -> Result<(), DisconnectReason> {
        let len = payload.len();
        self.queue.push_last(Message { code, payload }, len);
        Ok(())
    }

    fn handle_sent(&mut self, _len: usize) {}

    fn handle_closed(&mut self, _end: &SessionEnd) {
        self.queue.close();
    }
}

impl Drop for FunctionSession {
    fn drop(&mut self) {
        self.queue.close();
    }
}
