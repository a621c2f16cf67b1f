//! Messages of a capability, received and to be sent, with codes counted from the capability's first.
//! No framing (`frame`), no offsets of codes (`capability`), and no base protocol: Hello, Disconnect, Ping and Pong are
//! `p2p`'s and never reach a protocol. Compression is `snappy`'s, done here at most once for all peers (EIP-706).

use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use crate::buffer_pool::BufferPool;

/// A received message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The message code, counted from the capability's first.
    pub code: u64,
    /// The RLP of the message, decompressed: no more memory than its own and a third. A slice of it holds all of it, so copy
    /// what is kept of it.
    pub payload: Bytes,
}

/// A message to send: encoded once, compressed at most once, and encrypted by each connection it goes to.
/// Clones share the bytes.
#[derive(Clone, Debug)]
pub struct SharedMessage(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    code: u64,
    payload: Bytes,
    compressed: OnceLock<Bytes>,
}

impl SharedMessage {
    /// A message with a code counted from the capability's first and the RLP of its content.
    pub fn new(code: u64, payload: Bytes) -> Self {
        Self(Arc::new(Shared { code, payload, compressed: OnceLock::new() }))
    }

    /// The message code, counted from the capability's first.
    pub fn code(&self) -> u64 {
        self.0.code
    }

    /// The RLP of the message.
    pub fn payload(&self) -> &Bytes {
        &self.0.payload
    }

    /// Whether others hold it too: it goes to further peers, or may.
    pub(crate) fn is_shared(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }

    /// Whether [`Self::compressed`] has been called.
    pub(crate) fn is_compressed(&self) -> bool {
        self.0.compressed.get().is_some()
    }

    /// The snappy block form of the payload, made on the first call.
    pub fn compressed(&self) -> &Bytes {
        self.compressed_in(&BufferPool::default())
    }

    /// As [`Self::compressed`], in a buffer of `pool` if it is long.
    pub(crate) fn compressed_in(&self, pool: &BufferPool) -> &Bytes {
        self.0.compressed.get_or_init(|| crate::snappy::compress_in(&self.0.payload, pool))
    }
}
