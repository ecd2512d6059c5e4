//! `Prefer: wait=<seconds>` (RFC 7240): answer when the wish has come true, or failed, or the time
//! is over. Without it a request answers at once, as in the original. The status stays the same
//! either way; the body says how far things are.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::Response;

use crate::App;

const PREFER: HeaderName = HeaderName::from_static("prefer");
const APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// How long the client would like to wait.
pub(crate) struct Prefer {
    wait: Option<Duration>,
}

impl Prefer {
    /// The time to wait, if there is any.
    pub(crate) const fn wait(&self) -> Option<Duration> {
        self.wait
    }

    /// Says in the answer that the wish to wait was heeded.
    pub(crate) fn applied(&self, mut response: Response) -> Response {
        if self.wait.is_some() {
            response.headers_mut().insert(APPLIED, HeaderValue::from_static("wait"));
        }
        response
    }
}

impl FromRequestParts<Arc<App>> for Prefer {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Infallible> {
        let wait = seconds(&parts.headers).map(|seconds| {
            // Saturates: who wants to wait for ever waits as long as possible.
            Duration::from_secs(seconds).min(app.settings.longest_wait)
        });
        Ok(Self { wait })
    }
}

/// The first well-formed `wait`; what is not understood is ignored, as the RFC asks.
fn seconds(headers: &HeaderMap) -> Option<u64> {
    let lines = headers.get_all(PREFER).into_iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).find_map(|preference| {
        let token = preference.split(';').next().unwrap_or_default();
        let (name, value) = token.split_once('=')?;
        let value = value.trim().trim_matches('"');
        let digits = !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit());
        let wanted = name.trim().eq_ignore_ascii_case("wait") && digits;
        wanted.then(|| value.parse().unwrap_or(u64::MAX))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(lines: &[&str]) -> Option<u64> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(PREFER, line.parse().unwrap());
        }
        seconds(&headers)
    }

    #[test]
    fn preferences() {
        assert_eq!(read(&["wait=5"]), Some(5));
        assert_eq!(read(&["respond-async, Wait = 10; x=y"]), Some(10));
        assert_eq!(read(&["return=minimal", "wait=\"7\""]), Some(7));
        assert_eq!(read(&["wait=99999999999999999999999"]), Some(u64::MAX));
        assert_eq!(read(&["wait=-1", "wait=x, wait=", "wait"]), None);
        assert_eq!(read(&[]), None);
    }
}
