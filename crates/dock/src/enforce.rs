//! Making one wish true: facts, step, driver call, until no step is left.
//!
//! The pure enforcer names the next step; a driver takes it; then the facts are read back, never
//! assumed. So a step that was done before costs a look, and a driver that says it did and did not
//! is found out. One volume is worked on by one caller at a time, others are not held up.
//!
//! Must stay true: a wish is on the ledger before the first step, and the ledger knows that a
//! volume exists before the answer says so, so that a volume that is lost later is never made anew.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use osds_dock_api::DockError;
use osds_drivers::{BlocksId, DriverError, ExportFacts, Hold, SnapshotFacts};
use osds_keyring::chap;
use osds_lifecycle::enforcer::{self, Facts, Failures, Served, SnapshotFact, Step};
use osds_model::{
    Applied, Capacity, Fault, FaultKind, Grant, HostId, Presence, Secret, SnapshotId, Source,
    VolumeId, VolumeWish,
};
use tokio::sync::Mutex;
use tracing::{debug, info, warn};
use uuid::Uuid;

use crate::{Dock, LedgerError};

/// The longest that writes wait for a copy. Hosts give up on a command after 30 s and more.
pub(crate) const HOLD: Duration = Duration::from_secs(10);

impl Dock {
    /// Puts the wish on the ledger and works until no step is left.
    pub(crate) async fn enforce_wish(&self, wish: &VolumeWish) -> Result<Applied, DockError> {
        let turn = self.turn(wish.volume);
        let _mine = turn.lock().await;
        self.ledger.loaded().await.map_err(|error| ledger_failed("reading", error))?;
        let held = self.ledger.get(wish.volume);
        let wish = enforcer::accept(held.as_ref(), wish)
            .map_err(|rejected| DockError::Rejected(rejected.to_string()))?;
        if held.as_ref() != Some(&wish) {
            self.keep(&wish).await?;
        }
        let (facts, applied) = self.work(&wish).await?;
        // Once the answer is out, the volume is known to have been there: a lost one must not be
        // made anew, whatever late message asks for it.
        let learnt = enforcer::remember(&wish, &facts);
        if learnt != wish {
            self.keep(&learnt).await?;
        }
        Ok(applied)
    }

    async fn keep(&self, wish: &VolumeWish) -> Result<(), DockError> {
        self.ledger.put(wish).await.map_err(|error| ledger_failed("writing", error))
    }

    /// Lets the hosts of an earlier life in again, as the ledger says. Volumes are not made here:
    /// one that is missing now was lost, or was never confirmed and is asked for again.
    pub async fn restore(&self) {
        if self.ledger.loaded().await.is_err() {
            return;
        }
        for volume in self.ledger.volumes() {
            let turn = self.turn(volume);
            let _mine = turn.lock().await;
            // Looked up in its turn: a detach may have been confirmed since this began.
            let Some(wish) = self.ledger.get(volume) else { continue };
            if wish.presence == Presence::Unwanted || wish.hosts.is_empty() {
                continue;
            }
            let wish = VolumeWish { exists: true, ..wish };
            match self.work(&wish).await {
                Ok(_) => debug!(volume_id = %wish.volume, "exports restored from the ledger"),
                Err(error) => warn!(volume_id = %wish.volume, %error, "exports not restored yet"),
            }
        }
        if let Err(error) = self.target.restored().await {
            warn!(error = %error.chain(), "hosts may not reach all of their volumes yet");
        }
    }

    /// What is really there for one volume.
    async fn facts(&self, wish: &VolumeWish) -> Result<Facts, DriverError> {
        let (size, unknown) = match self.size(wish).await {
            Ok(size) => (size, None),
            Err(error) => (None, Some(error.to_fault())),
        };
        let (snapshots, unknown) = match self.snapshots(wish).await {
            Ok(snapshots) => (snapshots, unknown),
            Err(error) => (BTreeMap::new(), unknown.or_else(|| Some(error.to_fault()))),
        };
        let due = self.due(wish);
        let Some(export) = self.target.export_of(wish.volume).await? else {
            return Ok(Facts { size, unknown, snapshots, due, ..Facts::default() });
        };
        let stale = size.is_some() && self.is_stale(wish, export.blocks).await;
        let (limits, offered) = (Some(export.limits), Some(export.size));
        let mut served = served(export);
        if stale {
            // As if by no name that was granted: each host is put out, and let in to what is there.
            served.values_mut().for_each(|served| served.initiators.clear());
        }
        Ok(Facts { size, unknown, served, snapshots, due, limits, offered })
    }

    /// Whether hosts reach other blocks than the volume's: those of one that was lost, while it was
    /// put back under its name. What they write there is never seen again.
    async fn is_stale(&self, wish: &VolumeWish, exported: BlocksId) -> bool {
        let Ok(pool) = self.pool_name(wish).await else { return false };
        let stored = self.storage.open(&pool, wish.volume).await.and_then(|blocks| blocks.id());
        let stale = stored.is_ok_and(|stored| stored != exported);
        if stale {
            warn!(volume_id = %wish.volume, "the volume was exchanged beneath its hosts");
        }
        stale
    }

    async fn size(&self, wish: &VolumeWish) -> Result<Option<Capacity>, DriverError> {
        let found = self.storage.find(&self.pool_name(wish).await?, wish.volume).await?;
        Ok(found.map(|found| found.size))
    }

    /// Those of the wish that are there; what else there may be is nobody's business here.
    async fn snapshots(
        &self,
        wish: &VolumeWish,
    ) -> Result<BTreeMap<SnapshotId, SnapshotFact>, DriverError> {
        if wish.snapshots.is_empty() {
            return Ok(BTreeMap::new());
        }
        let (pool, of) =
            (self.pool_name(wish).await?, Vec::from_iter(wish.snapshots.keys().copied()));
        let of_no_moment = self.of_no_moment(wish)?;
        let found = self.storage.snapshots(&pool, wish.volume, &of).await?;
        let fact = |(id, facts): (SnapshotId, SnapshotFacts)| {
            let whole = facts.whole.filter(|_| !of_no_moment.contains(&id));
            (id, whole.map_or(SnapshotFact::Begun, SnapshotFact::Whole))
        };
        Ok(found.into_iter().map(fact).collect())
    }

    async fn work(&self, wish: &VolumeWish) -> Result<(Facts, Applied), DockError> {
        let failed_at_all = |error: &DriverError| DockError::Failed(error.to_fault());
        self.forget_others(wish).await?;
        let mut failed = Failures::new();
        let mut facts = self.facts(wish).await.map_err(|e| failed_at_all(&e))?;
        while let Some(step) = enforcer::next_step(wish, &facts, &failed) {
            match self.take(step, wish).await {
                Ok(()) => debug!(volume_id = %wish.volume, ?step, "done"),
                Err(error) => {
                    let fault = error.to_fault();
                    warn!(volume_id = %wish.volume, ?step, error = %fault.message, "step failed");
                    failed.insert(step, fault);
                }
            }
            let seen = self.facts(wish).await.map_err(|e| failed_at_all(&e))?;
            // A driver that says it did and did not would have us here for ever.
            if seen == facts
                && let Entry::Vacant(entry) = failed.entry(step)
            {
                entry.insert(Fault::new(FaultKind::Broken, "the driver did nothing"));
            }
            facts = seen;
        }
        if facts.served.is_empty() && wish.hosts.is_empty() {
            self.target.unexport(wish.volume).await.map_err(|e| failed_at_all(&e))?;
        }
        let applied = enforcer::outcome(wish, &facts, &failed);
        Ok((facts, applied))
    }

    /// What is kept of the reservations of a host ends with its access, also when it was taken away
    /// while nothing was exported, and before anybody is let in. Where something is exported the
    /// target sees to it, as it puts the host out.
    async fn forget_others(&self, wish: &VolumeWish) -> Result<(), DockError> {
        let (here, there) = (self.ledger.reservations().has(wish.volume), &self.target);
        if !here && !there.keeps_reservations(wish.volume) {
            return Ok(());
        }
        let failed = |error: DriverError| DockError::Failed(error.to_fault());
        if there.export_of(wish.volume).await.map_err(failed)?.is_some() {
            return Ok(());
        }
        if here {
            let dropped = self.ledger.drop_reservations_of_others(wish).await;
            dropped.map_err(|error| ledger_failed("tidying", error))?;
        }
        let let_in = wish.initiator_names().map(str::to_owned).collect();
        there.drop_reservations_of_others(wish.volume, let_in).await.map_err(failed)
    }

    async fn take(&self, step: Step, wish: &VolumeWish) -> Result<(), DriverError> {
        let volume = wish.volume;
        match step {
            // Needs no pool: a host is also put out of one that nobody knows any more.
            Step::Revoke(host) => {
                self.target.revoke(volume, host).await?;
                info!(volume_id = %volume, host_id = %host, "host put out");
            }
            Step::DeleteSnapshot(id) => {
                self.storage.delete_snapshot(&self.pool_name(wish).await?, volume, id).await?;
                info!(volume_id = %volume, snapshot_id = %id, "snapshot deleted");
            }
            Step::Snapshot(id) => {
                let moment = wish.snapshots.get(&id).and_then(|wished| wished.moment.as_ref());
                if let Some(moment) = moment {
                    return self.take_at(moment, wish).await;
                }
                let pool = self.pool_name(wish).await?;
                let take = |hold| self.storage.snapshot(&pool, volume, id, hold);
                self.held(volume, id.0, take).await?;
                info!(volume_id = %volume, snapshot_id = %id, "snapshot taken");
            }
            Step::Create(size) => {
                let pool = self.pool_name(wish).await?;
                match wish.source {
                    None => drop(self.storage.create(&pool, volume, size).await?),
                    Some(source) => self.create_copy(&pool, volume, size, source).await?,
                }
            }
            Step::Extend(size) => {
                self.storage.extend(&self.pool_name(wish).await?, volume, size).await?;
            }
            Step::Offer(size) => {
                self.target.resized(volume, size).await?;
                info!(volume_id = %volume, %size, "hosts told the new size");
            }
            Step::Limit => {
                self.target.limit(volume, &wish.limits).await?;
                info!(volume_id = %volume, "other limits in force");
            }
            Step::Grant(host) => {
                if let Some(grant) = wish.hosts.get(&host) {
                    let grant = &self.opened(volume, host, grant)?;
                    let blocks = self.storage.open(&self.pool_name(wish).await?, volume).await?;
                    self.target.export(volume, blocks).await?;
                    // Before the first command: nobody is let in without the limits.
                    self.target.limit(volume, &wish.limits).await?;
                    self.target.grant(volume, host, grant).await?;
                    info!(volume_id = %volume, host_id = %host, mode = %grant.mode, "host let in");
                }
            }
            Step::Delete => {
                self.target.unexport(volume).await?;
                self.storage.delete(&self.pool_name(wish).await?, volume).await?;
            }
        }
        Ok(())
    }

    /// A volume that begins as a copy. A snapshot does not change; a volume has its turn and its
    /// writes held, until the copy is fixed: it may take long from there on, and nobody has to wait to
    /// detach a host. Turns are taken in the order of copying, which has no circles: what is copied was
    /// made before.
    async fn create_copy(
        &self,
        pool: &str,
        volume: VolumeId,
        size: Capacity,
        source: Source,
    ) -> Result<(), DriverError> {
        let copy = |hold| self.storage.create_copy(pool, volume, size, source, hold);
        match source.snapshot {
            Some(_) => drop(copy(Hold::needless()).await?),
            None => {
                let theirs = self.turn(source.volume).lock_owned().await;
                let copy = |hold: Hold| copy(hold.beside(theirs));
                self.held(source.volume, volume.0, copy).await?;
            }
        }
        info!(volume_id = %volume, source = %source.volume, "volume copied");
        Ok(())
    }

    /// Takes a copy while no write reaches `volume`, whose turn it is. One for which writes had to
    /// wait in vain is not tried again while hosts have the volume: they would wait each time.
    async fn held<T, F>(
        &self,
        volume: VolumeId,
        copy: Uuid,
        take: impl FnOnce(Hold) -> F + Send,
    ) -> Result<T, DriverError>
    where
        F: Future<Output = Result<T, DriverError>> + Send,
    {
        let hold = self.target.quiesce(volume, HOLD).await?;
        if !hold.is_needed() {
            self.too_slow().remove(&copy);
            return take(hold).await;
        }
        if let Some(why) = self.too_slow().get(&copy).cloned() {
            drop(hold);
            return Err(DriverError::new(FaultKind::NotSupported, why));
        }
        let taken = take(hold).await;
        if let Err(error) = &taken
            && error.kind == FaultKind::NotSupported
        {
            self.too_slow().insert(copy, error.chain());
        }
        taken
    }

    pub(crate) fn too_slow(&self) -> MutexGuard<'_, HashMap<Uuid, String>> {
        self.too_slow.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The grant with its secrets in clear, for the target. One whose secrets do not open is never
    /// made a grant without any.
    fn opened(
        &self,
        volume: VolumeId,
        host: HostId,
        grant: &Grant,
    ) -> Result<Grant<Secret>, DriverError> {
        let open = |sealed| chap::open(&self.keys, volume, host, sealed);
        let authentication = grant.authentication.as_ref().map(open).transpose();
        let authentication = authentication.map_err(|error| {
            let doing = format!(
                "opening the CHAP credentials of host {host} for volume {volume} (put the key back \
                 into the key file and restart, or detach the host and attach it again)"
            );
            DriverError::new(FaultKind::Broken, doing).because(error)
        })?;
        Ok(Grant { mode: grant.mode, initiators: grant.initiators.clone(), authentication })
    }

    /// The volume's turn: held while it is worked on.
    pub(crate) fn turn(&self, volume: VolumeId) -> Arc<Mutex<()>> {
        let mut busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        // Only this map refers to turns that nobody holds or waits for.
        if busy.len() > 1024 {
            busy.retain(|_, turn| Arc::strong_count(turn) > 1);
        }
        Arc::clone(busy.entry(volume).or_default())
    }
}

/// What a dock says that cannot use its ledger.
pub(crate) fn ledger_failed(doing: &str, error: LedgerError) -> DockError {
    let fault = DriverError::new(FaultKind::Temporary, format!("{doing} the dock's ledger"));
    DockError::Failed(fault.because(error).to_fault())
}

/// What the target says, in the enforcer's terms.
pub(crate) fn served(export: ExportFacts) -> BTreeMap<HostId, Served> {
    export
        .hosts
        .into_iter()
        .map(|(host, facts)| {
            let Grant { mode, initiators, authentication } = facts.grant;
            (host, Served { mode, initiators, authentication, connection: facts.connection })
        })
        .collect()
}
