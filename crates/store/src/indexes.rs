//! Ways to find records other than by name, kept in step with the tables.
//!
//! Each is a pure function of the records: when a record changes, what its old value contributed
//! is taken out and what the new one contributes is put in. They are never stored, so that words
//! may be among them which are derived and no facts: the same rule derives them wherever they show.

use std::collections::BTreeSet;

use imbl::{OrdMap, OrdSet};
use osds_lifecycle::status;
use osds_model::id::{
    AttachmentId, DockId, GroupId, GroupSnapshotId, HostId, PoolId, ProfileId, SnapshotId,
    TenantId, VolumeId,
};
use osds_model::{Dock, Host, Pool, Profile, Snapshot, Volume, VolumeGroup};
use uuid::Uuid;

use crate::claim::Claim;

/// Every index there is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Indexes {
    pub(crate) attachments: OrdMap<AttachmentId, (VolumeId, HostId)>,
    pub(crate) attachments_of_tenant: OrdSet<(TenantId, AttachmentId)>,
    pub(crate) attachments_of_host: OrdSet<(HostId, AttachmentId)>,
    pub(crate) attachments_by_status: OrdSet<(&'static str, AttachmentId)>,
    pub(crate) volumes_of_tenant: OrdSet<(TenantId, VolumeId)>,
    pub(crate) volumes_named: OrdSet<(String, VolumeId)>,
    pub(crate) volumes_by_status: OrdSet<(&'static str, VolumeId)>,
    pub(crate) volumes_of_host: OrdSet<(HostId, VolumeId)>,
    pub(crate) volumes_in_pool: OrdSet<(PoolId, VolumeId)>,
    pub(crate) volumes_of_profile: OrdSet<(ProfileId, VolumeId)>,
    pub(crate) pools_of_dock: OrdSet<(DockId, PoolId)>,
    pub(crate) hosts_of_tenant: OrdSet<(TenantId, HostId)>,
    pub(crate) hosts_named: OrdSet<(String, HostId)>,
    pub(crate) volumes_of_group: OrdSet<(GroupId, VolumeId)>,
    pub(crate) groups_of_tenant: OrdSet<(TenantId, GroupId)>,
    pub(crate) snapshots_of_volume: OrdSet<(VolumeId, SnapshotId)>,
    pub(crate) snapshots_of_tenant: OrdSet<(TenantId, SnapshotId)>,
    pub(crate) snapshots_named: OrdSet<(String, SnapshotId)>,
    pub(crate) snapshots_by_status: OrdSet<(&'static str, SnapshotId)>,
    pub(crate) snapshots_of_group: OrdSet<(GroupSnapshotId, SnapshotId)>,
    /// The second is being made as a copy of the first, or of a snapshot of it.
    pub(crate) copies_of_volume: OrdSet<(VolumeId, VolumeId)>,
}

/// What a record contributes to the indexes.
pub trait Indexed: Sized {
    /// Replaces what `old` contributed by what `new` contributes.
    #[doc(hidden)]
    fn reindex(_indexes: &mut Indexes, _old: Option<&Self>, _new: Option<&Self>) {}
}

impl Indexed for Profile {}
impl Indexed for Dock {}
impl Indexed for Claim {}

impl Indexed for Volume {
    fn reindex(indexes: &mut Indexes, old: Option<&Self>, new: Option<&Self>) {
        swap(&mut indexes.volumes_of_tenant, old, new, |v| (v.tenant.clone(), v.id));
        swap(&mut indexes.volumes_named, old, new, |v| (v.name.clone(), v.id));
        swap(&mut indexes.volumes_in_pool, old, new, |v| (v.pool, v.id));
        swap(&mut indexes.volumes_of_profile, old, new, |v| (v.profile, v.id));
        swap_some(&mut indexes.volumes_of_group, old, new, |v| Some((v.group?, v.id)));
        swap(&mut indexes.volumes_by_status, old, new, |v| (status::volume(&v.state), v.id));
        let source = |v: &Self| v.state.source.filter(|_| v.state.made.is_none());
        swap_some(&mut indexes.copies_of_volume, old, new, |v| Some((source(v)?.volume, v.id)));
        let words = |volume: Option<&Self>| -> BTreeSet<(&'static str, SnapshotId)> {
            let all = volume.into_iter().flat_map(|v| &v.state.snapshots);
            all.map(|(id, snapshot)| (status::snapshot(snapshot), *id)).collect()
        };
        let (was, is) = (words(old), words(new));
        for word in was.difference(&is) {
            indexes.snapshots_by_status.remove(word);
        }
        indexes.snapshots_by_status.extend(is.difference(&was).copied());
        type Place = (TenantId, AttachmentId, HostId, &'static str);
        let places = |volume: Option<&Self>| -> BTreeSet<Place> {
            volume
                .into_iter()
                .flat_map(|v| &v.state.attachments)
                .map(|(host, a)| (a.about.tenant.clone(), a.id, *host, status::attachment(a)))
                .collect()
        };
        let (was, is) = (places(old), places(new));
        let Some(volume) = new.or(old).map(|v| v.id) else { return };
        for (tenant, id, host, word) in was.difference(&is) {
            indexes.attachments.remove(id);
            indexes.attachments_of_host.remove(&(*host, *id));
            indexes.attachments_by_status.remove(&(*word, *id));
            indexes.attachments_of_tenant.remove(&(tenant.clone(), *id));
            indexes.volumes_of_host.remove(&(*host, volume));
        }
        for (tenant, id, host, word) in is.difference(&was) {
            indexes.attachments.insert(*id, (volume, *host));
            indexes.attachments_of_host.insert((*host, *id));
            indexes.attachments_by_status.insert((*word, *id));
            indexes.attachments_of_tenant.insert((tenant.clone(), *id));
            indexes.volumes_of_host.insert((*host, volume));
        }
    }
}

impl Indexed for Pool {
    fn reindex(indexes: &mut Indexes, old: Option<&Self>, new: Option<&Self>) {
        swap(&mut indexes.pools_of_dock, old, new, |p| (p.dock, p.id));
    }
}

impl Indexed for Host {
    fn reindex(indexes: &mut Indexes, old: Option<&Self>, new: Option<&Self>) {
        swap(&mut indexes.hosts_of_tenant, old, new, |h| (h.tenant.clone(), h.id));
        swap(&mut indexes.hosts_named, old, new, |h| (h.name.clone(), h.id));
    }
}

impl Indexed for Snapshot {
    fn reindex(indexes: &mut Indexes, old: Option<&Self>, new: Option<&Self>) {
        swap(&mut indexes.snapshots_of_volume, old, new, |s| (s.volume, s.id));
        swap(&mut indexes.snapshots_of_tenant, old, new, |s| (s.tenant.clone(), s.id));
        swap(&mut indexes.snapshots_named, old, new, |s| (s.name.clone(), s.id));
        swap_some(&mut indexes.snapshots_of_group, old, new, |s| Some((s.group?, s.id)));
    }
}

impl Indexed for VolumeGroup {
    fn reindex(indexes: &mut Indexes, old: Option<&Self>, new: Option<&Self>) {
        swap(&mut indexes.groups_of_tenant, old, new, |g| (g.tenant.clone(), g.id));
    }
}

fn swap<R, T: Ord + Clone>(
    index: &mut OrdSet<T>,
    old: Option<&R>,
    new: Option<&R>,
    entry: impl Fn(&R) -> T,
) {
    swap_some(index, old, new, |record| Some(entry(record)));
}

/// The same for an index in which not every record is.
fn swap_some<R, T: Ord + Clone>(
    index: &mut OrdSet<T>,
    old: Option<&R>,
    new: Option<&R>,
    entry: impl Fn(&R) -> Option<T>,
) {
    let (old, new) = (old.and_then(&entry), new.and_then(&entry));
    if old == new {
        return;
    }
    if let Some(old) = old {
        index.remove(&old);
    }
    if let Some(new) = new {
        index.insert(new);
    }
}

/// What an index says of `one`, in order.
pub(crate) fn of<A, B>(index: &OrdSet<(A, B)>, one: A) -> impl DoubleEndedIterator<Item = B>
where
    A: Ord + Clone,
    B: Ord + Copy + From<Uuid>,
{
    let first = (one.clone(), B::from(Uuid::nil()));
    let last = (one, B::from(Uuid::max()));
    index.range(first..=last).map(|(_, id)| *id)
}
