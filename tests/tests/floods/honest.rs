//! Honest peers of a node under attack: some are there before it, ping all the while and want to be there after it; others
//! come during it, one at a time, once.

use std::time::Duration;

use devp2p::identity::Enode;
use interop::flood::{Client, honest};
use tokio::{
    sync::watch,
    task::{JoinHandle, JoinSet},
    time::{interval, timeout},
};

/// Between two pings of a peer.
const PING_INTERVAL: Duration = Duration::from_millis(200);
/// Between two newcomers.
const ARRIVAL_INTERVAL: Duration = Duration::from_millis(250);
/// How long an honest handshake may take, from the first SYN to both Hellos.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(2);
/// A ping that takes longer counts as a lost peer.
const PING_LIMIT: Duration = Duration::from_secs(10);

/// Honest peers at work.
pub(crate) struct Honest {
    stop: watch::Sender<bool>,
    peers: JoinSet<Result<Vec<Duration>, String>>,
    newcomers: JoinHandle<Vec<Result<(), String>>>,
}

/// What they have seen.
pub(crate) struct Seen {
    /// Of all pings, in order of length.
    pub(crate) pings: Vec<Duration>,
    /// Why a peer was lost, for each that was.
    pub(crate) lost: Vec<String>,
    /// Newcomers that were let in.
    pub(crate) let_in: usize,
    /// Why one was not, for each that was not.
    pub(crate) kept_out: Vec<String>,
}

impl Honest {
    /// `count` peers connect, and begin.
    pub(crate) async fn start(node: &Enode, count: u32) -> Self {
        let (stop, stopped) = watch::channel(false);
        let mut peers = JoinSet::new();
        for number in 0..count {
            let mut client = Client::connect(honest(number), node).await.unwrap();
            let stopped = stopped.clone();
            peers.spawn(async move {
                let (mut pings, mut times) = (Vec::new(), interval(PING_INTERVAL));
                while !*stopped.borrow() {
                    let ping = timeout(PING_LIMIT, client.ping()).await;
                    let ping = ping.map_err(|_| format!("no answer for {PING_LIMIT:?}"))?;
                    pings.push(ping.map_err(|failure| failure.to_string())?);
                    times.tick().await;
                }
                Ok(pings)
            });
        }
        let newcomers = JoinSet::new();
        let newcomers = arrivals(newcomers, node.clone(), count, stopped);
        Self { stop, peers, newcomers: spawn(newcomers) }
    }

    /// They end: what they have seen.
    pub(crate) async fn end(mut self) -> Seen {
        self.stop.send_replace(true);
        let (mut pings, mut lost) = (Vec::new(), Vec::new());
        while let Some(ended) = self.peers.join_next().await {
            match ended.unwrap() {
                Ok(of_one) => pings.extend(of_one),
                Err(why) => lost.push(why),
            }
        }
        pings.sort_unstable();
        let (let_in, kept_out): (Vec<_>, Vec<_>) =
            self.newcomers.await.unwrap().into_iter().partition(Result::is_ok);
        let kept_out = kept_out.into_iter().filter_map(Result::err).collect();
        Seen { pings, lost, let_in: let_in.len(), kept_out }
    }
}

#[expect(clippy::disallowed_methods, reason = "a test's own task, joined at its end")]
fn spawn<T: Send + 'static>(task: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
    tokio::spawn(task)
}

/// Newcomers, each at its time whether the one before is through or not, and none tries twice.
async fn arrivals(
    mut under_way: JoinSet<Result<(), String>>,
    node: Enode,
    first: u32,
    stopped: watch::Receiver<bool>,
) -> Vec<Result<(), String>> {
    let mut times = interval(ARRIVAL_INTERVAL);
    let mut number = first;
    while !*stopped.borrow() {
        times.tick().await;
        let node = node.clone();
        under_way.spawn(async move {
            let connecting = timeout(HANDSHAKE_LIMIT, Client::connect(honest(number), &node)).await;
            let connected = connecting.map_err(|_| format!("not within {HANDSHAKE_LIMIT:?}"))?;
            connected.map(drop).map_err(|failure| failure.to_string())
        });
        number += 1;
    }
    under_way.join_all().await
}

impl Seen {
    /// The ping that 99 of 100 are no longer than.
    pub(crate) fn p99(&self) -> Duration {
        let place = (self.pings.len() * 99 / 100).min(self.pings.len().saturating_sub(1));
        self.pings.get(place).copied().unwrap_or(Duration::MAX)
    }

    /// One of ten was lost at most, however long the others waited.
    pub(crate) fn assert_mostly_there(&self, what: &str, count: u32) {
        self.print(what);
        assert!(self.lost.len() * 10 <= count as usize, "{:?}", self.lost);
        assert!(self.pings.len() >= count as usize, "few pings: {}", self.pings.len());
    }

    fn print(&self, what: &str) {
        println!(
            "{what}: {} pings, p99 {:?}, longest {:?}; {} lost; {} newcomers let in, {} kept out",
            self.pings.len(),
            self.p99(),
            self.pings.last(),
            self.lost.len(),
            self.let_in,
            self.kept_out.len()
        );
    }

    /// Nobody was lost, and of the newcomers 99 of 100 were let in; in an ordinary run all, for there are few.
    pub(crate) fn assert_unharmed(&self, what: &str) {
        let Self { lost, let_in, kept_out, .. } = self;
        self.print(what);
        assert!(lost.is_empty(), "{:?}", lost.first());
        assert!(*let_in > 0 && kept_out.len() * 100 <= let_in + kept_out.len(), "{:?}", kept_out.first());
        if cfg!(feature = "thorough") {
            assert!(self.p99() <= Duration::from_millis(250), "{:?}", self.p99());
        }
    }
}
