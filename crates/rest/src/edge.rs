//! What happens to every request, whatever its route: a request id, a time limit, a body that is
//! all there before anybody works on it, an access log, and an answer even when we have a bug.
//!
//! A request without a body passes through here without an allocation of its own, except for its
//! request id.

use std::convert::Infallible;
use std::fmt::Write;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{HeaderName, HeaderValue, Method, Request};
use axum::response::{IntoResponse, Response};
use bytes::BytesMut;
use http_body_util::BodyExt;
use hyper::body::{Body as _, Incoming};
use tokio::time::timeout;
use tower_service::Service;
use tracing::{Instrument, Level, debug, debug_span, error, info_span};

use crate::Limits;
use crate::errors::Failure;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Longest request id that we take over from a client.
const LONGEST_ID: usize = 128;
/// A body that is too large is still read up to this many times the limit: a client that is in
/// the middle of sending does not listen, and would see a broken connection instead of an answer.
const PATIENCE: usize = 16;

/// The routes behind everything that is done for each of them.
pub(crate) struct Edge {
    router: Router,
    limits: Limits,
    ids: RequestIds,
}

impl Edge {
    pub(crate) fn new(router: Router, limits: Limits) -> Self {
        Self { router, limits, ids: RequestIds::new() }
    }

    /// Answers one request.
    pub(crate) async fn answer(&self, request: Request<Incoming>) -> Result<Response, Infallible> {
        let given = request.headers().get(REQUEST_ID).filter(|id| is_fit(id));
        let id = given.cloned().unwrap_or_else(|| self.ids.next());
        let text = id.to_str().unwrap_or_default();
        // Reads come by the thousand and say nothing at info.
        let span = if *request.method() == Method::GET {
            debug_span!("request", request_id = text)
        } else {
            info_span!("request", request_id = text)
        };
        let mut response = self.logged(request).instrument(span).await;
        response.headers_mut().insert(REQUEST_ID, id);
        Ok(response)
    }

    async fn logged(&self, request: Request<Incoming>) -> Response {
        if !tracing::enabled!(Level::DEBUG) {
            return self.limited(request).await;
        }
        // The query stays out: filters may name what is nobody's business.
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let started = Instant::now();
        let response = self.limited(request).await;
        let (status, latency) = (response.status().as_u16(), started.elapsed());
        debug!(%method, path, status, ?latency, "answered");
        response
    }

    async fn limited(&self, request: Request<Incoming>) -> Response {
        match timeout(self.limits.request, self.handled(request)).await {
            Ok(Ok(response)) => response,
            Ok(Err(failure)) => failure.into_response(),
            Err(_) => Failure::TooSlow.into_response(),
        }
    }

    async fn handled(&self, request: Request<Incoming>) -> Result<Response, Failure> {
        // As in the original, where only the methods of the table have routes.
        if *request.method() == Method::HEAD {
            return Err(Failure::NoRoute);
        }
        let (parts, body) = request.into_parts();
        let body = if body.is_end_stream() {
            Body::empty()
        } else {
            let whole = timeout(self.limits.body_read, whole(body, self.limits.body_bytes));
            Body::from(whole.await.map_err(|_| Failure::Unread)??)
        };
        let mut router = self.router.clone();
        let mut handling = pin!(router.call(Request::from_parts(parts, body)));
        // A handler that panicked is not polled again: its half-done state goes with it, and what
        // it shares with others is behind locks that outlive a panic.
        let outcome = poll_fn(|context| {
            match catch_unwind(AssertUnwindSafe(|| handling.as_mut().poll(context))) {
                Ok(Poll::Pending) => Poll::Pending,
                Ok(Poll::Ready(Ok(response))) => Poll::Ready(Ok(response)),
                Ok(Poll::Ready(Err(never))) => match never {},
                Err(panic) => Poll::Ready(Err(panic)),
            }
        });
        outcome.await.map_err(|panic| {
            let said = panic.downcast_ref::<&str>().copied();
            let said = said.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
            error!(panic = said.unwrap_or("?"), "a handler panicked");
            Failure::Panicked
        })
    }
}

/// The whole body, if it is not larger than `most`.
async fn whole(mut body: Incoming, most: usize) -> Result<Bytes, Failure> {
    let mut read = BytesMut::new();
    let mut seen = 0_usize;
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| Failure::Unread)?.into_data() else { continue };
        seen = seen.saturating_add(data.len());
        if seen <= most {
            if seen == data.len() && body.is_end_stream() {
                return Ok(data);
            }
            read.extend_from_slice(&data);
        } else {
            read = BytesMut::new();
            if seen > most.saturating_mul(PATIENCE) {
                break;
            }
        }
    }
    if seen > most { Err(Failure::TooLarge(most)) } else { Ok(read.freeze()) }
}

fn is_fit(id: &HeaderValue) -> bool {
    (1..=LONGEST_ID).contains(&id.len()) && id.as_bytes().iter().all(u8::is_ascii_graphic)
}

/// Ids that no two requests of one server share, nor of two lives of it that began in different
/// microseconds.
struct RequestIds {
    life: u64,
    next: AtomicU64,
}

impl RequestIds {
    fn new() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { life: since.as_micros() as u64, next: AtomicU64::new(0) }
    }

    fn next(&self) -> HeaderValue {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let mut text = BytesMut::with_capacity(32);
        write!(text, "{:x}-{number:x}", self.life).expect("BytesMut takes all");
        HeaderValue::from_maybe_shared(text.freeze()).expect("hexadecimal digits and a hyphen")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_ids_are_taken_over_when_they_are_short_and_plain() {
        let fit = |text: &'static str| is_fit(&HeaderValue::from_static(text));
        assert!(fit("req-1") && fit("{550e8400}"));
        assert!(!fit("") && !fit("two words"));
        assert!(!is_fit(&HeaderValue::from_str(&"x".repeat(129)).unwrap()));
        let ids = RequestIds::new();
        assert_ne!(ids.next(), ids.next());
        assert!(is_fit(&ids.next()));
    }
}
