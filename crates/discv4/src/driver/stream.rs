//! Candidates as a stream. It asks the task for the next round only when it is polled and the last one is used up,
//! so nobody is searched for whom nobody wants.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll, ready},
};

use futures_core::Stream;
use tokio::sync::mpsc;

use super::{Command, Shared};
use crate::{
    NodeEntry,
    config::{BUCKET_COUNT, BUCKET_SIZE},
};

/// Streams at once; one more is empty.
const MAX_STREAMS: usize = 64;

/// Nodes of a round: all of the table, the first time.
const MAX_ROUND: usize = BUCKET_COUNT * BUCKET_SIZE;

type Round = mpsc::Receiver<NodeEntry>;

/// Nodes to connect to; see [`Discv4::candidates`](crate::Discv4::candidates).
pub struct CandidateStream {
    shared: Arc<Shared>,
    commands: mpsc::WeakSender<Command>,
    first: bool,
    state: State,
}

enum State {
    /// The next round is being asked for; None when the node has ended.
    Asking(Pin<Box<dyn Future<Output = Option<Round>> + Send>>),
    Open(Round),
    Idle,
    Ended,
}

impl CandidateStream {
    pub(super) fn new(shared: Arc<Shared>, commands: mpsc::WeakSender<Command>) -> Self {
        let is_full = shared.stream_count.fetch_add(1, Ordering::Relaxed) >= MAX_STREAMS;
        let state = if is_full { State::Ended } else { State::Idle };
        Self { shared, commands, first: true, state }
    }

    fn ask(&mut self) -> State {
        let first = std::mem::replace(&mut self.first, false);
        let commands = self.commands.clone();
        State::Asking(Box::pin(async move {
            let (sender, round) = mpsc::channel(MAX_ROUND);
            let command =
                if first { Command::TableCandidates(sender) } else { Command::MoreCandidates(sender) };
            // Upgraded for as long as the command takes, so that the stream does not keep the node alive.
            commands.upgrade()?.send(command).await.ok()?;
            Some(round)
        }))
    }
}

impl Stream for CandidateStream {
    type Item = NodeEntry;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<NodeEntry>> {
        loop {
            self.state = match &mut self.state {
                State::Idle => self.ask(),
                State::Asking(round) => ready!(round.as_mut().poll(cx)).map_or(State::Ended, State::Open),
                State::Open(round) => match ready!(round.poll_recv(cx)) {
                    Some(node) => return Poll::Ready(Some(node)),
                    None => State::Idle,
                },
                State::Ended => return Poll::Ready(None),
            };
        }
    }
}

impl Drop for CandidateStream {
    fn drop(&mut self) {
        self.shared.stream_count.fetch_sub(1, Ordering::Relaxed);
    }
}

impl fmt::Debug for CandidateStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CandidateStream({})", self.shared.local_addr)
    }
}
