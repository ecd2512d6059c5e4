//! The OpenSDS words for what is on record.
//!
//! They are derived by `lifecycle` each time and stored nowhere; this hands them to those who show
//! records and may not know the rules.

use osds_lifecycle::status;
use osds_model::{Attachment, SnapshotState, Volume};

use crate::Attached;

/// The status word of a volume.
#[must_use]
pub fn volume_status(volume: &Volume) -> &'static str {
    status::volume(&volume.state)
}

/// The status word of an attachment.
#[must_use]
pub fn attachment_status(attachment: &Attachment) -> &'static str {
    status::attachment(attachment)
}

/// The status word of a snapshot.
#[must_use]
pub fn snapshot_status(snapshot: &SnapshotState) -> &'static str {
    status::snapshot(snapshot)
}

impl Attached {
    /// The status word of the attachment.
    #[must_use]
    pub fn status(&self) -> &'static str {
        status::attachment(self.attachment())
    }
}
