//! The running layers of a node, as its handle and the task behind its events both use them.
//! The node's record is renewed here when a protocol's entries in it change, or the node is seen elsewhere from outside.

use std::sync::{Arc, Mutex, PoisonError};

use discv4::Discv4;
use eth_wire::EthHandle;
use identity::{Endpoint, Enr};
use rlpx::{Nat, Protocol, Server, nat::External};

use crate::record::{LocalRecord, entries};

/// What runs behind a node.
pub(crate) struct Shared {
    pub(crate) record: Mutex<LocalRecord>,
    /// Where the node is as long as nobody outside says otherwise.
    pub(crate) endpoint: Endpoint,
    pub(crate) nat: Option<Nat>,
    pub(crate) discovery: Option<Discv4>,
    pub(crate) server: Server,
    pub(crate) eth: Option<EthHandle>,
    pub(crate) protocols: Vec<Arc<dyn Protocol>>,
}

impl Shared {
    /// The node's own record as it stands.
    pub(crate) fn record(&self) -> Enr {
        // Nothing under the lock can panic.
        self.record.lock().unwrap_or_else(PoisonError::into_inner).current().clone()
    }

    /// Where others reach the node.
    pub(crate) fn endpoint(&self) -> Endpoint {
        self.record.lock().unwrap_or_else(PoisonError::into_inner).endpoint()
    }

    /// Where others reach the node by what is known of the outside: what is not known is as it was at the start. A node
    /// without discovery has no UDP port to be found at.
    pub(crate) fn endpoint_from(&self, external: External) -> Endpoint {
        Endpoint {
            ip: external.ip.unwrap_or(self.endpoint.ip),
            udp: external.udp.unwrap_or(self.endpoint.udp),
            tcp: external.tcp.unwrap_or(self.endpoint.tcp),
        }
    }

    /// Signs a new record when a protocol's entries have changed, as a fork id does, or `endpoint` is another one, and tells
    /// discovery, whose pings name it.
    pub(crate) async fn refresh_record(&self, endpoint: Endpoint) {
        let updated = self
            .record
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .update(endpoint, entries(&self.protocols));
        match (updated, &self.discovery) {
            (Ok(Some(record)), Some(discovery)) => {
                let _ended = discovery.set_local_enr(record).await;
            }
            (Ok(_), _) => {}
            (Err(error), _) => tracing::warn!(%error, "the node record stays as it was"),
        }
    }
}
