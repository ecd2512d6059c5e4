//! What two ends prove themselves with: a name and a secret for each direction.
//!
//! A [`Secret`] never leaves this crate in readable form: its Debug is redacted, it has no Display,
//! its memory is cleared when it goes, and comparing two takes the same time wherever they differ.
//! An [`Authentication`] is checked as a whole when it is granted, so the login phase meets only
//! sound ones. CHAP (RFC 7143 section 12.1) is what uses them; its arithmetic is in `login::chap`.

use std::fmt;

use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

/// Fewer bytes (96 bits) could be guessed from one overheard exchange.
const SHORTEST: usize = 12;

/// Longest text of one value in a login.
const LONGEST: usize = 255;

/// A secret shared by two ends.
#[derive(Clone)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Takes the bytes over.
    ///
    /// # Errors
    /// Fewer than 12 bytes or more than 255.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Result<Self, InvalidCredentials> {
        let bytes = Zeroizing::new(bytes.into());
        match bytes.len() {
            SHORTEST..=LONGEST => Ok(Self(bytes)),
            _ => Err(InvalidCredentials::SecretLength),
        }
    }

    /// The bytes, for the arithmetic only.
    pub(crate) fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.expose().ct_eq(other.expose()).into()
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(***)")
    }
}

/// Who one end says it is, and how it proves that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// The name sent along (`CHAP_N`); no iSCSI name, and compared byte by byte.
    pub name: String,
    /// The secret that is proved to be known, and never sent.
    pub secret: Secret,
}

/// What a grant demands of whoever claims it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authentication {
    /// What the initiator proves itself with.
    pub initiator: Credentials,
    /// What the target proves itself with when it is asked to; with none, it cannot.
    pub target: Option<Credentials>,
}

impl Authentication {
    /// Both sides are sound, and neither can be used in place of the other.
    pub(crate) fn check(&self) -> Result<(), InvalidCredentials> {
        for credentials in [Some(&self.initiator), self.target.as_ref()].into_iter().flatten() {
            let name = &credentials.name;
            // It is one value in a list of texts that end with a NUL.
            if name.is_empty() || name.len() > LONGEST || name.contains(char::is_control) {
                return Err(InvalidCredentials::Name);
            }
        }
        match &self.target {
            // Else whoever makes us prove ourselves learns how to prove to be the initiator.
            Some(target) if target.secret == self.initiator.secret => {
                Err(InvalidCredentials::SameSecret)
            }
            Some(_) | None => Ok(()),
        }
    }
}

/// Why credentials cannot be used. Says nothing of what they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidCredentials {
    /// The secret is too short or too long.
    #[error("a secret has {SHORTEST} to {LONGEST} bytes")]
    SecretLength,
    /// The name is empty, too long or not plain text.
    #[error("a name that is proved has 1 to {LONGEST} bytes and no control characters")]
    Name,
    /// Initiator and target have one secret.
    #[error("initiator and target must have different secrets")]
    SameSecret,
}

/// What a grant asks a login to prove.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Proof {
    /// Nothing: the initiator's name is believed.
    None,
    /// The initiator proves itself.
    OneWay,
    /// The initiator proves itself, and the target proves itself to who asks.
    Mutual,
}

impl Proof {
    /// What these credentials ask for.
    pub(crate) fn of(authentication: Option<&Authentication>) -> Self {
        match authentication {
            None => Self::None,
            Some(Authentication { target: None, .. }) => Self::OneWay,
            Some(Authentication { target: Some(_), .. }) => Self::Mutual,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credentials(name: &str, secret: &str) -> Credentials {
        Credentials { name: name.to_owned(), secret: Secret::new(secret).unwrap() }
    }

    #[test]
    fn secrets_have_a_length() {
        for (len, good) in [(0, false), (11, false), (12, true), (255, true), (256, false)] {
            assert_eq!(Secret::new(vec![7; len]).is_ok(), good, "{len}");
        }
    }

    #[test]
    fn secrets_compare_by_content_and_show_nothing() {
        let secret = Secret::new("open sesame!").unwrap();
        assert_eq!(secret, Secret::new(*b"open sesame!").unwrap());
        assert_ne!(secret, Secret::new("open sesame?").unwrap());
        assert_ne!(secret, Secret::new("open sesame!!").unwrap());
        let both = Authentication {
            initiator: credentials("a", "open sesame!"),
            target: Some(credentials("b", "shut sesame!")),
        };
        assert!(!format!("{both:?}").contains("sesame"));
        assert!(!format!("{:?}", Secret::new("sesame")).contains("sesame"));
    }

    #[test]
    fn unsound_credentials_are_refused() {
        let one_way = |name: &str| Authentication {
            initiator: credentials(name, "open sesame!"),
            target: None,
        };
        assert_eq!(one_way("alice").check(), Ok(()));
        for bad in ["", "a\0b", "a\nb", &"x".repeat(256)] {
            assert_eq!(one_way(bad).check(), Err(InvalidCredentials::Name), "{bad:?}");
        }
        let mutual = |secret: &str| Authentication {
            target: Some(credentials("disk", secret)),
            ..one_way("alice")
        };
        assert_eq!(mutual("shut sesame!").check(), Ok(()));
        assert_eq!(mutual("open sesame!").check(), Err(InvalidCredentials::SameSecret));
    }
}
