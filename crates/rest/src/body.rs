//! Request bodies, read and checked. The content type is not looked at (the original's clients
//! send none, or a wrong one), and how large a body may be was decided before it came here.
//!
//! A request that makes something may have a key of its own; path and body say whether it is the
//! same request when the key comes again.

use std::sync::Arc;

use axum::body::to_bytes;
use axum::extract::{FromRequest, Request};
use axum::http::HeaderMap;
use osds_controller::Once;
use osds_rest_api::{Checked, decode};

use crate::App;
use crate::errors::Failure;

/// What the client sent.
pub(crate) struct Sent<T>(pub(crate) T);

impl<T: Checked> FromRequest<Arc<App>> for Sent<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, _: &Arc<App>) -> Result<Self, Failure> {
        // The port has read it already, up to its limit; this only takes it out.
        let body = to_bytes(request.into_body(), usize::MAX).await.map_err(|_| Failure::Unread)?;
        Ok(Self(decode(&body)?))
    }
}

/// What the client sent to have something made.
pub(crate) struct New<T> {
    /// What it sent.
    pub(crate) sent: T,
    /// By what it will know the request again, if it says so.
    pub(crate) once: Option<Once>,
}

impl<T: Checked> FromRequest<Arc<App>> for New<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, _: &Arc<App>) -> Result<Self, Failure> {
        let key = key(request.headers())?;
        let path = request.uri().path().to_owned();
        let body = to_bytes(request.into_body(), usize::MAX).await.map_err(|_| Failure::Unread)?;
        let once = key.map(|key| Once::new(&key, &path, &body));
        Ok(Self { sent: decode(&body)?, once })
    }
}

/// The request's key: a string in quotes, as the draft wants, or the bare word that many send.
fn key(headers: &HeaderMap) -> Result<Option<String>, Failure> {
    let mut given = headers.get_all("idempotency-key").into_iter();
    let (Some(value), None) = (given.next(), given.next()) else {
        return if headers.contains_key("idempotency-key") {
            Err(Failure::BadKey)
        } else {
            Ok(None)
        };
    };
    let text = value.to_str().map_err(|_| Failure::BadKey)?.trim();
    let bare = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(text);
    let visible = bare.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"');
    if visible && (1..=255).contains(&bare.len()) {
        Ok(Some(bare.to_owned()))
    } else {
        Err(Failure::BadKey)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(lines: &[&str]) -> Option<Option<String>> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append("Idempotency-Key", line.parse().unwrap());
        }
        key(&headers).ok()
    }

    #[test]
    fn keys() {
        assert_eq!(read(&[]), Some(None));
        assert_eq!(read(&["\"a-1\""]), Some(Some("a-1".to_owned())));
        assert_eq!(read(&["a-1"]), Some(Some("a-1".to_owned())));
        for bad in ["", "\"\"", "a b", "\"a", "a\"b", &"x".repeat(256)] {
            assert_eq!(read(&[bad]), None, "{bad}");
        }
        assert_eq!(read(&["a", "a"]), None);
    }
}
