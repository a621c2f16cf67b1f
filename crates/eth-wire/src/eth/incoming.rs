//! Which message of a peer goes where.
//! What a message may be at all was looked at by `intake`; what it means is its own file's.

use identity::Now;
use rlpx::PeerId;

use super::{Eth, PeerFault};
use crate::{Incoming, MessageError, peers::Phase};

impl Eth {
    /// A message came. Messages of peers that are not known any more, or refused, are ignored.
    pub fn handle_message(&mut self, now: Now, id: PeerId, message: Incoming) {
        let Some(phase) = self.peers.of(id).map(|peer| peer.phase) else { return };
        self.touched.insert(id);
        match (phase, message) {
            (Phase::Refused { .. }, _) => {}
            (Phase::AwaitingStatus { .. }, Incoming::Status(status)) => self.handle_status(now, id, &status),
            (Phase::AwaitingStatus { .. }, _) => self.disconnect(now, id, PeerFault::UnexpectedStatus),
            (Phase::Ready, message) => self.dispatch(now, id, message),
        }
        self.settle(now);
    }

    fn dispatch(&mut self, now: Now, id: PeerId, message: Incoming) {
        match message {
            Incoming::Status(_) => self.disconnect(now, id, PeerFault::UnexpectedStatus),
            Incoming::NewBlockHashes(blocks) => self.handle_block_hashes(now, id, &blocks),
            Incoming::NewBlock { block, total_difficulty } => {
                self.handle_new_block(now, id, *block, total_difficulty);
            }
            Incoming::Transactions(transactions) => self.handle_transactions(now, id, &transactions),
            Incoming::NewPooledTransactionHashes(announced) => self.handle_announced(now, id, &announced),
            Incoming::Request { id: request_id, request } => {
                self.handle_request(now, id, request_id, request);
            }
            Incoming::Answer { id: request_id, answer } => self.handle_answer(now, id, request_id, answer),
            Incoming::BlockRangeUpdate(range) => self.handle_range(now, id, range),
        }
    }

    /// A message came that is refused by itself: the peer is disconnected.
    pub fn handle_refused(&mut self, now: Now, id: PeerId, error: MessageError) {
        self.disconnect(now, id, error.into());
        self.settle(now);
    }
}
