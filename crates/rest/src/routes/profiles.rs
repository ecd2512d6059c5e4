//! Profiles and their custom properties.
//!
//! Everything here is done when it is answered: 200 where volumes say 202, also for creation, as
//! in the original. A filter that cannot be understood is refused here, not when it is used.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::http::Uri;
use axum::response::Response;
use osds_controller::{Caller, NewProfile, ProfileUpdate};
use osds_model::Profile;
use osds_rest_api::request::CustomProperties;
use osds_rest_api::{ErrorBody, ProfileView, json, request};
use serde_json::Value;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::list_query;
use crate::auth::Scope;
use crate::body::{New, Sent};
use crate::errors::Failure;
use crate::{App, answer};

pub(super) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(show, update, delete))
        .routes(routes!(custom, add_custom))
        .routes(routes!(remove_custom))
}

/// Makes a profile.
#[utoipa::path(
    post, path = "/v1beta/{tenantId}/profiles", tag = "profiles",
    params(
        ("tenantId" = String, Path),
        ("Idempotency-Key" = Option<String>, Header, description = "the same key and body again \
         gives what the first request made"),
    ),
    request_body = request::NewProfile,
    responses(
        (status = 200, body = ProfileView<'static>),
        (status = 400, body = ErrorBody<'static>),
        (status = 422, description = "The key was used for another request",
         body = ErrorBody<'static>),
    ),
)]
async fn create(
    State(app): State<Arc<App>>,
    scope: Scope,
    New { sent: new, once }: New<request::NewProfile>,
) -> Result<Response, Failure> {
    let caller = Caller { once, ..scope.caller };
    let new = NewProfile {
        name: new.name,
        description: new.description,
        storage_type: new.storage_type,
        provisioning: new.provisioning_properties,
        replication: new.replication_properties,
        snapshot: new.snapshot_properties,
        data_protection: new.data_protection_properties,
        custom: new.custom_properties,
    };
    let profile = app.controller.create_profile(&caller, new).await?;
    Ok(answer::ok(&ProfileView::of(&profile)))
}

/// The profiles.
#[utoipa::path(
    get, path = "/v1beta/{tenantId}/profiles", tag = "profiles",
    params(("tenantId" = String, Path)),
    responses(
        (status = 200, body = [ProfileView<'static>]),
        (status = 400, body = ErrorBody<'static>),
    ),
)]
async fn list(State(app): State<Arc<App>>, _: Scope, uri: Uri) -> Result<Response, Failure> {
    let query = list_query::<ProfileView<'_>>(&uri)?;
    let page =
        app.controller.profiles(|profiles| json::write(&query.page(profiles, ProfileView::of)));
    Ok(answer::ok_bytes(page))
}

/// One profile.
#[utoipa::path(
    get, path = "/v1beta/{tenantId}/profiles/{id}", tag = "profiles",
    params(("tenantId" = String, Path), ("id" = String, Path)),
    responses(
        (status = 200, body = ProfileView<'static>),
        (status = 404, body = ErrorBody<'static>),
    ),
)]
async fn show(State(app): State<Arc<App>>, scope: Scope) -> Result<Response, Failure> {
    Ok(answer::ok(&ProfileView::of(&*app.controller.profile(scope.id())?)))
}

/// Edits a profile: name, description, and custom properties, which are added to those it has.
#[utoipa::path(
    put, path = "/v1beta/{tenantId}/profiles/{id}", tag = "profiles",
    params(("tenantId" = String, Path), ("id" = String, Path)),
    request_body = request::ProfileUpdate,
    responses(
        (status = 200, body = ProfileView<'static>),
        (status = 400, body = ErrorBody<'static>),
        (status = 404, body = ErrorBody<'static>),
    ),
)]
async fn update(
    State(app): State<Arc<App>>,
    scope: Scope,
    Sent(update): Sent<request::ProfileUpdate>,
) -> Result<Response, Failure> {
    let given = |text: &String| !text.is_empty();
    let update = ProfileUpdate {
        name: update.name.filter(given),
        description: update.description.filter(given),
        custom: update.custom_properties,
    };
    let profile = app.controller.update_profile(scope.id(), update).await?;
    Ok(answer::ok(&ProfileView::of(&profile)))
}

/// Takes a profile away under which there is no volume.
#[utoipa::path(
    delete, path = "/v1beta/{tenantId}/profiles/{id}", tag = "profiles",
    params(("tenantId" = String, Path), ("id" = String, Path)),
    responses(
        (status = 200, description = "It is gone"),
        (status = 400, description = "Volumes depend on it", body = ErrorBody<'static>),
        (status = 404, body = ErrorBody<'static>),
    ),
)]
async fn delete(State(app): State<Arc<App>>, scope: Scope) -> Result<Response, Failure> {
    app.controller.delete_profile(scope.id()).await?;
    Ok(answer::gone())
}

/// The custom properties of a profile, or `null`.
#[utoipa::path(
    get, path = "/v1beta/{tenantId}/profiles/{id}/customProperties", tag = "profiles",
    params(("tenantId" = String, Path), ("id" = String, Path)),
    responses(
        (status = 200, body = Option<BTreeMap<String, Value>>),
        (status = 404, body = ErrorBody<'static>),
    ),
)]
async fn custom(State(app): State<Arc<App>>, scope: Scope) -> Result<Response, Failure> {
    Ok(answer::ok(&pairs(&*app.controller.profile(scope.id())?)))
}

/// Adds custom properties to a profile; shows all it has then.
#[utoipa::path(
    post, path = "/v1beta/{tenantId}/profiles/{id}/customProperties", tag = "profiles",
    params(("tenantId" = String, Path), ("id" = String, Path)),
    request_body = Object,
    responses(
        (status = 200, body = Option<BTreeMap<String, Value>>),
        (status = 400, body = ErrorBody<'static>),
        (status = 404, body = ErrorBody<'static>),
    ),
)]
async fn add_custom(
    State(app): State<Arc<App>>,
    scope: Scope,
    Sent(CustomProperties(properties)): Sent<CustomProperties>,
) -> Result<Response, Failure> {
    let profile = app.controller.add_custom_properties(scope.id(), properties).await?;
    Ok(answer::ok(&pairs(&profile)))
}

/// Takes a custom property away; one that is not there is no error.
#[utoipa::path(
    delete, path = "/v1beta/{tenantId}/profiles/{id}/customProperties/{key}", tag = "profiles",
    params(("tenantId" = String, Path), ("id" = String, Path), ("key" = String, Path)),
    responses(
        (status = 200, description = "It is gone"),
        (status = 404, body = ErrorBody<'static>),
    ),
)]
async fn remove_custom(State(app): State<Arc<App>>, scope: Scope) -> Result<Response, Failure> {
    app.controller.remove_custom_property(scope.id(), scope.key()).await?;
    Ok(answer::gone())
}

/// No pairs are `null`, as in the original.
fn pairs(profile: &Profile) -> Option<&BTreeMap<String, Value>> {
    profile.custom.as_ref().filter(|pairs| !pairs.is_empty())
}
