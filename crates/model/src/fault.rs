//! What went wrong on the way from a wish to reality, kept with the thing it happened to.
//!
//! A fault is a fact about the last try, not a state: the thing is still wished for and tried
//! again, and the fault goes when a try succeeds. The kind is for programs (whoever is above a
//! driver looks at nothing else), the message for people, who see it as the status reason.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The kinds of failure that anybody above a driver needs to tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum FaultKind {
    /// The pool is full.
    NoSpace,
    /// This driver or backend cannot do it, now or later.
    NotSupported,
    /// Somebody else holds it.
    InUse,
    /// It should be there and is not.
    Gone,
    /// It may well work the next time.
    Temporary,
    /// It needs a person.
    Broken,
}

impl FaultKind {
    /// The word for logs and tables.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoSpace => "noSpace",
            Self::NotSupported => "notSupported",
            Self::InUse => "inUse",
            Self::Gone => "gone",
            Self::Temporary => "temporary",
            Self::Broken => "broken",
        }
    }
}

impl FaultKind {
    /// What a tenant is told: no names of files, machines or other people's hosts.
    #[must_use]
    pub const fn for_tenant(self) -> &'static str {
        match self {
            Self::NoSpace => "its pool has no room for it (noSpace)",
            Self::NotSupported => "its storage or its target cannot do this (notSupported)",
            Self::InUse => "something else still holds it (inUse)",
            Self::Gone => "it was made and is not there any more; ask an administrator (gone)",
            Self::Temporary => "it did not work and is being tried again (temporary)",
            Self::Broken => "it needs an administrator, who sees the cause (broken)",
        }
    }
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The last failure of something that is still being tried.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Fault {
    /// What sort of failure.
    pub kind: FaultKind,
    /// The whole story in one line, causes included.
    pub message: String,
}

impl Fault {
    /// A fault of this kind.
    pub fn new(kind: FaultKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.message, self.kind)
    }
}
