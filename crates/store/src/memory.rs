//! A store that forgets: for tests, and for what nobody needs to keep.
//!
//! It is the shared [`Engine`] without anything behind it, so what holds for it in tests holds for
//! the one on disk. It has no thread of its own: a commit is done when `commit` returns, which
//! keeps tests with a paused clock honest.

use std::sync::Arc;

use async_trait::async_trait;

use crate::Store;
use crate::engine::{Encoded, Engine};
use crate::error::StoreError;
use crate::record::Revision;
use crate::txn::Txn;
use crate::view::View;
use crate::watch::Watch;

/// Keeps records as long as it lives.
pub struct MemoryStore {
    engine: Engine,
}

impl MemoryStore {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self { engine: Engine::direct(View::default()) }
    }

    /// Refuses every later commit, as the embedded store does when it is closed.
    pub fn close(&self) {
        self.engine.close();
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl Store for MemoryStore {
    fn view(&self) -> Arc<View> {
        self.engine.view()
    }

    fn latest(&self) -> Arc<View> {
        self.engine.latest()
    }

    async fn commit(&self, txn: Txn) -> Result<Revision, StoreError> {
        self.engine.commit(Encoded { txn, values: Vec::new() }).await
    }

    fn watch(&self) -> Watch {
        self.engine.watch()
    }
}
