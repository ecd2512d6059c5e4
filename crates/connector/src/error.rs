//! Why something on this machine was not done: what it was, of which kind, and the cause.
//!
//! The kind is for programs, the text is for the person who reads it in a pod's events, and names
//! what can be done where that is known.

use std::error::Error;
use std::io;

/// What a failure means for who asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Trying again may help.
    Temporary,
    /// There is no such thing here.
    Missing,
    /// Somebody uses it.
    InUse,
    /// What is there is not what it should be; nothing was touched.
    Wrong,
    /// This machine cannot do it.
    NotSupported,
}

/// Something on this machine was not done.
#[derive(Debug, thiserror::Error)]
#[error("{doing}")]
pub struct ConnectError {
    /// What it means.
    pub kind: Kind,
    doing: String,
    #[source]
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl ConnectError {
    /// A failure in doing this.
    pub fn new(kind: Kind, doing: impl Into<String>) -> Self {
        Self { kind, doing: doing.into(), source: None }
    }

    /// The same with its cause.
    #[must_use]
    pub fn because(self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { source: Some(source.into()), ..self }
    }

    /// What the system said.
    pub fn io(doing: impl Into<String>, error: impl Into<io::Error>) -> Self {
        let error = error.into();
        let kind = match error.kind() {
            io::ErrorKind::NotFound => Kind::Missing,
            io::ErrorKind::ResourceBusy => Kind::InUse,
            // Not ours, and grows: what is not listed is worth another try.
            _ => Kind::Temporary,
        };
        Self::new(kind, doing).because(error)
    }

    /// The failure and all its causes in one line.
    #[must_use]
    pub fn chain(&self) -> String {
        let mut line = self.doing.clone();
        let mut cause = self.source();
        while let Some(error) = cause {
            line.push_str(": ");
            line.push_str(error.to_string().trim());
            cause = error.source();
        }
        line.replace('\n', "; ")
    }
}
