//! What can go wrong between a decision and the disk.
//!
//! Three kinds, told apart by what to do: decide again (somebody else was first; nothing was
//! written), try again later (it is not known whether it was written), fetch a person. Texts name
//! the file and the remedy, because whoever reads them is in trouble.
//!
//! Must stay true: a store that cannot tell says `Unavailable`, and never that nothing was written.

use std::error::Error;
use std::sync::Arc;

/// Why the store did not do what it was asked.
///
/// One failing batch answers every commit in it, so the cause is shared and this type is `Clone`.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// A record that the decision rested on has changed, or one it wanted to create is there.
    /// Nothing was written: look again and decide again (see [`decide`](crate::decide)).
    #[error("somebody else changed the same records at the same time")]
    Conflict,
    /// The store cannot be used. Whether the transaction was written is not known.
    #[error("the store is unavailable: {doing}")]
    Unavailable {
        /// What was being done, on which file, and what a person can do about it.
        doing: String,
        /// What it failed on, where there is more to say.
        #[source]
        source: Option<Arc<dyn Error + Send + Sync>>,
    },
    /// What is stored cannot be read. It needs a person.
    #[error("the store holds what it cannot read: {what}; {remedy}")]
    Corrupt {
        /// What, in which file.
        what: String,
        /// What a person can do about it.
        remedy: String,
        /// What it failed on, where there is more to say.
        #[source]
        source: Option<Arc<dyn Error + Send + Sync>>,
    },
}

impl StoreError {
    /// Whether the same request may succeed when it is made again.
    #[must_use]
    pub const fn retryable(&self) -> bool {
        match self {
            Self::Conflict | Self::Unavailable { .. } => true,
            Self::Corrupt { .. } => false,
        }
    }

    pub(crate) fn unavailable(doing: impl Into<String>) -> Self {
        Self::Unavailable { doing: doing.into(), source: None }
    }

    pub(crate) fn unavailable_for(
        doing: impl Into<String>,
        source: impl Error + Send + Sync + 'static,
    ) -> Self {
        Self::Unavailable { doing: doing.into(), source: Some(Arc::new(source)) }
    }

    pub(crate) fn corrupt(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Corrupt { what: what.into(), remedy: remedy.into(), source: None }
    }

    pub(crate) fn corrupt_for(
        what: impl Into<String>,
        remedy: impl Into<String>,
        source: impl Error + Send + Sync + 'static,
    ) -> Self {
        Self::Corrupt { what: what.into(), remedy: remedy.into(), source: Some(Arc::new(source)) }
    }
}
