//! Runs the eth machine under tokio: [`start`] gives a handle for its owner and a protocol for `rlpx::Server`.
//! One task owns the machine; connections and the backend reach it through the inbox, the owner through a channel.

mod backend;
mod handle;
mod inbox;
mod session;
mod task;

use std::{collections::BTreeMap, sync::Arc};

use identity::AddressPolicy;
use rlpx::ProtocolVersion;
use tokio::sync::{broadcast, mpsc};

use self::{backend::Backend, inbox::Inbox, task::Task};
pub use self::{
    handle::{EthEvents, EthHandle},
    session::EthProtocol,
};
use crate::{Chain, ChainStatus, Eth, EthTimes, EthVersion, ForkSchedule, Pool};

/// Commands that may wait for the machine; more wait with their callers.
const MAX_WAITING_COMMANDS: usize = 64;
/// Events that may wait for one listener; the oldest are dropped and reported as [`EthEvent::Lagged`](crate::EthEvent::Lagged).
pub const MAX_EVENTS: usize = 1_024;

/// What a node says of itself and offers.
#[derive(Clone, Debug)]
pub struct EthConfig {
    /// The network id: usually the chain id.
    pub network_id: u64,
    /// The chain's forks.
    pub forks: ForkSchedule,
    /// The versions to offer. Default: all.
    pub versions: Vec<EthVersion>,
    /// Timeouts. Default: those of the specification.
    pub times: EthTimes,
    /// Which addresses are counted. Default: public ones.
    pub address_policy: AddressPolicy,
}

impl EthConfig {
    /// The defaults, for a network and its forks.
    pub fn new(network_id: u64, forks: ForkSchedule) -> Self {
        Self {
            network_id,
            forks,
            versions: EthVersion::ALL.to_vec(),
            times: EthTimes::default(),
            address_policy: AddressPolicy::default(),
        }
    }
}

/// Starts the machine in a task of its own, which ends when the handle and the protocol are gone. `seed` feeds its
/// choices. Asks `chain` for its head and genesis here; all later calls run on threads for blocking work.
///
/// # Panics
/// Outside of a tokio runtime.
pub fn start(
    config: EthConfig,
    chain: Arc<dyn Chain>,
    pool: Arc<dyn Pool>,
    seed: u64,
) -> (EthHandle, EthProtocol) {
    let status = ChainStatus::new(config.network_id, chain.genesis(), config.forks, chain.head());
    let filter = status.filter().clone();
    let machine = Eth::new(config.times, status, seed);
    let counters = machine.counters();
    let inbox = Arc::new(Inbox::default());
    let (commands, receiver) = mpsc::channel(MAX_WAITING_COMMANDS);
    let (events, _) = broadcast::channel(MAX_EVENTS);
    let task = Task {
        machine,
        inbox: Arc::clone(&inbox),
        backend: Arc::new(Backend::new(Arc::clone(&chain), pool, Arc::clone(&inbox))),
        commands: receiver,
        events: events.clone(),
        address_policy: config.address_policy,
        links: BTreeMap::new(),
        held: BTreeMap::new(),
        replies: BTreeMap::new(),
    };
    spawn(task.run());
    let handle = EthHandle::new(commands, events.downgrade(), chain, filter.clone(), counters.clone());
    let versions = config
        .versions
        .iter()
        .map(|version| ProtocolVersion { version: version.number(), message_count: version.message_count() });
    let versions = versions.collect();
    (handle.clone(), EthProtocol::new(versions, filter, inbox, counters, handle))
}

#[expect(clippy::disallowed_methods, reason = "the driver starts its one task; it ends with the last handle")]
fn spawn(run: impl Future<Output = ()> + Send + 'static) {
    tokio::spawn(run);
}
