//! What a fresh installation needs before the first request.

use osds_model::{TenantId, UserId};
use osds_store::ClaimKind;

use crate::profiles::{DEFAULT_PROFILE, NewProfile};
use crate::{Caller, Controller, Error};

impl Controller {
    /// Makes the profile that volumes without one are made under, as the original's installer
    /// does; only on a store that never had a profile, so that it can be deleted for good.
    pub(crate) async fn make_default_profile(&self) -> Result<(), Error> {
        let view = self.store.latest();
        let named = view.claim_owner(ClaimKind::ProfileName, DEFAULT_PROFILE).is_some();
        if named || !view.is_empty::<osds_model::Profile>() {
            return Ok(());
        }
        let profile = NewProfile {
            name: DEFAULT_PROFILE.to_owned(),
            description: "default policy".to_owned(),
            storage_type: "block".to_owned(),
            ..NewProfile::default()
        };
        let nobody = Caller {
            tenant: TenantId::default(),
            user: UserId::default(),
            admin: true,
            once: None,
        };
        match self.create_profile(&nobody, profile).await {
            // Another controller was quicker.
            Ok(_) | Err(Error::Invalid(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }
}
