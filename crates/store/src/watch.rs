//! Hints that something changed.
//!
//! A hint is a wake-up, never the truth: it names records, the reader looks at the view. So it is
//! harmless to get one twice or late, and a reader that falls behind is told so and looks at
//! everything.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::broadcast;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use uuid::Uuid;

use crate::record::Kind;

/// Records that were written or removed together.
pub type Changes = Arc<[(Kind, Uuid)]>;

/// What [`Watch::next`] says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hint {
    /// These records changed, and [`Store::view`](crate::Store::view) shows it.
    Changed(Changes),
    /// Some hints were dropped because the reader was slow: look at everything.
    Lagged,
}

/// A stream of [`Hint`]s, from the moment it was asked for.
#[derive(Debug)]
pub struct Watch {
    hints: broadcast::Receiver<Changes>,
}

impl Watch {
    /// The next hint; `None` when the store is closed or broken.
    pub async fn next(&mut self) -> Option<Hint> {
        match self.hints.recv().await {
            Ok(changes) => Some(Hint::Changed(changes)),
            Err(RecvError::Lagged(_)) => Some(Hint::Lagged),
            Err(RecvError::Closed) => None,
        }
    }

    /// A hint that is already there.
    pub fn try_next(&mut self) -> Option<Hint> {
        match self.hints.try_recv() {
            Ok(changes) => Some(Hint::Changed(changes)),
            Err(TryRecvError::Lagged(_)) => Some(Hint::Lagged),
            Err(TryRecvError::Empty | TryRecvError::Closed) => None,
        }
    }
}

/// The sending side.
#[derive(Debug)]
pub(crate) struct Hints {
    /// `None` once the store is closed.
    sender: Mutex<Option<broadcast::Sender<Changes>>>,
}

impl Hints {
    /// How many batches a reader may be behind before it lags.
    const DEPTH: usize = 1024;

    pub(crate) fn new() -> Self {
        Self { sender: Mutex::new(Some(broadcast::Sender::new(Self::DEPTH))) }
    }

    pub(crate) fn send(&self, changes: Changes) {
        if let Some(sender) = &*self.sender() {
            // Nobody listening is fine.
            let _ = sender.send(changes);
        }
    }

    pub(crate) fn watch(&self) -> Watch {
        let hints = match &*self.sender() {
            Some(sender) => sender.subscribe(),
            None => broadcast::Sender::new(1).subscribe(),
        };
        Watch { hints }
    }

    /// Ends every watch, once it has seen what was sent.
    pub(crate) fn close(&self) {
        self.sender().take();
    }

    fn sender(&self) -> MutexGuard<'_, Option<broadcast::Sender<Changes>>> {
        self.sender.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
