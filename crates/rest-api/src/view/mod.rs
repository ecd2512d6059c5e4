//! The nouns as users see them: the original's keys, in its order, with its omissions.
//!
//! A view borrows from the model, so showing a thing copies no strings; read back by a client it
//! owns what it read. Status words come from `lifecycle` and are handed in. Fields that the
//! original does not have are few, say so, and are absent unless they have something to say.

mod attachment;
mod group;
mod group_snapshot;
mod host;
mod limits;
mod place;
mod profile;
mod snapshot;
mod stats;
mod volume;

use std::borrow::Cow;

use osds_model::Reason;
use serde::{Deserialize, Deserializer, Serialize};

use crate::scalar::Id;

pub use attachment::{AttachmentView, ConnectionInfo, Login, conceal_all};
pub use group::VolumeGroupView;
pub use group_snapshot::GroupSnapshotView;
pub use host::HostView;
pub use limits::IoLimitsView;
pub use place::{DockView, FitView, PoolView};
pub use profile::ProfileView;
pub use snapshot::SnapshotView;
pub use stats::{AttachmentStatsView, LatencyView};
pub use volume::{Identifier, VolumeView};

/// Whatever goes wrong: `{"code":404,"message":"..."}`, with the HTTP status as the code.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default)]
pub struct ErrorBody<'a> {
    /// The HTTP status.
    pub code: u16,
    /// What went wrong, for people; clients print it as it is.
    pub message: Cow<'a, str>,
    /// Ours: which rule said no, for programs; absent when none did.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "known")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub reason: Option<Reason>,
    /// Ours: who has the volume, where that is why.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<HolderView<'static>>))]
    pub holders: Cow<'a, [HolderView<'a>]>,
}

/// A word that this build does not know is none.
fn known<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Reason>, D::Error> {
    let word = Option::<String>::deserialize(deserializer)?;
    Ok(word.and_then(|word| Reason::parse(&word)))
}

/// One who has a volume that somebody else was refused.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct HolderView<'a> {
    /// The host.
    pub host_id: Id,
    /// Its name.
    pub host_name: Cow<'a, str>,
    /// `ro` or `rw`.
    pub attach_mode: Cow<'a, str>,
    /// CSI's word for how it is used there, when an orchestrator does.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub access_mode: Cow<'a, str>,
}

/// A version of the API.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct VersionView<'a> {
    /// Words for people.
    pub description: Cow<'a, str>,
    /// Its name in paths.
    pub name: Cow<'a, str>,
    /// `CURRENT`, `SUPPORTED` or `DEPRECATED`.
    pub status: Cow<'a, str>,
    /// When it last changed.
    pub updated_at: Cow<'a, str>,
}

impl VersionView<'static> {
    /// The one version there is.
    #[must_use]
    pub const fn v1beta() -> Self {
        Self {
            description: Cow::Borrowed("v1beta version"),
            name: Cow::Borrowed("v1beta"),
            status: Cow::Borrowed("CURRENT"),
            updated_at: Cow::Borrowed("2017-07-10T14:36:58.014Z"),
        }
    }
}

/// A number that the original leaves out when it is zero.
fn is_zero<N: Default + PartialEq>(number: &N) -> bool {
    *number == N::default()
}

/// A flag that the original leaves out when it is false.
fn is_false(flag: &bool) -> bool {
    !flag
}
