//! Who asks, and whether they may.
//!
//! Two ways, as in the original. Without authentication it is whoever the path says: the tenant in
//! it is believed, and one magic tenant is the administrator. With keystone a token proves user,
//! project and roles, and the policy's rule for the route's action decides; the tenant in the path is
//! what the request is *about*, and the token's project is who *asks*.
//!
//! Must stay true: every handler under a tenant takes a [`Scope`], whether it looks at it or not
//! (a test holds them to it), and a route that `actions` does not know is refused to everybody.

mod actions;
mod keystone;

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{FromRequestParts, MatchedPath, RawPathParams};
use axum::http::HeaderMap;
use axum::http::request::Parts;
use osds_controller::Caller;
use osds_model::UserId;
use osds_policy::{Action, Policy, Subject, Target};
use osds_rest_api::ADMIN_TENANT;
use osds_rest_api::keystone::{KeystoneError, Login};

use crate::App;
use crate::errors::Failure;

#[cfg(test)]
pub(crate) use actions::of as action;
use keystone::Keystone;
pub(crate) use keystone::Unproven;

/// Who decides what a request may do. Cheap to clone.
#[derive(Clone)]
pub struct Authority {
    inner: Arc<Inner>,
}

enum Inner {
    Believing,
    Keystone { keystone: Arc<Keystone>, policy: Policy },
}

impl Authority {
    /// Believes the tenant in the path (the original's `noauth`).
    #[must_use]
    pub fn noauth() -> Self {
        Self { inner: Arc::new(Inner::Believing) }
    }

    /// Has tokens checked by a Keystone, in which we are `login`, and asks `policy` what they allow.
    /// A proven token is believed for `token_cache` without asking again; with nothing, every
    /// request asks. Nothing is asked of Keystone before the first request.
    ///
    /// # Errors
    /// The login cannot be used.
    pub fn keystone(
        login: Login,
        token_cache: Duration,
        policy: Policy,
    ) -> Result<Self, KeystoneError> {
        let keystone = Arc::new(Keystone::new(login, token_cache)?);
        Ok(Self { inner: Arc::new(Inner::Keystone { keystone, policy }) })
    }

    async fn caller(
        &self,
        action: Option<Action>,
        path_tenant: &str,
        headers: &HeaderMap,
    ) -> Result<Caller, Failure> {
        let (keystone, policy) = match &*self.inner {
            Inner::Believing => {
                let admin = path_tenant == ADMIN_TENANT;
                let tenant = path_tenant.into();
                return Ok(Caller { tenant, user: UserId::default(), admin, once: None });
            }
            Inner::Keystone { keystone, policy } => (keystone, policy),
        };
        let token = headers.get("x-auth-token").and_then(|token| token.to_str().ok());
        let proven = keystone.prove(token.unwrap_or_default().trim()).await?;
        let subject = Subject {
            user_id: &proven.user,
            tenant_id: &proven.project,
            roles: &proven.roles,
            is_admin: false,
            is_admin_project: proven.is_admin_project,
        };
        let target = Target { tenant_id: path_tenant, user_id: "" };
        if !action.is_some_and(|action| policy.allows(action, &subject, &target)) {
            return Err(Failure::NotPermitted);
        }
        Ok(Caller {
            tenant: proven.project.as_str().into(),
            user: proven.user.as_str().into(),
            // Not by the role alone, as the original does: every tenant's own administrator has it.
            admin: policy.is_admin(&subject, &target),
            once: None,
        })
    }
}

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
        let route = parts.extensions.get::<MatchedPath>().map_or("", MatchedPath::as_str);
        let action = actions::of(&parts.method, route);
        let caller = app.authority.caller(action, tenant, &parts.headers).await?;
        Ok(Self { caller, params })
    }
}

fn named<'a>(params: &'a RawPathParams, name: &str) -> Option<&'a str> {
    params.iter().find(|(known, _)| *known == name).map(|(_, value)| value)
}
