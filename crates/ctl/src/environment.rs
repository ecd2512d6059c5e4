//! What the environment says about keystone and certificates, in the original's variables.
//!
//! They mean what they mean there, quirks included, so that a shell that is set up for the original
//! needs no change. A password may be the original's ciphertext; no message shows it.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use osds_keyring::original;
use osds_rest_api::keystone::{Domain, Login};

/// Where the original keeps the certificate that it trusts.
const ORIGINAL_CA: &str = "/opt/opensds-security/ca/ca-cert.pem";

/// A variable that is set, to nothing perhaps.
#[must_use]
pub fn variable(name: &str) -> Option<String> {
    Some(std::env::var_os(name)?.to_string_lossy().into_owned())
}

/// User, password and project, from OpenStack's variables.
///
/// # Errors
/// When one is not set (all that are not are named), or the password does not open.
pub fn login() -> anyhow::Result<Login> {
    let wanted = [
        "OS_AUTH_URL",
        "OS_USERNAME",
        "OS_PASSWORD",
        "OS_TENANT_NAME",
        "OS_PROJECT_NAME",
        "OS_USER_DOMAIN_ID",
    ];
    let found = wanted.map(variable);
    let missing: Vec<_> = wanted
        .iter()
        .zip(&found)
        .filter(|(_, value)| value.is_none())
        .map(|(name, _)| *name)
        .collect();
    let [Some(auth_url), Some(username), Some(password), tenant, project, Some(domain)] = found
    else {
        bail!("OPENSDS_AUTH_STRATEGY=keystone also needs {}", missing.join(", "));
    };
    // Two names of one thing; the original wants both and uses the older one.
    let Some(project_name) = tenant.or(project) else {
        bail!("OPENSDS_AUTH_STRATEGY=keystone also needs OS_TENANT_NAME or OS_PROJECT_NAME");
    };
    let password = match variable("ENABLE_ENCRYPTED").as_deref() {
        // Whatever PASSWORD_ENCRYPTER says, there is only one.
        Some("T") => {
            let opened = original::decrypt(&password);
            opened.context("OS_PASSWORD, with ENABLE_ENCRYPTED=T")?.reveal().to_owned()
        }
        Some(_) | None => password,
    };
    Ok(Login {
        auth_url,
        username,
        password,
        user_domain: Domain::Id(domain.clone()),
        project_name,
        project_domain: Domain::Id(domain),
        ca_file: ca_file(),
    })
}

/// The certificates to trust for https: those that are named, else the original's if it is there,
/// else the usual ones.
#[must_use]
pub fn ca_file() -> Option<PathBuf> {
    let named = variable("OS_CACERT").filter(|path| !path.is_empty()).map(PathBuf::from);
    named.or_else(|| Some(PathBuf::from(ORIGINAL_CA)).filter(|path| Path::exists(path)))
}
