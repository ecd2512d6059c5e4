//! A transaction: what to write, and what must still be true for it to be right.
//!
//! Every record it names is named once, with the one thing expected of it. That is the shape of an
//! etcd transaction (compare revisions, then put and delete), so nothing here needs a lock.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use uuid::Uuid;

use crate::record::{Kind, Record, Revision, Row, Versioned};

/// What must be true of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expect {
    Absent,
    Unchanged(Revision),
}

/// What becomes of a record.
#[derive(Clone, Debug)]
pub(crate) enum Write {
    Put(Row),
    Delete,
    Nothing,
}

#[derive(Clone, Debug)]
pub(crate) struct Op {
    pub(crate) expect: Expect,
    pub(crate) write: Write,
}

/// What to commit, all or nothing.
///
/// Naming one record twice is a bug in the caller and panics, except for a `require` beside a
/// write of the same revision, which adds nothing.
#[derive(Clone, Debug, Default)]
#[must_use = "a transaction does nothing until it is committed"]
pub struct Txn {
    pub(crate) ops: BTreeMap<(Kind, Uuid), Op>,
}

impl Txn {
    /// One that does nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether it names no record at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }

    /// Write `record`, which must not be there.
    pub fn create<R: Record>(self, record: R) -> Self {
        let key = record.key();
        let write = Write::Put(R::into_row(Arc::new(record)));
        self.with(R::KIND, key, Op { expect: Expect::Absent, write })
    }

    /// Write `new` in place of `old`, which must be unchanged.
    ///
    /// # Panics
    /// When `new` is not named like `old`: that would be another record.
    pub fn replace<R: Record>(self, old: &Versioned<R>, new: R) -> Self {
        let key = old.key();
        assert_eq!(key, new.key(), "a {} cannot become another one", R::KIND);
        let write = Write::Put(R::into_row(Arc::new(new)));
        self.with(R::KIND, key, Op { expect: Expect::Unchanged(old.revision), write })
    }

    /// Remove `old`, which must be unchanged.
    pub fn remove<R: Record>(self, old: &Versioned<R>) -> Self {
        let op = Op { expect: Expect::Unchanged(old.revision), write: Write::Delete };
        self.with(R::KIND, old.key(), op)
    }

    /// Write nothing, but only commit if `seen` is unchanged.
    pub fn require<R: Record>(self, seen: &Versioned<R>) -> Self {
        let op = Op { expect: Expect::Unchanged(seen.revision), write: Write::Nothing };
        self.with(R::KIND, seen.key(), op)
    }

    /// The records it writes or removes.
    pub(crate) fn written(&self) -> impl Iterator<Item = (Kind, Uuid)> {
        self.ops.iter().filter(|(_, op)| !matches!(op.write, Write::Nothing)).map(|(name, _)| *name)
    }

    fn with(mut self, kind: Kind, key: Uuid, op: Op) -> Self {
        match self.ops.entry((kind, key)) {
            Entry::Vacant(entry) => {
                entry.insert(op);
            }
            Entry::Occupied(mut entry) => {
                let old = entry.get();
                assert!(old.expect == op.expect, "{kind} {key} expected in two ways at once");
                match (&old.write, &op.write) {
                    (_, Write::Nothing) => {}
                    (Write::Nothing, _) => {
                        entry.insert(op);
                    }
                    (Write::Put(_) | Write::Delete, Write::Put(_) | Write::Delete) => {
                        panic!("{kind} {key} written twice in one transaction");
                    }
                }
            }
        }
        self
    }
}
