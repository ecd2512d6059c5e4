//! Requests to the API, by route, method and status, and how long they took.
//!
//! A route is the pattern that matched, never the path that was asked for; what matched none is one
//! row, and so is every method that is none of ours: clients cannot make rows. Time that a client
//! asked to wait for (`Prefer: wait`) is part of it. A request whose client left before the answer,
//! or that took too long, is counted with the status `none`.

use axum::extract::{MatchedPath, Request, State};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::Response;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use tokio::time::Instant;

const BUCKETS: [f64; 10] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.1, 0.5, 2.0, 10.0];

/// What the API counts. Clones count in the same place.
#[derive(Clone, Debug)]
pub struct Requests {
    answered: Family<Answered, Counter>,
    took: Family<Asked, Histogram, fn() -> Histogram>,
}

impl Default for Requests {
    fn default() -> Self {
        let histogram: fn() -> Histogram = || Histogram::new(BUCKETS);
        Self { answered: Family::default(), took: Family::new_with_constructor(histogram) }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Asked {
    method: &'static str,
    route: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answered {
    method: &'static str,
    route: String,
    status: String,
}

impl Requests {
    pub(super) fn register(&self, registry: &mut Registry) {
        let help = "Requests to the API";
        registry.register("osds_http_requests", help, self.answered.clone());
        registry.register_with_unit(
            "osds_http_request_duration",
            "Time from a request's body to its answer",
            Unit::Seconds,
            self.took.clone(),
        );
    }
}

/// One request, counted when this goes.
struct Count<'a> {
    requests: &'a Requests,
    asked: Asked,
    since: Instant,
    status: Option<u16>,
}

impl Drop for Count<'_> {
    fn drop(&mut self) {
        let status = self.status.map_or_else(|| "none".to_owned(), |status| status.to_string());
        let Asked { method, route } = self.asked.clone();
        self.requests.answered.get_or_create(&Answered { method, route, status }).inc();
        let took = self.since.elapsed().as_secs_f64();
        self.requests.took.get_or_create(&self.asked).observe(took);
    }
}

/// Around every route.
pub(crate) async fn count(
    State(requests): State<Requests>,
    request: Request,
    next: Next,
) -> Response {
    let matched = request.extensions().get::<MatchedPath>();
    let route = matched.map_or("none", MatchedPath::as_str).to_owned();
    let method = match *request.method() {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        _ => "other",
    };
    let asked = Asked { method, route };
    let mut count = Count { requests: &requests, asked, since: Instant::now(), status: None };
    let response = next.run(request).await;
    count.status = Some(response.status().as_u16());
    response
}
