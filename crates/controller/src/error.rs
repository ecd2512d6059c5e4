//! Why a use-case did not do what it was asked, in the original's words where clients match them.

use osds_lifecycle::Refused;
use osds_store::{DecideError, StoreError};

/// Why a use-case did not do what it was asked. Nothing was changed, except after
/// [`Error::Store`], when it is not known.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// There is no such thing, or the caller may not know of it.
    #[error("{0}")]
    NotFound(String),
    /// The request cannot be granted as it is; the message says what to change.
    #[error("{0}")]
    Invalid(String),
    /// The rules say no.
    #[error("{doing}{refused}")]
    Refused {
        /// The original's prefix, such as `extend volume failed: `; may be empty.
        doing: &'static str,
        /// Why.
        refused: Refused,
    },
    /// The records could not be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Error {
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::Invalid(message.into())
    }

    pub(crate) fn refused(doing: &'static str) -> impl FnOnce(Refused) -> Self {
        move |refused| Self::Refused { doing, refused }
    }
}

impl From<DecideError<Self>> for Error {
    fn from(error: DecideError<Self>) -> Self {
        match error {
            DecideError::Refused(error) => error,
            DecideError::Store(error) => Self::Store(error),
        }
    }
}
