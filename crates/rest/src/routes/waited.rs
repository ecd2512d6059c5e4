//! What takes its time: made, shown and taken away, and answered when it has settled if the client
//! prefers to wait (`Prefer: wait`, see [`Prefer`]).
//!
//! A noun says how it is found, waited for and shown; how an answer waits is the same for all.

use std::fmt::Display;
use std::time::Duration;

use axum::response::Response;
use osds_controller::{Controller, Error};
use serde::Serialize;

use crate::auth::Scope;
use crate::errors::Failure;
use crate::prefer::Prefer;
use crate::{App, answer};

/// A noun that settles.
pub(super) trait Waited: Sized {
    /// What it is known by.
    type Id: Copy + Display;
    /// How it looks.
    type View<'a>: Serialize
    where
        Self: 'a;

    /// Its id.
    fn id(&self) -> Self::Id;

    /// It as it is now.
    fn look(controller: &Controller, scope: &Scope, id: &str) -> Result<Self, Error>;

    /// Returns when nothing is under way for it, it is gone, or the time is over.
    async fn settle(controller: &Controller, id: Self::Id, limit: Duration);

    /// How it looks to this caller.
    fn view<'a>(&'a self, scope: &Scope) -> Self::View<'a>;

    /// How it looks to whoever asked for this very one.
    fn view_alone<'a>(&'a self, _app: &App, scope: &Scope) -> Self::View<'a> {
        self.view(scope)
    }
}

impl Prefer {
    /// 202 with what was asked for, as it is when it has settled if that was wished.
    pub(super) async fn accepted<W: Waited>(
        &self,
        app: &App,
        scope: &Scope,
        mut thing: W,
    ) -> Response {
        if let Some(limit) = self.wait() {
            thing = after(app, scope, thing.id(), limit).await.unwrap_or(thing);
        }
        self.applied(answer::accepted(&thing.view_alone(app, scope)))
    }

    /// 200 with what the path names.
    pub(super) async fn shown<W: Waited>(
        &self,
        app: &App,
        scope: &Scope,
    ) -> Result<Response, Failure> {
        let mut thing = W::look(&app.controller, scope, scope.id())?;
        if let Some(limit) = self.wait() {
            W::settle(&app.controller, thing.id(), limit).await;
            thing = W::look(&app.controller, scope, scope.id())?;
        }
        Ok(self.applied(answer::ok(&thing.view_alone(app, scope))))
    }

    /// 202 for what was asked to be gone: empty, or with what was waited for in vain.
    pub(super) async fn gone<W: Waited>(&self, app: &App, scope: &Scope, id: W::Id) -> Response {
        let left = match self.wait() {
            Some(limit) => after::<W>(app, scope, id, limit).await,
            None => None,
        };
        self.applied(match left {
            Some(thing) => answer::accepted(&thing.view(scope)),
            None => answer::accepted_empty(),
        })
    }
}

/// The thing as it is when it has settled or the time is over; `None` when it is gone.
async fn after<W: Waited>(app: &App, scope: &Scope, id: W::Id, limit: Duration) -> Option<W> {
    W::settle(&app.controller, id, limit).await;
    W::look(&app.controller, scope, &id.to_string()).ok()
}
