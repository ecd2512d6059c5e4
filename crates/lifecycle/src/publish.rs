//! What an orchestrator may do with a volume on one node, beside others: CSI's access modes as
//! rules of sharing.
//!
//! A mode becomes what attachments know already, a mode (ro or rw) and a promise about others: one
//! node alone is exclusive, one writer among many is a sole writer, many writers are shared. Two
//! rules remain that those do not say: what a volume can never satisfy is refused whoever has it,
//! and a file system that takes itself to be alone never lies beside a writer.
//!
//! Must stay true: an attachment of somebody who said no access mode counts as many writers of raw
//! blocks where the volume is multi-attach, and as one node alone where it is not.

use osds_model::publication::{AccessMode, AccessType, Publication};
use osds_model::{AttachMode, Attachment, HostId, Sharing};

use crate::refused::Refused;

/// What the target is asked for, and what is promised about others. Who only reads by its mode
/// reads, whatever else was said.
#[must_use]
pub fn terms(mode: AccessMode, asked: AttachMode) -> (AttachMode, Sharing) {
    let attach = if mode.only_reads() { AttachMode::ReadOnly } else { asked };
    let sharing = match mode {
        AccessMode::SingleNodeWriter
        | AccessMode::SingleNodeReaderOnly
        | AccessMode::SingleNodeSingleWriter
        | AccessMode::SingleNodeMultiWriter => Sharing::Exclusive,
        AccessMode::MultiNodeSingleWriter => Sharing::SoleWriter,
        AccessMode::MultiNodeReaderOnly | AccessMode::MultiNodeMultiWriter => Sharing::Shared,
    };
    (attach, sharing)
}

/// Whether a volume could ever be used like this, whoever else has it.
///
/// # Errors
/// [`Refused`], for good.
pub fn possible(asked: Publication, multi_attach: bool) -> Result<(), Refused> {
    if !asked.mode.is_multi_node() {
        return Ok(());
    }
    if !multi_attach {
        return Err(Refused::NotMultiAttach { mode: asked.mode });
    }
    if asked.access == AccessType::LocalFs && !asked.mode.only_reads() {
        return Err(Refused::LocalFileSystem { mode: asked.mode });
    }
    Ok(())
}

/// As what an attachment counts.
#[must_use]
pub fn counts_as(
    said: Option<Publication>,
    mode: AttachMode,
    sharing: Sharing,
    multi_attach: bool,
) -> Publication {
    let silent = match (sharing, mode) {
        (Sharing::Shared, _) if multi_attach => AccessMode::MultiNodeMultiWriter,
        (Sharing::SoleWriter, _) => AccessMode::MultiNodeSingleWriter,
        (Sharing::Shared | Sharing::Exclusive, _) => AccessMode::SingleNodeWriter,
    };
    said.unwrap_or(Publication { mode: silent, access: AccessType::Block })
}

/// Whether what a node asks for is what it has.
pub(crate) fn is_same(held: Publication, asked: Publication) -> bool {
    let alike =
        held.mode == asked.mode || held.mode.is_single_writer() && asked.mode.is_single_writer();
    alike && held.access == asked.access
}

/// Whether what will lie on the blocks bears with what another host does.
pub(crate) fn beside(
    asked: Publication,
    mode: AttachMode,
    holder: HostId,
    held: &Attachment,
    multi_attach: bool,
) -> Result<(), Refused> {
    let theirs = counts_as(held.publication, held.mode, held.sharing, multi_attach);
    let alone = |publication: Publication| publication.access == AccessType::LocalFs;
    let reads = mode == AttachMode::ReadOnly;
    let both_read = reads && held.mode == AttachMode::ReadOnly;
    // Who copies the blocks of a file system that another host writes knows what he gets.
    let copies = reads && asked.access == AccessType::Block;
    if both_read || copies || !alone(asked) && !alone(theirs) {
        return Ok(());
    }
    Err(Refused::FileSystemBesideWriter { holder, mode: held.mode })
}
