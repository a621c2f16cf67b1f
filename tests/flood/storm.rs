//! Peers that come, are let in and go at once, half of them with a Disconnect: each is a new node from a new address, so
//! that no memory of the last holds off the next. A node makes its auth when it comes, for a session's time runs from then.

use std::{net::Ipv4Addr, time::Duration};

use devp2p::identity::Enode;
use interop::{
    Result,
    flood::{Client, attacker},
};
use tokio::{task::JoinSet, time::timeout};

use super::{Attack, pace::Pace, ready};

/// Sessions under way; when there are as many, the node is slower than the attack and further ones are counted as late.
const MAX_UNDER_WAY: usize = 512;
/// How long one is waited for.
const PATIENCE: Duration = Duration::from_secs(5);

pub(super) async fn run(attack: &Attack, rate: u32) -> Result<()> {
    ready()?;
    let mut pace = Pace::new(rate, attack.seconds);
    let (mut under_way, mut number) = (JoinSet::new(), 0u32);
    let (mut sessions, mut failed, mut late) = (0u32, 0u32, 0u32);
    let mut count = |ended: bool| if ended { sessions += 1 } else { failed += 1 };
    while let Some(due) = pace.next().await {
        for _ in 0..due {
            number += 1;
            if under_way.len() >= MAX_UNDER_WAY {
                late += 1;
                continue;
            }
            let coming = come_and_go(attacker(number), attack.target.clone(), number.is_multiple_of(2));
            under_way.spawn(timeout(PATIENCE, coming));
        }
        while let Some(ended) = under_way.try_join_next() {
            count(matches!(ended, Ok(Ok(Ok(())))));
        }
    }
    while let Some(ended) = under_way.join_next().await {
        count(matches!(ended, Ok(Ok(Ok(())))));
    }
    println!("{number} due: {sessions} sessions, {failed} failed, {late} late");
    Ok(())
}

async fn come_and_go(from: Ipv4Addr, target: Enode, says_goodbye: bool) -> Result<()> {
    let peer = Client::connect(from, &target).await?;
    if says_goodbye {
        peer.leave().await?;
    }
    Ok(())
}
