//! The machine's own programs and its sysfs, in places that a test can replace.
//!
//! Programs are run by argument vector, never through a shell, in the C locale. What they print is
//! kept for messages; what they are given is no secret, as everybody on a machine can read it.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use crate::error::{ConnectError, Kind};

/// How often it is looked whether a program is still worth waiting for.
const ASK_AGAIN: Duration = Duration::from_millis(50);

/// Where programs, sysfs and settings of this machine are.
#[derive(Clone, Debug)]
pub struct Machine {
    /// Everything below is below this; `/` but in tests.
    pub root: PathBuf,
    /// Looked through before PATH; tests put programs of their own there.
    pub programs: Option<PathBuf>,
}

impl Default for Machine {
    fn default() -> Self {
        Self { root: PathBuf::from("/"), programs: None }
    }
}

/// How a program ended.
#[derive(Debug)]
pub struct Ended {
    /// Its exit code; -1 when a signal ended it.
    pub code: i32,
    /// What it printed.
    pub output: String,
    /// What it complained of.
    pub complaint: String,
}

impl Machine {
    /// A file of this machine.
    #[must_use]
    pub fn path(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// Runs a program to its end, whatever that is.
    ///
    /// # Errors
    /// There is no such program.
    pub fn try_run<S: AsRef<OsStr>>(
        &self,
        program: &str,
        arguments: &[S],
    ) -> Result<Ended, ConnectError> {
        let path = std::env::var("PATH").unwrap_or_default();
        let ours = self.programs.as_ref().map(|ours| format!("{}:", ours.display()));
        let path = format!("{}{path}:/usr/sbin:/sbin:/usr/bin:/bin", ours.unwrap_or_default());
        // Looked up here: a new PATH of the child does not guide the search for it everywhere.
        let found = path.split(':').map(|dir| Path::new(dir).join(program)).find(|p| p.is_file());
        let doing = || command_line(program, arguments);
        let Some(found) = found else {
            let why = format!("there is no program {program} on this node; {}", remedy(program));
            return Err(ConnectError::new(Kind::NotSupported, doing()).because(why));
        };
        let output = Command::new(found)
            .args(arguments)
            .env("LC_ALL", "C")
            .env("PATH", &path)
            .env("ROOT", &self.root)
            .stdin(Stdio::null())
            .output()
            .map_err(|error| ConnectError::io(doing(), error))?;
        Ok(Ended {
            code: output.status.code().unwrap_or(-1),
            output: String::from_utf8_lossy(&output.stdout).into_owned(),
            complaint: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        })
    }

    /// Runs a program that has to succeed; what it printed.
    ///
    /// # Errors
    /// It did not.
    pub fn run<S: AsRef<OsStr>>(
        &self,
        program: &str,
        arguments: &[S],
    ) -> Result<String, ConnectError> {
        let ended = self.try_run(program, arguments)?;
        if ended.code == 0 {
            return Ok(ended.output);
        }
        let why = format!("it ended with {}: {}", ended.code, ended.complaint);
        Err(ConnectError::new(Kind::Temporary, command_line(program, arguments)).because(why))
    }

    /// The same for as long as `goes_on` says so, which is asked now and then; `None` when it said no:
    /// the program then goes on by itself, for one that waits in the kernel cannot be ended.
    ///
    /// # Errors
    /// The program did not succeed.
    pub fn run_while<S: AsRef<OsStr>>(
        &self,
        program: &str,
        arguments: &[S],
        goes_on: impl Fn() -> bool,
    ) -> Result<Option<String>, ConnectError> {
        let (ended, end) = mpsc::channel();
        let (machine, name) = (self.clone(), program.to_owned());
        let own: Vec<OsString> = arguments.iter().map(|one| one.as_ref().to_owned()).collect();
        // Nobody listens any more when it was given up.
        thread::spawn(move || ended.send(machine.run(&name, &own)));
        loop {
            match end.recv_timeout(ASK_AGAIN) {
                Ok(outcome) => return outcome.map(Some),
                Err(RecvTimeoutError::Timeout) if goes_on() => {}
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return Ok(None),
            }
        }
    }

    /// A file's text without blanks at its ends; `None` when there is no such file.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn read(&self, path: &Path) -> Result<Option<String>, ConnectError> {
        match std::fs::read(path) {
            Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).trim().to_owned())),
            Err(error) if is_gone(&error) => Ok(None),
            Err(error) => Err(ConnectError::io(format!("reading {}", path.display()), error)),
        }
    }

    /// The names in a directory, sorted; none when there is no such directory.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn names(&self, directory: &Path) -> Result<Vec<String>, ConnectError> {
        let failed = |error| ConnectError::io(format!("reading {}", directory.display()), error);
        let entries = match std::fs::read_dir(directory) {
            Ok(entries) => entries,
            Err(error) if is_gone(&error) => return Ok(Vec::new()),
            Err(error) => return Err(failed(error)),
        };
        let mut names = Vec::new();
        for entry in entries {
            names.push(entry.map_err(failed)?.file_name().to_string_lossy().into_owned());
        }
        names.sort_unstable();
        Ok(names)
    }
}

/// Devices go while they are looked at.
fn is_gone(error: &io::Error) -> bool {
    let no_device = rustix::io::Errno::NODEV.raw_os_error();
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(no_device)
}

fn command_line<S: AsRef<OsStr>>(program: &str, arguments: &[S]) -> String {
    let arguments: Vec<_> = arguments.iter().map(|a| a.as_ref().to_string_lossy()).collect();
    format!("running {program} {}", arguments.join(" "))
}

fn remedy(program: &str) -> &'static str {
    match program {
        "iscsiadm" => "install open-iscsi and start iscsid",
        "nvme" => "install nvme-cli",
        "modprobe" => "load the module on the node itself",
        "mkfs.ext4" | "resize2fs" => "install e2fsprogs",
        "mkfs.xfs" | "xfs_growfs" => "install xfsprogs",
        "mkfs.btrfs" | "btrfs" => "install btrfs-progs",
        _ => "install util-linux",
    }
}
