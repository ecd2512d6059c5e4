//! Snapshots of several volumes at one moment: all of them taken while the writes of all are held.
//!
//! ```text
//! turns of all -> what was left is cleared -> writes of all held -> copies -> writes go on
//!                                                              `-> note on the ledger: they exist
//! ```
//! When it may be done is `lifecycle::moment`'s to say. It is done for the leader, whose turn is held
//! already; the other turns are taken from young to old, as copies take them, so nobody waits in a
//! circle.
//!
//! Must stay true: without the note not one of them exists. Half of a moment, left by a crash or
//! because one copy failed, is cleared and taken anew with the rest.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use osds_drivers::{DriverError, Hold, Together};
use osds_lifecycle::moment;
use osds_model::{FaultKind, Moment, SnapshotId, VolumeId, VolumeWish};
use tokio::sync::OwnedMutexGuard;
use tokio::task::JoinSet;
use tracing::{info, warn};

use crate::enforce::HOLD;
use crate::{Dock, LedgerError};

/// How long a volume that somebody works on is waited for, before the others are let go again.
const PATIENCE: Duration = Duration::from_secs(2);

/// A volume of a moment, while its turn is held.
#[derive(Clone)]
struct Member {
    volume: VolumeId,
    snapshot: SnapshotId,
    pool: String,
}

impl Dock {
    /// The snapshots that can be taken now for this volume, at one moment with others.
    pub(crate) fn due(&self, wish: &VolumeWish) -> BTreeSet<SnapshotId> {
        let held = |volume| self.ledger.get(volume);
        let at =
            wish.snapshots.iter().filter_map(|(id, wished)| Some((*id, wished.moment.as_ref()?)));
        at.filter(|(_, at)| moment::is_due(wish, at, held)).map(|(id, _)| id).collect()
    }

    /// The snapshots of the wish whose moment was not had: what there is of them does not count.
    pub(crate) fn of_no_moment(
        &self,
        wish: &VolumeWish,
    ) -> Result<BTreeSet<SnapshotId>, DriverError> {
        let mut of_none = BTreeSet::new();
        for (id, wished) in wish.snapshots.iter().filter(|(_, wished)| !wished.exists) {
            let Some(at) = &wished.moment else { continue };
            if !self.ledger.had(at.group).map_err(not_known)? {
                of_none.insert(*id);
            }
        }
        Ok(of_none)
    }

    /// Takes all snapshots of a moment, for its leader.
    pub(crate) async fn take_at(
        &self,
        at: &Arc<Moment>,
        leader: &VolumeWish,
    ) -> Result<(), DriverError> {
        let (_turns, members) = self.members(at, leader).await?;
        for Member { volume, snapshot, pool } in &members {
            if !self.storage.snapshots(pool, *volume, &[*snapshot]).await?.is_empty() {
                self.storage.delete_snapshot(pool, *volume, *snapshot).await?;
            }
        }
        let taken = self.copy_all(at, &members).await;
        let noted = match taken {
            Ok(()) => self.ledger.note_moment(Arc::clone(at)).await.map_err(not_known),
            Err(error) => Err(error),
        };
        if noted.is_err() {
            // Their space is wanted back now; what stays is cleared by the next try.
            for Member { volume, snapshot, pool } in &members {
                if let Err(error) = self.storage.delete_snapshot(pool, *volume, *snapshot).await {
                    warn!(volume_id = %volume, error = %error.chain(), "half of a moment stays");
                }
            }
            return noted;
        }
        info!(group_snapshot_id = %at.group, volumes = members.len(), "group snapshot taken");
        Ok(())
    }

    /// The volumes of the moment, with the turns of all but the leader.
    async fn members(
        &self,
        at: &Moment,
        leader: &VolumeWish,
    ) -> Result<(Vec<OwnedMutexGuard<()>>, Vec<Member>), DriverError> {
        let doing = || format!("taking group snapshot {}", at.group);
        let (mut turns, mut members) = (Vec::new(), Vec::new());
        for (volume, snapshot) in at.of.iter().rev() {
            let other;
            let wish = if *volume == leader.volume {
                leader
            } else {
                let turn = self.turn(*volume).lock_owned();
                let turn = tokio::time::timeout(PATIENCE, turn).await.map_err(|_| {
                    let why = format!("volume {volume} is being worked on for something else");
                    DriverError::new(FaultKind::Temporary, doing()).because(why)
                })?;
                turns.push(turn);
                other = self.ledger.get(*volume).ok_or_else(|| changed(doing(), *volume))?;
                &other
            };
            members.push(Member {
                volume: *volume,
                snapshot: *snapshot,
                pool: self.pool_name(wish).await?,
            });
        }
        // Now nothing changes any more, and before it may have.
        if moment::is_due(leader, at, |volume| self.ledger.get(volume)) {
            Ok((turns, members))
        } else {
            Err(changed(doing(), leader.volume))
        }
    }

    async fn copy_all(&self, at: &Moment, members: &[Member]) -> Result<(), DriverError> {
        let doing = || format!("taking group snapshot {}", at.group);
        let not_supported =
            |why: String| DriverError::new(FaultKind::NotSupported, doing()).because(why);
        let holds = at_once(members.iter().map(|member| {
            let (target, volume) = (Arc::clone(&self.target), member.volume);
            async move { target.quiesce(volume, HOLD).await }
        }));
        let holds = holds.await.into_iter().collect::<Result<Vec<_>, _>>()?;
        let hosts = holds.iter().any(Hold::is_needed);
        if !hosts {
            self.too_slow().remove(&at.group.0);
        } else if let Some(why) = self.too_slow().get(&at.group.0).cloned() {
            return Err(not_supported(why));
        }
        let (together, shares) = Together::share(holds).ok_or_else(|| {
            not_supported(format!(
                "target {} cannot hold writes, so each snapshot would be of another moment: detach \
                 the hosts for as long as it takes, or serve the volumes by the target `embedded`",
                self.target.name()
            ))
        })?;
        let copies = at_once(members.iter().zip(shares).map(|(member, hold)| {
            let (storage, Member { volume, snapshot, pool }) =
                (Arc::clone(&self.storage), member.clone());
            async move { storage.snapshot(&pool, volume, snapshot, hold).await }
        }));
        let copies = copies.await.into_iter().collect::<Result<(), _>>();
        let taken = copies.and_then(|()| match together.was_held() {
            true => Ok(()),
            false => Err(not_supported(format!(
                "hosts have the volumes, and their writes cannot wait as long as all the copies \
                 take together ({} s at most): put the pool where copies share blocks, take fewer \
                 volumes, or detach the hosts for as long as it takes",
                HOLD.as_secs()
            ))),
        });
        if let Err(error) = &taken
            && error.kind == FaultKind::NotSupported
            && hosts
        {
            self.too_slow().insert(at.group.0, error.chain());
        }
        taken
    }
}

/// The outcomes of calls that run beside each other, in the order of the calls.
async fn at_once<T: Send + 'static>(
    calls: impl Iterator<Item = impl Future<Output = Result<T, DriverError>> + Send + 'static>,
) -> Vec<Result<T, DriverError>> {
    let mut running = JoinSet::new();
    let count =
        calls.enumerate().map(|(at, call)| running.spawn(async move { (at, call.await) })).count();
    let mut outcomes: Vec<Option<Result<T, DriverError>>> = (0..count).map(|_| None).collect();
    while let Some(ended) = running.join_next().await {
        match ended {
            Ok((at, outcome)) => outcomes[at] = Some(outcome),
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        }
    }
    outcomes.into_iter().flatten().collect()
}

fn changed(doing: String, volume: VolumeId) -> DriverError {
    let why = format!("volume {volume} is wished otherwise by now");
    DriverError::new(FaultKind::Temporary, doing).because(why)
}

fn not_known(error: LedgerError) -> DriverError {
    DriverError::new(FaultKind::Temporary, "looking after the moment of a group snapshot")
        .because(error)
}
