//! What a server tells its owner, as one bounded stream. Whoever reads too slowly loses the oldest and is told how
//! many. An event asks for nothing and answers no command: commands return their answers (`mod.rs`). Refusals of
//! strangers that proved no key are counted (`traffic.rs`), not told.

use std::{net::SocketAddr, sync::Arc};

use identity::PublicKey;
use tokio::sync::broadcast;

use crate::{Refusal, SessionEnd, peer::PeerInfo};

/// Something that happened to the peers of a server.
#[derive(Clone, Debug)]
pub enum Event {
    /// A session was established.
    PeerConnected(Arc<PeerInfo>),
    /// A session has ended.
    PeerDisconnected {
        /// Whose.
        info: Arc<PeerInfo>,
        /// Why: the reason that we gave, or the peer; what the peer did, or which protocol of ours wanted the end.
        end: SessionEnd,
        /// The server's rule that ended it. None: the owner ended it, the peer, or what `end` names.
        rule: Option<Refusal>,
    },
    /// A dial has not led to a session: nobody was reached, it ended too soon, or its name led nowhere.
    DialFailed {
        /// Who was dialed.
        public_key: PublicKey,
        /// Where: the first address that was tried; None when the name led to none.
        address: Option<SocketAddr>,
        /// Why not: as above.
        end: SessionEnd,
        /// The server's rule that ended it; None as above.
        rule: Option<Refusal>,
    },
    /// Somebody came in, said who it is, and did not stay.
    Refused {
        /// Who it said to be. Anybody can say so: it is proved by the first frame, so not where `end` is of the handshake.
        public_key: PublicKey,
        /// From where.
        address: SocketAddr,
        /// Why not: as above.
        end: SessionEnd,
        /// The server's rule that ended it; None as above.
        rule: Option<Refusal>,
    },
    /// Somebody who came in has proved our own key. Another process uses it: others see one node at two addresses, and find
    /// neither for sure.
    KeyInUse {
        /// From where.
        address: SocketAddr,
    },
    /// Events were lost because they were not read in time.
    Lagged(u64),
}

/// The events of a server from the moment of asking on.
#[derive(Debug)]
pub struct EventStream(Option<broadcast::Receiver<Event>>);

impl EventStream {
    pub(super) const fn new(receiver: Option<broadcast::Receiver<Event>>) -> Self {
        Self(receiver)
    }

    /// The next event; None when the server has ended. Nothing is lost when this is dropped half-way.
    pub async fn next(&mut self) -> Option<Event> {
        match self.0.as_mut()?.recv().await {
            Ok(event) => Some(event),
            Err(broadcast::error::RecvError::Lagged(count)) => Some(Event::Lagged(count)),
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }
}
