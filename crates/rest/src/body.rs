//! Request bodies, read and checked. The content type is not looked at (the original's clients
//! send none, or a wrong one), and how large a body may be was decided before it came here.

use std::sync::Arc;

use axum::body::to_bytes;
use axum::extract::{FromRequest, Request};
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
