//! Real clients on loopback, for tests: [`geth::Geth`] launches go-ethereum, makes it ready for gossip, gives it blocks
//! and asks it what it sees; [`ethereumjs::EthereumJs`] runs RLPx as `@ethereumjs/devp2p` has it.
//!
//! Everything here blocks; a test with a runtime calls it from its own task (which runs on the test's thread), and
//! keeps its nodes on a multi-threaded runtime. Traffic stays on 127.0.0.1. A launched client is killed when dropped.

mod engine;
pub mod ethereumjs;
mod failure;
pub mod flood;
pub mod genesis;
pub mod geth;
mod http;
mod jwt;
mod rpc;
pub mod sockets;
mod wait;

pub use failure::{Failure, Result};
pub use rpc::Rpc;
pub use wait::{Deadline, eventually};

/// The genesis file of the test network: chain and network id 1337, proof of stake and Osaka from the first block,
/// one funded account, that of [`transactions`].
pub const GENESIS: &str = include_str!("../data/genesis.json");

/// The hash of its first block.
pub const GENESIS_HASH: &str = "d9d8abfd0d94ce8c7ad14aec9b49d2464c0a84f4ac8e2890a18250bfd68a6082";

/// Twenty signed transfers of the funded account on the test network, nonces 0 to 19, as bytes on the wire.
pub fn transactions() -> Vec<Vec<u8>> {
    let lines = include_str!("../data/transactions.txt").lines();
    lines.map(|line| rpc::bytes(line).expect("the file holds hex")).collect()
}
