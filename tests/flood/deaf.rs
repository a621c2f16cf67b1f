//! Peers that ask for messages without end and never read one.
//! The fewest buffers of the system stand between them and the node.

use std::{future::pending, time::Duration};

use bytes::Bytes;
use interop::{
    Failure, Result,
    flood::{Client, POUR, attacker, socket},
};
use tokio::{task::JoinSet, time::timeout};

use super::{Attack, ready};

/// Bytes that the system takes for a peer that does not read: the fewest, so that they fill the node's memory and not the
/// system's.
const RECEIVE_BUFFER: u32 = 4_096;
/// Peers that connect at once: fewer than the node lets wait without a key.
const AT_ONCE: usize = 16;

pub(super) async fn run(attack: &Attack, count: u32) -> Result<()> {
    let mut connecting = JoinSet::new();
    let mut peers = Vec::new();
    for number in 0..count {
        if connecting.len() >= AT_ONCE {
            peers.extend(connected(&mut connecting).await?);
        }
        let target = attack.target.clone();
        connecting.spawn(async move {
            let socket = socket(attacker(number))?;
            socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
            Client::connect_by(socket, &target).await
        });
    }
    while !connecting.is_empty() {
        peers.extend(connected(&mut connecting).await?);
    }
    ready()?;
    for peer in &mut peers {
        peer.send(POUR, Bytes::from_static(b"\x80")).await?;
    }
    println!("{} peers ask", peers.len());
    // They hold their sockets and do nothing.
    let _ = timeout(Duration::from_secs(attack.seconds.into()), pending::<()>()).await;
    println!("{} peers were deaf for {} s", peers.len(), attack.seconds);
    Ok(())
}

async fn connected(connecting: &mut JoinSet<Result<Client>>) -> Result<Option<Client>> {
    match connecting.join_next().await {
        Some(Ok(client)) => client.map(Some),
        Some(Err(error)) => Err(Failure::new(error.to_string())),
        None => Ok(None),
    }
}
