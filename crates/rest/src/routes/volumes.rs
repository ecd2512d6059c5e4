//! Volumes. A request that starts work is answered when the wish is on record: 202, with the
//! volume as it is then (`creating`, `extending`), or as it has become with `Prefer: wait`.
//!
//! A PUT changes what people call a volume and nothing else, however much of a volume is in it:
//! clients send back whole volumes that they read earlier, with statuses that are history.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::Uri;
use axum::response::Response;
use osds_controller::{
    Caller, Controller, Error, NewVolume, VolumeUpdate, VolumesWhere, volume_status,
};
use osds_model::{Volume, VolumeId};
use osds_rest_api::request::{MultiAttach, Resize};
use osds_rest_api::{ErrorBody, IoLimitsView, VolumeView, json, request, url};
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
        .routes(routes!(resize))
        .routes(routes!(limit))
        .routes(routes!(share))
}

/// Asks for a volume.
#[utoipa::path(
    post, path = "/v1beta/{tenantId}/block/volumes", tag = "volumes",
    params(
        ("tenantId" = String, Path),
        ("Idempotency-Key" = Option<String>, Header, description = "the same key and body again \
         gives what the first request made"),
        ("Prefer" = Option<String>, Header, description = "`wait=<seconds>`: answer when it is made"),
    ),
    request_body = request::NewVolume,
    responses(
        (status = 202, body = VolumeView<'static>),
        (status = 400, body = ErrorBody<'static>),
        (status = 422, description = "The key was used for another request",
         body = ErrorBody<'static>),
    ),
)]
async fn create(
    State(app): State<Arc<App>>,
    scope: Scope,
    prefer: Prefer,
    New { sent: new, once }: New<request::NewVolume>,
) -> Result<Response, Failure> {
    let new = NewVolume {
        name: new.name,
        description: new.description,
        size: new.size,
        availability_zone: new.availability_zone,
        profile: new.profile_id,
        pool: new.pool_id,
        multi_attach: new.multi_attach,
        metadata: new.metadata,
        snapshot: new.snapshot_id,
        source_volume: new.source_volume_id,
    };
    let caller = Caller { once, ..scope.caller.clone() };
    let volume = app.controller.create_volume(&caller, new).await?;
    Ok(prefer.accepted(&app, &scope, volume).await)
}

/// The volumes.
#[utoipa::path(
    get, path = "/v1beta/{tenantId}/block/volumes", tag = "volumes",
    params(
        ("tenantId" = String, Path),
        ("limit" = Option<i64>, Query, description = "at least 1; absent: all"),
        ("offset" = Option<i64>, Query, description = "at least 0"),
        ("sortKey" = Option<String>, Query),
        ("sortDir" = Option<String>, Query, description = "`asc` or `desc`"),
    ),
    responses(
        (status = 200, description = "Any field is a filter", body = [VolumeView<'static>]),
        (status = 400, body = ErrorBody<'static>),
    ),
)]
async fn list(State(app): State<Arc<App>>, scope: Scope, uri: Uri) -> Result<Response, Failure> {
    let query = list_query::<VolumeView<'_>>(&uri)?;
    let has = VolumesWhere {
        ids: ids(&query, "Id"),
        names: words(&query, "Name"),
        tenants: texts(&query, "TenantId"),
        profiles: ids(&query, "ProfileId"),
        pools: ids(&query, "PoolId"),
        groups: ids(&query, "GroupId"),
        statuses: words(&query, "Status"),
    };
    let by_name = query.sorted_by::<VolumeView<'_>>("Name");
    let page = match by_name {
        // Else fewer than all are found, and sorting those is less work than passing over the others.
        Some(ascending) if scope.caller.admin && has == VolumesWhere::default() => {
            app.controller.volumes_by_name(&scope.caller, ascending, |volumes| {
                json::write(&query.page_in_order(volumes, |volume| view(volume, &scope)))
            })
        }
        Some(_) | None => app.controller.volumes(&scope.caller, &has, |volumes| {
            json::write(&query.page(volumes, |volume| view(volume, &scope)))
        }),
    };
    Ok(answer::ok_bytes(page))
}

/// One volume.
#[utoipa::path(
    get, path = "/v1beta/{tenantId}/block/volumes/{id}", tag = "volumes",
    params(
        ("tenantId" = String, Path),
        ("id" = String, Path),
        ("Prefer" = Option<String>, Header, description = "`wait=<seconds>`: answer when nothing \
         is under way for it"),
    ),
    responses(
        (status = 200, body = VolumeView<'static>),
        (status = 404, body = ErrorBody<'static>),
    ),
)]
async fn show(
    State(app): State<Arc<App>>,
    scope: Scope,
    prefer: Prefer,
) -> Result<Response, Failure> {
    prefer.shown::<Arc<Volume>>(&app, &scope).await
}

/// Edits what a volume is called, and adds metadata to it.
#[utoipa::path(
    put, path = "/v1beta/{tenantId}/block/volumes/{id}", tag = "volumes",
    params(("tenantId" = String, Path), ("id" = String, Path)),
    request_body = request::VolumeUpdate,
    responses(
        (status = 200, body = VolumeView<'static>),
        (status = 400, body = ErrorBody<'static>),
        (status = 404, body = ErrorBody<'static>),
    ),
)]
async fn update(
    State(app): State<Arc<App>>,
    scope: Scope,
    Sent(update): Sent<request::VolumeUpdate>,
) -> Result<Response, Failure> {
    let update = VolumeUpdate {
        name: given(update.name),
        description: given(update.description),
        metadata: update.metadata,
    };
    let volume = app.controller.update_volume(&scope.caller, scope.id(), update).await?;
    Ok(answer::ok(&view(&volume, &scope)))
}

/// Asks for a larger volume.
#[utoipa::path(
    post, path = "/v1beta/{tenantId}/block/volumes/{id}/resize", tag = "volumes",
    params(
        ("tenantId" = String, Path),
        ("id" = String, Path),
        ("Prefer" = Option<String>, Header, description = "`wait=<seconds>`: answer when it has \
         grown"),
    ),
    request_body = Resize,
    responses(
        (status = 202, description = "With the old size until it has grown",
         body = VolumeView<'static>),
        (status = 400, body = ErrorBody<'static>),
        (status = 404, body = ErrorBody<'static>),
    ),
)]
async fn resize(
    State(app): State<Arc<App>>,
    scope: Scope,
    prefer: Prefer,
    Sent(Resize { new_size }): Sent<Resize>,
) -> Result<Response, Failure> {
    let volume = app.controller.extend_volume(&scope.caller, scope.id(), new_size).await?;
    Ok(prefer.accepted(&app, &scope, volume).await)
}

/// Sets the limits on a volume's I/O, all of them: what is left out is not limited. Ours.
#[utoipa::path(
    put, path = "/v1beta/{tenantId}/block/volumes/{id}/ioLimits", tag = "volumes",
    params(
        ("tenantId" = String, Path),
        ("id" = String, Path),
        ("Prefer" = Option<String>, Header, description = "`wait=<seconds>`: answer when its target \
         is held to them"),
    ),
    request_body = IoLimitsView,
    responses(
        (status = 202, body = VolumeView<'static>),
        (status = 400, body = ErrorBody<'static>),
        (status = 404, body = ErrorBody<'static>),
    ),
)]
async fn limit(
    State(app): State<Arc<App>>,
    scope: Scope,
    prefer: Prefer,
    Sent(limits): Sent<IoLimitsView>,
) -> Result<Response, Failure> {
    let limits = limits.to_limits();
    let volume = app.controller.limit_volume(&scope.caller, scope.id(), limits).await?;
    Ok(prefer.accepted(&app, &scope, volume).await)
}

/// Says whether several hosts may have a volume at once. Ours.
#[utoipa::path(
    put, path = "/v1beta/{tenantId}/block/volumes/{id}/multiAttach", tag = "volumes",
    params(("tenantId" = String, Path), ("id" = String, Path)),
    request_body = MultiAttach,
    responses(
        (status = 200, body = VolumeView<'static>),
        (status = 400, description = "Several hosts have it, or its pool is for volumes of one host",
         body = ErrorBody<'static>),
        (status = 404, body = ErrorBody<'static>),
    ),
)]
async fn share(
    State(app): State<Arc<App>>,
    scope: Scope,
    Sent(MultiAttach { multi_attach }): Sent<MultiAttach>,
) -> Result<Response, Failure> {
    let volume = app.controller.share_volume(&scope.caller, scope.id(), multi_attach).await?;
    Ok(answer::ok(&view(&volume, &scope)))
}

/// Asks for a volume to be gone.
#[utoipa::path(
    delete, path = "/v1beta/{tenantId}/block/volumes/{id}", tag = "volumes",
    params(
        ("tenantId" = String, Path),
        ("id" = String, Path),
        ("forget" = Option<bool>, Query, description = "take it off the records though it could \
         not be deleted where it is; for administrators"),
        ("Prefer" = Option<String>, Header, description = "`wait=<seconds>`: answer when it is \
         gone; a volume in the answer is one that is not gone by then"),
    ),
    responses(
        (status = 202, description = "Empty, unless it was waited for in vain"),
        (status = 400, description = "Hosts have it", body = ErrorBody<'static>),
        (status = 403, description = "Only an administrator forgets", body = ErrorBody<'static>),
        (status = 404, body = ErrorBody<'static>),
    ),
)]
async fn delete(
    State(app): State<Arc<App>>,
    scope: Scope,
    prefer: Prefer,
    uri: Uri,
) -> Result<Response, Failure> {
    let forget = url::query_pairs(uri.query().unwrap_or_default())
        .any(|(key, value)| key.eq_ignore_ascii_case("forget") && value == "true");
    if forget {
        if !scope.caller.admin {
            return Err(Failure::NotPermitted);
        }
        app.controller.forget_volume(&scope.caller, scope.id()).await?;
        return Ok(answer::accepted_empty());
    }
    let id = app.controller.delete_volume(&scope.caller, scope.id()).await?;
    Ok(prefer.gone::<Arc<Volume>>(&app, &scope, id).await)
}

fn view<'a>(volume: &'a Volume, scope: &Scope) -> VolumeView<'a> {
    let view = VolumeView::of(volume, volume_status(volume));
    if scope.caller.admin { view } else { view.for_tenant(volume) }
}

impl Waited for Arc<Volume> {
    type Id = VolumeId;
    type View<'a> = VolumeView<'a>;

    fn id(&self) -> VolumeId {
        self.id
    }

    fn look(controller: &Controller, scope: &Scope, id: &str) -> Result<Self, Error> {
        controller.volume(&scope.caller, id)
    }

    async fn settle(controller: &Controller, id: VolumeId, limit: Duration) {
        controller.wait_for_volume(id, limit).await;
    }

    fn view<'a>(&'a self, scope: &Scope) -> VolumeView<'a> {
        view(self, scope)
    }
}
