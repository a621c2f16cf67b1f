//! What the connections of a server have in common: made once by the builder, looked at by every task. What each has for
//! itself is in `peer_task.rs`.

use std::sync::Arc;

use identity::CurveHandle;
use tokio::sync::{Semaphore, mpsc};

use super::{
    orders::Report, pool::Pool, protocol::Protocol, sealer::Sealer, throttle::Throttle, traffic::Counts,
};
use crate::{ServerTimes, SessionConfig, peer::PeerId};

/// What the connections of a server have in common.
pub(super) struct Common {
    pub(super) session: Arc<SessionConfig>,
    pub(super) protocols: Vec<Arc<dyn Protocol>>,
    pub(super) curve: CurveHandle,
    pub(super) times: ServerTimes,
    pub(super) counts: Counts,
    pub(super) pool: Arc<Pool>,
    pub(super) throttle: Throttle,
    pub(super) reports: mpsc::Sender<(PeerId, Report)>,
    /// Places for those who broke the rules and are waited for until they have read so.
    pub(super) closers: Semaphore,
    pub(super) sealer: Arc<Sealer>,
}
