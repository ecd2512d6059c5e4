//! The real daemon as a child process: started, killed without a word, started again on the same
//! ports and the same data.
//!
//! Ports are chosen by the system and read from the daemon's `ready` line, which it prints when it
//! serves: so nothing is guessed and nothing waits longer than it must. Dropping it kills it, so a
//! failing test leaves no process behind.

use std::io::{self, BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A running daemon; killed when it is dropped.
pub struct Daemon {
    child: Child,
    start: Start,
    /// Base of the REST API, as `http://address:port`.
    pub api: String,
    /// Where its target listens; port 0 when none does.
    pub portal: SocketAddr,
    /// From the start of the process to its `ready` line.
    pub ready_after: Duration,
}

#[derive(Clone)]
struct Start {
    program: PathBuf,
    data_dir: PathBuf,
    arguments: Vec<String>,
    log: Option<PathBuf>,
}

impl Daemon {
    /// Starts `program all` on free loopback ports, with everything it keeps in `data_dir`; its
    /// log goes to `osds.log` in there.
    ///
    /// # Errors
    /// It cannot be started, or ends before it is ready.
    pub fn start(program: &Path, data_dir: &Path) -> io::Result<Self> {
        Self::start_with(program, data_dir, &[])
    }

    /// The same, with further arguments of `osds all`.
    ///
    /// # Errors
    /// It cannot be started, or ends before it is ready.
    pub fn start_with(program: &Path, data_dir: &Path, more: &[&str]) -> io::Result<Self> {
        let free = ["--api", "127.0.0.1:0"].map(str::to_owned);
        // A configuration says itself where its targets listen.
        let iscsi = (!more.contains(&"--config")).then_some(["--iscsi", "127.0.0.1:0"]);
        let iscsi = iscsi.into_iter().flatten().map(str::to_owned);
        let arguments = free.into_iter().chain(iscsi);
        Self::run(Start {
            program: program.to_owned(),
            data_dir: data_dir.to_owned(),
            arguments: arguments.chain(more.iter().map(|&word| word.to_owned())).collect(),
            log: Some(data_dir.join("osds.log")),
        })
    }

    /// Ends it as a power cut would, from the process's point of view: SIGKILL.
    ///
    /// # Errors
    /// It cannot be killed.
    pub fn kill(&mut self) -> io::Result<()> {
        self.child.kill()?;
        self.child.wait().map(drop)
    }

    /// Starts it again, on the same ports.
    ///
    /// # Errors
    /// It is still running, cannot be started, or ends before it is ready.
    pub fn restart(&mut self) -> io::Result<()> {
        if self.child.try_wait()?.is_none() {
            return Err(io::Error::other("the daemon is still running"));
        }
        let mut start = self.start.clone();
        let address = self.api.trim_start_matches("http://").to_owned();
        set(&mut start.arguments, "--api", address);
        set(&mut start.arguments, "--iscsi", self.portal.to_string());
        *self = Self::run(start)?;
        Ok(())
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    fn run(start: Start) -> io::Result<Self> {
        let began = Instant::now();
        let stderr = match &start.log {
            Some(log) => Stdio::from(std::fs::File::options().create(true).append(true).open(log)?),
            None => Stdio::inherit(),
        };
        let mut child = Command::new(&start.program)
            .arg("all")
            .arg("--data-dir")
            .arg(&start.data_dir)
            .args(&start.arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(stderr)
            .spawn()?;
        let mut line = String::new();
        if let Some(stdout) = child.stdout.take() {
            BufReader::new(stdout).read_line(&mut line)?;
        }
        let ready_after = began.elapsed();
        let word = |key: &str| line.split_whitespace().find_map(|word| word.strip_prefix(key));
        // A daemon listens for no hosts where they are its own machine, or an array serves them.
        let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
        let first = match word("iscsi=").and_then(|list| list.split(',').next()) {
            None => Some(nowhere),
            Some(first) => first.parse().ok(),
        };
        match (word("api="), first) {
            (Some(api), Some(portal)) if line.starts_with("ready ") => {
                let api = api.to_owned();
                Ok(Self { child, start, api, portal, ready_after })
            }
            _ => {
                let _ = child.kill();
                let status = child.wait()?;
                let log = start.log.and_then(|log| std::fs::read_to_string(log).ok());
                let log = log.unwrap_or_default();
                Err(io::Error::other(format!("the daemon did not start ({status}): {log}")))
            }
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}

fn set(arguments: &mut [String], key: &str, value: String) {
    if let Some(at) = arguments.iter().position(|word| word == key)
        && let Some(place) = arguments.get_mut(at + 1)
    {
        *place = value;
    }
}
