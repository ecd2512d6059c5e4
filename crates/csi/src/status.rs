//! Which failure becomes which gRPC code: the one place that names them.
//!
//! A refusal of the control plane carries a word (`reason`) beside its text, and the code follows
//! from the word; texts are for people. CSI forbids details beside code and message.

use osds_rest_api::client::ClientError;
use osds_rest_api::{HolderView, Reason};

pub use tonic::{Code, Status};

/// Required and not there.
#[must_use]
pub fn missing(field: &str) -> Status {
    Status::invalid_argument(format!("{field} is required"))
}

/// A value that cannot be used.
#[must_use]
pub fn invalid(why: impl Into<String>) -> Status {
    Status::invalid_argument(why)
}

/// What it means that the control plane did not do it.
#[must_use]
pub fn of(error: &ClientError) -> Status {
    let message = chain(error);
    match error {
        ClientError::Refused { reason: Some(reason), holders, .. } => {
            Status::new(of_reason(*reason), message + &told(holders))
        }
        ClientError::Refused { status, .. } => Status::new(of_http(*status), message),
        ClientError::Unreachable { .. } => Status::unavailable(message),
        ClientError::Keystone(_) => Status::unauthenticated(message),
        ClientError::BadEndpoint { .. } | ClientError::Unreadable { .. } => {
            Status::internal(message)
        }
    }
}

/// Who has the volume, for the end of a message.
fn told(holders: &[HolderView<'_>]) -> String {
    if holders.is_empty() {
        return String::new();
    }
    let one = |holder: &HolderView<'_>| {
        let access = if holder.access_mode.is_empty() {
            String::new()
        } else {
            format!(", {}", holder.access_mode)
        };
        let id = holder.host_id.with(str::to_owned);
        format!("node {id} ({}, {}{access})", holder.host_name, holder.attach_mode)
    };
    let all: Vec<_> = holders.iter().map(one).collect();
    format!("; it is published on {}", all.join(" and on "))
}

/// What a rule's no means (csi.md, 2.5).
const fn of_reason(reason: Reason) -> Code {
    match reason {
        // Nothing that happens to others will ever change it.
        Reason::NotMultiAttach
        | Reason::LocalFileSystem
        | Reason::NotLarger
        | Reason::InGroupSnapshot => Code::InvalidArgument,
        Reason::NoSuchVolume | Reason::NoSuchHost => Code::NotFound,
        Reason::OtherTerms => Code::AlreadyExists,
        Reason::StillDetaching | Reason::SnapshotNotReady => Code::Aborted,
        Reason::NoPool | Reason::TooManySnapshots | Reason::NoRoom => Code::ResourceExhausted,
        // Not RESOURCE_EXHAUSTED: that is a node's limit, and this is a volume's.
        Reason::TooManyAttachments
        | Reason::HeldByAnotherHost
        | Reason::Fenced
        | Reason::Promised
        | Reason::CannotPromise
        | Reason::SameInitiator
        | Reason::ReadOnlyNotEnforced
        | Reason::NotAttachable
        | Reason::FileSystemBesideWriter
        | Reason::InUse
        | Reason::HasSnapshots
        | Reason::NoSnapshot
        | Reason::NotTogether
        | Reason::NotCopied
        | Reason::NotExtendable
        | Reason::NotDetaching
        | Reason::CannotReach => Code::FailedPrecondition,
    }
}

/// What an answer without a word means.
const fn of_http(status: u16) -> Code {
    match status {
        400 => Code::InvalidArgument,
        401 => Code::Unauthenticated,
        403 => Code::PermissionDenied,
        404 => Code::NotFound,
        409 => Code::FailedPrecondition,
        412 | 429 => Code::Aborted,
        501 => Code::Unimplemented,
        502..=504 => Code::Unavailable,
        _ => Code::Internal,
    }
}

/// The code as it is written in capitals everywhere.
#[must_use]
pub const fn word(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

/// The error with its causes, on one line.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn group_snapshots_have_the_codes_of_the_specification() {
        for (reason, code) in [
            (Reason::NotTogether, Code::FailedPrecondition),
            (Reason::InGroupSnapshot, Code::InvalidArgument),
            (Reason::NoRoom, Code::ResourceExhausted),
        ] {
            let words = "volumes a and b are on different backends";
            let refused = ClientError::Refused {
                status: 400,
                message: words.into(),
                reason: Some(reason),
                holders: Vec::new(),
            };
            assert_eq!((of(&refused).code(), of(&refused).message()), (code, words));
        }
    }

    #[test]
    fn a_refusal_keeps_its_words() {
        let refused = |status| ClientError::Refused {
            status,
            message: "no such volume".into(),
            reason: None,
            holders: Vec::new(),
        };
        assert_eq!(of(&refused(404)).code(), Code::NotFound);
        assert_eq!(of(&refused(404)).message(), "no such volume");
        assert_eq!(of(&refused(503)).code(), Code::Unavailable);
        assert_eq!(of(&refused(500)).code(), Code::Internal);
    }
}
