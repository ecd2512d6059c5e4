//! Commands in flight: submit any number, take the answers as they come.
//!
//! One loop serves everything, a single command included: what is submitted is queued in the send
//! buffer, [`Queue::complete`] flushes it and handles PDUs until some command has ended. The
//! command window, R2Ts and the target's pings are taken care of on the way.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use osds_iscsi::pdu::response::{Counters, DataIn, NopIn, ReadyToTransfer};
use osds_iscsi::pdu::{NO_TAG, Request, Response, request};

pub use osds_iscsi::pdu::response::Residual;

use super::login::Established;
use super::wire::LARGE;
use super::{Error, Wire};

/// Names a submitted command.
pub type Tag = u32;

/// What a command moves.
#[derive(Clone, Debug)]
pub enum Data {
    /// Nothing.
    None,
    /// Up to so many bytes to us.
    In(usize),
    /// These bytes to the target.
    Out(Arc<[u8]>),
}

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// SCSI status.
    pub status: u8,
    /// Data read.
    pub data: Vec<u8>,
    /// Sense data.
    pub sense: Vec<u8>,
    /// Difference from the expected length.
    pub residual: Residual,
}

impl Answer {
    /// The data, if the command went well.
    pub fn good(self) -> Result<Vec<u8>, Error> {
        match self.status {
            0x00 => Ok(self.data),
            0x02 => {
                let (key, asc, ascq) = match self.sense.first().map(|code| code & 0x7f) {
                    Some(0x70 | 0x71) if self.sense.len() >= 14 => {
                        (self.sense[2] & 0x0f, self.sense[12], self.sense[13])
                    }
                    Some(0x72 | 0x73) if self.sense.len() >= 4 => {
                        (self.sense[1] & 0x0f, self.sense[2], self.sense[3])
                    }
                    Some(_) | None => return Err(Error::protocol("no sense data")),
                };
                Err(Error::CheckCondition { key, asc, ascq })
            }
            other => Err(Error::Status(other)),
        }
    }
}

#[derive(Debug)]
struct Flight {
    data: Data,
    /// Room for all the data that was asked for.
    room: Vec<u8>,
    /// How much of it has come.
    received: usize,
    data_sn: u32,
}

impl Flight {
    /// The data that has come.
    fn data(mut self) -> Vec<u8> {
        self.room.truncate(self.received);
        self.room
    }
}

/// Where the next data of a command goes.
fn room_for<'a>(
    flights: &'a mut HashMap<Tag, Flight>,
    pdu: &DataIn,
    len: usize,
) -> Result<&'a mut [u8], Error> {
    let Some(flight) = flights.get_mut(&pdu.itt) else {
        return Err(Error::protocol("data for an unknown task"));
    };
    if pdu.data_sn != flight.data_sn || pdu.offset as usize != flight.received {
        return Err(Error::protocol("read data out of order"));
    }
    let room = flight.room.get_mut(flight.received..flight.received + len);
    room.ok_or_else(|| Error::protocol("more read data than was asked for"))
}

/// So much data of a command has come, and its status maybe.
fn note_data(
    flights: &mut HashMap<Tag, Flight>,
    ended: &mut VecDeque<(Tag, Answer)>,
    pdu: &DataIn,
    len: usize,
) {
    if let Some(flight) = flights.get_mut(&pdu.itt) {
        flight.data_sn += 1;
        flight.received += len;
    }
    if let Some(status) = pdu.status
        && let Some(flight) = flights.remove(&pdu.itt)
    {
        let (data, sense, residual) = (flight.data(), Vec::new(), pdu.residual);
        ended.push_back((pdu.itt, Answer { status, data, sense, residual }));
    }
}

/// See the head of this file.
#[derive(Debug)]
pub struct Queue {
    link: Established,
    flights: HashMap<Tag, Flight>,
    ended: VecDeque<(Tag, Answer)>,
    spare: Vec<Vec<u8>>,
    next_tag: Tag,
}

/// The eight-byte form of LUN 1.
pub(super) const LUN: [u8; 8] = [0, 1, 0, 0, 0, 0, 0, 0];

/// The target asks, and wants an answer.
fn is_ping(nop: &NopIn) -> bool {
    nop.itt == NO_TAG && nop.ttt != NO_TAG
}

impl Queue {
    pub(super) fn new(link: Established) -> Self {
        Self {
            link,
            flights: HashMap::new(),
            ended: VecDeque::new(),
            spare: Vec::new(),
            next_tag: 1,
        }
    }

    /// Commands submitted and not yet taken by [`Queue::complete`].
    pub fn in_flight(&self) -> usize {
        self.flights.len() + self.ended.len()
    }

    /// The bare connection. Whoever sends numbered PDUs over it takes numbers from
    /// [`Queue::take_cmd_sn`].
    pub fn wire(&mut self) -> &mut Wire {
        &mut self.link.wire
    }

    /// The next command number, used up.
    pub fn take_cmd_sn(&mut self) -> u32 {
        let cmd_sn = self.link.cmd_sn;
        self.link.cmd_sn = cmd_sn.wrapping_add(1);
        cmd_sn
    }

    /// The highest command number the target takes now.
    pub fn max_cmd_sn(&self) -> u32 {
        self.link.max_cmd_sn
    }

    /// A fresh task tag.
    pub fn take_tag(&mut self) -> Tag {
        self.next_tag = self.next_tag.wrapping_add(1);
        if self.next_tag == NO_TAG {
            self.next_tag = 1;
        }
        self.next_tag
    }

    /// Submits a command to LUN 1.
    pub fn submit(&mut self, cdb: &[u8], data: Data) -> Result<Tag, Error> {
        self.submit_to(LUN, cdb, data)
    }

    /// Submits a command to any LUN.
    pub fn submit_to(&mut self, lun: [u8; 8], cdb: &[u8], data: Data) -> Result<Tag, Error> {
        // Outside the window the target would not even look at it.
        while self.link.max_cmd_sn.wrapping_sub(self.link.cmd_sn) > u32::MAX / 2 {
            self.handle_one()?;
        }
        let itt = self.take_tag();
        let mut block = [0; 16];
        block[..cdb.len()].copy_from_slice(cdb);
        let (read, write, expected) = match &data {
            Data::None => (false, false, 0),
            Data::In(len) => (true, false, *len),
            Data::Out(bytes) => (false, true, bytes.len()),
        };
        let out = match &data {
            Data::Out(bytes) => Arc::clone(bytes),
            Data::None | Data::In(_) => Arc::default(),
        };
        let first = out.len().min(self.link.first_burst);
        let immediate = if self.link.immediate_data { first } else { 0 };
        let immediate = immediate.min(self.link.max_send_segment);
        let unsolicited = if self.link.initial_r2t { immediate } else { first };
        let command = request::ScsiCommand {
            immediate: false,
            is_final: unsolicited == immediate,
            read,
            write,
            attribute: 1,
            lun,
            itt,
            expected_len: u32::try_from(expected)
                .map_err(|_| Error::protocol("too much for one command"))?,
            cmd_sn: self.take_cmd_sn(),
            exp_stat_sn: self.link.exp_stat_sn,
            cdb: block,
        };
        self.link.wire.push(&Request::ScsiCommand(command), &out[..immediate]);
        if unsolicited > immediate {
            self.send_data(itt, [0; 8], NO_TAG, &out, immediate..unsolicited)?;
        }
        let mut room = self.spare.pop().unwrap_or_default();
        // What it holds from before is overwritten or cut off: no need to clear it.
        room.resize(if read { expected } else { 0 }, 0);
        self.flights.insert(itt, Flight { data, room, received: 0, data_sn: 0 });
        if self.link.wire.queued() > 256 << 10 {
            self.link.wire.flush()?;
        }
        Ok(itt)
    }

    /// Takes the next command that ends, whichever it is.
    pub fn complete(&mut self) -> Result<(Tag, Answer), Error> {
        loop {
            if let Some(ended) = self.ended.pop_front() {
                return Ok(ended);
            }
            if self.flights.is_empty() {
                return Err(Error::protocol("no command is in flight"));
            }
            self.handle_one()?;
        }
    }

    /// Gives a data buffer back for reuse.
    pub fn recycle(&mut self, answer: Answer) {
        if self.spare.len() < 64 {
            self.spare.push(answer.data);
        }
    }

    /// Submits one command and waits for it.
    pub fn run(&mut self, lun: [u8; 8], cdb: &[u8], data: Data) -> Result<Answer, Error> {
        let tag = self.submit_to(lun, cdb, data)?;
        self.wait(tag)
    }

    /// Waits for one particular command; others that end meanwhile stay for [`Queue::complete`].
    pub fn wait(&mut self, tag: Tag) -> Result<Answer, Error> {
        loop {
            let at = self.ended.iter().position(|(ended, _)| *ended == tag);
            if let Some((_, answer)) = at.and_then(|at| self.ended.remove(at)) {
                return Ok(answer);
            }
            self.handle_one()?;
        }
    }

    /// Sends a task management function and returns its response code.
    pub fn task_management(
        &mut self,
        function: u8,
        lun: [u8; 8],
        referenced_task: Tag,
    ) -> Result<u8, Error> {
        let itt = self.take_tag();
        let request = request::TaskManagement {
            immediate: true,
            function,
            lun,
            itt,
            referenced_task,
            cmd_sn: self.link.cmd_sn,
            exp_stat_sn: self.link.exp_stat_sn,
            ref_cmd_sn: 0,
            exp_data_sn: 0,
        };
        self.link.wire.push(&Request::TaskManagement(request), &[]);
        loop {
            if let Some(Response::TaskManagement(answer)) = self.handle_one()? {
                return Ok(answer.response);
            }
        }
    }

    /// Gives up waiting for a command (after an abort).
    pub fn forget(&mut self, tag: Tag) {
        self.flights.remove(&tag);
    }

    /// Sends a NOP-Out and expects its data back.
    pub fn echo(&mut self, data: &[u8]) -> Result<Vec<u8>, Error> {
        let itt = self.take_tag();
        let request = request::NopOut {
            immediate: false,
            lun: [0; 8],
            itt,
            ttt: NO_TAG,
            cmd_sn: self.take_cmd_sn(),
            exp_stat_sn: self.link.exp_stat_sn,
        };
        self.link.wire.push(&Request::NopOut(request), data);
        loop {
            let (response, data) = self.link.wire.receive_owned()?;
            self.note(&response);
            match response {
                Response::NopIn(nop) if nop.itt == itt => return Ok(data),
                Response::NopIn(ping) if is_ping(&ping) => self.answer(&ping)?,
                other => return Err(Error::protocol(format!("instead of an echo: {other:?}"))),
            }
        }
    }

    /// Gives the target the sign of life it asks for.
    fn answer(&mut self, ping: &NopIn) -> Result<(), Error> {
        let pong = request::NopOut {
            immediate: true,
            lun: ping.lun,
            itt: NO_TAG,
            ttt: ping.ttt,
            cmd_sn: self.link.cmd_sn,
            exp_stat_sn: self.link.exp_stat_sn,
        };
        self.link.wire.push(&Request::NopOut(pong), &[]);
        self.link.wire.flush()
    }

    pub(super) fn logout(&mut self) -> Result<(), Error> {
        let request = request::Logout {
            immediate: false,
            reason: 0,
            itt: self.take_tag(),
            cid: 0,
            cmd_sn: self.take_cmd_sn(),
            exp_stat_sn: self.link.exp_stat_sn,
        };
        self.link.wire.push(&Request::Logout(request), &[]);
        loop {
            match self.handle_one()? {
                Some(Response::Logout(answer)) if answer.response == 0 => return Ok(()),
                Some(Response::Logout(answer)) => {
                    return Err(Error::protocol(format!("logout: {}", answer.response)));
                }
                Some(_) | None => {}
            }
        }
    }

    /// Handles one PDU; returns it unless it belonged to a command or was a ping.
    fn handle_one(&mut self) -> Result<Option<Response>, Error> {
        let flights = &mut self.flights;
        let ended = &mut self.ended;
        let expects_much = flights.values().any(|flight| flight.room.len() >= LARGE);
        if expects_much && let Some((response, len)) = self.link.wire.next_large()? {
            let Response::DataIn(pdu) = &response else {
                return Err(Error::protocol(format!("much data in {response:?}")));
            };
            self.link.wire.take_large(room_for(flights, pdu, len)?)?;
            note_data(flights, ended, pdu, len);
            self.note(&response);
            return Ok(None);
        }
        let take = |response, data: &[u8]| {
            match &response {
                Response::DataIn(pdu) => {
                    room_for(flights, pdu, data.len())?.copy_from_slice(data);
                    note_data(flights, ended, pdu, data.len());
                }
                Response::ScsiResponse(pdu) => {
                    let Some(flight) = flights.remove(&pdu.itt) else {
                        return Err(Error::protocol("status of an unknown task"));
                    };
                    let sense = data.get(2..).unwrap_or_default().to_vec();
                    let (status, residual) = (pdu.status, pdu.residual);
                    let answer = Answer { status, data: flight.data(), sense, residual };
                    ended.push_back((pdu.itt, answer));
                }
                Response::NopIn(_)
                | Response::TaskManagement(_)
                | Response::Login(_)
                | Response::Text(_)
                | Response::Logout(_)
                | Response::ReadyToTransfer(_)
                | Response::AsyncMessage(_)
                | Response::Reject(_) => {}
            }
            Ok(response)
        };
        let response = if expects_much {
            self.link.wire.receive_sparingly(take)
        } else {
            self.link.wire.receive(take)
        }??;
        self.note(&response);
        match response {
            Response::DataIn(_) | Response::ScsiResponse(_) => Ok(None),
            Response::ReadyToTransfer(r2t) => {
                self.serve(&r2t)?;
                Ok(None)
            }
            Response::NopIn(ping) if is_ping(&ping) => {
                self.answer(&ping)?;
                Ok(None)
            }
            Response::Reject(reject) => Err(Error::Rejected(reject.reason)),
            Response::NopIn(_)
            | Response::TaskManagement(_)
            | Response::Login(_)
            | Response::Text(_)
            | Response::Logout(_)
            | Response::AsyncMessage(_) => Ok(Some(response)),
        }
    }

    fn note(&mut self, response: &Response) {
        let Counters { stat_sn, max_cmd_sn, .. } = response.counters();
        let counts = match response {
            Response::DataIn(pdu) => pdu.status.is_some(),
            Response::ReadyToTransfer(_) => false,
            Response::NopIn(pdu) => pdu.itt != NO_TAG,
            Response::ScsiResponse(_)
            | Response::TaskManagement(_)
            | Response::Login(_)
            | Response::Text(_)
            | Response::Logout(_)
            | Response::AsyncMessage(_)
            | Response::Reject(_) => true,
        };
        if counts {
            self.link.exp_stat_sn = stat_sn.wrapping_add(1);
        }
        if max_cmd_sn.wrapping_sub(self.link.max_cmd_sn) < u32::MAX / 2 {
            self.link.max_cmd_sn = max_cmd_sn;
        }
    }

    fn serve(&mut self, r2t: &ReadyToTransfer) -> Result<(), Error> {
        let Some(Data::Out(bytes)) = self.flights.get(&r2t.itt).map(|flight| &flight.data) else {
            return Err(Error::protocol("an R2T for a task that writes nothing"));
        };
        let bytes = Arc::clone(bytes);
        let range = r2t.offset as usize..(r2t.offset as usize + r2t.len as usize);
        if range.end > bytes.len() {
            return Err(Error::protocol("an R2T beyond the data"));
        }
        self.send_data(r2t.itt, r2t.lun, r2t.ttt, &bytes, range)?;
        self.link.wire.flush()
    }

    fn send_data(
        &mut self,
        itt: Tag,
        lun: [u8; 8],
        ttt: u32,
        bytes: &[u8],
        range: std::ops::Range<usize>,
    ) -> Result<(), Error> {
        let mut offset = range.start;
        let mut data_sn = 0;
        while offset < range.end {
            let end = range.end.min(offset + self.link.max_send_segment);
            let pdu = request::DataOut {
                is_final: end == range.end,
                lun,
                itt,
                ttt,
                exp_stat_sn: self.link.exp_stat_sn,
                data_sn,
                offset: u32::try_from(offset).unwrap_or(u32::MAX),
            };
            self.link.wire.push_large(&Request::DataOut(pdu), &bytes[offset..end])?;
            offset = end;
            data_sn += 1;
        }
        Ok(())
    }
}
