//! A password as it stands in a configuration file: as it is, sealed by us, or in the ciphertext of
//! the original.
//!
//! What is sealed says so itself (`v1.`), so it needs no key beside it in the file; the original's
//! ciphertext looks like any password, so the file has to say that it is some. A sealed password is
//! good in any configuration that is read with the same keys, and is no credential of a record: its
//! place is its own.

use std::path::Path;

use osds_model::{Sealed, Secret};

use crate::original::{self, CiphertextError};
use crate::{Keyring, KeyringError, VERSION};

/// The place that passwords of configuration files are sealed for.
const PLACE: &[&str] = &["password in a configuration file"];

/// Why a password could not be opened or made. Never says what it is.
#[derive(Debug, thiserror::Error)]
pub enum PasswordError {
    /// The keys do not open it, or cannot be had.
    #[error(transparent)]
    Keyring(#[from] KeyringError),
    /// It is not what the original writes.
    #[error(transparent)]
    Ciphertext(#[from] CiphertextError),
    /// It was sealed, and there is no key file.
    #[error("it is sealed, and there is no key file {0} to open it with")]
    NoKeys(String),
}

/// How a password is written.
#[derive(Clone, Copy, Debug)]
pub struct Written<'p> {
    /// Whether it is the original's ciphertext, should it not be sealed by us.
    pub encrypted: bool,
    /// Keys for one that we sealed; only read for such a one.
    pub key_file: &'p Path,
}

impl Written<'_> {
    /// The password itself.
    ///
    /// # Errors
    /// It does not open; see [`PasswordError`].
    pub fn open(&self, text: &str) -> Result<Secret, PasswordError> {
        if is_sealed(text) {
            let keys = Keyring::read(self.key_file)?
                .ok_or_else(|| PasswordError::NoKeys(self.key_file.display().to_string()))?;
            return Ok(keys.open(PLACE, &Sealed(text.to_owned()))?);
        }
        if self.encrypted {
            return Ok(original::decrypt(text)?);
        }
        Ok(Secret::new(text.to_owned()))
    }
}

/// A password to be written into a configuration file.
///
/// # Errors
/// [`KeyringError::NoRandomness`].
pub fn seal(keys: &Keyring, password: &Secret) -> Result<String, KeyringError> {
    keys.seal(PLACE, password).map(|Sealed(text)| text)
}

/// Whether this is the form of a sealed secret: a password of that form has to be sealed.
#[must_use]
pub fn is_sealed(text: &str) -> bool {
    let mut parts = text.split('.');
    parts.next() == Some(VERSION)
        && parts.next().is_some_and(|id| id.len() == 8 && id.bytes().all(|b| b.is_ascii_hexdigit()))
        && parts.next().is_some_and(|text| !text.is_empty())
        && parts.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_sealed_or_the_originals() {
        let home = tempfile::tempdir().unwrap();
        let key_file = home.path().join("keys");
        let plain = Written { encrypted: false, key_file: &key_file };
        let old = Written { encrypted: true, ..plain };
        for text in ["123456", "v1.", "v1.x.y", "9a3b4d577c86d5c9468123b93382c194399070c3f5e3"] {
            assert_eq!(plain.open(text).unwrap().reveal(), text);
        }
        let opened = old.open("9a3b4d577c86d5c9468123b93382c194399070c3f5e3").unwrap();
        assert_eq!(opened.reveal(), "123456");
        assert!(matches!(old.open("123456"), Err(PasswordError::Ciphertext(_))));

        let keys = Keyring::make(&key_file).unwrap();
        let sealed = seal(&keys, &Secret::new("hunter2".to_owned())).unwrap();
        assert!(is_sealed(&sealed), "{sealed}");
        for way in [plain, old] {
            assert_eq!(way.open(&sealed).unwrap().reveal(), "hunter2");
        }
        // A credential of a record is none of a configuration.
        let elsewhere = keys.seal(&["another place"], &Secret::new("x".to_owned())).unwrap();
        assert!(matches!(
            plain.open(&elsewhere.0),
            Err(PasswordError::Keyring(KeyringError::Forged))
        ));
        std::fs::remove_file(&key_file).unwrap();
        let lost = plain.open(&sealed).unwrap_err();
        assert!(matches!(&lost, PasswordError::NoKeys(_)), "{lost}");
        assert!(!lost.to_string().contains(&sealed));
    }
}
