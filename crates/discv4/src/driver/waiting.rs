//! Who waits for what the machine was told to do, and the way events go to them.
//! Whoever has gone meanwhile is skipped.

use std::{collections::BTreeMap, net::SocketAddr};

use identity::Enr;
use tokio::sync::{mpsc, oneshot, watch};

use crate::{Event, LookupId, NodeEntry, PongInfo, RequestError, RequestId};

/// Who waits for what the machine was told to do.
#[derive(Default)]
pub(super) struct Waiting {
    pub(super) pings: BTreeMap<RequestId, oneshot::Sender<Result<PongInfo, RequestError>>>,
    pub(super) records: BTreeMap<RequestId, oneshot::Sender<Result<Enr, RequestError>>>,
    pub(super) lookups: BTreeMap<LookupId, oneshot::Sender<Vec<NodeEntry>>>,
    pub(super) streams: Vec<mpsc::Sender<NodeEntry>>,
    /// Where another process with our key was seen last.
    pub(super) key_in_use: watch::Sender<Option<SocketAddr>>,
}

impl Waiting {
    /// Passes an event to whoever waits for it.
    pub(super) fn tell(&mut self, event: Event) {
        match event {
            Event::PongReceived { request, pong } => {
                self.pings.remove(&request).into_iter().for_each(|answer| reply(answer, Ok(pong)));
            }
            Event::EnrReceived { request, enr } => {
                self.records.remove(&request).into_iter().for_each(|answer| reply(answer, Ok(enr.clone())));
            }
            Event::RequestFailed { request, error } => {
                self.pings.remove(&request).into_iter().for_each(|answer| reply(answer, Err(error)));
                self.records.remove(&request).into_iter().for_each(|answer| reply(answer, Err(error)));
            }
            Event::LookupFinished { lookup, nodes } => {
                self.lookups.remove(&lookup).into_iter().for_each(|answer| reply(answer, nodes.clone()));
            }
            Event::Candidate(node) => self.streams.retain(|stream| stream.try_send(node.clone()).is_ok()),
            Event::KeyInUse { from } => drop(self.key_in_use.send_replace(Some(from))),
            Event::CandidatesFinished => self.streams.clear(),
            Event::NodeSeen(node) => {
                tracing::trace!(id = %node.node_id, endpoint = %node.endpoint, "node seen");
            }
            Event::NodeLive(node) => {
                tracing::debug!(id = %node.node_id, endpoint = %node.endpoint, "node live");
            }
            Event::NodeRemoved(id) => tracing::debug!(%id, "node removed"),
        }
    }
}

pub(super) fn reply<T>(answer: oneshot::Sender<T>, value: T) {
    // Who asked may have gone.
    let _ = answer.send(value);
}
