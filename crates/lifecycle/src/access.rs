//! Who may have a volume: attach, detach, force.
//!
//! A volume has at most one attachment per host. Whether a newcomer may join is decided against
//! *every* attachment on record, whatever its phase: one that is being taken down may still be
//! served, and one whose grant failed may have been served for a moment.

use std::sync::Arc;

use osds_model::access::AttachmentFacts;
use osds_model::{
    AttachMode, Attachment, AttachmentId, Authentication, HostId, Initiator, Phase, Presence,
    Publication, Sharing, VolumeState,
};

use crate::refused::Refused;
use crate::{publish, status};

/// A request to attach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttachRequest {
    /// The id a new attachment gets.
    pub id: AttachmentId,
    /// The host.
    pub host: HostId,
    /// Whether the host is kept out.
    pub fenced: bool,
    /// Read-only or read-write.
    pub mode: AttachMode,
    /// What the host wants promised.
    pub sharing: Sharing,
    /// How an orchestrator means to use the volume. Mode and promise then follow from it, but that
    /// it may ask to read only.
    pub publication: Option<Publication>,
    /// Whether the target can hold this host to reading beside others.
    pub read_only_enforced: bool,
    /// The names the host logs in with.
    pub initiators: Vec<Initiator>,
    /// What the host proves at login, should this become a new attachment.
    pub authentication: Option<Authentication>,
    /// What no rule looks at.
    pub about: AttachmentFacts,
}

/// Attaches a host, or finds that it has what it asks for already.
///
/// # Errors
/// [`Refused`], with the state unchanged.
pub fn attach(state: &VolumeState, request: &AttachRequest) -> Result<VolumeState, Refused> {
    if request.fenced {
        return Err(Refused::Fenced { host: request.host });
    }
    let asked = Asked::of(request);
    match state.attachments.get(&request.host) {
        Some(held) if held.phase == Phase::Detaching => return Err(Refused::StillDetaching),
        Some(held) if asked.is_had(held, state.terms.multi_attach) => return Ok(state.clone()),
        Some(held) => {
            return Err(Refused::OtherTerms { mode: held.mode, sharing: held.sharing });
        }
        None => {}
    }
    if state.presence == Presence::Unwanted || state.made.is_none() {
        return Err(Refused::NotAttachable { status: status::volume(state) });
    }
    may_join(state, request, asked)?;

    let mut next = state.clone();
    next.generation = next.generation.next();
    next.attachments.insert(
        request.host,
        Arc::new(Attachment {
            id: request.id,
            mode: asked.mode,
            sharing: asked.sharing,
            publication: asked.publication,
            phase: Phase::Attaching,
            fault: None,
            initiators: request.initiators.clone(),
            authentication: request.authentication.clone(),
            connection: None,
            about: request.about.clone(),
        }),
    );
    Ok(next)
}

/// Takes a host off the list. Asking twice, or for a host that is not there, changes nothing.
#[must_use]
pub fn detach(state: &VolumeState, host: HostId) -> VolumeState {
    let mut next = state.clone();
    if let Some(held) = next.attachments.get_mut(&host)
        && held.phase != Phase::Detaching
    {
        let held = Arc::make_mut(held);
        held.phase = Phase::Detaching;
        held.fault = None;
        // The dock drops anything older, so an edit must never reuse a generation.
        next.generation = next.generation.next();
    }
    next
}

/// Forgets a detach that does not finish, on an operator's word that the host cannot write any
/// more. The dock, when it comes back, still puts the host out before it lets anybody else in.
///
/// # Errors
/// [`Refused::NotDetaching`] unless the host is on its way out (or not there at all, which is
/// fine: nothing changes).
pub fn force(state: &VolumeState, host: HostId) -> Result<VolumeState, Refused> {
    match state.attachments.get(&host) {
        None => Ok(state.clone()),
        Some(held) if held.phase == Phase::Detaching => {
            let mut next = state.clone();
            next.attachments.remove(&host);
            next.generation = next.generation.next();
            Ok(next)
        }
        Some(_) => Err(Refused::NotDetaching),
    }
}

/// What is asked for, once it is clear what an access mode means.
#[derive(Clone, Copy)]
struct Asked {
    mode: AttachMode,
    sharing: Sharing,
    publication: Option<Publication>,
}

impl Asked {
    fn of(request: &AttachRequest) -> Self {
        let publication = request.publication;
        let (mode, sharing) = match publication {
            Some(said) => publish::terms(said.mode, request.mode),
            None => (request.mode, request.sharing),
        };
        Self { mode, sharing, publication }
    }

    /// Whether this is what the host has.
    fn is_had(self, held: &Attachment, multi_attach: bool) -> bool {
        let counts = |said| publish::counts_as(said, held.mode, held.sharing, multi_attach);
        held.mode == self.mode
            && match self.publication {
                Some(said) => publish::is_same(counts(held.publication), said),
                None => held.sharing == self.sharing,
            }
    }
}

/// The rules of sharing, against everybody who has the volume.
fn may_join(state: &VolumeState, request: &AttachRequest, asked: Asked) -> Result<(), Refused> {
    let multi_attach = state.terms.multi_attach;
    if !state.terms.multi_attach
        && let Some(holder) = state.attachments.keys().next()
    {
        return Err(Refused::HeldByAnotherHost { holder: *holder });
    }
    if let Some(said) = asked.publication {
        publish::possible(said, multi_attach)?;
    }
    let counts = publish::counts_as(asked.publication, asked.mode, asked.sharing, multi_attach);
    for (holder, held) in &state.attachments {
        let same = |asked: &&Initiator| held.initiators.iter().any(|i| i.is_same_as(asked));
        if let Some(shared) = request.initiators.iter().find(same) {
            let name = shared.port_name.clone();
            return Err(Refused::SameInitiator { holder: *holder, name });
        }
        if breaks(held.sharing, held.mode, asked.mode) {
            return Err(Refused::Promised { holder: *holder, promised: held.sharing });
        }
        if breaks(asked.sharing, asked.mode, held.mode) {
            return Err(Refused::CannotPromise {
                holder: *holder,
                mode: held.mode,
                wanted: asked.sharing,
            });
        }
        publish::beside(counts, asked.mode, *holder, held, multi_attach)?;
    }
    let read_only_somewhere = asked.mode == AttachMode::ReadOnly
        || state.attachments.values().any(|held| held.mode == AttachMode::ReadOnly);
    if read_only_somewhere && !request.read_only_enforced && !state.attachments.is_empty() {
        return Err(Refused::ReadOnlyNotEnforced);
    }
    match state.terms.max_attachments {
        Some(limit) if state.attachments.len() >= limit as usize => Err(Refused::Full { limit }),
        Some(_) | None => Ok(()),
    }
}

/// Whether it says anything about other hosts.
pub(crate) const fn is_promise(sharing: Sharing) -> bool {
    match sharing {
        Sharing::Shared => false,
        Sharing::SoleWriter | Sharing::Exclusive => true,
    }
}

/// Whether another host in mode `other` breaks the promise of one that has (`promise`, `mode`).
/// A sole writer that only reads was promised nothing.
fn breaks(promise: Sharing, mode: AttachMode, other: AttachMode) -> bool {
    match promise {
        Sharing::Shared => false,
        Sharing::SoleWriter => mode == AttachMode::ReadWrite && other == AttachMode::ReadWrite,
        Sharing::Exclusive => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::volume;
    use osds_model::host::Protocol;
    use osds_model::volume::Terms;
    use osds_model::{Capacity, Generation};

    const A: HostId = HostId::from_u128(0xa);
    const B: HostId = HostId::from_u128(0xb);

    fn made(multi_attach: bool, max_attachments: Option<u32>) -> VolumeState {
        let size = Capacity::from_gib(1).unwrap();
        let mut state = volume::new(size, Terms { multi_attach, max_attachments });
        state.made = Some(size);
        state
    }

    fn ask(host: HostId, mode: AttachMode, sharing: Sharing) -> AttachRequest {
        AttachRequest {
            id: AttachmentId::from_u128(1),
            host,
            fenced: false,
            mode,
            sharing,
            publication: None,
            read_only_enforced: true,
            initiators: vec![],
            authentication: None,
            about: AttachmentFacts::default(),
        }
    }

    use AttachMode::{ReadOnly as RO, ReadWrite as RW};
    use Sharing::{Exclusive, Shared, SoleWriter};

    #[test]
    fn asking_twice_is_boring_and_asking_otherwise_is_refused() {
        let one = attach(&made(true, None), &ask(A, RW, Shared)).unwrap();
        let mut again = ask(A, RW, Shared);
        again.id = AttachmentId::from_u128(2);
        assert_eq!(attach(&one, &again).unwrap(), one);
        let refused = attach(&one, &ask(A, RO, Shared)).unwrap_err();
        assert_eq!(refused, Refused::OtherTerms { mode: RW, sharing: Shared });
        let leaving = detach(&one, A);
        assert_eq!(leaving.generation, Generation(3));
        assert_eq!(detach(&leaving, A), leaving);
        assert_eq!(attach(&leaving, &ask(A, RW, Shared)), Err(Refused::StillDetaching));
    }

    #[test]
    fn without_multi_attach_any_phase_holds() {
        let one = attach(&made(false, None), &ask(A, RW, Shared)).unwrap();
        for held in [one.clone(), detach(&one, A)] {
            let refused = attach(&held, &ask(B, RO, Shared)).unwrap_err();
            assert_eq!(refused, Refused::HeldByAnotherHost { holder: A });
            assert!(refused.to_string().starts_with("volume is already attached to one of the"));
        }
    }

    /// The whole table of promises: who has it, who asks, and whether they get along.
    #[test]
    fn promises() {
        let kinds =
            [(Shared, RW), (Shared, RO), (SoleWriter, RW), (SoleWriter, RO), (Exclusive, RO)];
        let granted: Vec<Vec<bool>> = kinds
            .iter()
            .map(|&(held, held_mode)| {
                let state = attach(&made(true, None), &ask(A, held_mode, held)).unwrap();
                kinds.iter().map(|&(s, m)| attach(&state, &ask(B, m, s)).is_ok()).collect()
            })
            .collect();
        let (y, n) = (true, false);
        assert_eq!(
            granted,
            [
                [y, y, n, y, n], // shared rw holder
                [y, y, y, y, n], // shared ro holder
                [n, y, n, y, n], // sole writer
                [y, y, y, y, n], // sole writer that only reads
                [n, n, n, n, n], // exclusive holder
            ]
        );
    }

    #[test]
    fn limits_fences_and_targets_that_cannot() {
        let full = attach(&made(true, Some(1)), &ask(A, RW, Shared)).unwrap();
        assert_eq!(attach(&full, &ask(B, RW, Shared)), Err(Refused::Full { limit: 1 }));
        let mut fenced = ask(A, RW, Shared);
        fenced.fenced = true;
        assert_eq!(attach(&full, &fenced), Err(Refused::Fenced { host: A }));
        let held = attach(&made(true, None), &ask(A, RW, Shared)).unwrap();
        let mut weak = ask(B, RO, Shared);
        weak.read_only_enforced = false;
        assert_eq!(attach(&held, &weak), Err(Refused::ReadOnlyNotEnforced));
        assert!(attach(&made(true, None), &weak).is_ok(), "alone it does no harm");
    }

    #[test]
    fn two_hosts_under_one_name_cannot_be_told_apart() {
        let port_name = "iqn.2026-11.example:x".to_owned();
        let initiator = Initiator { port_name: port_name.clone(), protocol: Protocol::Iscsi };
        let named = |host, mode| AttachRequest {
            initiators: vec![initiator.clone()],
            ..ask(host, mode, Shared)
        };
        let held = attach(&made(true, None), &named(A, RW)).unwrap();
        let mut other = named(B, RO);
        other.initiators[0].port_name = port_name.to_ascii_uppercase();
        assert!(matches!(attach(&held, &other), Err(Refused::SameInitiator { .. })));
        let refused = attach(&held, &named(B, RO));
        assert_eq!(refused, Err(Refused::SameInitiator { holder: A, name: port_name }));
    }

    #[test]
    fn only_a_volume_that_is_there_can_be_attached() {
        let size = Capacity::from_gib(1).unwrap();
        let young = volume::new(size, Terms { multi_attach: true, max_attachments: None });
        assert_eq!(
            attach(&young, &ask(A, RW, Shared)),
            Err(Refused::NotAttachable { status: "creating" })
        );
        let leaving = volume::delete(&made(true, None)).unwrap();
        assert_eq!(
            attach(&leaving, &ask(A, RW, Shared)),
            Err(Refused::NotAttachable { status: "deleting" })
        );
    }

    #[test]
    fn force_is_for_a_detach_that_does_not_finish() {
        let one = attach(&made(false, None), &ask(A, RW, Shared)).unwrap();
        assert_eq!(force(&one, A), Err(Refused::NotDetaching));
        assert_eq!(force(&one, B).unwrap(), one);
        let forgotten = force(&detach(&one, A), A).unwrap();
        assert!(forgotten.attachments.is_empty());
        assert!(forgotten.generation > detach(&one, A).generation);
    }
}
