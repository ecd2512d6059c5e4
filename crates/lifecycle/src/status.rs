//! The OpenSDS words, derived on the way out and stored nowhere (surface page, section 2.1): a word
//! that were stored beside the facts could contradict them. So what reads them is a function of the
//! record and of nothing else.

use osds_model::{Attachment, Phase, Presence, SnapshotState, VolumeGroup, VolumeState};

use crate::volume::is_as_wished;

/// `available`: made and free (a volume), or in place (an attachment).
pub const AVAILABLE: &str = "available";

/// The status of an attachment.
#[must_use]
pub fn attachment(attachment: &Attachment) -> &'static str {
    match (attachment.phase, &attachment.fault) {
        (Phase::Attaching, None) => "creating",
        (Phase::Attached, None) => AVAILABLE,
        (Phase::Detaching, None) => "deleting",
        (Phase::Detaching, Some(_)) => "errorDeleting",
        (Phase::Attaching | Phase::Attached, Some(_)) => "error",
    }
}

/// The status of a volume. It is `inUse` while one attachment is live, whatever failed beside it,
/// but for the moments in which it grows.
#[must_use]
pub fn volume(state: &VolumeState) -> &'static str {
    let held = |phase: Phase| match phase {
        Phase::Attaching => false,
        Phase::Attached | Phase::Detaching => true,
    };
    let size = match (state.presence, &state.fault) {
        (Presence::Unwanted, None) => return "deleting",
        (Presence::Unwanted, Some(_)) => return "errorDeleting",
        (Presence::Wanted(size), _) => size,
    };
    match (state.made, &state.fault) {
        (None, None) => "creating",
        (None, Some(_)) => "error",
        (Some(made), None) if made < size || state.taken_back.is_some() => "extending",
        (Some(_), _) if state.attachments.values().any(|a| held(a.phase)) => "inUse",
        (Some(made), Some(_)) if made < size || state.taken_back.is_some() => "errorExtending",
        (Some(_), Some(_)) => "error",
        (Some(_), None) if state.attachments.values().any(|a| a.fault.is_none()) => "attaching",
        (Some(_), None) => AVAILABLE,
    }
}

/// The status of a group, of which `members` are the volumes. To make one and to change who is in it
/// is done at once; only its end takes time, and it ends with its last member.
#[must_use]
pub fn group<'a>(
    group: &VolumeGroup,
    members: impl IntoIterator<Item = &'a VolumeState>,
) -> &'static str {
    if !group.unwanted {
        return AVAILABLE;
    }
    let stuck = members.into_iter().any(|member| member.fault.is_some());
    if stuck { "errorDeleting" } else { "deleting" }
}

/// The status of a snapshot.
#[must_use]
pub fn snapshot(state: &SnapshotState) -> &'static str {
    match (state.wanted, state.made, &state.fault) {
        (true, None, None) => "creating",
        (true, Some(_), None) => AVAILABLE,
        (true, _, Some(_)) => "error",
        (false, _, None) => "deleting",
        (false, _, Some(_)) => "errorDeleting",
    }
}

/// The status of snapshots that are of one moment. They are taken together, so what is the matter
/// with one is the matter with all.
#[must_use]
pub fn group_snapshot<'a>(members: impl IntoIterator<Item = &'a SnapshotState>) -> &'static str {
    let words: Vec<_> = members.into_iter().map(snapshot).collect();
    let weightiest = ["errorDeleting", "deleting", "error", "creating"];
    weightiest.into_iter().find(|word| words.contains(word)).unwrap_or(AVAILABLE)
}

/// Whether nothing is under way for the snapshot.
#[must_use]
pub fn snapshot_at_rest(state: &SnapshotState) -> bool {
    state.fault.is_some() || (state.wanted && state.made.is_some())
}

/// Whether nothing is under way for the volume itself: it will not change without a new request or a
/// retry after a failure. Other limits have no word of their own while they are on their way.
#[must_use]
pub fn volume_at_rest(state: &VolumeState) -> bool {
    let as_it_will_be = state.fault.is_some() || is_as_wished(state);
    as_it_will_be && !matches!(volume(state), "creating" | "deleting" | "extending" | "attaching")
}

/// Whether nothing is under way for the attachment.
#[must_use]
pub fn attachment_at_rest(held: &Attachment) -> bool {
    match (held.phase, &held.fault) {
        (Phase::Attached, _) | (Phase::Attaching | Phase::Detaching, Some(_)) => true,
        (Phase::Attaching | Phase::Detaching, None) => false,
    }
}
