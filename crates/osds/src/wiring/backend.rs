//! One backend: its storage, and the target that hosts reach it by.
//!
//! Storage is made of a driver's YAML, a target of its block in osds.toml; either may be exchanged
//! without the other, but for an array, which is its own target. A new storage driver is a variant
//! of [`Pools`] and an arm in [`read`] and [`storage`]; a new target is an arm in [`target`].

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result, bail, ensure};
use osds_dock::Ledger;
use osds_drivers::config::{FileConfig, FusionStorageConfig, Loaded, LvmConfig, PoolConfig};
use osds_drivers::storage::file::FileStorage;
use osds_drivers::storage::fusionstorage::{FusionStorage, Patience};
use osds_drivers::storage::lvm::LvmStorage;
use osds_drivers::target::embedded::{EmbeddedSettings, EmbeddedTarget};
use osds_drivers::target::fusionstorage::FusionStorageTarget;
use osds_drivers::target::lio::{LioSettings, LioTarget};
use osds_drivers::target::local::LocalTarget;
use osds_drivers::target::nvmet::{NvmetSettings, NvmetTarget};
use osds_drivers::{DriverError, StorageDriver, TargetDriver};
use osds_iscsi::Limits;
use osds_keyring::password::Written;
use tracing::warn;

use crate::config::{Backend, Iscsi, StorageKind, TargetKind, duration};

/// What a storage driver is made of, read from its YAML.
pub(super) enum Pools {
    Files(FileConfig),
    Volumes(LvmConfig),
    Array(Box<FusionStorageConfig>),
}

impl Pools {
    /// The backend with its target said, if need be by what its pools speak.
    pub(super) fn with_target(&self, backend: &Backend) -> Backend {
        let pools: Vec<&PoolConfig> = match self {
            Self::Files(config) => config.pools.iter().map(|one| &one.pool).collect(),
            Self::Volumes(config) => config.pools.iter().map(|one| &one.pool).collect(),
            Self::Array(_) => return backend.clone(),
        };
        let target = backend.target_for(pools.into_iter().map(protocol_of));
        Backend { target: Some(target), ..backend.clone() }
    }
}

/// Where a backend's parts keep what is theirs.
pub(super) struct Place<'a> {
    pub(super) backend: &'a Backend,
    pub(super) ledger: &'a Ledger,
    /// A directory of its own.
    pub(super) home: &'a Path,
}

impl Place<'_> {
    fn failed(&self) -> impl Fn(DriverError) -> anyhow::Error {
        |error| anyhow::anyhow!("backend {}: {}", self.backend.name, error.chain())
    }
}

/// A backend's storage, and what a target has to know of it.
pub(super) struct Storage {
    pub(super) driver: Arc<dyn StorageDriver>,
    /// Where the files of a file driver lie; a target for this machine works there.
    directories: Vec<PathBuf>,
    /// An array exports what it keeps by itself.
    own_target: Option<Arc<dyn TargetDriver>>,
}

/// Reads the backend's driver YAML.
pub(super) fn read(backend: &Backend, key_file: &Path) -> Result<Pools> {
    let (pools, warnings) = match backend.driver {
        StorageKind::File => {
            let Loaded { config, warnings } = load(backend)?;
            (Pools::Files(config), warnings)
        }
        StorageKind::Lvm => {
            let Loaded { config, warnings } = load_lvm(backend)?;
            (Pools::Volumes(config), warnings)
        }
        StorageKind::FusionStorage => {
            let Loaded { config, warnings } = load_array(backend, key_file)?;
            (Pools::Array(Box::new(config)), warnings)
        }
        StorageKind::NotYet(driver) => bail!(
            "backend {}: osds has no driver {} yet; put its block into comments",
            backend.name,
            driver.name
        ),
    };
    warnings.iter().for_each(|warning| warn!("{warning}"));
    Ok(pools)
}

/// Makes the storage.
pub(super) fn storage(place: &Place<'_>, pools: Pools) -> Result<Storage> {
    let failed = place.failed();
    Ok(match pools {
        Pools::Files(config) => {
            let directories = config.pools.iter().map(|pool| pool.path.clone()).collect();
            // Beside the backend's ledger it is noted which directories its pools are.
            let notes = place.home.join("pools.json");
            let driver = FileStorage::with_notes(config, &notes).map_err(failed)?;
            Storage { driver: Arc::new(driver), directories, own_target: None }
        }
        Pools::Volumes(config) => {
            // Likewise which volume groups.
            let notes = place.home.join("pools.json");
            let driver = LvmStorage::with_notes(config, &notes).map_err(failed)?;
            Storage { driver: Arc::new(driver), directories: Vec::new(), own_target: None }
        }
        Pools::Array(config) => {
            let driver = FusionStorage::new(&config, Patience::default()).map_err(&failed)?;
            let journal = place.home.join("array");
            let target = FusionStorageTarget::new(driver.clone(), &config, journal);
            let own_target = Some(Arc::new(target.map_err(failed)?) as Arc<dyn TargetDriver>);
            Storage { driver: Arc::new(driver), directories: Vec::new(), own_target }
        }
    })
}

/// Makes the target of this storage. One that runs in this process is put to `embedded`, too: it
/// has to be ended.
pub(super) fn target(
    place: &Place<'_>,
    storage: &Storage,
    embedded: &mut Vec<EmbeddedTarget>,
) -> Result<Arc<dyn TargetDriver>> {
    if let Some(own) = &storage.own_target {
        return Ok(Arc::clone(own));
    }
    let (backend, failed) = (place.backend, place.failed());
    Ok(match backend.target_for([]) {
        TargetKind::Embedded => {
            let target = EmbeddedTarget::start(embedded_settings(&backend.iscsi)?);
            let target = target.map_err(failed)?;
            target.keep_reservations_on(Arc::new(place.ledger.reservations()));
            embedded.push(target.clone());
            Arc::new(target)
        }
        TargetKind::Nvmet => Arc::new(NvmetTarget::start(nvmet_settings(place)?).map_err(failed)?),
        TargetKind::Lio => {
            let settings = lio_settings(backend, place.home)?;
            Arc::new(LioTarget::start(settings).map_err(failed)?)
        }
        TargetKind::Local => {
            ensure!(
                !storage.directories.is_empty(),
                "backend {}: target local is for volumes that are files: driver file",
                backend.name
            );
            let drain_timeout = duration(backend.local.drain_timeout)?;
            let directories = storage.directories.iter().cloned();
            Arc::new(LocalTarget::start(directories, drain_timeout).map_err(failed)?)
        }
    })
}

/// Reads the driver YAML of files.
pub(crate) fn load(backend: &Backend) -> Result<Loaded<FileConfig>> {
    let loaded =
        FileConfig::load(&backend.config).with_context(|| format!("backend {}", backend.name))?;
    check_protocol(backend, loaded.config.pools.iter().map(|pool| &pool.pool))?;
    Ok(loaded)
}

/// Reads the driver YAML of logical volumes.
pub(crate) fn load_lvm(backend: &Backend) -> Result<Loaded<LvmConfig>> {
    let loaded =
        LvmConfig::load(&backend.config).with_context(|| format!("backend {}", backend.name))?;
    check_protocol(backend, loaded.config.pools.iter().map(|pool| &pool.pool))?;
    Ok(loaded)
}

fn protocol_of(pool: &PoolConfig) -> &str {
    &pool.extras.io_connectivity.access_protocol
}

/// Profiles choose pools by what they say their hosts speak: a wrong word gets volumes that hosts
/// cannot use. Words that no target of ours speaks are the original's own.
fn check_protocol<'a>(
    backend: &Backend,
    pools: impl IntoIterator<Item = &'a PoolConfig> + Clone,
) -> Result<()> {
    let spoken = backend.target_for(pools.clone().into_iter().map(protocol_of)).protocol().as_str();
    let is_spoken_here = |word: &str| {
        let mut all = TargetKind::ALL.iter();
        all.any(|kind| kind.protocol().as_str().eq_ignore_ascii_case(word))
    };
    for pool in pools {
        let said = protocol_of(pool);
        ensure!(
            said.is_empty() || !is_spoken_here(said) || said.eq_ignore_ascii_case(spoken),
            "backend {}: pool {} says accessProtocol: {said}, and its target speaks {spoken}; \
             write accessProtocol: {spoken} in {}, or another target in osds.toml",
            backend.name,
            pool.name,
            backend.config.display()
        );
    }
    Ok(())
}

/// Reads the driver YAML of an array, its password opened.
pub(crate) fn load_array(
    backend: &Backend,
    key_file: &Path,
) -> Result<Loaded<FusionStorageConfig>> {
    let about = || format!("backend {}", backend.name);
    let mut loaded = FusionStorageConfig::load(&backend.config).with_context(about)?;
    ensure!(
        backend.target.is_none_or(|target| target == TargetKind::Embedded),
        "backend {}: an array is its own target; leave target out",
        backend.name
    );
    let config = &mut loaded.config;
    let password = Written { encrypted: config.encrypted, key_file };
    let password = password.open(config.password.expose()).with_context(|| {
        format!("backend {}: password in {}", backend.name, backend.config.display())
    })?;
    config.password = osds_drivers::config::Secret::new(password.reveal());
    Ok(loaded)
}

fn nvmet_settings(place: &Place<'_>) -> Result<NvmetSettings> {
    let nvme = &place.backend.nvme;
    Ok(NvmetSettings {
        listen: nvme.listen.clone(),
        advertise: nvme.advertise.clone(),
        nqn_prefix: nvme.nqn_prefix.clone(),
        drain_timeout: duration(nvme.drain_timeout)?,
        notes: place.home.join("nvmet"),
    })
}

fn embedded_settings(iscsi: &Iscsi) -> Result<EmbeddedSettings> {
    let limits = Limits {
        connections_total: iscsi.max_connections,
        drain_timeout: duration(iscsi.drain_timeout)?,
        ..Limits::default()
    };
    Ok(EmbeddedSettings {
        listen: iscsi.listen.clone(),
        advertise: iscsi.advertise.clone(),
        iqn_prefix: iscsi.iqn_prefix.clone(),
        limits,
    })
}

fn lio_settings(backend: &Backend, home: &Path) -> Result<LioSettings> {
    let iscsi = &backend.iscsi;
    Ok(LioSettings {
        backend: backend.name.clone(),
        listen: iscsi.listen.clone(),
        advertise: iscsi.advertise.clone(),
        iqn_prefix: iscsi.iqn_prefix.clone(),
        drain_timeout: duration(iscsi.drain_timeout)?,
        home: home.join("lio"),
    })
}
