//! Connections that never say a word. One that the node ends is replaced, from another address.
//! Nothing is read but the end of the connection.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use interop::{
    Result,
    flood::{attacker, socket},
};
use tokio::{io::AsyncReadExt, task::JoinSet};

use super::{Attack, handshakes::address, pace::Pace, ready};

/// Seconds in which as many connections are opened as there are at a time, first and as replacements.
const ROUND: u32 = 10;

pub(super) async fn run(attack: &Attack, count: u32) -> Result<()> {
    let target = address(&attack.target)?;
    ready()?;
    let mut pace = Pace::new(count.div_ceil(ROUND), attack.seconds);
    let (mut held, mut opened, mut most) = (JoinSet::new(), 0u32, 0);
    let connected = Arc::new(AtomicU32::new(0));
    while let Some(due) = pace.next().await {
        for _ in 0..due {
            if held.len() < count as usize {
                opened += 1;
                held.spawn(say_nothing(attacker(opened), target, Arc::clone(&connected)));
            }
        }
        most = held.len().max(most);
        while held.try_join_next().is_some() {}
    }
    println!("{opened} opened, {} connected, at most {most} at a time", connected.load(Ordering::Relaxed));
    Ok(())
}

/// Done when the node has ended it.
async fn say_nothing(from: Ipv4Addr, target: SocketAddr, connected: Arc<AtomicU32>) -> Result<()> {
    let mut stream = socket(from)?.connect(target).await?;
    connected.fetch_add(1, Ordering::Relaxed);
    // It sends nothing before it has an auth.
    let _ = stream.read_u8().await;
    Ok(())
}
