//! The running layers of a node, as its handle and the task behind its events both use them.
//! The node's record is renewed here when a protocol's entries in it change.

use std::sync::{Arc, Mutex, PoisonError};

use discv4::Discv4;
use eth_wire::EthHandle;
use identity::Enr;
use rlpx::{Protocol, Server};

use crate::record::{LocalRecord, entries};

/// What runs behind a node.
pub(crate) struct Shared {
    pub(crate) record: Mutex<LocalRecord>,
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

    /// Signs a new record when a protocol's entries have changed, as a fork id does, and tells discovery.
    pub(crate) async fn refresh_record(&self) {
        let updated =
            self.record.lock().unwrap_or_else(PoisonError::into_inner).update(entries(&self.protocols));
        match (updated, &self.discovery) {
            (Ok(Some(record)), Some(discovery)) => {
                let _ended = discovery.set_local_enr(record).await;
            }
            (Ok(_), _) => {}
            (Err(error), _) => tracing::warn!(%error, "the node record stays as it was"),
        }
    }
}
