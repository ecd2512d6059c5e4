//! The one table of commands: what exists, what it may do, and who carries it out.
//!
//! Dispatch, write protection, reservations, the data-out a CDB asks for and REPORT SUPPORTED OPERATION CODES
//! all read the same rows, so they cannot disagree. A row without a handler is a command that we
//! know of but do not offer: it is here because its [`Effect`] must hold all the same. Rows stand
//! in the order of their opcodes; that is checked when the crate is compiled.

use super::cdb::Cdb;
use super::dispatch::Call;
use super::reservation_terms::Class;
use super::sense::{Sense, Status};
use super::{
    BLOCK_SIZE, block, copied, copy, inquiry, log, luns, mode, persist, primary, provisioning,
    supported,
};

/// Carries a command out: appends to the data-in, or says why not.
pub(super) type Handler = fn(&Call<'_>, &mut Buffer) -> Result<Status, Sense>;

/// Carries a command out if nothing has to be waited for; `None` if something would, and then
/// nothing has been done.
pub(super) type TryHandler = fn(&Call<'_>, &mut Buffer) -> Option<Result<Status, Sense>>;

/// Whether a command can be carried out by somebody who must not wait.
#[derive(Clone, Copy)]
pub(super) enum Pace {
    /// Always: it touches neither the medium nor a lock.
    Quick,
    /// Sometimes, and this tells.
    Tries(TryHandler),
    /// No, or nobody has thought about it.
    Slow,
}

/// May the command change the medium, or take something away from other initiators?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    /// No: a read-only nexus may send it.
    Reads,
    /// Yes: a read-only nexus gets DATA PROTECT.
    Writes,
}

use crate::buffer::Buffer;
use Effect::{Reads, Writes};

/// What a pending unit attention does to the command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Attentive {
    /// The attention is told instead of running it.
    Yields,
    /// It runs, and the attention stays pending.
    Passes,
}

/// How much data-out the CDB asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DataOut {
    /// Nothing.
    None,
    /// The addressed blocks.
    Blocks,
    /// What BYTCHK compares with: nothing, the blocks, or one block for all of them.
    Compared,
    /// The addressed blocks twice: as they are, and as they shall be.
    OldAndNew,
    /// One block, unless NDOB says that there is none.
    Pattern,
    /// A parameter list whose length is byte 4.
    ListAt4,
    /// A parameter list whose length is bytes 5 to 8.
    ListAt5,
    /// A parameter list whose length is bytes 7 and 8.
    ListAt7,
    /// A parameter list whose length is bytes 10 to 13.
    ListAt10,
}

impl DataOut {
    pub(super) fn length(self, cdb: Cdb<'_>) -> u64 {
        const BLOCK: u64 = BLOCK_SIZE as u64;
        match self {
            Self::None => 0,
            Self::Blocks => cdb.extent().bytes(),
            Self::Compared => match block::bytchk(cdb) {
                1 => cdb.extent().bytes(),
                3 if cdb.extent().blocks > 0 => BLOCK,
                _ => 0,
            },
            Self::OldAndNew => 2 * block::compared_extent(cdb).bytes(),
            Self::Pattern => {
                if provisioning::no_data_out(cdb) {
                    0
                } else {
                    BLOCK
                }
            }
            Self::ListAt4 => u64::from(cdb.byte(4)),
            Self::ListAt5 => u64::from(cdb.u32(5)),
            Self::ListAt7 => u64::from(cdb.u16(7)),
            Self::ListAt10 => u64::from(cdb.u32(10)),
        }
    }
}

/// What a limit on commands and bytes a second counts a command as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Toll {
    /// Nothing: it does not touch the medium, or (a flush) makes others' work good.
    Free,
    /// One, and the addressed blocks.
    Blocks,
    /// One, and the addressed blocks twice: they are read and written.
    OldAndNew,
    /// One, and the addressed blocks unless it may unmap them.
    Fill,
    /// One, whatever its length: it moves no data.
    One,
    /// One, and what its parameter list copies: read and written.
    Copy,
}

/// One command.
pub(super) struct Row {
    pub(super) opcode: u8,
    /// `None`: all of the opcode, whatever its service action.
    pub(super) service_action: Option<u16>,
    pub(super) name: &'static str,
    pub(super) effect: Effect,
    /// What a reservation of another initiator does to it.
    pub(super) class: Class,
    pub(super) attentive: Attentive,
    pub(super) data_out: DataOut,
    pub(super) toll: Toll,
    /// CDB usage data: the opcode, then a bit for each bit that we look at. As long as the CDB.
    pub(super) usage: &'static [u8],
    /// `None`: not offered (yet).
    pub(super) handler: Option<Handler>,
    pub(super) pace: Pace,
}

impl Row {
    /// A command that leaves the medium alone.
    const fn reads(name: &'static str, usage: &'static [u8], handler: Handler) -> Self {
        Self {
            opcode: usage[0],
            service_action: None,
            name,
            effect: Reads,
            class: Class::Reads,
            attentive: Attentive::Yields,
            data_out: DataOut::None,
            toll: Toll::Free,
            usage,
            handler: Some(handler),
            pace: Pace::Slow,
        }
    }

    /// A command that changes the medium.
    const fn writes(
        name: &'static str,
        usage: &'static [u8],
        data_out: DataOut,
        handler: Handler,
    ) -> Self {
        Self { effect: Writes, class: Class::Writes, data_out, ..Self::reads(name, usage, handler) }
    }

    /// A command that we do not offer.
    const fn absent(opcode: u8, name: &'static str, effect: Effect) -> Self {
        Self {
            opcode,
            service_action: None,
            name,
            effect,
            class: match effect {
                Reads => Class::Reads,
                Writes => Class::Writes,
            },
            attentive: Attentive::Yields,
            data_out: DataOut::None,
            toll: Toll::Free,
            usage: &[],
            handler: None,
            pace: Pace::Quick,
        }
    }

    const fn action(mut self, service_action: u16) -> Self {
        self.service_action = Some(service_action);
        self
    }

    const fn class(mut self, class: Class) -> Self {
        self.class = class;
        self
    }

    /// A PERSISTENT RESERVE OUT: it changes nothing on the medium, but takes it from others.
    const fn reserves(name: &'static str, action: u16, usage: &'static [u8]) -> Self {
        Self::writes(name, usage, DataOut::ListAt5, persist::reserve_out)
            .class(Class::Own)
            .action(action)
    }

    const fn takes(mut self, data_out: DataOut) -> Self {
        self.data_out = data_out;
        self
    }

    const fn quick(mut self) -> Self {
        self.pace = Pace::Quick;
        self
    }

    const fn tries(mut self, handler: TryHandler) -> Self {
        self.pace = Pace::Tries(handler);
        self
    }

    const fn costs(mut self, toll: Toll) -> Self {
        self.toll = toll;
        self
    }

    const fn passes_attention(mut self) -> Self {
        self.attentive = Attentive::Passes;
        self
    }
}

/// Of every CONTROL byte we look at NACA.
const CTL: u8 = 0x04;

/// Every command we know of.
#[rustfmt::skip]
pub(super) static TABLE: &[Row] = &[
    Row::reads("TEST UNIT READY", &[0x00, 0, 0, 0, 0, CTL], primary::test_unit_ready).class(Class::Asks).quick(),
    Row::reads("REQUEST SENSE", &[0x03, 0x01, 0, 0, 0xff, CTL], primary::request_sense).passes_attention().class(Class::Free).quick(),
    Row::absent(0x04, "FORMAT UNIT", Writes),
    Row::absent(0x07, "REASSIGN BLOCKS", Writes),
    Row::reads("READ(6)", &[0x08, 0x1f, 0xff, 0xff, 0xff, CTL], block::read).tries(block::read_at_once).costs(Toll::Blocks),
    Row::writes("WRITE(6)", &[0x0a, 0x1f, 0xff, 0xff, 0xff, CTL], DataOut::Blocks, block::write).tries(block::write_at_once).costs(Toll::Blocks),
    Row::reads("INQUIRY", &[0x12, 0x03, 0xff, 0xff, 0xff, CTL], inquiry::inquiry).passes_attention().class(Class::Free).quick(),
    Row::reads("MODE SELECT(6)", &[0x15, 0x11, 0, 0, 0xff, CTL], mode::select6).takes(DataOut::ListAt4).class(Class::Writes),
    Row::writes("RESERVE(6)", &[0x16, 0x1f, 0, 0, 0, CTL], DataOut::None, persist::reserve6).class(Class::Own),
    Row::reads("RELEASE(6)", &[0x17, 0x1f, 0, 0, 0, CTL], persist::release6).class(Class::Own),
    Row::reads("MODE SENSE(6)", &[0x1a, 0x08, 0xff, 0xff, 0xff, CTL], mode::sense6).quick(),
    Row::reads("START STOP UNIT", &[0x1b, 0x01, 0, 0x0f, 0xf7, CTL], primary::start_stop_unit).class(Class::Writes),
    Row::reads("PREVENT ALLOW MEDIUM REMOVAL", &[0x1e, 0, 0, 0, 0x03, CTL], primary::prevent_allow).class(Class::Writes),
    Row::reads("READ CAPACITY(10)", &[0x25, 0, 0xff, 0xff, 0xff, 0xff, 0, 0, 0x01, CTL], block::read_capacity10).class(Class::Asks).quick(),
    Row::reads("READ(10)", &[0x28, 0xf8, 0xff, 0xff, 0xff, 0xff, 0, 0xff, 0xff, CTL], block::read).tries(block::read_at_once).costs(Toll::Blocks),
    Row::writes("WRITE(10)", &[0x2a, 0xf8, 0xff, 0xff, 0xff, 0xff, 0, 0xff, 0xff, CTL], DataOut::Blocks, block::write).tries(block::write_at_once).costs(Toll::Blocks),
    Row::writes("WRITE AND VERIFY(10)", &[0x2e, 0xf6, 0xff, 0xff, 0xff, 0xff, 0, 0xff, 0xff, CTL], DataOut::Blocks, block::write_and_verify).costs(Toll::Blocks),
    Row::reads("VERIFY(10)", &[0x2f, 0xf6, 0xff, 0xff, 0xff, 0xff, 0, 0xff, 0xff, CTL], block::verify).takes(DataOut::Compared).costs(Toll::Blocks),
    Row::reads("PRE-FETCH(10)", &[0x34, 0x02, 0xff, 0xff, 0xff, 0xff, 0, 0xff, 0xff, CTL], block::prefetch).quick(),
    Row::reads("SYNCHRONIZE CACHE(10)", &[0x35, 0x02, 0xff, 0xff, 0xff, 0xff, 0, 0xff, 0xff, CTL], block::synchronize_cache).class(Class::Writes),
    Row::reads("READ DEFECT DATA(10)", &[0x37, 0, 0x1f, 0, 0, 0, 0, 0xff, 0xff, CTL], primary::defects10).quick(),
    Row::absent(0x3b, "WRITE BUFFER", Writes),
    Row::absent(0x3f, "WRITE LONG(10)", Writes),
    Row::writes("WRITE SAME(10)", &[0x41, 0xfe, 0xff, 0xff, 0xff, 0xff, 0, 0xff, 0xff, CTL], DataOut::Pattern, provisioning::write_same).costs(Toll::Fill),
    Row::writes("UNMAP", &[0x42, 0x01, 0, 0, 0, 0, 0, 0xff, 0xff, CTL], DataOut::ListAt7, provisioning::unmap).costs(Toll::One),
    Row::absent(0x48, "SANITIZE", Writes),
    Row::reads("LOG SENSE", &[0x4d, 0x01, 0xff, 0xff, 0, 0xff, 0xff, 0xff, 0xff, CTL], log::log_sense).class(Class::Free).quick(),
    Row::absent(0x50, "XDWRITE(10)", Writes),
    Row::absent(0x51, "XPWRITE(10)", Writes),
    Row::absent(0x53, "XDWRITEREAD(10)", Writes),
    Row::reads("MODE SELECT(10)", &[0x55, 0x11, 0, 0, 0, 0, 0, 0xff, 0xff, CTL], mode::select10).takes(DataOut::ListAt7).class(Class::Writes),
    Row::absent(0x56, "RESERVE(10)", Writes),
    Row::absent(0x57, "RELEASE(10)", Reads),
    Row::reads("MODE SENSE(10)", &[0x5a, 0x18, 0xff, 0xff, 0, 0, 0, 0xff, 0xff, CTL], mode::sense10).quick(),
    Row::reads("PERSISTENT RESERVE IN, READ KEYS", &[0x5e, 0x00, 0, 0, 0, 0, 0, 0xff, 0xff, CTL], persist::read_keys).class(Class::Own).action(0),
    Row::reads("PERSISTENT RESERVE IN, READ RESERVATION", &[0x5e, 0x01, 0, 0, 0, 0, 0, 0xff, 0xff, CTL], persist::read_reservation).class(Class::Own).action(1),
    Row::reads("PERSISTENT RESERVE IN, REPORT CAPABILITIES", &[0x5e, 0x02, 0, 0, 0, 0, 0, 0xff, 0xff, CTL], persist::report_capabilities).class(Class::Own).action(2),
    Row::reads("PERSISTENT RESERVE IN, READ FULL STATUS", &[0x5e, 0x03, 0, 0, 0, 0, 0, 0xff, 0xff, CTL], persist::read_full_status).class(Class::Own).action(3),
    Row::reserves("PERSISTENT RESERVE OUT, REGISTER", 0, &[0x5f, 0x00, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, CTL]),
    Row::reserves("PERSISTENT RESERVE OUT, RESERVE", 1, &[0x5f, 0x01, 0xff, 0, 0, 0xff, 0xff, 0xff, 0xff, CTL]),
    Row::reserves("PERSISTENT RESERVE OUT, RELEASE", 2, &[0x5f, 0x02, 0xff, 0, 0, 0xff, 0xff, 0xff, 0xff, CTL]),
    Row::reserves("PERSISTENT RESERVE OUT, CLEAR", 3, &[0x5f, 0x03, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, CTL]),
    Row::reserves("PERSISTENT RESERVE OUT, PREEMPT", 4, &[0x5f, 0x04, 0xff, 0, 0, 0xff, 0xff, 0xff, 0xff, CTL]),
    Row::reserves("PERSISTENT RESERVE OUT, PREEMPT AND ABORT", 5, &[0x5f, 0x05, 0xff, 0, 0, 0xff, 0xff, 0xff, 0xff, CTL]),
    Row::reserves("PERSISTENT RESERVE OUT, REGISTER AND IGNORE EXISTING KEY", 6, &[0x5f, 0x06, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, CTL]),
    Row::reserves("PERSISTENT RESERVE OUT, REGISTER AND MOVE", 7, &[0x5f, 0x07, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, CTL]),
    Row::absent(0x7f, "XDREAD(32)", Reads).action(0x0003),
    Row::absent(0x7f, "READ(32)", Reads).action(0x0009),
    Row::absent(0x7f, "VERIFY(32)", Reads).action(0x000a),
    Row::absent(0x7f, "variable length write", Writes),
    Row::writes("EXTENDED COPY(LID1)", &[0x83, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, CTL], DataOut::ListAt10, copy::extended_copy).action(0).costs(Toll::Copy),
    Row::absent(0x83, "third-party copy out", Writes),
    Row::reads("RECEIVE COPY STATUS(LID1)", &[0x84, 0, 0xff, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, CTL], copied::status).action(0).class(Class::Writes),
    Row::reads("RECEIVE COPY OPERATING PARAMETERS", &[0x84, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, CTL], copy::operating_parameters).action(3).class(Class::Writes).quick(),
    Row::reads("RECEIVE COPY FAILURE DETAILS(LID1)", &[0x84, 4, 0xff, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, CTL], copied::failure_details).action(4).class(Class::Writes),
    Row::absent(0x84, "third-party copy in", Reads).class(Class::Writes),
    Row::reads("READ(16)", &[0x88, 0xf8, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, CTL], block::read).tries(block::read_at_once).costs(Toll::Blocks),
    Row::writes("COMPARE AND WRITE", &[0x89, 0xf8, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0xff, 0, CTL], DataOut::OldAndNew, block::compare_and_write).costs(Toll::OldAndNew),
    Row::writes("WRITE(16)", &[0x8a, 0xf8, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, CTL], DataOut::Blocks, block::write).tries(block::write_at_once).costs(Toll::Blocks),
    Row::writes("ORWRITE(16)", &[0x8b, 0xf8, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, CTL], DataOut::Blocks, block::or_write).costs(Toll::OldAndNew),
    Row::writes("WRITE AND VERIFY(16)", &[0x8e, 0xf6, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, CTL], DataOut::Blocks, block::write_and_verify).costs(Toll::Blocks),
    Row::reads("VERIFY(16)", &[0x8f, 0xf6, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, CTL], block::verify).takes(DataOut::Compared).costs(Toll::Blocks),
    Row::reads("PRE-FETCH(16)", &[0x90, 0x02, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, CTL], block::prefetch).quick(),
    Row::reads("SYNCHRONIZE CACHE(16)", &[0x91, 0x02, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, CTL], block::synchronize_cache).class(Class::Writes),
    Row::writes("WRITE SAME(16)", &[0x93, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, CTL], DataOut::Pattern, provisioning::write_same).costs(Toll::Fill),
    Row::absent(0x9a, "WRITE STREAM(16)", Writes),
    Row::absent(0x9c, "WRITE ATOMIC(16)", Writes),
    Row::reads("READ CAPACITY(16)", &[0x9e, 0x10, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01, CTL], block::read_capacity16).action(0x10).class(Class::Asks).quick(),
    Row::reads("GET LBA STATUS", &[0x9e, 0x12, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, CTL], provisioning::get_lba_status).action(0x12),
    Row::absent(0x9f, "service action out(16)", Writes),
    Row::reads("REPORT LUNS", &[0xa0, 0, 0xff, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, CTL], luns::report_luns).passes_attention().class(Class::Free).quick(),
    Row::reads("REPORT TARGET PORT GROUPS", &[0xa3, 0xea, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, CTL], primary::target_port_groups).class(Class::Free).action(0x0a).quick(),
    Row::reads("REPORT SUPPORTED OPERATION CODES", &[0xa3, 0x0c, 0x87, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, CTL], supported::operation_codes).action(0x0c).quick(),
    Row::reads("REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS", &[0xa3, 0x0d, 0x80, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, CTL], supported::task_management).action(0x0d).quick(),
    Row::reads("READ(12)", &[0xa8, 0xf8, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, CTL], block::read).tries(block::read_at_once).costs(Toll::Blocks),
    Row::writes("WRITE(12)", &[0xaa, 0xf8, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, CTL], DataOut::Blocks, block::write).tries(block::write_at_once).costs(Toll::Blocks),
    Row::writes("WRITE AND VERIFY(12)", &[0xae, 0xf6, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, CTL], DataOut::Blocks, block::write_and_verify).costs(Toll::Blocks),
    Row::reads("VERIFY(12)", &[0xaf, 0xf6, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, CTL], block::verify).takes(DataOut::Compared).costs(Toll::Blocks),
    Row::reads("READ DEFECT DATA(12)", &[0xb7, 0x1f, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, CTL], primary::defects12).quick(),
];

/// What the table says about a CDB.
pub(super) enum Found {
    /// This row.
    Row(&'static Row),
    /// The opcode is offered, but not with this service action.
    OtherAction,
    /// Nothing.
    Nothing,
}

/// Looks a CDB up. Of an opcode's rows the first that fits counts, so a row for all other service
/// actions stands last.
pub(super) fn find(cdb: Cdb<'_>) -> Found {
    let rows = rows_of(cdb.opcode());
    let action = cdb.service_action();
    match rows.iter().find(|row| row.service_action.is_none_or(|own| own == action)) {
        Some(row) => Found::Row(row),
        None if rows.iter().any(|row| row.handler.is_some()) => Found::OtherAction,
        None => Found::Nothing,
    }
}

/// The name of a command, for logs.
pub fn command_name(cdb: &[u8]) -> &'static str {
    match find(Cdb::new(cdb)) {
        Found::Row(row) => row.name,
        Found::OtherAction | Found::Nothing => "unknown command",
    }
}

/// All rows of one opcode.
pub(super) fn rows_of(opcode: u8) -> &'static [Row] {
    let start = usize::from(STARTS[usize::from(opcode)]);
    let end = match opcode.checked_add(1) {
        Some(next) => usize::from(STARTS[usize::from(next)]),
        None => TABLE.len(),
    };
    &TABLE[start..end]
}

/// For each opcode the first row that is not of a lower one.
static STARTS: [u8; 256] = {
    let mut starts = [0; 256];
    let mut row = 0;
    let mut opcode = 0;
    while opcode < 256 {
        while row < TABLE.len() && (TABLE[row].opcode as usize) < opcode {
            assert!(
                row + 1 == TABLE.len() || TABLE[row].opcode <= TABLE[row + 1].opcode,
                "rows stand in the order of their opcodes"
            );
            row += 1;
        }
        starts[opcode] = row as u8;
        opcode += 1;
    }
    assert!(TABLE.len() < 256, "row numbers fit a byte");
    starts
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_found_by_its_own_cdb() {
        for row in TABLE {
            let mut cdb = [0; 32];
            cdb[0] = row.opcode;
            // A row for all other actions is found by one that no row has.
            let action = row.service_action.unwrap_or(0x1f);
            if row.opcode == 0x7f {
                cdb[8..10].copy_from_slice(&action.to_be_bytes());
            } else {
                cdb[1] = action as u8;
            }
            let Found::Row(found) = find(Cdb::new(&cdb)) else { panic!("{} is lost", row.name) };
            assert_eq!(found.name, row.name);
        }
    }

    #[test]
    fn usage_is_as_long_as_the_cdb() {
        for row in TABLE.iter().filter(|row| row.handler.is_some()) {
            let length = match row.opcode >> 5 {
                0 => 6,
                1 | 2 => 10,
                4 => 16,
                5 => 12,
                _ => panic!("{}: what length?", row.name),
            };
            assert_eq!(row.usage.len(), length, "{}", row.name);
            assert_eq!(row.usage[0], row.opcode, "{}", row.name);
            assert_eq!(row.usage[length - 1], CTL, "{}", row.name);
            if let Some(action) = row.service_action {
                assert_eq!(u16::from(row.usage[1] & 0x1f), action, "{}", row.name);
            }
        }
    }

    /// The other direction of the column: whatever asks for block data or is called WRITE writes.
    #[test]
    fn names_and_effects_agree() {
        for row in TABLE {
            const WORDS: [&str; 8] = [
                "WRITE",
                "UNMAP",
                "FORMAT",
                "SANITIZE",
                "OUT",
                "REASSIGN",
                "RESERVE(",
                "EXTENDED COPY",
            ];
            let writes = WORDS.iter().any(|word| row.name.to_uppercase().contains(word));
            assert_eq!(writes, row.effect == Writes, "{}", row.name);
            if matches!(row.data_out, DataOut::Blocks | DataOut::OldAndNew | DataOut::Pattern) {
                assert_eq!(row.effect, Writes, "{}", row.name);
            }
        }
    }
}
