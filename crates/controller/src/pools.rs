//! What there is to choose from: docks, pools, availability zones, and why a pool fits or not.
//!
//! Docks and pools are not made by users: discovery writes what each dock says of itself, and here
//! it is only read. `explain` asks the selector the same question that creating a volume asks, with
//! the same rules, so its reasons are the reasons.

use std::sync::Arc;

use osds_model::{Capacity, Dock, DockId, Pool, PoolId};
use osds_selector::{Ask, Verdict};

use crate::{Controller, Error, profiles};

impl Controller {
    /// All docks, in the order of their ids.
    pub fn docks<T>(
        &self,
        look: impl FnOnce(&mut dyn DoubleEndedIterator<Item = &Dock>) -> T,
    ) -> T {
        let view = self.store.view();
        look(&mut view.iter::<Dock>().map(|dock| &**dock))
    }

    /// One dock.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn dock(&self, id: &str) -> Result<Arc<Dock>, Error> {
        let view = self.store.view();
        let found = id.parse().ok().and_then(|id: DockId| view.get::<Dock>(id));
        found.map(|dock| Arc::clone(&dock.value)).ok_or_else(|| not_found("dock", id))
    }

    /// All pools, in the order of their ids.
    pub fn pools<T>(
        &self,
        look: impl FnOnce(&mut dyn DoubleEndedIterator<Item = &Pool>) -> T,
    ) -> T {
        let view = self.store.view();
        look(&mut view.iter::<Pool>().map(|pool| &**pool))
    }

    /// One pool.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn pool(&self, id: &str) -> Result<Arc<Pool>, Error> {
        let view = self.store.view();
        let found = id.parse().ok().and_then(|id: PoolId| view.get::<Pool>(id));
        found.map(|pool| Arc::clone(&pool.value)).ok_or_else(|| not_found("pool", id))
    }

    /// The availability zones that pools are in, each once, in the order of the pools' ids.
    #[must_use]
    pub fn availability_zones(&self) -> Vec<String> {
        let mut zones: Vec<String> = Vec::new();
        for pool in self.store.view().iter::<Pool>() {
            if !zones.contains(&pool.spec.availability_zone) {
                zones.push(pool.spec.availability_zone.clone());
            }
        }
        zones
    }

    /// For a volume of this size under this profile: which pools fit, and why the others do not.
    ///
    /// # Errors
    /// [`Error::Invalid`] when there is no such profile, or its filters are malformed.
    pub fn explain(
        &self,
        size: Capacity,
        profile: &str,
        availability_zone: &str,
    ) -> Result<Vec<Verdict>, Error> {
        let view = self.store.view();
        let profile = profiles::for_volume(&view, profile)?;
        let multi_attach = osds_selector::multi_attach_of(profile)
            .map_err(|malformed| Error::Invalid(malformed.to_string()))?;
        let ask = Ask {
            size,
            availability_zone,
            multi_attach: multi_attach.unwrap_or(false),
            pool: None,
            profile,
        };
        Ok(osds_selector::explain(view.iter::<Pool>().map(|pool| &**pool), &ask))
    }
}

fn not_found(what: &str, id: &str) -> Error {
    Error::NotFound(format!("{what} {id} not found: Wrong resource uuid provided!"))
}
