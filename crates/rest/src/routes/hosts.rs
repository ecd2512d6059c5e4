//! Hosts, and keeping one out of every volume.
//!
//! Everything here is done when it is answered: 200, also for creation, as in the original. A
//! password may be sent and is not even read, so it can be neither kept, shown nor logged.

use std::sync::Arc;

use axum::extract::State;
use axum::http::Uri;
use axum::response::Response;
use osds_controller::{Caller, HostUpdate, HostsWhere, NewHost};
use osds_rest_api::request::{Given, NewFence};
use osds_rest_api::{ErrorBody, HostView, json, request};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{ids, list_query, texts, words};
use crate::auth::Scope;
use crate::body::{New, Sent};
use crate::errors::Failure;
use crate::{App, answer};

pub(super) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(show, update, delete))
        .routes(routes!(fence))
        .routes(routes!(unfence))
}

/// Registers a host.
#[utoipa::path(
    post, path = "/v1beta/{tenantId}/host/hosts", tag = "hosts",
    params(
        ("tenantId" = String, Path),
        ("Idempotency-Key" = Option<String>, Header, description = "the same key and body again \
         gives what the first request made"),
    ),
    request_body = request::NewHost,
    responses(
        (status = 200, body = HostView<'static>),
        (status = 400, body = ErrorBody<'static>),
        (status = 422, description = "The key was used for another request",
         body = ErrorBody<'static>),
    ),
)]
async fn create(
    State(app): State<Arc<App>>,
    scope: Scope,
    New { sent: new, once }: New<request::NewHost>,
) -> Result<Response, Failure> {
    let new = NewHost {
        name: new.host_name,
        os_type: new.os_type,
        access_mode: new.access_mode,
        ip: new.ip,
        port: new.port,
        username: new.username,
        availability_zones: new.availability_zones,
        initiators: new.initiators,
    };
    let caller = Caller { once, ..scope.caller.clone() };
    let host = app.controller.create_host(&caller, new).await?;
    Ok(answer::ok(&HostView::of(&host)))
}

/// The hosts.
#[utoipa::path(
    get, path = "/v1beta/{tenantId}/host/hosts", tag = "hosts",
    params(("tenantId" = String, Path)),
    responses(
        (status = 200, body = [HostView<'static>]),
        (status = 400, body = ErrorBody<'static>),
    ),
)]
async fn list(State(app): State<Arc<App>>, scope: Scope, uri: Uri) -> Result<Response, Failure> {
    let query = list_query::<HostView<'_>>(&uri)?;
    let has = HostsWhere {
        ids: ids(&query, "Id"),
        names: words(&query, "HostName"),
        tenants: texts(&query, "TenantId"),
    };
    let page = app
        .controller
        .hosts(&scope.caller, &has, |hosts| json::write(&query.page(hosts, HostView::of)));
    Ok(answer::ok_bytes(page))
}

/// One host.
#[utoipa::path(
    get, path = "/v1beta/{tenantId}/host/hosts/{id}", tag = "hosts",
    params(("tenantId" = String, Path), ("id" = String, Path)),
    responses(
        (status = 200, body = HostView<'static>),
        (status = 404, body = ErrorBody<'static>),
    ),
)]
async fn show(State(app): State<Arc<App>>, scope: Scope) -> Result<Response, Failure> {
    Ok(answer::ok(&HostView::of(&*app.controller.host(&scope.caller, scope.id())?)))
}

/// Edits a host. Attachments keep the initiators that they were made with.
#[utoipa::path(
    put, path = "/v1beta/{tenantId}/host/hosts/{id}", tag = "hosts",
    params(("tenantId" = String, Path), ("id" = String, Path)),
    request_body = request::HostUpdate,
    responses(
        (status = 200, body = HostView<'static>),
        (status = 400, body = ErrorBody<'static>),
        (status = 404, body = ErrorBody<'static>),
    ),
)]
async fn update(
    State(app): State<Arc<App>>,
    scope: Scope,
    Sent(update): Sent<request::HostUpdate>,
) -> Result<Response, Failure> {
    let host = app.controller.update_host(&scope.caller, scope.id(), understood(update)).await?;
    Ok(answer::ok(&HostView::of(&host)))
}

/// Takes a host away that has no volume.
#[utoipa::path(
    delete, path = "/v1beta/{tenantId}/host/hosts/{id}", tag = "hosts",
    params(("tenantId" = String, Path), ("id" = String, Path)),
    responses(
        (status = 200, description = "It is gone"),
        (status = 400, description = "It has volumes", body = ErrorBody<'static>),
        (status = 404, body = ErrorBody<'static>),
    ),
)]
async fn delete(State(app): State<Arc<App>>, scope: Scope) -> Result<Response, Failure> {
    app.controller.delete_host(&scope.caller, scope.id()).await?;
    Ok(answer::gone())
}

/// Keeps a host out of every volume from now on, and takes those away that it has. Not in the
/// original.
#[utoipa::path(
    post, path = "/v1beta/{tenantId}/host/hosts/{id}/fence", tag = "hosts",
    params(("tenantId" = String, Path), ("id" = String, Path)),
    request_body = Option<NewFence>,
    responses(
        (status = 200, body = HostView<'static>),
        (status = 400, body = ErrorBody<'static>),
        (status = 404, body = ErrorBody<'static>),
    ),
)]
async fn fence(
    State(app): State<Arc<App>>,
    scope: Scope,
    Sent(NewFence { reason }): Sent<NewFence>,
) -> Result<Response, Failure> {
    let host = app.controller.fence_host(&scope.caller, scope.id(), &reason).await?;
    Ok(answer::ok(&HostView::of(&host)))
}

/// Lets a host attach volumes again. Not in the original.
#[utoipa::path(
    post, path = "/v1beta/{tenantId}/host/hosts/{id}/unfence", tag = "hosts",
    params(("tenantId" = String, Path), ("id" = String, Path)),
    responses(
        (status = 200, body = HostView<'static>),
        (status = 404, body = ErrorBody<'static>),
    ),
)]
async fn unfence(State(app): State<Arc<App>>, scope: Scope) -> Result<Response, Failure> {
    let host = app.controller.unfence_host(&scope.caller, scope.id()).await?;
    Ok(answer::ok(&HostView::of(&host)))
}

/// What an update means. The original's client sends `null` for every list it does not speak of,
/// and also for the list of initiators when it takes the last one away: it does that with a body
/// that says nothing else, so nothing else can be meant by one.
fn understood(update: request::HostUpdate) -> HostUpdate {
    let says_nothing_else = update
        == request::HostUpdate {
            availability_zones: Given::Null,
            initiators: Given::Null,
            ..request::HostUpdate::default()
        };
    let given = |text: &String| !text.is_empty();
    HostUpdate {
        name: update.host_name.filter(given),
        os_type: update.os_type.filter(given),
        access_mode: update.access_mode.filter(given),
        ip: update.ip.filter(given),
        port: update.port.filter(|port| *port != 0),
        username: update.username.filter(given),
        availability_zones: value(update.availability_zones),
        initiators: if says_nothing_else { Some(Vec::new()) } else { value(update.initiators) },
    }
}

fn value<T>(given: Given<T>) -> Option<T> {
    match given {
        Given::Absent | Given::Null => None,
        Given::Value(value) => Some(value),
    }
}
