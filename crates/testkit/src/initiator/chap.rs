//! The initiator's side of CHAP (RFC 7143 section 12.1).
//!
//! It shares no line with the target's side: two readings of one standard, so that an error of the
//! one is found by the other. Secrets are plain text here and stay out of Debug.

use std::fmt;

use sha2::Digest;

use super::Error;

/// What an initiator proves itself with, and asks of the target.
#[derive(Clone)]
pub struct Chap {
    /// Name of the initiator (`CHAP_N`).
    pub name: String,
    /// Its secret.
    pub secret: String,
    /// Name and secret that the target must prove to be, if it must.
    pub target: Option<(String, String)>,
    /// Digests offered (`CHAP_A`), the preferred first.
    pub digests: String,
}

impl Chap {
    /// One-way, by MD5, as most initiators do it.
    pub fn new(name: &str, secret: &str) -> Self {
        Self { name: name.into(), secret: secret.into(), target: None, digests: "5".into() }
    }

    /// Demands that the target proves itself, too.
    #[must_use]
    pub fn mutual(self, name: &str, secret: &str) -> Self {
        Self { target: Some((name.into(), secret.into())), ..self }
    }
}

impl fmt::Debug for Chap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chap").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Finds the value of a key in an answer.
pub(super) fn value<'a>(pairs: &'a [(String, String)], key: &str) -> Result<&'a str, Error> {
    let found = pairs.iter().find(|(k, _)| k == key).map(|(_, value)| value.as_str());
    found.ok_or_else(|| Error::protocol(format!("the target says no {key}")))
}

/// The digest of identifier, secret and challenge, as it goes over the wire.
pub(super) fn response(
    algorithm: &str,
    identifier: &str,
    secret: &str,
    challenge: &str,
) -> Result<String, Error> {
    let bad = || Error::protocol("a malformed challenge");
    let identifier: u8 = identifier.parse().map_err(|_| bad())?;
    let challenge = unhex(challenge).ok_or_else(bad)?;
    let bytes = [&[identifier], secret.as_bytes(), &challenge].concat();
    let digest = match algorithm {
        "5" => md5::Md5::digest(&bytes).to_vec(),
        "6" => sha1::Sha1::digest(&bytes).to_vec(),
        "7" => sha2::Sha256::digest(&bytes).to_vec(),
        "8" => sha3::Sha3_256::digest(&bytes).to_vec(),
        other => return Err(Error::protocol(format!("CHAP_A={other}"))),
    };
    Ok(hex(&digest))
}

/// A challenge for the target.
pub(super) fn challenge() -> Result<String, Error> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| Error::protocol(error.to_string()))?;
    Ok(hex(&bytes))
}

fn hex(bytes: &[u8]) -> String {
    let digits: String = bytes.iter().map(|byte| format!("{byte:02X}")).collect();
    format!("0x{digits}")
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.strip_prefix("0x")?;
    let pair = |at| u8::from_str_radix(digits.get(at..at + 2)?, 16).ok();
    (0..digits.len()).step_by(2).map(pair).collect()
}
