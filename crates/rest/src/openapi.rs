//! The OpenAPI document, made from the routes themselves, so it cannot speak of one that is not
//! there. What the code says elsewhere (which members a body must have) is added afterwards.
//!
//! It is committed as `openapi/osds.json`; a test compares, `OSDS_UPDATE=1` rewrites.

use osds_rest_api::{Checked, request};
use utoipa::OpenApi as _;
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::{OpenApi, RefOr, Schema};

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
        (name = "groups"), (name = "snapshots"), (name = "groupSnapshots"),
    ),
)]
struct Preface;

/// The document before the routes are in it.
pub(crate) fn preface() -> OpenApi {
    Preface::openapi()
}

/// Says what the code says elsewhere: which members a body must have, and a name for each
/// operation that no other has (a handler's own is only unique in its file).
pub(crate) fn finish(document: &mut OpenApi) {
    for operation in document.paths.paths.values_mut().flat_map(operations) {
        let tag = operation.tags.iter().flatten().next().cloned().unwrap_or_default();
        let handler = operation.operation_id.take().unwrap_or_default();
        operation.operation_id = Some(format!("{tag}.{handler}"));
        // The first paragraph of a comment is broken into lines for our eyes only.
        operation.summary = operation.summary.take().map(|text| text.replace('\n', " "));
        // What is refused before a handler sees it is text to its content type, as in the original.
        for (status, response) in &mut operation.responses.responses {
            if let (true, RefOr::T(response)) = (status == "400" || status == "403", response)
                && let Some(content) = response.content.get("application/json").cloned()
            {
                response.content.insert("text/plain".to_owned(), content);
            }
        }
    }
    let Some(components) = &mut document.components else { return };
    for (name, must) in [
        ("NewVolume", request::NewVolume::SHAPE.required),
        ("Resize", request::Resize::SHAPE.required),
        ("NewAttachment", request::NewAttachment::SHAPE.required),
        ("NewProfile", request::NewProfile::SHAPE.required),
        ("NewHost", request::NewHost::SHAPE.required),
        ("NewSnapshot", request::NewSnapshot::SHAPE.required),
        ("NewGroupSnapshot", request::NewGroupSnapshot::SHAPE.required),
        ("NewVolumeGroup", request::NewVolumeGroup::SHAPE.required),
    ] {
        if let Some(RefOr::T(Schema::Object(body))) = components.schemas.get_mut(name) {
            body.required = must.iter().map(|&member| member.to_owned()).collect();
        }
    }
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    [&mut item.get, &mut item.put, &mut item.post, &mut item.delete].into_iter().flatten()
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
