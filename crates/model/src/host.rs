//! A machine that volumes are attached to.
//!
//! A host is known to a target by the names its initiators log in with, and by nothing else: its
//! address, zones and user are information. An attachment keeps the initiators that it was made
//! with, so editing a host does not change who is served under it. A fence keeps it out of every
//! volume.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::id::{HostId, TenantId, UserId};
use crate::time::Timestamp;

/// One port of a host, by the name it logs in with.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Initiator {
    /// IQN, EUI or NAA name for iSCSI; WWPN for Fibre Channel; host NQN for NVMe.
    pub port_name: String,
    /// What it speaks.
    pub protocol: Protocol,
}

impl Initiator {
    /// Whether a target would take the two for the same: names have no case (RFC 7143, 4.2.7.2;
    /// WWPNs and NQNs of hosts are written in either, too).
    #[must_use]
    pub fn is_same_as(&self, other: &Self) -> bool {
        self.protocol == other.protocol && self.port_name.eq_ignore_ascii_case(&other.port_name)
    }
}

/// What an initiator speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// iSCSI.
    Iscsi,
    /// Fibre Channel.
    FibreChannel,
    /// NVMe over Fabrics.
    #[serde(rename = "nvmeof")]
    NvmeOf,
    /// A device of the same machine; the name is the host's own choice.
    Local,
}

impl Protocol {
    /// Every protocol there is.
    pub const ALL: [Self; 4] = [Self::Iscsi, Self::FibreChannel, Self::NvmeOf, Self::Local];

    /// The OpenSDS word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Iscsi => "iscsi",
            Self::FibreChannel => "fibre_channel",
            Self::NvmeOf => "nvmeof",
            Self::Local => "local",
        }
    }

    /// The protocol with this OpenSDS word.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|p| p.as_str() == text)
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a host is kept out of every volume.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Fence {
    /// Since when.
    pub since: Timestamp,
    /// The operator's reason; may be empty.
    pub reason: String,
}

/// A machine that volumes are attached to.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Host {
    /// Its id.
    pub id: HostId,
    /// When it was registered.
    pub created_at: Timestamp,
    /// When the record last changed.
    pub updated_at: Option<Timestamp>,
    /// Whose it is.
    pub tenant: TenantId,
    /// Who registered it.
    pub user: UserId,
    /// DNS-like name, unique in what its tenant can see.
    pub name: String,
    /// `linux`, `windows` or `esxi`.
    pub os_type: String,
    /// `agent` or `agentless`.
    pub access_mode: String,
    /// Dotted IPv4 address, as OpenSDS asks; information only, access goes by initiator.
    pub ip: String,
    /// Port of its agent, or 0.
    pub port: u16,
    /// User name of its agent; the password is accepted on the wire and never kept.
    pub username: String,
    /// Where it can reach volumes; `None` and empty read differently on the wire.
    pub availability_zones: Option<Vec<String>>,
    /// The names it logs in with.
    pub initiators: Vec<Initiator>,
    /// Set while the host is kept out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fence: Option<Fence>,
}

impl Host {
    /// Whether this is one of its initiators.
    #[must_use]
    pub fn has(&self, initiator: &Initiator) -> bool {
        self.initiators.iter().any(|own| own.is_same_as(initiator))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_no_case() {
        let named = |name: &str, protocol| Initiator { port_name: name.to_owned(), protocol };
        let lower = named("iqn.x:a", Protocol::Iscsi);
        assert!(lower.is_same_as(&named("IQN.X:A", Protocol::Iscsi)));
        assert!(!lower.is_same_as(&named("iqn.x:b", Protocol::Iscsi)));
        assert!(!lower.is_same_as(&named("iqn.x:a", Protocol::NvmeOf)));
    }
}
