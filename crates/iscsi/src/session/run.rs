//! The two ways of a command to the unit, each behind the same guards.
//!
//! The pass of the session's gate (a revoked session executes nothing) and the unit's task set (a
//! task that a reset has voided does not execute) are taken here and held until the command has
//! ended. [`at_once`] never waits, for a lock as little as for the medium, and is for the session's
//! thread; [`to_its_end`] waits for whatever it takes, and is for a worker. Both count what they
//! ran; `received` is when the command arrived, or the last of its data.

use std::time::Instant;

use super::tasks::Began;
use crate::buffer::Buffer;
use crate::gate::Gate;
use crate::pdu::request::ScsiCommand;
use crate::registry::Attached;
use crate::scsi::{self, Command, Completion, Status};

/// The LUN of the one unit behind every target.
pub const UNIT_LUN: u64 = 1;

/// How a task ends that a reset voided before it began.
const ABORTED: Completion = Completion { status: Status::TaskAborted, sense: None };

/// How the execution of a command ended.
#[derive(Clone, Copy, Debug)]
pub enum Ran {
    /// With this.
    Done(Completion),
    /// The session's gate is shut.
    Revoked,
}

/// Runs a command if nothing has to be waited for. `began` belongs to a task that had to wait
/// before. `None`: it would have to wait, and nothing has been done.
pub fn at_once(
    gate: &Gate,
    attached: &Attached,
    command: &ScsiCommand,
    data_out: &[u8],
    began: Option<Began>,
    received: Instant,
    data_in: &mut Buffer,
) -> Option<Ran> {
    let cdb = &command.cdb[..];
    let done = match scsi::decode_lun(command.lun) {
        UNIT_LUN => {
            let Some(_pass) = gate.enter() else { return Some(Ran::Revoked) };
            let _executing = attached.tasks.execute_now();
            let before = data_in.len();
            let voided = began.is_some_and(|began| began.epoch != attached.tasks.epoch());
            let completion = if voided {
                ABORTED
            } else {
                let aborts = began.map(|began| began.aborts);
                let command = Command { cdb, data_out };
                attached.unit.execute_at_once(&attached.nexus, aborts, command, data_in)?
            };
            let gave = data_in.len() - before;
            attached.counters.command(received, cdb, data_out.len(), gave, &completion);
            completion
        }
        0 => scsi::execute_well_known(cdb, &[UNIT_LUN], data_in),
        _ => scsi::execute_absent(cdb, data_in),
    };
    Some(Ran::Done(done))
}

/// Runs a command of the unit, however long it takes.
pub fn to_its_end(
    gate: &Gate,
    attached: &Attached,
    command: &ScsiCommand,
    data_out: &[u8],
    began: Began,
    received: Instant,
    data_in: &mut Buffer,
) -> Ran {
    let Some(_pass) = gate.enter() else { return Ran::Revoked };
    let executing = attached.tasks.execute(began.epoch);
    let cdb = &command.cdb[..];
    let completion = executing.as_ref().map_or(ABORTED, |_| {
        let command = Command { cdb, data_out };
        attached.unit.execute_begun(&attached.nexus, began.aborts, command, data_in)
    });
    attached.counters.command(received, cdb, data_out.len(), data_in.len(), &completion);
    Ran::Done(completion)
}
