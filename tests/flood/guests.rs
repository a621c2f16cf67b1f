//! Peers that stay until the node ends them, and say what they were told then. Some of them ask for messages without end,
//! read none and never close: those hold up a node that goes.

use std::{future::pending, time::Duration};

use bytes::Bytes;
use devp2p::{
    identity::Enode,
    rlpx::{DisconnectReason, SessionEnd},
};
use interop::{
    Failure, Result,
    flood::{Client, POUR, attacker},
};
use tokio::{task::JoinSet, time::timeout};

use super::{Attack, crowd::gather, deaf, ready};

pub(super) async fn run(attack: &Attack, count: u32, stuck: u32) -> Result<()> {
    let target = &attack.target;
    let mut held = gather(stuck, |number| deaf::stuck(attacker(number), target.clone())).await?;
    let guests = gather(count, |number| connect(stuck + number, target.clone())).await?;
    ready()?;
    for peer in &mut held {
        peer.send(POUR, Bytes::from_static(b"\x80")).await?;
    }
    let mut staying = JoinSet::new();
    for mut guest in guests {
        staying.spawn(async move {
            loop {
                if let Err(failure) = guest.next().await {
                    return failure;
                }
            }
        });
    }
    println!("{count} peers stay, {stuck} are stuck");
    let time = Duration::from_secs(attack.seconds.into());
    let ends = timeout(time, staying.join_all()).await;
    let ends = ends.map_err(|_| Failure::new("the node did not end its peers"))?;
    let quitting = Failure::new(SessionEnd::Remote(DisconnectReason::Quitting).to_string());
    let told = ends.iter().filter(|end| **end == quitting).count();
    let other = ends.iter().find(|end| **end != quitting);
    println!("{told} told, {} ended otherwise: {other:?}", ends.len() - told);
    // Those that are stuck hold their sockets and do nothing.
    let _ = timeout(time, pending::<()>()).await;
    drop(held);
    Ok(())
}

async fn connect(number: u32, target: Enode) -> Result<Client> {
    Client::connect(attacker(number), &target).await
}
