//! The OpenSDS v1beta REST server: JSON in, one use-case of the controller, JSON out.
//!
//! A route translates and nothing else: what a body must look like is said in `rest-api`, what may
//! happen in the controller. [`router`] is the routes, [`serve`] is the port: limits, timeouts,
//! request ids and the access log are the port's, so that a route can be short.
//!
//! Must stay true: an answer is made of borrowed records, straight to bytes; HTTP status codes are
//! named in `errors.rs` only; nothing that a client sends can panic, hang or crowd out others.

mod answer;
mod auth;
mod body;
mod edge;
mod errors;
mod metrics;
mod openapi;
mod prefer;
mod routes;
mod server;
mod tls;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use osds_controller::Controller;

pub use auth::Authority;
pub use metrics::{MetricsSettings, Requests, metrics_router};
pub use openapi::document;
pub use server::{Limits, serve};
pub use tls::{Tls, TlsError};

/// What the routes may do.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Longest time that a request may ask to wait for its wish to come true (`Prefer: wait`);
    /// keep it below [`Limits::request`].
    pub longest_wait: Duration,
    /// Where requests are counted; whoever shows them has a clone.
    pub requests: Requests,
}

impl Default for Settings {
    fn default() -> Self {
        Self { longest_wait: Duration::from_secs(60), requests: Requests::default() }
    }
}

/// What every route can reach.
pub(crate) struct App {
    pub(crate) controller: Controller,
    pub(crate) authority: Authority,
    pub(crate) settings: Settings,
}

/// The routes over `controller`, to be put behind a port with [`serve`]; `authority` decides who
/// may use which.
pub fn router(controller: Controller, authority: Authority, settings: Settings) -> Router {
    routes::all(Arc::new(App { controller, authority, settings }))
}
