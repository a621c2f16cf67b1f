//! Rows `rlpx.*`: what peers that say nothing cost a serving process, and what is left of long messages. The process serves
//! and does nothing else; the peers are another process, on the other core.

use std::{sync::atomic::AtomicBool, time::Duration};

use devp2p::rlpx::config::PING_INTERVAL;

use super::{
    amount::{Amount, Halt},
    orders::Order,
    pin::Cores,
    process::{Process, pass},
    usage,
};

/// Peers that are there before memory is measured: the first pay for what all share.
const FIRST_PEERS: usize = 100;
/// Peers whose memory is measured.
const MEASURED_PEERS: usize = 1_000;
const QUICK_MEASURED_PEERS: usize = 300;
/// Until each peer was sent a Ping and has sent one.
const SETTLING: Duration = PING_INTERVAL.saturating_add(Duration::from_secs(1));
/// Peers that cost time by being there.
const IDLE_PEERS: usize = 2_000;
const QUICK_IDLE_PEERS: usize = 300;
/// Ping intervals in which time is measured: whole ones, so that it does not matter when the peers came.
const INTERVALS: u32 = 3;
/// Bytes of a long message: less than 16 MiB by more than what snappy makes of bytes that cannot be compressed.
const BURST_LEN: usize = (16 << 20) - (64 << 10);
const QUICK_BURST_PEERS: usize = 10;
/// How long after the last long message memory may take to come back.
const RETURN_TIME: Duration = Duration::from_secs(10);
/// How often it is looked at meanwhile.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);

/// A process that serves, and one that is its peers.
struct Ends {
    serving: Process,
    load: Process,
}

impl Ends {
    async fn start(cores: &Cores) -> Result<Self, Halt> {
        if !usage::KNOWN {
            return Err(Halt::NotHere("only Linux tells what a process takes"));
        }
        let mut serving = Process::start(cores.bench, &["serve"])?;
        let enode = serving.line().await?;
        let load = Process::start(cores.load.or(cores.bench), &["load", &enode])?;
        Ok(Self { serving, load })
    }

    /// Connects `more` peers, `all` in all.
    async fn connect(&mut self, more: usize, all: usize, stop: &AtomicBool) -> Result<(), Halt> {
        self.load.ask_unless(Order::Connect(more), stop).await?;
        self.serving.ask_unless(Order::Peers(all), stop).await?;
        Ok(())
    }

    /// The resident bytes of the serving process.
    async fn memory(&mut self) -> Result<f64, Halt> {
        Ok(self.serving.ask(Order::Memory).await? as f64)
    }
}

fn block_on<T>(work: impl Future<Output = Result<T, Halt>>) -> Result<T, Halt> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| Halt::Failed(error.to_string()))?.block_on(work)
}

/// Row `rlpx.idle_peer`: resident memory for each peer beyond the first hundred.
pub(super) fn idle_peer(cores: &Cores, quick: bool, stop: &AtomicBool) -> Result<Amount, Halt> {
    let count = if quick { QUICK_MEASURED_PEERS } else { MEASURED_PEERS };
    let settling = if quick { Duration::ZERO } else { SETTLING };
    block_on(async {
        let mut ends = Ends::start(cores).await?;
        ends.connect(FIRST_PEERS, FIRST_PEERS, stop).await?;
        pass(settling, stop).await?;
        let before = ends.memory().await?;
        ends.connect(count, FIRST_PEERS + count, stop).await?;
        pass(settling, stop).await?;
        let after = ends.memory().await?;
        let seen =
            format!("{FIRST_PEERS} peers {}, {} peers {}", mib(before), FIRST_PEERS + count, mib(after));
        Ok(Amount { value: (after - before).max(0.0) / count as f64, seen })
    })
}

/// Row `rlpx.burst`: resident memory after each peer has sent a message of 16 MiB, over what it was before.
pub(super) fn burst(cores: &Cores, quick: bool, stop: &AtomicBool) -> Result<Amount, Halt> {
    let count = if quick { QUICK_BURST_PEERS } else { FIRST_PEERS };
    let settling = if quick { Duration::ZERO } else { SETTLING };
    block_on(async {
        let mut ends = Ends::start(cores).await?;
        ends.connect(count, count, stop).await?;
        pass(settling, stop).await?;
        let idle = ends.memory().await?;
        ends.load.ask_unless(Order::Send(BURST_LEN), stop).await?;
        ends.serving.ask_unless(Order::Received(count), stop).await?;
        let at_once = ends.memory().await?;
        let (mut waited, mut after) = (Duration::ZERO, at_once);
        while waited < RETURN_TIME && after > idle * BURST_GOAL {
            pass(LOOK_INTERVAL, stop).await?;
            waited += LOOK_INTERVAL;
            after = ends.memory().await?;
        }
        let seen = format!(
            "{count} messages: {} before, {} at once, {} after {:.1} s",
            mib(idle),
            mib(at_once),
            mib(after),
            waited.as_secs_f64()
        );
        ends.serving.ask(Order::Peers(count)).await?;
        Ok(Amount { value: after / idle, seen })
    })
}

/// The most that row `rlpx.burst` may come to.
pub(super) const BURST_GOAL: f64 = 1.2;

/// Row `rlpx.idle_cpu`: the share of a core that peers take which do nothing but send and answer Pings.
pub(super) fn idle_cpu(cores: &Cores, quick: bool, stop: &AtomicBool) -> Result<Amount, Halt> {
    let (count, intervals) = if quick { (QUICK_IDLE_PEERS, 1) } else { (IDLE_PEERS, INTERVALS) };
    block_on(async {
        let mut ends = Ends::start(cores).await?;
        ends.connect(count, count, stop).await?;
        let before = ends.serving.ask(Order::Time).await?;
        let time = PING_INTERVAL * intervals;
        pass(time, stop).await?;
        let used = ends.serving.ask(Order::Time).await?.saturating_sub(before);
        ends.serving.ask(Order::Peers(count)).await?;
        let seen = format!("{count} peers, {:.0} ms in {} s", used as f64 / 1e6, time.as_secs());
        Ok(Amount { value: used as f64 / time.as_nanos() as f64 * 100.0, seen })
    })
}

fn mib(bytes: f64) -> String {
    format!("{:.1} MiB", bytes / f64::from(1 << 20))
}
