//! Group snapshots: snapshots of several volumes at one moment, as one thing. They are ours; the
//! original has none. Taken and deleted as one snapshot is, with 202 and `Prefer: wait`.
//!
//! Each of the snapshots is also among the snapshots, where it can be renamed and made volumes of,
//! but not deleted.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::Uri;
use axum::response::Response;
use osds_controller::{Caller, Controller, Error, GroupSnapshotted, NewGroupSnapshot};
use osds_model::GroupSnapshotId;
use osds_rest_api::{ErrorBody, GroupSnapshotView, Id, json, request};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::waited::Waited;
use super::{list_query, snapshots};
use crate::auth::Scope;
use crate::body::New;
use crate::errors::Failure;
use crate::prefer::Prefer;
use crate::{App, answer};

pub(super) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(routes!(list, create)).routes(routes!(show, delete))
}

/// Asks for snapshots of several volumes at one moment, whoever has them.
#[utoipa::path(
    post, path = "/v1beta/{tenantId}/block/groupSnapshots", tag = "groupSnapshots",
    params(
        ("tenantId" = String, Path),
        ("Idempotency-Key" = Option<String>, Header, description = "the same key and body again \
         gives what the first request made"),
        ("Prefer" = Option<String>, Header, description = "`wait=<seconds>`: answer when all are \
         taken"),
    ),
    request_body = request::NewGroupSnapshot,
    responses(
        (status = 202, body = GroupSnapshotView<'static>),
        (status = 400, description = "Also when their writes cannot be held at one moment: volumes \
         of different backends, or too many", body = ErrorBody<'static>),
        (status = 404, description = "What the key made is gone", body = ErrorBody<'static>),
        (status = 422, description = "The key was used for another request",
         body = ErrorBody<'static>),
    ),
)]
async fn create(
    State(app): State<Arc<App>>,
    scope: Scope,
    prefer: Prefer,
    New { sent: new, once }: New<request::NewGroupSnapshot>,
) -> Result<Response, Failure> {
    let new = NewGroupSnapshot {
        name: new.name,
        description: new.description,
        volumes: new.volume_ids,
        group: new.group_id,
        metadata: new.metadata,
    };
    let caller = Caller { once, ..scope.caller.clone() };
    let made = app.controller.create_group_snapshot(&caller, new).await?;
    Ok(prefer.accepted(&app, &scope, made).await)
}

/// The group snapshots.
#[utoipa::path(
    get, path = "/v1beta/{tenantId}/block/groupSnapshots", tag = "groupSnapshots",
    params(
        ("tenantId" = String, Path),
        ("limit" = Option<i64>, Query, description = "at least 1; absent: all"),
        ("offset" = Option<i64>, Query, description = "at least 0"),
        ("sortKey" = Option<String>, Query),
        ("sortDir" = Option<String>, Query, description = "`asc` or `desc`"),
    ),
    responses(
        (status = 200, description = "Any field but the snapshots is a filter",
         body = [GroupSnapshotView<'static>]),
        (status = 400, body = ErrorBody<'static>),
    ),
)]
async fn list(State(app): State<Arc<App>>, scope: Scope, uri: Uri) -> Result<Response, Failure> {
    let query = list_query::<GroupSnapshotView<'_>>(&uri)?;
    let all = app.controller.group_snapshots(&scope.caller);
    Ok(answer::ok_bytes(json::write(&query.page(all.iter(), |one| one.view(&scope)))))
}

/// One group snapshot.
#[utoipa::path(
    get, path = "/v1beta/{tenantId}/block/groupSnapshots/{id}", tag = "groupSnapshots",
    params(
        ("tenantId" = String, Path),
        ("id" = String, Path),
        ("Prefer" = Option<String>, Header, description = "`wait=<seconds>`: answer when nothing \
         is under way for it"),
    ),
    responses(
        (status = 200, body = GroupSnapshotView<'static>),
        (status = 404, body = ErrorBody<'static>),
    ),
)]
async fn show(
    State(app): State<Arc<App>>,
    scope: Scope,
    prefer: Prefer,
) -> Result<Response, Failure> {
    prefer.shown::<GroupSnapshotted>(&app, &scope).await
}

/// Asks for a group snapshot to be gone, with all its snapshots.
#[utoipa::path(
    delete, path = "/v1beta/{tenantId}/block/groupSnapshots/{id}", tag = "groupSnapshots",
    params(
        ("tenantId" = String, Path),
        ("id" = String, Path),
        ("Prefer" = Option<String>, Header, description = "`wait=<seconds>`: answer when all are \
         gone; a group snapshot in the answer is one that is not gone by then"),
    ),
    responses(
        (status = 202, description = "Empty, unless it was waited for in vain"),
        (status = 400, description = "A volume is still being made from one of them; none is \
         deleted", body = ErrorBody<'static>),
        (status = 404, body = ErrorBody<'static>),
    ),
)]
async fn delete(
    State(app): State<Arc<App>>,
    scope: Scope,
    prefer: Prefer,
) -> Result<Response, Failure> {
    let id = app.controller.delete_group_snapshot(&scope.caller, scope.id()).await?;
    Ok(prefer.gone::<GroupSnapshotted>(&app, &scope, id).await)
}

impl Waited for GroupSnapshotted {
    type Id = GroupSnapshotId;
    type View<'a> = GroupSnapshotView<'a>;

    fn id(&self) -> GroupSnapshotId {
        self.id
    }

    fn look(controller: &Controller, scope: &Scope, id: &str) -> Result<Self, Error> {
        controller.group_snapshot(&scope.caller, id)
    }

    async fn settle(controller: &Controller, id: GroupSnapshotId, limit: Duration) {
        controller.wait_for_group_snapshot(id, limit).await;
    }

    fn view<'a>(&'a self, scope: &Scope) -> GroupSnapshotView<'a> {
        let members = self.members.iter();
        let views = members.map(|one| snapshots::view(&one.snapshot, &one.state, scope)).collect();
        GroupSnapshotView::of(Id::of(self.id), self.status(), views)
    }
}
