//! Uniqueness without a lock: who wants a word to be theirs creates a record named after it.
//!
//! The key is computed from the word, so two creates of one word are creates of one record, and
//! compare-and-swap lets one of them win, on etcd too. A claim is created, moved and removed in
//! the transaction of the record that owns it.

use osds_model::id::{HostId, ProfileId, TenantId};
use osds_model::{Initiator, Timestamp};
use serde::{Deserialize, Serialize};
use uuid::{Uuid, uuid};

/// Names the key space of claims; changing it would forget every claim.
const NAMESPACE: Uuid = uuid!("6f3c1f52-8f0b-4b0e-9d0a-1c5a0a4f7c11");

/// What must be unique.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ClaimKind {
    /// The name of a profile.
    ProfileName,
    /// The name of a host in its tenant: see [`Claim::host_name_value`].
    HostName,
    /// A name that a host logs in with: see [`Claim::initiator_value`].
    HostInitiator,
    /// A request's own key: see [`Claim::request_value`].
    Request,
}

impl ClaimKind {
    const fn as_str(self) -> &'static str {
        match self {
            Self::ProfileName => "profileName",
            Self::HostName => "hostName",
            Self::HostInitiator => "hostInitiator",
            Self::Request => "request",
        }
    }
}

/// One unique word and whose it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Claim {
    /// What the word is for.
    pub what: ClaimKind,
    /// The word.
    pub value: String,
    /// The record that has it.
    pub owner: Uuid,
    /// What was asked under it, when it is the key of a request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked: Option<Asked>,
}

/// A request, as far as it takes to know it again.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Asked {
    /// When it came first.
    pub at: Timestamp,
    /// Another request has another one.
    pub fingerprint: Uuid,
}

impl Claim {
    /// `owner` is called `name`.
    #[must_use]
    pub fn profile_name(name: &str, owner: ProfileId) -> Self {
        Self {
            what: ClaimKind::ProfileName,
            value: name.to_owned(),
            owner: owner.into(),
            asked: None,
        }
    }

    /// `owner` is called `name` in `tenant`.
    #[must_use]
    pub fn host_name(tenant: &TenantId, name: &str, owner: HostId) -> Self {
        let value = Self::host_name_value(tenant, name);
        Self { what: ClaimKind::HostName, value, owner: owner.into(), asked: None }
    }

    /// `owner` logs in as `initiator`.
    #[must_use]
    pub fn initiator(initiator: &Initiator, owner: HostId) -> Self {
        let value = Self::initiator_value(initiator);
        Self { what: ClaimKind::HostInitiator, value, owner: owner.into(), asked: None }
    }

    /// The word that an initiator makes, of any tenant: targets know hosts by nothing else, and
    /// compare without case.
    #[must_use]
    pub fn initiator_value(initiator: &Initiator) -> String {
        format!("{}/{}", initiator.protocol, initiator.port_name.to_ascii_lowercase())
    }

    /// `owner` is what a request made that its client, of `tenant`, calls `key`.
    #[must_use]
    pub fn request(tenant: &TenantId, key: &str, owner: Uuid, asked: Asked) -> Self {
        let value = Self::request_value(tenant, key);
        Self { what: ClaimKind::Request, value, owner, asked: Some(asked) }
    }

    /// The word that a request's key makes: with the length of the tenant, for a tenant may have
    /// any letter in it.
    #[must_use]
    pub fn request_value(tenant: &TenantId, key: &str) -> String {
        let tenant = tenant.to_string();
        format!("{}:{tenant}/{key}", tenant.len())
    }

    /// The word that a host name makes: a host name has no `/`, so no two pairs make the same.
    #[must_use]
    pub fn host_name_value(tenant: &TenantId, name: &str) -> String {
        format!("{tenant}/{name}")
    }

    /// The key of the claim to `value`, whoever has it.
    #[must_use]
    pub fn key_of(what: ClaimKind, value: &str) -> Uuid {
        let mut word = Vec::with_capacity(what.as_str().len() + 1 + value.len());
        word.extend_from_slice(what.as_str().as_bytes());
        word.push(0);
        word.extend_from_slice(value.as_bytes());
        Uuid::new_v5(&NAMESPACE, &word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_depends_on_the_word_and_not_on_the_owner() {
        let key = |what, value| Claim::key_of(what, value);
        assert_eq!(key(ClaimKind::ProfileName, "x"), key(ClaimKind::ProfileName, "x"));
        assert_ne!(key(ClaimKind::ProfileName, "x"), key(ClaimKind::HostName, "x"));
        assert_ne!(key(ClaimKind::ProfileName, "x"), key(ClaimKind::ProfileName, "y"));
        // Stored keys: this one may never change.
        assert_eq!(
            key(ClaimKind::ProfileName, "gold").to_string(),
            "902f8d45-555d-52dc-bc29-9a1ef4d72a7c"
        );
    }
}
