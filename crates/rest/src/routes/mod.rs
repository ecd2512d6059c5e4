//! Every route, one file per noun, and what happens to a path that has none.
//!
//! A trailing slash is accepted, as in the original: only a path without a route is looked at for
//! one, so it costs the others nothing. A wrong method is answered like a wrong path.

mod attachments;
mod docks;
mod group_snapshots;
mod groups;
mod hosts;
mod not_yet;
mod pools;
mod profiles;
mod snapshots;
mod versions;
mod volumes;
mod waited;

use std::str::FromStr;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::Uri;
use axum::http::uri::PathAndQuery;
use axum::middleware::from_fn_with_state;
use axum::response::Response;
use axum::routing::get;
use osds_controller::OneOf;
use osds_rest_api::{ListQuery, Listed};
use tower_service::Service;
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;

use crate::App;
use crate::errors::Failure;
use crate::{answer, metrics, openapi};

/// The routes that are in the OpenAPI document, and their description.
pub(crate) fn documented() -> (Router<Arc<App>>, OpenApi) {
    let (routes, mut document) = OpenApiRouter::with_openapi(openapi::preface())
        .merge(versions::routes())
        .merge(docks::routes())
        .merge(pools::routes())
        .merge(profiles::routes())
        .merge(hosts::routes())
        .merge(volumes::routes())
        .merge(attachments::routes())
        .merge(groups::routes())
        .merge(snapshots::routes())
        .merge(group_snapshots::routes())
        .split_for_parts();
    openapi::finish(&mut document);
    (routes, document)
}

pub(crate) fn all(app: Arc<App>) -> Router {
    let (routes, document) = documented();
    let document = bytes::Bytes::from(openapi::text(&document));
    let show = move || {
        let document = document.clone();
        async move { answer::ok_bytes(document) }
    };
    let requests = app.settings.requests.clone();
    let bare = routes
        .merge(not_yet::routes())
        .route("/openapi.json", get(show.clone()))
        .route("/v1beta/openapi.json", get(show))
        .method_not_allowed_fallback(no_route)
        .fallback(no_route)
        .with_state(app)
        .layer(from_fn_with_state(requests, metrics::count));
    let inner = bare.clone();
    bare.fallback(move |request: Request| without_slash(inner.clone(), request))
}

async fn no_route() -> Failure {
    Failure::NoRoute
}

async fn without_slash(mut routes: Router, mut request: Request) -> Response {
    // What has no slash to lose has no route: `routes` says so, and counts it.
    if let Some(uri) = shorter(request.uri()) {
        *request.uri_mut() = uri;
    }
    match Service::<Request<Body>>::call(&mut routes, request).await {
        Ok(response) => response,
        Err(never) => match never {},
    }
}

/// The same without the slash at the end of its path, if there is one.
fn shorter(uri: &Uri) -> Option<Uri> {
    let path = uri.path().strip_suffix('/').filter(|path| !path.is_empty())?;
    let text = uri.query().map_or_else(|| path.to_owned(), |query| format!("{path}?{query}"));
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(text).ok()?);
    Uri::from_parts(parts).ok()
}

/// What a list request asks for.
fn list_query<V: Listed>(uri: &Uri) -> Result<ListQuery, Failure> {
    Ok(ListQuery::parse::<V>(uri.query().unwrap_or_default())?)
}

// What an index can be asked of a filter. The page is filtered all the same: an index knows a field
// only by its value, and a text that is no id is not the id of anything.

fn ids<I: FromStr>(query: &ListQuery, field: &str) -> OneOf<I> {
    let wanted = query.wanted(field)?;
    Some(wanted.iter().filter_map(|text| text.parse().ok()).collect())
}

fn texts<T: for<'t> From<&'t str>>(query: &ListQuery, field: &str) -> OneOf<T> {
    Some(query.wanted(field)?.iter().map(|text| text.as_str().into()).collect())
}

/// Nothing can be emptied, as in the original, where an empty text is one that was not given.
fn given(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.is_empty())
}

fn words(query: &ListQuery, field: &str) -> OneOf<String> {
    texts(query, field)
}

#[cfg(test)]
mod tests {
    use axum::http::Method;

    use super::*;

    #[test]
    fn every_route_of_a_tenant_is_an_action_of_the_policy() {
        let (_, document) = documented();
        let mut seen = 0;
        for (path, item) in &document.paths.paths {
            let methods = [
                (Method::GET, item.get.is_some()),
                (Method::POST, item.post.is_some()),
                (Method::PUT, item.put.is_some()),
                (Method::DELETE, item.delete.is_some()),
            ];
            let below_tenant = path.contains("{tenantId}");
            for (method, _) in methods.iter().filter(|(_, there)| *there && below_tenant) {
                let action = crate::auth::action(method, path);
                assert!(action.is_some(), "{method} {path} is not in auth/actions.rs");
                seen += 1;
            }
        }
        assert!(seen > 20, "{seen} routes looked at");
    }

    #[test]
    fn one_slash_at_the_end_goes() {
        let short = |text: &str| shorter(&text.parse().unwrap()).map(|uri| uri.to_string());
        assert_eq!(short("/a/b/").unwrap(), "/a/b");
        assert_eq!(short("/a/b/?c=d/").unwrap(), "/a/b?c=d/");
        assert_eq!(short("/a/b//").unwrap(), "/a/b/");
        assert_eq!(short("/a/b"), None);
        assert_eq!(short("/"), None);
    }
}
