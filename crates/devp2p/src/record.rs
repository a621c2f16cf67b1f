//! The node's own record: signed at start and whenever an entry changes, with a sequence number that only grows. The
//! record's form and signature are identity's (`record.rs`), entries come from the protocols, and discovery serves it.
//! EIP-778 and `enr.md`, with the first sequence number as in go-ethereum (`p2p/enode/localnode.go`).

use std::sync::Arc;

use bytes::Bytes;
use identity::{Endpoint, Enr, EnrBuilder, EnrError, NodeKey, Now};
use rlpx::Protocol;

/// The RLP of a port that there is none at.
const RLP_ZERO: u8 = 0x80;

/// Entries of a record: keys with RLP values.
pub(crate) type Entries = Vec<(String, Bytes)>;

/// What the protocols want to have in the node's record.
pub(crate) fn entries(protocols: &[Arc<dyn Protocol>]) -> Entries {
    protocols.iter().flat_map(|protocol| protocol.enr_entries()).collect()
}

/// Our record and what it is signed from.
#[derive(Debug)]
pub(crate) struct LocalRecord {
    key: Arc<NodeKey>,
    endpoint: Endpoint,
    /// Where peers connect by the other family, if they may.
    other: Option<Endpoint>,
    entries: Entries,
    current: Enr,
}

impl LocalRecord {
    /// Signs the first record. As in go-ethereum its sequence number is the Unix time in milliseconds, so that it is
    /// above that of any earlier run.
    ///
    /// # Errors
    /// When the entries do not fit a record or are no RLP.
    pub(crate) fn new(
        key: Arc<NodeKey>,
        (endpoint, other): (Endpoint, Option<Endpoint>),
        entries: Entries,
        now: Now,
    ) -> Result<Self, EnrError> {
        let seq = u64::try_from(now.unix.as_millis()).unwrap_or(u64::MAX);
        let current = sign(&key, seq, (endpoint, other), &entries)?;
        Ok(Self { key, endpoint, other, entries, current })
    }

    /// The record as it stands.
    pub(crate) const fn current(&self) -> &Enr {
        &self.current
    }

    /// Where the record says that the node is.
    pub(crate) const fn endpoint(&self) -> Endpoint {
        self.endpoint
    }

    /// Signs a new record when `endpoint` or `entries` differ from those signed last; None when there is nothing to tell.
    ///
    /// # Errors
    /// When the entries do not fit a record or are no RLP: the old record stays.
    pub(crate) fn update(&mut self, endpoint: Endpoint, entries: Entries) -> Result<Option<Enr>, EnrError> {
        if endpoint == self.endpoint && entries == self.entries {
            return Ok(None);
        }
        let places = (endpoint, self.other);
        let next = sign(&self.key, self.current.seq().saturating_add(1), places, &entries)?;
        self.endpoint = endpoint;
        self.entries = entries;
        self.current = next.clone();
        Ok(Some(next))
    }
}

fn sign(
    key: &NodeKey,
    seq: u64,
    (endpoint, other): (Endpoint, Option<Endpoint>),
    entries: &Entries,
) -> Result<Enr, EnrError> {
    let mut builder = EnrBuilder::new(seq).endpoint(endpoint);
    // What is seen from outside may be of the other family: then it stands for it.
    if let Some(other) = other.filter(|other| other.ip.is_ipv4() != endpoint.ip.is_ipv4()) {
        builder = builder.endpoint(other);
        if other.ip.is_ipv6() && other.udp == 0 {
            // Left out, `udp` would stand for it (EIP-778), and nobody listens there.
            builder = builder.entry("udp6", Bytes::from_static(&[RLP_ZERO]));
        }
    }
    let with_entries =
        entries.iter().fold(builder, |builder, (name, value)| builder.entry(name, value.clone()));
    with_entries.sign(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_entry_or_endpoint_raises_the_sequence_number() {
        let key = Arc::new(NodeKey::from_bytes(&[7; 32]).unwrap());
        let endpoint = Endpoint { ip: [127, 0, 0, 1].into(), udp: 1, tcp: 2 };
        let entry = |byte: u8| vec![("eth".to_owned(), Bytes::copy_from_slice(&[0xc1, byte]))];
        #[expect(clippy::disallowed_methods, reason = "any moment does")]
        let mut record = LocalRecord::new(key, (endpoint, None), entry(1), Now::system()).unwrap();
        let first = record.current().clone();
        assert_eq!(record.update(endpoint, entry(1)).unwrap(), None);
        let second = record.update(endpoint, entry(2)).unwrap().unwrap();
        assert_eq!(second.seq(), first.seq() + 1);
        assert_eq!(second.entry("eth"), Some(&[0xc1, 2][..]));
        assert!(record.update(endpoint, vec![("z".to_owned(), vec![0x80; 400].into())]).is_err());
        assert_eq!(record.current(), &second);
        let moved = Endpoint { ip: [11, 22, 33, 44].into(), udp: 3, tcp: 4 };
        let third = record.update(moved, entry(2)).unwrap().unwrap();
        assert_eq!((third.seq(), third.endpoint(), record.endpoint()), (first.seq() + 2, Some(moved), moved));
    }

    #[test]
    fn a_node_with_both_families_names_both_and_where_discovery_is() {
        let key = Arc::new(NodeKey::from_bytes(&[7; 32]).unwrap());
        let v4 = Endpoint { ip: [127, 0, 0, 1].into(), udp: 1, tcp: 2 };
        let v6 = Endpoint { ip: std::net::Ipv6Addr::LOCALHOST.into(), udp: 0, tcp: 2 };
        #[expect(clippy::disallowed_methods, reason = "any moment does")]
        let now = Now::system();
        let mut record = LocalRecord::new(Arc::clone(&key), (v4, Some(v6)), vec![], now).unwrap();
        assert_eq!((record.current().endpoint_v4(), record.current().endpoint_v6()), (Some(v4), Some(v6)));
        // A new external address takes the place of its own family's and leaves the other's.
        let moved = Endpoint { ip: [11, 22, 33, 44].into(), ..v4 };
        let next = record.update(moved, vec![]).unwrap().unwrap();
        assert_eq!((next.endpoint_v4(), next.endpoint_v6()), (Some(moved), Some(v6)));
        let outside = Endpoint { ip: "2600::1".parse().unwrap(), udp: 1, tcp: 2 };
        let next = record.update(outside, vec![]).unwrap().unwrap();
        assert_eq!((next.endpoint_v4(), next.endpoint_v6()), (None, Some(outside)));
        // With IPv6 first it is the other way round.
        let (v6, v4) = (Endpoint { udp: 1, ..v6 }, Endpoint { udp: 0, ..v4 });
        let record = LocalRecord::new(key, (v6, Some(v4)), vec![], now).unwrap();
        assert_eq!((record.current().endpoint_v4(), record.current().endpoint_v6()), (Some(v4), Some(v6)));
    }
}
