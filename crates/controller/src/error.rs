//! Why a use-case did not do what it was asked, in the original's words where clients match them.
//!
//! The kinds are those that a caller treats differently: look elsewhere, ask for something else,
//! accept the rule, try again. Which HTTP code that is, only the REST edge knows.
//!
//! Must stay true: after anything but [`Error::Store`], nothing was changed.

use std::sync::Arc;

use osds_keyring::KeyringError;
use osds_lifecycle::Refused;
use osds_model::{AccessMode, AttachMode, Host, HostId, Reason, VolumeState};
use osds_store::{DecideError, StoreError, View};

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
    /// As [`Error::Invalid`], with a word for programs.
    #[error("{words}")]
    Unfit {
        /// What to change.
        words: String,
        /// The word.
        reason: Reason,
    },
    /// The rules say no.
    #[error("{doing}{}", told(refused, host.as_deref()))]
    Refused {
        /// The original's prefix, such as `extend volume failed: `; may be empty.
        doing: &'static str,
        /// Why.
        refused: Refused,
        /// The name of the host it is about, where one is known.
        host: Option<String>,
        /// Who has the volume, where that is why.
        holders: Vec<Holder>,
    },
    /// The dock did not answer.
    #[error(transparent)]
    Dock(#[from] osds_dock_api::DockError),
    /// The key of the request belongs to another request.
    #[error("this Idempotency-Key was used for another request; use a new one")]
    KeyReused,
    /// The records could not be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The secrets of a new attachment could not be made.
    #[error("credentials for the attachment could not be made")]
    Secrets(#[source] Arc<KeyringError>),
}

/// One who has a volume that somebody else was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// The host.
    pub host: HostId,
    /// Its name.
    pub name: String,
    /// Whether it may write.
    pub mode: AttachMode,
    /// How an orchestrator uses it there, when one does.
    pub access: Option<AccessMode>,
}

impl Error {
    /// The word for programs, where there is one.
    #[must_use]
    pub const fn reason(&self) -> Option<Reason> {
        match self {
            Self::Unfit { reason, .. } => Some(*reason),
            Self::Refused { refused, .. } => Some(refused.reason()),
            Self::NotFound(_)
            | Self::Invalid(_)
            | Self::Dock(_)
            | Self::KeyReused
            | Self::Store(_)
            | Self::Secrets(_) => None,
        }
    }

    /// Who is in the way.
    #[must_use]
    pub fn holders(&self) -> &[Holder] {
        match self {
            Self::Refused { holders, .. } => holders,
            Self::Unfit { .. }
            | Self::NotFound(_)
            | Self::Invalid(_)
            | Self::Dock(_)
            | Self::KeyReused
            | Self::Store(_)
            | Self::Secrets(_) => &[],
        }
    }

    pub(crate) const fn unfit(reason: Reason, words: String) -> Self {
        Self::Unfit { words, reason }
    }

    /// As [`Error::refused`], naming who has the volume where a host is what stands in the way.
    pub(crate) fn refused_beside(view: &View, state: &VolumeState, refused: Refused) -> Self {
        let is_about_a_host = refused.host().is_some();
        let mut error = Self::refused("", view)(refused);
        if let Self::Refused { holders, .. } = &mut error
            && is_about_a_host
        {
            *holders = state
                .attachments
                .iter()
                .map(|(host, held)| Holder {
                    host: *host,
                    name: view
                        .get::<Host>(*host)
                        .map_or_else(String::new, |host| host.name.clone()),
                    mode: held.mode,
                    access: held.publication.map(|publication| publication.mode),
                })
                .collect();
        }
        error
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::Invalid(message.into())
    }

    pub(crate) fn refused(doing: &'static str, view: &View) -> impl FnOnce(Refused) -> Self {
        move |refused| {
            let host = refused.host().and_then(|id| view.get::<Host>(id));
            let host = host.map(|host| host.name.clone());
            Self::Refused { doing, refused, host, holders: Vec::new() }
        }
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

/// The refusal with the host called by its name, as people know it.
fn told(refused: &Refused, host: Option<&str>) -> String {
    let text = refused.to_string();
    match (refused.host(), host) {
        (Some(id), Some(name)) => {
            text.replace(&format!("host {id}"), &format!("host {name} ({id})"))
        }
        (Some(_), None) | (None, _) => text,
    }
}
