//! The last moments of a connection that we end: our last words are out, and the peer may still have to read them. Who is
//! waited for is the peer task's business.

use std::{future::poll_fn, io, pin::Pin};

use tokio::io::AsyncWrite;

use super::{Wire, now};

impl Wire {
    /// Lets the peer read our last words before the socket goes.
    pub(in crate::driver) async fn linger(mut self) {
        let config = self.session.config();
        let (time, mut left) = (config.timeouts.disconnect, config.limits.linger_len);
        let deadline = now().instant.checked_add(time).map(tokio::time::Instant::from_std);
        let drained = async {
            let mut scrap = [0; 512];
            poll_fn(|cx| Pin::new(&mut self.stream).poll_shutdown(cx)).await?;
            while left > 0 {
                self.stream.readable().await?;
                match self.stream.try_read(&mut scrap) {
                    Ok(0) => break,
                    Ok(len) => left = left.saturating_sub(len),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(error) => return Err(error),
                }
            }
            io::Result::Ok(())
        };
        if let Some(deadline) = deadline {
            // Late or broken, it ends here.
            let _ = tokio::time::timeout_at(deadline, drained).await;
        }
    }
}
