//! What the tests share: starting port mapping for a node on loopback, waiting for what it does, and moving time.

use std::{
    future::Future,
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use rlpx::{
    Nat, NatConfig,
    nat::{External, NatFault},
};
use tokio::{
    sync::mpsc,
    task::yield_now,
    time::{advance, pause, resume, timeout},
};

pub(crate) const TCP: u16 = 30303;
pub(crate) const UDP: u16 = 30304;

/// An address that others could reach; nothing is ever sent there.
pub(crate) const PUBLIC: Ipv4Addr = Ipv4Addr::new(11, 22, 33, 44);

/// Far beyond what anything here takes, so that only what never comes fails.
const LONG: Duration = Duration::from_secs(20);

/// Requests that a responder remembers.
const MAX_SEEN: usize = 256;

pub(crate) fn start(method: &str) -> Nat {
    let config = NatConfig {
        method: method.parse().unwrap(),
        listen: IpAddr::V4(Ipv4Addr::LOCALHOST),
        tcp: TCP,
        udp: Some(UDP),
    };
    Nat::start(config).unwrap()
}

pub(crate) const fn external(ip: Ipv4Addr, tcp: u16, udp: u16) -> External {
    External { ip: Some(IpAddr::V4(ip)), tcp: Some(tcp), udp: Some(udp) }
}

pub(crate) async fn within<T>(what: impl Future<Output = T>) -> T {
    timeout(LONG, what).await.expect("it happens in time")
}

/// Waits until the outside is seen as `wanted`.
pub(crate) async fn becomes(nat: &Nat, wanted: External) {
    let mut changes = nat.changes();
    within(async {
        while nat.external() != wanted {
            changes.next().await.expect("it runs");
        }
    })
    .await;
}

/// Waits until a fault was counted `count` times.
pub(crate) async fn counted(nat: &Nat, fault: NatFault, count: u64) {
    within(async {
        while nat.faults().count(fault) < count {
            yield_now().await;
        }
    })
    .await;
    assert_eq!(nat.faults().count(fault), count);
}

/// Moves the clock while nothing is under way.
pub(crate) async fn pass(by: Duration) {
    pause();
    advance(by).await;
    resume();
}

/// What a responder was asked, in order.
pub(crate) struct Seen<T>(mpsc::Receiver<T>);

impl<T> Seen<T> {
    pub(crate) fn new() -> (mpsc::Sender<T>, Self) {
        let (sender, receiver) = mpsc::channel(MAX_SEEN);
        (sender, Self(receiver))
    }

    pub(crate) async fn next(&mut self) -> T {
        within(self.0.recv()).await.expect("the responder runs")
    }

    pub(crate) fn rest(&mut self) -> Vec<T> {
        std::iter::from_fn(|| self.0.try_recv().ok()).collect()
    }
}
