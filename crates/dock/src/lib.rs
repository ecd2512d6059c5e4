//! The dock: the agent on a storage host. It holds one wish per volume and makes it true.
//!
//! ```text
//!  wish -> accept? -> ledger (durable) -> next_step -> driver call -> facts -> next_step ...
//!                                             `-> none left -> outcome -> answer
//! ```
//! What to do comes from `lifecycle::enforcer`; what is there is read back from the drivers, never
//! remembered; what shall be there is the ledger's. So a crash at any point is a restart.

mod enforce;
mod inventory;
mod ledger;
mod moments;
mod reservations;

pub use ledger::{Ledger, LedgerError};
pub use reservations::ReservationFiles;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use osds_dock_api::{
    DockApi, DockDescription, DockError, Inventory, PoolDescription, TargetDescription,
};
use osds_drivers::{DriverError, StorageDriver, TargetDriver};
use osds_keyring::Keyring;
use osds_model::usage::{TargetUsage, VolumeUsage};
use osds_model::{Applied, DockId, FaultKind, PoolId, VolumeId, VolumeWish};
use uuid::Uuid;

/// Who a dock is; the part of its description that does not come from its drivers.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Its id; stable over restarts.
    pub id: DockId,
    /// Its name.
    pub name: String,
    /// Words for people.
    pub description: String,
    /// Where it listens.
    pub endpoint: String,
    /// The machine it runs on.
    pub node: String,
}

/// The agent on a storage host.
pub struct Dock {
    identity: Identity,
    storage: Arc<dyn StorageDriver>,
    target: Arc<dyn TargetDriver>,
    ledger: Ledger,
    /// Opens the credentials of wishes, which are sealed on the ledger.
    keys: Arc<Keyring>,
    /// Pool names by id, learnt from the driver's own list.
    pools: Mutex<HashMap<PoolId, String>>,
    /// One volume is worked on by one task at a time; an entry lives while somebody uses it.
    busy: Mutex<HashMap<VolumeId, Arc<tokio::sync::Mutex<()>>>>,
    /// Copies (snapshots, volumes) that writes could not wait for, and why.
    too_slow: Mutex<HashMap<Uuid, String>>,
}

impl Dock {
    /// A dock over these drivers, with the wishes of an earlier life on `ledger` and the keys that
    /// their credentials were sealed with.
    pub fn new(
        identity: Identity,
        storage: Arc<dyn StorageDriver>,
        target: Arc<dyn TargetDriver>,
        ledger: Ledger,
        keys: Arc<Keyring>,
    ) -> Self {
        let (pools, busy, too_slow) = Default::default();
        Self { identity, storage, target, ledger, keys, pools, busy, too_slow }
    }

    /// The id of the pool with this name in the driver YAML.
    #[must_use]
    pub fn pool_id(&self, name: &str) -> PoolId {
        PoolId(Uuid::new_v5(&self.identity.id.0, name.as_bytes()))
    }

    async fn pools_now(&self) -> Vec<PoolDescription> {
        let reports = self.storage.pools().await;
        let pools: Vec<_> = reports
            .into_iter()
            .map(|report| PoolDescription {
                id: self.pool_id(&report.name),
                name: report.name,
                spec: report.spec.map_err(|error| error.to_fault()),
            })
            .collect();
        *self.pool_names() = pools.iter().map(|pool| (pool.id, pool.name.clone())).collect();
        pools
    }

    /// The name of the wish's pool. The driver is asked for its list only when there is none yet:
    /// it is kept up to date by `describe`.
    async fn pool_name(&self, wish: &VolumeWish) -> Result<String, DriverError> {
        if self.pool_names().is_empty() {
            self.pools_now().await;
        }
        self.pool_names().get(&wish.pool).cloned().ok_or_else(|| {
            let doing = format!(
                "backend {} has no pool {} any more; put it back into its driver YAML and restart",
                self.identity.name, wish.pool
            );
            DriverError::new(FaultKind::Gone, doing)
        })
    }

    fn pool_names(&self) -> MutexGuard<'_, HashMap<PoolId, String>> {
        self.pools.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl DockApi for Dock {
    async fn describe(&self) -> Result<DockDescription, DockError> {
        // A dock without its memory serves nobody, and is not chosen for new volumes either.
        self.ledger.loaded().await.map_err(|error| enforce::ledger_failed("reading", error))?;
        let capabilities = self.target.capabilities();
        let Identity { id, name, description, endpoint, node } = self.identity.clone();
        Ok(DockDescription {
            id,
            name,
            description,
            endpoint,
            node,
            driver: self.storage.name().to_owned(),
            target: TargetDescription {
                name: self.target.name().to_owned(),
                protocol: capabilities.protocol,
                enforces_read_only: capabilities.read_only_per_host,
                enforces_credentials: capabilities.credentials_per_host,
            },
            pools: self.pools_now().await,
        })
    }

    async fn enforce(&self, wish: &VolumeWish) -> Result<Applied, DockError> {
        self.enforce_wish(wish).await
    }

    async fn inventory(&self) -> Result<Inventory, DockError> {
        self.take_inventory().await
    }

    // Straight to the target: neither the ledger nor anybody's turn with a volume is waited for.
    async fn usage(&self) -> Result<TargetUsage, DockError> {
        self.target.usage().await.map_err(|error| DockError::Failed(error.to_fault()))
    }

    async fn usage_of(&self, volume: VolumeId) -> Result<Option<VolumeUsage>, DockError> {
        let usage = self.target.usage_of(volume).await;
        usage.map_err(|error| DockError::Failed(error.to_fault()))
    }
}
