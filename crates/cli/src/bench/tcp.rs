//! Rows `tcp.*`: two servers with their drivers, connected over loopback TCP, on one core: from a protocol that sends to a
//! protocol that receives, with snappy, as nodes talk. Messages of a turn are sent in one burst. System calls and tasks
//! are measured, but in no floor: that is the floor of the row `frame` with the same payload.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use devp2p::{
    identity::{CurvePool, NodeKey},
    rlpx::{ProtocolPeer, Server, protocol},
};
use rand::{rand_core::UnwrapErr, rngs::SysRng};
use tokio::{runtime::Runtime, sync::mpsc, time::timeout};

use super::{
    floors::Floors,
    frame::Floor,
    measure::{Turns, time_each},
    orders::{PROTOCOL, V1},
    payload::Payload,
    serve::Serving,
};

/// Bytes of payload that a turn sends, about, and how many messages at most.
const TURN_LEN: usize = 1 << 20;
const MAX_TURN_MESSAGES: usize = 1_000;
/// How long anything may take before the row fails.
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) struct Burst {
    runtime: Runtime,
    peer: ProtocolPeer,
    serving: Serving,
    payload: Bytes,
    turn: usize,
    /// Messages in all turns so far.
    sent: usize,
    floor: Floor,
    _sending: Server,
    _curves: CurvePool,
}

impl Burst {
    pub(super) fn start(floors: &Floors, len: usize) -> Result<Self, String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| error.to_string())?;
        let curves = CurvePool::for_this_machine();
        let (serving, sending, peer) = runtime.block_on(connect(&curves))?;
        let payload = Payload::Transactions.bytes(len)?;
        let floor = Floor::new(*floors, &payload, true);
        let turn = (TURN_LEN / len).min(MAX_TURN_MESSAGES);
        Ok(Self {
            runtime,
            peer,
            serving,
            payload: payload.into(),
            turn,
            sent: 0,
            floor,
            _sending: sending,
            _curves: curves,
        })
    }

    async fn send_all(&self) -> Result<(), String> {
        for _ in 0..self.turn {
            self.peer.send(0, self.payload.clone()).await.map_err(|error| error.to_string())?;
        }
        self.serving.received(self.sent).await;
        Ok(())
    }
}

impl Turns for Burst {
    fn measured(&mut self) -> Result<f64, String> {
        self.sent += self.turn;
        let mut result = Ok(());
        let time = time_each(self.turn, || {
            let sent = self.runtime.block_on(async { timeout(PATIENCE, self.send_all()).await });
            result = sent.unwrap_or_else(|_| Err(format!("not all messages came within {PATIENCE:?}")));
        });
        result.map(|()| time)
    }

    fn floor(&mut self) -> f64 {
        self.floor.time(self.turn)
    }
}

/// A server that receives, one that is connected to it, and its way there.
async fn connect(curves: &CurvePool) -> Result<(Serving, Server, ProtocolPeer), String> {
    let serving = Serving::start()?;
    let (found, mut peers) = mpsc::channel(1);
    let send = protocol(PROTOCOL, [V1], move |peer, mut messages| {
        let found = found.clone();
        async move {
            let _ = found.send(peer).await;
            while messages.next().await.is_some() {}
        }
    });
    let key = Arc::new(NodeKey::generate(&mut UnwrapErr(SysRng)));
    let sending = Server::builder(curves.handle(key)).protocol(Arc::new(send)).start();
    let sending = sending.map_err(|error| error.to_string())?;
    sending.add_peer(serving.enode()).await.map_err(|error| error.to_string())?;
    let peer = timeout(PATIENCE, peers.recv()).await.ok().flatten();
    peer.map(|peer| (serving, sending, peer)).ok_or_else(|| "the servers did not connect".to_owned())
}
