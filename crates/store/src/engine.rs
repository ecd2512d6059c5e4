//! The machine that both stores share: decide order in memory, make it durable behind.
//!
//! A commit is checked against the head (the latest view) and applied to it under a short lock;
//! that fixes the order. A [`Sink`] then makes commits durable in that order, many at a time, and
//! only then are they published to readers, hinted, and answered. When the sink fails, the head
//! falls back to what is durable and the store refuses everything until the process is restarted:
//! after a failed write nobody can know what is on the disk without reading it again.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use tokio::sync::oneshot;

use crate::error::StoreError;
use crate::record::Revision;
use crate::txn::Txn;
use crate::view::View;
use crate::watch::{Changes, Hints, Watch};

/// The part of a store that makes commits last.
pub(crate) trait Sink {
    /// Makes all of `batch` durable, or fails and is never called again.
    fn write(&mut self, batch: &[Pending]) -> Result<(), StoreError>;
}

/// A commit that is decided and not yet durable. One that writes nothing only waits for those
/// before it.
#[derive(Debug)]
pub(crate) struct Pending {
    /// What it writes.
    pub(crate) txn: Encoded,
    /// Everything as of this commit.
    pub(crate) view: Arc<View>,
    answer: oneshot::Sender<Result<Revision, StoreError>>,
}

/// A transaction with its records as bytes, made before the lock is taken.
#[derive(Debug, Default)]
pub(crate) struct Encoded {
    pub(crate) txn: Txn,
    /// One for each record that is put, in order; none when the store needs no bytes.
    pub(crate) values: Vec<Vec<u8>>,
}

/// See the top of the file.
pub(crate) struct Engine {
    head: Mutex<Head>,
    wake: Condvar,
    durable: ArcSwap<View>,
    hints: Hints,
}

struct Head {
    latest: Arc<View>,
    state: State,
}

enum State {
    /// Commits are durable as soon as they are decided: there is no disk.
    Direct,
    /// Commits wait here for [`Engine::drain`], which another thread runs.
    Queued(Vec<Pending>),
    /// As `Queued`, and no more will come.
    Closing(Vec<Pending>),
    /// Nothing goes any more, and why.
    Ended(StoreError),
}

impl Engine {
    pub(crate) fn direct(view: View) -> Self {
        Self::new(view, State::Direct)
    }

    pub(crate) fn queued(view: View) -> Self {
        Self::new(view, State::Queued(Vec::new()))
    }

    fn new(view: View, state: State) -> Self {
        let latest = Arc::new(view);
        Self {
            durable: ArcSwap::new(Arc::clone(&latest)),
            head: Mutex::new(Head { latest, state }),
            wake: Condvar::new(),
            hints: Hints::new(),
        }
    }

    pub(crate) fn view(&self) -> Arc<View> {
        self.durable.load_full()
    }

    pub(crate) fn latest(&self) -> Arc<View> {
        Arc::clone(&self.head().latest)
    }

    pub(crate) fn watch(&self) -> Watch {
        self.hints.watch()
    }

    pub(crate) async fn commit(&self, txn: Encoded) -> Result<Revision, StoreError> {
        match self.submit(txn)? {
            Submitted::Durable(revision) => Ok(revision),
            Submitted::Waiting(answer) => answer.await.unwrap_or_else(|_| Err(lost())),
        }
    }

    fn submit(&self, encoded: Encoded) -> Result<Submitted, StoreError> {
        let mut head = self.head();
        let Head { latest, state } = &mut *head;
        if let State::Ended(error) = state {
            return Err(error.clone());
        }
        latest.check(&encoded.txn)?;
        let writes = encoded.txn.written().next().is_some();
        let view = if writes { Arc::new(latest.after(&encoded.txn)) } else { Arc::clone(latest) };
        let revision = view.revision();
        match state {
            State::Direct => {
                *latest = Arc::clone(&view);
                self.publish(view, changes([&encoded.txn]));
                Ok(Submitted::Durable(revision))
            }
            State::Queued(queue) => {
                if !writes && self.durable.load().revision() >= revision {
                    return Ok(Submitted::Durable(revision));
                }
                *latest = Arc::clone(&view);
                let (answer, waiting) = oneshot::channel();
                queue.push(Pending { txn: encoded, view, answer });
                self.wake.notify_one();
                Ok(Submitted::Waiting(waiting))
            }
            State::Closing(_) => Err(closed()),
            State::Ended(error) => Err(error.clone()),
        }
    }

    /// Takes commits to `sink` until the store is closed or `sink` fails. Run by one thread.
    pub(crate) fn drain(&self, sink: &mut dyn Sink) {
        // If the sink panics, the waiters must not wait for ever.
        let _ended = EndOnDrop(self);
        while let Some(batch) = self.next_batch() {
            match sink.write(&batch) {
                Ok(()) => self.settle(batch),
                Err(error) => {
                    self.end(&error);
                    for pending in batch {
                        let _ = pending.answer.send(Err(error.clone()));
                    }
                    return;
                }
            }
        }
    }

    fn next_batch(&self) -> Option<Vec<Pending>> {
        let mut head = self.head();
        loop {
            match &mut head.state {
                State::Queued(queue) if queue.is_empty() => {}
                State::Closing(queue) if queue.is_empty() => return None,
                State::Queued(queue) | State::Closing(queue) => {
                    return Some(std::mem::take(queue));
                }
                State::Direct | State::Ended(_) => return None,
            }
            head = self.wake.wait(head).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Publishes, hints and answers a batch that is durable.
    fn settle(&self, batch: Vec<Pending>) {
        if let Some(last) = batch.last() {
            let changes = changes(batch.iter().map(|pending| &pending.txn.txn));
            self.publish(Arc::clone(&last.view), changes);
        }
        for pending in batch {
            // Whoever stopped waiting does not want to know.
            let _ = pending.answer.send(Ok(pending.view.revision()));
        }
    }

    fn publish(&self, view: Arc<View>, changes: Changes) {
        self.durable.store(view);
        if !changes.is_empty() {
            self.hints.send(changes);
        }
    }

    /// Takes no more commits; those that wait still become durable.
    pub(crate) fn close(&self) {
        let mut head = self.head();
        match &mut head.state {
            State::Direct => {
                head.state = State::Ended(closed());
                self.hints.close();
            }
            State::Queued(queue) => head.state = State::Closing(std::mem::take(queue)),
            State::Closing(_) | State::Ended(_) => {}
        }
        self.wake.notify_all();
    }

    /// Refuses everything from now on with `error`, unless it has ended before.
    fn end(&self, error: &StoreError) {
        let mut head = self.head();
        let refused = match std::mem::replace(&mut head.state, State::Ended(error.clone())) {
            State::Queued(queue) | State::Closing(queue) => queue,
            State::Direct => Vec::new(),
            State::Ended(first) => {
                head.state = State::Ended(first);
                Vec::new()
            }
        };
        head.latest = self.durable.load_full();
        drop(head);
        for pending in refused {
            let _ = pending.answer.send(Err(error.clone()));
        }
        self.hints.close();
    }

    /// A panic while it was held cannot have left it half changed: every change is one assignment.
    fn head(&self) -> MutexGuard<'_, Head> {
        self.head.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

enum Submitted {
    Durable(Revision),
    Waiting(oneshot::Receiver<Result<Revision, StoreError>>),
}

struct EndOnDrop<'a>(&'a Engine);

impl Drop for EndOnDrop<'_> {
    fn drop(&mut self) {
        self.0.end(&if std::thread::panicking() { lost() } else { closed() });
    }
}

fn changes<'a>(txns: impl IntoIterator<Item = &'a Txn>) -> Changes {
    txns.into_iter().flat_map(Txn::written).collect()
}

fn lost() -> StoreError {
    StoreError::unavailable("the writer has stopped on a bug: see the log, and restart osds")
}

fn closed() -> StoreError {
    StoreError::unavailable("it is closed, because osds is shutting down")
}
