//! iSCSI names: who an initiator or target says it is.
//!
//! Names are compared after mapping to lower case, and only names of one of the three registered
//! forms (`iqn.`, `eui.`, `naa.`) are accepted, so a grant can never be missed or matched because of
//! spelling. A name is only a claim until the peer has proved it; see the security stage of login.

use std::fmt;

/// Longest name in bytes.
const MAX_LEN: usize = 223;

/// A well-formed iSCSI name in its normal form.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(String);

/// The text is not an iSCSI name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an iSCSI name (iqn.yyyy-mm.domain[:rest], eui.<16 hex>, naa.<16 or 32 hex>)")]
pub struct InvalidName(String);

impl Name {
    /// Checks and normalises a name.
    pub fn new(text: &str) -> Result<Self, InvalidName> {
        let name = text.to_lowercase();
        let refuse = || InvalidName(text.chars().take(MAX_LEN).collect());
        if name.is_empty() || name.len() > MAX_LEN {
            return Err(refuse());
        }
        let hex = |rest: &str| rest.bytes().all(|b| b.is_ascii_hexdigit());
        let good = match name.split_at_checked(4) {
            Some(("iqn.", rest)) => is_iqn(rest),
            Some(("eui.", rest)) => rest.len() == 16 && hex(rest),
            Some(("naa.", rest)) => matches!(rest.len(), 16 | 32) && hex(rest),
            Some(_) | None => false,
        };
        if good { Ok(Self(name)) } else { Err(refuse()) }
    }

    /// The normal form.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// `yyyy-mm.reversed.domain[:anything]`. The date is not insisted on: tools in the field use names
/// such as `iqn.x:a`, and nothing here depends on it; the alphabet is what keeps names unambiguous.
fn is_iqn(rest: &str) -> bool {
    !rest.is_empty()
        && rest.chars().all(|c| {
            if c.is_ascii() {
                c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | ':' | '_')
            } else {
                c.is_alphanumeric()
            }
        })
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_compare_without_case() {
        assert_eq!(Name::new("IQN.2017-10.Io.OpenSDS:A"), Name::new("iqn.2017-10.io.opensds:a"));
        assert_eq!(Name::new("eui.02004567A425678D").unwrap().as_str(), "eui.02004567a425678d");
        assert!(Name::new("naa.52004567BA64678D").is_ok());
    }

    #[test]
    fn what_is_not_a_name_is_refused() {
        for bad in [
            "",
            "iqn.",
            "foo",
            "eui.12",
            "naa.xyz",
            "iqn.2017-10.x y",
            "iqn.a\nb",
            "iqn.a=b",
            "ïqn",
            "iqn.a,1",
        ] {
            assert!(Name::new(bad).is_err(), "{bad:?}");
        }
        assert!(Name::new(&format!("iqn.{}", "a".repeat(220))).is_err());
    }
}
