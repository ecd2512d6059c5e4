//! Credentials of CHAP for one attachment: made here, sealed here, opened here.
//!
//! A secret is 16 characters of 64, that is 96 random bits: what RFC 7143 (9.2.1) asks for where
//! the wire is not encrypted, in a length that every initiator takes (Windows: 12 to 16). They need
//! no escaping in a URL or a configuration file. The name is the attachment's id, so a name is
//! never anybody else's, and a log that names it says whose login it was.
//!
//! The place of a secret is its purpose, the volume, the host and the name: all that its reader
//! knows of it without trusting the record.

use osds_model::{AttachmentId, Authentication, Credentials, HostId, Sealed, Secret, VolumeId};
use serde::Deserialize;

use crate::{Keyring, KeyringError, random};

/// Random bytes of a secret; four characters for each three.
const BYTES: usize = 12;
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Who proves himself at an iSCSI login.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Chap {
    /// Nobody: initiator names are believed.
    Off,
    /// The host, to the target.
    #[default]
    OneWay,
    /// The host to the target and the target to the host.
    Mutual,
}

/// New credentials for an attachment; `None` when nobody proves himself.
///
/// # Errors
/// [`KeyringError::NoRandomness`].
pub fn make(
    keys: &Keyring,
    chap: Chap,
    volume: VolumeId,
    host: HostId,
    attachment: AttachmentId,
) -> Result<Option<Authentication>, KeyringError> {
    let name = attachment.to_string();
    let whose = Whose::new(volume, host, &name);
    let sealed = |purpose, name: &str| {
        let secret = keys.seal(&whose.place(purpose), &new_secret()?)?;
        Ok::<_, KeyringError>(Credentials { name: name.to_owned(), secret })
    };
    let target = match chap {
        Chap::Off => return Ok(None),
        Chap::OneWay => None,
        Chap::Mutual => Some(sealed(TARGET, &volume.to_string())?),
    };
    Ok(Some(Authentication { initiator: sealed(INITIATOR, &name)?, target }))
}

/// Opens the credentials of a host's attachment to a volume.
///
/// # Errors
/// They do not open: the key is lost, or they are not this host's for this volume.
pub fn open(
    keys: &Keyring,
    volume: VolumeId,
    host: HostId,
    kept: &Authentication,
) -> Result<Authentication<Secret>, KeyringError> {
    let whose = Whose::new(volume, host, &kept.initiator.name);
    let open = |purpose, sealed: &Credentials<Sealed>| {
        let secret = keys.open(&whose.place(purpose), &sealed.secret)?;
        Ok::<_, KeyringError>(Credentials { name: sealed.name.clone(), secret })
    };
    Ok(Authentication {
        initiator: open(INITIATOR, &kept.initiator)?,
        target: kept.target.as_ref().map(|target| open(TARGET, target)).transpose()?,
    })
}

const INITIATOR: &str = "chap initiator";
const TARGET: &str = "chap target";

/// Whose credentials: the volume, the host, the attachment.
struct Whose([String; 3]);

impl Whose {
    fn new(volume: VolumeId, host: HostId, attachment: &str) -> Self {
        Self([volume.to_string(), host.to_string(), attachment.to_owned()])
    }

    /// The place of the secret for this purpose.
    fn place<'a>(&'a self, purpose: &'static str) -> [&'a str; 4] {
        let [volume, host, attachment] = &self.0;
        [purpose, volume, host, attachment]
    }
}

fn new_secret() -> Result<Secret, KeyringError> {
    let bytes = random::<BYTES>()?;
    let mut text = String::with_capacity(BYTES / 3 * 4);
    for three in bytes.chunks_exact(3) {
        let bits = three.iter().fold(0, |bits: u32, byte| bits << 8 | u32::from(*byte));
        for sixth in [18, 12, 6, 0] {
            text.push(ALPHABET[(bits >> sixth & 63) as usize].into());
        }
    }
    Ok(Secret::new(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    const V: VolumeId = VolumeId::from_u128(1);
    const A: HostId = HostId::from_u128(0xa);
    const ID: AttachmentId = AttachmentId::from_u128(0x77);

    fn made(keys: &Keyring, chap: Chap) -> Authentication {
        make(keys, chap, V, A, ID).unwrap().unwrap()
    }

    #[test]
    fn secrets_are_fit_for_chap_and_never_the_same() {
        let mut seen = BTreeSet::new();
        let mut letters = BTreeSet::new();
        for _ in 0..200 {
            let secret = new_secret().unwrap();
            let text = secret.reveal().to_owned();
            assert!(text.len() == 16 && text.bytes().all(|b| ALPHABET.contains(&b)), "{text}");
            letters.extend(text.chars());
            assert!(seen.insert(text));
        }
        // 3,200 letters: one of 64 that is missing would be missing by design.
        assert_eq!(letters.len(), 64);
    }

    #[test]
    fn both_sides_have_secrets_of_their_own() {
        let keys = Keyring::in_memory().unwrap();
        assert_eq!(make(&keys, Chap::Off, V, A, ID).unwrap(), None);
        assert_eq!(made(&keys, Chap::OneWay).target, None);
        let opened = open(&keys, V, A, &made(&keys, Chap::Mutual)).unwrap();
        let target = opened.target.unwrap();
        assert_eq!((opened.initiator.name, target.name), (ID.to_string(), V.to_string()));
        // The standard forbids that they are the same (RFC 7143, 9.2.1).
        assert_ne!(opened.initiator.secret, target.secret);
    }

    #[test]
    fn they_open_for_their_own_attachment_and_purpose_only() {
        let keys = Keyring::in_memory().unwrap();
        let kept = made(&keys, Chap::Mutual);
        assert!(open(&keys, V, A, &kept).is_ok());
        let (w, b) = (VolumeId::from_u128(2), HostId::from_u128(0xb));
        assert!(open(&keys, w, A, &kept).is_err(), "another volume");
        assert!(open(&keys, V, b, &kept).is_err(), "another host");
        let mut renamed = kept.clone();
        renamed.initiator.name = AttachmentId::from_u128(0x78).to_string();
        assert!(open(&keys, V, A, &renamed).is_err(), "another attachment");
        let target = kept.target.clone().unwrap();
        let mut swapped = kept.clone();
        swapped.initiator.secret = target.secret;
        assert!(open(&keys, V, A, &swapped).is_err(), "the target's in place of the host's");
        assert!(open(&Keyring::in_memory().unwrap(), V, A, &kept).is_err(), "another key");
    }
}
