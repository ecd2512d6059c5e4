//! What an initiator may do at a target, and what it must prove first.
//!
//! One value, compared as a whole: another access or other credentials make another grant, and a
//! session belongs to exactly the grant it was let in by. It is shown for drift detection, where it
//! answers whether it is as wished, and never what the secret is.

use std::sync::Arc;

use crate::credentials::{Authentication, Proof};
use crate::scsi::Access;

/// See the head of this file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    access: Access,
    authentication: Option<Arc<Authentication>>,
}

impl Grant {
    pub(crate) fn new(access: Access, authentication: Option<Authentication>) -> Self {
        Self { access, authentication: authentication.map(Arc::new) }
    }

    /// What sessions may do.
    pub fn access(&self) -> Access {
        self.access
    }

    /// What a login has to prove.
    pub fn proof(&self) -> Proof {
        Proof::of(self.authentication.as_deref())
    }

    /// It is this access with exactly these credentials.
    pub fn is(&self, access: Access, authentication: Option<&Authentication>) -> bool {
        self.access == access && self.authentication.as_deref() == authentication
    }

    pub(crate) fn authentication(&self) -> Option<&Arc<Authentication>> {
        self.authentication.as_ref()
    }
}
