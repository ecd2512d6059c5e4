//! Volume groups. Making one and changing who is in it is done when it is answered; its end takes as
//! long as its last member's. The codes are the original's, which answers 202 to all three.
//!
//! An empty list is `null`, as in the original: its lists of groups are of an older kind than others.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::Uri;
use axum::response::Response;
use osds_controller::{Caller, Controller, Error, GroupUpdate, Grouped, NewGroup};
use osds_model::GroupId;
use osds_rest_api::{ErrorBody, VolumeGroupView, json, request};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::waited::Waited;
use super::{given, list_query};
use crate::auth::Scope;
use crate::body::{New, Sent};
use crate::errors::Failure;
use crate::prefer::Prefer;
use crate::{App, answer};

pub(super) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(routes!(list, create)).routes(routes!(show, update, delete))
}

/// Makes a group, with nothing in it yet.
#[utoipa::path(
    post, path = "/v1beta/{tenantId}/block/volumeGroups", tag = "groups",
    params(
        ("tenantId" = String, Path),
        ("Idempotency-Key" = Option<String>, Header, description = "the same key and body again \
         gives what the first request made"),
    ),
    request_body = request::NewVolumeGroup,
    responses(
        (status = 202, body = VolumeGroupView<'static>),
        (status = 400, description = "Also when no pool fits all its profiles",
         body = ErrorBody<'static>),
        (status = 404, description = "What the key made is gone", body = ErrorBody<'static>),
        (status = 422, description = "The key was used for another request",
         body = ErrorBody<'static>),
    ),
)]
async fn create(
    State(app): State<Arc<App>>,
    scope: Scope,
    New { sent: new, once }: New<request::NewVolumeGroup>,
) -> Result<Response, Failure> {
    let new = NewGroup {
        name: new.name,
        description: new.description,
        availability_zone: new.availability_zone,
        profiles: new.profiles,
    };
    let caller = Caller { once, ..scope.caller.clone() };
    let group = app.controller.create_group(&caller, new).await?;
    Ok(answer::accepted(&group.view(&scope)))
}

/// The groups.
#[utoipa::path(
    get, path = "/v1beta/{tenantId}/block/volumeGroups", tag = "groups",
    params(
        ("tenantId" = String, Path),
        ("limit" = Option<i64>, Query, description = "at least 1; absent or 50: all"),
        ("offset" = Option<i64>, Query, description = "at least 0"),
        ("sortKey" = Option<String>, Query),
        ("sortDir" = Option<String>, Query, description = "`asc` or `desc`: each sorts the other \
         way, as in the original"),
    ),
    responses(
        (status = 200, description = "Any field is a filter; `null` when there are none",
         body = Option<Vec<VolumeGroupView<'static>>>),
        (status = 400, body = ErrorBody<'static>),
    ),
)]
async fn list(State(app): State<Arc<App>>, scope: Scope, uri: Uri) -> Result<Response, Failure> {
    let query = list_query::<VolumeGroupView<'_>>(&uri)?;
    let page = app.controller.groups(&scope.caller, |groups| {
        let page = query.page(groups, |(group, status)| VolumeGroupView::of(group, status));
        json::write(&Some(page).filter(|page| !page.is_empty()))
    });
    Ok(answer::ok_bytes(page))
}

/// One group.
#[utoipa::path(
    get, path = "/v1beta/{tenantId}/block/volumeGroups/{id}", tag = "groups",
    params(
        ("tenantId" = String, Path),
        ("id" = String, Path),
        ("Prefer" = Option<String>, Header, description = "`wait=<seconds>`: answer when nothing \
         is under way for it"),
    ),
    responses(
        (status = 200, body = VolumeGroupView<'static>),
        (status = 404, body = ErrorBody<'static>),
    ),
)]
async fn show(
    State(app): State<Arc<App>>,
    scope: Scope,
    prefer: Prefer,
) -> Result<Response, Failure> {
    prefer.shown::<Grouped>(&app, &scope).await
}

/// Edits what a group is called, and who is in it: all of it, or nothing.
#[utoipa::path(
    put, path = "/v1beta/{tenantId}/block/volumeGroups/{id}", tag = "groups",
    params(("tenantId" = String, Path), ("id" = String, Path)),
    request_body = request::VolumeGroupUpdate,
    responses(
        (status = 202, body = VolumeGroupView<'static>),
        (status = 400, description = "Also when nothing would change", body = ErrorBody<'static>),
        (status = 404, body = ErrorBody<'static>),
    ),
)]
async fn update(
    State(app): State<Arc<App>>,
    scope: Scope,
    Sent(update): Sent<request::VolumeGroupUpdate>,
) -> Result<Response, Failure> {
    let update = GroupUpdate {
        name: given(update.name),
        description: given(update.description),
        add: update.add_volumes,
        remove: update.remove_volumes,
    };
    let group = app.controller.update_group(&scope.caller, scope.id(), update).await?;
    Ok(answer::accepted(&group.view(&scope)))
}

/// Asks for a group to be gone, with every volume in it.
#[utoipa::path(
    delete, path = "/v1beta/{tenantId}/block/volumeGroups/{id}", tag = "groups",
    params(
        ("tenantId" = String, Path),
        ("id" = String, Path),
        ("Prefer" = Option<String>, Header, description = "`wait=<seconds>`: answer when it is \
         gone; a group in the answer is one that is not gone by then"),
    ),
    responses(
        (status = 202, description = "Empty, unless it was waited for in vain"),
        (status = 400, description = "A host has one of its volumes, or one has snapshots; nothing \
         is deleted", body = ErrorBody<'static>),
        (status = 404, body = ErrorBody<'static>),
    ),
)]
async fn delete(
    State(app): State<Arc<App>>,
    scope: Scope,
    prefer: Prefer,
) -> Result<Response, Failure> {
    let id = app.controller.delete_group(&scope.caller, scope.id()).await?;
    Ok(prefer.gone::<Grouped>(&app, &scope, id).await)
}

impl Waited for Grouped {
    type Id = GroupId;
    type View<'a> = VolumeGroupView<'a>;

    fn id(&self) -> GroupId {
        self.group.id
    }

    fn look(controller: &Controller, scope: &Scope, id: &str) -> Result<Self, Error> {
        controller.group(&scope.caller, id)
    }

    async fn settle(controller: &Controller, id: GroupId, limit: Duration) {
        controller.wait_for_group(id, limit).await;
    }

    fn view<'a>(&'a self, _scope: &Scope) -> VolumeGroupView<'a> {
        VolumeGroupView::of(&self.group, self.status)
    }
}
