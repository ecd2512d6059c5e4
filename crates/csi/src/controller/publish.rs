//! Publish and unpublish: an attach and a detach of the control plane, waited for.
//!
//! A publish is one request, and whatever it meets is decided in the control plane's transaction:
//! no list is read before. An unpublish answers when the target has put the node out and drained
//! its writes, and works with the node dead: it is the fence.
//!
//! Must stay true: the two handles of a volume do not take each other's attachments. An attachment
//! keeps the handle that it was made under.

use std::collections::BTreeMap;
use std::time::Duration;

use osds_model::publication::Publication;
use osds_model::{AttachMode, HostId};
use osds_rest_api::client::{Client, ClientError, Method};
use osds_rest_api::request::NewAttachment;
use osds_rest_api::{AttachmentView, Id, url};

use crate::api::Api;
use crate::context::PublishContext;
use crate::handle::Handle;
use crate::status::{self, Status};

/// How long a call waits for a target. Sidecars wait for 15 to 60 seconds, and ask again.
pub const WAIT: Duration = Duration::from_secs(12);

/// Key of an attachment's metadata: under which handle it was made.
const HANDLE: &str = "csi.handle";
/// Key of an attachment's metadata: who asked for it.
const REQUESTER: &str = "requester";

/// Brings a volume to a node.
///
/// # Errors
/// As CSI says.
pub async fn publish(
    api: &Api,
    handle: Handle,
    node: &str,
    asked: Publication,
    readonly: bool,
) -> Result<PublishContext, Status> {
    let reads = readonly || handle.reads;
    let metadata: BTreeMap<String, String> =
        [(HANDLE, handle.to_string()), (REQUESTER, "csi".into())]
            .map(|(key, value)| (key.to_owned(), value))
            .into();
    let body = NewAttachment {
        volume_id: handle.volume.to_string(),
        host_id: node.to_owned(),
        attach_mode: Some(if reads { AttachMode::ReadOnly } else { AttachMode::ReadWrite }),
        access_mode: Some(asked.mode),
        access_type: Some(asked.access),
        metadata,
        ..NewAttachment::default()
    };
    let view: AttachmentView<'static> = api
        .call(move |client| {
            client.request(Method::POST, "block/attachments").body(&body).wait(WAIT).send()?.read()
        })
        .await?;
    if handle_of(&view).is_some_and(|held| held != handle.to_string()) {
        return Err(Status::already_exists(format!(
            "node {node} has the volume under its other handle already; unpublish that first"
        )));
    }
    match view.status.as_ref() {
        "available" => context(&view),
        "error" => Err(Status::internal(format!(
            "the target could not let node {node} in, and goes on trying: {}",
            view.status_reason
        ))),
        other => Err(Status::aborted(format!(
            "the attachment of node {node} is {other}; ask again in a moment"
        ))),
    }
}

fn context(view: &AttachmentView<'_>) -> Result<PublishContext, Status> {
    let broken = || Status::internal("the control plane's answer is not an attachment");
    Ok(PublishContext {
        attachment: text(&view.id),
        mode: view.attach_mode.parse().map_err(|_| broken())?,
        info: serde_json::to_value(&view.connection_info).map_err(|_| broken())?,
    })
}

/// Takes a volume from a node, or from all when `node` is empty. What is not there is taken.
///
/// # Errors
/// When a target has not put a node out in time, or cannot.
pub async fn unpublish(api: &Api, handle: Handle, node: &str) -> Result<(), Status> {
    if !node.is_empty() && node.parse::<HostId>().is_err() {
        return Ok(());
    }
    let (volume, host) = (handle.volume.to_string(), node.to_owned());
    let left = api
        .call(move |client| {
            let mine = [("VolumeId", volume.as_str()), ("HostId", host.as_str())];
            let held: Vec<AttachmentView<'static>> = client.list("block/attachments", &mine)?;
            let held: Vec<_> = held.into_iter().filter(|view| is_of(handle, view)).collect();
            // All are asked to go before one is waited for.
            for view in &held {
                detach(client, view, None)?;
            }
            let mut left = Vec::new();
            for view in &held {
                if detach(client, view, Some(WAIT))? {
                    left.push(view.host_id.with(str::to_owned));
                }
            }
            Ok(left)
        })
        .await?;
    if left.is_empty() {
        return Ok(());
    }
    Err(Status::aborted(format!(
        "the target has not put out {} yet; ask again in a moment",
        left.join(", ")
    )))
}

/// Whether it is still there afterwards.
fn detach(
    client: &Client,
    view: &AttachmentView<'_>,
    wait: Option<Duration>,
) -> Result<bool, ClientError> {
    let path = format!("block/attachments/{}", view.id.with(url::encode));
    let request = client.request(Method::DELETE, &path);
    let request = match wait {
        Some(wait) => request.wait(wait),
        None => request,
    };
    match request.send() {
        Ok(answer) => Ok(!answer.is_empty()),
        Err(error) if error.is_not_found() => Ok(false),
        Err(error) => Err(error),
    }
}

/// The handle that an attachment was made under.
fn handle_of<'a>(view: &'a AttachmentView<'_>) -> Option<&'a str> {
    view.metadata.get(HANDLE).map(String::as_str)
}

/// Whether an attachment belongs to a handle. One that somebody made without CSI belongs to the
/// plain one.
#[must_use]
pub fn is_of(handle: Handle, view: &AttachmentView<'_>) -> bool {
    match handle_of(view) {
        Some(held) => held == handle.to_string(),
        None => !handle.reads,
    }
}

/// Whether the target serves the host, or may.
#[must_use]
pub fn is_published(view: &AttachmentView<'_>) -> bool {
    // Not yet, or failed to be; everything else was let in and is not out for certain.
    !matches!(view.status.as_ref(), "creating" | "error")
}

/// The id as text.
#[must_use]
pub fn text(id: &Id) -> String {
    id.with(str::to_owned)
}

/// Refuses a field that is empty.
///
/// # Errors
/// INVALID_ARGUMENT.
pub fn required<'a>(value: &'a str, field: &str) -> Result<&'a str, Status> {
    if value.is_empty() { Err(status::missing(field)) } else { Ok(value) }
}
