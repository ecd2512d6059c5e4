//! The contract between the controller and a dock: four questions, each safe to ask again.
//!
//! `describe` says what there is to choose from, `enforce` makes one volume's wish true and says
//! how far that got, `inventory` says what the dock holds, so that drift is found without sending
//! every wish again, and `usage` says what hosts did. In one process the dock itself implements the trait; a gRPC client can do so
//! later without the controller noticing.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use osds_model::host::Protocol;
use osds_model::pool::PoolSpec;
use osds_model::usage::{TargetUsage, VolumeUsage};
use osds_model::{Applied, DockId, Fault, FaultKind, Generation, PoolId, VolumeId, VolumeWish};
use serde::{Deserialize, Serialize};

/// A dock, as the controller sees it.
#[async_trait]
pub trait DockApi: Send + Sync + 'static {
    /// Who the dock is and what pools it has.
    ///
    /// # Errors
    /// [`DockError::Failed`] when it cannot say.
    async fn describe(&self) -> Result<DockDescription, DockError>;

    /// Makes the wish true as far as it goes now, and says how far that was. Returns only when no
    /// further step is possible; the wish is on the dock's ledger from before the first step.
    ///
    /// # Errors
    /// [`DockError::Rejected`] for a wish older than the one on the ledger; [`DockError::Failed`]
    /// when nothing could be tried. A step that fails is no error: the answer says so per host.
    async fn enforce(&self, wish: &VolumeWish) -> Result<Applied, DockError>;

    /// What the dock holds.
    ///
    /// # Errors
    /// [`DockError::Failed`] when it cannot say.
    async fn inventory(&self) -> Result<Inventory, DockError>;

    /// What hosts have done with its volumes. Cheap, and answered whatever else it is doing.
    ///
    /// # Errors
    /// [`DockError::Failed`] when it cannot say.
    async fn usage(&self) -> Result<TargetUsage, DockError>;

    /// The same for one volume; `None` when it exports no such volume.
    ///
    /// # Errors
    /// [`DockError::Failed`] when it cannot say.
    async fn usage_of(&self, volume: VolumeId) -> Result<Option<VolumeUsage>, DockError> {
        Ok(self.usage().await?.volumes.remove(&volume))
    }
}

/// Who a dock is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DockDescription {
    /// Its id; stable over restarts.
    pub id: DockId,
    /// Its name.
    pub name: String,
    /// Words for people.
    pub description: String,
    /// Where it listens; `local` inside the controller's process.
    pub endpoint: String,
    /// The machine it runs on.
    pub node: String,
    /// Its storage driver.
    pub driver: String,
    /// Its target.
    pub target: TargetDescription,
    /// Its pools, each with what it offers or why it offers nothing.
    pub pools: Vec<PoolDescription>,
}

/// What a dock's target can do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetDescription {
    /// Its name, such as `embedded`.
    pub name: String,
    /// What hosts must speak.
    pub protocol: Protocol,
    /// Whether it can hold one host to reading while another writes.
    pub enforces_read_only: bool,
    /// Whether it can make each host prove itself by credentials of its own.
    pub enforces_credentials: bool,
}

/// One pool of a dock.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PoolDescription {
    /// Its id; stable over restarts.
    pub id: PoolId,
    /// Its name in the driver YAML.
    pub name: String,
    /// What it offers, or why it offers nothing.
    pub spec: Result<PoolSpec, Fault>,
}

/// What a dock holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inventory {
    /// Every volume on the ledger that is wanted.
    pub volumes: BTreeMap<VolumeId, Held>,
    /// Volumes that are stored or exported, and not on the ledger. Reported and never touched.
    pub strays: BTreeSet<VolumeId>,
    /// What else is in the pools, in words for people. Reported and never touched.
    pub foreign: Vec<String>,
}

/// A volume on a dock's ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// The generation on the ledger.
    pub generation: Generation,
    /// Whether reality is as that generation wishes.
    pub as_wished: bool,
}

/// Why a dock gave no answer of substance.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum DockError {
    /// The wish is not newer than the one on the ledger.
    #[error("the dock did not take the wish: {0}")]
    Rejected(String),
    /// Nothing could be tried.
    #[error("the dock could not do it: {0}")]
    Failed(Fault),
    /// No dock answers there.
    #[error("dock {0} is not reachable")]
    Unreachable(DockId),
}

impl DockError {
    /// The same, as it is kept beside the volume it happened to.
    #[must_use]
    pub fn to_fault(&self) -> Fault {
        match self {
            Self::Failed(fault) => fault.clone(),
            Self::Rejected(_) | Self::Unreachable(_) => {
                Fault::new(FaultKind::Temporary, self.to_string())
            }
        }
    }
}
