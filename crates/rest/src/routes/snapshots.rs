//! Snapshots. Taking one and deleting one are wishes, answered when they are on record: 202, with
//! the snapshot as it is then (`creating`), or as it has become with `Prefer: wait`.
//!
//! A PUT changes what people call a snapshot and nothing else, as with volumes.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::Uri;
use axum::response::Response;
use osds_controller::{
    Caller, Controller, Error, NewSnapshot, SnapshotUpdate, SnapshotsWhere, Snapshotted,
    snapshot_status,
};
use osds_model::{Snapshot, SnapshotId, SnapshotState};
use osds_rest_api::{ErrorBody, SnapshotView, json, request};
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
    OpenApiRouter::new().routes(routes!(list, create)).routes(routes!(show, update, delete))
}

/// Asks for a snapshot of a volume, whoever has it.
#[utoipa::path(
    post, path = "/v1beta/{tenantId}/block/snapshots", tag = "snapshots",
    params(
        ("tenantId" = String, Path),
        ("Idempotency-Key" = Option<String>, Header, description = "the same key and body again \
         gives what the first request made"),
        ("Prefer" = Option<String>, Header, description = "`wait=<seconds>`: answer when it is \
         taken"),
    ),
    request_body = request::NewSnapshot,
    responses(
        (status = 202, body = SnapshotView<'static>),
        (status = 400, body = ErrorBody<'static>),
        (status = 404, description = "What the key made is gone", body = ErrorBody<'static>),
        (status = 422, description = "The key was used for another request",
         body = ErrorBody<'static>),
    ),
)]
async fn create(
    State(app): State<Arc<App>>,
    scope: Scope,
    prefer: Prefer,
    New { sent: new, once }: New<request::NewSnapshot>,
) -> Result<Response, Failure> {
    let new = NewSnapshot {
        name: new.name,
        description: new.description,
        volume: new.volume_id,
        profile: new.profile_id,
        metadata: new.metadata,
    };
    let caller = Caller { once, ..scope.caller.clone() };
    let made = app.controller.create_snapshot(&caller, new).await?;
    Ok(prefer.accepted(&app, &scope, made).await)
}

/// The snapshots.
#[utoipa::path(
    get, path = "/v1beta/{tenantId}/block/snapshots", tag = "snapshots",
    params(
        ("tenantId" = String, Path),
        ("limit" = Option<i64>, Query, description = "at least 1; absent: all"),
        ("offset" = Option<i64>, Query, description = "at least 0"),
        ("sortKey" = Option<String>, Query),
        ("sortDir" = Option<String>, Query, description = "`asc` or `desc`"),
    ),
    responses(
        (status = 200, description = "Any field is a filter", body = [SnapshotView<'static>]),
        (status = 400, body = ErrorBody<'static>),
    ),
)]
async fn list(State(app): State<Arc<App>>, scope: Scope, uri: Uri) -> Result<Response, Failure> {
    let query = list_query::<SnapshotView<'_>>(&uri)?;
    let has = SnapshotsWhere {
        ids: ids(&query, "Id"),
        names: words(&query, "Name"),
        tenants: texts(&query, "TenantId"),
        volumes: ids(&query, "VolumeId"),
        groups: ids(&query, "GroupSnapshotId"),
        statuses: words(&query, "Status"),
    };
    let page = app.controller.snapshots(&scope.caller, &has, |snapshots| {
        json::write(&query.page(snapshots, |(snapshot, state)| view(snapshot, state, &scope)))
    });
    Ok(answer::ok_bytes(page))
}

/// One snapshot.
#[utoipa::path(
    get, path = "/v1beta/{tenantId}/block/snapshots/{id}", tag = "snapshots",
    params(
        ("tenantId" = String, Path),
        ("id" = String, Path),
        ("Prefer" = Option<String>, Header, description = "`wait=<seconds>`: answer when nothing \
         is under way for it"),
    ),
    responses(
        (status = 200, body = SnapshotView<'static>),
        (status = 404, body = ErrorBody<'static>),
    ),
)]
async fn show(
    State(app): State<Arc<App>>,
    scope: Scope,
    prefer: Prefer,
) -> Result<Response, Failure> {
    prefer.shown::<Snapshotted>(&app, &scope).await
}

/// Edits what a snapshot is called, and adds metadata to it.
#[utoipa::path(
    put, path = "/v1beta/{tenantId}/block/snapshots/{id}", tag = "snapshots",
    params(("tenantId" = String, Path), ("id" = String, Path)),
    request_body = request::SnapshotUpdate,
    responses(
        (status = 200, body = SnapshotView<'static>),
        (status = 400, body = ErrorBody<'static>),
        (status = 404, body = ErrorBody<'static>),
    ),
)]
async fn update(
    State(app): State<Arc<App>>,
    scope: Scope,
    Sent(update): Sent<request::SnapshotUpdate>,
) -> Result<Response, Failure> {
    let update = SnapshotUpdate {
        name: given(update.name),
        description: given(update.description),
        metadata: update.metadata,
    };
    let snapshot = app.controller.update_snapshot(&scope.caller, scope.id(), update).await?;
    Ok(answer::ok(&Waited::view(&snapshot, &scope)))
}

/// Asks for a snapshot to be gone.
#[utoipa::path(
    delete, path = "/v1beta/{tenantId}/block/snapshots/{id}", tag = "snapshots",
    params(
        ("tenantId" = String, Path),
        ("id" = String, Path),
        ("Prefer" = Option<String>, Header, description = "`wait=<seconds>`: answer when it is \
         gone; a snapshot in the answer is one that is not gone by then"),
    ),
    responses(
        (status = 202, description = "Empty, unless it was waited for in vain"),
        (status = 400, description = "A volume is still being made from it, or it is one of a group \
         snapshot, which is deleted as a whole", body = ErrorBody<'static>),
        (status = 404, body = ErrorBody<'static>),
    ),
)]
async fn delete(
    State(app): State<Arc<App>>,
    scope: Scope,
    prefer: Prefer,
) -> Result<Response, Failure> {
    let id = app.controller.delete_snapshot(&scope.caller, scope.id()).await?;
    Ok(prefer.gone::<Snapshotted>(&app, &scope, id).await)
}

/// An administrator sees the cause of a fault, its tenant what sort of fault it is.
pub(super) fn view<'a>(
    snapshot: &'a Snapshot,
    state: &'a SnapshotState,
    scope: &Scope,
) -> SnapshotView<'a> {
    let fault = state.fault.as_ref();
    let view = SnapshotView::of(snapshot, snapshot_status(state), fault);
    if scope.caller.admin { view } else { view.for_tenant(fault) }
}

impl Waited for Snapshotted {
    type Id = SnapshotId;
    type View<'a> = SnapshotView<'a>;

    fn id(&self) -> SnapshotId {
        self.snapshot.id
    }

    fn look(controller: &Controller, scope: &Scope, id: &str) -> Result<Self, Error> {
        controller.snapshot(&scope.caller, id)
    }

    async fn settle(controller: &Controller, id: SnapshotId, limit: Duration) {
        controller.wait_for_snapshot(id, limit).await;
    }

    fn view<'a>(&'a self, scope: &Scope) -> SnapshotView<'a> {
        view(&self.snapshot, &self.state, scope)
    }
}
