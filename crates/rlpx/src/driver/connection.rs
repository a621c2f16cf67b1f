//! One outgoing connection by itself, without a server: for tools and tests. It admits whoever answers with the right
//! key, and has no protocols, no slots and no bans: those come with a `Server` (`peer_task.rs` is its connection).

use std::{collections::VecDeque, fmt, io, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use identity::{CurveHandle, PublicKey, curve::Lane};
use tokio::{net::TcpStream, time::timeout};

use super::{now, traffic::Counts, wire::Wire};
use crate::{
    Hello, Message, Rtt, SendError, SessionConfig, SessionEnd, SessionOutput, SharedCapability,
    SharedMessage,
    config::{CONNECT_TIMEOUT, MAX_INBOX},
    p2p::DisconnectReason,
};

/// An established session with one node, for tools. It has no task: Pings are answered while it is asked for something, so one
/// that is left alone is closed by its peer. Dropping it closes the socket without a word.
pub struct Connection {
    wire: Wire,
    hello: Hello,
    shared: Vec<SharedCapability>,
    /// What came in while something was sent.
    inbox: VecDeque<Received>,
    end: Option<SessionEnd>,
}

/// A message and the shared capability it belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// The capability's place in [`Connection::shared`].
    pub protocol: usize,
    /// The message, its code counted from the capability's first.
    pub message: Message,
}

/// Why there is no session.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// TCP did not connect.
    #[error("cannot connect to {address}: {error}")]
    Tcp {
        /// Where.
        address: SocketAddr,
        /// Why not.
        error: io::Error,
    },
    /// Somebody answered, and then it ended.
    #[error("{end}")]
    Session {
        /// Why.
        end: SessionEnd,
        /// What the node said of itself before.
        hello: Option<Box<Hello>>,
    },
}

impl Connection {
    pub(super) async fn open(
        curve: CurveHandle,
        config: SessionConfig,
        address: SocketAddr,
        remote: PublicKey,
    ) -> Result<Self, ConnectError> {
        let connected = timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await;
        let connected = connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        let stream = connected.map_err(|error| ConnectError::Tcp { address, error })?;
        let lane = Lane(u64::from(address.port()));
        let mut wire =
            Wire::dialed(stream, curve, Arc::new(config), (remote, lane), Counts::default().traffic());
        loop {
            match wire.output() {
                Some(SessionOutput::Authenticated { .. }) => wire.session().admit(now()),
                Some(SessionOutput::Hello { hello, shared }) => {
                    wire.session().admit(now());
                    return Ok(Self { wire, hello, shared, inbox: VecDeque::new(), end: None });
                }
                Some(SessionOutput::Closed(end)) => {
                    let hello = wire.session().hello().cloned().map(Box::new);
                    if matches!(end, SessionEnd::Local { .. }) {
                        Box::pin(wire.linger()).await;
                    }
                    return Err(ConnectError::Session { end, hello });
                }
                Some(SessionOutput::Message { .. } | SessionOutput::Curve(_)) => {}
                None => wire.turn().await,
            }
        }
    }

    /// What the node says of itself.
    pub const fn hello(&self) -> &Hello {
        &self.hello
    }

    /// What both have, in order of name.
    pub fn shared(&self) -> &[SharedCapability] {
        &self.shared
    }

    /// Our end of the TCP connection.
    ///
    /// # Errors
    /// What the system says when the socket is gone.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.wire.stream().local_addr()
    }

    /// From our last answered Ping to its Pong; None before the first (15 s).
    pub fn rtt(&mut self) -> Option<Duration> {
        self.wire.session().rtt()
    }

    /// Round trips by our Pings, smoothed; None before the first (15 s).
    pub fn round_trips(&mut self) -> Option<Rtt> {
        self.wire.session().round_trips()
    }

    /// Sends a message of the shared capability at `protocol` and waits until it is written. What comes in meanwhile,
    /// up to 64 messages, is kept for [`Connection::next`].
    ///
    /// # Errors
    /// [`SendError`], without `Full`.
    pub async fn send(&mut self, protocol: usize, code: u64, payload: Bytes) -> Result<(), SendError> {
        let message = SharedMessage::new(code, payload);
        loop {
            match self.wire.session().send(now(), protocol, &message) {
                Ok(()) => break,
                Err(SendError::Full) => self.turn().await,
                Err(error @ (SendError::Closed | SendError::TooLarge | SendError::UnknownCode)) => {
                    return Err(error);
                }
            }
        }
        let end = self.wire.session().queued();
        while self.end.is_none() && self.wire.session().written() < end {
            self.turn().await;
        }
        if self.wire.session().written() < end { Err(SendError::Closed) } else { Ok(()) }
    }

    /// Handles what the session puts out, or else waits for one thing to happen.
    async fn turn(&mut self) {
        // What is still said after the end is little, and the end must be heard past a full inbox.
        let is_over = self.wire.is_broken() || self.wire.session().is_closed();
        let takes = self.inbox.len() < MAX_INBOX || is_over;
        let output = if takes { self.wire.output() } else { None };
        match output {
            Some(SessionOutput::Message { protocol, message }) => {
                self.inbox.push_back(Received { protocol, message });
            }
            Some(SessionOutput::Closed(end)) => self.end = Some(end),
            Some(
                SessionOutput::Authenticated { .. } | SessionOutput::Hello { .. } | SessionOutput::Curve(_),
            ) => {}
            None => self.wire.turn().await,
        }
    }

    /// The next message. Nothing is lost when this is dropped half-way.
    ///
    /// # Errors
    /// Why the session ended, the same at every further call.
    pub async fn next(&mut self) -> Result<Received, SessionEnd> {
        loop {
            match (self.inbox.pop_front(), self.end) {
                (Some(received), _) => return Ok(received),
                (None, Some(end)) => return Err(end),
                (None, None) => self.turn().await,
            }
        }
    }

    /// Ends the session and says why. What has come in meanwhile is dropped.
    pub async fn disconnect(mut self, reason: DisconnectReason) -> SessionEnd {
        self.wire.session().disconnect(now(), reason);
        let end = loop {
            match self.next().await {
                Ok(_) => {}
                Err(end) => break end,
            }
        };
        if matches!(end, SessionEnd::Local { .. }) {
            Box::pin(self.wire.linger()).await;
        }
        end
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("hello", &self.hello)
            .field("end", &self.end)
            .finish_non_exhaustive()
    }
}
