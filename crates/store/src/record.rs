//! What can be stored: a closed set of kinds, each with its own table.
//!
//! One macro names every kind once and makes the rest from it, so a new kind cannot be half added:
//! forget a place and it does not compile. Stored tags and words must never be reused.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use imbl::OrdMap;
use osds_model::id::{DockId, GroupId, HostId, PoolId, ProfileId, SnapshotId, VolumeId};
use osds_model::{Dock, Host, Pool, Profile, Snapshot, Volume, VolumeGroup};
use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use crate::claim::Claim;
use crate::error::StoreError;
use crate::indexes::{Indexed, Indexes};
use crate::migrate::{self, Upgrade};

/// Counts commits. A record's revision is that of the commit that wrote it last, so it is never
/// the same twice, even when a record is removed and made again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(pub u64);

impl Revision {
    pub(crate) const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A record as it was at one revision. Reads like the record itself; cheap to clone.
#[derive(Debug)]
pub struct Versioned<R> {
    /// The commit that wrote it.
    pub revision: Revision,
    /// What it wrote.
    pub value: Arc<R>,
}

impl<R> Clone for Versioned<R> {
    fn clone(&self) -> Self {
        Self { revision: self.revision, value: Arc::clone(&self.value) }
    }
}

impl<R: PartialEq> PartialEq for Versioned<R> {
    fn eq(&self, other: &Self) -> bool {
        self.revision == other.revision && self.value == other.value
    }
}

impl<R> Deref for Versioned<R> {
    type Target = R;
    fn deref(&self) -> &R {
        &self.value
    }
}

/// Something that is stored. The set is closed: only this crate can implement it.
pub trait Record:
    Stored + Indexed + Clone + fmt::Debug + Serialize + DeserializeOwned + Send + Sync + 'static
{
    /// What names one.
    type Id: Copy + Ord + From<Uuid> + Into<Uuid>;
    /// Which kind it is.
    const KIND: Kind;
    /// One step for each old format: `UPGRADES[0]` makes format 2 out of format 1, and so on.
    /// Append only.
    const UPGRADES: &'static [Upgrade] = &[];
    /// The format that is written today.
    const FORMAT: u16 = 1 + Self::UPGRADES.len() as u16;
    /// Its name.
    fn key(&self) -> Uuid;
}

pub(crate) type Table<R> = OrdMap<Uuid, Versioned<R>>;

/// Finds a record type's table, and a type for a record.
pub trait Stored: Sized {
    #[doc(hidden)]
    fn table(tables: &Tables) -> &Table<Self>;
    #[doc(hidden)]
    fn table_mut(tables: &mut Tables) -> &mut Table<Self>;
    #[doc(hidden)]
    fn into_row(value: Arc<Self>) -> Row;
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident = $tag:literal, $word:literal, $table:ident: $record:ty;)+) => {
        /// The kinds of record.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Kind {
            $($(#[$doc])* $kind),+
        }

        impl Kind {
            /// Every kind.
            pub const ALL: &'static [Self] = &[$(Self::$kind),+];

            /// The word for messages and file names.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$kind => $word),+
                }
            }

            /// The format that is written today.
            #[must_use]
            pub const fn format(self) -> u16 {
                match self {
                    $(Self::$kind => <$record as Record>::FORMAT),+
                }
            }

            /// How it is told from the others on disk.
            pub(crate) const fn tag(self) -> u8 {
                match self {
                    $(Self::$kind => $tag),+
                }
            }

            pub(crate) const fn from_tag(tag: u8) -> Option<Self> {
                match tag {
                    $($tag => Some(Self::$kind),)+
                    _ => None,
                }
            }
        }

        /// Every record there is, by kind.
        #[derive(Clone, Debug, Default)]
        pub struct Tables {
            $($table: Table<$record>),+
        }

        /// A record of any kind.
        #[derive(Clone, Debug)]
        pub enum Row {
            $($(#[$doc])* $kind(Arc<$record>)),+
        }

        impl Row {
            pub(crate) fn encode(&self) -> Result<Vec<u8>, StoreError> {
                match self {
                    $(Self::$kind(value) => migrate::encode(value.as_ref())),+
                }
            }

            pub(crate) fn decode(kind: Kind, format: u16, json: &[u8]) -> Result<Self, StoreError> {
                match kind {
                    $(Kind::$kind => {
                        migrate::decode::<$record>(format, json).map(|r| Self::$kind(Arc::new(r)))
                    }),+
                }
            }

            pub(crate) fn key(&self) -> Uuid {
                match self {
                    $(Self::$kind(value) => value.key()),+
                }
            }
        }

        impl Tables {
            /// The revision of a record, if it is there.
            pub(crate) fn revision(&self, kind: Kind, key: Uuid) -> Option<Revision> {
                match kind {
                    $(Kind::$kind => self.$table.get(&key).map(|r| r.revision)),+
                }
            }

            pub(crate) fn put(&mut self, indexes: &mut Indexes, row: &Row, revision: Revision) {
                match row {
                    $(Row::$kind(value) => put(&mut self.$table, indexes, value, revision)),+
                }
            }

            pub(crate) fn delete(&mut self, indexes: &mut Indexes, kind: Kind, key: Uuid) {
                match kind {
                    $(Kind::$kind => delete(&mut self.$table, indexes, key)),+
                }
            }
        }

        $(impl Stored for $record {
            fn table(tables: &Tables) -> &Table<Self> {
                &tables.$table
            }
            fn table_mut(tables: &mut Tables) -> &mut Table<Self> {
                &mut tables.$table
            }
            fn into_row(value: Arc<Self>) -> Row {
                Row::$kind(value)
            }
        })+
    };
}

kinds! {
    /// A volume with its attachments.
    Volume = 1, "volume", volumes: Volume;
    /// A pool with what is reserved in it.
    Pool = 2, "pool", pools: Pool;
    /// A profile.
    Profile = 3, "profile", profiles: Profile;
    /// A dock.
    Dock = 4, "dock", docks: Dock;
    /// A host.
    Host = 5, "host", hosts: Host;
    /// A snapshot.
    Snapshot = 6, "snapshot", snapshots: Snapshot;
    /// A claim to a unique word.
    Claim = 7, "claim", claims: Claim;
    /// A group of volumes.
    VolumeGroup = 8, "volumeGroup", groups: VolumeGroup;
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

macro_rules! nouns {
    ($($record:ident: $id:ty),+ $(,)?) => {$(
        impl Record for $record {
            type Id = $id;
            const KIND: Kind = Kind::$record;
            fn key(&self) -> Uuid {
                self.id.into()
            }
        }
    )+};
}

nouns! {
    Volume: VolumeId,
    Pool: PoolId,
    Profile: ProfileId,
    Dock: DockId,
    Host: HostId,
    Snapshot: SnapshotId,
    VolumeGroup: GroupId,
}

impl Record for Claim {
    type Id = Uuid;
    const KIND: Kind = Kind::Claim;
    fn key(&self) -> Uuid {
        Self::key_of(self.what, &self.value)
    }
}

fn put<R: Record>(table: &mut Table<R>, indexes: &mut Indexes, value: &Arc<R>, revision: Revision) {
    let old = table.insert(value.key(), Versioned { revision, value: Arc::clone(value) });
    R::reindex(indexes, old.as_deref(), Some(value));
}

fn delete<R: Record>(table: &mut Table<R>, indexes: &mut Indexes, key: Uuid) {
    if let Some(old) = table.remove(&key) {
        R::reindex(indexes, Some(&old), None);
    }
}
