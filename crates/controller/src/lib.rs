//! The control plane: use-cases that commit wishes, and a loop that makes them come true.
//!
//! A use-case decides in pure code (`lifecycle`, `selector`) on the latest records, commits the
//! answer with compare-and-swap, pokes the reconciler and returns. The reconciler sends each
//! volume's whole wish to its dock and folds the answer back in. Nothing is done between a read
//! and a commit that cannot be done again, so a crash anywhere is healed by the next sweep.
//!
//! Must stay true: no driver, no HTTP and no database in here, only their contracts.

mod attachments;
mod bootstrap;
mod census;
mod clock;
mod copies;
mod error;
mod group_snapshots;
mod groups;
mod hosts;
mod pools;
mod profiles;
pub mod reconcile;
mod requests;
mod snapshots;
mod status;
mod volumes;
mod wait;

use std::collections::HashMap;
use std::sync::Arc;

use osds_dock_api::DockApi;
use osds_keyring::Keyring;
use osds_keyring::chap::Chap;
use osds_model::{DockId, TenantId, UserId, VolumeId};
use osds_store::Store;

pub use attachments::{Attached, AttachmentUpdate, HostRef, NewAttachment};
pub use census::{AttachmentFigures, Census, DockFigures, PoolFigures};
pub use clock::{Clock, SystemClock};
pub use error::{Error, Holder};
pub use group_snapshots::{GroupSnapshotted, NewGroupSnapshot};
pub use groups::{GroupUpdate, Grouped, NewGroup};
pub use hosts::{HostUpdate, NewHost};
pub use osds_store::{AttachmentsWhere, HostsWhere, OneOf, SnapshotsWhere, VolumesWhere};
pub use profiles::{NewProfile, ProfileUpdate};
pub use reconcile::{Figures, Reconciler, Settings};
pub use requests::Once;
pub use snapshots::{NewSnapshot, SnapshotUpdate, Snapshotted};
pub use status::{attachment_status, snapshot_status, volume_status};
pub use volumes::{NewVolume, VolumeUpdate};

/// The docks that this controller talks to.
pub type Docks = HashMap<DockId, Arc<dyn DockApi>>;

/// Who asks.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The tenant that things are made for.
    pub tenant: TenantId,
    /// The user, empty when nobody is known.
    pub user: UserId,
    /// Whether the caller sees what belongs to every tenant.
    pub admin: bool,
    /// What the request is known by, if it is to be done once however often it comes.
    pub once: Option<Once>,
}

impl Caller {
    /// Whether the caller may know of something that belongs to `tenant`.
    #[must_use]
    pub fn sees(&self, tenant: &TenantId) -> bool {
        self.admin || self.tenant == *tenant
    }

    /// Whose things alone the caller sees; `None` when that is everybody's.
    pub(crate) fn owner(&self) -> Option<&TenantId> {
        (!self.admin).then_some(&self.tenant)
    }

    /// The original's words for a thing that is not there, or not this caller's to know of.
    pub(crate) fn cannot_find(&self, what: &str, id: &str) -> String {
        if self.admin {
            format!("specified {what}({id}) can't find")
        } else {
            "Wrong resource uuid provided!".to_owned()
        }
    }
}

/// The use-cases of the control plane. Cheap to clone.
#[derive(Clone)]
pub struct Controller {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    reconciler: Reconciler,
    waiters: wait::Waiters,
    login: Login,
}

/// What hosts prove at login, and the keys that seal it.
#[derive(Clone)]
struct Login {
    chap: Chap,
    /// `None` only where nobody ever proves anything.
    keys: Option<Arc<Keyring>>,
}

impl Controller {
    /// A controller over `store`, with `docks` to do the work. Nothing moves until
    /// [`Controller::start`].
    pub fn new(
        store: Arc<dyn Store>,
        docks: Docks,
        clock: Arc<dyn Clock>,
        settings: Settings,
    ) -> Self {
        let reconciler = Reconciler::new(Arc::clone(&store), docks, Arc::clone(&clock), settings);
        let login = Login { chap: Chap::Off, keys: None };
        Self { store, clock, reconciler, waiters: wait::Waiters::default(), login }
    }

    /// The same with credentials for each new attachment as `chap` says, sealed with `keys`, which
    /// also open those of attachments that are there already, whatever `chap` says now. Without
    /// this, names are believed.
    #[must_use]
    pub fn with_chap(self, chap: Chap, keys: Arc<Keyring>) -> Self {
        Self { login: Login { chap, keys: Some(keys) }, ..self }
    }

    /// Takes up the work that an earlier life left, and keeps at it until [`Controller::stop`].
    /// Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn start(&self) -> Result<(), Error> {
        self.waiters.follow(self.store.watch(), self.reconciler.stopping());
        self.make_default_profile().await?;
        hosts::claim_missing(self.store.as_ref()).await?;
        self.reconciler.start().await;
        Ok(())
    }

    /// Stops the loop and waits for what is in the middle of a step.
    pub async fn stop(&self) {
        self.reconciler.stop().await;
    }

    /// Things on the docks that no record accounts for, as the last sweep saw them.
    #[must_use]
    pub fn unaccounted(&self, dock: DockId) -> Vec<String> {
        self.reconciler.unaccounted(dock)
    }

    fn poke(&self, volume: VolumeId) {
        self.reconciler.poke(volume);
    }
}
