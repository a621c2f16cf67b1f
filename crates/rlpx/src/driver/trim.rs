//! What lies in the pool of buffers and is not needed is freed now and then, as long as its server runs.
//! What is kept and for how long is `buffer_pool.rs`.

use tokio::time::{MissedTickBehavior, interval};

use crate::{BufferPool, config::POOL_TRIM_INTERVAL};

/// Ends only when it is aborted.
pub(super) async fn trim_buffers(buffers: BufferPool) {
    let mut times = interval(POOL_TRIM_INTERVAL);
    times.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        times.tick().await;
        buffers.trim();
    }
}
