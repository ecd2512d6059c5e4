//! The full feature phase: one PDU in, answers queued.
//!
//! Commands reach the logical unit in exactly one function, [`run`], behind two guards: the pass of
//! this session's gate (a revoked session executes nothing) and the unit's task set (a task that a
//! reset has voided does not execute). Everything else here is numbering, residuals and cutting
//! read data into PDUs that fit what the initiator declared.

use std::io;
use std::net::SocketAddr;
use std::time::Instant;

use super::End;
use super::sequence::{Order, Sequence};
use super::tasks::TaskSet;
use super::transfer::{Outcome, Transfer, Transfers};
use super::wire::{Inbox, Outbox};
use crate::gate::Gate;
use crate::limits::Limits;
use crate::login::keys::Parameters;
use crate::login::{Claim, Ready};
use crate::pdu::frame::Parsed;
use crate::pdu::request::{DataOut, ScsiCommand};
use crate::pdu::response::{
    DataIn, NopIn, ReadyToTransfer, Reject, Residual, Response, ScsiResponse,
};
use crate::pdu::{Digests, Frame, FrameError, Header, Malformed, NO_TAG, RejectReason, Request};
use crate::registry::{Admitted, Attached, Connection, Registry};
use crate::scsi::{self, Command, Completion, Sense, SenseKey, Status};

/// The LUN of the one unit behind every target.
pub(super) const UNIT_LUN: u64 = 1;

/// Answers up to this size are made in the send buffer; larger ones are sent from where they lie.
const IN_PLACE: usize = 64 << 10;

/// Rejected PDUs a session may cause before it is closed.
const MAX_REJECTS: u32 = 64;

/// One session in the full feature phase.
#[derive(Debug)]
pub struct Session<'a> {
    pub(super) registry: &'a Registry,
    pub(super) gate: &'a Gate,
    pub(super) outbox: Outbox<'a>,
    pub(super) claim: Claim,
    pub(super) parameters: Parameters,
    pub(super) sequence: Sequence,
    pub(super) attached: Option<Attached>,
    pub(super) transfers: Transfers,
    pub(super) text: super::control::TextExchange,
    pub(super) local: SocketAddr,
    next_tag: u32,
    rejects: u32,
    scratch: Vec<u8>,
    /// When the last bytes came: what a command's latency counts from.
    received: Instant,
}

/// How the execution of a command ended.
#[derive(Clone, Copy)]
enum Ran {
    Done(Completion),
    /// A reset voided the task before it began.
    Aborted,
    /// The session's gate is shut.
    Revoked,
}

/// The only way of a command to the unit. `began` is the epoch of a task that had to wait.
fn run(
    gate: &Gate,
    attached: &Attached,
    received: Instant,
    command: &ScsiCommand,
    data_out: &[u8],
    began: Option<u64>,
    data_in: &mut Vec<u8>,
) -> Ran {
    let cdb = &command.cdb[..];
    match scsi::decode_lun(command.lun) {
        UNIT_LUN => {
            let Some(_pass) = gate.enter() else { return Ran::Revoked };
            let tasks: &TaskSet = &attached.tasks;
            let aborts = attached.nexus.aborts();
            let executing = match began {
                Some(epoch) => tasks.execute(epoch.wrapping_sub(aborts)),
                None => Some(tasks.execute_new()),
            };
            let before = data_in.len();
            let completion = executing.as_ref().map_or(ABORTED, |_| {
                let command = Command { cdb, data_out };
                attached.unit.execute_begun(&attached.nexus, aborts, command, data_in)
            });
            let gave = data_in.len() - before;
            attached.counters.command(received, cdb, data_out.len(), gave, &completion);
            if executing.is_some() { Ran::Done(completion) } else { Ran::Aborted }
        }
        0 => Ran::Done(scsi::execute_well_known(cdb, &[UNIT_LUN], data_in)),
        _ => Ran::Done(scsi::execute_absent(cdb, data_in)),
    }
}

impl<'a> Session<'a> {
    /// Takes over from the login phase.
    pub fn new(
        registry: &'a Registry,
        connection: &'a Connection,
        outbox: Outbox<'a>,
        ready: Ready,
        admitted: Admitted,
    ) -> io::Result<Self> {
        let limits = registry.limits();
        let next_stat_sn = ready.response.counters.stat_sn.wrapping_add(1);
        Ok(Self {
            registry,
            gate: &connection.gate,
            outbox,
            parameters: ready.parameters,
            sequence: Sequence::new(ready.first_cmd_sn, next_stat_sn, limits.queue_depth),
            attached: admitted.unit,
            transfers: Transfers::new(limits, ready.parameters),
            text: super::control::TextExchange::default(),
            local: connection.stream.local_addr()?,
            claim: ready.claim,
            next_tag: 0,
            rejects: 0,
            scratch: Vec::new(),
            received: Instant::now(),
        })
    }

    /// Bytes have come; the commands in them count their time from here.
    pub fn received(&mut self, now: Instant) {
        self.received = now;
    }

    /// The bounds in force.
    pub fn limits(&self) -> &'a Limits {
        self.registry.limits()
    }

    /// The negotiated digests.
    pub fn digests(&self) -> Digests {
        self.parameters.digests
    }

    /// Gives the sending side back, for the last words.
    pub fn into_outbox(self) -> Outbox<'a> {
        self.outbox
    }

    /// Sends what is queued.
    pub fn flush(&mut self) -> io::Result<()> {
        self.outbox.flush()
    }

    /// A whole PDU is waiting to be handled.
    pub fn has_whole(&self, inbox: &Inbox) -> bool {
        !matches!(inbox.next(self.digests()), Ok(Parsed::Needs(_)))
    }

    /// Asks the initiator for a sign of life.
    pub fn ping(&mut self) -> io::Result<()> {
        let ttt = self.tag();
        let counters = self.sequence.peek();
        self.outbox.push(&Response::NopIn(NopIn { lun: [0; 8], itt: NO_TAG, ttt, counters }), &[]);
        self.outbox.flush()
    }

    /// Gives memory back; called when the session has been quiet for a while.
    pub fn rest(&mut self) {
        self.scratch = Vec::new();
        self.transfers.shrink();
        self.outbox.shrink();
    }

    /// A tag that is not in use for anything else of ours.
    pub(super) fn tag(&mut self) -> u32 {
        self.next_tag = self.next_tag.wrapping_add(1);
        if self.next_tag == NO_TAG {
            self.next_tag = 0;
        }
        self.next_tag
    }

    /// The stream is lost; says why if there is anything to refer to.
    pub fn bad_frame(&mut self, error: FrameError) -> End {
        if let FrameError::DataDigest(header) = error {
            self.push_reject(&header, RejectReason::DataDigest);
        }
        error.into()
    }

    fn push_reject(&mut self, header: &Header, reason: RejectReason) {
        let counters = self.sequence.status();
        self.outbox.push(&Response::Reject(Reject { reason, counters }), &header.0);
    }

    /// Rejects a PDU and goes on, unless this happens too often.
    pub(super) fn reject(&mut self, header: &Header, reason: RejectReason) -> Result<(), End> {
        self.push_reject(header, reason);
        self.rejects += 1;
        if self.rejects > MAX_REJECTS {
            return Err(End::Protocol("too many rejected PDUs"));
        }
        Ok(())
    }

    /// Rejects a PDU after which the session cannot go on.
    pub(super) fn fatal(&mut self, header: &Header, what: &'static str) -> End {
        self.push_reject(header, RejectReason::Protocol);
        End::Protocol(what)
    }

    /// Handles one PDU.
    pub fn handle(&mut self, frame: &Frame<'_>) -> Result<(), End> {
        if self.gate.is_closed() {
            return Err(End::Revoked);
        }
        let header = &frame.header;
        let request = match Request::decode(header) {
            Ok(request) => request,
            Err(Malformed::Opcode(_)) => {
                return self.reject(header, RejectReason::NotSupported);
            }
            Err(Malformed::Field(_)) => return self.reject(header, RejectReason::InvalidField),
        };
        let numbered = match &request {
            Request::NopOut(p) => Some((p.immediate, p.cmd_sn)),
            Request::ScsiCommand(p) => Some((p.immediate, p.cmd_sn)),
            Request::TaskManagement(p) => Some((p.immediate, p.cmd_sn)),
            Request::Text(p) => Some((p.immediate, p.cmd_sn)),
            Request::Logout(p) => Some((p.immediate, p.cmd_sn)),
            Request::Login(_) | Request::DataOut(_) | Request::Snack(_) => None,
        };
        if let Some((immediate, cmd_sn)) = numbered {
            match self.sequence.arrive(immediate, cmd_sn) {
                Order::Run => {}
                Order::Ignore => return Ok(()),
                Order::Hole => return Err(self.fatal(header, "a command number was left out")),
            }
        }
        match request {
            Request::ScsiCommand(command) => self.scsi_command(&command, frame)?,
            Request::DataOut(pdu) => self.data_out(&pdu, frame)?,
            Request::NopOut(pdu) => self.nop_out(&pdu, frame.data),
            Request::TaskManagement(pdu) => self.task_management(&pdu)?,
            Request::Text(pdu) => self.text(&pdu, frame)?,
            Request::Logout(pdu) => return Err(self.logout(&pdu)),
            Request::Snack(_) => self.reject(header, RejectReason::Snack)?,
            Request::Login(_) => return Err(self.fatal(header, "login in a session")),
        }
        self.outbox.flush_if_full()?;
        Ok(())
    }

    fn scsi_command(&mut self, command: &ScsiCommand, frame: &Frame<'_>) -> Result<(), End> {
        let header = &frame.header;
        if self.attached.is_none() {
            return self.reject(header, RejectReason::NotSupported);
        }
        if command.itt == NO_TAG {
            return Err(self.fatal(header, "a command with the reserved task tag"));
        }
        if self.transfers.contains(command.itt) {
            self.push_reject(header, RejectReason::TaskInProgress);
            return Err(End::Protocol("a task tag is used twice"));
        }
        let refused = refusal(command, frame);
        if !command.write {
            return match refused {
                Some(completion) => {
                    self.respond(command, completion, Moved::Nothing, 0);
                    Ok(())
                }
                None => self.read_class(command),
            };
        }
        let verdict = refused.or_else(|| self.transfers.judge(command, frame.data));
        let all_here = frame.data.len() == command.expected_len as usize;
        if verdict.is_none() && command.is_final && all_here {
            return self.write_class(command, frame.data, None, 0);
        }
        let began = self.attached.as_ref().map_or(0, Attached::epoch);
        let outcome = self.transfers.begin(command, frame.data, verdict, began);
        if !command.immediate && matches!(outcome, Outcome::Open) {
            self.sequence.occupy();
        }
        self.after(outcome, header, false)
    }

    fn data_out(&mut self, pdu: &DataOut, frame: &Frame<'_>) -> Result<(), End> {
        let outcome = self.transfers.data_out(pdu, frame.data);
        self.after(outcome, &frame.header, true)
    }

    fn after(&mut self, outcome: Outcome, header: &Header, was_open: bool) -> Result<(), End> {
        match outcome {
            Outcome::Open => self.solicit(),
            Outcome::Complete(transfer) => {
                if was_open {
                    self.leave_window(&transfer);
                }
                self.complete(transfer)?;
                self.solicit();
            }
            Outcome::Late => {}
            Outcome::Unknown => self.reject(header, RejectReason::InvalidField)?,
            Outcome::TooManyImmediate => self.reject(header, RejectReason::TooManyImmediate)?,
        }
        Ok(())
    }

    /// A transfer is no longer open: its place in the command window is free again.
    pub(super) fn leave_window(&mut self, transfer: &Transfer) {
        if !transfer.command.immediate {
            self.sequence.release();
        }
    }

    fn complete(&mut self, transfer: Transfer) -> Result<(), End> {
        let Transfer { command, data, verdict, began, r2t_sn, .. } = transfer;
        match verdict {
            Some(completion) => self.respond(&command, completion, Moved::Nothing, r2t_sn),
            None => self.write_class(&command, &data, Some(began), r2t_sn)?,
        }
        self.transfers.recycle(data);
        Ok(())
    }

    /// Asks for the data of waiting writes, as far as memory allows.
    pub(super) fn solicit(&mut self) {
        while let Some(order) = self.transfers.solicit(&mut self.next_tag) {
            let r2t = ReadyToTransfer {
                lun: order.lun,
                itt: order.itt,
                ttt: order.ttt,
                counters: self.sequence.peek(),
                r2t_sn: order.r2t_sn,
                offset: order.offset,
                len: order.len,
            };
            self.outbox.push(&Response::ReadyToTransfer(r2t), &[]);
        }
    }

    /// Runs a command that has all of its data-out.
    fn write_class(
        &mut self,
        command: &ScsiCommand,
        data_out: &[u8],
        began: Option<u64>,
        r2t_sn: u32,
    ) -> Result<(), End> {
        let Some(attached) = &self.attached else { return Ok(()) };
        self.scratch.clear();
        let ran =
            run(self.gate, attached, self.received, command, data_out, began, &mut self.scratch);
        let completion = finished(ran)?;
        let wanted = scsi::data_out_length(&command.cdb).unwrap_or(0);
        self.respond(command, completion, Moved::Out(wanted), r2t_sn);
        Ok(())
    }

    /// Runs a command without data-out and sends what it read.
    fn read_class(&mut self, command: &ScsiCommand) -> Result<(), End> {
        let Some(attached) = &self.attached else { return Ok(()) };
        let p = &self.parameters;
        let expected = if command.read { command.expected_len as usize } else { 0 };
        if expected > IN_PLACE.min(p.max_send_segment).min(p.max_burst) {
            return self.read_large(command, expected);
        }
        let sequence = &mut self.sequence;
        let (gate, received) = (self.gate, self.received);
        let mut read = 0;
        let ran = self.outbox.push_in_place(
            |data_in| run(gate, attached, received, command, &[], None, data_in),
            |ran, len| {
                read = len;
                let keep = len.min(expected);
                let good = matches!(ran, Ran::Done(done) if done.status == Status::Good);
                (good && keep > 0).then(|| {
                    let data_in = DataIn {
                        is_final: true,
                        status: Some(Status::Good as u8),
                        itt: command.itt,
                        counters: sequence.status(),
                        data_sn: 0,
                        offset: 0,
                        residual: Residual::of(expected as u64, len as u64),
                    };
                    (Response::DataIn(data_in), keep)
                })
            },
        );
        let completion = finished(ran)?;
        if completion.status != Status::Good || read.min(expected) == 0 {
            self.respond(command, completion, Moved::In(read as u64), 0);
        }
        Ok(())
    }

    /// Read data that is worth a gathering write, or needs several PDUs.
    fn read_large(&mut self, command: &ScsiCommand, expected: usize) -> Result<(), End> {
        let Some(attached) = &self.attached else { return Ok(()) };
        self.scratch.clear();
        let ran = run(self.gate, attached, self.received, command, &[], None, &mut self.scratch);
        let completion = finished(ran)?;
        let read = self.scratch.len();
        let keep = read.min(expected);
        if completion.status != Status::Good || keep == 0 {
            self.respond(command, completion, Moved::In(read as u64), 0);
            return Ok(());
        }
        let p = self.parameters;
        let mut pdus: Vec<(Response, &[u8])> = Vec::new();
        let mut offset = 0;
        while offset < keep {
            let burst_end = (offset / p.max_burst + 1) * p.max_burst;
            let end = keep.min(burst_end).min(offset + p.max_send_segment);
            let last = end == keep;
            let small = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
            let data_in = DataIn {
                is_final: last || end == burst_end,
                status: last.then_some(Status::Good as u8),
                itt: command.itt,
                counters: if last { self.sequence.status() } else { self.sequence.peek() },
                data_sn: small(pdus.len()),
                offset: small(offset),
                residual: if last {
                    Residual::of(expected as u64, read as u64)
                } else {
                    Residual::None
                },
            };
            pdus.push((Response::DataIn(data_in), &self.scratch[offset..end]));
            offset = end;
        }
        self.outbox.send_gathered(&pdus)?;
        Ok(())
    }

    /// Queues the status of a command that has no read data to ride on.
    fn respond(
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
        let mut data = Vec::new();
        if let Some(sense) = completion.sense {
            let bytes = sense.to_bytes();
            data.extend_from_slice(&(bytes.len() as u16).to_be_bytes());
            data.extend_from_slice(&bytes);
        }
        let response = ScsiResponse {
            response: 0,
            status: completion.status as u8,
            itt: command.itt,
            counters: self.sequence.status(),
            exp_data_sn,
            residual,
        };
        self.outbox.push(&Response::ScsiResponse(response), &data);
    }
}

/// What a command moved, for its residual.
#[derive(Clone, Copy)]
enum Moved {
    /// So many bytes were read.
    In(u64),
    /// The command takes so many bytes.
    Out(u64),
    /// Nothing, or nothing that can be told.
    Nothing,
}

/// How a task ends that was voided before it began.
const ABORTED: Completion = Completion { status: Status::TaskAborted, sense: None };

/// What cannot be served whatever the unit says: both directions at once, a CDB beyond 16 bytes,
/// data on a command that writes nothing, a unit that is not there.
fn refusal(command: &ScsiCommand, frame: &Frame<'_>) -> Option<Completion> {
    let invalid_unit = Sense::new(SenseKey::IllegalRequest, 0x0e, 0x03);
    if !frame.ahs.is_empty() || (command.read && command.write) {
        return Some(Completion::check(invalid_unit));
    }
    if !command.write && !frame.data.is_empty() {
        return Some(Completion::check(Sense::new(SenseKey::AbortedCommand, 0x0c, 0x0c)));
    }
    if command.write && scsi::decode_lun(command.lun) != UNIT_LUN {
        // Not worth collecting data for.
        let completion = match scsi::decode_lun(command.lun) {
            0 => scsi::execute_well_known(&command.cdb, &[UNIT_LUN], &mut Vec::new()),
            _ => scsi::execute_absent(&command.cdb, &mut Vec::new()),
        };
        return Some(completion);
    }
    None
}

fn finished(ran: Ran) -> Result<Completion, End> {
    match ran {
        Ran::Done(completion) => Ok(completion),
        Ran::Aborted => Ok(ABORTED),
        Ran::Revoked => Err(End::Revoked),
    }
}
