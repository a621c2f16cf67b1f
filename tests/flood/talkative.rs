//! Peers that always have something more to say: small messages without a pause, so that whatever the node has read of
//! them, more is there.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use devp2p::rlpx::SharedMessage;
use interop::{
    Failure, Result,
    flood::{Client, IGNORED, attacker},
};
use tokio::{task::JoinSet, time::timeout};

use super::{Attack, crowd::gather, ready};

/// Bytes of a message.
const MESSAGE_LEN: usize = 32;
/// Messages between two counts.
const BATCH: u32 = 256;

pub(super) async fn run(attack: &Attack, count: u32) -> Result<()> {
    let target = &attack.target;
    let peers = gather(count, |number| {
        let target = target.clone();
        async move { Client::connect(attacker(number), &target).await }
    })
    .await?;
    ready()?;
    let messages = Arc::new(AtomicU32::new(0));
    let mut talking = JoinSet::new();
    for mut peer in peers {
        let messages = Arc::clone(&messages);
        talking.spawn(async move {
            let message = SharedMessage::new(IGNORED, vec![0x80; MESSAGE_LEN].into());
            loop {
                match peer.send_times(&message, BATCH).await {
                    Ok(()) => messages.fetch_add(BATCH, Ordering::Relaxed),
                    Err(failure) => return failure,
                };
            }
        });
    }
    // None is to be ended.
    if let Ok(Some(ended)) = timeout(Duration::from_secs(attack.seconds.into()), talking.join_next()).await {
        return Err(ended
            .unwrap_or_else(|error| Failure::new(error.to_string()))
            .during("a peer that talks"));
    }
    println!("{count} peers said {} messages", messages.load(Ordering::Relaxed));
    Ok(())
}
