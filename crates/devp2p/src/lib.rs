//! An Ethereum-style networking node: discovery ([`discv4`]), encrypted transport ([`rlpx`]) and the eth protocol
//! ([`eth_wire`]) wired into one [`Node`]. Discovery feeds the dialer through a filter on the fork id in node records;
//! what happens comes as one bounded stream; what the owner wants is a method.
//!
//! The client behind the node is two traits: [`Chain`](eth_wire::Chain) and [`Pool`](eth_wire::Pool). Here the
//! in-memory ones that ship with [`eth_wire`]; two nodes that find each other and gossip a transaction:
//!
//! ```
//! use std::{error::Error, net::Ipv4Addr, sync::Arc};
//!
//! use devp2p::{
//!     Node, NodeEvent, StartError,
//!     eth_wire::{
//!         Address, BlockBuilder, EthConfig, EthEvent, ForkSchedule, MemoryChain, MemoryPool, Pool, TransferRequest,
//!     },
//!     identity::{Enode, NodeKey},
//! };
//!
//! /// A node on a free port of loopback, on a private chain with id 1337.
//! async fn start(secret: u8, pool: Arc<MemoryPool>, bootnode: Option<Enode>) -> Result<Node, StartError> {
//!     let genesis = BlockBuilder::genesis(1_700_000_000).build();
//!     let forks = ForkSchedule::new(genesis.header.hash, genesis.header.time, &[], &[]);
//!     Node::builder(NodeKey::from_bytes(&[secret; 32]).expect("a small number is a key"))
//!         .listen(Ipv4Addr::LOCALHOST.into(), 0)
//!         .bootnodes(bootnode)
//!         .eth(EthConfig::new(1337, forks), Arc::new(MemoryChain::new(&genesis)), pool)
//!         .start()
//!         .await
//! }
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn Error>> {
//! let (pool, other_pool) = (Arc::new(MemoryPool::new(1337)), Arc::new(MemoryPool::new(1337)));
//! let node = start(1, Arc::clone(&pool), None).await?;
//! let mut events = node.events();
//! let other = start(2, Arc::clone(&other_pool), Some(node.enode())).await?;
//!
//! let sender = NodeKey::from_bytes(&[3; 32])?;
//! let transfer = TransferRequest::new(1337, 0, Address([4; 20]), 1).sign(&sender);
//! let mut received = false;
//! while !received {
//!     match events.next().await.ok_or("the node has ended")? {
//!         NodeEvent::Eth(EthEvent::PeerReady(_)) => {
//!             other.eth().ok_or("no eth")?.submit_transaction(transfer.envelope().clone()).await?;
//!         }
//!         NodeEvent::Eth(EthEvent::TransactionsReceived { new, .. }) => received = new.contains(&transfer.hash()),
//!         NodeEvent::Eth(_) | NodeEvent::Transport(_) | NodeEvent::Moved(_) | NodeEvent::KeyInUse(_) => {}
//!         NodeEvent::Lagged(_) => {}
//!     }
//! }
//! assert!(pool.contains(&transfer.hash()));
//! other.shutdown().await;
//! node.shutdown().await;
//! # Ok(())
//! # }
//! ```
//!
//! A protocol of one's own is registered with [`NodeBuilder::protocol`]: see [`rlpx::protocol`] and the example `protocol`.

mod builder;
mod candidates;
mod error;
mod event;
pub mod genesis;
mod memory;
mod node;
mod record;
mod shared;
mod sockets;

pub use discv4;
pub use eth_wire;
pub use identity;
pub use rlpx;

pub use builder::{DEFAULT_PORT, NodeBuilder};
pub use error::StartError;
pub use event::{MAX_EVENTS, NodeEvent, NodeEvents};
pub use genesis::{Genesis, GenesisError};
pub use memory::return_free_memory;
pub use node::{Node, Traffic};
