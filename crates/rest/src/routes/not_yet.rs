//! What the original has and we do not have yet, as one table.
//!
//! There are none of these things, so their lists are empty and each single one is not found, in
//! the original's words; making one says that it cannot be done. Nothing here pretends to work.

use std::sync::Arc;

use axum::Router;
use axum::response::Response;
use axum::routing::{any, get};

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
}

const KINDS: &[Kind] = &[
    Kind {
        path: "block/snapshots",
        empty: "[]",
        called: "snapshots",
        one: "volume snapshot",
        specified: Some("volume snapshot"),
        actions: &[],
    },
    Kind {
        path: "block/replications",
        empty: "null",
        called: "replications",
        one: "replication",
        specified: None,
        actions: &["enable", "disable", "failover"],
    },
    Kind {
        path: "block/volumeGroups",
        empty: "null",
        called: "volume groups",
        one: "volume group",
        specified: None,
        actions: &[],
    },
    Kind {
        path: "file/shares",
        empty: "[]",
        called: "file shares",
        one: "fileshare",
        specified: Some("fileshare"),
        actions: &[],
    },
    Kind {
        path: "file/snapshots",
        empty: "[]",
        called: "file share snapshots",
        one: "fileshare snapshot",
        specified: Some("fileshare snapshot"),
        actions: &[],
    },
    Kind {
        path: "file/acls",
        empty: "[]",
        called: "file share access lists",
        one: "fileshare acl",
        specified: Some("fileshare acl"),
        actions: &[],
    },
];

/// Paths that no list belongs to; metrics are behind them in the original.
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
            routes = routes.route(&format!("{one}/{action}"), none(kind));
        }
        routes = routes
            .route(&one, none(kind))
            .route(&all, get(|_: Scope| empty(kind.empty)).post(|_: Scope| not_yet(kind.called)));
    }
    for path in METRICS {
        routes = routes.route(path, any(|_: Scope| not_yet("metrics")));
    }
    // Of no tenant: monitoring tools send to it.
    routes.route("/v1beta/alert", any(|| not_yet("alerts")))
}

async fn empty(list: &'static str) -> Response {
    answer::ok_bytes(list)
}

async fn not_yet(called: &'static str) -> Failure {
    Failure::NotYet(called)
}

/// Whatever is done to one of them, there is none.
fn none(kind: &'static Kind) -> axum::routing::MethodRouter<Arc<App>> {
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
