//! Writes of the address book, one at a time and off the server's task, which waits for none. What is written when is
//! the machine's (`server/known.rs`), the file is `book.rs`'s.

use std::{error::Error, sync::Arc};

use tokio::task::JoinSet;

use crate::BookChanges;

/// Where an address book is kept.
pub(super) trait BookStore: Send + Sync {
    /// Writes what has changed, all of it or nothing.
    fn write(&self, changes: &BookChanges) -> Result<(), Box<dyn Error + Send + Sync>>;
}

/// Writes an address book, if there is one.
pub(super) struct Keeper {
    store: Option<Arc<dyn BookStore>>,
    /// At most one: the machine puts no other out before it has heard of the last.
    writes: JoinSet<bool>,
}

impl Keeper {
    pub(super) fn new(store: Option<Arc<dyn BookStore>>) -> Self {
        Self { store, writes: JoinSet::new() }
    }

    pub(super) fn write(&mut self, changes: BookChanges) {
        let Some(store) = self.store.clone() else { return };
        self.writes.spawn_blocking(move || match store.write(&changes) {
            Ok(()) => true,
            Err(error) => {
                tracing::warn!(%error, "the address book cannot be written; kept in memory, tried again in a minute");
                false
            }
        });
    }

    /// Closes the file, which is free for another node when this returns.
    pub(super) async fn close(&mut self) {
        if let Some(store) = self.store.take() {
            self.writes.spawn_blocking(move || {
                drop(store);
                true
            });
        }
        while self.written().await.is_some() {}
    }

    /// Whether the write under way went well, once it is over; None when there is none.
    pub(super) async fn written(&mut self) -> Option<bool> {
        let written = self.writes.join_next().await?;
        Some(written.unwrap_or(false))
    }
}
