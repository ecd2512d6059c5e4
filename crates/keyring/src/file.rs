//! Keys in a file: one a line, 64 hexadecimal digits, `#` begins a comment. The first key seals,
//! all open. A key's id is derived from it, so nothing else needs to be written down.
//!
//! The file is made at the first start, whole or not at all, for its owner only; one that others
//! may read is refused, as is one that says something else: a key that was made anew because the
//! old one could not be read would make every sealed secret unreadable.

use std::fs::File;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use zeroize::Zeroizing;

use crate::{KEY, Key, Keyring, KeyringError, random};

const HEAD: &str = "\
# Keys that seal the secrets of osds, one a line: the first seals, all open. To change to a new key,
# put it on a line above the others (openssl rand -hex 32) and restart. Keep a copy in a safe place,
# apart from the copies of the records: without it, hosts must be detached and attached again.
";

impl Keyring {
    /// The keys in this file; `None` when there is no such file.
    ///
    /// # Errors
    /// [`KeyringError::File`]: it cannot be read, others can read it, or it holds something else.
    pub fn read(path: &Path) -> Result<Option<Self>, KeyringError> {
        let mut file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(unusable(path, format!("cannot be read: {error}"))),
        };
        let failed = |error: io::Error| unusable(path, format!("cannot be read: {error}"));
        let mode = file.metadata().map_err(failed)?.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            let why =
                format!("others may use it (mode {mode:o}); chmod 600 it, and think of who did");
            return Err(unusable(path, why));
        }
        let mut text = Zeroizing::new(String::new());
        file.read_to_string(&mut text).map_err(failed)?;
        Self::parse(&text, path).map(Some)
    }

    /// Makes the file, with one new key.
    ///
    /// # Errors
    /// [`KeyringError::File`], also when there is one already.
    pub fn make(path: &Path) -> Result<Self, KeyringError> {
        let bytes = random::<KEY>()?;
        let mut text = Zeroizing::new(String::with_capacity(1024));
        text.push_str(HEAD);
        for byte in bytes.iter() {
            // No `format!`: its text would stay behind in memory.
            for digit in [byte >> 4, byte & 15] {
                text.extend(char::from_digit(digit.into(), 16));
            }
        }
        text.push('\n');
        write(path, &text).map_err(|error| unusable(path, format!("cannot be made: {error}")))?;
        Self::parse(&text, path)
    }

    fn parse(text: &str, path: &Path) -> Result<Self, KeyringError> {
        let mut keys: Vec<Key> = Vec::new();
        for (number, line) in text.lines().map(str::trim).enumerate() {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let bytes = from_hex(line).ok_or_else(|| {
                let number = number + 1;
                unusable(path, format!("line {number} is not a key of 64 hexadecimal digits"))
            })?;
            keys.push(Key::new(&bytes));
        }
        if keys.is_empty() {
            let why = "no key in it; put it back from a copy, or remove it and let a new one be \
                       made: then every host must be detached and attached again";
            return Err(unusable(path, why.to_owned()));
        }
        Ok(Self { keys, origin: path.display().to_string() })
    }
}

fn from_hex(text: &str) -> Option<Zeroizing<[u8; KEY]>> {
    let mut bytes = Zeroizing::new([0; KEY]);
    if text.len() != 2 * KEY {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        let digit = |at: usize| char::from(pair[at]).to_digit(16);
        *byte = u8::try_from(digit(0)? << 4 | digit(1)?).ok()?;
    }
    Some(bytes)
}

/// Whole or not at all, and never in place of another.
fn write(path: &Path, text: &str) -> io::Result<()> {
    let directory = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // Made with mode 0600.
    let mut file = tempfile::NamedTempFile::new_in(directory)?;
    file.write_all(text.as_bytes())?;
    file.as_file().sync_all()?;
    file.persist_noclobber(path)?;
    File::open(directory)?.sync_all()
}

fn unusable(path: &Path, why: String) -> KeyringError {
    KeyringError::File { path: path.display().to_string(), why }
}

#[cfg(test)]
mod tests {
    use super::*;
    use osds_model::Secret;
    use std::fs;

    fn why(path: &Path) -> String {
        Keyring::read(path).unwrap_err().to_string()
    }

    #[test]
    fn a_key_that_was_made_is_found_again() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("keys");
        assert!(Keyring::read(&path).unwrap().is_none());
        let made = Keyring::make(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let sealed = made.seal(&["x"], &Secret::new("y".to_owned())).unwrap();
        let found = Keyring::read(&path).unwrap().unwrap();
        assert_eq!(found.open(&["x"], &sealed).unwrap().reveal(), "y");
        // A second one never takes its place.
        assert!(Keyring::make(&path).is_err());
        let other = Keyring::make(&home.path().join("other")).unwrap();
        assert!(other.open(&["x"], &sealed).is_err());
    }

    #[test]
    fn a_file_that_others_may_read_is_refused() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("keys");
        Keyring::make(&path).unwrap();
        for mode in [0o640, 0o604, 0o620] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            assert!(why(&path).contains("chmod 600"), "{mode:o}: {}", why(&path));
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
        assert!(Keyring::read(&path).is_ok());
    }

    #[test]
    fn rubbish_is_named_by_its_line_and_never_repeated() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("keys");
        Keyring::make(&path).unwrap();
        let good = fs::read_to_string(&path).unwrap();
        fs::write(&path, format!("{good}\n  # old\n{}\n", "0123456789abcdeF".repeat(4))).unwrap();
        assert_eq!(Keyring::read(&path).unwrap().unwrap().ids().count(), 2);
        fs::write(&path, format!("{good}hunter2\n")).unwrap();
        assert!(why(&path).contains("line 5") && !why(&path).contains("hunter2"), "{}", why(&path));
        fs::write(&path, "# nothing\n").unwrap();
        assert!(why(&path).contains("no key in it"), "{}", why(&path));
    }
}
