//! The full feature phase: one PDU in, answers queued.
//!
//! What a session holds, the numbering of requests, and who handles which: commands are in
//! `commands`, all the rest is in `control`. Rejected PDUs are counted, so that a peer cannot go
//! on sending nonsense for ever.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use super::End;
use super::backlog::{Done, Held};
use super::control::Function;
use super::pending::Pending;
use super::sequence::{Order, Sequence};
use super::transfer::Transfers;
use super::wire::{Inbox, Outbox};
use crate::buffer::Buffer;
use crate::gate::Gate;
use crate::limits::Limits;
use crate::login::keys::Parameters;
use crate::login::{Claim, Ready};
use crate::pdu::frame::Parsed;
use crate::pdu::response::{NopIn, Reject, Response};
use crate::pdu::{Digests, Frame, FrameError, Header, Malformed, NO_TAG, RejectReason, Request};
use crate::registry::{Admitted, Attached, Connection, Registry};

/// Rejected PDUs a session may cause before it is closed.
const MAX_REJECTS: u32 = 64;

/// One session in the full feature phase.
#[derive(Debug)]
pub struct Session<'a> {
    pub(super) registry: &'a Registry,
    pub(super) connection: &'a Arc<Connection>,
    pub(super) gate: &'a Gate,
    pub(super) outbox: Outbox<'a>,
    pub(super) claim: Claim,
    pub(super) parameters: Parameters,
    pub(super) sequence: Sequence,
    pub(super) attached: Option<Arc<Attached>>,
    pub(super) transfers: Transfers,
    pub(super) pending: Pending,
    /// What the workers have of this session, once they have had anything.
    pub(super) backlog: Option<Held<'a>>,
    /// Task management functions that wait for commands to end.
    pub(super) functions: Vec<Function>,
    /// Kept for its storage: what the workers have ended.
    pub(super) ended: Vec<Done>,
    pub(super) scratch: Buffer,
    pub(super) next_tag: u32,
    pub(super) text: super::control::TextExchange,
    pub(super) local: SocketAddr,
    rejects: u32,
    /// When the last bytes came: what a command's latency counts from.
    pub(super) received: Instant,
}

impl<'a> Session<'a> {
    /// Takes over from the login phase.
    pub fn new(
        registry: &'a Registry,
        connection: &'a Arc<Connection>,
        outbox: Outbox<'a>,
        ready: Ready,
        admitted: Admitted,
    ) -> io::Result<Self> {
        let limits = registry.limits();
        let next_stat_sn = ready.response.counters.stat_sn.wrapping_add(1);
        Ok(Self {
            registry,
            connection,
            gate: &connection.gate,
            outbox,
            parameters: ready.parameters,
            sequence: Sequence::new(ready.first_cmd_sn, next_stat_sn, limits.queue_depth),
            attached: admitted.unit.map(Arc::new),
            transfers: Transfers::new(limits, ready.parameters),
            pending: Pending::new(limits.buffered_bytes_per_session),
            backlog: None,
            functions: Vec::new(),
            ended: Vec::new(),
            scratch: Buffer::default(),
            text: super::control::TextExchange::default(),
            local: connection.stream.local_addr()?,
            claim: ready.claim,
            next_tag: 0,
            rejects: 0,
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
        self.scratch = Buffer::default();
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

    /// The peer has lost count of its task tags.
    pub(super) fn task_in_progress(&mut self, header: &Header) -> End {
        self.push_reject(header, RejectReason::TaskInProgress);
        End::Protocol("a task tag is used twice")
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
}
