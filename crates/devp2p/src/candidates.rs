//! From discovery to the dialer: nodes with what is known of them. Here the two layers meet, for discv4 and rlpx do not
//! import each other. Whom to search for is discv4's; whom to dial, and which records its protocols want, rlpx's
//! (`server/dials.rs`); what a record must name, the protocols' (eth-wire: `fork_id.rs`).

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use discv4::{CandidateStream, NodeEntry};
use futures_core::Stream;
use identity::{AddressClass, Endpoint};
use rlpx::Candidate;

/// The nodes of a [`CandidateStream`] as the dialer takes them.
pub(crate) struct Candidates(pub(crate) CandidateStream);

fn candidate(node: NodeEntry) -> Candidate {
    let other = other_endpoint(&node);
    Candidate { other, record: node.enr, ..Candidate::new(node.public_key, node.endpoint) }
}

/// Where a node's record says that it is by the other family. Nobody outside names an address inside.
fn other_endpoint(node: &NodeEntry) -> Option<Endpoint> {
    let record = node.enr.as_ref()?;
    let other = if node.endpoint.ip.is_ipv4() { record.endpoint_v6() } else { record.endpoint_v4() }?;
    let seen = AddressClass::of(node.endpoint.ip);
    (other.tcp != 0 && AddressClass::of(other.ip).may_be_told_by(seen)).then_some(other)
}

impl Stream for Candidates {
    type Item = Candidate;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Candidate>> {
        Pin::new(&mut self.0).poll_next(cx).map(|node| node.map(candidate))
    }
}
