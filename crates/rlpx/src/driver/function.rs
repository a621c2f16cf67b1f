//! Protocols written as one async function over a stream of messages, run in a task of its own for each peer.
//! When the function returns, its peer is disconnected as go-ethereum does it: with reason 8.

use std::{fmt, future::Future, future::poll_fn, sync::Arc, task::Context, task::Poll};

use bytes::Bytes;
use identity::Enr;
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
use crate::{
    Details, Message, SendError, SessionEnd, SharedMessage, Verdict, config::MAX_MESSAGE_LEN,
    p2p::DisconnectReason, peer::PeerInfo,
};

/// Makes a protocol of an async function, which runs once for each peer until it returns or its messages end. What else a
/// [`Protocol`] says is set on what this returns:
///
/// ```
/// use rlpx::{MessageStream, Protocol, ProtocolPeer, ProtocolVersion, protocol};
///
/// let versions = [ProtocolVersion { version: 1, message_count: 1 }];
/// let echo = protocol("echo", versions, |peer: ProtocolPeer, mut messages: MessageStream| async move {
///     while let Some(message) = messages.next().await {
///         let _ = peer.send(message.code, message.payload).await;
///     }
/// })
/// // A longer message costs its sender the session.
/// .max_len(64 * 1024)
/// // Our record says that we speak it, and of the nodes that are found those are dialed whose record says so too.
/// .enr_entry("echo", || vec![0x01].into())
/// .want(|record| record.is_some_and(|record| record.entry("echo").is_some()));
///
/// assert_eq!((echo.max_message_len(), echo.wants(None)), (65_536, Some(false)));
/// assert_eq!(echo.enr_entries(), [("echo".to_owned(), vec![0x01].into())]);
/// ```
pub fn protocol<F, R, const N: usize>(
    name: &str,
    versions: [ProtocolVersion; N],
    run: F,
) -> FunctionProtocol<F>
where
    F: Fn(ProtocolPeer, MessageStream) -> R + Send + Sync + 'static,
    R: Future<Output = ()> + Send + 'static,
{
    let (name, versions) = (name.to_owned(), versions.into());
    FunctionProtocol { name, versions, max_len: MAX_MESSAGE_LEN, wants: None, entries: Vec::new(), run }
}

/// A protocol that is one async function; made by [`protocol`].
#[must_use]
pub struct FunctionProtocol<F> {
    name: String,
    versions: Vec<ProtocolVersion>,
    max_len: usize,
    wants: Option<Box<Wants>>,
    entries: Vec<(String, Box<Value>)>,
    run: F,
}

/// Whether a node with this record is worth a dial.
type Wants = dyn Fn(Option<&Enr>) -> bool + Send + Sync;

/// The RLP of an entry in the record as it is now.
type Value = dyn Fn() -> Bytes + Send + Sync;

impl<F> FunctionProtocol<F> {
    /// Takes payloads of `len` bytes at most ([`Protocol::max_message_len`]). Default: what a frame can carry, 16 MiB.
    pub const fn max_len(mut self, len: usize) -> Self {
        self.max_len = len;
        self
    }

    /// Of the nodes that are found wants those dialed for whose record, if one is known, `wants` says yes
    /// ([`Protocol::wants`]). Default: does not mind.
    pub fn want(mut self, wants: impl Fn(Option<&Enr>) -> bool + Send + Sync + 'static) -> Self {
        self.wants = Some(Box::new(wants));
        self
    }

    /// Adds an entry to the node's own record: `key`, and as RLP what `value` gives, which is asked again now and then
    /// ([`Protocol::enr_entries`]). Default: none.
    pub fn enr_entry(mut self, key: &str, value: impl Fn() -> Bytes + Send + Sync + 'static) -> Self {
        self.entries.push((key.to_owned(), Box::new(value)));
        self
    }
}

impl<F> fmt::Debug for FunctionProtocol<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FunctionProtocol({:?}, {:?})", self.name, self.versions)
    }
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

    /// Tells of the peer what its status shows from now on, as [`Link::describe`] does.
    pub fn describe(&self, details: Details) {
        self.link.describe(details);
    }

    /// Says how the peer serves, as [`Link::report`] does.
    pub fn report(&self, verdict: Verdict) {
        self.link.report(verdict);
    }

    /// Ends the session.
    pub fn disconnect(&self, reason: DisconnectReason) {
        self.link.disconnect(reason);
    }
}

/// The messages of one peer. One counts as held for the peer until the next is asked for: whoever keeps it longer tells so
/// by [`Link::held`].
pub struct MessageStream(Arc<Queue<Message>>);

impl MessageStream {
    /// The next message; None when the session has ended. Nothing is lost when this is dropped half-way.
    pub async fn next(&mut self) -> Option<Message> {
        poll_fn(|cx| self.0.poll_next(cx)).await
    }
}

impl Drop for MessageStream {
    fn drop(&mut self) {
        self.0.put_down();
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

    fn max_message_len(&self) -> usize {
        self.max_len
    }

    fn wants(&self, record: Option<&Enr>) -> Option<bool> {
        self.wants.as_ref().map(|wants| wants(record))
    }

    fn enr_entries(&self) -> Vec<(String, Bytes)> {
        self.entries.iter().map(|(key, value)| (key.clone(), value())).collect()
    }

    fn connect(&self, peer: Arc<PeerInfo>, version: u32, link: Link) -> Box<dyn ProtocolSession> {
        let limits = link.limits();
        let size = (limits.waiting_messages, limits.waiting_len);
        let queue = Arc::new(Queue::inbound(size, Arc::clone(link.kept())));
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
            if let Some(end) = now().instant.checked_add(link.limits().grace) {
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
