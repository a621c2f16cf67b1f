//! The driver of port mapping: a task with the machine [`Mappings`](crate::nat::Mappings), and a file a protocol that
//! does the talking with a crate for it. Nothing runs and nothing is sent unless the owner starts a [`Nat`].

mod description;
mod gateway;
mod http;
mod igd;
mod local;
mod port_control;
mod ssdp;
mod stun;
mod task;

use std::{fmt, net::IpAddr};

use identity::{Counters, Now};
use rand::{Rng, rand_core::UnwrapErr, rngs::SysRng};
use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};

use self::{gateway::Search, task::Task};
use super::spawn;
use crate::nat::{External, NatFault, NatMethod};

/// What is to be reachable, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NatConfig {
    /// Whom to ask.
    pub method: NatMethod,
    /// The address that the node listens on.
    pub listen: IpAddr,
    /// The TCP port it listens on; not 0.
    pub tcp: u16,
    /// The UDP port it discovers on, if it does.
    pub udp: Option<u16>,
}

/// Why port mapping cannot start.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NatConfigError {
    /// The node listens where nobody outside can reach it, whatever a gateway does.
    #[error(
        "nat {method}: the node listens on {listen} alone, which no gateway reaches; listen on another address"
    )]
    Loopback {
        /// What was asked for.
        method: NatMethod,
        /// Where the node listens.
        listen: IpAddr,
    },
}

/// Running port mapping. Its mappings are removed by [`Nat::shutdown`], or when the last clone is gone.
#[derive(Clone)]
pub struct Nat {
    /// A word through it, or its closing, is the order to end.
    orders: mpsc::Sender<()>,
    external: watch::Receiver<External>,
    faults: Counters<NatFault>,
}

impl Nat {
    /// Starts it, in the runtime that this is called from.
    ///
    /// # Errors
    /// [`NatConfigError::Loopback`] unless the method names whom to ask.
    pub fn start(config: NatConfig) -> Result<Self, NatConfigError> {
        let NatConfig { method, listen, tcp, udp } = config;
        if listen.to_canonical().is_loopback() && !method.names_its_target() {
            return Err(NatConfigError::Loopback { method, listen });
        }
        let (orders, ordered) = mpsc::channel(1);
        let (changes, external) = watch::channel(External::default());
        let machine = Task::machine(tcp, udp, UnwrapErr(SysRng).next_u64());
        let faults = machine.faults().clone();
        let search = Search { method, listen, tcp, faults: faults.clone() };
        spawn(Task::new(machine, search, changes, ordered).run());
        Ok(Self { orders, external, faults })
    }

    /// What is known of the outside now; nothing at first.
    pub fn external(&self) -> External {
        *self.external.borrow()
    }

    /// Every change from now on; first what was learnt since the start, if anything.
    pub fn changes(&self) -> NatChanges {
        NatChanges(self.external.clone())
    }

    /// What was wrong with answers: `reject_total` of the layer `nat`.
    pub const fn faults(&self) -> &Counters<NatFault> {
        &self.faults
    }

    /// Removes the mappings and ends, within 5 s; at once when it has given up. Waits for the end also when someone else asked for it.
    pub async fn shutdown(&self) {
        // Full or closed: it was ordered before.
        let _ = self.orders.try_send(());
        self.orders.closed().await;
    }
}

impl fmt::Debug for Nat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Nat({:?})", self.external())
    }
}

/// Changes of what is known of the outside. A slow reader sees the last one alone.
#[derive(Clone, Debug)]
pub struct NatChanges(watch::Receiver<External>);

impl NatChanges {
    /// The next change; None when port mapping has ended or given up. May be dropped and called again without loss.
    pub async fn next(&mut self) -> Option<External> {
        self.0.changed().await.ok()?;
        Some(*self.0.borrow_and_update())
    }
}

/// The runtime's clock, which a test can move, and which is the system's otherwise.
#[expect(clippy::disallowed_methods, reason = "the one place in this driver that reads the clocks")]
fn now() -> Now {
    Now { instant: Instant::now().into_std(), ..Now::system() }
}
