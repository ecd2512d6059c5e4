//! Secrets, and what a host proves with them at login (CHAP, RFC 1994 in RFC 7143).
//!
//! A secret is in clear ([`Secret`]) only between the edge that made or opened it and the target or
//! the one who attached; whatever is kept holds it [`Sealed`]. The two are two types, so the
//! compiler sees to it: a `Secret` cannot be serialized, prints as `***` and is wiped from memory.
//! `()` in their place leaves the names, which is all that a target says back.

use std::fmt;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// A secret in clear.
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes a text for a secret.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The secret itself. Where this is called, a secret goes somewhere.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Only secrets that we made ourselves are compared, never one that somebody offers: how long it
/// takes tells nobody anything.
impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.reveal() == other.reveal()
    }
}

impl Eq for Secret {}

/// A secret as it is kept: encrypted, and good only in the place it was sealed for. What it is made
/// of is the keyring's business.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Sealed(pub String);

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sealed")
    }
}

/// A name and the secret that proves it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Credentials<S = Sealed> {
    /// The name; no secret.
    pub name: String,
    /// What proves it.
    pub secret: S,
}

/// What is proved when a host logs in.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Authentication<S = Sealed> {
    /// What the host proves to the target. The name is the attachment's id: no other attachment,
    /// not even a later one of the same host, has the same.
    pub initiator: Credentials<S>,
    /// What the target proves to the host, where both are to prove themselves (mutual CHAP).
    #[serde(default = "none", skip_serializing_if = "Option::is_none")]
    pub target: Option<Credentials<S>>,
}

/// `Option::default` without asking that a secret has a default.
fn none<S>() -> Option<Credentials<S>> {
    None
}

impl<S> Authentication<S> {
    /// Who proves what, without the secrets.
    #[must_use]
    pub fn names(&self) -> Authentication<()> {
        let name = |of: &Credentials<S>| Credentials { name: of.name.clone(), secret: () };
        Authentication { initiator: name(&self.initiator), target: self.target.as_ref().map(name) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_is_printed_shows_a_secret() {
        let secret = |text: &str| Secret::new(text.to_owned());
        let initiator = Credentials { name: "host".to_owned(), secret: secret("hunter2") };
        let target = Some(Credentials { name: "target".to_owned(), secret: secret("hunter3") });
        let authentication = Authentication { initiator, target };
        let words = format!("{authentication:?} {authentication:#?}");
        assert!(words.contains("host") && !words.contains("hunter"), "{words}");
        assert_eq!(authentication.names().target.map(|t| t.name).as_deref(), Some("target"));
    }

    #[test]
    fn one_way_is_kept_without_a_word_of_the_target() {
        let json = r#"{"initiator":{"name":"a","secret":"v1"}}"#;
        let kept: Authentication = serde_json::from_str(json).unwrap();
        assert_eq!(serde_json::to_string(&kept).unwrap(), json);
    }
}
