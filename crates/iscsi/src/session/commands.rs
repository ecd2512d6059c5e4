//! Commands: from their PDU to their answer.
//!
//! A command whose data is here is tried on the session's thread, which takes no lock that it would
//! have to wait for and no medium that is slow. What would wait goes to the workers and is answered
//! when it has ended, out of order; what must not begin yet is parked. The thread meanwhile reads
//! on. So a slow command holds up nothing but what it conflicts with, and a fast one costs no more
//! than its own system calls. How answers look is in `answers`.

use std::mem;
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::End;
use super::answers::{IN_PLACE, Moved, expected};
use super::backlog::{Backlog, Done, Errand, Held, Job, Woken};
use super::feature::Session;
use super::pending::{Aborted, Finished, Hold, Task};
use super::run::{self, Ran, UNIT_LUN};
use super::transfer::{MAX_IMMEDIATE, Outcome, Transfer};
use super::wire::{Inbox, Received};
use crate::buffer::Buffer;
use crate::pdu::request::{DataOut, ScsiCommand};
use crate::pdu::response::{DataIn, ReadyToTransfer, Residual, Response};
use crate::pdu::{Frame, Header, NO_TAG, RejectReason};
use crate::quiet;
use crate::registry::Attached;
use crate::scsi::{self, Completion, Sense, SenseKey, Status};
use crate::throttle::Passage;

/// A command's data-out: in the receive buffer, or in one of its own.
enum Data<'a> {
    Here(&'a [u8]),
    Owned(Buffer),
}

impl Data<'_> {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Here(bytes) => bytes,
            Self::Owned(bytes) => bytes,
        }
    }
}

impl Session<'_> {
    pub(super) fn scsi_command(
        &mut self,
        command: &ScsiCommand,
        frame: &Frame<'_>,
    ) -> Result<(), End> {
        let header = &frame.header;
        let Some(attached) = &self.attached else {
            return self.reject(header, RejectReason::NotSupported);
        };
        if command.itt == NO_TAG {
            return Err(self.fatal(header, "a command with the reserved task tag"));
        }
        if self.pending.contains(command.itt) {
            return Err(self.task_in_progress(header));
        }
        let refused = refusal(command, frame);
        if !command.write {
            if let Some(completion) = refused {
                self.respond(command, completion, Moved::Nothing, 0);
                return Ok(());
            }
            return self.arrived(command, &[], header);
        }
        let verdict = refused.or_else(|| self.transfers.judge(command, frame.data));
        let all_here = frame.data.len() == command.expected_len as usize;
        if verdict.is_none() && command.is_final && all_here {
            return self.arrived(command, frame.data, header);
        }
        let began = attached.began();
        let outcome = self.transfers.begin(command, frame.data, verdict, began);
        if matches!(outcome, Outcome::Open) {
            self.pending.collect(command);
            if !command.immediate {
                self.sequence.occupy();
            }
        }
        self.after(outcome, header)
    }

    pub(super) fn data_out(&mut self, pdu: &DataOut, frame: &Frame<'_>) -> Result<(), End> {
        let outcome = self.transfers.data_out(pdu, frame.data);
        self.after(outcome, &frame.header)
    }

    fn after(&mut self, outcome: Outcome, header: &Header) -> Result<(), End> {
        match outcome {
            Outcome::Open => self.solicit(),
            Outcome::Complete(transfer) => {
                self.complete(transfer)?;
                self.solicit();
            }
            Outcome::Late => {}
            Outcome::Unknown => self.reject(header, RejectReason::InvalidField)?,
            Outcome::TooManyImmediate => self.reject(header, RejectReason::TooManyImmediate)?,
        }
        Ok(())
    }

    /// A command that arrived with all of its data.
    fn arrived(&mut self, command: &ScsiCommand, data: &[u8], head: &Header) -> Result<(), End> {
        let received = self.received;
        let task =
            Task { ticket: None, command: *command, began: None, received, r2t_sn: 0, reserved: 0 };
        let hold = self.hold(command, data);
        self.start(task, Data::Here(data), hold, Some(head))
    }

    fn complete(&mut self, transfer: Transfer) -> Result<(), End> {
        let Transfer { command, data, verdict, began, r2t_sn, reserved, .. } = transfer;
        let ticket = self.pending.ticket_of(command.itt);
        let received = self.received;
        let task = Task { ticket, command, began: Some(began), received, r2t_sn, reserved };
        match verdict {
            Some(completion) => {
                self.forget(&task);
                self.respond(&command, completion, Moved::Nothing, r2t_sn);
                self.transfers.recycle(data);
                Ok(())
            }
            None => {
                let hold = self.hold(&command, &data);
                self.start(task, Data::Owned(data), hold, None)
            }
        }
    }

    /// What holds a command back, beside its turn. Asked once, when all of its data is here.
    fn hold(&self, command: &ScsiCommand, data_out: &[u8]) -> Hold {
        let Some(attached) = self.attached.as_ref().filter(|attached| attached.lane.is_limited())
        else {
            return Hold::Nothing;
        };
        let counts = scsi::decode_lun(command.lun) == UNIT_LUN;
        match scsi::toll(&command.cdb, data_out, attached.nexus.access()).filter(|_| counts) {
            None => Hold::Nothing,
            Some(bytes) => match attached.lane.ask(Instant::now(), bytes) {
                Passage::Go => Hold::Nothing,
                Passage::Wait(ticket) => Hold::Called(ticket),
            },
        }
    }

    /// The unit, if this is a command that may change its blocks.
    fn writes(&self, command: &ScsiCommand) -> Option<&Attached> {
        let attached = self.attached.as_deref()?;
        let counts = scsi::decode_lun(command.lun) == UNIT_LUN;
        (counts && scsi::changes_blocks(&command.cdb, attached.nexus.access())).then_some(attached)
    }

    /// A command that the unit's limit holds back will not be carried out.
    fn give_back(&self, hold: Hold) {
        if let (Hold::Called(ticket), Some(attached)) = (hold, &self.attached) {
            attached.lane.cancel(ticket);
        }
    }

    /// A task is over that never went to a worker: its place and its memory are free again.
    fn forget(&mut self, task: &Task) {
        if let Some(ticket) = task.ticket
            && self.pending.end(ticket).is_some()
            && !task.command.immediate
        {
            self.sequence.release();
        }
        self.transfers.release(task.reserved);
    }

    /// Runs a task now, or hands it to a worker, or parks it. `head` is that of a command without a
    /// place in the window yet.
    fn start(
        &mut self,
        mut task: Task,
        data: Data<'_>,
        hold: Hold,
        head: Option<&Header>,
    ) -> Result<(), End> {
        let (command, received) = (task.command, task.received);
        let mut pass = None;
        let mut hold = hold;
        if hold == Hold::Nothing
            && let Some(attached) = self.writes(&command)
            && self.pending.is_its_turn(task.ticket, &command)
        {
            pass = attached.quiet.pass();
            if pass.is_none() {
                hold = Hold::Quiet;
            }
        }
        let may = hold == Hold::Nothing && self.pending.is_its_turn(task.ticket, &command);
        let has_place = task.ticket.is_some() && !command.immediate;
        if may {
            // Its answer already counts its place as free.
            if has_place {
                self.sequence.release();
            }
            if self.try_at_once(&task, data.bytes())? {
                if let Some(ticket) = task.ticket {
                    self.pending.end(ticket);
                }
                self.transfers.release(task.reserved);
                if let Data::Owned(data) = data {
                    self.transfers.recycle(data);
                }
                return Ok(());
            }
            if has_place {
                self.sequence.occupy();
            }
        }
        let Some(attached) = &self.attached else { return Ok(()) };
        let began = *task.began.get_or_insert_with(|| attached.began());
        if task.ticket.is_none() && !command.immediate {
            self.sequence.occupy();
        } else if let Some(head) = head
            && self.pending.immediate() >= MAX_IMMEDIATE
        {
            self.give_back(hold);
            return self.reject(head, RejectReason::TooManyImmediate);
        }
        let data_out = match data {
            Data::Owned(data) => data,
            Data::Here(bytes) => {
                let mut data = self.transfers.buffer();
                data.extend_from_slice(bytes);
                data
            }
        };
        let reads = scsi::data_in_length(&command.cdb);
        if !may || !self.pending.has_room(reads) {
            // A pass is not kept for later: whoever wants quiet would wait for it.
            drop(pass);
            // Whoever waits for something else than the socket needs the bell.
            self.backlog()?;
            self.pending.park(task, data_out, reads, hold);
            return Ok(());
        }
        let ticket = self.pending.run(task, reads);
        let data_in = self.transfers.buffer();
        let job = Job {
            ticket,
            errand: Errand::Command(command, began, received),
            data_out,
            data_in,
            pass,
        };
        self.backlog()?.hand_over(job, command.attribute == HEAD_OF_QUEUE);
        Ok(())
    }

    /// The session's backlog, made when it is first needed.
    pub(super) fn backlog(&mut self) -> Result<&Held<'_>, End> {
        if self.backlog.is_none()
            && let Some(attached) = &self.attached
        {
            let backlog = Arc::new(Backlog::new(self.connection, attached)?);
            self.backlog = Some(Held { backlog, workers: self.registry.workers() });
        }
        // Only a session with a unit has commands, and it has just got one.
        self.backlog.as_ref().ok_or(End::Revoked)
    }

    /// Runs a task on this thread, answer included, if nothing has to be waited for.
    fn try_at_once(&mut self, task: &Task, data_out: &[u8]) -> Result<bool, End> {
        let Some(attached) = &self.attached else { return Ok(true) };
        let command = &task.command;
        if command.write {
            self.scratch.clear();
            let scratch = &mut self.scratch;
            let ran = run::at_once(
                self.gate,
                attached,
                command,
                data_out,
                task.began,
                task.received,
                scratch,
            );
            let Some(ran) = ran else { return Ok(false) };
            self.answer_write(command, finished(ran)?, task.r2t_sn);
            return Ok(true);
        }
        let p = &self.parameters;
        let expected = expected(command);
        if expected > IN_PLACE.min(p.max_send_segment).min(p.max_burst) {
            self.scratch.clear();
            let scratch = &mut self.scratch;
            let ran =
                run::at_once(self.gate, attached, command, &[], task.began, task.received, scratch);
            let Some(ran) = ran else { return Ok(false) };
            let data = mem::take(&mut self.scratch);
            let sent = finished(ran).and_then(|done| self.answer_read(command, done, &data));
            self.scratch = data;
            return sent.map(|()| true);
        }
        let sequence = &mut self.sequence;
        let gate = self.gate;
        let mut read = 0;
        let ran = self.outbox.push_in_place(
            |data_in| {
                run::at_once(gate, attached, command, &[], task.began, task.received, data_in)
            },
            |ran, len| {
                read = len;
                let keep = len.min(expected);
                let good = matches!(ran, Some(Ran::Done(done)) if done.status == Status::Good);
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
        let Some(ran) = ran else { return Ok(false) };
        let completion = finished(ran)?;
        if completion.status != Status::Good || read.min(expected) == 0 {
            self.respond(command, completion, Moved::In(read as u64), 0);
        }
        Ok(true)
    }

    /// Something is under way that does not come through the socket.
    pub fn is_waiting(&self) -> bool {
        self.pending.is_active() || !self.functions.is_empty()
    }

    /// Answers what the workers have ended, and lets go on what that, or time, allows.
    pub fn settle(&mut self) -> Result<(), End> {
        if !self.is_waiting() {
            return Ok(());
        }
        if let Some(held) = &self.backlog {
            let mut ended = mem::take(&mut self.ended);
            let panicked = held.backlog.collect(&mut ended);
            for done in ended.drain(..) {
                self.ended(done)?;
            }
            self.ended = ended;
            if panicked {
                return Err(End::Panicked);
            }
        }
        if let Some(attached) = &self.attached
            && self.pending.waits_for_call()
        {
            for ticket in attached.lane.called(Instant::now()) {
                if let Some(arrived) = self.pending.call(ticket) {
                    attached.counters.throttled(arrived.elapsed());
                }
            }
        }
        if let Some(attached) = &self.attached
            && self.pending.waits_for_leave()
            && !attached.quiet.is_quiet()
        {
            self.pending.resume();
        }
        while let Some((task, data)) = self.pending.next_due() {
            self.start(task, Data::Owned(data), Hold::Nothing, None)?;
            self.outbox.flush_if_full()?;
        }
        self.solicit();
        Ok(())
    }

    /// Waits for bytes, for a worker, or for a parked command's moment.
    pub fn wait(
        &mut self,
        inbox: &mut Inbox,
        stream: &TcpStream,
        need: usize,
        timeout: Duration,
    ) -> Result<Received, End> {
        loop {
            if let Some(received) = inbox.fill_now(stream, need)? {
                return Ok(received);
            }
            let due = self.called_by().map(|due| due.saturating_duration_since(Instant::now()));
            let patience = due.map_or(timeout, |due| due.min(timeout));
            match self.backlog()?.backlog.sleep(stream, patience)? {
                Woken::Socket => {}
                Woken::Bell => return Ok(Received::Woken),
                Woken::Timeout if due.is_some_and(|due| due <= timeout) => {
                    return Ok(Received::Woken);
                }
                Woken::Timeout => return Ok(Received::Nothing),
            }
        }
    }

    /// When to look at the latest whether the unit's limit has called a task, or writes go on.
    fn called_by(&self) -> Option<Instant> {
        let now = Instant::now();
        let attached = self.attached.as_ref().filter(|_| self.pending.waits_for_call());
        let called = attached.and_then(|attached| attached.lane.ask_again(now));
        let leave = self.pending.waits_for_leave().then(|| now + quiet::ASK_AGAIN);
        called.into_iter().chain(leave).min()
    }

    /// A worker has ended something.
    fn ended(&mut self, done: Done) -> Result<(), End> {
        let Done { ticket, ran, data_out, data_in } = done;
        let mut went_well = true;
        match self.pending.finish(ticket) {
            Some(Finished { task, aborted }) => {
                if !task.command.immediate {
                    self.sequence.release();
                }
                let completion = finished(ran)?;
                match task.command.write {
                    _ if aborted => {}
                    true => self.answer_write(&task.command, completion, task.r2t_sn),
                    false => self.answer_read(&task.command, completion, &data_in)?,
                }
                self.transfers.release(task.reserved);
                self.outbox.flush_if_full()?;
            }
            None => went_well = finished(ran)?.status == Status::Good,
        }
        self.transfers.recycle(data_out);
        self.transfers.recycle(data_in);
        self.function_heard(ticket, went_well);
        Ok(())
    }

    /// Ends one task unanswered. `None`: there is no such task. A number: a worker runs that one,
    /// and it will end unanswered.
    pub(super) fn abort(&mut self, itt: u32, lun: [u8; 8]) -> Option<Option<u64>> {
        let (task, data) = match self.pending.abort(itt, lun) {
            Aborted::Unknown => return None,
            Aborted::Collecting(ticket) => {
                self.transfers.abort(itt, lun);
                if self.pending.end(ticket).is_some_and(|command| !command.immediate) {
                    self.sequence.release();
                }
                return Some(None);
            }
            Aborted::Gone(task, data, hold) => {
                self.give_back(hold);
                (task, data)
            }
            Aborted::Running(ticket) => {
                let job = self.backlog.as_ref().and_then(|held| held.backlog.withdraw(ticket));
                let Some(job) = job else { return Some(Some(ticket)) };
                (self.pending.finish(ticket)?.task, job.data_out)
            }
        };
        if !task.command.immediate {
            self.sequence.release();
        }
        self.transfers.release(task.reserved);
        self.transfers.recycle(data);
        Some(None)
    }

    /// Asks for the data of waiting writes, as far as memory allows.
    pub(super) fn solicit(&mut self) {
        while let Some(order) = self.transfers.solicit(&mut self.next_tag, self.pending.oldest()) {
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
}

/// The HEAD OF QUEUE task attribute.
const HEAD_OF_QUEUE: u8 = 3;

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
            0 => scsi::execute_well_known(&command.cdb, &[UNIT_LUN], &mut Buffer::default()),
            _ => scsi::execute_absent(&command.cdb, &mut Buffer::default()),
        };
        return Some(completion);
    }
    None
}

fn finished(ran: Ran) -> Result<Completion, End> {
    match ran {
        Ran::Done(completion) => Ok(completion),
        Ran::Revoked => Err(End::Revoked),
    }
}
