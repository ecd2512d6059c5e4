//! Which answer has which HTTP status: the only place that knows.
//!
//! The original knows 400, 404 and 500. Two of its habits are kept: what its validator refuses is
//! `text/plain` (with the same JSON in it), and whatever a rule refuses is 400, not 409. Changed:
//! a missing thing is 404 in updates too (500 there); a record store that cannot be reached is 503
//! with `Retry-After`, for that is what a client can act on; a path without a route is 404 with an
//! error body (an HTML page there).

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use osds_controller::Error;
use osds_model::AccessMode;
use osds_rest_api::{BadBody, BadParameter, ErrorBody, HolderView, Id, json};
use tracing::error;

use crate::auth::Unproven;

/// It is done.
pub(crate) const OK: StatusCode = StatusCode::OK;
/// It is wished for, and will be done.
pub(crate) const ACCEPTED: StatusCode = StatusCode::ACCEPTED;

const UNPROVEN: StatusCode = StatusCode::UNAUTHORIZED;
const FORBIDDEN: StatusCode = StatusCode::FORBIDDEN;
const NOT_FOUND: StatusCode = StatusCode::NOT_FOUND;
const BAD_REQUEST: StatusCode = StatusCode::BAD_REQUEST;
const BROKEN: StatusCode = StatusCode::INTERNAL_SERVER_ERROR;
const ANOTHER_REQUEST: StatusCode = StatusCode::UNPROCESSABLE_ENTITY;
const NOT_THERE: StatusCode = StatusCode::NOT_IMPLEMENTED;
const LATER: StatusCode = StatusCode::SERVICE_UNAVAILABLE;

/// Success and errors of a handler.
pub(crate) const JSON: HeaderValue = HeaderValue::from_static("application/json; charset=utf-8");
/// What the original's validator says.
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

/// Why there is no better answer.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The use-case says no.
    Controller(Error),
    /// The body is not as it has to be.
    Body(BadBody),
    /// The body is larger than this many bytes.
    TooLarge(usize),
    /// The body did not come, or not in time.
    Unread,
    /// The request's key is no key.
    BadKey,
    /// A query parameter is not as it has to be.
    Parameter(BadParameter),
    /// There is no such version of the API.
    NoSuchVersion(String),
    /// There is no such route, or not with this method.
    NoRoute,
    /// A thing of a kind of which there are none yet; in the original's words.
    NoneYet(String),
    /// The original can do this, we cannot.
    NotThere {
        /// What there is none of.
        called: &'static str,
        /// What is missing for it, or where to go instead.
        missing: &'static str,
    },
    /// Nobody knows who asks.
    Unproven(Unproven),
    /// The policy says no.
    NotPermitted,
    /// It took too long.
    TooSlow,
    /// A bug of ours.
    Panicked,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Controller(error)
    }
}

impl From<Unproven> for Failure {
    fn from(unproven: Unproven) -> Self {
        Self::Unproven(unproven)
    }
}

impl From<BadBody> for Failure {
    fn from(bad: BadBody) -> Self {
        Self::Body(bad)
    }
}

impl From<BadParameter> for Failure {
    fn from(bad: BadParameter) -> Self {
        Self::Parameter(bad)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        match self {
            Self::Controller(error) => of_controller(&error),
            Self::Body(bad) => plain(&bad.to_string()),
            Self::TooLarge(most) => plain(&format!("request body is larger than {most} bytes")),
            Self::Unread => plain("request body did not arrive in time"),
            Self::BadKey => plain(
                "Idempotency-Key has to be 1 to 255 visible ASCII characters, in quotes or not",
            ),
            Self::Parameter(bad) => plain(&bad.to_string()),
            Self::NoSuchVersion(version) => {
                said(NOT_FOUND, JSON, &format!("can't find the version: {version}"))
            }
            Self::NoRoute => said(NOT_FOUND, JSON, "there is no such route, or not by this method"),
            Self::NoneYet(words) => said(NOT_FOUND, JSON, &words),
            Self::NotThere { called, missing } => {
                said(NOT_THERE, JSON, &format!("{called} are not supported: {missing}"))
            }
            Self::Unproven(Unproven::Missing) => unproven("token not found in header"),
            Self::Unproven(Unproven::Bad(why)) => unproven(why),
            Self::Unproven(Unproven::NoAnswer) => {
                later("the identity service cannot be asked at the moment; try again")
            }
            Self::NotPermitted => said(FORBIDDEN, TEXT, "operation is not permitted"),
            Self::TooSlow => later("the request took too long; look whether it was done"),
            Self::Panicked => said(BROKEN, JSON, "internal error; the server's log says more"),
        }
    }
}

/// One arm for each way in which a use-case can fail.
fn of_controller(error: &Error) -> Response {
    match error {
        Error::NotFound(words) => said(NOT_FOUND, JSON, words),
        Error::Invalid(words) => said(BAD_REQUEST, JSON, words),
        Error::Unfit { .. } | Error::Refused { .. } => refused(error),
        // What a dock says may name its devices.
        Error::Dock(dock) => {
            error!(error = %dock, "a dock gave no answer");
            later("the dock does not answer at the moment; try again")
        }
        // As the draft of the header says. No client of the original sends one, so that the
        // original's habit of 400 for everything binds nobody.
        Error::KeyReused => said(ANOTHER_REQUEST, JSON, &error.to_string()),
        // Messages of the store name files: they are for the log, not for users.
        Error::Store(store) if store.retryable() => {
            error!(error = chain(store), "the records could not be used");
            later("the records cannot be written at the moment; try again")
        }
        Error::Store(store) => {
            error!(error = chain(store), "the records are damaged");
            said(BROKEN, JSON, "the records are damaged; the server's log says more")
        }
        Error::Secrets(_) => {
            error!(error = chain(error), "no attachment can be made");
            later(&error.to_string())
        }
    }
}

fn plain(words: &str) -> Response {
    said(BAD_REQUEST, TEXT, words)
}

/// RFC 9110, section 11.6.1, wants to hear how to prove oneself; this is what Keystone's own
/// middleware says.
fn unproven(words: &str) -> Response {
    let mut response = said(UNPROVEN, TEXT, words);
    response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Keystone"));
    response
}

fn later(words: &str) -> Response {
    let mut response = said(LATER, JSON, words);
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    response
}

/// With a word for programs, and who is in the way.
fn refused(error: &Error) -> Response {
    let holders = error.holders().iter().map(|holder| HolderView {
        host_id: Id::of(holder.host),
        host_name: holder.name.as_str().into(),
        attach_mode: holder.mode.as_str().into(),
        access_mode: holder.access.map_or("", AccessMode::as_str).into(),
    });
    let body = ErrorBody {
        code: BAD_REQUEST.as_u16(),
        message: error.to_string().into(),
        reason: error.reason(),
        holders: holders.collect(),
    };
    answered(BAD_REQUEST, JSON, &body)
}

fn said(status: StatusCode, content_type: HeaderValue, words: &str) -> Response {
    let body = ErrorBody { code: status.as_u16(), message: words.into(), ..ErrorBody::default() };
    answered(status, content_type, &body)
}

fn answered(status: StatusCode, content_type: HeaderValue, body: &ErrorBody<'_>) -> Response {
    let mut response = Response::new(Body::from(json::write(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    response
}

/// An error with all its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        words = format!("{words}: {error}");
        cause = error.source();
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_that_may_recover_is_503_and_names_no_file() {
        let response = later("x");
        assert_eq!(response.status().as_u16(), 503);
        assert_eq!(response.headers()[header::RETRY_AFTER], "1");
        assert_eq!(Failure::Panicked.into_response().status().as_u16(), 500);
        assert_eq!(
            Failure::NotThere { called: "x", missing: "y" }.into_response().status().as_u16(),
            501
        );
    }
}
