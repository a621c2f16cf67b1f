//! The eth capability of Ethereum nodes, eth/68 and eth/69: handshake, requests, and gossip of transactions and blocks
//! over a peer set. Transactions, headers, bodies and receipts are carried as RLP bytes with hash, kind and size: there
//! are no consensus types here, so any chain can use it.
//!
//! - What goes over the wire: [`EthMessage`] is encoded, [`intake`] reads what arrives within the limits of [`config`].
//! - Who is on our chain: [`ChainStatus`] with [`ForkSchedule`], and [`ForkFilter`] for node records.
//! - Behind it stand a [`Chain`] and a [`Pool`]; [`MemoryChain`] and [`MemoryPool`] hold private networks and tests.
//!
//! ```
//! use eth_wire::{
//!     BlockBuilder, Chain, ChainStatus, EthMessage, EthVersion, ForkSchedule, Incoming, MemoryChain, Offer, intake,
//! };
//!
//! // A private chain of two blocks.
//! let genesis = BlockBuilder::genesis(1_700_000_000).build();
//! let chain = MemoryChain::new(&genesis);
//! let block = BlockBuilder::child_of(&genesis.header, 1_700_000_012).build();
//! assert_eq!(chain.offer(block.raw, None), Offer::New { is_head: true });
//!
//! // What it tells its peers, and what a peer on the same chain makes of it.
//! let forks = ForkSchedule::new(chain.genesis(), 1_700_000_000, &[], &[]);
//! let ours = ChainStatus::new(1337, chain.genesis(), forks, chain.head());
//! let message = EthMessage::Status(ours.status(EthVersion::Eth69));
//! let Incoming::Status(theirs) = intake(EthVersion::Eth69, message.code(), message.encode())? else {
//!     unreachable!("a Status was sent");
//! };
//! ours.check(EthVersion::Eth69, &theirs)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod backend;
mod block;
mod block_builder;
mod block_fetch;
mod chain;
mod conduct;
pub mod config;
mod counters;
#[cfg(feature = "tokio")]
mod driver;
mod error;
pub mod eth;
mod fault;
pub mod fork_id;
mod gossip;
mod handshake;
mod hash;
mod intake;
mod known;
pub mod machine_config;
mod memory_chain;
mod memory_pool;
pub mod message;
mod orphans;
mod outbound;
mod peers;
mod pool;
mod quota;
mod reject;
mod requests;
mod sender;
mod serve;
#[cfg(test)]
mod testing;
pub mod transaction;
mod transfer;
mod version;

pub use backend::{BackendAnswer, BackendCall, BackendTicket};
pub use block::{Block, Body, Header};
pub use block_builder::{BlockBuilder, DEFAULT_DIFFICULTY, DEFAULT_GAS_LIMIT};
pub use chain::{BadBlock, Chain, Head, Offer};
pub use counters::{Delivery, EthCounters};
#[cfg(feature = "tokio")]
pub use driver::{EthConfig, EthEvents, EthHandle, EthProtocol, MAX_EVENTS, start};
pub use error::{DecodeError, MessageError, RlpFault};
pub use eth::{
    CommandId, Eth, EthEvent, EthPeerInfo, EthTimes, Holdings, Output, PeerFault, Reply, RequestError,
};
pub use fork_id::{ForkFilter, ForkId, ForkIdError, ForkSchedule};
pub use handshake::{ChainStatus, HandshakeError};
pub use hash::{Hash, keccak};
pub use intake::{Answer, Incoming, Request, admit, intake};
pub use memory_chain::{ChainLimits, MemoryChain};
pub use memory_pool::{MemoryPool, PoolLimits};
pub use message::{
    Announcement, BlockHashNumber, BlockRange, EthMessage, HeadersQuery, MessageKind, Origin, Position,
    Status, TotalDifficulty,
};
pub use outbound::Credit;
pub use pool::{Insert, Pool};
pub use quota::counted_network;
pub use reject::Reject;
pub use requests::{RequestKind, UnmatchedAnswer};
pub use sender::{Address, InvalidTransaction, Signed};
pub use transaction::Transaction;
pub use transfer::{TRANSFER_GAS, TransferRequest};
pub use version::EthVersion;
