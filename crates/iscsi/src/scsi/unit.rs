//! The logical unit: medium, identity, capacity, locks and the list of its nexuses.
//!
//! One value per volume, shared by every session. The capacity is read from the medium when the
//! unit is made and when the owner says that it changed, never per command, so that a command's
//! range check costs one load.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::backend::Backend;
use super::nexus::{Access, Attention, Nexus, Roster};
use super::reservations::Reservations;
use super::reserved::ReservationStore;
use super::{BLOCK_SIZE, Command, Completion, dispatch};
use crate::buffer::Buffer;

/// How long a reservation waits for the commands of others before it ends in BUSY. Shorter than
/// initiators wait for an answer, longer than a healthy medium takes.
const PATIENCE: Duration = Duration::from_secs(5);

/// What INQUIRY says about a unit; the same from every path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// NAA registered-extended designator: its first four bits are 6.
    pub naa: [u8; 16],
    /// Unit serial number, printable ASCII.
    pub serial: String,
    /// T10 vendor identification, at most 8 characters.
    pub vendor: String,
    /// Product identification, at most 16 characters.
    pub product: String,
    /// Product revision, at most 4 characters.
    pub revision: String,
}

/// One direct-access logical unit.
pub struct LogicalUnit {
    pub(super) backend: Box<dyn Backend>,
    pub(super) inventory: Vec<u64>,
    pub(super) roster: Arc<Roster>,
    pub(super) reservation_store: Option<Box<dyn ReservationStore>>,
    pub(super) patience: Duration,
    identity: Identity,
    blocks: AtomicU64,
}

impl LogicalUnit {
    /// A unit over `backend`. Refuses a medium smaller than one block and an identity whose NAA
    /// designator is of another type.
    pub fn new(backend: Box<dyn Backend>, identity: Identity) -> io::Result<Self> {
        if identity.naa[0] >> 4 != 6 {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "the NAA designator of a logical unit must start with the digit 6",
            ));
        }
        let blocks = count_blocks(&*backend)?;
        Ok(Self {
            backend,
            inventory: vec![1],
            identity,
            blocks: AtomicU64::new(blocks),
            roster: Arc::default(),
            reservation_store: None,
            patience: PATIENCE,
        })
    }

    /// Sets the LUNs that REPORT LUNS, addressed to this unit, answers. Without it: LUN 1 alone.
    #[must_use]
    pub fn with_inventory(mut self, luns: Vec<u64>) -> Self {
        self.inventory = luns;
        self
    }

    /// Sets how long a reservation waits for the commands of others. Without it: five seconds.
    #[must_use]
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Opens the nexus of one session, with POWER ON pending.
    pub fn attach(&self, initiator: &str, isid: [u8; 6], access: Access) -> Nexus {
        self.roster.attach(initiator, isid, access)
    }

    /// Runs one command to its end, appending to `data_in`. A command that fails leaves `data_in`
    /// as it was. READ and WRITE allocate nothing once `data_in` has grown.
    pub fn execute(&self, nexus: &Nexus, command: Command<'_>, data_in: &mut Buffer) -> Completion {
        debug_assert!(nexus.is_of(&self.roster), "the nexus belongs to another unit");
        dispatch::execute(self, nexus, None, command, data_in)
    }

    /// The same for a command that arrived when [`Nexus::aborts`] was `aborts` and has been waiting
    /// since, for its data or for a lock: if another initiator has aborted it meanwhile (PREEMPT
    /// AND ABORT), it ends in TASK ABORTED and does nothing.
    pub fn execute_begun(
        &self,
        nexus: &Nexus,
        aborts: u64,
        command: Command<'_>,
        data_in: &mut Buffer,
    ) -> Completion {
        debug_assert!(nexus.is_of(&self.roster), "the nexus belongs to another unit");
        dispatch::execute(self, nexus, Some(aborts), command, data_in)
    }

    /// The same as [`Self::execute_begun`] if nothing has to be waited for, a lock included. `None`:
    /// something would have to, and nothing has been done. `aborts` is none for a command that
    /// arrives now.
    pub fn execute_at_once(
        &self,
        nexus: &Nexus,
        aborts: Option<u64>,
        command: Command<'_>,
        data_in: &mut Buffer,
    ) -> Option<Completion> {
        debug_assert!(nexus.is_of(&self.roster), "the nexus belongs to another unit");
        dispatch::execute_at_once(self, nexus, aborts, command, data_in)
    }

    /// LOGICAL UNIT RESET, asked for by `by`, after the transport has ended all commands. Every
    /// nexus is told; the standard makes no exception for the one that asked.
    pub fn reset(&self, by: &Nexus) {
        debug_assert!(by.is_of(&self.roster), "the nexus belongs to another unit");
        self.roster.loosen(Reservations::reset);
        self.roster.forget_copies();
        self.roster.announce(Attention::Reset, None);
    }

    /// Tells `attention` to every nexus but `except`.
    pub fn announce(&self, attention: Attention, except: Option<&Nexus>) {
        self.roster.announce(attention, except);
    }

    /// Reads the capacity anew and, if it is another one, tells every nexus.
    pub fn capacity_changed(&self) -> io::Result<()> {
        let now = count_blocks(&*self.backend)?;
        if self.blocks.swap(now, Ordering::AcqRel) != now {
            self.roster.announce(Attention::CapacityChanged, None);
        }
        Ok(())
    }

    /// Who it is.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Capacity in logical blocks.
    pub fn blocks(&self) -> u64 {
        self.blocks.load(Ordering::Acquire)
    }

    /// How many nexuses are open.
    pub fn nexuses(&self) -> usize {
        self.roster.len()
    }
}

impl std::fmt::Debug for LogicalUnit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LogicalUnit")
            .field("identity", &self.identity)
            .field("blocks", &self.blocks())
            .field("nexuses", &self.nexuses())
            .finish_non_exhaustive()
    }
}

/// Whole blocks of the medium; a tail shorter than a block is not served.
fn count_blocks(backend: &dyn Backend) -> io::Result<u64> {
    match backend.len()? / BLOCK_SIZE as u64 {
        0 => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "the medium of a logical unit is smaller than one block",
        )),
        blocks => Ok(blocks),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::super::{Completion, Sense};
    use super::*;

    #[test]
    fn growth_is_told_to_everybody_once() {
        let rig = Rig::new(8);
        let other = quiet(&rig.unit, Access::ReadOnly);
        rig.unit.capacity_changed().unwrap();
        assert_eq!(rig.run(&[0; 6], &[]).0, Completion::GOOD, "nothing changed");
        rig.medium.resize(16);
        assert_eq!(rig.sense(&cdb10(0x28, 0, 15, 1), &[]), Sense::out_of_range(15));
        rig.unit.capacity_changed().unwrap();
        for nexus in [&rig.nexus, &other] {
            let (done, _) = run(&rig.unit, nexus, &[0; 6], &[]);
            assert_eq!(done.sense.map(|s| (s.asc, s.ascq)), Some((0x2a, 0x09)));
            assert_eq!(run(&rig.unit, nexus, &[0; 6], &[]).0, Completion::GOOD);
        }
        rig.good(&cdb10(0x28, 0, 15, 1), &[]);
        assert_eq!(rig.unit.blocks(), 16);
    }

    #[test]
    fn a_reset_is_told_to_everybody() {
        let rig = Rig::new(8);
        let other = quiet(&rig.unit, Access::ReadOnly);
        rig.unit.reset(&other);
        for nexus in [&rig.nexus, &other] {
            let (done, _) = run(&rig.unit, nexus, &[0; 6], &[]);
            assert_eq!(done.sense.map(|s| (s.asc, s.ascq)), Some((0x29, 0x03)));
        }
    }

    #[test]
    fn a_unit_needs_a_block_and_an_naa_identity() {
        let new = |blocks, naa| {
            let identity = Identity { naa: [naa; 16], ..identity() };
            LogicalUnit::new(Box::new(Memory::new(blocks)), identity)
        };
        assert!(new(1, 0x60).is_ok());
        assert!(new(0, 0x60).is_err());
        assert!(new(1, 0x50).is_err());
    }

    #[test]
    fn the_inventory_is_reported() {
        let rig = Rig::new(8);
        let cdb = [0xa0, 0, 0, 0, 0, 0, 0, 0, 0, 16, 0, 0];
        assert_eq!(rig.good(&cdb, &[])[8..], [0, 1, 0, 0, 0, 0, 0, 0]);
        let unit = rig.unit.with_inventory(vec![7]);
        assert_eq!(run(&unit, &rig.nexus, &cdb, &[]).1[8..], [0, 7, 0, 0, 0, 0, 0, 0]);
    }
}
