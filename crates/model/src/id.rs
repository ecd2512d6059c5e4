//! Names of things: one UUID type per noun, so that a host id cannot stand where a volume id is
//! meant. Tenants and users are free text in OpenSDS (a path segment, a token's user).
//!
//! New ids are version 7, made by whoever creates the record: they sort by age, so a list in the
//! order of ids is a list in the order of creation. An id has one spelling, the hyphenated one;
//! another spelling of the same number is no id, or one thing would have two names.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

macro_rules! uuid_id {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl $name {
            /// The id with this number; for fixtures and models, where ids are small.
            #[must_use]
            pub const fn from_u128(value: u128) -> Self {
                Self(Uuid::from_u128(value))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl From<Uuid> for $name {
            fn from(value: Uuid) -> Self {
                Self(value)
            }
        }

        impl From<$name> for Uuid {
            fn from(value: $name) -> Self {
                value.0
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;
            /// Only the hyphenated form is an id: it is the one that is printed, so one thing
            /// has one name.
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse::<uuid::fmt::Hyphenated>().map(|id| Self(id.into_uuid()))
            }
        }
    )+};
}

uuid_id! {
    /// A volume.
    VolumeId,
    /// One host's access to one volume.
    AttachmentId,
    /// A point-in-time copy of a volume.
    SnapshotId,
    /// Snapshots of several volumes that are of one moment.
    GroupSnapshotId,
    /// A storage pool of a dock.
    PoolId,
    /// A profile: what a user asks of storage, by name.
    ProfileId,
    /// A dock: the agent on a storage host.
    DockId,
    /// A host that volumes are attached to.
    HostId,
    /// A group of volumes.
    GroupId,
}

macro_rules! text_id {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The text itself.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.into())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    )+};
}

text_id! {
    /// Who owns a thing: the `{tenantId}` of the request path.
    TenantId,
    /// Who asked for a thing; empty when nobody is known (noauth).
    UserId,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_in_the_form_they_are_printed() {
        let id = VolumeId::from_u128(7);
        assert_eq!(id.to_string().parse::<VolumeId>().unwrap(), id);
        assert!("00000000000000000000000000000007".parse::<VolumeId>().is_err());
        assert!("nope".parse::<VolumeId>().is_err());
    }
}
