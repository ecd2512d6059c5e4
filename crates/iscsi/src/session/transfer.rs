//! Write commands that are waiting for their data.
//!
//! Pure bookkeeping, no sockets: which bytes are still to come, in which order, and who may be asked
//! for them next. Data is taken strictly in order (DataPDUInOrder and DataSequenceInOrder are always
//! Yes), so a transfer is a buffer that grows to its expected length. Memory is bounded: unsolicited
//! data by FirstBurstLength per command, solicited data by a reservation that is made before the
//! first R2T of a command is sent, and given back when the command has ended. A transfer that has gone wrong keeps its verdict, takes the rest
//! of its sequence without storing it, and then ends; so the stream stays in step.

use std::collections::{HashMap, VecDeque};

use super::tasks::Began;
use crate::buffer::Buffer;
use crate::limits::Limits;
use crate::login::keys::Parameters;
use crate::pdu::NO_TAG;
use crate::pdu::request::{DataOut, ScsiCommand};
use crate::scsi::{Completion, Sense, SenseKey};

/// Data came although none was allowed (ABORTED COMMAND, 0C/0C).
const UNEXPECTED_DATA: Sense = Sense::new(SenseKey::AbortedCommand, 0x0c, 0x0c);
/// More or less data came than was announced (ABORTED COMMAND, 0C/0D).
const WRONG_AMOUNT: Sense = Sense::new(SenseKey::AbortedCommand, 0x0c, 0x0d);
/// A data PDU is missing or repeated (DATA PHASE ERROR).
const OUT_OF_SEQUENCE: Sense = Sense::new(SenseKey::AbortedCommand, 0x4b, 0x00);
/// A data PDU names another place than the next one (DATA OFFSET ERROR).
const WRONG_OFFSET: Sense = Sense::new(SenseKey::AbortedCommand, 0x4b, 0x05);

/// Immediate commands that may be open at once; they have no place in the command window.
pub const MAX_IMMEDIATE: usize = 16;

/// Aborted tasks whose late data is still expected and dropped.
const MAX_FORGOTTEN: usize = 256;

/// Buffers kept for reuse, and the size above which one is not worth keeping.
const SPARE_BUFFERS: usize = 32;
const SPARE_BYTES: usize = 1 << 20;
/// All of them together.
const SPARE_TOTAL: usize = 4 << 20;

/// One write command and what has come of its data.
#[derive(Debug)]
pub struct Transfer {
    /// The command.
    pub command: ScsiCommand,
    /// The data so far.
    pub data: Buffer,
    /// How it ends whatever still comes.
    pub verdict: Option<Completion>,
    /// When it began.
    pub began: Began,
    /// R2Ts sent.
    pub r2t_sn: u32,
    /// Its part of the budget, to be given back with [`Transfers::release`].
    pub reserved: usize,
    phase: Phase,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Unsolicited Data-Out follows.
    Unsolicited { next_sn: u32 },
    /// It waits for its next R2T.
    Waiting,
    /// An R2T is out for everything up to `end`.
    Solicited { ttt: u32, end: usize, next_sn: u32 },
}

/// What a new command or a Data-Out led to.
#[derive(Debug)]
pub enum Outcome {
    /// More data is to come.
    Open,
    /// All data is here (or the verdict stands): end the command.
    Complete(Transfer),
    /// Late data of an aborted task.
    Late,
    /// There is no such task or transfer tag.
    Unknown,
    /// Too many immediate commands are open.
    TooManyImmediate,
}

/// An R2T to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Solicit {
    /// Logical unit of the command.
    pub lun: [u8; 8],
    /// Its task tag.
    pub itt: u32,
    /// The transfer tag the data will carry.
    pub ttt: u32,
    /// Number of this R2T within the command.
    pub r2t_sn: u32,
    /// First byte.
    pub offset: u32,
    /// Number of bytes.
    pub len: u32,
}

/// All open transfers of a session.
#[derive(Debug)]
pub struct Transfers {
    parameters: Parameters,
    max_write: usize,
    budget: usize,
    open: HashMap<u32, Transfer>,
    waiting: VecDeque<u32>,
    reserved: usize,
    forgotten: VecDeque<u32>,
    spare: Vec<Buffer>,
    spare_bytes: usize,
}

impl Transfers {
    /// No transfers yet.
    pub fn new(limits: &Limits, parameters: Parameters) -> Self {
        Self {
            parameters,
            max_write: limits.max_write_bytes,
            budget: limits.buffered_bytes_per_session,
            open: HashMap::new(),
            waiting: VecDeque::new(),
            reserved: 0,
            forgotten: VecDeque::new(),
            spare: Vec::new(),
            spare_bytes: 0,
        }
    }

    /// A task of this tag is open.
    #[cfg(test)]
    fn contains(&self, itt: u32) -> bool {
        self.open.contains_key(&itt)
    }

    /// The verdict on a write by its first PDU alone, if there is one.
    pub fn judge(&self, command: &ScsiCommand, immediate: &[u8]) -> Option<Completion> {
        let p = &self.parameters;
        let expected = command.expected_len as usize;
        let unasked =
            (!immediate.is_empty() && !p.immediate_data) || (!command.is_final && p.initial_r2t);
        let sense = if unasked {
            UNEXPECTED_DATA
        } else if immediate.len() > expected.min(p.first_burst) {
            WRONG_AMOUNT
        } else if expected > self.max_write {
            Sense::new(SenseKey::IllegalRequest, 0x24, 0x00)
        } else {
            return None;
        };
        Some(Completion::check(sense))
    }

    /// Takes a write command that does not bring all of its data along.
    pub fn begin(
        &mut self,
        command: &ScsiCommand,
        immediate: &[u8],
        verdict: Option<Completion>,
        began: Began,
    ) -> Outcome {
        let open_immediate = self.open.values().filter(|t| t.command.immediate).count();
        if command.immediate && open_immediate >= MAX_IMMEDIATE {
            return Outcome::TooManyImmediate;
        }
        self.forgotten.retain(|itt| *itt != command.itt);
        let data = self.buffer();
        let mut transfer = Transfer {
            command: *command,
            data,
            verdict,
            began,
            r2t_sn: 0,
            phase: Phase::Unsolicited { next_sn: 0 },
            reserved: 0,
        };
        transfer.store(immediate);
        if command.is_final { self.end_of_sequence(transfer) } else { self.keep(transfer) }
    }

    /// Takes a Data-Out PDU.
    pub fn data_out(&mut self, pdu: &DataOut, data: &[u8]) -> Outcome {
        let Some(mut transfer) = self.open.remove(&pdu.itt) else {
            let late = self.forgotten.contains(&pdu.itt);
            return if late { Outcome::Late } else { Outcome::Unknown };
        };
        let (next_sn, end, expected_ttt) = match &mut transfer.phase {
            Phase::Unsolicited { next_sn } => {
                let end = self.parameters.first_burst.min(transfer.command.expected_len as usize);
                (next_sn, end, NO_TAG)
            }
            Phase::Solicited { ttt, end, next_sn } => (next_sn, *end, *ttt),
            Phase::Waiting => {
                self.open.insert(pdu.itt, transfer);
                return Outcome::Unknown;
            }
        };
        if pdu.ttt != expected_ttt {
            self.open.insert(pdu.itt, transfer);
            return Outcome::Unknown;
        }
        let in_order = pdu.data_sn == *next_sn;
        *next_sn = next_sn.wrapping_add(1);
        if transfer.verdict.is_none() {
            let wrong = if !in_order {
                Some(OUT_OF_SEQUENCE)
            } else if pdu.offset as usize != transfer.data.len() {
                Some(WRONG_OFFSET)
            } else if transfer.data.len() + data.len() > end {
                Some(WRONG_AMOUNT)
            } else {
                None
            };
            transfer.verdict = wrong.map(Completion::check);
        }
        transfer.store(data);
        if !pdu.is_final {
            return self.keep(transfer);
        }
        if let Phase::Solicited { end, .. } = transfer.phase
            && transfer.verdict.is_none()
            && transfer.data.len() < end
        {
            transfer.verdict = Some(Completion::check(WRONG_AMOUNT));
        }
        self.end_of_sequence(transfer)
    }

    /// The sequence is over: the command is complete, or waits for its next R2T.
    fn end_of_sequence(&mut self, mut transfer: Transfer) -> Outcome {
        let whole = transfer.data.len() == transfer.command.expected_len as usize;
        if whole || transfer.verdict.is_some() {
            return Outcome::Complete(transfer);
        }
        transfer.phase = Phase::Waiting;
        if transfer.reserved > 0 {
            // Its memory is there already: no reason to stand behind those that wait for some.
            self.waiting.push_front(transfer.command.itt);
        } else {
            self.waiting.push_back(transfer.command.itt);
        }
        self.keep(transfer)
    }

    fn keep(&mut self, transfer: Transfer) -> Outcome {
        self.open.insert(transfer.command.itt, transfer);
        Outcome::Open
    }

    /// The next R2T that may be sent within the memory budget. The `oldest` command of the session
    /// always may: it waits for no other, so there is always one that moves, even when everything
    /// that holds memory waits for its turn behind it.
    pub fn solicit(&mut self, next_tag: &mut u32, oldest: Option<u32>) -> Option<Solicit> {
        let at = self.waiting.iter().take(1).position(|itt| self.fits(*itt)).or_else(|| {
            let oldest = oldest?;
            self.waiting.iter().position(|itt| *itt == oldest)
        })?;
        let itt = self.waiting.remove(at)?;
        // An aborted task has left the queue as well, so whoever waits is open.
        let transfer = self.open.get_mut(&itt)?;
        let expected = transfer.command.expected_len as usize;
        if transfer.reserved == 0 {
            transfer.reserved = expected;
            self.reserved += expected;
            transfer.data.reserve_exact(expected - transfer.data.len());
        }
        let offset = transfer.data.len();
        let end = expected.min(offset + self.parameters.max_burst);
        *next_tag = next_tag.wrapping_add(1);
        if *next_tag == NO_TAG {
            *next_tag = 0;
        }
        transfer.phase = Phase::Solicited { ttt: *next_tag, end, next_sn: 0 };
        let r2t_sn = transfer.r2t_sn;
        transfer.r2t_sn += 1;
        let small = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Some(Solicit {
            lun: transfer.command.lun,
            itt,
            ttt: *next_tag,
            r2t_sn,
            offset: small(offset),
            len: small(end - offset),
        })
    }

    /// Its memory is there, or there is memory for it.
    fn fits(&self, itt: u32) -> bool {
        self.open.get(&itt).is_some_and(|transfer| {
            let more = transfer.command.expected_len as usize;
            transfer.reserved > 0 || self.reserved == 0 || self.reserved + more <= self.budget
        })
    }

    /// Gives the memory of a command back that has ended.
    pub fn release(&mut self, reserved: usize) {
        self.reserved -= reserved;
    }

    /// Forgets one task; its late data will be dropped. `None`: there is no such task.
    pub fn abort(&mut self, itt: u32, lun: [u8; 8]) -> Option<Transfer> {
        if self.open.get(&itt)?.command.lun != lun {
            return None;
        }
        let transfer = self.open.remove(&itt)?;
        self.waiting.retain(|waiting| *waiting != itt);
        self.reserved -= transfer.reserved;
        if self.forgotten.len() == MAX_FORGOTTEN {
            self.forgotten.pop_front();
        }
        self.forgotten.push_back(itt);
        Some(transfer)
    }

    /// An empty buffer, used before if possible.
    pub fn buffer(&mut self) -> Buffer {
        let buffer = self.spare.pop().unwrap_or_default();
        self.spare_bytes -= buffer.capacity();
        buffer
    }

    /// Takes a buffer back for reuse.
    pub fn recycle(&mut self, mut buffer: Buffer) {
        let size = buffer.capacity();
        let worth = size > 0 && size <= SPARE_BYTES && self.spare_bytes + size <= SPARE_TOTAL;
        if worth && self.spare.len() < SPARE_BUFFERS {
            buffer.clear();
            self.spare_bytes += size;
            self.spare.push(buffer);
        }
    }

    /// Gives memory back; for quiet moments.
    pub fn shrink(&mut self) {
        self.spare = Vec::new();
        self.spare_bytes = 0;
    }

    /// Bytes held for open transfers.
    #[cfg(test)]
    fn held(&self) -> usize {
        self.open.values().map(|t| t.data.capacity()).sum()
    }
}

impl Transfer {
    fn store(&mut self, data: &[u8]) {
        if self.verdict.is_none() {
            self.data.extend_from_slice(data);
        } else {
            self.data = Buffer::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parameters(initial_r2t: bool, immediate_data: bool) -> Parameters {
        Parameters {
            initial_r2t,
            immediate_data,
            max_burst: 2048,
            first_burst: 1024,
            ..Parameters::default()
        }
    }

    fn command(itt: u32, expected_len: u32, is_final: bool) -> ScsiCommand {
        ScsiCommand {
            immediate: false,
            is_final,
            read: false,
            write: true,
            attribute: 0,
            lun: [0, 1, 0, 0, 0, 0, 0, 0],
            itt,
            expected_len,
            cmd_sn: 0,
            exp_stat_sn: 0,
            cdb: [0; 16],
        }
    }

    fn data_out(itt: u32, ttt: u32, data_sn: u32, offset: u32, is_final: bool) -> DataOut {
        DataOut { is_final, lun: [0; 8], itt, ttt, exp_stat_sn: 0, data_sn, offset }
    }

    fn transfers(p: Parameters) -> Transfers {
        let limits = Limits { buffered_bytes_per_session: 8192, ..Limits::default() };
        Transfers::new(&limits, p)
    }

    #[test]
    fn bursts_are_solicited_one_after_the_other() {
        let mut t = transfers(parameters(true, true));
        let mut tag = 0;
        assert!(matches!(
            t.begin(&command(1, 5000, true), &[7; 1000], None, Began::default()),
            Outcome::Open
        ));
        let mut offsets = Vec::new();
        loop {
            let s = t.solicit(&mut tag, None).unwrap();
            offsets.push((s.offset, s.len, s.r2t_sn));
            assert_eq!(t.solicit(&mut tag, None), None);
            let data = vec![7; s.len as usize];
            match t.data_out(&data_out(1, s.ttt, 0, s.offset, true), &data) {
                Outcome::Open => {}
                Outcome::Complete(done) => {
                    assert_eq!(*done.data, [7; 5000]);
                    assert_eq!(t.reserved, 5000, "until the command has ended");
                    t.release(done.reserved);
                    break;
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(offsets, [(1000, 2048, 0), (3048, 1952, 1)]);
        assert_eq!(t.reserved, 0);
    }

    #[test]
    fn the_budget_holds_back_r2ts_but_never_all() {
        let mut t = transfers(parameters(true, true));
        let mut tag = 0;
        for itt in 0..4 {
            t.begin(&command(itt, 6000, true), &[], None, Began::default());
        }
        assert_eq!(t.solicit(&mut tag, None).unwrap().itt, 0);
        assert_eq!(t.solicit(&mut tag, None), None);
        assert!(t.held() <= 8192);
        t.abort(0, [0, 1, 0, 0, 0, 0, 0, 0]).unwrap();
        assert_eq!(t.solicit(&mut tag, None).unwrap().itt, 1);
        assert_eq!(t.solicit(&mut tag, None), None);
        assert_eq!(t.solicit(&mut tag, Some(3)).unwrap().itt, 3, "the oldest may");
    }

    #[test]
    fn what_is_out_of_order_ends_the_command_after_its_sequence() {
        for (sn, offset, len, sense) in
            [(5, 0, 100, OUT_OF_SEQUENCE), (0, 512, 100, WRONG_OFFSET), (0, 0, 1025, WRONG_AMOUNT)]
        {
            let mut t = transfers(parameters(false, true));
            t.begin(&command(1, 4000, false), &[], None, Began::default());
            let bad = data_out(1, NO_TAG, sn, offset, false);
            assert!(matches!(t.data_out(&bad, &vec![0; len]), Outcome::Open));
            let last = data_out(1, NO_TAG, sn + 1, 0, true);
            let Outcome::Complete(done) = t.data_out(&last, &[0; 10]) else { panic!() };
            assert_eq!(done.verdict, Some(Completion::check(sense)));
            assert!(done.data.is_empty());
        }
    }

    #[test]
    fn unknown_tags_change_nothing() {
        let mut t = transfers(parameters(true, true));
        t.begin(&command(1, 4000, true), &[], None, Began::default());
        assert!(matches!(t.data_out(&data_out(1, 9, 0, 0, true), &[]), Outcome::Unknown));
        assert!(matches!(t.data_out(&data_out(2, 9, 0, 0, true), &[]), Outcome::Unknown));
        let s = t.solicit(&mut 0, None).unwrap();
        let wrong = data_out(1, s.ttt + 1, 0, 0, true);
        assert!(matches!(t.data_out(&wrong, &[0; 4000]), Outcome::Unknown));
        assert!(t.contains(1));
    }

    #[test]
    fn late_data_of_an_aborted_task_is_dropped() {
        let mut t = transfers(parameters(false, true));
        t.begin(&command(1, 4000, false), &[], None, Began::default());
        assert!(t.abort(1, [0; 8]).is_none(), "another unit's task");
        assert!(t.abort(1, [0, 1, 0, 0, 0, 0, 0, 0]).is_some());
        assert!(matches!(t.data_out(&data_out(1, NO_TAG, 0, 0, true), &[0; 9]), Outcome::Late));
    }

    #[test]
    fn the_first_pdu_is_judged_by_what_was_negotiated() {
        let strict = transfers(parameters(true, false));
        assert!(strict.judge(&command(1, 512, true), &[]).is_none());
        assert!(strict.judge(&command(1, 512, true), &[0; 512]).is_some());
        assert!(strict.judge(&command(1, 512, false), &[]).is_some());
        let loose = transfers(parameters(false, true));
        assert!(loose.judge(&command(1, 512, false), &[0; 512]).is_none());
        assert!(loose.judge(&command(1, 512, true), &[0; 513]).is_some());
        assert!(loose.judge(&command(1, 4096, true), &[0; 1025]).is_some());
        assert!(loose.judge(&command(1, u32::MAX, true), &[]).is_some());
    }

    proptest! {
        #[test]
        fn no_stream_of_data_pdus_panics_or_takes_more_memory(
            pdus in proptest::collection::vec(
                (0u32..3, 0u32..4, 0u32..3, 0u32..3000, any::<bool>(), 0usize..2500, any::<bool>()), 0..60),
        ) {
            let mut t = transfers(parameters(false, true));
            let mut tag = 0;
            for (itt, ttt, sn, offset, last, len, begin) in pdus {
                if begin && !t.contains(itt) {
                    let c = command(itt, 3000, last);
                    let data = vec![0; len];
                    let verdict = t.judge(&c, &data);
                    if let Outcome::Complete(done) = t.begin(&c, &data, verdict, Began::default()) {
                        t.release(done.reserved);
                    }
                } else {
                    let ttt = if ttt == 0 { NO_TAG } else { ttt };
                    let pdu = data_out(itt, ttt, sn, offset, last);
                    if let Outcome::Complete(done) = t.data_out(&pdu, &vec![0; len]) {
                        t.release(done.reserved);
                    }
                }
                t.solicit(&mut tag, None);
                prop_assert!(t.held() <= 3 * 4096);
                prop_assert!(t.reserved <= 8192);
            }
        }
    }
}
