//! What the dock holds, and what is there that no wish accounts for.
//!
//! Ledger, storage and target are compared, each listed once, whatever the number of volumes. The
//! answer judges (as wished or not) and mends nothing but the ledger's own files: what to do about
//! a volume is the controller's to say, through a wish. What nobody accounts for is named and left
//! alone, for it may be somebody's data.

use std::collections::{BTreeMap, HashMap};

use osds_dock_api::{DockError, Held, Inventory};
use osds_drivers::storage::EntryName;
use osds_drivers::{DriverError, ExportFacts};
use osds_lifecycle::enforcer::{self, Facts, Failures, SnapshotFact};
use osds_model::{Capacity, Presence, SnapshotId, VolumeId, VolumeWish};
use tracing::warn;

use crate::Dock;
use crate::enforce::{ledger_failed, served};

impl Dock {
    /// Compares the ledger with what the drivers say, and mends the ledger's own files.
    pub(crate) async fn take_inventory(&self) -> Result<Inventory, DockError> {
        let failed = |error: &DriverError| DockError::Failed(error.to_fault());
        let unreadable = |error| ledger_failed("mending", error);
        self.ledger.loaded().await.map_err(unreadable)?;
        for volume in self.ledger.tidy().await.map_err(unreadable)? {
            let turn = self.turn(volume);
            // Whoever works on it writes its wish as well; if not, the next look does.
            let (Ok(_mine), Some(wish)) = (turn.try_lock(), self.ledger.get(volume)) else {
                continue;
            };
            self.ledger.put(&wish).await.map_err(unreadable)?;
            warn!(volume_id = %volume, "a ledger entry was missing and is written anew");
        }
        // The ledger last, so that no volume of ours is taken for a stray. One that is made just
        // now may be judged too early, which costs a look.
        let Stored { mut sizes, mut snapshots, mut foreign } = self.stored().await;
        let mut exports = self.target.exports().await.map_err(|e| failed(&e))?;
        let (mut volumes, mut left) = (BTreeMap::new(), Vec::new());
        for wish in self.ledger.all() {
            let size = sizes.remove(&wish.volume);
            let export = exports.remove(&wish.volume);
            let mut kept = snapshots.remove(&wish.volume).unwrap_or_default();
            let known = |id: &SnapshotId| wish.snapshots.contains_key(id);
            let strange = kept.keys().filter(|id| !known(id));
            foreign.extend(strange.map(|id| stray(wish.volume, *id)));
            kept.retain(|id, _| known(id));
            if wish.presence == Presence::Unwanted {
                // Being deleted; or forgotten, and its pool is there again.
                left.extend(size.map(|_| wish.volume));
            } else {
                let as_wished = is_as_wished(&wish, size, kept, export);
                volumes.insert(wish.volume, Held { generation: wish.generation, as_wished });
            }
        }
        for (volume, kept) in snapshots {
            foreign.extend(kept.into_keys().map(|id| stray(volume, id)));
        }
        let strays = sizes.into_keys().chain(exports.into_keys()).chain(left).collect();
        Ok(Inventory { volumes, strays, foreign })
    }

    /// Every volume and snapshot in every pool, and everything else in them.
    async fn stored(&self) -> Stored {
        let mut stored = Stored::default();
        let Stored { sizes, snapshots, foreign } = &mut stored;
        for pool in self.pools_now().await {
            match self.storage.list(&pool.name).await {
                Ok(entries) => {
                    for entry in entries {
                        match entry.name {
                            EntryName::Volume(id) => drop(sizes.insert(id, entry.size)),
                            EntryName::Snapshot(volume, id) => {
                                let kept = snapshots.entry(volume).or_default();
                                kept.insert(id, SnapshotFact::Whole(entry.size));
                            }
                            EntryName::Foreign(name) => foreign
                                .push(format!("{name} in pool {} is not a volume", pool.name)),
                        }
                    }
                }
                Err(error) => warn!(pool_id = %pool.id, error = %error.chain(), "pool not listed"),
            }
        }
        stored
    }
}

/// What is in the pools.
#[derive(Default)]
struct Stored {
    sizes: HashMap<VolumeId, Capacity>,
    snapshots: HashMap<VolumeId, BTreeMap<SnapshotId, SnapshotFact>>,
    foreign: Vec<String>,
}

fn stray(volume: VolumeId, snapshot: SnapshotId) -> String {
    format!("snapshot {snapshot} of volume {volume} is stored, and not on the dock's ledger")
}

fn is_as_wished(
    wish: &VolumeWish,
    size: Option<Capacity>,
    snapshots: BTreeMap<SnapshotId, SnapshotFact>,
    export: Option<ExportFacts>,
) -> bool {
    if wish.snapshots.iter().any(|(id, wished)| wished.wanted && !snapshots.contains_key(id)) {
        return false;
    }
    let limits = export.as_ref().map(|export| export.limits);
    let offered = export.as_ref().map(|export| export.size);
    let served = export.map(served).unwrap_or_default();
    let facts = Facts { size, served, snapshots, limits, offered, ..Facts::default() };
    enforcer::next_step(wish, &facts, &Failures::new()).is_none() && facts.size.is_some()
}
