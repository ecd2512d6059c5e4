//! The keyring: seals secrets for keeping, opens them for use.
//!
//! ```text
//! v1.<key id>.<base64url of: nonce (24 bytes), ciphertext, tag (16 bytes)>
//! ```
//! XChaCha20-Poly1305: its nonce is long enough to be drawn at random, by any number of processes
//! that know nothing of each other. A secret is sealed *for a place* (what it is for, and whose it
//! is, as associated data), so one that is moved to another record does not open there. The text
//! names its key, so that a new key can seal while older ones still open: that is all a rotation
//! needs.
//!
//! Must stay true: a key is never in the program, in a log or in a record; what does not open is an
//! error that says what to do, never an empty secret.

pub mod chap;
mod file;
pub mod original;
pub mod password;

use std::fmt;

use base64ct::{Base64UrlUnpadded, Encoding as _};
use chacha20poly1305::aead::{Aead as _, Payload};
use chacha20poly1305::{KeyInit as _, XChaCha20Poly1305, XNonce};
use osds_model::{Sealed, Secret};
use zeroize::Zeroizing;

const VERSION: &str = "v1";
const NONCE: usize = 24;
const TAG: usize = 16;
/// Bytes of a key.
const KEY: usize = 32;

/// Why a secret could not be sealed or opened, or the keys not be had.
#[derive(Debug, thiserror::Error)]
pub enum KeyringError {
    /// The system gives no random bytes.
    #[error("the system gives no random bytes: {0}")]
    NoRandomness(getrandom::Error),
    /// It was sealed with a key that is not here.
    #[error("it was sealed with key {key}, which is not in {keys}")]
    UnknownKey {
        /// The key's id.
        key: String,
        /// Where the keys are from.
        keys: String,
    },
    /// It is not what was sealed, or not where it was sealed for.
    #[error("it was changed, or was sealed for another place")]
    Forged,
    /// It is no sealed secret at all, or one of a newer program.
    #[error("it is not a sealed secret that this program knows")]
    NotSealed,
    /// A key file that cannot be used.
    #[error("key file {path}: {why}")]
    File {
        /// Which.
        path: String,
        /// What is wrong and what to do.
        why: String,
    },
}

/// Keys: the first seals, all open.
pub struct Keyring {
    /// Never empty.
    keys: Vec<Key>,
    /// Where they are from, for people.
    origin: String,
}

struct Key {
    id: String,
    cipher: XChaCha20Poly1305,
}

impl Key {
    fn new(bytes: &[u8; KEY]) -> Self {
        let cipher = XChaCha20Poly1305::new(bytes.into());
        // A key is known by what it makes of nothing: nobody has to name it, and nobody can give
        // two the same name. No secret is ever sealed under this nonce, since nonces are random.
        let what = Payload { msg: b"", aad: b"osds key id" };
        let tag = cipher.encrypt(&XNonce::default(), what).unwrap_or_default();
        let id = tag.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
        Self { id, cipher }
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ids: Vec<_> = self.keys.iter().map(|key| &key.id).collect();
        f.debug_struct("Keyring").field("origin", &self.origin).field("keys", &ids).finish()
    }
}

impl Keyring {
    /// One new key that is kept nowhere: what it seals opens only while this keyring lives.
    ///
    /// # Errors
    /// [`KeyringError::NoRandomness`].
    pub fn in_memory() -> Result<Self, KeyringError> {
        let bytes = random::<KEY>()?;
        Ok(Self { keys: vec![Key::new(&bytes)], origin: "this process's memory".to_owned() })
    }

    /// The ids of its keys, the one that seals first.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.keys.iter().map(|key| key.id.as_str())
    }

    /// Seals a secret for a place, given as words from the general to the particular.
    ///
    /// # Errors
    /// [`KeyringError::NoRandomness`].
    pub fn seal(&self, place: &[&str], secret: &Secret) -> Result<Sealed, KeyringError> {
        let nonce = random::<NONCE>()?;
        let what = Payload { msg: secret.reveal().as_bytes(), aad: &associated(place) };
        let key = &self.keys[0];
        let mut bytes = nonce.to_vec();
        // The cipher refuses only what is longer than 256 GiB.
        let sealed = key.cipher.encrypt(&XNonce::from(*nonce), what);
        bytes.extend(sealed.map_err(|_| KeyringError::NotSealed)?);
        let text = Base64UrlUnpadded::encode_string(&bytes);
        Ok(Sealed(format!("{VERSION}.{}.{text}", key.id)))
    }

    /// Opens a secret that was sealed for this place.
    ///
    /// # Errors
    /// It does not open; see [`KeyringError`].
    pub fn open(&self, place: &[&str], sealed: &Sealed) -> Result<Secret, KeyringError> {
        let mut parts = sealed.0.split('.');
        let (Some(VERSION), Some(id), Some(text), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(KeyringError::NotSealed);
        };
        let bytes = Base64UrlUnpadded::decode_vec(text).map_err(|_| KeyringError::NotSealed)?;
        let Some((nonce, sealed)) = bytes.split_first_chunk::<NONCE>() else {
            return Err(KeyringError::NotSealed);
        };
        if sealed.len() < TAG {
            return Err(KeyringError::NotSealed);
        }
        let Some(key) = self.keys.iter().find(|key| key.id == id) else {
            // Words of a record: only what an id can be made of is repeated.
            let key = id.chars().filter(char::is_ascii_hexdigit).take(8).collect();
            return Err(KeyringError::UnknownKey { key, keys: self.origin.clone() });
        };
        let what = Payload { msg: sealed, aad: &associated(place) };
        let opened =
            key.cipher.decrypt(&XNonce::from(*nonce), what).map_err(|_| KeyringError::Forged)?;
        String::from_utf8(opened).map(Secret::new).map_err(|_| KeyringError::Forged)
    }
}

/// The words of a place, each with its length, so that no two places read the same.
fn associated(place: &[&str]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for word in place {
        bytes.extend((word.len() as u64).to_le_bytes());
        bytes.extend(word.as_bytes());
    }
    bytes
}

/// Random bytes of the system.
fn random<const N: usize>() -> Result<Zeroizing<[u8; N]>, KeyringError> {
    let mut bytes = Zeroizing::new([0; N]);
    getrandom::fill(&mut *bytes).map_err(KeyringError::NoRandomness)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: &[&str] = &["a test", "here"];

    fn keyring(keys: &[u8]) -> Keyring {
        let keys = keys.iter().map(|key| Key::new(&[*key; KEY])).collect();
        Keyring { keys, origin: "a test".to_owned() }
    }

    fn secret() -> Secret {
        Secret::new("correct horse battery".to_owned())
    }

    #[test]
    fn what_is_sealed_opens_in_its_place_only() {
        let keys = keyring(&[1]);
        let sealed = keys.seal(PLACE, &secret()).unwrap();
        assert_eq!(keys.open(PLACE, &sealed).unwrap(), secret());
        for other in [&["a test"][..], &["a test", "there"], &["a tes", "there"], &["a testhere"]] {
            let outcome = keys.open(other, &sealed);
            assert!(matches!(outcome, Err(KeyringError::Forged)), "{other:?}");
        }
    }

    #[test]
    fn it_shows_nothing_and_is_never_the_same_twice() {
        let keys = keyring(&[1]);
        let sealed = [(); 2].map(|()| keys.seal(PLACE, &secret()).unwrap());
        assert_ne!(sealed[0], sealed[1]);
        let plain = Base64UrlUnpadded::encode_string(secret().reveal().as_bytes());
        for Sealed(text) in &sealed {
            assert!(text.starts_with("v1.") && !text.contains("horse") && !text.contains(&plain));
        }
        assert!(!format!("{keys:?}").contains("[1"), "{keys:?}");
    }

    #[test]
    fn every_changed_character_is_noticed() {
        let keys = keyring(&[1]);
        let sealed = keys.seal(PLACE, &secret()).unwrap().0;
        for at in 0..sealed.len() {
            let mut bytes = sealed.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            let changed = Sealed(String::from_utf8(bytes).unwrap());
            assert!(keys.open(PLACE, &changed).is_err(), "character {at}");
            let cut = Sealed(sealed[..at].to_owned());
            assert!(keys.open(PLACE, &cut).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn a_new_key_seals_and_the_old_one_still_opens() {
        let (old, both, new) = (keyring(&[1]), keyring(&[2, 1]), keyring(&[2]));
        let before = old.seal(PLACE, &secret()).unwrap();
        assert_eq!(both.open(PLACE, &before).unwrap(), secret());
        let after = both.seal(PLACE, &secret()).unwrap();
        assert_eq!(new.open(PLACE, &after).unwrap(), secret());
        let lost = new.open(PLACE, &before).unwrap_err();
        let id = old.ids().next().unwrap().to_owned();
        assert!(matches!(&lost, KeyringError::UnknownKey { key, .. } if *key == id), "{lost}");
    }
}
