//! Everything in the full feature phase that is not a command or its data: NOP, text, task
//! management and logout.
//!
//! What has not begun is aborted at once. What a worker is running ends unanswered, and a task
//! management function is answered only when all that it concerns has ended; this thread goes on
//! meanwhile. A function that concerns other sessions voids what they have waiting through the
//! unit's task set, and a worker then waits for what they are executing: not for ever, for their
//! medium may be stuck. Then it is rejected, and what was voided stays so.

use std::time::Instant;

use super::End;
use super::backlog::{Errand, Job};
use super::feature::Session;
use super::run::UNIT_LUN;
use crate::buffer::Buffer;
use crate::login::PORTAL_GROUP;
use crate::login::keys::number;
use crate::name::Name;
use crate::pdu::request::{Logout, NopOut, TaskManagement, Text};
use crate::pdu::response::{
    AsyncMessage, LogoutResponse, NopIn, Response, TaskManagementResponse, TextResponse,
};
use crate::pdu::{Frame, NO_TAG, text};
use crate::portals;
use crate::scsi;

/// Text one negotiation may consist of.
const MAX_TEXT: usize = 16 << 10;

/// Seconds an initiator waits before it logs in again.
const TIME_TO_WAIT: u16 = 2;

/// A text request whose pieces, or whose answer's pieces, are still under way.
#[derive(Debug, Default)]
pub struct TextExchange {
    pieces: text::Joined,
    answer: Vec<u8>,
    /// Task tag and transfer tag of the exchange.
    open: Option<(u32, u32)>,
}

/// Task management functions that may wait at once.
const MAX_FUNCTIONS: usize = 16;

/// A task management function that is answered when other things have ended.
#[derive(Debug)]
pub struct Function {
    itt: u32,
    /// Tickets of those other things.
    waits_for: Vec<u64>,
    /// One of them has not gone well.
    failed: bool,
}

/// Task management responses.
mod outcome {
    pub const COMPLETE: u8 = 0;
    pub const NO_SUCH_TASK: u8 = 1;
    pub const NO_SUCH_UNIT: u8 = 2;
    pub const NO_REASSIGN: u8 = 4;
    pub const NOT_SUPPORTED: u8 = 5;
    pub const NOT_ALLOWED: u8 = 6;
    pub const REJECTED: u8 = 255;
}

impl Session<'_> {
    /// Echoes, or takes note of a sign of life (which the loop has seen already).
    pub(super) fn nop_out(&mut self, pdu: &NopOut, data: &[u8]) {
        if pdu.itt == NO_TAG {
            return;
        }
        let echo = &data[..data.len().min(self.parameters.max_send_segment)];
        let counters = self.sequence.status();
        let nop = NopIn { lun: pdu.lun, itt: pdu.itt, ttt: NO_TAG, counters };
        self.outbox.push(&Response::NopIn(nop), echo);
    }

    /// Task management functions (RFC 7143 section 11.5).
    pub(super) fn task_management(&mut self, pdu: &TaskManagement) -> Result<(), End> {
        // A revoked session must not reset anything either.
        let Some(_pass) = self.gate.enter() else { return Err(End::Revoked) };
        if self.functions.len() >= MAX_FUNCTIONS {
            self.function_answer(pdu.itt, outcome::REJECTED);
            return Ok(());
        }
        match self.manage(pdu)? {
            Ok(waits_for) if waits_for.is_empty() => {
                self.function_answer(pdu.itt, outcome::COMPLETE);
            }
            Ok(waits_for) => {
                self.functions.push(Function { itt: pdu.itt, waits_for, failed: false });
            }
            Err(response) => self.function_answer(pdu.itt, response),
        }
        self.solicit();
        Ok(())
    }

    /// What must end before the function is complete; or the answer if it is refused.
    fn manage(&mut self, pdu: &TaskManagement) -> Result<Result<Vec<u64>, u8>, End> {
        if self.attached.is_none() {
            return Ok(Err(outcome::REJECTED));
        }
        let of_unit = scsi::decode_lun(pdu.lun) == UNIT_LUN;
        let deadline = Instant::now() + self.limits().drain_timeout;
        Ok(match pdu.function {
            1 => match self.abort(pdu.referenced_task, pdu.lun) {
                Some(running) => Ok(running.into_iter().collect()),
                None => Err(outcome::NO_SUCH_TASK),
            },
            2 | 4 | 5 if !of_unit => Err(outcome::NO_SUCH_UNIT),
            2 => Ok(self.abort_own(pdu.lun)),
            // There is no auto contingent allegiance to clear.
            3 => Err(outcome::NOT_SUPPORTED),
            4 => Ok(self.abort_all(pdu.lun, Errand::Clear(deadline))?),
            // A target has one unit, so a warm reset of the target is a reset of that unit.
            5 | 6 => Ok(self.abort_all(scsi::encode_lun(UNIT_LUN), Errand::Reset(deadline))?),
            // Would end the sessions of all other hosts: not for one host to do.
            7 => Err(outcome::NOT_ALLOWED),
            8 => Err(outcome::NO_REASSIGN),
            _ => Err(outcome::REJECTED),
        })
    }

    /// Aborts this session's tasks; returns those that a worker still runs.
    fn abort_own(&mut self, lun: [u8; 8]) -> Vec<u64> {
        let tags = self.pending.tasks_of(lun);
        tags.into_iter().filter_map(|itt| self.abort(itt, lun).flatten()).collect()
    }

    /// Voids the tasks of every session of the unit; a worker does the waiting, and then `errand`.
    /// This session's own have to be heard of too: only then are their tags free again.
    fn abort_all(&mut self, lun: [u8; 8], errand: Errand) -> Result<Vec<u64>, End> {
        let mut waits_for = self.abort_own(lun);
        if let Some(attached) = &self.attached {
            attached.tasks.void_waiting();
        }
        let ticket = self.pending.ticket();
        let (data_out, data_in) = (Buffer::default(), Buffer::default());
        let job = Job { ticket, errand, data_out, data_in, pass: None };
        self.backlog()?.hand_over(job, true);
        waits_for.push(ticket);
        Ok(waits_for)
    }

    /// Something has ended that functions may wait for.
    pub(super) fn function_heard(&mut self, ticket: u64, went_well: bool) {
        for function in &mut self.functions {
            function.failed |= !went_well && function.waits_for.contains(&ticket);
            // What it has failed to wait for may not end at all.
            function.waits_for.retain(|waits_for| !function.failed && *waits_for != ticket);
        }
        while let Some(at) = self.functions.iter().position(|it| it.waits_for.is_empty()) {
            let function = self.functions.remove(at);
            let outcome = if function.failed { outcome::REJECTED } else { outcome::COMPLETE };
            self.function_answer(function.itt, outcome);
        }
    }

    fn function_answer(&mut self, itt: u32, response: u8) {
        let answer = TaskManagementResponse { response, itt, counters: self.sequence.status() };
        self.outbox.push(&Response::TaskManagement(answer), &[]);
    }

    /// Answers a logout; the connection ends after it.
    pub(super) fn logout(&mut self, pdu: &Logout) -> End {
        // Nothing of this session may still change the medium when it is told that it is over.
        self.backlog = None;
        let response = match pdu.reason {
            0 => 0,
            1 if pdu.cid == self.claim.cid => 0,
            1 => 1,
            _ => 2,
        };
        let answer = LogoutResponse {
            response,
            itt: pdu.itt,
            counters: self.sequence.status(),
            time2wait: TIME_TO_WAIT,
            time2retain: 0,
        };
        self.outbox.push(&Response::Logout(answer), &[]);
        End::LoggedOut
    }

    /// Tells the initiator that it is put out, before the socket closes: as an error of the network
    /// it would be worth waiting for. The event is "all connections of the session are dropped":
    /// a request to log out would promise to wait for that, which a revoke does not.
    pub(super) fn take_leave(&mut self) {
        const SESSION_DROPPED: u8 = 3;
        let message = AsyncMessage {
            lun: [0; 8],
            counters: self.sequence.status(),
            event: SESSION_DROPPED,
            vendor: 0,
            // Wait so long before trying again; nothing of the session is retained.
            parameters: [0, TIME_TO_WAIT, 0],
        };
        self.outbox.push(&Response::AsyncMessage(message), &[]);
        self.outbox.last_words();
    }

    /// Text requests: discovery, and declarations in mid-session.
    pub(super) fn text(&mut self, pdu: &Text, frame: &Frame<'_>) -> Result<(), End> {
        if pdu.itt == NO_TAG || (pdu.continues && pdu.is_final) {
            return Err(self.fatal(&frame.header, "malformed text request"));
        }
        if pdu.ttt == NO_TAG {
            self.text = TextExchange::default();
        } else if self.text.open != Some((pdu.itt, pdu.ttt)) {
            return Err(self.fatal(&frame.header, "text request with an unknown transfer tag"));
        }
        if self.text.answer.is_empty() {
            if self.text.pieces.add(frame.data, MAX_TEXT).is_err() {
                return Err(self.fatal(&frame.header, "too much text"));
            }
            if !pdu.continues {
                let Ok(pairs) = self.text.pieces.take() else {
                    return Err(self.fatal(&frame.header, "malformed text"));
                };
                self.text.answer = self.answer(&pairs);
            }
        }
        let chunk_len = self.text.answer.len().min(self.parameters.max_send_segment);
        let rest = self.text.answer.split_off(chunk_len);
        let chunk = std::mem::replace(&mut self.text.answer, rest);
        let more = !self.text.answer.is_empty();
        let is_final = pdu.is_final && !more;
        let ttt = if is_final { NO_TAG } else { self.tag() };
        self.text.open = (!is_final).then_some((pdu.itt, ttt));
        let response = TextResponse {
            is_final,
            continues: more,
            lun: pdu.lun,
            itt: pdu.itt,
            ttt,
            counters: self.sequence.status(),
        };
        self.outbox.push(&Response::Text(response), &chunk);
        Ok(())
    }

    fn answer(&mut self, pairs: &text::Pairs) -> Vec<u8> {
        let mut out = Vec::new();
        for (key, value) in pairs {
            match key.as_str() {
                "SendTargets" => self.send_targets(value, &mut out),
                "MaxRecvDataSegmentLength" => match number(value, 512, 0xff_ffff) {
                    Some(n) => self.parameters.max_send_segment = n as usize,
                    None => text::push(&mut out, key, "Reject"),
                },
                "InitiatorAlias" => {}
                // Known keys that belong to login.
                "HeaderDigest"
                | "DataDigest"
                | "MaxConnections"
                | "InitialR2T"
                | "ImmediateData"
                | "MaxBurstLength"
                | "FirstBurstLength"
                | "DefaultTime2Wait"
                | "DefaultTime2Retain"
                | "MaxOutstandingR2T"
                | "DataPDUInOrder"
                | "DataSequenceInOrder"
                | "ErrorRecoveryLevel"
                | "SessionType"
                | "AuthMethod"
                | "InitiatorName"
                | "TargetName"
                | "TargetPortalGroupTag" => {
                    text::push(&mut out, key, "Reject");
                }
                _ => text::push(&mut out, key, "NotUnderstood"),
            }
        }
        out
    }

    /// Lists targets: never one that is not granted to this initiator.
    fn send_targets(&self, which: &str, out: &mut Vec<u8>) {
        let granted = self.registry.granted_to(&self.claim.initiator);
        let listed: Vec<Name> = match (&self.claim.target, which) {
            (None, "All") => granted,
            (Some(_), "All") => return text::push(out, "SendTargets", "Reject"),
            (None, "") => return text::push(out, "SendTargets", "Reject"),
            (Some(own), "") => granted.into_iter().filter(|name| name == own).collect(),
            (own, name) => match Name::new(name) {
                Ok(name) if own.as_ref().is_none_or(|own| *own == name) => {
                    granted.into_iter().filter(|granted| *granted == name).collect()
                }
                Ok(_) | Err(_) => Vec::new(),
            },
        };
        let portals = portals::advertised(self.local, self.registry.portals());
        for name in listed {
            text::push(out, "TargetName", name.as_str());
            for portal in &portals {
                text::push(out, "TargetAddress", &format!("{portal},{PORTAL_GROUP}"));
            }
        }
    }
}
