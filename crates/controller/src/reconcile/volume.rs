//! One look at one volume: send its wish, fold the answer back in.
//!
//! The wish is read from what is durable and sent whole; the answer is folded into the record as it
//! is by then, and only if it answers that record's generation. A wish that was edited meanwhile is
//! sent again at once, a failure is written on the record and tried again later.
//!
//! Must stay true: space returns to its pool in the transaction that writes down what the dock has
//! said is there, or that nothing is left, and never before.

use std::collections::BTreeSet;
use std::sync::Arc;

use osds_dock_api::DockError;
use osds_lifecycle::confirm::blame;
use osds_lifecycle::{Confirmed, confirm, moment, status, volume};
use osds_model::{Applied, Fault, FaultKind, Generation, Pool, Volume, VolumeId, VolumeState};
use osds_store::{DecideError, StoreError, Txn, decide};
use tokio::time::Instant;
use tracing::{error, info, warn};

use super::figures::Outcome;
use super::{Inner, Look};
use crate::volumes::{with_allocated, with_state};
use crate::{Error, groups, snapshots};

/// What came of a wish.
enum Answer {
    Applied(Applied),
    /// The dock could not be asked; this is why.
    Nothing(Fault),
    /// The dock knows better: it holds a newer wish than the records do.
    Overruled(Fault),
}

impl Inner {
    /// Sends the volume's wish to its dock until the answer is for the wish as it is now.
    pub(super) async fn look_at(self: &Arc<Self>, id: VolumeId) -> Look {
        loop {
            // Only what is durable is sent: a wish that a crash could undo must not act.
            let view = self.store.view();
            let Some(volume) = view.get::<Volume>(id) else { return Look::Settled };
            let wish = volume::wish(volume.id, volume.pool, &volume.state);
            let pool = view.get::<Pool>(volume.pool);
            let dock = pool.and_then(|pool| self.dock(pool.dock));
            let sent = Instant::now();
            let answer = match dock {
                Some(dock) => match dock.enforce(&wish).await {
                    Ok(applied) => Answer::Applied(applied),
                    Err(DockError::Rejected(why)) => overruled(&why),
                    Err(error) => Answer::Nothing(no_answer(&error)),
                },
                None => {
                    let name = pool.map_or("", |pool| &pool.spec.name);
                    let message = format!(
                        "no backend serves pool {name} ({}) any more; put its [[backend]] back \
                         into osds.toml and restart",
                        volume.pool
                    );
                    Answer::Nothing(Fault::new(FaultKind::Temporary, message))
                }
            };
            let folded = self.fold(id, wish.generation, &answer).await;
            let outcome = match &folded {
                Ok(Folded::Settled) => Outcome::Settled,
                Ok(Folded::Failing) => Outcome::Failing,
                Ok(Folded::Outdated) => Outcome::Outdated,
                Err(_) => Outcome::Unrecorded,
            };
            self.tally.count(outcome, sent.elapsed());
            match folded {
                Ok(Folded::Settled) => return Look::Settled,
                Ok(Folded::Failing) => return Look::Again,
                // The wish was edited while it was worked on.
                Ok(Folded::Outdated) => {}
                Err(error) => {
                    warn!(%error, "the dock's answer could not be recorded; will ask again");
                    return Look::Again;
                }
            }
        }
    }

    async fn fold(
        self: &Arc<Self>,
        id: VolumeId,
        asked: Generation,
        answer: &Answer,
    ) -> Result<Folded, StoreError> {
        let now = self.clock.now();
        let folded = decide::<_, Error>(self.store.as_ref(), |view| {
            let Some(old) = view.get::<Volume>(id) else {
                return Ok((Txn::new(), (Folded::Settled, BTreeSet::new())));
            };
            // Also a failure: it says nothing about a wish that was not even sent.
            if asked < old.state.generation {
                return Ok((Txn::new(), (Folded::Outdated, BTreeSet::new())));
            }
            let confirmed = match answer {
                Answer::Applied(applied) => confirm(&old.state, applied),
                Answer::Nothing(fault) => Confirmed::Known(blame(&old.state, fault)),
                // Then nothing on record can be relied on, whatever it looks like.
                Answer::Overruled(fault) => Confirmed::Known(VolumeState {
                    fault: Some(fault.clone()),
                    ..blame(&old.state, fault)
                }),
            };
            let state = match confirmed {
                Confirmed::Known(state) => state,
                Confirmed::Gone { freed } => {
                    let mut txn = Txn::new().remove(old);
                    if let Some(pool) = view.get::<Pool>(old.pool) {
                        let left = pool.allocated.minus(freed);
                        txn = txn.replace(pool, with_allocated(pool, left));
                    }
                    let settled = (Folded::Settled, BTreeSet::new());
                    return Ok((groups::leave(txn, view, old), settled));
                }
            };
            let folded = if volume::is_settled(&state) { Folded::Settled } else { Folded::Failing };
            // One that fails is tried at its own pace, whoever waits for it.
            let fails = |id: &VolumeId| view.get::<Volume>(*id).is_some_and(|v| is_stuck(&v.state));
            let mut concerned = moment::concerned(id, &old.state, &state);
            concerned.retain(|id| !fails(id));
            if state == old.state {
                return Ok((Txn::new(), (folded, concerned)));
            }
            let next = with_state(old, state, now);
            tell(&old.state, &next.state);
            let txn = snapshots::follow(Txn::new(), view, &old.state, &next.state, now);
            let (before, after) = (volume::footprint(&old.state), volume::footprint(&next.state));
            let mut txn = txn.replace(old, next);
            if let Some(pool) = view.get::<Pool>(old.pool).filter(|_| before != after) {
                let charged = pool.allocated.plus(after).minus(before);
                txn = txn.replace(pool, with_allocated(pool, charged));
            }
            Ok((txn, (folded, concerned)))
        });
        match folded.await {
            Ok((folded, concerned)) => {
                concerned.into_iter().for_each(|volume| self.poke(volume));
                Ok(folded)
            }
            Err(DecideError::Store(error)) => Err(error),
            Err(DecideError::Refused(refused)) => {
                error!(error = %refused, "an answer was refused; this is a bug");
                Ok(Folded::Failing)
            }
        }
    }
}

/// How the record stands after an answer.
enum Folded {
    Settled,
    Failing,
    Outdated,
}

/// Whether taking one of its snapshots failed.
fn is_stuck(state: &VolumeState) -> bool {
    state.snapshots.values().any(|snapshot| snapshot.wanted && snapshot.fault.is_some())
}

fn overruled(why: &str) -> Answer {
    warn!(why, "the records are older than the dock's ledger");
    let message = format!(
        "the records are older than what the dock was told last ({why}), as after restoring a \
         back-up; if they are right, stop osds, move the dock's ledger away, and start it again"
    );
    Answer::Overruled(Fault::new(FaultKind::Broken, message))
}

fn no_answer(error: &DockError) -> Fault {
    warn!(%error, "the dock gave no answer; will ask again");
    error.to_fault()
}

/// Says once what changed.
fn tell(old: &VolumeState, new: &VolumeState) {
    let (before, after) = (status::volume(old), status::volume(new));
    match &new.fault {
        Some(fault) if old.fault.as_ref() != Some(fault) => {
            warn!(status = after, fault = %fault, "volume is not as wished");
        }
        Some(_) | None if before != after => info!(from = before, to = after, "volume changed"),
        Some(_) | None => {}
    }
}
