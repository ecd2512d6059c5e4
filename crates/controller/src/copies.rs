//! What a new volume is made a copy of: a snapshot or a volume, found and checked.
//!
//! The copy is made where its source is, so the pool is settled here and the selector only asked
//! whether it fits. The transaction that makes the copy's record rewrites its source's, and the
//! source is not deleted before the copy was made: so what the wish names is there.

use osds_lifecycle::snapshot;
use osds_model::{Capacity, SnapshotId, Source, Volume, VolumeId};
use osds_store::{Versioned, View};

use crate::volumes::NewVolume;
use crate::{Caller, Error, snapshots, volumes};

const DOING: &str = "create volume failed: ";

/// The source of a new volume.
pub(crate) struct Origin<'a> {
    /// The volume, or the one that the snapshot is of.
    pub(crate) volume: &'a Versioned<Volume>,
    /// The snapshot.
    pub(crate) snapshot: Option<SnapshotId>,
    /// How large the copy is at least.
    pub(crate) size: Capacity,
}

impl Origin<'_> {
    pub(crate) fn source(&self) -> Source {
        Source { volume: self.volume.id, snapshot: self.snapshot }
    }
}

/// What `new` is to be made from, if anything.
pub(crate) fn origin<'a>(
    view: &'a View,
    caller: &Caller,
    new: &NewVolume,
) -> Result<Option<Origin<'a>>, Error> {
    let missing = |what, id| Error::Invalid(format!("{DOING}{}", caller.cannot_find(what, id)));
    let (volume, snapshot) = match (new.snapshot.as_str(), new.source_volume.as_str()) {
        ("", "") => return Ok(None),
        ("", id) => (volumes::find(view, caller, id).map_err(|_| missing("volume", id))?, None),
        (id, "") => {
            let gone = |_| missing("volume snapshot", id);
            let (snapshot, volume) = snapshots::find(view, caller, id).map_err(gone)?;
            (volume, Some(snapshot.id))
        }
        (_, _) => {
            let why = "a volume is made from a snapshot or from a volume, not from both";
            return Err(Error::Invalid(format!("{DOING}{why}")));
        }
    };
    let size = snapshot::copied_size(&volume.state, snapshot);
    let size = size.map_err(Error::refused(DOING, view))?;
    Ok(Some(Origin { volume, snapshot, size }))
}

/// Whether nothing is still being made from the volume (or any snapshot of it), or from this
/// snapshot of it.
pub(crate) fn none_under_way(
    view: &View,
    volume: VolumeId,
    snapshot: Option<SnapshotId>,
) -> Result<(), String> {
    let mut copies = view.copies_of_volume(volume).filter_map(|id| view.get::<Volume>(id));
    let copy = copies.find(|copy| {
        let source = copy.state.source.and_then(|source| source.snapshot);
        snapshot.is_none() || source == snapshot
    });
    match copy {
        None => Ok(()),
        Some(copy) => Err(format!(
            "volume {} ({}) is still being made from it; wait until it is made, or delete it",
            copy.id, copy.name
        )),
    }
}
