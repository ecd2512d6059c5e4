//! `osds config check`: reads what a start would read and starts nothing.

use std::path::Path;

use anyhow::{Result, bail};
use osds_keyring::Keyring;

use crate::config::{Config, auth};
use crate::wiring::load;

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
    for backend in &config.backends {
        let loaded = load(backend)?;
        for warning in &loaded.warnings {
            println!("warning: {warning}");
            warnings += 1;
        }
        for pool in loaded.config.pools.iter().map(|pool| &pool.pool) {
            println!(
                "backend {}: pool {} in zone {}, multiAttach {}",
                backend.name, pool.name, pool.availability_zone, pool.multi_attach
            );
        }
    }
    if config.backends.is_empty() {
        println!("no [[backend]]: one file pool in the data directory will be used");
    }
    println!("{} is usable; warnings: {warnings}", file.display());
    Ok(())
}
