//! `--wait`: until a thing has settled, or is gone.
//!
//! The server is asked to answer only then, in slices, so that a lost connection costs a slice and
//! not the answer; one that does not know how (the original) is asked twice a second instead. A
//! thing that settles in an error is a failure that carries its reason.

use std::io::IsTerminal;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::bail;
use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget};
use osds_rest_api::client::{Answer, ClientError, Method};
use osds_rest_api::{AttachmentView, GroupSnapshotView, SnapshotView, VolumeGroupView, VolumeView};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::cmd::path_of;
use crate::session::Session;

/// The longest that the server is asked to wait at once.
const SLICE: Duration = Duration::from_secs(20);
/// Between two questions to a server that does not wait.
const PAUSE: Duration = Duration::from_millis(500);

/// Whether to wait, and for how long.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Wait {
    /// Wait until it is done; fail if it fails.
    #[arg(long)]
    wait: bool,
    /// Give up waiting after this many seconds.
    #[arg(long, value_name = "seconds", default_value_t = 120, requires = "wait")]
    timeout: u64,
}

/// Something that takes its time.
pub(crate) trait Settles: DeserializeOwned {
    /// What it is, for words.
    const NOUN: &'static str;
    /// Its id.
    fn id(&self) -> String;
    /// Its status word.
    fn status(&self) -> &str;
    /// Why it has that status, when something went wrong.
    fn reason(&self) -> &str;
}

impl Settles for VolumeView<'static> {
    const NOUN: &'static str = "volume";
    fn id(&self) -> String {
        self.id.to_string()
    }
    fn status(&self) -> &str {
        &self.status
    }
    fn reason(&self) -> &str {
        &self.status_reason
    }
}

impl Settles for AttachmentView<'static> {
    const NOUN: &'static str = "volume attachment";
    fn id(&self) -> String {
        self.id.to_string()
    }
    fn status(&self) -> &str {
        &self.status
    }
    fn reason(&self) -> &str {
        &self.status_reason
    }
}

impl Settles for SnapshotView<'static> {
    const NOUN: &'static str = "volume snapshot";
    fn id(&self) -> String {
        self.id.to_string()
    }
    fn status(&self) -> &str {
        &self.status
    }
    fn reason(&self) -> &str {
        &self.status_reason
    }
}

impl Settles for GroupSnapshotView<'static> {
    const NOUN: &'static str = "group snapshot";
    fn id(&self) -> String {
        self.id.to_string()
    }
    fn status(&self) -> &str {
        &self.status
    }
    fn reason(&self) -> &str {
        &self.status_reason
    }
}

impl Settles for VolumeGroupView<'static> {
    const NOUN: &'static str = "volume group";
    fn id(&self) -> String {
        self.id.to_string()
    }
    fn status(&self) -> &str {
        &self.status
    }
    fn reason(&self) -> &str {
        // Its volumes know.
        "look at its volumes"
    }
}

/// `creating`, `extending`, `attaching`, `deleting` ...: every word for what is not over yet ends
/// so, and so do two words for errors.
fn is_settled(status: &str) -> bool {
    status.starts_with("error") || !status.ends_with("ing")
}

/// A wait that has begun.
pub(crate) struct Waiting<'a> {
    session: &'a Session,
    until: Option<Instant>,
    seconds: u64,
    spinner: ProgressBar,
}

impl Wait {
    /// Begins it, as far as it was asked for.
    pub(crate) fn begin(self, session: &Session) -> Waiting<'_> {
        let target = if self.wait && std::io::stderr().is_terminal() {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        let spinner = ProgressBar::with_draw_target(None, target);
        spinner.enable_steady_tick(Duration::from_millis(100));
        // A clock has an end; more than a century is for ever.
        let patience = Duration::from_secs(self.timeout.min(u64::from(u32::MAX)));
        let until = self.wait.then(|| Instant::now() + patience);
        Waiting { session, until, seconds: self.timeout, spinner }
    }

    /// Asks for a thing to be made at `place`, and shows it; once it has settled when that was asked
    /// for, and then it fails if the thing is in an error.
    pub(crate) fn make<T: Settles>(
        self,
        session: &Session,
        place: &str,
        body: &impl Serialize,
        show: impl FnOnce(&T) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let waiting = self.begin(session);
        let first: T = waiting.send(Method::POST, place, Some(body))?.read()?;
        let id = first.id();
        let made = waiting.until_settled(&id, &path_of(place, &id), first)?;
        show(&made)?;
        if waiting.is_asked_for() { check(&id, &made) } else { Ok(()) }
    }

    /// Asks for the thing to be gone; returns once it is when that was asked for.
    pub(crate) fn delete<T: Settles>(
        self,
        session: &Session,
        place: &str,
        id: &str,
    ) -> anyhow::Result<()> {
        let waiting = self.begin(session);
        let path = path_of(place, id);
        waiting.send(Method::DELETE, &path, None::<&()>)?;
        waiting.until_gone::<T>(id, &path)
    }
}

impl Waiting<'_> {
    /// How long the server shall wait with its next answer.
    fn slice(&self) -> Duration {
        self.until.map_or(Duration::ZERO, |until| {
            until.saturating_duration_since(Instant::now()).min(SLICE)
        })
    }

    /// Sends a request that starts something.
    pub(crate) fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<Answer, ClientError> {
        let request = self.session.client.request(method, path).wait(self.slice());
        match body {
            Some(body) => request.body(body).send(),
            None => request.send(),
        }
    }

    /// Asks for the thing at `path` once more: at once where the server waits, else after a pause.
    fn ask(&self, path: &str, server_waits: &mut bool) -> Result<Answer, ClientError> {
        if !*server_waits {
            thread::sleep(PAUSE.min(self.slice()));
        }
        let asked = Instant::now();
        let answer = self.send(Method::GET, path, None::<&()>)?;
        // A server that says it waited and did not must not be asked in a circle.
        *server_waits = answer.waited() && asked.elapsed() >= Duration::from_millis(50);
        Ok(answer)
    }

    fn check_time(&self, what: &str, status: &str) -> anyhow::Result<()> {
        if self.slice().is_zero() {
            bail!("{what} is still {status} after {} s", self.seconds);
        }
        self.spinner.set_message(format!("{what} is {status}"));
        Ok(())
    }

    /// The thing once it has settled; at once when nobody asked to wait. A thing in an error is an
    /// answer here: see [`check`].
    pub(crate) fn until_settled<T: Settles>(
        &self,
        id: &str,
        path: &str,
        first: T,
    ) -> anyhow::Result<T> {
        let mut thing = first;
        let mut server_waits = true;
        if self.until.is_none() {
            return Ok(thing);
        }
        while !is_settled(thing.status()) {
            self.check_time(&format!("{} {id}", T::NOUN), thing.status())?;
            thing = self.ask(path, &mut server_waits)?.read()?;
        }
        self.spinner.finish_and_clear();
        Ok(thing)
    }

    /// Returns once the thing is gone; at once when nobody asked to wait.
    pub(crate) fn until_gone<T: Settles>(&self, id: &str, path: &str) -> anyhow::Result<()> {
        let mut server_waits = true;
        while self.until.is_some() {
            let thing: T = match self.ask(path, &mut server_waits) {
                Ok(answer) => answer.read()?,
                Err(error) if error.is_not_found() => break,
                Err(error) => return Err(error.into()),
            };
            check(id, &thing)?;
            self.check_time(&format!("{} {id}", T::NOUN), thing.status())?;
        }
        self.spinner.finish_and_clear();
        Ok(())
    }

    /// Whether anybody asked to wait.
    pub(crate) const fn is_asked_for(&self) -> bool {
        self.until.is_some()
    }
}

/// Fails when the thing is in an error.
pub(crate) fn check<T: Settles>(id: &str, thing: &T) -> anyhow::Result<()> {
    if thing.status().starts_with("error") {
        let reason = match thing.reason() {
            "" => String::new(),
            reason => format!(": {reason}"),
        };
        bail!("{} {id} is in status {}{reason}", T::NOUN, thing.status());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_for_what_is_not_over() {
        for word in ["creating", "extending", "attaching", "deleting", "updating"] {
            assert!(!is_settled(word));
        }
        for word in ["available", "inUse", "error", "errorDeleting", "errorExtending", ""] {
            assert!(is_settled(word));
        }
    }
}
