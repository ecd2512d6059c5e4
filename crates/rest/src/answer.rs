//! Answers that went well: bytes, a content type and one of two statuses.

use axum::body::Body;
use axum::http::header;
use axum::response::Response;
use osds_rest_api::json;
use serde::Serialize;

use crate::errors::{ACCEPTED, JSON, OK};

/// Done, and this is how it looks.
pub(crate) fn ok(value: &impl Serialize) -> Response {
    ok_bytes(json::write(value))
}

/// Done, and these bytes of JSON are how it looks.
pub(crate) fn ok_bytes(json: impl Into<Body>) -> Response {
    let mut response = Response::new(json.into());
    *response.status_mut() = OK;
    response.headers_mut().insert(header::CONTENT_TYPE, JSON);
    response
}

/// Done, and there is nothing to show.
pub(crate) fn gone() -> Response {
    ok_bytes(Body::empty())
}

/// Wished for, and this is how it looks by now.
pub(crate) fn accepted(value: &impl Serialize) -> Response {
    as_accepted(ok(value))
}

/// Wished away; there is nothing to show. The content type is set all the same, as in the
/// original.
pub(crate) fn accepted_empty() -> Response {
    as_accepted(gone())
}

fn as_accepted(mut response: Response) -> Response {
    *response.status_mut() = ACCEPTED;
    response
}
