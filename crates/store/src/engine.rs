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

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::sync::mpsc;
    use std::task::{Context, Poll, Waker};
    use std::thread;

    use async_trait::async_trait;
    use osds_model::Volume;
    use osds_model::id::VolumeId;

    use super::*;
    use crate::decide::{DecideError, decide};
    use crate::{Store, make};

    /// A disk that says when a batch arrives, and how large, and waits to be told how it goes.
    struct Gate {
        arrived: mpsc::Sender<usize>,
        verdict: mpsc::Receiver<Result<(), StoreError>>,
    }

    impl Sink for Gate {
        fn write(&mut self, batch: &[Pending]) -> Result<(), StoreError> {
            self.arrived.send(batch.len()).unwrap();
            self.verdict.recv().expect("told how it goes")
        }
    }

    struct Gated {
        engine: Arc<Engine>,
        arrived: mpsc::Receiver<usize>,
        verdict: mpsc::Sender<Result<(), StoreError>>,
        writer: thread::JoinHandle<()>,
    }

    impl Gated {
        fn new() -> Self {
            let (arrived, verdict) = (mpsc::channel(), mpsc::channel());
            let engine = Arc::new(Engine::queued(View::default()));
            let mut gate = Gate { arrived: arrived.0, verdict: verdict.1 };
            let writer = thread::spawn({
                let engine = Arc::clone(&engine);
                move || engine.drain(&mut gate)
            });
            Self { engine, arrived: arrived.1, verdict: verdict.0, writer }
        }

        fn create(&self, id: u128) -> oneshot::Receiver<Result<Revision, StoreError>> {
            let txn = Txn::new().create(make::volume(id));
            match self.engine.submit(Encoded { txn, values: Vec::new() }).unwrap() {
                Submitted::Waiting(answer) => answer,
                Submitted::Durable(revision) => panic!("{revision} cannot be durable yet"),
            }
        }
    }

    #[async_trait]
    impl Store for Engine {
        fn view(&self) -> Arc<View> {
            self.view()
        }
        fn latest(&self) -> Arc<View> {
            self.latest()
        }
        async fn commit(&self, txn: Txn) -> Result<Revision, StoreError> {
            self.commit(Encoded { txn, values: Vec::new() }).await
        }
        fn watch(&self) -> Watch {
            self.watch()
        }
    }

    fn knows(view: &View, id: u128) -> bool {
        view.get::<Volume>(VolumeId::from_u128(id)).is_some()
    }

    fn disk_full() -> StoreError {
        StoreError::unavailable("the disk is full")
    }

    #[test]
    fn only_what_is_durable_is_shown_hinted_and_answered() {
        let gated = Gated::new();
        let mut watch = gated.engine.watch();
        let mut answer = gated.create(1);
        assert_eq!(gated.arrived.recv(), Ok(1));
        assert!(knows(&gated.engine.latest(), 1));
        assert!(!knows(&gated.engine.view(), 1));
        assert!(answer.try_recv().is_err());
        assert_eq!(watch.try_next(), None);
        gated.verdict.send(Ok(())).unwrap();
        assert_eq!(answer.blocking_recv().unwrap().unwrap(), Revision(1));
        assert!(knows(&gated.engine.view(), 1));
        assert!(watch.try_next().is_some());
    }

    #[test]
    fn those_who_wait_share_one_write() {
        let gated = Gated::new();
        let first = gated.create(0);
        assert_eq!(gated.arrived.recv(), Ok(1));
        let others: Vec<_> = (1..=10).map(|id| gated.create(id)).collect();
        gated.verdict.send(Ok(())).unwrap();
        assert!(first.blocking_recv().unwrap().is_ok());
        assert_eq!(gated.arrived.recv(), Ok(10));
        gated.verdict.send(Ok(())).unwrap();
        for (answer, revision) in others.into_iter().zip(2..) {
            assert_eq!(answer.blocking_recv().unwrap().unwrap(), Revision(revision));
        }
    }

    #[test]
    fn a_refusal_and_a_yes_without_a_commit_wait_for_what_they_rest_on() {
        let gated = Gated::new();
        let store: &dyn Store = &*gated.engine;
        let created = gated.create(1);
        assert_eq!(gated.arrived.recv(), Ok(1));
        let found = |view: &View| if knows(view, 1) { Err("exists") } else { Ok((Txn::new(), ())) };
        let mut refusal = pin!(decide(store, found));
        let mut yes = pin!(decide(store, |_| Ok::<_, ()>((Txn::new(), ()))));
        let context = &mut Context::from_waker(Waker::noop());
        assert!(refusal.as_mut().poll(context).is_pending(), "it is not durable that it exists");
        assert!(yes.as_mut().poll(context).is_pending());
        gated.verdict.send(Ok(())).unwrap();
        assert!(created.blocking_recv().unwrap().is_ok());
        assert_eq!(gated.arrived.recv(), Ok(2));
        gated.verdict.send(Ok(())).unwrap();
        // An empty commit of our own is behind theirs.
        gated.engine.close();
        gated.writer.join().unwrap();
        let refused = refusal.as_mut().poll(context);
        assert!(matches!(refused, Poll::Ready(Err(DecideError::Refused("exists")))));
        assert!(matches!(yes.as_mut().poll(context), Poll::Ready(Ok(()))));
    }

    #[test]
    fn a_failed_write_fails_all_that_rests_on_it() {
        let gated = Gated::new();
        let mut watch = gated.engine.watch();
        let first = gated.create(1);
        assert_eq!(gated.arrived.recv(), Ok(1));
        let second = gated.create(2);
        gated.verdict.send(Err(disk_full())).unwrap();
        for answer in [first, second] {
            let error = answer.blocking_recv().unwrap().unwrap_err();
            assert!(error.to_string().contains("the disk is full"), "{error}");
        }
        gated.writer.join().unwrap();
        assert!(!knows(&gated.engine.latest(), 1), "the head falls back to what is durable");
        let txn = Txn::new().create(make::volume(3));
        let later = gated.engine.submit(Encoded { txn, values: Vec::new() }).err().unwrap();
        assert!(later.to_string().contains("the disk is full"), "{later}");
        assert_eq!(watch.try_next(), None);
    }

    #[test]
    fn a_writer_that_panics_leaves_nobody_waiting() {
        let gated = Gated::new();
        let answer = gated.create(1);
        assert_eq!(gated.arrived.recv(), Ok(1));
        let second = gated.create(2);
        drop(gated.verdict);
        assert!(answer.blocking_recv().is_err(), "its sender is gone, which commit() reports");
        assert!(second.blocking_recv().unwrap_or_else(|_| Err(lost())).is_err());
        assert!(gated.writer.join().is_err());
        assert!(!knows(&gated.engine.latest(), 1));
        assert!(gated.engine.submit(Encoded::default()).is_err());
    }

    #[test]
    fn closing_lets_those_on_their_way_arrive() {
        let gated = Gated::new();
        let first = gated.create(1);
        assert_eq!(gated.arrived.recv(), Ok(1));
        let second = gated.create(2);
        gated.engine.close();
        assert!(gated.engine.submit(Encoded::default()).is_err());
        gated.verdict.send(Ok(())).unwrap();
        gated.verdict.send(Ok(())).unwrap();
        assert!(first.blocking_recv().unwrap().is_ok());
        assert!(second.blocking_recv().unwrap().is_ok());
        gated.writer.join().unwrap();
        assert!(knows(&gated.engine.view(), 2));
    }
}
