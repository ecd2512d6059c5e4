//! What the driver does, in figures for Prometheus: calls by outcome and how long they took.
//!
//! A refusal is a call that ended with a code; the code is the label, so that a storm of refusals
//! can be told from a control plane that is away. Figures are this process's own and start with it.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use osds_rest_api::HostView;
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::api::Api;
use crate::status::Status;

/// Scrapes at once.
const CONNECTIONS: usize = 16;
/// How long a scraper may take to say what it wants, and the control plane to answer.
const PATIENCE: Duration = Duration::from_secs(3);
/// After a connection that could not be taken.
const PAUSE: Duration = Duration::from_millis(100);
const OPEN_METRICS: HeaderValue =
    HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");

/// Upper ends of the buckets, in seconds: from what a cache gives to where sidecars give up.
const BUCKETS: [f64; 12] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Call {
    call: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    call: &'static str,
    code: &'static str,
}

/// The figures of one driver. Cheap to clone.
#[derive(Clone)]
pub struct Metrics {
    registry: Arc<Registry>,
    calls: Family<Outcome, Counter>,
    seconds: Family<Call, Histogram>,
    fenced: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        let calls = Family::<Outcome, Counter>::default();
        let seconds = Family::<Call, Histogram>::new_with_constructor(|| Histogram::new(BUCKETS));
        let mut registry = Registry::with_prefix("osds_csi");
        registry.register("calls", "Calls that ended, by gRPC code", calls.clone());
        registry.register("call_seconds", "How long calls took", seconds.clone());
        let fenced = Gauge::default();
        registry.register(
            "fenced_nodes",
            "Hosts that are kept out of every volume",
            fenced.clone(),
        );
        Self { registry: Arc::new(registry), calls, seconds, fenced }
    }
}

impl Metrics {
    /// Does `work`, and counts it.
    ///
    /// # Errors
    /// As `work`.
    pub async fn observed<T>(
        &self,
        call: &'static str,
        work: impl Future<Output = Result<T, Status>>,
    ) -> Result<T, Status> {
        let began = Instant::now();
        let outcome = work.await;
        let code =
            outcome.as_ref().map_or_else(|status| crate::status::word(status.code()), |_| "OK");
        self.calls.get_or_create(&Outcome { call, code }).inc();
        self.seconds.get_or_create(&Call { call }).observe(began.elapsed().as_secs_f64());
        outcome
    }

    /// As Prometheus reads it.
    #[must_use]
    pub fn page(&self) -> String {
        let mut page = String::new();
        // Writing to a String does not fail.
        let _ = text::encode(&mut page, &self.registry);
        page
    }
}

/// Answers `GET /metrics` until the task is dropped; `hosts` is whom to ask who is fenced.
pub async fn serve(listener: TcpListener, metrics: Metrics, hosts: Option<Api>) {
    let turns = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(turn) = Arc::clone(&turns).acquire_owned().await else { return };
        let Ok((stream, _)) = listener.accept().await else {
            // Out of descriptors, as a rule: others end.
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        let (metrics, hosts) = (metrics.clone(), hosts.clone());
        tokio::spawn(async move {
            let answer = service_fn(|request: hyper::Request<hyper::body::Incoming>| {
                let (metrics, hosts) = (metrics.clone(), hosts.clone());
                async move {
                    let found = request.uri().path() == "/metrics";
                    let page =
                        if found { metrics.scraped(hosts).await } else { "no such page\n".into() };
                    hyper::Response::builder()
                        .status(if found { 200 } else { 404 })
                        .header(CONTENT_TYPE, OPEN_METRICS)
                        .body(Full::new(Bytes::from(page)))
                }
            });
            let served = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(PATIENCE)
                .keep_alive(false)
                .serve_connection(TokioIo::new(stream), answer);
            // Whoever hangs up has what he wants.
            let _ = tokio::time::timeout(PATIENCE * 2, served).await;
            drop(turn);
        });
    }
}

impl Metrics {
    async fn scraped(&self, hosts: Option<Api>) -> String {
        if let Some(api) = hosts {
            let asked = api.call(|client| client.list::<HostView<'static>>("host/hosts", &[]));
            // When nobody answers, the figure stays what it was.
            if let Ok(Ok(hosts)) = tokio::time::timeout(PATIENCE, asked).await {
                let fenced = hosts.iter().filter(|host| host.fenced).count();
                self.fenced.set(i64::try_from(fenced).unwrap_or(i64::MAX));
            }
        }
        self.page()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn calls_are_counted_by_their_code() {
        let metrics = Metrics::default();
        metrics.observed("X", async { Ok(()) }).await.unwrap();
        let refused = metrics.observed("X", async { Err::<(), _>(Status::aborted("later")) });
        refused.await.unwrap_err();
        let page = metrics.page();
        assert!(page.contains("osds_csi_calls_total{call=\"X\",code=\"OK\"} 1"), "{page}");
        assert!(page.contains("osds_csi_calls_total{call=\"X\",code=\"ABORTED\"} 1"), "{page}");
        assert!(page.contains("osds_csi_call_seconds_count{call=\"X\"} 2"), "{page}");
    }
}
