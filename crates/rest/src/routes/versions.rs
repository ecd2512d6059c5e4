//! Versions of the API. There is one; `GET /` is a bare array, as the original's clients expect.

use std::sync::Arc;

use axum::extract::RawPathParams;
use axum::extract::rejection::RawPathParamsRejection;
use axum::response::Response;
use osds_rest_api::{API_VERSION, ErrorBody, VersionView};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::errors::Failure;
use crate::{App, answer};

pub(super) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(show))
}

#[utoipa::path(
    get, path = "/", tag = "versions",
    responses((status = 200, description = "All versions", body = [VersionView<'static>])),
)]
/// The versions of the API.
async fn list() -> Response {
    answer::ok(&[VersionView::v1beta()])
}

#[utoipa::path(
    get, path = "/{apiVersion}", tag = "versions",
    params(("apiVersion" = String, Path, description = "Its name, `v1beta`")),
    responses(
        (status = 200, description = "The version", body = VersionView<'static>),
        (status = 404, description = "No such version", body = ErrorBody<'static>),
    ),
)]
/// One version of the API.
async fn show(path: Result<RawPathParams, RawPathParamsRejection>) -> Result<Response, Failure> {
    let path = path.map_err(|_| Failure::NoRoute)?;
    match path.iter().next() {
        Some((_, API_VERSION)) => Ok(answer::ok(&VersionView::v1beta())),
        other => Err(Failure::NoSuchVersion(other.unwrap_or_default().1.to_owned())),
    }
}
