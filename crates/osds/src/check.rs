//! `osds config check`: reads what a start would read and starts nothing.
//!
//! What passes here starts, and what does not says the same as a start would. A backend without a
//! driver is read as well, by what is known of its keys, and then refused.

use std::path::Path;

use anyhow::{Context as _, Result, bail};
use osds_drivers::config::{Loaded, PoolConfig};
use osds_keyring::Keyring;
use osds_keyring::chap::Chap;

use crate::config::{Config, StorageKind, auth};
use crate::space;
use crate::wiring::{load, load_array, load_lvm};

/// Reads a configuration and all it names. Findings go to standard output.
pub(crate) fn check(file: &Path) -> Result<()> {
    let config = Config::read(file)?;
    crate::log::configured(&config.log)?;
    let (api, mut odd) = (&config.api, Vec::new());
    config.auth.authority(&config.key_file(), &mut odd)?;
    auth::tls(api.tls_certificate.as_deref(), api.tls_key.as_deref(), &mut odd)?;
    odd.iter().for_each(|warning| println!("warning: {warning}"));
    let mut warnings = odd.len();
    let key_file = config.key_file();
    // One that is not there is made at the first start; the directory may be another user's.
    if key_file.exists() {
        Keyring::read(&key_file)?;
    } else if let Some(folder) = key_file.parent().filter(|_| config.secrets.key_file.is_some())
        && !folder.is_dir()
    {
        bail!("secrets.key_file: there is no folder {}; make it", folder.display());
    }
    let (mut not_yet, mut files) = (Vec::new(), Vec::new());
    for backend in &config.backends {
        let (pools, found): (Vec<PoolConfig>, _) = match backend.driver {
            StorageKind::File => {
                let Loaded { config, warnings } = load(backend)?;
                let pools = config.pools.iter().map(|pool| pool.pool.clone()).collect();
                files.push((&*backend.name, config));
                (pools, warnings)
            }
            StorageKind::Lvm => {
                let Loaded { config, warnings } = load_lvm(backend)?;
                (config.pools.into_iter().map(|pool| pool.pool).collect(), warnings)
            }
            StorageKind::FusionStorage => {
                let Loaded { config, warnings } = load_array(backend, &key_file)?;
                (config.pools, warnings)
            }
            StorageKind::NotYet(driver) => {
                not_yet.push(driver.name);
                let loaded = driver.load(&backend.config);
                let loaded = loaded.with_context(|| format!("backend {}", backend.name))?;
                (loaded.config.pools, loaded.warnings)
            }
        };
        if matches!(backend.driver, StorageKind::FusionStorage) && config.iscsi.chap != Chap::Off {
            println!(
                "backend {}: its hosts are asked for no CHAP: the array exports",
                backend.name
            );
        }
        for warning in &found {
            println!("warning: {warning}");
            warnings += 1;
        }
        for pool in &pools {
            println!(
                "backend {}: pool {} in zone {}, multiAttach {}",
                backend.name, pool.name, pool.availability_zone, pool.multi_attach
            );
        }
    }
    for warning in space::promised_twice(files.iter().map(|(name, config)| (*name, config))) {
        println!("warning: {warning}");
        warnings += 1;
    }
    if !not_yet.is_empty() {
        bail!(
            "the files above can be read, but osds has no driver {} yet: put those backends into \
             comments",
            not_yet.join(", ")
        );
    }
    if config.backends.is_empty() {
        println!("no [[backend]]: one file pool in the data directory will be used");
    }
    println!("{} is usable; warnings: {warnings}", file.display());
    Ok(())
}
