//! Many peers that are there before an attack begins: they connect a few at a time.
//! One that does not get in ends the attack, and the test with it.

use interop::{Failure, Result};
use tokio::task::JoinSet;

/// Peers that connect at once: fewer than the node lets wait without a key.
const AT_ONCE: usize = 16;

/// Those that `connect` makes of the numbers below `count`, in the order in which they got in.
pub(super) async fn gather<T, F>(count: u32, mut connect: impl FnMut(u32) -> F) -> Result<Vec<T>>
where
    T: Send + 'static,
    F: Future<Output = Result<T>> + Send + 'static,
{
    let (mut connecting, mut peers) = (JoinSet::new(), Vec::new());
    for number in 0..count {
        if connecting.len() >= AT_ONCE {
            peers.extend(connected(&mut connecting).await?);
        }
        connecting.spawn(connect(number));
    }
    while let Some(peer) = connected(&mut connecting).await? {
        peers.push(peer);
    }
    Ok(peers)
}

async fn connected<T: Send + 'static>(connecting: &mut JoinSet<Result<T>>) -> Result<Option<T>> {
    match connecting.join_next().await {
        Some(Ok(peer)) => peer.map(Some),
        Some(Err(error)) => Err(Failure::new(error.to_string())),
        None => Ok(None),
    }
}
