//! Pools, and the availability zones that they are in.
//!
//! Free capacity is what is not promised yet, at this moment. Ours is `explain`: the selector's
//! own verdict on every pool, for a volume that is only thought of.

use std::sync::Arc;

use axum::extract::State;
use axum::http::Uri;
use axum::response::Response;
use osds_controller::Error;
use osds_model::Capacity;
use osds_rest_api::request::Explain;
use osds_rest_api::{ErrorBody, FitView, Id, PoolView, json};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::list_query;
use crate::auth::Scope;
use crate::errors::Failure;
use crate::{App, answer};

pub(super) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(show))
        .routes(routes!(explain))
        .routes(routes!(zones))
}

/// The pools.
#[utoipa::path(
    get, path = "/v1beta/{tenantId}/pools", tag = "pools",
    params(("tenantId" = String, Path)),
    responses(
        (status = 200, body = [PoolView<'static>]),
        (status = 400, body = ErrorBody<'static>),
    ),
)]
async fn list(State(app): State<Arc<App>>, _: Scope, uri: Uri) -> Result<Response, Failure> {
    let query = list_query::<PoolView<'_>>(&uri)?;
    let page = app.controller.pools(|pools| json::write(&query.page(pools, PoolView::of)));
    Ok(answer::ok_bytes(page))
}

/// One pool.
#[utoipa::path(
    get, path = "/v1beta/{tenantId}/pools/{id}", tag = "pools",
    params(("tenantId" = String, Path), ("id" = String, Path)),
    responses(
        (status = 200, body = PoolView<'static>),
        (status = 404, body = ErrorBody<'static>),
    ),
)]
async fn show(State(app): State<Arc<App>>, scope: Scope) -> Result<Response, Failure> {
    Ok(answer::ok(&PoolView::of(&*app.controller.pool(scope.id())?)))
}

/// For a volume of this size: which pools would take it, best first, and why the others would
/// not. Not in the original.
#[utoipa::path(
    get, path = "/v1beta/{tenantId}/pools/explain", tag = "pools",
    params(
        ("tenantId" = String, Path),
        ("size" = i64, Query, description = "GiB"),
        ("profileId" = Option<String>, Query, description = "absent: the default profile"),
        ("availabilityZone" = Option<String>, Query, description = "absent: `default`"),
    ),
    responses(
        (status = 200, body = [FitView<'static>]),
        (status = 400, body = ErrorBody<'static>),
    ),
)]
async fn explain(State(app): State<Arc<App>>, _: Scope, uri: Uri) -> Result<Response, Failure> {
    let asked = Explain::parse(uri.query().unwrap_or_default())?;
    let size = u64::try_from(asked.size).ok().filter(|gib| *gib > 0).and_then(Capacity::from_gib);
    let size =
        size.ok_or_else(|| Error::Invalid(format!("invalid volume size: {}", asked.size)))?;
    let zone = match asked.availability_zone.as_str() {
        "" => "default",
        zone => zone,
    };
    let verdicts = app.controller.explain(size, &asked.profile_id, zone)?;
    let fits: Vec<_> = verdicts
        .iter()
        .map(|verdict| FitView {
            pool_id: Id::of(verdict.pool),
            name: verdict.name.as_str().into(),
            fits: verdict.fits(),
            reason: verdict.misfits.join(", ").into(),
            free_capacity: verdict.free.whole_gib(),
        })
        .collect();
    Ok(answer::ok(&fits))
}

/// The availability zones that pools are in.
#[utoipa::path(
    get, path = "/v1beta/{tenantId}/availabilityZones", tag = "pools",
    params(("tenantId" = String, Path)),
    responses((status = 200, body = [String])),
)]
async fn zones(State(app): State<Arc<App>>, _: Scope) -> Response {
    answer::ok(&app.controller.availability_zones())
}
