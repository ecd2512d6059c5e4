//! What the original has and we do not have yet, as one table.
//!
//! There are none of these things, so their lists are empty and each single one is not found, in
//! the original's words; making one, or having something done with one, says what is missing.
//! Nothing here pretends to work.

use std::sync::Arc;

use axum::Router;
use axum::response::Response;
use axum::routing::{MethodRouter, any, get, post};

use crate::auth::Scope;
use crate::errors::Failure;
use crate::{App, answer};

/// A kind of thing of which there are none.
struct Kind {
    /// Its place in the path.
    path: &'static str,
    /// An empty list of it; the original has two.
    empty: &'static str,
    /// What they are called.
    called: &'static str,
    /// One of them, in the original's "not found".
    one: &'static str,
    /// What the original says to an administrator of one that is not there; `None` where it says
    /// the same to everybody.
    specified: Option<&'static str>,
    /// What can be done to one of them besides.
    actions: &'static [&'static str],
    /// What is missing, for who would make one.
    missing: &'static str,
}

const KINDS: &[Kind] = &[
    Kind {
        path: "block/replications",
        empty: "null",
        called: "replications",
        one: "replication",
        specified: None,
        actions: &["enable", "disable", "failover"],
        missing: "no driver of this server can copy a volume to another backend",
    },
    Kind {
        path: "file/shares",
        empty: "[]",
        called: "file shares",
        one: "fileshare",
        specified: Some("fileshare"),
        actions: &[],
        missing: "this server serves blocks, not files",
    },
    Kind {
        path: "file/snapshots",
        empty: "[]",
        called: "file share snapshots",
        one: "fileshare snapshot",
        specified: Some("fileshare snapshot"),
        actions: &[],
        missing: "this server serves blocks, not files",
    },
    Kind {
        path: "file/acls",
        empty: "[]",
        called: "file share access lists",
        one: "fileshare acl",
        specified: Some("fileshare acl"),
        actions: &[],
        missing: "this server serves blocks, not files",
    },
];

/// Paths that no list belongs to; monitoring tools are behind them in the original.
const METRICS: &[&str] = &[
    "/v1beta/{tenantId}/metrics",
    "/v1beta/{tenantId}/metrics/urls",
    "/v1beta/{tenantId}/metrics/downloadconf",
    "/v1beta/{tenantId}/metrics/uploadconf",
];

pub(super) fn routes() -> Router<Arc<App>> {
    let detail = "/v1beta/{tenantId}/block/replications/detail";
    let mut routes = Router::new().route(detail, get(|_: Scope| empty("[]")));
    for kind in KINDS {
        let all = format!("/v1beta/{{tenantId}}/{}", kind.path);
        let one = format!("{all}/{{id}}");
        for action in kind.actions {
            let never = post(|_: Scope| not_there(kind.called, kind.missing));
            routes = routes.route(&format!("{one}/{action}"), never);
        }
        let make = |_: Scope| not_there(kind.called, kind.missing);
        routes = routes
            .route(&one, none(kind))
            .route(&all, get(|_: Scope| empty(kind.empty)).post(make));
    }
    for path in METRICS {
        let never = |_: Scope| {
            let instead =
                "Prometheus reads them at a port of their own, see [metrics] in osds.toml";
            not_there("metrics through this API", instead)
        };
        routes = routes.route(path, any(never));
    }
    // Of no tenant: monitoring tools send to it.
    let never = || not_there("alerts", "send them to the Alertmanager itself");
    routes.route("/v1beta/alert", any(never))
}

async fn empty(list: &'static str) -> Response {
    answer::ok_bytes(list)
}

async fn not_there(called: &'static str, missing: &'static str) -> Failure {
    Failure::NotThere { called, missing }
}

/// Whatever is done to one of them, there is none.
fn none(kind: &'static Kind) -> MethodRouter<Arc<App>> {
    any(move |scope: Scope| async move { none_of(kind, &scope) })
}

fn none_of(kind: &Kind, scope: &Scope) -> Failure {
    let id = scope.id();
    let why = match kind.specified {
        Some(what) if scope.caller.admin => format!("specified {what}({id}) can't find"),
        Some(_) | None => "Wrong resource uuid provided!".to_owned(),
    };
    Failure::NoneYet(format!("{} {id} not found: {why}", kind.one))
}
