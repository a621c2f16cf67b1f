//! What comes to a server's task from outside: the owner's commands, reports, connections, candidates.
//! Only gathered and waited for here: what is done about it is decided in `server_task.rs`.

use std::{
    future::{pending, poll_fn},
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use futures_core::Stream;
use identity::{Enode, NodeId};
use tokio::{
    net::TcpStream,
    sync::{mpsc, oneshot},
    task::JoinSet,
};

use super::orders::Report;
use crate::{
    Ban, BanTarget, CommandError, Verdict,
    dialer::Candidate,
    p2p::DisconnectReason,
    peer::{PeerId, PeerInfo},
};

/// What the owner wants of a running server.
pub(super) enum Command {
    AddStatic(Enode, oneshot::Sender<Result<(), CommandError>>),
    RemoveStatic(NodeId, oneshot::Sender<()>),
    AddTrusted(NodeId, oneshot::Sender<Result<(), CommandError>>),
    RemoveTrusted(NodeId, oneshot::Sender<()>),
    Disconnect(NodeId, DisconnectReason, oneshot::Sender<()>),
    Ban(BanTarget, Duration, oneshot::Sender<Result<(), CommandError>>),
    Unban(BanTarget, oneshot::Sender<()>),
    Bans(oneshot::Sender<Vec<Ban>>),
    Report(NodeId, Verdict, oneshot::Sender<()>),
    Peers(oneshot::Sender<Vec<Arc<PeerInfo>>>),
    Shutdown(oneshot::Sender<()>),
}

/// What comes to the server from outside.
pub(super) struct Intake {
    pub(super) commands: mpsc::Receiver<Command>,
    pub(super) reports: mpsc::Receiver<(PeerId, Report)>,
    pub(super) accepted: Option<mpsc::Receiver<(TcpStream, SocketAddr)>>,
    pub(super) candidates: Option<Pin<Box<dyn Stream<Item = Candidate> + Send>>>,
    /// Holds the tasks beside the server's own; ends them when dropped.
    pub(super) tasks: JoinSet<()>,
}

/// The next connection; None when the listener is gone.
pub(super) async fn next_accepted(
    accepted: &mut Option<mpsc::Receiver<(TcpStream, SocketAddr)>>,
) -> Option<(TcpStream, SocketAddr)> {
    match accepted {
        Some(accepted) => accepted.recv().await,
        None => pending().await,
    }
}

/// The next candidate; None when there will be no more.
pub(super) async fn next_candidate(
    candidates: &mut Option<Pin<Box<dyn Stream<Item = Candidate> + Send>>>,
) -> Option<Candidate> {
    match candidates {
        Some(candidates) => poll_fn(|cx| candidates.as_mut().poll_next(cx)).await,
        None => pending().await,
    }
}
