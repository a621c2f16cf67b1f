//! Two nodes, each with one protocol, that talk over a pair of sessions without sockets: what a protocol is tested with.
//! Bytes move and time passes in virtual time (`testing/pair.rs`); protocols are served as a connection's task serves them.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use identity::NodeKey;
use tokio::sync::mpsc;

use super::{
    attached::Attached,
    builder::capabilities,
    config_error::ConfigError,
    orders::Report,
    pool::{Pool, Purse},
    protocol::Protocol,
    sealer::Sealer,
    sleep_until_some,
    traffic::{Counts, Traffic},
};
use crate::{
    PeerInfo, SessionConfig, SessionEnd, Verdict,
    limits::Limits,
    p2p::DisconnectReason,
    peer::PeerId,
    server::ServerCounts,
    server_config::ServerTimes,
    status::Live,
    testing::{End, SessionPair},
};

/// Two protocols that are connected with each other. The one that dialed is `0`, the other `1`.
///
/// ```
/// use bytes::Bytes;
/// use rlpx::{ProtocolVersion, SessionEnd, protocol, testing::ProtocolPair};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// const V1: ProtocolVersion = ProtocolVersion { version: 1, message_count: 1 };
/// let asks = protocol("echo", [V1], |peer, mut messages| async move {
///     peer.send(0, Bytes::from_static(b"hello")).await.expect("it is there");
///     assert_eq!(&messages.next().await.expect("an answer").payload[..], b"hello");
/// });
/// let answers = protocol("echo", [V1], |peer, mut messages| async move {
///     while let Some(message) = messages.next().await {
///         peer.send(message.code, message.payload).await.expect("it is there");
///     }
/// });
/// let mut pair = ProtocolPair::connect(asks, answers)?;
/// // The first is done and ends its session: both ends know why.
/// let [ours, theirs] = pair.run().await;
/// assert!(matches!(ours, SessionEnd::Local { .. }) && matches!(theirs, SessionEnd::Remote(_)));
/// # Ok(())
/// # }
/// ```
pub struct ProtocolPair {
    sessions: SessionPair,
    sides: [Side; 2],
    sealer: Arc<Sealer>,
}

/// A node's protocol, and what it knows of the other.
struct Side {
    info: Arc<PeerInfo>,
    attached: Attached,
    reports: mpsc::Receiver<(PeerId, Report)>,
}

impl ProtocolPair {
    /// Connects two nodes with one protocol each; each is told of the other as its peer.
    ///
    /// # Errors
    /// As for a server that is given such a protocol.
    ///
    /// # Panics
    /// When they have no version in common, or one of them panics.
    pub fn connect(dialer: impl Protocol, listener: impl Protocol) -> Result<Self, ConfigError> {
        Self::connect_with(dialer, listener, &Limits::default())
    }

    /// The same under other limits than a server has by default.
    ///
    /// # Errors
    /// As for a server that is given such a protocol and these limits.
    ///
    /// # Panics
    /// As [`Self::connect`].
    pub fn connect_with(
        dialer: impl Protocol,
        listener: impl Protocol,
        limits: &Limits,
    ) -> Result<Self, ConfigError> {
        limits.check()?;
        let protocols: [[Arc<dyn Protocol>; 1]; 2] = [[Arc::new(dialer)], [Arc::new(listener)]];
        let [one, other] = protocols.each_ref().map(|protocols| capabilities(protocols));
        let keys = [1, 2].map(|byte| NodeKey::from_bytes(&[byte; 32]).expect("small numbers are keys"));
        let config = |key: &NodeKey, offered| {
            let config = SessionConfig::new(key.public_key(), "test/1.0", offered);
            SessionConfig { limits: limits.sessions, ..config }
        };
        let configs = [config(&keys[0], one?), config(&keys[1], other?)];
        let traffic = configs.each_ref().map(|config| Arc::new(Traffic::of(config)));
        let sessions = SessionPair::connect_with(keys, configs);
        let [one, other] = traffic;
        let sides = [
            Side::new(&sessions.dialer, &protocols[0], one, limits, false),
            Side::new(&sessions.listener, &protocols[1], other, limits, true),
        ];
        Ok(Self { sessions, sides, sealer: Sealer::alone() })
    }

    /// What the protocol of a side was told of the other one.
    pub const fn peer(&self, side: usize) -> &Arc<PeerInfo> {
        &self.sides[side].info
    }

    /// What the protocol of a side has said of its peer since the last call.
    pub fn verdicts(&mut self, side: usize) -> Vec<Verdict> {
        let reports = &mut self.sides[side].reports;
        let mut verdicts = Vec::new();
        while let Ok((_, report)) = reports.try_recv() {
            if let Report::Verdict(verdict) = report {
                verdicts.push(verdict);
            }
        }
        verdicts
    }

    /// Carries messages both ways until a protocol ends its session: how it has ended on each side. To stop before, use it in
    /// `tokio::select!`: nothing is lost.
    pub async fn run(&mut self) -> [SessionEnd; 2] {
        loop {
            let mut moved = false;
            for side in 0..2 {
                moved |= self.serve(side).await;
            }
            self.sessions.pump();
            if let Some(ends) = self.ends() {
                return ends;
            }
            if !moved {
                let [one, other] = &mut self.sides;
                let (rooms, moment) = (
                    [&self.sessions.dialer, &self.sessions.listener].map(|end| end.session.has_room()),
                    self.sessions.now(),
                );
                let [first, second] = [&mut *one, &mut *other].map(|side| side.attached.stall_end(|| None));
                let (side, result) = tokio::select! {
                    result = one.attached.turn(rooms[0]) => (0, result),
                    result = other.attached.turn(rooms[1]) => (1, result),
                    () = sleep_until_some(first) => (0, Err(one.attached.give_up_stalled())),
                    () = sleep_until_some(second) => (1, Err(other.attached.give_up_stalled())),
                };
                let stalled = self.sides[side].attached.is_stalled();
                let session = &mut self.end_mut(side).session;
                match result {
                    Ok(()) => session.pause_reading(moment, stalled),
                    Err(ending) => session.end_for(moment, ending.reason(), ending.error()),
                }
            }
        }
    }

    /// Ends the session from one side, as an owner does; [`Self::run`] says so then.
    pub fn disconnect(&mut self, side: usize, reason: DisconnectReason) {
        let now = self.sessions.now();
        self.end_mut(side).session.disconnect(now, reason);
    }

    /// Lets time pass for the sessions: their pings, and the time in which a message has to be taken. What a protocol itself
    /// waits for is tokio's.
    pub fn pass(&mut self, time: Duration) {
        self.sessions.pass(time);
    }

    fn end_mut(&mut self, side: usize) -> &mut End {
        if side == 0 { &mut self.sessions.dialer } else { &mut self.sessions.listener }
    }

    /// Hands a side's messages in and out; whether there were any.
    async fn serve(&mut self, side: usize) -> bool {
        let now = self.sessions.now();
        let Self { sessions, sides, sealer } = self;
        let end = if side == 0 { &mut sessions.dialer } else { &mut sessions.listener };
        let attached = &mut sides[side].attached;
        let (mut moved, queued) = (false, end.session.queued());
        let mut result = attached.send_queued(&mut end.session, &mut None, sealer).map(drop);
        moved |= end.session.queued() > queued;
        while result.is_ok() && !attached.is_stalled() && !end.messages.is_empty() {
            let (protocol, message) = end.messages.remove(0);
            moved = true;
            result = attached.handle_message(protocol, message).await.map(drop);
        }
        end.session.pause_reading(now, attached.is_stalled());
        let result = result.and_then(|()| attached.credit(end.session.written()));
        if let Err(ending) = result {
            end.session.end_for(now, ending.reason(), ending.error());
            moved = true;
        }
        moved
    }

    /// How the session has ended on both sides; the protocols are told then.
    fn ends(&mut self) -> Option<[SessionEnd; 2]> {
        let ends = [self.sessions.dialer.end?, self.sessions.listener.end?];
        for (side, end) in self.sides.iter_mut().zip(&ends) {
            side.attached.close(end);
        }
        Some(ends)
    }
}

impl Side {
    fn new(
        end: &End,
        protocols: &[Arc<dyn Protocol>],
        traffic: Arc<Traffic>,
        limits: &Limits,
        inbound: bool,
    ) -> Self {
        let (hello, shared) = end.hello.clone().expect("a version in common");
        let public_key = end.remote.expect("Hello comes after it");
        let address = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let (peer_id, live) = (PeerId(1), Arc::<Live>::default());
        let info = Arc::new(PeerInfo {
            peer_id,
            public_key,
            node_id: public_key.node_id(),
            client_name: hello.client_name,
            capabilities: hello.capabilities,
            shared,
            remote_addr: address(30_303),
            local_addr: address(30_304),
            inbound,
            static_peer: false,
            trusted: false,
            live,
        });
        let ServerCounts { refusals, left, turned_away } = ServerCounts::default();
        let counts = Counts { rejects: Default::default(), refusals, left, turned_away, traffic };
        let (sender, reports) = mpsc::channel(limits.queues.reports);
        let purse = Purse::new(&Pool::new(limits), peer_id.0);
        let stall = ServerTimes::default().protocol_stall;
        let attached = Attached::new(protocols, &info, stall, (counts, &purse), sender);
        Self { info, attached: attached.expect("the protocol does not panic"), reports }
    }
}
