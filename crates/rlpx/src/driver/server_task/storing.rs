//! The end of a server that keeps an address book: what the last sessions have changed goes to its file, if that is quick.
//! What is written while it runs is handed over in `server_task.rs`.

use tokio::time::timeout;

use super::{ServerTask, now};
use crate::config::STORE_WAIT;

impl ServerTask {
    /// The address book as the last session has left it; a file that takes too long is given up.
    pub(super) async fn store_the_rest(&mut self) {
        if timeout(STORE_WAIT, self.store_all()).await.is_err() {
            tracing::warn!(
                "the address book's file takes too long: what the last minutes have changed may be lost"
            );
        }
    }

    async fn store_all(&mut self) {
        while let Some(is_stored) = self.keeper.written().await {
            self.machine.handle_stored(now(), is_stored);
        }
        if let Some(changes) = self.machine.last_changes() {
            self.keeper.write(changes);
            self.keeper.written().await;
        }
        // Before anybody hears that the server has ended: the next one may open the file at once.
        self.keeper.close().await;
    }
}
