//! From discovery to the dialer: nodes that have a TCP port and that a protocol wants by their record. Here the two layers meet, for discv4 and rlpx do not import each other. Whom to search for is discv4's, whom to
//! dial and how often rlpx's (`dialer.rs`), what a record must name its protocols' (eth-wire: `fork_id.rs`).

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use discv4::{CandidateStream, NodeEntry};
use futures_core::Stream;
use identity::{AddressClass, Endpoint, Enr};
use rlpx::{Candidate, Protocol};

/// The nodes of a [`CandidateStream`] that are worth a dial.
pub(crate) struct Dialable {
    found: CandidateStream,
    protocols: Vec<Arc<dyn Protocol>>,
}

/// Whether a node with this record is worth a dial: to one protocol at least, unless none of them minds.
fn is_wanted(protocols: &[Arc<dyn Protocol>], record: Option<&Enr>) -> bool {
    let mut opinions = protocols.iter().filter_map(|protocol| protocol.wants(record)).peekable();
    opinions.peek().is_none() || opinions.any(|wanted| wanted)
}

impl Dialable {
    /// Those of `found` that one of `protocols` wants, or all when none of them minds.
    pub(crate) const fn new(found: CandidateStream, protocols: Vec<Arc<dyn Protocol>>) -> Self {
        Self { found, protocols }
    }

    fn candidate(&self, node: &NodeEntry) -> Option<Candidate> {
        let other = other_endpoint(node);
        let is_reachable = node.endpoint.tcp != 0 || other.is_some();
        (is_reachable && is_wanted(&self.protocols, node.enr.as_ref()))
            .then_some(Candidate { other, ..Candidate::new(node.public_key, node.endpoint) })
    }
}

/// Where a node's record says that it is by the other family. Nobody outside names an address inside.
fn other_endpoint(node: &NodeEntry) -> Option<Endpoint> {
    let record = node.enr.as_ref()?;
    let other = if node.endpoint.ip.is_ipv4() { record.endpoint_v6() } else { record.endpoint_v4() }?;
    let seen = AddressClass::of(node.endpoint.ip);
    (other.tcp != 0 && AddressClass::of(other.ip).may_be_told_by(seen)).then_some(other)
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

#[cfg(test)]
mod tests {
    use identity::{EnrBuilder, NodeKey};
    use rlpx::{Link, PeerInfo, ProtocolSession, ProtocolVersion};

    use super::*;

    /// Wants records with this entry; with none it does not mind.
    struct Wants(Option<&'static str>);

    impl Protocol for Wants {
        fn name(&self) -> &str {
            "wants"
        }

        fn versions(&self) -> &[ProtocolVersion] {
            &[]
        }

        fn wants(&self, record: Option<&Enr>) -> Option<bool> {
            self.0.map(|key| record.is_some_and(|record| record.entry(key).is_some()))
        }

        fn connect(&self, _: Arc<PeerInfo>, _: u32, _: Link) -> Box<dyn ProtocolSession> {
            unreachable!("nobody connects")
        }
    }

    #[test]
    fn a_node_is_dialed_that_one_protocol_wants_or_when_none_minds() {
        let key = NodeKey::from_bytes(&[7; 32]).unwrap();
        let record = EnrBuilder::new(1).entry("eth", vec![0xc0].into()).sign(&key).unwrap();
        let rows: [(&[Option<&str>], bool, bool); 6] = [
            (&[], true, true),
            (&[None], true, true),
            (&[Some("eth")], true, false),
            (&[Some("les")], false, false),
            (&[Some("les"), None], false, false),
            (&[Some("les"), Some("eth"), None], true, false),
        ];
        for (wishes, with_record, without) in rows {
            let protocols = wishes.iter().map(|key| Arc::new(Wants(*key)) as Arc<dyn Protocol>);
            let protocols: Vec<_> = protocols.collect();
            let found = (is_wanted(&protocols, Some(&record)), is_wanted(&protocols, None));
            assert_eq!(found, (with_record, without), "{wishes:?}");
        }
    }
}
