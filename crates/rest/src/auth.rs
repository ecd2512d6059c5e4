//! Who asks. Without authentication (the only way so far) it is whoever the path says: the tenant
//! in it is believed, and one magic tenant is the administrator, as in the original.
//!
//! Must stay true: every handler under a tenant takes a [`Scope`], whether it looks at it or not,
//! so that nothing can be asked anonymously once there is more to check (a test holds them to it).

use std::sync::Arc;

use axum::extract::{FromRequestParts, RawPathParams};
use axum::http::request::Parts;
use osds_controller::Caller;
use osds_model::UserId;
use osds_rest_api::ADMIN_TENANT;

use crate::App;
use crate::errors::Failure;

/// Who asks, and for what: the path's parameters with their meaning.
pub(crate) struct Scope {
    /// Who asks.
    pub(crate) caller: Caller,
    params: RawPathParams,
}

impl Scope {
    /// The `{id}` of the path; empty when it has none.
    pub(crate) fn id(&self) -> &str {
        self.param("id")
    }

    /// The `{key}` of the path; empty when it has none.
    pub(crate) fn key(&self) -> &str {
        self.param("key")
    }

    fn param(&self, name: &str) -> &str {
        named(&self.params, name).unwrap_or_default()
    }
}

impl FromRequestParts<Arc<App>> for Scope {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Failure> {
        // A path that is no text names nothing.
        let params = RawPathParams::from_request_parts(parts, app);
        let params = params.await.map_err(|_| Failure::NoRoute)?;
        let tenant = named(&params, "tenantId").ok_or(Failure::NoRoute)?;
        let admin = tenant == ADMIN_TENANT;
        let caller = Caller { tenant: tenant.into(), user: UserId::default(), admin };
        Ok(Self { caller, params })
    }
}

fn named<'a>(params: &'a RawPathParams, name: &str) -> Option<&'a str> {
    params.iter().find(|(known, _)| *known == name).map(|(_, value)| value)
}
