//! Docks: the agents on storage hosts, as they described themselves.
//!
//! Whoever may ask may see all of them, as in the original. Ours is `drift`: what was found on a
//! dock that no record accounts for, which a person has to look at, for osds never touches it.

use std::sync::Arc;

use axum::extract::State;
use axum::http::Uri;
use axum::response::Response;
use osds_rest_api::{DockView, ErrorBody, json};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::list_query;
use crate::auth::Scope;
use crate::errors::Failure;
use crate::{App, answer};

pub(super) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(show)).routes(routes!(drift))
}

/// The docks.
#[utoipa::path(
    get, path = "/v1beta/{tenantId}/docks", tag = "docks",
    params(("tenantId" = String, Path)),
    responses(
        (status = 200, body = [DockView<'static>]),
        (status = 400, body = ErrorBody<'static>),
    ),
)]
async fn list(State(app): State<Arc<App>>, _: Scope, uri: Uri) -> Result<Response, Failure> {
    let query = list_query::<DockView<'_>>(&uri)?;
    let page = app.controller.docks(|docks| json::write(&query.page(docks, DockView::of)));
    Ok(answer::ok_bytes(page))
}

/// One dock.
#[utoipa::path(
    get, path = "/v1beta/{tenantId}/docks/{id}", tag = "docks",
    params(("tenantId" = String, Path), ("id" = String, Path)),
    responses(
        (status = 200, body = DockView<'static>),
        (status = 404, body = ErrorBody<'static>),
    ),
)]
async fn show(State(app): State<Arc<App>>, scope: Scope) -> Result<Response, Failure> {
    Ok(answer::ok(&DockView::of(&*app.controller.dock(scope.id())?)))
}

/// Things on a dock that no record accounts for, in words; they are never touched. Not in the
/// original.
#[utoipa::path(
    get, path = "/v1beta/{tenantId}/docks/{id}/drift", tag = "docks",
    params(("tenantId" = String, Path), ("id" = String, Path)),
    responses(
        (status = 200, body = [String]),
        (status = 404, body = ErrorBody<'static>),
    ),
)]
async fn drift(State(app): State<Arc<App>>, scope: Scope) -> Result<Response, Failure> {
    let dock = app.controller.dock(scope.id())?.id;
    Ok(answer::ok(&app.controller.unaccounted(dock)))
}
