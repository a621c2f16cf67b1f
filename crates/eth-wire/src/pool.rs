//! The transaction pool behind the protocol: the trait that a client implements. No checks of transactions and no
//! storage: [`MemoryPool`](crate::MemoryPool) is one implementation. When it is called, and on which thread, is
//! `backend.rs` and `driver/backend.rs`.

use bytes::Bytes;

use crate::{Hash, message::Announcement, sender::InvalidTransaction};

/// What a pool says of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Insert {
    /// It is new and held from now on.
    New,
    /// It is held already, or was before and is done with.
    Known,
    /// It is not valid.
    Invalid(InvalidTransaction),
    /// It is valid as far as looked at, and there is no room.
    Full,
}

/// The transactions that wait for a block. Called off the machine's task: a slow pool delays its own answers alone.
pub trait Pool: Send + Sync {
    /// The envelope of a transaction that may be served to anybody.
    fn get(&self, hash: &Hash) -> Option<Bytes>;

    /// Whether a transaction need not be had from a peer: it is held, or known to be done with.
    fn contains(&self, hash: &Hash) -> bool;

    /// Takes a transaction in if it is good. The envelope may be a slice of a message: copy what is kept.
    fn insert(&self, envelope: Bytes) -> Insert;

    /// All that may be announced to a new peer, in the order they came.
    fn pending(&self) -> Vec<Announcement>;

    /// Kind and size of a transaction that may be announced.
    fn describe(&self, hash: &Hash) -> Option<Announcement>;
}
