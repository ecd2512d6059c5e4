//! Attachments: which host has which volume.
//!
//! Attaching again what a host has already gives the attachment it has. An attachment can be
//! deleted in any state, which the original refuses while it is `creating`; one that is gone is
//! 404, however often it is deleted again. Whether a host is in or out is never taken from a body.
//!
//! Must stay true: passwords are in two answers only, to the attach and to a look at that one
//! attachment. The original's clients read them there.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::Uri;
use axum::response::Response;
use osds_controller::{
    Attached, AttachmentUpdate, AttachmentsWhere, Caller, Controller, Error, HostRef,
    NewAttachment, NewHost, attachment_status,
};
use osds_model::host::Protocol;
use osds_model::{AccessType, Attachment, AttachmentId, HostId, Initiator, Publication, Volume};
use osds_rest_api::request::HostInfo;
use osds_rest_api::{AttachmentStatsView, AttachmentView, ErrorBody, json, request, url};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::waited::Waited;
use super::{given, ids, list_query, texts, words};
use crate::auth::Scope;
use crate::body::{New, Sent};
use crate::errors::Failure;
use crate::prefer::Prefer;
use crate::{App, answer};

pub(super) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(show, update, delete))
        .routes(routes!(stats))
}

/// Asks for a host to have a volume.
#[utoipa::path(
    post, path = "/v1beta/{tenantId}/block/attachments", tag = "attachments",
    params(
        ("tenantId" = String, Path),
        ("Idempotency-Key" = Option<String>, Header, description = "the same key and body again \
         gives what the first request made"),
        ("Prefer" = Option<String>, Header, description = "`wait=<seconds>`: answer when the \
         target has let the host in"),
    ),
    request_body = request::NewAttachment,
    responses(
        (status = 202, body = AttachmentView<'static>),
        (status = 400, body = ErrorBody<'static>),
        (status = 422, description = "The key was used for another request",
         body = ErrorBody<'static>),
    ),
)]
async fn create(
    State(app): State<Arc<App>>,
    scope: Scope,
    prefer: Prefer,
    New { sent: new, once }: New<request::NewAttachment>,
) -> Result<Response, Failure> {
    let host = match new.host_info {
        Some(info) if new.host_id.is_empty() => HostRef::Described(described(info)),
        Some(_) | None => HostRef::Id(new.host_id),
    };
    let new = NewAttachment {
        volume: new.volume_id,
        host,
        mode: new.attach_mode.unwrap_or_default(),
        sharing: new.sharing.unwrap_or_default(),
        publication: new
            .access_mode
            .map(|mode| Publication { mode, access: new.access_type.unwrap_or(AccessType::Block) }),
        mountpoint: new.mountpoint,
        metadata: new.metadata,
    };
    let caller = Caller { once, ..scope.caller.clone() };
    let attached = app.controller.attach(&caller, new).await?;
    Ok(prefer.accepted(&app, &scope, attached).await)
}

/// The attachments; their passwords are not in a list.
#[utoipa::path(
    get, path = "/v1beta/{tenantId}/block/attachments", tag = "attachments",
    params(
        ("tenantId" = String, Path),
        ("volumeId" = Option<String>, Query),
        ("hostId" = Option<String>, Query),
        ("limit" = Option<i64>, Query, description = "at least 1; absent: all"),
        ("offset" = Option<i64>, Query, description = "at least 0"),
        ("sortKey" = Option<String>, Query),
        ("sortDir" = Option<String>, Query, description = "`asc` or `desc`"),
    ),
    responses(
        (status = 200, description = "Any field is a filter", body = [AttachmentView<'static>]),
        (status = 400, body = ErrorBody<'static>),
    ),
)]
async fn list(State(app): State<Arc<App>>, scope: Scope, uri: Uri) -> Result<Response, Failure> {
    let query = list_query::<AttachmentView<'_>>(&uri)?;
    let has = AttachmentsWhere {
        ids: ids(&query, "Id"),
        volumes: ids(&query, "VolumeId"),
        hosts: ids(&query, "HostId"),
        tenants: texts(&query, "TenantId"),
        statuses: words(&query, "Status"),
    };
    let page =
        app.controller.attachments(&scope.caller, &has, |attachments| {
            json::write(&query.page(attachments, |(volume, host, attachment)| {
                view(volume, host, attachment, &scope)
            }))
        });
    Ok(answer::ok_bytes(page))
}

/// One attachment, with the passwords that its host logs in with.
#[utoipa::path(
    get, path = "/v1beta/{tenantId}/block/attachments/{id}", tag = "attachments",
    params(
        ("tenantId" = String, Path),
        ("id" = String, Path),
        ("Prefer" = Option<String>, Header, description = "`wait=<seconds>`: answer when nothing \
         is under way for it"),
    ),
    responses(
        (status = 200, body = AttachmentView<'static>),
        (status = 404, body = ErrorBody<'static>),
    ),
)]
async fn show(
    State(app): State<Arc<App>>,
    scope: Scope,
    prefer: Prefer,
) -> Result<Response, Failure> {
    prefer.shown::<Attached>(&app, &scope).await
}

/// What the host did with the volume since it was let in, as the target counts it; all noughts
/// while it is not let in. Counting starts again when the target does. Not in the original.
#[utoipa::path(
    get, path = "/v1beta/{tenantId}/block/attachments/{id}/stats", tag = "attachments",
    params(("tenantId" = String, Path), ("id" = String, Path)),
    responses(
        (status = 200, body = AttachmentStatsView<'static>),
        (status = 404, body = ErrorBody<'static>),
        (status = 503, body = ErrorBody<'static>, description = "The dock does not answer"),
    ),
)]
async fn stats(State(app): State<Arc<App>>, scope: Scope) -> Result<Response, Failure> {
    let (attached, usage) = app.controller.attachment_usage(&scope.caller, scope.id()).await?;
    let (volume, host) = (attached.volume.id, attached.host);
    Ok(answer::ok(&AttachmentStatsView::of(volume, host, attached.attachment(), &usage)))
}

/// Says where the host put the volume. What the target does is not a user's to write.
#[utoipa::path(
    put, path = "/v1beta/{tenantId}/block/attachments/{id}", tag = "attachments",
    params(("tenantId" = String, Path), ("id" = String, Path)),
    request_body = request::AttachmentUpdate,
    responses(
        (status = 200, body = AttachmentView<'static>),
        (status = 400, body = ErrorBody<'static>),
        (status = 404, body = ErrorBody<'static>),
    ),
)]
async fn update(
    State(app): State<Arc<App>>,
    scope: Scope,
    Sent(update): Sent<request::AttachmentUpdate>,
) -> Result<Response, Failure> {
    let update = AttachmentUpdate { mountpoint: given(update.mountpoint) };
    let attached = app.controller.update_attachment(&scope.caller, scope.id(), update).await?;
    Ok(answer::ok(&attached.view(&scope)))
}

/// Asks for a host to lose a volume. It is confirmed (the attachment is gone) only when the
/// target has put the host out.
#[utoipa::path(
    delete, path = "/v1beta/{tenantId}/block/attachments/{id}", tag = "attachments",
    params(
        ("tenantId" = String, Path),
        ("id" = String, Path),
        ("force" = Option<bool>, Query, description = "give up on a detach that does not finish: \
         your word that the host cannot write any more"),
        ("Prefer" = Option<String>, Header, description = "`wait=<seconds>`: answer when it is \
         gone; an attachment in the answer is one that is not gone by then"),
    ),
    responses(
        (status = 202, description = "Empty, unless it was waited for in vain"),
        (status = 400, body = ErrorBody<'static>),
        (status = 404, body = ErrorBody<'static>),
    ),
)]
async fn delete(
    State(app): State<Arc<App>>,
    scope: Scope,
    prefer: Prefer,
    uri: Uri,
) -> Result<Response, Failure> {
    let force = url::query_pairs(uri.query().unwrap_or_default())
        .any(|(key, value)| key.eq_ignore_ascii_case("force") && value == "true");
    let id = app.controller.detach(&scope.caller, scope.id(), force).await?;
    Ok(prefer.gone::<Attached>(&app, &scope, id).await)
}

/// An administrator sees the cause of a fault, its tenant what sort of fault it is.
fn view<'a>(
    volume: &Volume,
    host: HostId,
    attachment: &'a Attachment,
    scope: &Scope,
) -> AttachmentView<'a> {
    let view = AttachmentView::of(volume.id, host, attachment, attachment_status(attachment));
    if scope.caller.admin { view } else { view.for_tenant(attachment) }
}

impl Waited for Attached {
    type Id = AttachmentId;
    type View<'a> = AttachmentView<'a>;

    fn id(&self) -> AttachmentId {
        self.attachment().id
    }

    fn look(controller: &Controller, scope: &Scope, id: &str) -> Result<Self, Error> {
        controller.attachment(&scope.caller, id)
    }

    async fn settle(controller: &Controller, id: AttachmentId, limit: Duration) {
        controller.wait_for_attachment(id, limit).await;
    }

    fn view<'a>(&'a self, scope: &Scope) -> AttachmentView<'a> {
        view(&self.volume, self.host, self.attachment(), scope)
    }

    /// With its passwords: for the one who attached.
    fn view_alone<'a>(&'a self, app: &App, scope: &Scope) -> AttachmentView<'a> {
        self.view(scope).revealing(app.controller.reveal(self))
    }
}

/// A host as the first generation of clients describes it; those knew iSCSI only.
fn described(info: HostInfo) -> NewHost {
    let initiator = Initiator { port_name: info.initiator, protocol: Protocol::Iscsi };
    NewHost {
        // An address is a good enough name for a host that says no other.
        name: if info.host.is_empty() { info.ip.clone() } else { info.host },
        os_type: if info.os_type.is_empty() { "linux".to_owned() } else { info.os_type },
        access_mode: "agentless".to_owned(),
        ip: info.ip,
        port: 0,
        username: String::new(),
        availability_zones: None,
        initiators: if initiator.port_name.is_empty() { vec![] } else { vec![initiator] },
    }
}
