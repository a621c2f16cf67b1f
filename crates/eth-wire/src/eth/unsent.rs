//! Messages that the connection could not take, because the memory for all peers is spent: nobody is disconnected for it.
//! What waits is kept as hashes: of gossip what to announce, of an answer the request, which is served anew when there is
//! room, or dropped at its deadline. Whose memory it is, and how much there is, is rlpx's (`budget.rs`).

use identity::Now;
use rlpx::{PeerId, SharedMessage};

use super::Eth;
use crate::{
    BlockHashNumber, EthMessage, Incoming, Reject, Transaction, gossip::announce::shared, intake,
    message::MessageKind,
};

impl Eth {
    /// A message that was put out for a peer found no room, as memory is short. Nothing more is put out for it until
    /// [`Eth::handle_room`].
    pub fn handle_unsent(&mut self, now: Now, id: PeerId, message: &SharedMessage) {
        let Some(peer) = self.peers.of_mut(id) else { return };
        peer.outbound.handle_unsent(message.payload().len());
        self.touched.insert(id);
        match MessageKind::from_code(peer.version, message.code()) {
            Some(MessageKind::Transactions | MessageKind::NewPooledTransactionHashes) => {
                self.tell_later(id, message);
            }
            Some(MessageKind::NewBlock) => self.announce_block_later(id, message),
            Some(
                MessageKind::BlockHeaders
                | MessageKind::BlockBodies
                | MessageKind::PooledTransactions
                | MessageKind::Receipts,
            ) => {
                if !peer.serving.put_back() {
                    self.reject(Reject::Unserved, 1);
                }
            }
            // Hashes already, and few. A request that has no room here ends at its deadline; a Status is the first message
            // and alone.
            Some(
                MessageKind::Status
                | MessageKind::NewBlockHashes
                | MessageKind::GetBlockHeaders
                | MessageKind::GetBlockBodies
                | MessageKind::GetPooledTransactions
                | MessageKind::GetReceipts
                | MessageKind::BlockRangeUpdate,
            )
            | None => {
                if !peer.outbound.push_back(message.clone()) {
                    self.reject(Reject::QueueFull, 1);
                }
            }
        }
        self.reject(Reject::MemoryShort, 1);
        self.settle(now);
    }

    /// There is room again for what the connection to a peer did not take.
    pub fn handle_room(&mut self, now: Now, id: PeerId) {
        let Some(peer) = self.peers.of_mut(id) else { return };
        peer.outbound.handle_room();
        self.touched.insert(id);
        self.settle(now);
    }

    /// What the peer was to be told of transactions, in full or not, will be announced to it.
    fn tell_later(&mut self, id: PeerId, message: &SharedMessage) {
        let Some(peer) = self.peers.of_mut(id) else { return };
        // It is our own message, so it can be read.
        let items = match intake(peer.version, message.code(), message.payload().clone()) {
            Ok(Incoming::Transactions(all)) => all.iter().map(Transaction::announcement).collect(),
            Ok(Incoming::NewPooledTransactionHashes(items)) => items,
            Ok(_) | Err(_) => Vec::new(),
        };
        for item in items {
            peer.telling.again.push(item);
        }
    }

    fn announce_block_later(&mut self, id: PeerId, message: &SharedMessage) {
        let Some(peer) = self.peers.of_mut(id) else { return };
        if let Ok(Incoming::NewBlock { block, .. }) =
            intake(peer.version, message.code(), message.payload().clone())
        {
            let hashes = vec![BlockHashNumber { hash: block.header.hash, number: block.header.number }];
            if !peer.outbound.push(shared(&EthMessage::NewBlockHashes(hashes))) {
                self.reject(Reject::QueueFull, 1);
            }
        }
    }
}
