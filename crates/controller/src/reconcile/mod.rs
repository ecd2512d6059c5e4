//! The loop that makes wishes come true.
//!
//! Activation takes no input: a poke says "look at this volume", the sweep looks at everything,
//! and both run the same code on what is stored now. A volume is worked on by one task at a time;
//! what fails is tried again with growing pauses, which a poke cuts short.
//!
//! A dock may hang for as long as it likes: it has its own task and its own slots, so it holds up
//! nobody but itself. No call of `enforce` is given up half-way: it could take effect later.
//! Must stay true: nothing is kept here that a restart would miss.

mod backoff;
mod discovery;
mod figures;
mod sweep;
mod volume;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use std::future::Future as _;

use osds_dock_api::DockApi;
use osds_model::host::Protocol;
use osds_model::{DockId, Pool, Volume, VolumeId};
use osds_store::Store;
use tokio::sync::{Notify, Semaphore, oneshot};
use tokio::time::{Instant, Interval, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{Instrument, info_span, warn};

use crate::{Clock, Docks};
use backoff::Backoff;

pub use figures::Figures;

/// How long a start waits for docks to say who they are; those that do not are learnt later.
const INTRODUCTION: Duration = Duration::from_secs(10);

/// How the loop runs.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Time between sweeps.
    pub sweep_every: Duration,
    /// How many volumes of one dock are worked on at once.
    pub workers: usize,
    /// First pause after a failure; doubled each time.
    pub retry_first: Duration,
    /// Longest pause.
    pub retry_most: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            sweep_every: Duration::from_secs(30),
            workers: 64,
            retry_first: Duration::from_millis(200),
            retry_most: Duration::from_secs(30),
        }
    }
}

impl Settings {
    fn workers(&self) -> usize {
        self.workers.clamp(1, Semaphore::MAX_PERMITS)
    }
}

/// The loop. Cheap to clone.
#[derive(Clone)]
pub struct Reconciler {
    inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) docks: Docks,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) settings: Settings,
    /// What each dock's initiators must speak, as it last said.
    protocols: Mutex<HashMap<DockId, Protocol>>,
    /// What each dock holds that no record accounts for.
    pub(crate) unaccounted: Mutex<BTreeMap<DockId, BTreeSet<String>>>,
    /// Volumes that a task is looking after.
    tended: Mutex<HashMap<VolumeId, Arc<Tended>>>,
    tally: figures::Tally,
    /// How many more volumes each dock may be given to work on.
    rooms: HashMap<DockId, Semaphore>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// One volume with a task.
#[derive(Default)]
struct Tended {
    /// Stores one permit, so a poke is never lost between two looks.
    poked: Notify,
}

/// How far one look got.
pub(crate) enum Look {
    /// Everything is as wished, or there is nothing any more.
    Settled,
    /// Something failed and is to be tried again.
    Again,
}

impl Reconciler {
    pub(crate) fn new(
        store: Arc<dyn Store>,
        docks: Docks,
        clock: Arc<dyn Clock>,
        settings: Settings,
    ) -> Self {
        let workers = settings.workers();
        let rooms = docks.keys().map(|id| (*id, Semaphore::new(workers))).collect();
        Self {
            inner: Arc::new(Inner {
                store,
                docks,
                clock,
                settings,
                protocols: Mutex::default(),
                unaccounted: Mutex::default(),
                tended: Mutex::default(),
                tally: figures::Tally::default(),
                rooms,
                tasks: TaskTracker::new(),
                stop: CancellationToken::new(),
            }),
        }
    }

    /// Learns the docks and their pools, then sweeps now and for ever.
    pub(crate) async fn start(&self) {
        self.close_orphaned_pools().await;
        let docks: Vec<_> = self.inner.docks.keys().map(|id| (*id, self.watch(*id))).collect();
        let deadline = Instant::now() + INTRODUCTION;
        for (id, described) in docks {
            if tokio::time::timeout_at(deadline, described).await.is_err() {
                warn!(dock_id = %id, "dock does not say who it is; going on without it for now");
            }
        }
        let this = self.clone();
        self.inner.tasks.spawn(async move {
            this.poke_attached();
            let mut tick = this.tick();
            loop {
                tokio::select! {
                    () = this.inner.stop.cancelled() => return,
                    _ = tick.tick() => this.sweep().await,
                }
            }
        });
    }

    /// Asks a dock again and again who it is and what it holds, in a task of its own. The answer
    /// resolves when the dock was asked for the first time.
    fn watch(&self, dock: DockId) -> oneshot::Receiver<()> {
        let (described, first) = oneshot::channel();
        let this = self.clone();
        self.inner.tasks.spawn(async move {
            let watch = async {
                this.discover(dock).await;
                // Whoever started may have gone on without it.
                let _ = described.send(());
                let mut tick = this.tick();
                tick.tick().await;
                loop {
                    this.sweep_dock(dock).await;
                    tick.tick().await;
                    this.discover(dock).await;
                }
            };
            tokio::select! {
                () = this.inner.stop.cancelled() => {}
                () = watch => {}
            }
        });
        first
    }

    fn tick(&self) -> Interval {
        let mut tick = tokio::time::interval(self.inner.settings.sweep_every);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        tick
    }

    /// Stops after the steps that are under way.
    pub(crate) async fn stop(&self) {
        self.inner.stop.cancel();
        self.inner.tasks.close();
        self.inner.tasks.wait().await;
    }

    pub(crate) fn stopping(&self) -> CancellationToken {
        self.inner.stop.clone()
    }

    /// Has a volume looked at soon.
    pub(crate) fn poke(&self, volume: VolumeId) {
        self.inner.poke(volume);
    }

    pub(crate) fn protocol_of(&self, dock: DockId) -> Option<Protocol> {
        self.inner.protocols.lock().unwrap_or_else(PoisonError::into_inner).get(&dock).copied()
    }

    pub(crate) fn dock(&self, id: DockId) -> Option<Arc<dyn DockApi>> {
        self.inner.dock(id)
    }

    pub(crate) fn docks(&self) -> impl Iterator<Item = (DockId, Arc<dyn DockApi>)> {
        self.inner.docks.iter().map(|(id, dock)| (*id, Arc::clone(dock)))
    }

    pub(crate) fn unaccounted(&self, dock: DockId) -> Vec<String> {
        let all = self.inner.unaccounted.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(&dock).into_iter().flatten().cloned().collect()
    }
}

impl Inner {
    fn poke(self: &Arc<Self>, volume: VolumeId) {
        if self.stop.is_cancelled() {
            return;
        }
        let mut tended = self.tended();
        if let Some(running) = tended.get(&volume) {
            running.poked.notify_one();
            return;
        }
        let entry = Arc::new(Tended::default());
        tended.insert(volume, Arc::clone(&entry));
        drop(tended);
        let inner = Arc::clone(self);
        // Not below the request that poked: the work outlives it, and others poke too.
        let span = info_span!(parent: None, "reconcile", volume_id = %volume);
        let tend = async move {
            // Also after a panic: an entry without a task would swallow every later poke.
            let _seat = Seat { inner: &inner, volume, entry: &entry };
            inner.tend(volume, &entry).await;
        };
        self.tasks.spawn(tend.instrument(span));
    }

    /// Looks after one volume until it is settled and nobody poked meanwhile.
    async fn tend(self: &Arc<Self>, volume: VolumeId, entry: &Tended) {
        let mut backoff = Backoff::new(self.settings.retry_first, self.settings.retry_most);
        loop {
            let look = {
                let _room = match self.room(volume) {
                    Some(room) => room.acquire().await.ok(),
                    None => None,
                };
                if self.stop.is_cancelled() {
                    return;
                }
                self.look_at(volume).await
            };
            let pause = match look {
                Look::Settled => {
                    let mut tended = self.tended();
                    // A poke takes this same lock, so none can fall between the two lines.
                    if !poked(entry) {
                        tended.remove(&volume);
                        return;
                    }
                    backoff.reset();
                    continue;
                }
                Look::Again => backoff.next(),
            };
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = entry.poked.notified() => backoff.reset(),
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// The slots of the volume's dock; none when there is nobody to ask.
    fn room(&self, volume: VolumeId) -> Option<&Semaphore> {
        let view = self.store.view();
        let pool = view.get::<Volume>(volume)?.pool;
        self.rooms.get(&view.get::<Pool>(pool)?.dock)
    }

    pub(crate) fn dock(&self, id: DockId) -> Option<Arc<dyn DockApi>> {
        self.docks.get(&id).map(Arc::clone)
    }

    fn tended(&self) -> MutexGuard<'_, HashMap<VolumeId, Arc<Tended>>> {
        self.tended.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A task's place in the map, left when the task ends, however it ends.
struct Seat<'a> {
    inner: &'a Inner,
    volume: VolumeId,
    entry: &'a Arc<Tended>,
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        let mut tended = self.inner.tended();
        // It may be somebody else's by now.
        if tended.get(&self.volume).is_some_and(|entry| Arc::ptr_eq(entry, self.entry)) {
            tended.remove(&self.volume);
        }
    }
}

/// Takes the permit that a poke left, if there is one.
fn poked(entry: &Tended) -> bool {
    use std::task::{Context, Poll, Waker};
    let notified = std::pin::pin!(entry.poked.notified());
    notified.poll(&mut Context::from_waker(Waker::noop())) == Poll::Ready(())
}
