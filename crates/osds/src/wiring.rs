//! Which parts there are and how they hold together: the only place that names concrete stores,
//! drivers and targets. Everything else knows them by their traits, so a new backend is a line
//! in `wiring/backend.rs`.
//!
//! ```text
//! REST -> Controller -> Dock (one for each backend) -> a storage driver
//!            |                          |      `----> a target driver, or the array
//!          Store                     Ledger
//! ```
//! Making the parts opens files and binds ports, and so may fail; nothing is served before all of
//! them are made.

mod backend;

use std::collections::BTreeSet;
use std::fs::DirBuilder;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use osds_controller::{Controller, Docks, Settings, SystemClock};
use osds_dock::{Dock, Identity, Ledger};
use osds_dock_api::DockApi;
use osds_drivers::config::FileConfig;
use osds_drivers::target::embedded::EmbeddedTarget;
use osds_keyring::Keyring;
use osds_model::Volume;
use osds_store::{EmbeddedStore, MemoryStore, Store};
use tracing::{info, warn};

use self::backend::{Place, Pools};
pub(crate) use self::backend::{load, load_array, load_lvm};
use crate::config::{
    Backend, Config, Iscsi, Local, Nvme, StorageKind, StoreKind, TargetKind, duration,
};
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
    for (backend, pools) in backends(config, default_iscsi)? {
        let identity = Identity {
            id: node.dock_id(&backend.name),
            name: backend.name.clone(),
            description: backend.description.clone(),
            endpoint: "local".to_owned(),
            node: node.name.clone(),
        };
        let id = identity.id;
        let home = data_dir.join("docks").join(&backend.name);
        let ledger = Ledger::open(home.join("ledger"))
            .with_context(|| format!("backend {}", backend.name))?;
        let place = Place { backend: &backend, ledger: &ledger, home: &home };
        let storage = backend::storage(&place, pools)?;
        let target = backend::target(&place, &storage, &mut targets)?;
        let dock = Dock::new(identity, storage.driver, target, ledger, Arc::clone(&keys));
        let dock = Arc::new(dock);
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

fn backends(config: &Config, default_iscsi: Option<SocketAddr>) -> Result<Vec<(Backend, Pools)>> {
    if config.backends.is_empty() {
        return Ok(vec![default_backend(&config.data_dir, default_iscsi)?]);
    }
    let key_file = config.key_file();
    let all = config.backends.iter();
    let all = all.map(|backend| {
        let pools = backend::read(backend, &key_file)?;
        Ok((pools.with_target(backend), pools))
    });
    let all = all.collect::<Result<Vec<_>>>()?;
    let mut prefixes = BTreeSet::new();
    for (backend, _) in &all {
        // They share one kernel, and know what is theirs by nothing else.
        ensure!(
            backend.target != Some(TargetKind::Nvmet) || prefixes.insert(&backend.nvme.nqn_prefix),
            "backend {}: another backend has the target nvmet and the nqn_prefix {}, too; write \
             another nvme.nqn_prefix for one of them",
            backend.name,
            backend.nvme.nqn_prefix
        );
    }
    let files = all.iter().filter_map(|(backend, pools)| match pools {
        Pools::Files(pools) => Some((&*backend.name, pools)),
        Pools::Volumes(_) | Pools::Array(_) => None,
    });
    space::promised_twice(files).iter().for_each(|warning| warn!("{warning}"));
    Ok(all)
}

/// Two file pools in the data directory: what a first try needs and no more.
fn default_backend(data_dir: &Path, listen: Option<SocketAddr>) -> Result<(Backend, Pools)> {
    let mut iscsi = Iscsi::default();
    if let Some(listen) = listen {
        iscsi.listen = vec![listen];
    }
    let backend = Backend {
        name: "file".to_owned(),
        description: "sparse files in the data directory".to_owned(),
        driver: StorageKind::File,
        config: PathBuf::new(),
        target: Some(TargetKind::Embedded),
        iscsi,
        nvme: Nvme::default(),
        local: Local::default(),
    };
    let yaml = include_str!("default_pools.yaml");
    let config = FileConfig::parse(&data_dir.join("built-in.yaml"), yaml)
        .context("the built-in driver configuration")?
        .config;
    Ok((backend, Pools::Files(config)))
}
