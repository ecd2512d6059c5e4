//! Waiting for something to settle, without polling: a waiter looks, and looks again whenever the
//! store hints that the record changed.
//!
//! A waiter listens before it looks, so a change in between is never missed. Hints carry no data: a
//! lost one (the watch lagged) wakes everybody, which costs a look and can never be wrong. A wait
//! ends at rest, at its time limit or with the daemon, and says nothing: its caller looks for
//! itself.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use osds_lifecycle::status;
use osds_model::{AttachmentId, SnapshotId, VolumeId};
use osds_store::{Hint, Kind, View, Watch};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::Controller;

/// Who waits for which volume.
#[derive(Clone, Default)]
pub(crate) struct Waiters {
    waiting: Arc<Mutex<HashMap<Uuid, Arc<Notify>>>>,
}

impl Waiters {
    /// Wakes waiters as the store's hints come in.
    pub(crate) fn follow(&self, mut watch: Watch, stop: CancellationToken) {
        let waiters = self.clone();
        tokio::spawn(async move {
            loop {
                let hint = tokio::select! {
                    () = stop.cancelled() => None,
                    hint = watch.next() => hint,
                };
                match hint {
                    Some(Hint::Changed(changes)) => waiters.wake(&changes),
                    Some(Hint::Lagged) => waiters.wake_all(),
                    None => return waiters.wake_all(),
                }
            }
        });
    }

    fn wake(&self, changes: &[(Kind, Uuid)]) {
        let waiting = self.lock();
        if waiting.is_empty() {
            return;
        }
        for (_, key) in changes.iter().filter(|(kind, _)| *kind == Kind::Volume) {
            if let Some(notify) = waiting.get(key) {
                notify.notify_waiters();
            }
        }
    }

    fn wake_all(&self) {
        self.lock().values().for_each(|notify| notify.notify_waiters());
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Uuid, Arc<Notify>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes a waiter's entry away again, also when the wait is dropped half-way.
struct Seat<'a> {
    waiters: &'a Waiters,
    key: Uuid,
    notify: Arc<Notify>,
}

impl<'a> Seat<'a> {
    fn take(waiters: &'a Waiters, key: Uuid) -> Self {
        let notify = Arc::clone(waiters.lock().entry(key).or_default());
        Self { waiters, key, notify }
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        let mut waiting = self.waiters.lock();
        // The map and this seat: nobody else.
        if Arc::strong_count(&self.notify) == 2 {
            waiting.remove(&self.key);
        }
    }
}

impl Controller {
    /// Waits until nothing is under way for the volume, it is gone, or `limit` is over.
    pub async fn wait_for_volume(&self, volume: VolumeId, limit: Duration) {
        let at_rest = |view: &View| {
            let found = view.get::<osds_model::Volume>(volume);
            found.is_none_or(|v| status::volume_at_rest(&v.state))
        };
        self.wait_until(volume, limit, at_rest).await;
    }

    /// Waits until nothing is under way for the attachment, it is gone, or `limit` is over.
    pub async fn wait_for_attachment(&self, attachment: AttachmentId, limit: Duration) {
        let Some((volume, host)) = self.store.view().attachment(attachment) else { return };
        let at_rest = move |view: &View| {
            let found = view.get::<osds_model::Volume>(volume);
            let held = found.and_then(|v| v.state.attachments.get(&host));
            held.is_none_or(|h| h.id != attachment || status::attachment_at_rest(h))
        };
        self.wait_until(volume, limit, at_rest).await;
    }

    /// Waits until nothing is under way for the snapshot, it is gone, or `limit` is over.
    pub async fn wait_for_snapshot(&self, snapshot: SnapshotId, limit: Duration) {
        let record = self.store.view().get::<osds_model::Snapshot>(snapshot).cloned();
        let Some(volume) = record.map(|record| record.volume) else { return };
        let at_rest = move |view: &View| {
            let found = view.get::<osds_model::Volume>(volume);
            let state = found.and_then(|v| v.state.snapshots.get(&snapshot));
            state.is_none_or(status::snapshot_at_rest)
        };
        self.wait_until(volume, limit, at_rest).await;
    }

    async fn wait_until(&self, volume: VolumeId, limit: Duration, at_rest: impl Fn(&View) -> bool) {
        let look = async {
            let seat = Seat::take(&self.waiters, volume.into());
            loop {
                // Listen before looking, or a change in between would be missed.
                let changed = seat.notify.notified();
                tokio::pin!(changed);
                changed.as_mut().enable();
                if at_rest(&self.store.view()) || self.reconciler.stopping().is_cancelled() {
                    return;
                }
                changed.await;
            }
        };
        // The caller looks at the record afterwards either way.
        let _ = tokio::time::timeout(limit, look).await;
    }
}
