//! What the machine asks of the chain and the pool behind it: calls as effects, run in order and off the machine's task,
//! so that a slow client never holds up messages.

use bytes::Bytes;

use crate::{
    Announcement, Chain, EthVersion, Hash, Head, Insert, Offer, Pool, Request, TotalDifficulty,
    message::HeadersQuery, serve,
};

/// Names a call among those its machine has put out; answered exactly once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BackendTicket(pub u64);

/// Something for the chain or the pool to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BackendCall {
    /// Take these transactions in: [`BackendAnswer::Inserted`].
    Insert(Vec<Bytes>),
    /// Which of these transactions does the pool not have: [`BackendAnswer::Announcements`].
    Lacking(Vec<Announcement>),
    /// Everything that is announced to a new peer: [`BackendAnswer::Announcements`].
    Pending,
    /// Kind and size of these transactions, as far as they may be announced: [`BackendAnswer::Announcements`].
    Describe(Vec<Hash>),
    /// What answers a peer's request: [`BackendAnswer::Items`].
    Serve(Request, EthVersion),
    /// Take this block in: [`BackendAnswer::Offered`].
    Offer {
        /// The block's RLP.
        block: Bytes,
        /// The total difficulty that its sender gives it.
        claimed: Option<TotalDifficulty>,
    },
    /// Which of these blocks the chain has not: [`BackendAnswer::Unknown`].
    UnknownBlocks(Vec<Hash>),
}

/// What came of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BackendAnswer {
    /// What the pool said of each transaction, in order.
    Inserted(Vec<Insert>),
    /// Transactions by hash, kind and size.
    Announcements(Vec<Announcement>),
    /// The items of an answer, in order.
    Items(Vec<Bytes>),
    /// What the chain said of the block, and where it ends now.
    Offered(Offer, Head),
    /// For each block whether the chain lacks it, in order.
    Unknown(Vec<bool>),
    /// The call came to nothing: chain or pool have failed.
    Failed,
}

impl BackendCall {
    /// Does it. Takes as long as chain and pool take.
    pub fn run(self, chain: &dyn Chain, pool: &dyn Pool) -> BackendAnswer {
        match self {
            Self::Insert(envelopes) => {
                BackendAnswer::Inserted(envelopes.into_iter().map(|envelope| pool.insert(envelope)).collect())
            }
            Self::Lacking(mut announced) => {
                announced.retain(|item| !pool.contains(&item.hash));
                BackendAnswer::Announcements(announced)
            }
            Self::Pending => BackendAnswer::Announcements(pool.pending()),
            Self::Describe(hashes) => {
                BackendAnswer::Announcements(hashes.iter().filter_map(|hash| pool.describe(hash)).collect())
            }
            Self::Serve(request, version) => {
                BackendAnswer::Items(serve::items(&request, version, chain, pool))
            }
            Self::Offer { block, claimed } => {
                let offer = chain.offer(block, claimed);
                BackendAnswer::Offered(offer, chain.head())
            }
            Self::UnknownBlocks(hashes) => {
                let lacks = |hash: &Hash| chain.headers(&HeadersQuery::of_hash(*hash), 1).is_empty();
                BackendAnswer::Unknown(hashes.iter().map(lacks).collect())
            }
        }
    }
}
