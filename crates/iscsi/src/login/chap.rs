//! CHAP (RFC 1994, as RFC 7143 section 12.1 carries it): proving to know a secret without saying it.
//!
//! The target sends an identifier and a challenge that nobody could foresee, the initiator answers
//! with a digest of identifier, secret and challenge. One [`Exchange`] serves one login and moves
//! only forward; what it ends in is a [`Proven`], which can be made nowhere else and says *by which
//! credentials*. Whatever is wrong, an unknown name included, the answer is the same, and a wrong
//! digest is told from a right one in constant time. The target proves itself only to an initiator
//! that has done so, and never to its own challenge.

use std::io;
use std::sync::Arc;

use md5::Md5;
use sha1::Sha1;
use sha2::{Digest, Sha256};
use sha3::Sha3_256;
use subtle::ConstantTimeEq as _;

use super::keys::number;
use super::status::Status;
use crate::credentials::{Authentication, Secret};
use crate::pdu::text;

/// Longest challenge (and response) either side may send.
const LONGEST: usize = 1024;

/// Where unforeseeable bytes come from.
pub type Random = fn(&mut [u8]) -> io::Result<()>;

/// The initiator has proved to know the secret of these credentials.
#[derive(Clone, Debug)]
pub struct Proven(Arc<Authentication>);

impl Proven {
    /// What was proved is what is demanded.
    pub fn satisfies(&self, demanded: &Authentication) -> bool {
        *self.0 == *demanded
    }
}

/// The digests of the protocol, the weakest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Algorithm {
    Md5,
    Sha1,
    Sha256,
    Sha3,
}

impl Algorithm {
    const ALL: [Self; 4] = [Self::Md5, Self::Sha1, Self::Sha256, Self::Sha3];

    /// Its number in `CHAP_A`.
    fn code(self) -> u32 {
        match self {
            Self::Md5 => 5,
            Self::Sha1 => 6,
            Self::Sha256 => 7,
            Self::Sha3 => 8,
        }
    }

    /// As long as its digest: initiators are made for that, and longer gains nothing.
    fn challenge_len(self) -> usize {
        match self {
            Self::Md5 => 16,
            Self::Sha1 => 20,
            Self::Sha256 | Self::Sha3 => 32,
        }
    }

    /// The strongest of an offer. Its order is the initiator's preference, but who can do better
    /// is held to it.
    fn choose(offer: &str) -> Option<Self> {
        let offered: Vec<_> = offer.split(',').filter_map(|item| number(item, 0, 255)).collect();
        Self::ALL.into_iter().rev().find(|algorithm| offered.contains(&algorithm.code()))
    }

    /// What proves to know the secret.
    fn response(self, identifier: u8, secret: &Secret, challenge: &[u8]) -> Vec<u8> {
        fn digest<D: Digest>(parts: [&[u8]; 3]) -> Vec<u8> {
            let mut digest = D::new();
            parts.into_iter().for_each(|part| digest.update(part));
            digest.finalize().to_vec()
        }
        let parts = [&[identifier], secret.expose(), challenge];
        match self {
            Self::Md5 => digest::<Md5>(parts),
            Self::Sha1 => digest::<Sha1>(parts),
            Self::Sha256 => digest::<Sha256>(parts),
            Self::Sha3 => digest::<Sha3_256>(parts),
        }
    }
}

/// One login's exchange, from the choice of CHAP on.
#[derive(Debug)]
pub struct Exchange {
    demanded: Arc<Authentication>,
    asked: Option<Asked>,
}

/// What the initiator has to answer.
#[derive(Debug)]
struct Asked {
    algorithm: Algorithm,
    identifier: u8,
    challenge: Vec<u8>,
}

impl Exchange {
    /// CHAP has been chosen; nothing has been asked yet.
    pub fn new(demanded: Arc<Authentication>) -> Self {
        Self { demanded, asked: None }
    }

    /// Takes the CHAP keys of one request and adds the answer's.
    pub fn step(
        &mut self,
        pairs: &[(&str, &str)],
        random: Random,
        answer: &mut Vec<u8>,
    ) -> Result<Option<Proven>, Status> {
        match self.asked.take() {
            None => self.ask(pairs, random, answer).map(|()| None),
            // Taken: no challenge is answered twice.
            Some(asked) => self.verify(&asked, pairs, answer).map(Some),
        }
    }

    fn ask(
        &mut self,
        pairs: &[(&str, &str)],
        random: Random,
        answer: &mut Vec<u8>,
    ) -> Result<(), Status> {
        let &[("CHAP_A", offer)] = pairs else { return Err(Status::AUTHENTICATION_FAILURE) };
        let algorithm = Algorithm::choose(offer).ok_or(Status::AUTHENTICATION_FAILURE)?;
        let mut identifier = [0];
        let mut challenge = vec![0; algorithm.challenge_len()];
        random(&mut identifier).and_then(|()| random(&mut challenge)).map_err(|error| {
            tracing::error!(%error, "no random bytes for a challenge");
            Status::TARGET_ERROR
        })?;
        let [identifier] = identifier;
        text::push(answer, "CHAP_A", &algorithm.code().to_string());
        text::push(answer, "CHAP_I", &identifier.to_string());
        text::push(answer, "CHAP_C", &hex(&challenge));
        self.asked = Some(Asked { algorithm, identifier, challenge });
        Ok(())
    }

    fn verify(
        &self,
        asked: &Asked,
        pairs: &[(&str, &str)],
        answer: &mut Vec<u8>,
    ) -> Result<Proven, Status> {
        let find = |key: &str| pairs.iter().find(|(k, _)| *k == key).map(|(_, v)| *v);
        let known = |key: &str| matches!(key, "CHAP_N" | "CHAP_R" | "CHAP_I" | "CHAP_C");
        let (Some(name), Some(response)) = (find("CHAP_N"), find("CHAP_R")) else {
            return Err(Status::AUTHENTICATION_FAILURE);
        };
        if !pairs.iter().all(|(key, _)| known(key)) {
            return Err(Status::AUTHENTICATION_FAILURE);
        }
        let response = binary(response).ok_or(Status::AUTHENTICATION_FAILURE)?;
        let Authentication { initiator, target } = &*self.demanded;
        let Asked { algorithm, identifier, challenge } = asked;
        // Both in any case: a wrong name must not be answered sooner than a wrong secret.
        let expected = algorithm.response(*identifier, &initiator.secret, challenge);
        let right = expected.ct_eq(&response) & initiator.name.as_bytes().ct_eq(name.as_bytes());
        if !bool::from(right) {
            return Err(Status::AUTHENTICATION_FAILURE);
        }
        match (find("CHAP_I"), find("CHAP_C"), target) {
            (None, None, _) => {}
            (Some(identifier), Some(theirs), Some(target)) => {
                let identifier = number(identifier, 0, 255).and_then(|n| u8::try_from(n).ok());
                let (Some(identifier), Some(theirs)) = (identifier, binary(theirs)) else {
                    return Err(Status::AUTHENTICATION_FAILURE);
                };
                // Our own challenge: somebody has us answer what they were asked.
                if theirs == *challenge {
                    return Err(Status::AUTHENTICATION_FAILURE);
                }
                let proof = algorithm.response(identifier, &target.secret, &theirs);
                text::push(answer, "CHAP_N", &target.name);
                text::push(answer, "CHAP_R", &hex(&proof));
            }
            // Asked for in half, or of a target that cannot: who asks must not be let down.
            (Some(_), Some(_), None) | (Some(_), None, _) | (None, Some(_), _) => {
                return Err(Status::AUTHENTICATION_FAILURE);
            }
        }
        Ok(Proven(Arc::clone(&self.demanded)))
    }
}

/// Bytes as a hexadecimal constant.
fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::from("0x"), |mut out, byte| {
        // A String takes everything.
        let _ = write!(out, "{byte:02x}");
        out
    })
}

/// A binary value: `0x` and hexadecimal digits, or `0b` and base 64.
fn binary(value: &str) -> Option<Vec<u8>> {
    let (kind, digits) = value.split_at_checked(2)?;
    let bytes = match kind {
        "0x" | "0X" => from_hex(digits.as_bytes()),
        "0b" | "0B" => from_base64(digits.as_bytes()),
        _ => None,
    }?;
    (1..=LONGEST).contains(&bytes.len()).then_some(bytes)
}

fn from_hex(digits: &[u8]) -> Option<Vec<u8>> {
    let nibble = |digit: u8| char::from(digit).to_digit(16).and_then(|n| u8::try_from(n).ok());
    let (pairs, rest) = digits.as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    pairs.iter().map(|[high, low]| Some(nibble(*high)? << 4 | nibble(*low)?)).collect()
}

fn from_base64(digits: &[u8]) -> Option<Vec<u8>> {
    let value = |digit: u8| match digit {
        b'A'..=b'Z' => Some(digit - b'A'),
        b'a'..=b'z' => Some(digit - b'a' + 26),
        b'0'..=b'9' => Some(digit - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    };
    let (groups, rest) = digits.as_chunks::<4>();
    if !rest.is_empty() {
        return None;
    }
    let mut out = Vec::with_capacity(groups.len() * 3);
    for (at, group) in groups.iter().enumerate() {
        let padding = group.iter().rev().take_while(|digit| **digit == b'=').count();
        if padding > 2 || (padding > 0 && at + 1 != groups.len()) {
            return None;
        }
        let mut bits = 0_u32;
        for digit in &group[..4 - padding] {
            bits = bits << 6 | u32::from(value(*digit)?);
        }
        bits <<= 6 * padding;
        out.extend_from_slice(&bits.to_be_bytes()[1..4 - padding]);
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credentials::Credentials;
    use proptest::prelude::*;

    fn secret(text: &str) -> Secret {
        Secret::new(text).unwrap()
    }

    fn demanded(mutual: bool) -> Arc<Authentication> {
        let credentials =
            |name: &str, text| Credentials { name: name.into(), secret: secret(text) };
        let target = mutual.then(|| credentials("disk", "shut sesame!"));
        Arc::new(Authentication { initiator: credentials("alice", "open sesame!"), target })
    }

    fn counted(bytes: &mut [u8]) -> io::Result<()> {
        bytes.iter_mut().zip(1..).for_each(|(byte, n)| *byte = n);
        Ok(())
    }

    fn asked(exchange: &mut Exchange, offer: &str) -> Asked {
        let mut answer = Vec::new();
        assert!(exchange.step(&[("CHAP_A", offer)], counted, &mut answer).unwrap().is_none());
        let asked = exchange.asked.as_ref().unwrap();
        let (algorithm, identifier) = (asked.algorithm, asked.identifier);
        let said = format!(
            "CHAP_A={}\0CHAP_I={identifier}\0CHAP_C={}\0",
            algorithm.code(),
            hex(&asked.challenge)
        );
        assert_eq!(answer, said.as_bytes());
        Asked { algorithm, identifier, challenge: asked.challenge.clone() }
    }

    fn verified(
        mutual: bool,
        pairs: impl Fn(&Asked) -> Vec<(&'static str, String)>,
    ) -> Result<Vec<u8>, Status> {
        let mut exchange = Exchange::new(demanded(mutual));
        let pairs = pairs(&asked(&mut exchange, "5"));
        let pairs: Vec<_> = pairs.iter().map(|(k, v)| (*k, v.as_str())).collect();
        let mut answer = Vec::new();
        let proven = exchange.step(&pairs, counted, &mut answer)?.unwrap();
        assert!(proven.satisfies(&demanded(mutual)) && !proven.satisfies(&demanded(!mutual)));
        Ok(answer)
    }

    fn right(asked: &Asked, password: &str) -> String {
        hex(&asked.algorithm.response(asked.identifier, &secret(password), &asked.challenge))
    }

    // Digests of 0x01 "open sesame!" 0x01..0x10, made with Python's hashlib.
    #[test]
    fn the_digests_are_those_of_everybody_else() {
        let challenge: Vec<u8> = (1..=16).collect();
        for (algorithm, digest) in [
            (Algorithm::Md5, MD5),
            (Algorithm::Sha1, SHA1),
            (Algorithm::Sha256, SHA256),
            (Algorithm::Sha3, SHA3),
        ] {
            let response = algorithm.response(1, &secret("open sesame!"), &challenge);
            assert_eq!(hex(&response)[2..], *digest, "{algorithm:?}");
        }
    }

    const MD5: &str = "2c502eab7c5f86e39c9bc0ad791b3d01";
    const SHA1: &str = "6569255da96c129ba489c5657818a94a09908792";
    const SHA256: &str = "449cd073f9389ee34645ce7f06a737f90b7d918d51c0ee0a4468ac99d5e141dc";
    const SHA3: &str = "17b8df41b897f2f98610dc86131f9c37643919fa17cd1c61956d69f756a66b3c";

    #[test]
    fn the_strongest_offered_digest_is_chosen() {
        for (offer, code) in [("5", 5), ("5,6", 6), ("5,7,6", 7), ("8,7,6,5", 8), ("9,x,0x5", 5)] {
            let mut exchange = Exchange::new(demanded(false));
            assert_eq!(asked(&mut exchange, offer).algorithm.code(), code);
        }
        for offer in ["", "4", "9,10", "MD5", "5x"] {
            let refused =
                Exchange::new(demanded(false)).step(&[("CHAP_A", offer)], counted, &mut vec![]);
            assert_eq!(refused.unwrap_err(), Status::AUTHENTICATION_FAILURE, "{offer}");
        }
    }

    #[test]
    fn only_the_right_name_with_the_right_response_passes() {
        let one_way = |name: &str, password: &str| {
            let name = name.to_owned();
            verified(false, |asked| {
                vec![("CHAP_N", name.clone()), ("CHAP_R", right(asked, password))]
            })
        };
        assert_eq!(one_way("alice", "open sesame!").unwrap(), b"");
        for (name, password) in [
            ("alice", "open sesame?"),
            ("Alice", "open sesame!"),
            ("mallory", "open sesame!"),
            ("", "open sesame!"),
            ("alice\u{301}", "open sesame!"),
        ] {
            let refused = one_way(name, password);
            assert_eq!(refused, Err(Status::AUTHENTICATION_FAILURE), "{name} {password}");
        }
        for response in ["", "0x", "0x00", "0b", "0xzz", "12", "0x0"] {
            let refused =
                verified(false, |_| vec![("CHAP_N", "alice".into()), ("CHAP_R", response.into())]);
            assert_eq!(refused, Err(Status::AUTHENTICATION_FAILURE), "{response}");
        }
    }

    #[test]
    fn a_response_to_another_question_is_worth_nothing() {
        for change in [
            |asked: &mut Asked| asked.identifier ^= 1,
            |asked: &mut Asked| asked.challenge[0] ^= 1,
            |asked: &mut Asked| asked.algorithm = Algorithm::Sha256,
        ] {
            let mut exchange = Exchange::new(demanded(false));
            let mut other = asked(&mut exchange, "5");
            change(&mut other);
            let response = right(&other, "open sesame!");
            let pairs = [("CHAP_N", "alice"), ("CHAP_R", response.as_str())];
            assert!(exchange.step(&pairs, counted, &mut vec![]).is_err());
        }
    }

    #[test]
    fn a_question_is_answered_once() {
        let mut exchange = Exchange::new(demanded(false));
        let question = asked(&mut exchange, "5");
        let wrong = [("CHAP_N", "alice"), ("CHAP_R", "0x00")];
        assert!(exchange.step(&wrong, counted, &mut vec![]).is_err());
        let response = right(&question, "open sesame!");
        let late = [("CHAP_N", "alice"), ("CHAP_R", response.as_str())];
        assert!(exchange.step(&late, counted, &mut vec![]).is_err());
    }

    #[test]
    fn the_target_proves_itself_to_who_has_done_so() {
        let ask = |password: &'static str, extra: &'static [(&str, &str)]| {
            move |asked: &Asked| {
                let mut pairs =
                    vec![("CHAP_N", "alice".into()), ("CHAP_R", right(asked, password))];
                pairs.extend(extra.iter().map(|(k, v)| (*k, (*v).to_owned())));
                pairs
            }
        };
        const THEIRS: &[(&str, &str)] = &[("CHAP_I", "9"), ("CHAP_C", "0x0102030405060708")];
        let proof = Algorithm::Md5.response(9, &secret("shut sesame!"), &[1, 2, 3, 4, 5, 6, 7, 8]);
        let said = format!("CHAP_N=disk\0CHAP_R={}\0", hex(&proof));
        assert_eq!(verified(true, ask("open sesame!", THEIRS)).unwrap(), said.as_bytes());
        // Who does not ask is not answered.
        assert_eq!(verified(true, ask("open sesame!", &[])).unwrap(), b"");
        // Who has not proved itself is not answered, and a target without a secret cannot.
        assert!(verified(true, ask("open sesame?", THEIRS)).is_err());
        assert!(verified(false, ask("open sesame!", THEIRS)).is_err());
        // In half, out of range, too long, not binary.
        for bad in [
            &[("CHAP_I", "9")][..],
            &[("CHAP_C", "0x01")],
            &[("CHAP_I", "256"), ("CHAP_C", "0x01")],
            &[("CHAP_I", "9"), ("CHAP_C", "one")],
            &[("CHAP_I", "9"), ("CHAP_C", "0x")],
            &[("CHAP_I", "9"), ("CHAP_C", "0x01"), ("CHAP_A", "5")],
        ] {
            assert!(verified(true, ask("open sesame!", bad)).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn our_own_challenge_comes_back_for_nothing() {
        let reflected = verified(true, |asked| {
            vec![
                ("CHAP_N", "alice".into()),
                ("CHAP_R", right(asked, "open sesame!")),
                ("CHAP_I", asked.identifier.to_string()),
                ("CHAP_C", hex(&asked.challenge)),
            ]
        });
        assert_eq!(reflected, Err(Status::AUTHENTICATION_FAILURE));
    }

    #[test]
    fn without_randomness_nobody_is_asked() {
        let mut exchange = Exchange::new(demanded(false));
        let silent: Random = |_| Err(io::Error::other("none"));
        let refused = exchange.step(&[("CHAP_A", "5")], silent, &mut vec![]);
        assert_eq!(refused.unwrap_err(), Status::TARGET_ERROR);
    }

    #[test]
    fn binary_values_come_in_two_forms() {
        for (text, bytes) in [
            ("0x00ff", Some(&[0x00, 0xff][..])),
            ("0XaBcD", Some(&[0xab, 0xcd])),
            ("0bAP8=", Some(&[0x00, 0xff])),
            ("0BAA==", Some(&[0x00])),
            ("0b////", Some(&[0xff, 0xff, 0xff])),
            ("0xabc", None),
            ("0bAP8", None),
            ("0bA===", None),
            ("0bAA==AAAA", None),
            ("0b=AAA", None),
            ("abcd", None),
            ("é", None),
        ] {
            assert_eq!(binary(text).as_deref(), bytes, "{text}");
        }
        assert!(binary(&format!("0x{}", "00".repeat(1024))).is_some());
        assert!(binary(&format!("0x{}", "00".repeat(1025))).is_none());
    }

    proptest! {
        #[test]
        fn every_value_reads_back(bytes in proptest::collection::vec(any::<u8>(), 1..64)) {
            prop_assert_eq!(binary(&hex(&bytes)), Some(bytes));
        }

        #[test]
        fn arbitrary_values_never_panic(value in ".{0,40}|0b[A-Za-z0-9+/=]{0,40}|0x[0-9a-f]{0,40}") {
            let _ = binary(&value);
        }
    }
}
