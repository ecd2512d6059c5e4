//! One consistent picture of everything that is stored.
//!
//! Immutable and made of persistent maps: a commit makes the next view from this one and shares
//! all that did not change, so a reader may keep a view as long as it likes, never waits, and
//! never sees half a transaction or an index that is out of step.

use std::fmt;

use osds_model::id::{
    AttachmentId, DockId, GroupId, GroupSnapshotId, HostId, PoolId, ProfileId, SnapshotId,
    TenantId, VolumeId,
};
use osds_model::{Host, Profile};
use uuid::Uuid;

use crate::claim::{Claim, ClaimKind};
use crate::error::StoreError;
use crate::indexes::{self, Indexes};
use crate::record::{Record, Revision, Row, Tables, Versioned};
use crate::txn::{Expect, Txn, Write};

/// One consistent picture of everything that is stored.
#[derive(Clone, Default)]
pub struct View {
    revision: Revision,
    tables: Tables,
    indexes: Indexes,
}

impl fmt::Debug for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("View").field("revision", &self.revision).finish_non_exhaustive()
    }
}

impl View {
    /// The last commit it shows.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// The record with this id.
    #[must_use]
    pub fn get<R: Record>(&self, id: impl Into<R::Id>) -> Option<&Versioned<R>> {
        let key: Uuid = id.into().into();
        R::table(&self.tables).get(&key)
    }

    /// How many records there are.
    #[must_use]
    pub fn len<R: Record>(&self) -> usize {
        R::table(&self.tables).len()
    }

    /// Whether there is no such record.
    #[must_use]
    pub fn is_empty<R: Record>(&self) -> bool {
        R::table(&self.tables).is_empty()
    }

    /// All records, in the order of their ids.
    pub fn iter<R: Record>(&self) -> impl DoubleEndedIterator<Item = &Versioned<R>> {
        R::table(&self.tables).values()
    }

    /// The record with this id and all after it, in the order of their ids.
    pub fn iter_from<R: Record>(
        &self,
        id: impl Into<R::Id>,
    ) -> impl DoubleEndedIterator<Item = &Versioned<R>> {
        let key: Uuid = id.into().into();
        R::table(&self.tables).range(key..).map(|(_, record)| record)
    }

    /// The claim to `value`, whoever has it.
    #[must_use]
    pub fn claim(&self, what: ClaimKind, value: &str) -> Option<&Versioned<Claim>> {
        self.get::<Claim>(Claim::key_of(what, value))
    }

    /// Who has `value`.
    #[must_use]
    pub fn claim_owner(&self, what: ClaimKind, value: &str) -> Option<Uuid> {
        self.claim(what, value).map(|claim| claim.owner)
    }

    /// The profile called `name`.
    #[must_use]
    pub fn profile_named(&self, name: &str) -> Option<&Versioned<Profile>> {
        self.get(ProfileId(self.claim_owner(ClaimKind::ProfileName, name)?))
    }

    /// The host called `name` in `tenant`.
    #[must_use]
    pub fn host_named(&self, tenant: &TenantId, name: &str) -> Option<&Versioned<Host>> {
        let value = Claim::host_name_value(tenant, name);
        self.get(HostId(self.claim_owner(ClaimKind::HostName, &value)?))
    }

    /// Which volume and which host an attachment is between.
    #[must_use]
    pub fn attachment(&self, id: AttachmentId) -> Option<(VolumeId, HostId)> {
        self.indexes.attachments.get(&id).copied()
    }

    /// Every attachment, in the order of their ids.
    pub fn attachments(&self) -> impl DoubleEndedIterator<Item = (AttachmentId, VolumeId, HostId)> {
        self.indexes.attachments.iter().map(|(id, (volume, host))| (*id, *volume, *host))
    }

    /// The attachments of a tenant, in the order of their ids.
    pub fn attachments_of_tenant<'v>(
        &'v self,
        tenant: &TenantId,
    ) -> impl DoubleEndedIterator<Item = AttachmentId> + use<'v> {
        indexes::of(&self.indexes.attachments_of_tenant, tenant.clone())
    }

    /// The volumes of a tenant, in the order of their ids.
    pub fn volumes_of_tenant<'v>(
        &'v self,
        tenant: &TenantId,
    ) -> impl DoubleEndedIterator<Item = VolumeId> + use<'v> {
        indexes::of(&self.indexes.volumes_of_tenant, tenant.clone())
    }

    /// The volumes that a host has, is about to have, or is about to lose.
    pub fn volumes_of_host(&self, host: HostId) -> impl DoubleEndedIterator<Item = VolumeId> {
        indexes::of(&self.indexes.volumes_of_host, host)
    }

    /// The volumes that live in a pool.
    pub fn volumes_in_pool(&self, pool: PoolId) -> impl DoubleEndedIterator<Item = VolumeId> {
        indexes::of(&self.indexes.volumes_in_pool, pool)
    }

    /// The volumes that were made under a profile.
    pub fn volumes_of_profile(
        &self,
        profile: ProfileId,
    ) -> impl DoubleEndedIterator<Item = VolumeId> {
        indexes::of(&self.indexes.volumes_of_profile, profile)
    }

    /// The volumes that are in a group.
    pub fn volumes_of_group(&self, group: GroupId) -> impl DoubleEndedIterator<Item = VolumeId> {
        indexes::of(&self.indexes.volumes_of_group, group)
    }

    /// The groups of a tenant, in the order of their ids.
    pub fn groups_of_tenant<'v>(
        &'v self,
        tenant: &TenantId,
    ) -> impl DoubleEndedIterator<Item = GroupId> + use<'v> {
        indexes::of(&self.indexes.groups_of_tenant, tenant.clone())
    }

    /// The pools that a dock serves.
    pub fn pools_of_dock(&self, dock: DockId) -> impl DoubleEndedIterator<Item = PoolId> {
        indexes::of(&self.indexes.pools_of_dock, dock)
    }

    /// The hosts of a tenant.
    pub fn hosts_of_tenant<'v>(
        &'v self,
        tenant: &TenantId,
    ) -> impl DoubleEndedIterator<Item = HostId> + use<'v> {
        indexes::of(&self.indexes.hosts_of_tenant, tenant.clone())
    }

    /// The snapshots of a volume.
    pub fn snapshots_of_volume(
        &self,
        volume: VolumeId,
    ) -> impl DoubleEndedIterator<Item = SnapshotId> {
        indexes::of(&self.indexes.snapshots_of_volume, volume)
    }

    /// Every group snapshot, each once.
    #[must_use]
    pub fn group_snapshots(&self) -> Vec<GroupSnapshotId> {
        let mut all: Vec<_> = self.indexes.snapshots_of_group.iter().map(|(id, _)| *id).collect();
        all.dedup();
        all
    }

    /// The volumes that are still to be made as a copy of this one, or of a snapshot of it.
    pub fn copies_of_volume(&self, volume: VolumeId) -> impl DoubleEndedIterator<Item = VolumeId> {
        indexes::of(&self.indexes.copies_of_volume, volume)
    }

    pub(crate) fn indexes(&self) -> &Indexes {
        &self.indexes
    }

    /// Whether all that `txn` rests on is so.
    pub(crate) fn check(&self, txn: &Txn) -> Result<(), StoreError> {
        let holds = txn.ops.iter().all(|((kind, key), op)| {
            let is = self.tables.revision(*kind, *key);
            match op.expect {
                Expect::Absent => is.is_none(),
                Expect::Unchanged(revision) => is == Some(revision),
            }
        });
        if holds { Ok(()) } else { Err(StoreError::Conflict) }
    }

    /// The picture after `txn`, which was checked.
    pub(crate) fn after(&self, txn: &Txn) -> Self {
        let mut next = self.clone();
        next.revision = self.revision.next();
        for ((kind, key), op) in &txn.ops {
            match &op.write {
                Write::Put(row) => {
                    next.tables.put(&mut next.indexes, row, next.revision);
                }
                Write::Delete => next.tables.delete(&mut next.indexes, *kind, *key),
                Write::Nothing => {}
            }
        }
        next
    }

    /// Puts in a record as it was read from the disk.
    pub(crate) fn load(&mut self, row: &Row, revision: Revision) {
        self.tables.put(&mut self.indexes, row, revision);
        self.revision = self.revision.max(revision);
    }

    /// Says which commit was the last, when the records alone do not (it may have been a removal).
    pub(crate) fn loaded(&mut self, revision: Revision) {
        self.revision = self.revision.max(revision);
    }
}
