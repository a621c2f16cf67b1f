//! From discovery to the dialer: nodes that have a TCP port and, where the node follows a chain, a fork id that fits
//! it. Here the two layers meet, for discv4 and rlpx do not import each other. Whom to search for is discv4's, whom to
//! dial and how often rlpx's (`dialer.rs`), the fork id eth-wire's (`fork_id.rs`; EIP-2124, "eth" entry).

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use discv4::{CandidateStream, NodeEntry};
use eth_wire::ForkFilter;
use futures_core::Stream;
use rlpx::Candidate;

/// The nodes of a [`CandidateStream`] that are worth a dial.
pub(crate) struct Dialable {
    found: CandidateStream,
    chain: Option<ForkFilter>,
}

impl Dialable {
    /// All of `found`, or with `chain` those whose record names a fork id that fits. As in go-ethereum a node without a
    /// record, or without the entry `eth` in it, is not of the chain.
    pub(crate) const fn new(found: CandidateStream, chain: Option<ForkFilter>) -> Self {
        Self { found, chain }
    }

    fn candidate(&self, node: &NodeEntry) -> Option<Candidate> {
        let fits = match &self.chain {
            None => true,
            Some(chain) => node.enr.as_ref().is_some_and(|record| chain.accepts_enr(record)),
        };
        (fits && node.endpoint.tcp != 0)
            .then_some(Candidate { public_key: node.public_key, endpoint: node.endpoint })
    }
}

impl Stream for Dialable {
    type Item = Candidate;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Candidate>> {
        loop {
            let Some(node) = ready!(Pin::new(&mut self.found).poll_next(cx)) else {
                return Poll::Ready(None);
            };
            if let Some(candidate) = self.candidate(&node) {
                return Poll::Ready(Some(candidate));
            }
        }
    }
}
