//! Which parts there are and how they hold together: the only place that names concrete stores,
//! drivers and targets. Everything else knows them by their traits, so a new backend is a line
//! here.
//!
//! ```text
//! REST -> Controller -> Dock (one for each backend) -> FileStorage | FusionStorage
//!            |                          |      `----> EmbeddedTarget | LocalTarget | the array
//!          Store                     Ledger
//! ```
//! Making the parts opens files and binds ports, and so may fail; nothing is served before all of
//! them are made.

use std::fs::DirBuilder;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result, bail, ensure};
use osds_controller::{Controller, Docks, Settings, SystemClock};
use osds_dock::{Dock, Identity, Ledger};
use osds_dock_api::DockApi;
use osds_drivers::config::{FileConfig, FilePoolConfig, FusionStorageConfig, Loaded};
use osds_drivers::storage::file::FileStorage;
use osds_drivers::storage::fusionstorage::{FusionStorage, Patience};
use osds_drivers::target::embedded::{EmbeddedSettings, EmbeddedTarget};
use osds_drivers::target::fusionstorage::FusionStorageTarget;
use osds_drivers::target::local::LocalTarget;
use osds_drivers::{DriverError, StorageDriver, TargetDriver};
use osds_iscsi::Limits;
use osds_keyring::Keyring;
use osds_keyring::password::Written;
use osds_model::Volume;
use osds_store::{EmbeddedStore, MemoryStore, Store};
use tracing::{info, warn};

use crate::config::{Backend, Config, Iscsi, Local, StorageKind, StoreKind, TargetKind, duration};
use crate::node::Node;
use crate::space;

/// A daemon whose parts are made and not started.
pub(crate) struct Parts {
    pub(crate) controller: Controller,
    pub(crate) docks: Vec<Arc<Dock>>,
    pub(crate) targets: Vec<EmbeddedTarget>,
}

impl Parts {
    /// Where the targets listen.
    pub(crate) fn portals(&self) -> Vec<SocketAddr> {
        self.targets.iter().flat_map(EmbeddedTarget::addresses).collect()
    }
}

/// Makes every part that the configuration asks for.
pub(crate) fn build(config: &Config, default_iscsi: Option<SocketAddr>) -> Result<Parts> {
    let data_dir = &config.data_dir;
    // Volumes hold other people's data: nobody else on this machine reads them.
    DirBuilder::new().recursive(true).mode(0o700).create(data_dir).with_context(|| {
        format!("cannot make data directory {}; choose another with --data-dir", data_dir.display())
    })?;
    // Before the records are made, which would hide that this is a new machine.
    let node = Node::open(data_dir)?;
    let store = open_store(config)?;
    let keys = Arc::new(open_keys(config, store.as_ref())?);
    let mut docks = Vec::new();
    let mut targets = Vec::new();
    let mut by_id = Docks::new();
    for BackendWithStorage { backend, storage } in backends(config, default_iscsi)? {
        let identity = Identity {
            id: node.dock_id(&backend.name),
            name: backend.name.clone(),
            description: backend.description.clone(),
            endpoint: "local".to_owned(),
            node: node.name.clone(),
        };
        let id = identity.id;
        let ledger = Ledger::open(data_dir.join("docks").join(&backend.name).join("ledger"))
            .with_context(|| format!("backend {}", backend.name))?;
        let failed =
            |error: DriverError| anyhow::anyhow!("backend {}: {}", backend.name, error.chain());
        let (storage, target): (Arc<dyn StorageDriver>, Arc<dyn TargetDriver>) = match storage {
            Storage::Files(config) => {
                let directories = config.pools.iter().map(|pool| pool.path.clone());
                let directories: Vec<_> = directories.collect();
                let target: Arc<dyn TargetDriver> = match backend.target {
                    TargetKind::Embedded => {
                        let settings = target_settings(&backend.iscsi)?;
                        let target = EmbeddedTarget::start(settings).map_err(failed)?;
                        target.keep_reservations_on(Arc::new(ledger.reservations()));
                        targets.push(target.clone());
                        Arc::new(target)
                    }
                    TargetKind::Local => {
                        let drain_timeout = duration(backend.local.drain_timeout)?;
                        Arc::new(LocalTarget::start(directories, drain_timeout).map_err(failed)?)
                    }
                };
                // Beside the backend's ledger it is noted which directories its pools are.
                let notes = data_dir.join("docks").join(&backend.name).join("pools.json");
                let storage = FileStorage::with_notes(config, &notes).map_err(failed)?;
                (Arc::new(storage), target)
            }
            Storage::Array(config) => {
                let storage = FusionStorage::new(&config, Patience::default()).map_err(failed)?;
                let journal = data_dir.join("docks").join(&backend.name).join("array");
                let target = FusionStorageTarget::new(storage.clone(), &config, journal);
                (Arc::new(storage), Arc::new(target.map_err(failed)?))
            }
        };
        let dock = Arc::new(Dock::new(identity, storage, target, ledger, Arc::clone(&keys)));
        by_id.insert(id, Arc::clone(&dock) as Arc<dyn DockApi>);
        docks.push(dock);
    }
    let settings = Settings {
        sweep_every: duration(config.controller.sweep_every)?,
        workers: config.controller.workers,
        retry_first: duration(config.controller.retry_first)?,
        retry_most: duration(config.controller.retry_most)?,
    };
    let controller = Controller::new(store, by_id, Arc::new(SystemClock), settings)
        .with_chap(config.iscsi.chap, keys);
    Ok(Parts { controller, docks, targets })
}

/// Reads a backend's driver YAML.
pub(crate) fn load(backend: &Backend) -> Result<Loaded<FileConfig>> {
    let loaded =
        FileConfig::load(&backend.config).with_context(|| format!("backend {}", backend.name))?;
    let spoken = backend.target.protocol().as_str();
    for FilePoolConfig { pool, .. } in &loaded.config.pools {
        let said = &pool.extras.io_connectivity.access_protocol;
        // Profiles choose pools by this word: a wrong one gets volumes that their hosts cannot use.
        anyhow::ensure!(
            said.is_empty() || !is_known_target(said) || said.eq_ignore_ascii_case(spoken),
            "backend {}: pool {} says accessProtocol: {said}, and its target speaks {spoken}; \
             write accessProtocol: {spoken} in {}, or another target in osds.toml",
            backend.name,
            pool.name,
            backend.config.display()
        );
    }
    Ok(loaded)
}

/// Reads the driver YAML of an array, its password opened.
pub(crate) fn load_array(
    backend: &Backend,
    key_file: &Path,
) -> Result<Loaded<FusionStorageConfig>> {
    let about = || format!("backend {}", backend.name);
    let mut loaded = FusionStorageConfig::load(&backend.config).with_context(about)?;
    anyhow::ensure!(
        backend.target == TargetKind::Embedded,
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

/// Whether the word is one that a target of ours speaks; the original's files have others.
fn is_known_target(word: &str) -> bool {
    let all = [TargetKind::Embedded, TargetKind::Local];
    all.iter().any(|kind| kind.protocol().as_str().eq_ignore_ascii_case(word))
}

/// The keys of an earlier start, or, where nothing was sealed yet, a new one.
fn open_keys(config: &Config, store: &dyn Store) -> Result<Keyring> {
    let file = config.key_file();
    if let Some(keys) = Keyring::read(&file)? {
        return Ok(keys);
    }
    let view = store.view();
    let held = view.iter::<Volume>().flat_map(|volume| volume.state.attachments.values());
    let sealed = held.filter(|held| held.authentication.is_some()).count();
    // With another key none of their hosts could log in again, and nothing would say so here.
    ensure!(
        sealed == 0,
        "there is no key file {0}, and the credentials of {sealed} attachments are sealed with what \
         was in it; put it back from a copy. If there is none, make another key \
         (umask 077; openssl rand -hex 32 > {0}), start again, and detach and attach each of their \
         hosts",
        file.display()
    );
    let keys = Keyring::make(&file)?;
    info!(key_file = %file.display(), "a key for secrets was made; keep a copy of it");
    Ok(keys)
}

fn open_store(config: &Config) -> Result<Arc<dyn Store>> {
    Ok(match config.store.kind {
        StoreKind::Memory => Arc::new(MemoryStore::new()),
        StoreKind::Embedded => Arc::new(EmbeddedStore::open(config.data_dir.join("osds.redb"))?),
    })
}

struct BackendWithStorage {
    backend: Backend,
    storage: Storage,
}

enum Storage {
    Files(FileConfig),
    Array(Box<FusionStorageConfig>),
}

fn backends(config: &Config, default_iscsi: Option<SocketAddr>) -> Result<Vec<BackendWithStorage>> {
    if config.backends.is_empty() {
        return Ok(vec![default_backend(&config.data_dir, default_iscsi)?]);
    }
    let with_storage = |backend: &Backend| -> Result<BackendWithStorage> {
        let (storage, warnings) = match backend.driver {
            StorageKind::File => {
                let Loaded { config, warnings } = load(backend)?;
                (Storage::Files(config), warnings)
            }
            StorageKind::FusionStorage => {
                let Loaded { config, warnings } = load_array(backend, &config.key_file())?;
                (Storage::Array(Box::new(config)), warnings)
            }
            StorageKind::NotYet(driver) => bail!(
                "backend {}: osds has no driver {} yet; put its block into comments",
                backend.name,
                driver.name
            ),
        };
        warnings.iter().for_each(|warning| warn!("{warning}"));
        Ok(BackendWithStorage { backend: backend.clone(), storage })
    };
    let all = config.backends.iter().map(with_storage).collect::<Result<Vec<_>>>()?;
    let files = all.iter().filter_map(|one| match &one.storage {
        Storage::Files(pools) => Some((&*one.backend.name, pools)),
        Storage::Array(_) => None,
    });
    space::promised_twice(files).iter().for_each(|warning| warn!("{warning}"));
    Ok(all)
}

/// Two file pools in the data directory: what a first try needs and no more.
fn default_backend(data_dir: &Path, listen: Option<SocketAddr>) -> Result<BackendWithStorage> {
    let mut iscsi = Iscsi::default();
    if let Some(listen) = listen {
        iscsi.listen = vec![listen];
    }
    let backend = Backend {
        name: "file".to_owned(),
        description: "sparse files in the data directory".to_owned(),
        driver: StorageKind::File,
        config: PathBuf::new(),
        target: TargetKind::Embedded,
        iscsi,
        local: Local::default(),
    };
    let yaml = include_str!("default_pools.yaml");
    let config = FileConfig::parse(&data_dir.join("built-in.yaml"), yaml)
        .context("the built-in driver configuration")?
        .config;
    Ok(BackendWithStorage { backend, storage: Storage::Files(config) })
}

fn target_settings(iscsi: &Iscsi) -> Result<EmbeddedSettings> {
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
