//! The look at everything: what a crash left half done, what somebody changed behind our back.
//!
//! A dock is asked once for all it holds; only volumes that are not as their record says are
//! poked. What no record accounts for is reported, and never touched: it may be somebody's data.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::PoisonError;

use osds_dock_api::Inventory;
use osds_lifecycle::volume;
use osds_model::{Capacity, DockId, Host, Pool, PoolId, Volume, VolumeId};
use osds_store::{Txn, View, decide};
use tracing::{info, warn};

use super::Reconciler;
use crate::hosts::put_out;
use crate::volumes::with_allocated;
use crate::{Error, groups, requests};

impl Reconciler {
    /// Looks at every record once; [`Self::sweep_dock`] looks at what is really there.
    pub(super) async fn sweep(&self) {
        self.finish_fences().await;
        self.poke_unsettled();
        self.mend_allocations().await;
        if let Err(error) = groups::remove_empty(self.inner.store.as_ref()).await {
            warn!(%error, "empty groups not removed; will try again");
        }
        let now = self.inner.clock.now();
        if let Err(error) = requests::forget_old(self.inner.store.as_ref(), now).await {
            warn!(%error, "old request keys not forgotten; will try again");
        }
    }

    /// A fence whose controller crashed before every volume was detached.
    async fn finish_fences(&self) {
        let view = self.inner.store.view();
        for host in view.iter::<Host>().filter(|host| host.fence.is_some()) {
            match put_out(self.inner.store.as_ref(), host.id, self.inner.clock.now()).await {
                Ok(volumes) => volumes.into_iter().for_each(|volume| self.poke(volume)),
                Err(error) => warn!(host_id = %host.id, %error, "fence not finished; will retry"),
            }
        }
    }

    fn poke_unsettled(&self) {
        let view = self.inner.store.view();
        for volume in view.iter::<Volume>().filter(|v| !volume::is_settled(&v.state)) {
            self.poke(volume.id);
        }
    }

    /// After a start, targets may be reached in another way than before: the docks say how.
    pub(super) fn poke_attached(&self) {
        let view = self.inner.store.view();
        for volume in view.iter::<Volume>().filter(|v| !v.state.attachments.is_empty()) {
            self.poke(volume.id);
        }
    }

    /// Compares what a dock holds with what is on record.
    pub(super) async fn sweep_dock(&self, id: DockId) {
        let Some(dock) = self.inner.dock(id) else { return };
        // Volumes that come or go while the dock counts are on record before or after.
        let before = self.inner.store.view();
        match dock.inventory().await {
            Ok(inventory) => self.compare(id, &before, &inventory),
            Err(error) => {
                warn!(dock_id = %id, %error, "dock does not say what it holds; will ask again");
            }
        }
    }

    fn compare(&self, dock: DockId, before: &View, inventory: &Inventory) {
        let view = self.inner.store.view();
        let mut known: BTreeSet<VolumeId> =
            before.pools_of_dock(dock).flat_map(|pool| before.volumes_in_pool(pool)).collect();
        for pool in view.pools_of_dock(dock) {
            for id in view.volumes_in_pool(pool) {
                known.insert(id);
                let Some(volume) = view.get::<Volume>(id) else { continue };
                let held = inventory.volumes.get(&id);
                let as_recorded = held.is_some_and(|held| {
                    held.as_wished && held.generation == volume.state.generation
                });
                if !as_recorded && volume::is_settled(&volume.state) {
                    info!(volume_id = %id, dock_id = %dock, "drift found; mending");
                    self.poke(id);
                }
            }
        }
        let wanted = inventory.volumes.keys().filter(|id| !known.contains(id));
        let strays = inventory.strays.iter().filter(|id| !known.contains(id));
        let unaccounted: BTreeSet<String> = wanted
            .map(|id| format!("volume {id} is on the dock's ledger, and not on record"))
            .chain(strays.map(|id| format!("volume {id} is stored or exported, and not on record")))
            .chain(inventory.foreign.iter().cloned())
            .collect();
        let mut all = self.inner.unaccounted.lock().unwrap_or_else(PoisonError::into_inner);
        let before = all.insert(dock, unaccounted.clone()).unwrap_or_default();
        for what in unaccounted.difference(&before) {
            warn!(dock_id = %dock, what, "not accounted for; left alone");
        }
    }

    /// What pools have promised, counted anew. It never differs, unless a record was edited by
    /// hand or there is a bug: then it is mended and said.
    async fn mend_allocations(&self) {
        let mended = decide::<_, Error>(self.inner.store.as_ref(), |view| {
            let mut promised: BTreeMap<PoolId, Capacity> = BTreeMap::new();
            for volume in view.iter::<Volume>() {
                let sum = promised.entry(volume.pool).or_default();
                *sum = sum.plus(volume::footprint(&volume.state));
            }
            let mut txn = Txn::new();
            for pool in view.iter::<Pool>() {
                let counted = promised.get(&pool.id).copied().unwrap_or_default();
                if counted != pool.allocated {
                    warn!(
                        pool_id = %pool.id, recorded = %pool.allocated, counted = %counted,
                        "allocated space was wrong; mending"
                    );
                    txn = txn.replace(pool, with_allocated(pool, counted));
                }
            }
            Ok((txn, ()))
        });
        if let Err(error) = mended.await {
            warn!(%error, "allocated space not checked; will try again");
        }
    }
}
