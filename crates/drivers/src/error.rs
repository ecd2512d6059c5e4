//! What a driver could not do.
//!
//! Three parts: the kind (all that a reconciler looks at), what we were doing in words for people,
//! and the cause. Display says only what we were doing; [`DriverError::to_fault`] writes the whole
//! chain in one line, once, where the error is kept.

use std::error::Error;
use std::io;

use osds_model::{Fault, FaultKind};

/// What a driver could not do.
#[derive(Debug, thiserror::Error)]
#[error("{doing}")]
pub struct DriverError {
    /// What sort of failure: decides how soon it is tried again.
    pub kind: FaultKind,
    /// What we were doing, with names and paths.
    pub doing: String,
    /// What came in the way.
    pub source: Option<Box<dyn Error + Send + Sync>>,
}

impl DriverError {
    /// A failure with no deeper cause.
    pub fn new(kind: FaultKind, doing: impl Into<String>) -> Self {
        Self { kind, doing: doing.into(), source: None }
    }

    /// The same failure, because of `source`.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// A failed system call; its error decides the kind.
    pub fn from_io(doing: impl Into<String>, source: impl Into<io::Error>) -> Self {
        let source = source.into();
        Self::new(kind_of(&source), doing).because(source)
    }

    /// The failure and all its causes in one line, outermost first.
    #[must_use]
    pub fn chain(&self) -> String {
        let mut line = one_line(&self.doing);
        let mut cause = self.source();
        while let Some(error) = cause {
            line.push_str(": ");
            line.push_str(&one_line(&error.to_string()));
            cause = error.source();
        }
        line
    }

    /// The failure as it is kept beside the thing it happened to.
    #[must_use]
    pub fn to_fault(&self) -> Fault {
        Fault::new(self.kind, self.chain())
    }
}

impl From<&DriverError> for Fault {
    fn from(error: &DriverError) -> Self {
        error.to_fault()
    }
}

fn one_line(text: &str) -> String {
    text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ")
}

/// `io::ErrorKind` is not ours and grows: what is not listed is worth another try.
fn kind_of(error: &io::Error) -> FaultKind {
    use io::ErrorKind as E;
    match error.kind() {
        E::StorageFull | E::QuotaExceeded | E::FileTooLarge => FaultKind::NoSpace,
        E::Unsupported => FaultKind::NotSupported,
        E::NotFound => FaultKind::Gone,
        E::ResourceBusy => FaultKind::InUse,
        E::PermissionDenied
        | E::ReadOnlyFilesystem
        | E::NotADirectory
        | E::IsADirectory
        | E::InvalidInput
        | E::InvalidData
        | E::InvalidFilename => FaultKind::Broken,
        _ => match error.raw_os_error().map(rustix::io::Errno::from_raw_os_error) {
            Some(rustix::io::Errno::IO | rustix::io::Errno::LOOP) => FaultKind::Broken,
            _ => FaultKind::Temporary,
        },
    }
}

#[cfg(test)]
mod tests {
    use rustix::io::Errno;

    use super::*;

    #[test]
    fn the_chain_is_one_line_and_names_every_cause() {
        let inner = DriverError::new(FaultKind::Temporary, "opening b\n  at once");
        let outer = DriverError::new(FaultKind::Broken, "creating a").because(inner);
        assert_eq!(outer.to_string(), "creating a");
        assert_eq!(outer.chain(), "creating a: opening b; at once");
        assert_eq!(
            outer.to_fault(),
            Fault::new(FaultKind::Broken, "creating a: opening b; at once")
        );
    }

    #[test]
    fn a_system_error_decides_the_kind() {
        for (errno, kind) in [
            (Errno::NOSPC, FaultKind::NoSpace),
            (Errno::DQUOT, FaultKind::NoSpace),
            (Errno::NOENT, FaultKind::Gone),
            (Errno::ACCESS, FaultKind::Broken),
            (Errno::ROFS, FaultKind::Broken),
            (Errno::IO, FaultKind::Broken),
            (Errno::LOOP, FaultKind::Broken),
            (Errno::BUSY, FaultKind::InUse),
            (Errno::OPNOTSUPP, FaultKind::NotSupported),
            (Errno::MFILE, FaultKind::Temporary),
        ] {
            assert_eq!(DriverError::from_io("x", errno).kind, kind, "{errno:?}");
        }
    }
}
