//! An agent on a storage host, as the control plane knows it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::id::DockId;
use crate::time::Timestamp;

/// An agent on a storage host.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Dock {
    /// Its id; stable over restarts.
    pub id: DockId,
    /// When it was first seen.
    pub created_at: Timestamp,
    /// When its description last changed.
    pub updated_at: Option<Timestamp>,
    /// Its name.
    pub name: String,
    /// Words for people.
    pub description: String,
    /// Where it listens; `local` when it runs inside the controller's process.
    pub endpoint: String,
    /// The machine it runs on.
    pub node: String,
    /// Which storage driver it runs.
    pub driver: String,
    /// Free text pairs.
    #[serde(default)]
    pub metadata: BTreeMap<String, String>,
}
