//! A peer that connects from an address it chooses: a session with a socket, no server. It answers Pings while it is
//! waited for.

use std::{
    collections::VecDeque,
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use devp2p::{
    identity::{
        Enode, Host, NodeKey,
        curve::{InlineCurve, Lane},
    },
    rlpx::{
        CapabilityName, DisconnectReason, LocalCapability, Message, SendError, Session, SessionConfig,
        SessionOutput, SharedMessage,
    },
};
use rand::{rand_core::UnwrapErr, rngs::SysRng};
use tokio::{
    io::AsyncWriteExt,
    net::{TcpSocket, TcpStream},
    time::timeout_at,
};

use super::{ECHO, PROTOCOL, UNKNOWN, V1};
use crate::{Failure, Result, wait::now};

/// A connection to one node.
pub struct Client {
    stream: TcpStream,
    session: Session,
    curve: InlineCurve<UnwrapErr<SysRng>>,
    messages: VecDeque<Message>,
    end: Option<String>,
}

impl Client {
    /// Connects to `node` from the address `from` with a new key; done when both have said Hello.
    ///
    /// # Errors
    /// What the system says, or why the session ended.
    pub async fn connect(from: Ipv4Addr, node: &Enode) -> Result<Self> {
        Self::connect_by(socket(from)?, node).await
    }

    /// The same with a socket that is bound already.
    ///
    /// # Errors
    /// As [`Client::connect`].
    pub async fn connect_by(socket: TcpSocket, node: &Enode) -> Result<Self> {
        let stream = socket.connect(address(node)?).await?;
        stream.set_nodelay(true)?;
        let (session, curve) = dialer(node)?;
        let mut client = Self { stream, session, curve, messages: VecDeque::new(), end: None };
        while !client.session.is_running() {
            client.turn().await?;
        }
        Ok(client)
    }

    /// Sends a message and waits until it is written.
    ///
    /// # Errors
    /// Why the session ended.
    pub async fn send(&mut self, code: u64, payload: Bytes) -> Result<()> {
        self.send_but(&SharedMessage::new(code, payload), 0).await
    }

    /// Sends a message but for its last `kept` bytes on the wire, and waits until the others are written.
    ///
    /// # Errors
    /// Why the session ended.
    pub async fn send_but(&mut self, message: &SharedMessage, kept: usize) -> Result<()> {
        loop {
            match self.session.send(now(), 0, message) {
                Ok(()) => break,
                Err(SendError::Full) => self.turn().await?,
                Err(error @ (SendError::Closed | SendError::TooLarge | SendError::UnknownCode)) => {
                    return Err(Failure::new(error.to_string()));
                }
            }
        }
        self.flush(kept).await
    }

    /// Sends a message so many times, as many at once as the session takes, and waits until all are written.
    ///
    /// # Errors
    /// Why the session ended.
    pub async fn send_times(&mut self, message: &SharedMessage, times: u32) -> Result<()> {
        for _ in 0..times {
            if self.session.send(now(), 0, message) == Err(SendError::Full) {
                self.flush(0).await?;
                self.send_but(message, 0).await?;
            }
        }
        self.flush(0).await
    }

    /// Says that it goes, and goes.
    ///
    /// # Errors
    /// What the system says.
    pub async fn leave(mut self) -> Result<()> {
        self.session.disconnect(now(), DisconnectReason::Requested);
        self.flush(0).await
    }

    /// Sends a message that comes back, and says how long that took.
    ///
    /// # Errors
    /// Why the session ended.
    pub async fn ping(&mut self) -> Result<Duration> {
        let sent = now().instant;
        self.send(ECHO, Bytes::from_static(b"\x80")).await?;
        while self.next().await?.code != ECHO {}
        Ok(now().instant.saturating_duration_since(sent))
    }

    /// The next message that comes. Nothing is lost when this is dropped half-way.
    ///
    /// # Errors
    /// Why the session ended.
    pub async fn next(&mut self) -> Result<Message> {
        loop {
            match self.messages.pop_front() {
                Some(message) => return Ok(message),
                None => self.turn().await?,
            }
        }
    }

    /// Waits for one thing to happen.
    async fn turn(&mut self) -> Result<()> {
        self.drain();
        self.flush(0).await?;
        if let Some(end) = &self.end {
            return Err(Failure::new(end.clone()));
        }
        if self.session.is_running() && !self.messages.is_empty() {
            return Ok(());
        }
        let readable = self.stream.readable();
        let readable = match self.session.next_timeout() {
            Some(deadline) => timeout_at(deadline.into(), readable).await,
            None => Ok(readable.await),
        };
        match readable {
            Ok(ready) => {
                ready?;
                self.read();
            }
            Err(_) => self.session.handle_timeout(now()),
        }
        self.drain();
        Ok(())
    }

    /// Writes all but the last `kept` bytes of what waits.
    async fn flush(&mut self, kept: usize) -> Result<()> {
        loop {
            let waiting = self.session.write_buf();
            let Some(due) = waiting.len().checked_sub(kept).filter(|due| *due > 0) else { return Ok(()) };
            let len = self.stream.write(waiting.get(..due).unwrap_or_default()).await?;
            self.session.handle_written(now(), len);
        }
    }

    fn read(&mut self) {
        match self.stream.try_read(self.session.read_buf()) {
            Ok(0) => self.session.handle_eof(now()),
            Ok(len) => self.session.handle_read(now(), len),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => self.session.handle_io_error(now(), error.kind()),
        }
    }

    fn drain(&mut self) {
        while let Some(output) = self.session.poll_output() {
            match output {
                SessionOutput::Curve(job) => {
                    let result = self.curve.run(job.ops);
                    self.session.handle_curve(now(), job.ticket, result);
                }
                SessionOutput::Authenticated { .. } | SessionOutput::Hello { .. } => {
                    self.session.admit(now());
                }
                SessionOutput::Message { message, .. } => self.messages.push_back(message),
                SessionOutput::Closed(end) => self.end = Some(end.to_string()),
            }
        }
    }
}

/// What a node with a new key says first to `node`.
///
/// # Errors
/// None that can happen, told all the same.
pub fn prepare_auth(node: &Enode) -> Result<Vec<u8>> {
    let (mut session, mut curve) = dialer(node)?;
    while let Some(output) = session.poll_output() {
        let SessionOutput::Curve(job) = output else { return Err(Failure::new("an auth was not made")) };
        let result = curve.run(job.ops);
        session.handle_curve(now(), job.ticket, result);
    }
    Ok(session.write_buf().to_vec())
}

fn dialer(node: &Enode) -> Result<(Session, InlineCurve<UnwrapErr<SysRng>>)> {
    let rng = &mut UnwrapErr(SysRng);
    let key = Arc::new(NodeKey::generate(rng));
    let name = CapabilityName::new(PROTOCOL).map_err(|error| Failure::new(error.to_string()))?;
    // One code more than the node has, for who breaks the protocol.
    let capability = LocalCapability::new(name, V1.version, UNKNOWN + 1);
    let config = Arc::new(SessionConfig::new(key.public_key(), PROTOCOL, vec![capability]));
    let session = Session::initiator(now(), config, node.public_key, Lane(0), rng);
    Ok((session, InlineCurve::new(key, UnwrapErr(SysRng))))
}

/// A socket with this address.
///
/// # Errors
/// What the system says.
pub fn socket(from: Ipv4Addr) -> Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::new(IpAddr::V4(from), 0))?;
    Ok(socket)
}

fn address(node: &Enode) -> Result<SocketAddr> {
    match node.host {
        Host::Ip(ip) => Ok(SocketAddr::new(ip, node.tcp)),
        Host::Dns(_) => Err(Failure::new("the node has no address")),
    }
}
