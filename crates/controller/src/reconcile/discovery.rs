//! What docks say of themselves, written down: the docks and their pools.
//!
//! A pool that its dock no longer reports, or reports as broken, stays on record as unavailable:
//! volumes live in it. Small changes of free space are not worth a write.

use std::sync::PoisonError;

use osds_dock_api::{DockDescription, PoolDescription, TargetDescription};
use osds_model::pool::PoolSpec;
use osds_model::{Capacity, Dock, DockId, Pool};
use osds_store::{DecideError, Txn, View, decide};
use tracing::{info, warn};

use super::Reconciler;
use crate::Error;

impl Reconciler {
    /// Asks a dock who it is and what it has.
    pub(super) async fn discover(&self, id: DockId) {
        let Some(dock) = self.inner.dock(id) else { return };
        let described = match dock.describe().await {
            Ok(described) => described,
            Err(error) => {
                warn!(dock_id = %id, %error, "dock does not describe itself; will ask again");
                self.close_pools(|pool| pool.dock == id).await;
                return;
            }
        };
        let protocol = described.target.protocol;
        self.inner
            .protocols
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(described.id, protocol);
        if let Err(error) = self.record(&described).await {
            warn!(dock_id = %id, %error, "dock could not be recorded; will try again");
        }
    }

    /// Pools of docks that this controller does not have: a backend that was renamed or taken out
    /// of the configuration. Their volumes stay on record, and no new ones go there.
    pub(super) async fn close_orphaned_pools(&self) {
        self.close_pools(|pool| !self.inner.docks.contains_key(&pool.dock)).await;
    }

    async fn close_pools(&self, which: impl Fn(&Pool) -> bool) {
        let now = self.inner.clock.now();
        let closed = decide::<_, Error>(self.inner.store.as_ref(), |view| {
            let mut txn = Txn::new();
            for pool in view.iter::<Pool>().filter(|pool| pool.available && which(pool)) {
                warn!(pool_id = %pool.id, name = pool.spec.name, "no backend serves this pool");
                let gone = Pool { available: false, updated_at: Some(now), ..Pool::clone(pool) };
                txn = txn.replace(pool, gone);
            }
            Ok((txn, ()))
        });
        if let Err(error) = closed.await {
            warn!(%error, "pools that nobody serves could not be closed; will try again");
        }
    }

    async fn record(&self, dock: &DockDescription) -> Result<(), DecideError<Error>> {
        let now = self.inner.clock.now();
        decide(self.inner.store.as_ref(), |view| {
            let mut txn = Txn::new();
            let fresh = Dock {
                id: dock.id,
                created_at: now,
                updated_at: None,
                name: dock.name.clone(),
                description: dock.description.clone(),
                endpoint: dock.endpoint.clone(),
                node: dock.node.clone(),
                driver: dock.driver.clone(),
                metadata: std::collections::BTreeMap::new(),
            };
            match view.get::<Dock>(dock.id) {
                None => txn = txn.create(fresh),
                Some(old) => {
                    let same = Dock {
                        created_at: old.created_at,
                        updated_at: old.updated_at,
                        ..fresh.clone()
                    };
                    if same != **old {
                        txn = txn.replace(old, Dock { updated_at: Some(now), ..same });
                    }
                }
            }
            for pool in &dock.pools {
                txn = record_pool(txn, view, dock, pool, now);
            }
            for id in view.pools_of_dock(dock.id) {
                let reported = dock.pools.iter().any(|pool| pool.id == id);
                if let Some(old) = view.get::<Pool>(id).filter(|p| !reported && p.available) {
                    warn!(pool_id = %id, "pool is no longer reported by its dock");
                    let gone = Pool { available: false, updated_at: Some(now), ..Pool::clone(old) };
                    txn = txn.replace(old, gone);
                }
            }
            Ok((txn, ()))
        })
        .await
    }
}

fn record_pool(
    txn: Txn,
    view: &View,
    dock: &DockDescription,
    pool: &PoolDescription,
    now: osds_model::Timestamp,
) -> Txn {
    let TargetDescription { enforces_read_only, enforces_credentials, .. } = dock.target;
    match (view.get::<Pool>(pool.id), &pool.spec) {
        (None, Ok(spec)) => {
            info!(pool_id = %pool.id, name = pool.name, "pool found");
            txn.create(Pool {
                id: pool.id,
                created_at: now,
                updated_at: None,
                dock: dock.id,
                available: true,
                enforces_read_only,
                enforces_credentials,
                spec: spec.clone(),
                allocated: Capacity::ZERO,
            })
        }
        (None, Err(fault)) => {
            warn!(pool_id = %pool.id, name = pool.name, %fault, "pool is not usable");
            txn
        }
        (Some(old), Ok(spec)) => {
            let same = old.available
                && old.enforces_read_only == enforces_read_only
                && old.enforces_credentials == enforces_credentials
                && alike(&old.spec, spec);
            if same {
                return txn;
            }
            let new = Pool {
                available: true,
                enforces_read_only,
                enforces_credentials,
                spec: spec.clone(),
                updated_at: Some(now),
                ..Pool::clone(old)
            };
            txn.replace(old, new)
        }
        (Some(old), Err(fault)) if old.available => {
            warn!(pool_id = %pool.id, name = pool.name, %fault, "pool is not usable any more");
            let new = Pool { available: false, updated_at: Some(now), ..Pool::clone(old) };
            txn.replace(old, new)
        }
        (Some(_), Err(_)) => txn,
    }
}

/// Whether two reports differ in nothing but less than a GiB of space.
fn alike(old: &PoolSpec, new: &PoolSpec) -> bool {
    let as_old = PoolSpec { total: old.total, usable: old.usable, ..new.clone() };
    as_old == *old
        && old.total.whole_gib() == new.total.whole_gib()
        && old.usable.whole_gib() == new.usable.whole_gib()
}
