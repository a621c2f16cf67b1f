//! Why a node does not start. Each is the caller's to mend and says what to change. What goes wrong later is no error
//! here: it is an event (`event.rs`) or a count of its layer. Faults of a genesis file are in `genesis/mod.rs`.

use std::{
    io,
    net::{IpAddr, SocketAddr},
};

use identity::EnrError;

/// Why a node does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A socket cannot be bound.
    #[error(
        "cannot listen on {protocol} {addr}: {error}; choose another {setting} or stop what listens there"
    )]
    Bind {
        /// TCP or UDP.
        protocol: &'static str,
        /// Where.
        addr: SocketAddr,
        /// What names the port: the builder's `listen` or `discovery_port`.
        setting: &'static str,
        /// What the system said.
        error: io::Error,
    },
    /// Two addresses of one family to listen on.
    #[error("cannot listen on {first} and on {second}: name one IPv4 and one IPv6 address, or one alone")]
    SameFamily {
        /// The first.
        first: IpAddr,
        /// The other.
        second: IpAddr,
    },
    /// A bootnode's host name has no address.
    #[error("bootnode host {host:?} cannot be resolved: {error}; name it by its address or leave it out")]
    Resolve {
        /// The name.
        host: String,
        /// What the resolver said.
        error: io::Error,
    },
    /// The node's own record does not hold the entries of its protocols.
    #[error("the node record cannot be made: {0}")]
    Record(#[from] EnrError),
    /// The transport's configuration contradicts itself, or the address book's file cannot be used.
    #[error(transparent)]
    Server(#[from] rlpx::ConfigError),
    /// Ports cannot be mapped where the node listens.
    #[error(transparent)]
    Nat(#[from] rlpx::NatConfigError),
    /// Discovery cannot start on its socket.
    #[error("discovery cannot start: {0}")]
    Discovery(io::Error),
}
