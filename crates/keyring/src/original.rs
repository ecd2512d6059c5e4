//! Passwords as the original's `pwdEncrypter` writes them, and back.
//!
//! AES-256 in CFB mode: hexadecimal digits of a random start (16 bytes) and the ciphertext, which is
//! as long as the password. The key is built into every copy of the original, so this keeps a
//! password from a glance over the shoulder and from nobody else; and nothing proves the text, so
//! a wrong one opens to rubbish. It is here so that existing files can be read, and written for
//! the original. What is ours to keep is sealed by the keyring.

use aes::Aes256;
use cfb_mode::cipher::KeyIvInit as _;
use osds_model::Secret;
use zeroize::Zeroizing;

/// A fact about the original, known to everybody: no secret.
const KEY: &[u8; 32] = b"8RcY34!7dce3,cdcaeb*faeC3cd9fQfe";
const START: usize = 16;

/// Why a text does not open. Never says what it was, or what it would have been.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CiphertextError {
    /// Not hexadecimal digits, or too few.
    #[error(
        "it is no ciphertext of pwdEncrypter, which is at least 32 hexadecimal digits; is it the \
         password itself?"
    )]
    Malformed,
    /// What comes out is no text.
    #[error("it does not decrypt to a text: it was changed, or is not of pwdEncrypter")]
    Rubbish,
    /// The system gives no random bytes.
    #[error("the system gives no random bytes")]
    NoRandomness,
}

/// Opens the text of `pwdEncrypter`.
///
/// # Errors
/// It is none; see [`CiphertextError`].
pub fn decrypt(text: &str) -> Result<Secret, CiphertextError> {
    let bytes = Zeroizing::new(from_hex(text.trim()).ok_or(CiphertextError::Malformed)?);
    let (start, sealed) = bytes.split_first_chunk::<START>().ok_or(CiphertextError::Malformed)?;
    let mut plain = Zeroizing::new(sealed.to_vec());
    cfb_mode::Decryptor::<Aes256>::new(KEY.into(), start.into()).decrypt(&mut plain);
    let text = std::str::from_utf8(&plain).map_err(|_| CiphertextError::Rubbish)?;
    // No password has control characters, and rubbish nearly always has.
    if text.chars().any(char::is_control) {
        return Err(CiphertextError::Rubbish);
    }
    Ok(Secret::new(text.to_owned()))
}

/// Makes the text that `pwdEncrypter` would make, with a random start of its own.
///
/// # Errors
/// [`CiphertextError::NoRandomness`].
pub fn encrypt(password: &str) -> Result<String, CiphertextError> {
    let mut start = [0; START];
    getrandom::fill(&mut start).map_err(|_| CiphertextError::NoRandomness)?;
    Ok(encrypt_from(start, password))
}

fn encrypt_from(start: [u8; START], password: &str) -> String {
    let mut bytes = Zeroizing::new(password.as_bytes().to_vec());
    cfb_mode::Encryptor::<Aes256>::new(KEY.into(), &start.into()).encrypt(&mut bytes);
    start.iter().chain(bytes.iter()).map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    text.as_bytes().chunks_exact(2).map(|two| Some(digit(two[0])? << 4 | digit(two[1])?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made by the original, and checked with openssl.
    const VECTOR: &str = "9a3b4d577c86d5c9468123b93382c194399070c3f5e3";

    #[test]
    fn the_vector_of_the_original() {
        assert_eq!(decrypt(VECTOR).unwrap().reveal(), "123456");
        assert_eq!(decrypt(&format!(" {}\n", VECTOR.to_uppercase())).unwrap().reveal(), "123456");
        let start = from_hex(&VECTOR[..2 * START]).unwrap().try_into().unwrap();
        assert_eq!(encrypt_from(start, "123456"), VECTOR);
    }

    #[test]
    fn every_length_comes_back_and_no_text_twice() {
        for length in [0, 1, 15, 16, 17, 31, 32, 33, 100] {
            let password: String = "pä55wörd ".chars().cycle().take(length).collect();
            let text = encrypt(&password).unwrap();
            assert_eq!(decrypt(&text).unwrap().reveal(), password, "{length}");
            assert!(
                text.len() == 2 * (START + password.len()) && text != encrypt(&password).unwrap()
            );
        }
    }

    #[test]
    fn what_is_none_is_refused_without_a_word_of_it() {
        for (text, why) in [
            ("", CiphertextError::Malformed),
            ("123456", CiphertextError::Malformed),
            ("hunter2hunter2hunter2hunter2hunter2", CiphertextError::Malformed),
            (&VECTOR[1..], CiphertextError::Malformed),
            // Another start: rubbish.
            (&VECTOR.replacen("9a", "00", 1), CiphertextError::Rubbish),
        ] {
            assert_eq!(decrypt(text).unwrap_err(), why, "{text}");
            assert!(text.is_empty() || !why.to_string().contains(text));
        }
    }
}
