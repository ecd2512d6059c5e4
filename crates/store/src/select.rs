//! Which records have all that a list asks for, in the order of their ids.
//!
//! Each thing asked for is one index; what has them all is where the indexes meet. They are walked in
//! leaps: the furthest id that one of them has next is where the others are asked from, so finding
//! costs in proportion to the smallest of them, from either end, and a page stops when it is full.
//!
//! What is asked for narrows and no more: whoever shows records still looks whether they are the ones.

use std::iter;

use imbl::OrdSet;
use osds_model::id::{
    AttachmentId, GroupId, GroupSnapshotId, HostId, PoolId, ProfileId, SnapshotId, TenantId,
    VolumeId,
};
use osds_model::{Host, Snapshot, Volume};
use uuid::Uuid;

use crate::indexes;
use crate::view::View;

/// Something asked for: `None` is anything, else one of these.
pub type OneOf<T> = Option<Vec<T>>;

/// What volumes shall have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VolumesWhere {
    /// One of these ids.
    pub ids: OneOf<VolumeId>,
    /// One of these names.
    pub names: OneOf<String>,
    /// One of these tenants.
    pub tenants: OneOf<TenantId>,
    /// One of these profiles.
    pub profiles: OneOf<ProfileId>,
    /// One of these pools.
    pub pools: OneOf<PoolId>,
    /// One of these groups.
    pub groups: OneOf<GroupId>,
    /// One of these status words.
    pub statuses: OneOf<String>,
}

/// What attachments shall have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AttachmentsWhere {
    /// One of these ids.
    pub ids: OneOf<AttachmentId>,
    /// One of these volumes.
    pub volumes: OneOf<VolumeId>,
    /// One of these hosts.
    pub hosts: OneOf<HostId>,
    /// One of these tenants.
    pub tenants: OneOf<TenantId>,
    /// One of these status words.
    pub statuses: OneOf<String>,
}

/// What hosts shall have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostsWhere {
    /// One of these ids.
    pub ids: OneOf<HostId>,
    /// One of these names.
    pub names: OneOf<String>,
    /// One of these tenants.
    pub tenants: OneOf<TenantId>,
}

/// What snapshots shall have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SnapshotsWhere {
    /// One of these ids.
    pub ids: OneOf<SnapshotId>,
    /// One of these names.
    pub names: OneOf<String>,
    /// One of these tenants.
    pub tenants: OneOf<TenantId>,
    /// One of these volumes.
    pub volumes: OneOf<VolumeId>,
    /// One of these group snapshots.
    pub groups: OneOf<GroupSnapshotId>,
    /// One of these status words.
    pub statuses: OneOf<String>,
}

impl View {
    /// The volumes that have all of this; with an `owner`, only that tenant's.
    #[must_use]
    pub fn volumes_where<'a>(
        &'a self,
        has: &'a VolumesWhere,
        owner: Option<&'a TenantId>,
    ) -> Selected<'a, VolumeId> {
        let index = self.indexes();
        let mut ways = Ways::default();
        ways.listed(has.ids.as_deref());
        ways.under(&index.volumes_of_tenant, owner.map(std::slice::from_ref));
        ways.under(&index.volumes_named, has.names.as_deref());
        ways.under(&index.volumes_of_tenant, has.tenants.as_deref());
        ways.under(&index.volumes_of_profile, has.profiles.as_deref());
        ways.under(&index.volumes_in_pool, has.pools.as_deref());
        ways.under(&index.volumes_of_group, has.groups.as_deref());
        ways.words(&index.volumes_by_status, has.statuses.as_deref());
        ways.meet(|| Box::new(self.iter::<Volume>().map(|volume| volume.id)))
    }

    /// Every volume in the order of names; of those with one name the lower id comes first, either way.
    #[must_use]
    pub fn volumes_by_name(&self, ascending: bool) -> Box<dyn Iterator<Item = VolumeId> + '_> {
        let index = &self.indexes().volumes_named;
        if ascending {
            return Box::new(index.iter().map(|(_, id)| *id));
        }
        let before = |name: &&String| {
            let lowest = ((*name).clone(), VolumeId(Uuid::nil()));
            index.range(..lowest).next_back().map(|(name, _)| name)
        };
        let names = iter::successors(index.get_max().map(|(name, _)| name), before);
        Box::new(names.flat_map(|name| indexes::of(index, name.clone())))
    }

    /// The attachments that have all of this; with an `owner`, only that tenant's.
    #[must_use]
    pub fn attachments_where<'a>(
        &'a self,
        has: &'a AttachmentsWhere,
        owner: Option<&'a TenantId>,
    ) -> Selected<'a, AttachmentId> {
        let index = self.indexes();
        // A volume has few, and they are in its record.
        let of_volumes: OneOf<AttachmentId> = has.volumes.as_ref().map(|volumes| {
            let volumes = volumes.iter().filter_map(|id| self.get::<Volume>(*id));
            volumes.flat_map(|v| v.state.attachments.values().map(|held| held.id)).collect()
        });
        let mut ways = Ways::default();
        ways.listed(has.ids.as_deref());
        ways.listed(of_volumes.as_deref());
        ways.under(&index.attachments_of_tenant, owner.map(std::slice::from_ref));
        ways.under(&index.attachments_of_host, has.hosts.as_deref());
        ways.under(&index.attachments_of_tenant, has.tenants.as_deref());
        ways.words(&index.attachments_by_status, has.statuses.as_deref());
        ways.meet(|| Box::new(index.attachments.keys().copied()))
    }

    /// The hosts that have all of this; with an `owner`, only that tenant's.
    #[must_use]
    pub fn hosts_where<'a>(
        &'a self,
        has: &'a HostsWhere,
        owner: Option<&'a TenantId>,
    ) -> Selected<'a, HostId> {
        let index = self.indexes();
        let mut ways = Ways::default();
        ways.listed(has.ids.as_deref());
        ways.under(&index.hosts_of_tenant, owner.map(std::slice::from_ref));
        ways.under(&index.hosts_named, has.names.as_deref());
        ways.under(&index.hosts_of_tenant, has.tenants.as_deref());
        ways.meet(|| Box::new(self.iter::<Host>().map(|host| host.id)))
    }

    /// The snapshots that have all of this; with an `owner`, only that tenant's.
    #[must_use]
    pub fn snapshots_where<'a>(
        &'a self,
        has: &'a SnapshotsWhere,
        owner: Option<&'a TenantId>,
    ) -> Selected<'a, SnapshotId> {
        let index = self.indexes();
        let mut ways = Ways::default();
        ways.listed(has.ids.as_deref());
        ways.under(&index.snapshots_of_tenant, owner.map(std::slice::from_ref));
        ways.under(&index.snapshots_named, has.names.as_deref());
        ways.under(&index.snapshots_of_tenant, has.tenants.as_deref());
        ways.under(&index.snapshots_of_volume, has.volumes.as_deref());
        ways.under(&index.snapshots_of_group, has.groups.as_deref());
        ways.words(&index.snapshots_by_status, has.statuses.as_deref());
        ways.meet(|| Box::new(self.iter::<Snapshot>().map(|snapshot| snapshot.id)))
    }
}

/// An id of ours, whichever.
#[doc(hidden)]
pub trait AnyId: Ord + Copy + From<Uuid> + Into<Uuid> {}
impl<I: Ord + Copy + From<Uuid> + Into<Uuid>> AnyId for I {}

/// Ids in order that can be entered anywhere.
trait Way<'a, I> {
    /// The first that is this one or after it.
    fn from(&self, at: I) -> Option<I>;
    /// The last that is this one or before it.
    fn until(&self, at: I) -> Option<I>;
    /// All of them.
    fn walk(self: Box<Self>) -> Selected<'a, I>;
}

/// What an index has under any of some keys.
struct Under<'a, A, I> {
    index: &'a OrdSet<(A, I)>,
    keys: Vec<A>,
}

impl<'a, A: Ord + Clone, I: AnyId + 'a> Way<'a, I> for Under<'a, A, I> {
    fn from(&self, at: I) -> Option<I> {
        let of = |key: &A| {
            let (found, id) = self.index.get_next(&(key.clone(), at))?;
            (found == key).then_some(*id)
        };
        self.keys.iter().filter_map(of).min()
    }

    fn until(&self, at: I) -> Option<I> {
        let of = |key: &A| {
            let (found, id) = self.index.get_prev(&(key.clone(), at))?;
            (found == key).then_some(*id)
        };
        self.keys.iter().filter_map(of).max()
    }

    fn walk(mut self: Box<Self>) -> Selected<'a, I> {
        match self.keys.as_slice() {
            [_] => {
                let key = self.keys.swap_remove(0);
                Selected::Walk(Box::new(indexes::of(self.index, key)))
            }
            _ => Selected::meet_of(vec![self]),
        }
    }
}

/// Ids that were named, sorted.
struct Listed<I>(Vec<I>);

impl<'a, I: AnyId + 'a> Way<'a, I> for Listed<I> {
    fn from(&self, at: I) -> Option<I> {
        self.0.get(self.0.partition_point(|id| *id < at)).copied()
    }

    fn until(&self, at: I) -> Option<I> {
        self.0.get(self.0.partition_point(|id| *id <= at).checked_sub(1)?).copied()
    }

    fn walk(self: Box<Self>) -> Selected<'a, I> {
        Selected::meet_of(vec![self])
    }
}

struct Ways<'a, I>(Vec<Box<dyn Way<'a, I> + 'a>>);

impl<I> Default for Ways<'_, I> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'a, I: AnyId + 'a> Ways<'a, I> {
    fn under<A: Ord + Clone>(&mut self, index: &'a OrdSet<(A, I)>, keys: Option<&[A]>) {
        if let Some(keys) = keys {
            self.0.push(Box::new(Under { index, keys: keys.to_vec() }));
        }
    }

    fn words(&mut self, index: &'a OrdSet<(&'static str, I)>, words: Option<&'a [String]>) {
        if let Some(words) = words {
            let index: &'a OrdSet<(&'a str, I)> = index;
            let keys = words.iter().map(String::as_str).collect();
            self.0.push(Box::new(Under { index, keys }));
        }
    }

    fn listed(&mut self, ids: Option<&[I]>) {
        if let Some(ids) = ids {
            let mut ids = ids.to_vec();
            ids.sort_unstable();
            ids.dedup();
            self.0.push(Box::new(Listed(ids)));
        }
    }

    fn meet(
        mut self,
        all: impl FnOnce() -> Box<dyn DoubleEndedIterator<Item = I> + 'a>,
    ) -> Selected<'a, I> {
        match (self.0.pop(), self.0.is_empty()) {
            (None, _) => Selected::Walk(all()),
            // One index alone has the order already.
            (Some(one), true) => one.walk(),
            (Some(one), false) => {
                self.0.push(one);
                Selected::meet_of(self.0)
            }
        }
    }
}

/// Ids that were found, in order, from either end.
pub enum Selected<'a, I> {
    /// One index, or all there is.
    #[doc(hidden)]
    Walk(Box<dyn DoubleEndedIterator<Item = I> + 'a>),
    /// Where several meet.
    #[doc(hidden)]
    Meet(Meet<'a, I>),
}

/// Where several indexes meet.
pub struct Meet<'a, I> {
    ways: Vec<Box<dyn Way<'a, I> + 'a>>,
    /// First and last that may still come.
    rest: Option<(I, I)>,
}

impl<I> std::fmt::Debug for Selected<'_, I> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Selected").finish_non_exhaustive()
    }
}

impl<'a, I: AnyId> Selected<'a, I> {
    fn meet_of(ways: Vec<Box<dyn Way<'a, I> + 'a>>) -> Self {
        Self::Meet(Meet { ways, rest: Some((Uuid::nil().into(), Uuid::max().into())) })
    }
}

impl<'a, I: AnyId> Meet<'a, I> {
    /// The id nearest to `at` that every way has, when each is asked by `leap`.
    fn nearest(&self, mut at: I, leap: impl Fn(&dyn Way<'a, I>, I) -> Option<I>) -> Option<I> {
        let mut agree = 0;
        for way in self.ways.iter().cycle() {
            let found = leap(way.as_ref(), at)?;
            agree = if found == at { agree + 1 } else { 1 };
            at = found;
            if agree == self.ways.len() {
                break;
            }
        }
        Some(at)
    }
}

/// The id that many places after (or before) this one.
fn beside<I: AnyId>(id: I, step: impl Fn(u128) -> Option<u128>) -> Option<I> {
    let id: Uuid = id.into();
    step(id.as_u128()).map(|beside| Uuid::from_u128(beside).into())
}

impl<I: AnyId> Iterator for Selected<'_, I> {
    type Item = I;

    fn next(&mut self) -> Option<I> {
        match self {
            Self::Walk(walk) => walk.next(),
            Self::Meet(meet) => {
                let (first, last) = meet.rest.take()?;
                let found = meet.nearest(first, |way, at| way.from(at)).filter(|id| *id <= last)?;
                let next = beside(found, |id| id.checked_add(1)).filter(|next| *next <= last);
                meet.rest = next.map(|next| (next, last));
                Some(found)
            }
        }
    }
}

impl<I: AnyId> DoubleEndedIterator for Selected<'_, I> {
    fn next_back(&mut self) -> Option<I> {
        match self {
            Self::Walk(walk) => walk.next_back(),
            Self::Meet(meet) => {
                let (first, last) = meet.rest.take()?;
                let found =
                    meet.nearest(last, |way, at| way.until(at)).filter(|id| *id >= first)?;
                let next = beside(found, |id| id.checked_sub(1)).filter(|next| *next >= first);
                meet.rest = next.map(|next| (first, next));
                Some(found)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn id(n: u8) -> HostId {
        HostId(Uuid::from_u128(u128::from(n)))
    }

    proptest! {
        // Taken from either end in any order, it is what one would find by looking at everything.
        #[test]
        fn where_indexes_meet(
            one in prop::collection::btree_set((0_u8..4, 0_u8..60), 0..150),
            other in prop::collection::btree_set((0_u8..3, 0_u8..60), 0..150),
            keys in prop::collection::vec(0_u8..5, 0..3),
            second in prop::option::of(prop::collection::vec(0_u8..4, 0..3)),
            named in prop::option::of(prop::collection::vec(0_u8..60, 0..40)),
            ends in prop::collection::vec(any::<bool>(), 70),
        ) {
            let indexed = |set: &BTreeSet<(u8, u8)>| -> OrdSet<(u8, HostId)> {
                set.iter().map(|(key, n)| (*key, id(*n))).collect()
            };
            let (first, other_index) = (indexed(&one), indexed(&other));
            let named_ids: OneOf<HostId> =
                named.as_ref().map(|named| named.iter().map(|n| id(*n)).collect());
            let mut ways = Ways::default();
            ways.under(&first, Some(&keys));
            ways.under(&other_index, second.as_deref());
            ways.listed(named_ids.as_deref());
            let mut selected = ways.meet(|| Box::new(iter::empty()));

            let mut want: std::collections::VecDeque<HostId> = (0..60)
                .filter(|n| keys.iter().any(|key| one.contains(&(*key, *n))))
                .filter(|n| {
                    let among = |keys: &Vec<u8>| keys.iter().any(|k| other.contains(&(*k, *n)));
                    second.as_ref().is_none_or(among)
                })
                .filter(|n| named.as_ref().is_none_or(|named| named.contains(n)))
                .map(id)
                .collect();
            for front in ends {
                if front {
                    prop_assert_eq!(selected.next(), want.pop_front());
                } else {
                    prop_assert_eq!(selected.next_back(), want.pop_back());
                }
            }
        }
    }

    #[test]
    fn the_ends_of_all_ids() {
        let ends = [HostId(Uuid::nil()), HostId(Uuid::max())];
        let mut ways = Ways::default();
        ways.listed(Some(&ends));
        let mut selected = ways.meet(|| Box::new(iter::empty()));
        assert_eq!(selected.next(), Some(ends[0]));
        assert_eq!(selected.next_back(), Some(ends[1]));
        assert_eq!((selected.next(), selected.next_back()), (None, None));
    }
}
