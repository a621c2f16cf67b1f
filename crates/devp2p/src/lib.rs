//! An Ethereum-style networking node: discovery ([`discv4`]), encrypted transport ([`rlpx`]) and the eth protocol
//! ([`eth_wire`]) wired into one [`Node`].

mod builder;
mod candidates;
mod error;
mod event;
pub mod genesis;
mod node;
mod record;
mod sockets;

pub use discv4;
pub use eth_wire;
pub use identity;
pub use rlpx;

pub use builder::{DEFAULT_PORT, NodeBuilder};
pub use error::StartError;
pub use event::{MAX_EVENTS, NodeEvent, NodeEvents};
pub use genesis::{Genesis, GenesisError};
pub use node::{Node, Traffic};
