//! The OpenAPI document: made from the routes themselves, so it cannot speak of one that is not
//! there. It is committed as `openapi/osds.json`; a test compares, `OSDS_UPDATE=1` rewrites.

use utoipa::OpenApi as _;
use utoipa::openapi::OpenApi;

use crate::routes;

#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "osds",
        description = "OpenSDS block storage with true multi-attach. Any field of a noun filters \
                       its list; requests that start work answer 202 with the state so far.",
        license(name = "Apache-2.0"),
    ),
    tags(
        (name = "versions"), (name = "docks"), (name = "pools"), (name = "profiles"),
        (name = "hosts"), (name = "volumes"), (name = "attachments"),
    ),
)]
struct Preface;

/// The document before the routes are in it.
pub(crate) fn preface() -> OpenApi {
    Preface::openapi()
}

/// A document as text.
pub(crate) fn text(document: &OpenApi) -> String {
    let mut text =
        document.to_pretty_json().expect("a document is made of strings, numbers and lists");
    text.push('\n');
    text
}

/// The OpenAPI document of this server, as text.
#[must_use]
pub fn document() -> String {
    text(&routes::documented().1)
}
