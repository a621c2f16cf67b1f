//! What a protocol over RLPx brings, and the link it is given to each peer.
//!
//! A [`Protocol`] is registered with the server; for every peer that shares it, [`Protocol::connect`] makes a
//! [`ProtocolSession`], which the connection's own task feeds. Nothing in it may block: a session that has no room says
//! so in `poll_ready`, and the connection stops reading meanwhile.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use identity::{Counters, Enr};

use super::link::Link;
use crate::{PeerInfo, Refusal, SessionEnd, config::MAX_MESSAGE_LEN, p2p::DisconnectReason};

/// A version of a protocol and the number of message codes it uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProtocolVersion {
    /// The version, as Hello announces it.
    pub version: u32,
    /// How many codes the version uses, from 0. Every node must count the same, or codes of later protocols shift.
    pub message_count: u64,
}

/// A capability that this node offers to its peers.
pub trait Protocol: Send + Sync + 'static {
    /// The name in Hello: at most 8 ASCII characters.
    fn name(&self) -> &str;

    /// The versions offered; a peer gets the highest that both have.
    fn versions(&self) -> &[ProtocolVersion];

    /// The longest payload taken, in bytes after decompression; a peer that sends more is disconnected before it is
    /// inflated. Default: what a frame can carry, 16 MiB.
    fn max_message_len(&self) -> usize {
        MAX_MESSAGE_LEN
    }

    /// Whether a node with this record, or with none that is known, is worth a dial; None when the protocol does not mind.
    /// Nodes that no protocol wants are not dialed while one minds; static peers always are. Default: None.
    fn wants(&self, _record: Option<&Enr>) -> Option<bool> {
        None
    }

    /// Entries for the node's own record: keys with RLP values. Default: none. A server keeps no record: whoever does asks
    /// again now and then, as `devp2p::Node` every 10 s.
    fn enr_entries(&self) -> Vec<(String, Bytes)> {
        Vec::new()
    }

    /// A peer that shares `version` has connected.
    fn connect(&self, peer: Arc<PeerInfo>, version: u32, link: Link) -> Box<dyn ProtocolSession>;
}

impl<P: Protocol + ?Sized> Protocol for Arc<P> {
    fn name(&self) -> &str {
        (**self).name()
    }

    fn versions(&self) -> &[ProtocolVersion] {
        (**self).versions()
    }

    fn max_message_len(&self) -> usize {
        (**self).max_message_len()
    }

    fn wants(&self, record: Option<&Enr>) -> Option<bool> {
        (**self).wants(record)
    }

    fn enr_entries(&self) -> Vec<(String, Bytes)> {
        (**self).enr_entries()
    }

    fn connect(&self, peer: Arc<PeerInfo>, version: u32, link: Link) -> Box<dyn ProtocolSession> {
        (**self).connect(peer, version, link)
    }
}

/// What each protocol says to a node with this record, or without one. Of one that panics at a stranger's record nothing is
/// heard.
pub(super) fn opinions(
    protocols: &[Arc<dyn Protocol>],
    record: Option<&Enr>,
    refusals: &Counters<Refusal>,
) -> Vec<Option<bool>> {
    let ask = |protocol: &Arc<dyn Protocol>| {
        // It is asked for an opinion and changes nothing that others see.
        catch_unwind(AssertUnwindSafe(|| protocol.wants(record))).unwrap_or_else(|_| {
            refusals.add(Refusal::ProtocolPanicked);
            None
        })
    };
    protocols.iter().map(ask).collect()
}

/// The side of a [`Protocol`] that belongs to one connection.
pub trait ProtocolSession: Send {
    /// Ready when one more message can be handled. The connection reads nothing for this protocol while it is pending.
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<()>;

    /// A message came. Called only after `poll_ready` was ready. Runs in the connection's task: no blocking, no waiting.
    ///
    /// # Errors
    /// The reason to disconnect the peer with.
    fn handle_message(&mut self, code: u64, payload: Bytes) -> Result<(), DisconnectReason>;

    /// A message of `len` payload bytes, put out through the link, has been written to the socket, or proved too long for a
    /// frame once it was compressed: its credit is back.
    fn handle_sent(&mut self, len: usize);

    /// The connection has ended. Called once, last.
    fn handle_closed(&mut self, end: &SessionEnd);
}
