//! `osds password`: passwords for configuration files.
//!
//! What is typed is sealed with the daemon's keys, which only it and root can read; `--opensds`
//! writes the original's ciphertext, whose key everybody has, for files that the original still
//! reads. Called as `pwdEncrypter` (by a link of that name) it is that program.
//!
//! Must stay true: a password is read without echo, and no error shows it.

use std::ffi::OsString;
use std::io::{self, IsTerminal as _, Read as _, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use clap::{Args, Subcommand};
use osds_keyring::password::{Written, seal};
use osds_keyring::{Keyring, original};
use osds_model::Secret;
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

use crate::config::Config;

const PWD_ENCRYPTER: &str = "pwdEncrypter";

#[derive(Subcommand)]
pub(crate) enum PasswordCommand {
    /// Encrypt a password; prints what to write into the file.
    ///
    /// The password is asked for, or read from standard input. What is printed opens only with the
    /// keys of this machine's osds, which are made now if there are none. With --opensds it is the
    /// ciphertext of the original's pwdEncrypter instead: every copy of the original opens it, and
    /// every reader of its source.
    #[command(visible_alias = PWD_ENCRYPTER)]
    Encrypt(Text),
    /// Show the password that such a text stands for.
    Decrypt(Text),
}

#[derive(Args)]
pub(crate) struct Text {
    /// The text; better not given here, where other users of the machine may see it.
    text: Option<String>,
    /// The ciphertext of the original's pwdEncrypter.
    #[arg(long)]
    opensds: bool,
    /// An osds.toml that says where the keys are.
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The file with the keys; by default the one of the configuration.
    #[arg(long, value_name = "FILE", conflicts_with = "config")]
    key_file: Option<PathBuf>,
}

/// The command line as osds has it, also when it is called as `pwdEncrypter PASSWORD`.
pub(crate) fn as_called(words: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut words: Vec<OsString> = words.collect();
    let called = words.first().and_then(|word| Path::new(word).file_name());
    if called.is_some_and(|name| name == PWD_ENCRYPTER) {
        words.splice(..1, ["osds", "password", "encrypt", "--opensds"].map(OsString::from));
    }
    words
}

/// Does it, and prints the outcome alone on a line.
pub(crate) fn run(command: &PasswordCommand) -> Result<()> {
    let answer = match command {
        PasswordCommand::Encrypt(text) => text.encrypt()?,
        PasswordCommand::Decrypt(text) => text.decrypt()?,
    };
    Ok(writeln!(io::stdout(), "{}", *answer)?)
}

impl Text {
    fn encrypt(&self) -> Result<Zeroizing<String>> {
        let password = self.read("Password: ")?;
        if password.reveal().is_empty() {
            bail!("the password is empty");
        }
        if self.opensds {
            return Ok(Zeroizing::new(original::encrypt(password.reveal())?));
        }
        let file = self.key_file()?;
        let keys = match Keyring::read(&file)? {
            Some(keys) => keys,
            None => {
                eprintln!("osds: a key for secrets is made: {}; keep a copy of it", file.display());
                Keyring::make(&file)?
            }
        };
        Ok(Zeroizing::new(seal(&keys, &password)?))
    }

    fn decrypt(&self) -> Result<Zeroizing<String>> {
        let text = self.read("Encrypted password: ")?;
        let opened = if self.opensds {
            original::decrypt(text.reveal())?
        } else {
            let key_file = self.key_file()?;
            // The form tells: what is not sealed can only be the original's.
            let how = Written { encrypted: true, key_file: &key_file };
            how.open(text.reveal().trim())?
        };
        Ok(Zeroizing::new(opened.reveal().to_owned()))
    }

    fn key_file(&self) -> Result<PathBuf> {
        match (&self.key_file, &self.config) {
            (Some(file), _) => Ok(file.clone()),
            (None, Some(config)) => Ok(Config::read(config)?.key_file()),
            (None, None) => Ok(Config::default().key_file()),
        }
    }

    /// The text from the command line, from the terminal without echo, or from standard input.
    fn read(&self, prompt: &str) -> Result<Secret> {
        if let Some(text) = &self.text {
            return Ok(Secret::new(text.clone()));
        }
        let stdin = io::stdin();
        if stdin.is_terminal() {
            let _silence = Silence::begin(prompt)?;
            let mut line = Zeroizing::new(String::new());
            stdin.read_line(&mut line).context("cannot read the terminal")?;
            return Ok(Secret::new(line.trim_end_matches(['\n', '\r']).to_owned()));
        }
        let mut text = Zeroizing::new(String::new());
        // Longer than any password, shorter than what would be a mistake.
        let read = stdin.lock().take(64 << 10).read_to_string(&mut text);
        read.context("cannot read the password from standard input")?;
        Ok(Secret::new(text.trim_end_matches(['\n', '\r']).to_owned()))
    }
}

/// A terminal that does not show what is typed, until this is dropped.
struct Silence(rustix::termios::Termios);

impl Silence {
    fn begin(prompt: &str) -> Result<Self> {
        let before = tcgetattr(io::stdin()).context("cannot look at the terminal")?;
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        tcsetattr(io::stdin(), OptionalActions::Flush, &silent)
            .context("cannot silence the terminal")?;
        eprint!("{prompt}");
        Ok(Self(before))
    }
}

impl Drop for Silence {
    fn drop(&mut self) {
        // Nothing can be done about a terminal that is gone.
        let _ = tcsetattr(io::stdin(), OptionalActions::Flush, &self.0);
        eprintln!();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_of_its_name_is_the_original_program() {
        let words = |line: &str| as_called(line.split(' ').map(OsString::from));
        let as_osds = words("osds password encrypt --opensds secret");
        assert_eq!(words("/usr/local/bin/pwdEncrypter secret"), as_osds);
        assert_eq!(as_osds.len(), 5);
    }
}
