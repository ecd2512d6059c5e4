//! What Prometheus reads: one route, on a port of its own that [`crate::serve`] guards.
//!
//! A page is made of what the controller and the API count. It costs as much as there are
//! attachments, so it is kept for a moment and bounded: however many scrapers ask and leave, one
//! page at a time is made, by a task that nobody's hanging up can cut short.
//!
//! Must stay true: every metric is in `docs/book/src/metrics.md` (a test compares), and no label's
//! value is chosen by somebody who may not be here.

mod attachments;
mod control;
mod page;
mod process;
mod requests;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::Response;
use axum::routing::get;
use bytes::Bytes;
use osds_controller::Controller;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, text};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use tokio::sync::Mutex;
use tokio::time::Instant;

pub use requests::Requests;
pub(crate) use requests::count;

use crate::Limits;
use crate::errors::Failure;

const OPENMETRICS: HeaderValue =
    HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");

/// What the metrics are made of.
#[derive(Clone, Debug)]
pub struct MetricsSettings {
    /// What the API counts: the same that its router was given.
    pub requests: Requests,
    /// Attachments with metrics of their own; of the others only the number is told.
    pub max_attachments: usize,
    /// How long a page is served again before another one is made.
    pub fresh_for: Duration,
}

impl Default for MetricsSettings {
    fn default() -> Self {
        Self {
            requests: Requests::default(),
            max_attachments: 1000,
            fresh_for: Duration::from_secs(1),
        }
    }
}

impl MetricsSettings {
    /// Limits for the metrics' port: a few scrapers, none of which sends anything.
    #[must_use]
    pub fn limits() -> Limits {
        let short = Duration::from_secs(10);
        Limits {
            connections: 32,
            head_bytes: 16 * 1024,
            body_bytes: 1024,
            body_read: short,
            request: 3 * short,
            grace: Duration::from_secs(1),
            ..Limits::default()
        }
    }
}

/// The route `/metrics` over `controller`, to be put behind a port with [`crate::serve`].
pub fn metrics_router(controller: Controller, settings: MetricsSettings) -> Router {
    let pages = Arc::new(Pages { controller, settings, last: Mutex::default() });
    Router::new()
        .route("/metrics", get(show))
        .method_not_allowed_fallback(no_route)
        .fallback(no_route)
        .with_state(pages)
}

async fn no_route() -> Failure {
    Failure::NoRoute
}

async fn show(State(pages): State<Arc<Pages>>) -> Result<Response, Failure> {
    // A task: a scraper that leaves must not have the same page begun again and again.
    let page = tokio::spawn(async move { pages.page().await });
    let page = page.await.map_err(|_| Failure::Panicked)?;
    let mut response = Response::new(Body::from(page));
    response.headers_mut().insert(header::CONTENT_TYPE, OPENMETRICS);
    Ok(response)
}

struct Pages {
    controller: Controller,
    settings: MetricsSettings,
    last: Mutex<Option<(Instant, Bytes)>>,
}

impl Pages {
    async fn page(&self) -> Bytes {
        // Held while a page is made: who comes meanwhile gets the same one.
        let mut last = self.last.lock().await;
        if let Some((made, page)) = &*last
            && made.elapsed() < self.settings.fresh_for
        {
            return page.clone();
        }
        let census = self.controller.census(self.settings.max_attachments).await;
        let requests = self.settings.requests.clone();
        let made = tokio::task::spawn_blocking(move || write(Figures(census), &requests)).await;
        let page = match made {
            Ok(page) => page,
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        };
        *last = Some((Instant::now(), page.clone()));
        page
    }
}

fn write(figures: Figures, requests: &Requests) -> Bytes {
    let mut registry = Registry::default();
    let version = vec![("version", env!("CARGO_PKG_VERSION"))];
    registry.register("osds_build", "What this is", Info::new(version));
    requests.register(&mut registry);
    registry.register_collector(Box::new(figures));
    let mut page = String::new();
    text::encode(&mut page, &registry).expect("a String takes all");
    Bytes::from(page)
}

#[derive(Debug)]
struct Figures(osds_controller::Census);

impl Collector for Figures {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> std::fmt::Result {
        let mut page = page::Page::new(encoder);
        attachments::write(&mut page, &self.0)?;
        control::write(&mut page, &self.0)?;
        process::write(&mut page)
    }
}
