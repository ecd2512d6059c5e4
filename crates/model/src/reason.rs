//! The word for a refusal, beside its text: for programs, which must not read English.
//!
//! A word is never reused for another meaning. It says which rule said no; what to do about it is
//! in the text.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $word:literal),+ $(,)?) => {
        /// Why a request was refused.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum Reason {
            $($(#[$doc])* #[serde(rename = $word)] $name,)+
        }

        impl Reason {
            /// Every word there is.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// The word on the wire.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $word,)+
                }
            }
        }
    };
}

reasons! {
    /// Another host has the volume, which is not multi-attach.
    HeldByAnotherHost = "heldByAnotherHost",
    /// The host has the volume in another way.
    OtherTerms = "otherTerms",
    /// The host's previous attachment is still being removed.
    StillDetaching = "stillDetaching",
    /// The host is kept out of everything.
    Fenced = "fenced",
    /// A holder was promised that this would not happen.
    Promised = "promised",
    /// A holder is in the way of the promise that is asked for.
    CannotPromise = "cannotPromise",
    /// Another host has one of the same initiator names.
    SameInitiator = "sameInitiator",
    /// As many hosts as its profile allows have the volume.
    TooManyAttachments = "tooManyAttachments",
    /// The target cannot hold one host to reading beside others.
    ReadOnlyNotEnforced = "readOnlyNotEnforced",
    /// The volume is not in a state to be attached.
    NotAttachable = "notAttachable",
    /// An access mode of many nodes on a volume that is not multi-attach.
    NotMultiAttach = "notMultiAttach",
    /// Many writers on a file system that takes itself to be alone.
    LocalFileSystem = "localFileSystem",
    /// A file system that takes itself to be alone, beside somebody who writes.
    FileSystemBesideWriter = "fileSystemBesideWriter",
    /// Hosts have the volume.
    InUse = "inUse",
    /// The volume has snapshots.
    HasSnapshots = "hasSnapshots",
    /// No snapshot can be taken of the volume now.
    NoSnapshot = "noSnapshot",
    /// The volume has as many snapshots as one may have.
    TooManySnapshots = "tooManySnapshots",
    /// The snapshot is one of a group snapshot, whose snapshots go together.
    InGroupSnapshot = "inGroupSnapshot",
    /// The writes of these volumes cannot be held at one moment.
    NotTogether = "notTogether",
    /// The pool has no room for a snapshot.
    NoRoom = "noRoom",
    /// The volume cannot be copied now.
    NotCopied = "notCopied",
    /// Nothing can be made from the snapshot now.
    SnapshotNotReady = "snapshotNotReady",
    /// The volume cannot grow now.
    NotExtendable = "notExtendable",
    /// A volume only grows.
    NotLarger = "notLarger",
    /// Force is for a detach that does not end.
    NotDetaching = "notDetaching",
    /// There is no such volume.
    NoSuchVolume = "noSuchVolume",
    /// There is no such host.
    NoSuchHost = "noSuchHost",
    /// The host is in none of the volume's zones, or does not speak what its target speaks.
    CannotReach = "cannotReach",
    /// No pool fits.
    NoPool = "noPool",
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Reason {
    /// The reason with this word, if this build knows it.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|reason| reason.as_str() == word)
    }
}
