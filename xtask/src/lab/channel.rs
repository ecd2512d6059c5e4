//! The command channel to a guest: scripts in, exit codes and output out, several at once.
//!
//! The guest's end is `lab/guest/agent`. Answers come in any order, so a thread reads them and hands
//! each to whoever waits for its number.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use base64ct::{Base64, Encoding as _};

/// What a script left behind.
#[derive(Clone, Debug)]
pub struct Output {
    /// Its exit code.
    pub code: i32,
    /// Standard output and error, as they came.
    pub text: String,
}

impl Output {
    /// Whether it went well.
    pub fn ok(&self) -> bool {
        self.code == 0
    }
}

type Waiting = Arc<Mutex<HashMap<u64, Sender<Output>>>>;

/// A connection to a guest's agent.
#[derive(Clone)]
pub struct Channel {
    name: String,
    stream: Arc<Mutex<UnixStream>>,
    waiting: Waiting,
    next: Arc<AtomicU64>,
}

impl Channel {
    /// Connects. Only once the guest has said LAB-READY: a connection made while its driver is still
    /// setting the port up can leave it believing that nobody is there, for ever.
    pub fn open(name: &str, socket: &Path) -> Result<Self> {
        let stream = UnixStream::connect(socket)
            .with_context(|| format!("guest {name} does not answer at {}", socket.display()))?;
        let waiting = Waiting::default();
        let (reader, answers) = (stream.try_clone()?, Arc::clone(&waiting));
        std::thread::spawn(move || read(reader, &answers));
        // Numbers of an earlier connection must not be met again.
        let first = u64::from(std::process::id()) << 20;
        let (stream, next) = (Arc::new(Mutex::new(stream)), Arc::new(AtomicU64::new(first)));
        Ok(Self { name: name.to_owned(), stream, waiting, next })
    }

    /// Hangs up: before the guest's driver goes and comes again.
    pub fn close(&self) {
        locked(&self.stream).shutdown(std::net::Shutdown::Both).ok();
    }

    /// Runs a script in the guest's bash, and waits for its end.
    pub fn run(&self, script: &str, patience: Duration) -> Result<Output> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let (tell, told) = mpsc::channel();
        locked(&self.waiting).insert(number, tell);
        let line = format!("{number} {}\n", Base64::encode_string(script.as_bytes()));
        let sent = locked(&self.stream).write_all(line.as_bytes());
        sent.with_context(|| format!("guest {} is gone", self.name))?;
        match told.recv_timeout(patience) {
            Ok(output) => Ok(output),
            Err(_) => {
                locked(&self.waiting).remove(&number);
                bail!("guest {}: no answer within {} s to: {script}", self.name, patience.as_secs())
            }
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn read(stream: UnixStream, waiting: &Waiting) {
    for line in BufReader::new(stream).split(b'\n') {
        let Ok(line) = line else { return };
        if let Some((number, output)) = parse(&String::from_utf8_lossy(&line))
            && let Some(tell) = locked(waiting).remove(&number)
        {
            // Who does not wait any more need not hear it.
            tell.send(output).ok();
        }
    }
}

/// `NUMBER CODE BASE64`; the last is missing when nothing was printed.
fn parse(line: &str) -> Option<(u64, Output)> {
    let mut words = line.split(' ');
    let (number, code) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    let bytes = Base64::decode_vec(words.next().unwrap_or_default().trim()).ok()?;
    Some((number, Output { code, text: String::from_utf8_lossy(&bytes).into_owned() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_number_a_code_and_what_was_printed() {
        let (number, output) = parse("7 3 aGkK").unwrap();
        assert_eq!((number, output.code, output.text.as_str()), (7, 3, "hi\n"));
        assert_eq!(parse("7 0 ").unwrap().1.text, "");
        assert!(parse("7 0 %%%").is_none());
        assert!(parse("noise").is_none());
    }

    #[test]
    fn answers_find_who_asked_though_they_come_in_another_order() {
        let home = std::env::temp_dir().join(format!("osds-lab-{}", std::process::id()));
        let server = std::os::unix::net::UnixListener::bind(&home).unwrap();
        let channel = Channel::open("x", &home).unwrap();
        let (guest, _) = server.accept().unwrap();
        let agent = std::thread::spawn(move || {
            let mut lines = BufReader::new(guest.try_clone().unwrap()).lines();
            let two: Vec<_> = lines.by_ref().take(2).map(Result::unwrap).collect();
            for line in two.iter().rev() {
                let (number, script) = line.split_once(' ').unwrap();
                writeln!(&guest, "{number} 0 {script}").unwrap();
            }
        });
        let other = channel.clone();
        let patience = Duration::from_secs(10);
        let one = std::thread::spawn(move || other.run("one", patience).unwrap().text);
        assert_eq!(channel.run("two", patience).unwrap().text, "two");
        assert_eq!(one.join().unwrap(), "one");
        agent.join().unwrap();
        std::fs::remove_file(&home).unwrap();
    }
}
