//! Peers' requests: one at a time each, no faster than their quota, dropped when they have waited too long.
//! What an answer holds is `serve`'s.

use identity::Now;
use rlpx::PeerId;

use super::{Eth, PeerFault, calls::Errand};
use crate::{
    EthMessage, Reject, Request,
    backend::BackendCall,
    machine_config::SERVE_PATIENCE,
    requests::RequestKind,
    serve::{self, Queued},
};

impl Eth {
    pub(super) fn handle_request(&mut self, now: Now, id: PeerId, request_id: u64, request: Request) {
        let Some(peer) = self.peers.of_mut(id) else { return };
        let deadline = now.instant.checked_add(SERVE_PATIENCE).unwrap_or(now.instant);
        if !peer.serving.push(Queued { id: request_id, request, deadline }) {
            self.disconnect(now, id, PeerFault::RequestOverflow);
        }
    }

    /// Begins to serve the peer's next request, when the last answer has gone and its quota has room.
    pub(super) fn serve_next(&mut self, now: Now, id: PeerId) {
        let Some(peer) = self.peers.of_mut(id) else { return };
        let dropped = peer.serving.drop_expired(now.instant);
        let spent = self.quotas.of(id).is_some_and(|quota| quota.answers.empty_until(now).is_some());
        let waits = spent || peer.outbound.is_backed_up() || !self.calls.takes_requests();
        let next = if waits { None } else { peer.serving.begin() };
        let version = peer.version;
        self.reject(Reject::Unserved, dropped);
        if let Some(Queued { id: request_id, request, deadline }) = next {
            let kind = RequestKind::of(&request);
            let errand = Errand::Serve { peer: id, request_id, kind, deadline };
            self.call(now, BackendCall::Serve(request, version), errand);
        }
    }

    /// The backend has what answers a request; None when it took too long.
    pub(super) fn handle_items(
        &mut self,
        now: Now,
        id: PeerId,
        kind: RequestKind,
        request_id: u64,
        items: Option<Vec<bytes::Bytes>>,
    ) {
        let Some(peer) = self.peers.of_mut(id) else { return };
        if peer.outbound.is_held() && items.is_some() {
            // Kept as the request that it is, not as the megabytes of its answer.
            peer.serving.give_up();
            return;
        }
        peer.serving.end();
        self.touched.insert(id);
        let Some(items) = items else { return self.reject(Reject::Unserved, 1) };
        let len: usize = items.iter().map(bytes::Bytes::len).sum();
        if let Some(quota) = self.quotas.of_mut(id) {
            quota.answers.take(now, len as u64);
        }
        let answer: EthMessage = serve::answer(kind, request_id, items);
        if !self.push_message(id, &answer) {
            self.reject(Reject::Unserved, 1);
        }
    }
}
