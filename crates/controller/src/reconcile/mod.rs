//! The loop that makes wishes come true.
//!
//! Activation takes no input: a poke says "look at this volume", the sweep looks at everything,
//! and both run the same code on what is stored now. A volume is worked on by one task at a time;
//! a poke while it runs makes it look once more. What fails is tried again with growing pauses,
//! and a poke cuts a pause short.
//!
//! Must stay true: nothing is kept here that a restart would miss.

mod backoff;
mod discovery;
mod sweep;
mod volume;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use std::future::Future as _;

use osds_dock_api::DockApi;
use osds_model::host::Protocol;
use osds_model::{DockId, VolumeId};
use osds_store::Store;
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{Instrument, info_span};

use crate::{Clock, Docks};
use backoff::Backoff;

/// How the loop runs.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Time between sweeps.
    pub sweep_every: Duration,
    /// How many volumes are worked on at once.
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
    pub(crate) unaccounted: Mutex<BTreeMap<DockId, Vec<String>>>,
    /// Volumes that a task is looking after.
    tended: Mutex<HashMap<VolumeId, Arc<Tended>>>,
    room: Semaphore,
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
        Self {
            inner: Arc::new(Inner {
                store,
                docks,
                clock,
                settings,
                protocols: Mutex::default(),
                unaccounted: Mutex::default(),
                tended: Mutex::default(),
                room: Semaphore::new(settings.workers.max(1)),
                tasks: TaskTracker::new(),
                stop: CancellationToken::new(),
            }),
        }
    }

    /// Learns the docks and their pools, then sweeps now and for ever.
    pub(crate) async fn start(&self) {
        self.discover().await;
        let this = self.clone();
        self.inner.tasks.spawn(async move {
            let mut tick = tokio::time::interval(this.inner.settings.sweep_every);
            tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            let mut first = true;
            loop {
                tokio::select! {
                    () = this.inner.stop.cancelled() => return,
                    _ = tick.tick() => {}
                }
                if std::mem::take(&mut first) {
                    this.poke_attached();
                } else {
                    this.discover().await;
                }
                this.sweep().await;
            }
        });
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
        if self.inner.stop.is_cancelled() {
            return;
        }
        let mut tended = self.inner.tended();
        if let Some(running) = tended.get(&volume) {
            running.poked.notify_one();
            return;
        }
        let entry = Arc::new(Tended::default());
        tended.insert(volume, Arc::clone(&entry));
        drop(tended);
        let inner = Arc::clone(&self.inner);
        // Not below the request that poked: the work outlives it, and others poke too.
        let span = info_span!(parent: None, "reconcile", volume_id = %volume);
        self.inner.tasks.spawn(async move { inner.tend(volume, &entry).await }.instrument(span));
    }

    pub(crate) fn protocol_of(&self, dock: DockId) -> Option<Protocol> {
        self.inner.protocols.lock().unwrap_or_else(PoisonError::into_inner).get(&dock).copied()
    }

    pub(crate) fn unaccounted(&self, dock: DockId) -> Vec<String> {
        let all = self.inner.unaccounted.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(&dock).cloned().unwrap_or_default()
    }
}

impl Inner {
    /// Looks after one volume until it is settled and nobody poked meanwhile.
    async fn tend(&self, volume: VolumeId, entry: &Tended) {
        let mut backoff = Backoff::new(self.settings.retry_first, self.settings.retry_most);
        loop {
            let look = {
                let Ok(_room) = self.room.acquire().await else { return };
                if self.stop.is_cancelled() {
                    break;
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
                () = self.stop.cancelled() => break,
                () = entry.poked.notified() => backoff.reset(),
                () = tokio::time::sleep(pause) => {}
            }
        }
        self.tended().remove(&volume);
    }

    pub(crate) fn dock(&self, id: DockId) -> Option<Arc<dyn DockApi>> {
        self.docks.get(&id).map(Arc::clone)
    }

    fn tended(&self) -> MutexGuard<'_, HashMap<VolumeId, Arc<Tended>>> {
        self.tended.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes the permit that a poke left, if there is one.
fn poked(entry: &Tended) -> bool {
    use std::task::{Context, Poll, Waker};
    let notified = std::pin::pin!(entry.poked.notified());
    notified.poll(&mut Context::from_waker(Waker::noop())) == Poll::Ready(())
}
