//! What may be wrong with what the owner gave a server. Each is the owner's to mend and says what to change; nothing is
//! left running then. Settings that contradict each other are `contradiction`'s.

use std::{io, net::SocketAddr};

use crate::{CommandError, Contradiction, config::MAX_MESSAGE_COUNT, server_config::MAX_LISTENERS};

/// What is wrong with what the owner gave.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A protocol's name is not 1 to 8 printable ASCII characters.
    #[error("protocol {name:?}: a name has 1 to 8 printable ASCII characters")]
    ProtocolName {
        /// The name.
        name: String,
    },
    /// A protocol without a version, or a version without message codes, or with more than [`MAX_MESSAGE_COUNT`].
    #[error("protocol {name:?}: it needs a version, and each version 1 to {MAX_MESSAGE_COUNT} message codes")]
    ProtocolVersions {
        /// The protocol's name.
        name: String,
    },
    /// Two protocols with one name.
    #[error("protocol {name:?} is given twice: one protocol carries all its versions")]
    ProtocolTwice {
        /// The name.
        name: String,
    },
    /// A static or trusted peer that cannot be one.
    #[error("static or trusted peers: {0}")]
    Peer(#[from] CommandError),
    /// Settings that contradict each other.
    #[error("server: {0}")]
    Contradiction(#[from] Contradiction),
    /// The address of [`ServerBuilder::listen`](crate::ServerBuilder::listen) cannot be had.
    #[error(
        "cannot listen on TCP {address}: {error}; choose another address or port, or stop what listens there"
    )]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        error: io::Error,
    },
    /// More than [`MAX_LISTENERS`] addresses to listen on.
    #[error("a server listens on at most {MAX_LISTENERS} addresses, and {found} are given: leave some out")]
    Listeners {
        /// How many were given.
        found: usize,
    },
    /// The file of the address book cannot be used.
    #[cfg(feature = "address-book")]
    #[error(transparent)]
    AddressBook(#[from] super::book::BookError),
    /// The listener has no address.
    #[error("the listener: {0}")]
    Listener(#[from] io::Error),
}
