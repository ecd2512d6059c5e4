//! Answers to commands: status, sense, residuals, and read data.
//!
//! Read data is cut into PDUs that fit what the initiator declared, and good status rides on the
//! last of them. A residual compares what the initiator expected with what the command would have
//! moved (RFC 7143, 11.4.5), and says nothing where that is not known.

use super::End;
use super::feature::Session;
use crate::pdu::request::ScsiCommand;
use crate::pdu::response::{DataIn, Residual, Response, ScsiResponse};
use crate::scsi::{self, Completion, Status};

/// Answers up to this size are made in the send buffer; larger ones are sent from where they lie.
pub(super) const IN_PLACE: usize = 64 << 10;

/// How many bytes of read data the initiator takes.
pub(super) fn expected(command: &ScsiCommand) -> usize {
    if command.read { command.expected_len as usize } else { 0 }
}

/// What a command moved, for its residual.
#[derive(Clone, Copy)]
pub(super) enum Moved {
    /// So many bytes were read.
    In(u64),
    /// The command takes so many bytes.
    Out(u64),
    /// Nothing, or nothing that can be told.
    Nothing,
}

impl Session<'_> {
    pub(super) fn answer_write(
        &mut self,
        command: &ScsiCommand,
        completion: Completion,
        r2t_sn: u32,
    ) {
        let wanted = scsi::data_out_length(&command.cdb).unwrap_or(0);
        self.respond(command, completion, Moved::Out(wanted), r2t_sn);
    }

    /// Sends what a command has read, in as many PDUs as it takes, and its status with the last.
    pub(super) fn answer_read(
        &mut self,
        command: &ScsiCommand,
        completion: Completion,
        data: &[u8],
    ) -> Result<(), End> {
        let (read, expected) = (data.len(), expected(command));
        let keep = read.min(expected);
        if completion.status != Status::Good || keep == 0 {
            self.respond(command, completion, Moved::In(read as u64), 0);
            return Ok(());
        }
        let p = self.parameters;
        let small = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let (sequence, mut offset, mut data_sn) = (&mut self.sequence, 0, 0);
        let pdus = std::iter::from_fn(|| {
            if offset == keep {
                return None;
            }
            let burst_end = (offset / p.max_burst + 1) * p.max_burst;
            let end = keep.min(burst_end).min(offset + p.max_send_segment);
            let last = end == keep;
            let data_in = DataIn {
                is_final: last || end == burst_end,
                status: last.then_some(Status::Good as u8),
                itt: command.itt,
                counters: if last { sequence.status() } else { sequence.peek() },
                data_sn,
                offset: small(offset),
                residual: if last {
                    Residual::of(expected as u64, read as u64)
                } else {
                    Residual::None
                },
            };
            let segment = &data[offset..end];
            (offset, data_sn) = (end, data_sn + 1);
            Some((Response::DataIn(data_in), segment))
        });
        if keep > IN_PLACE {
            self.outbox.send_gathered(pdus)?;
        } else {
            pdus.for_each(|(response, data)| self.outbox.push(&response, data));
        }
        Ok(())
    }

    /// Queues the status of a command that has no read data to ride on.
    pub(super) fn respond(
        &mut self,
        command: &ScsiCommand,
        completion: Completion,
        moved: Moved,
        exp_data_sn: u32,
    ) {
        let expected = if command.read || command.write { command.expected_len } else { 0 };
        let expected = u64::from(expected);
        let good = completion.status == Status::Good;
        let residual = match moved {
            Moved::In(bytes) => Residual::of(expected, if good { bytes } else { 0 }),
            // Too little data is why a write fails; how much of it was used then is not known.
            Moved::Out(wanted) if good || wanted > expected => Residual::of(expected, wanted),
            Moved::Out(_) | Moved::Nothing => Residual::None,
        };
        let data = completion.sense.map(|sense| {
            let bytes = sense.to_bytes();
            [&(bytes.len() as u16).to_be_bytes()[..], &bytes].concat()
        });
        let response = ScsiResponse {
            response: 0,
            status: completion.status as u8,
            itt: command.itt,
            counters: self.sequence.status(),
            exp_data_sn,
            residual,
        };
        self.outbox.push(&Response::ScsiResponse(response), data.as_deref().unwrap_or_default());
    }
}
