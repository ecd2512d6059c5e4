//! What an initiator did with a unit: counters that live as long as its grant.
//!
//! Sessions come and go; the grant's [`Counters`] stay, and every session of it counts in them. A
//! command costs one reading of the clock and about four relaxed additions: no lock, no allocation.
//! Every command to the unit is counted exactly once: by what it did, when it ended well, else by
//! why it did not. Login refusals are counted by target and reason, never by who came, so that
//! strangers, however many, take no memory.
//!
//! Must stay true: nothing is decided on these numbers. They are read in no particular order.

mod latency;

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

pub use latency::{BOUNDS, Latency};

use crate::login::status::Status as LoginStatus;
use crate::scsi::{BLOCK_SIZE, Completion, Sense, SenseKey, Status};
use latency::Histogram;

/// What a command does, as far as it is counted apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Read,
    Write,
    CompareAndWrite,
    Discard,
    Flush,
    Other,
}

impl Kind {
    fn of(cdb: &[u8]) -> Self {
        /// Of WRITE SAME: give the blocks back.
        const UNMAP: u8 = 0x08;
        match cdb {
            [0x08 | 0x28 | 0x88 | 0xa8, ..] => Self::Read,
            [0x41 | 0x93, flags, ..] if flags & UNMAP != 0 => Self::Discard,
            [0x0a | 0x2a | 0x2e | 0x41 | 0x8a | 0x8b | 0x8e | 0x93 | 0xaa | 0xae, ..] => {
                Self::Write
            }
            [0x42, ..] => Self::Discard,
            [0x35 | 0x91, ..] => Self::Flush,
            [0x89, ..] => Self::CompareAndWrite,
            _ => Self::Other,
        }
    }
}

/// Why commands did not end well.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Errors {
    /// The medium or the device failed.
    pub medium: u64,
    /// A reservation of another initiator forbade it.
    pub reservation_conflict: u64,
    /// It would have written and the initiator may only read.
    pub write_protected: u64,
    /// There was no space for what was to be written.
    pub no_space: u64,
    /// The medium held something else than was expected.
    pub miscompare: u64,
    /// It was given up: by the initiator, by another one, or by a reset.
    pub aborted: u64,
    /// It was turned away to be sent again later.
    pub busy: u64,
    /// The command was wrong, or is not offered.
    pub illegal_request: u64,
    /// Not an error of the command: the session was told of something instead.
    pub unit_attention: u64,
    /// Anything else.
    pub other: u64,
}

#[derive(Debug, Default)]
struct ErrorCounters {
    medium: AtomicU64,
    reservation_conflict: AtomicU64,
    write_protected: AtomicU64,
    no_space: AtomicU64,
    miscompare: AtomicU64,
    aborted: AtomicU64,
    busy: AtomicU64,
    illegal_request: AtomicU64,
    unit_attention: AtomicU64,
    other: AtomicU64,
}

impl ErrorCounters {
    fn of(&self, completion: &Completion) -> &AtomicU64 {
        match completion.status {
            Status::ReservationConflict => &self.reservation_conflict,
            Status::Busy | Status::TaskSetFull => &self.busy,
            Status::TaskAborted => &self.aborted,
            Status::Good | Status::ConditionMet => &self.other,
            Status::CheckCondition => match completion.sense {
                None => &self.other,
                Some(sense) => match sense.key {
                    SenseKey::MediumError | SenseKey::HardwareError => &self.medium,
                    SenseKey::DataProtect if sense == Sense::NO_SPACE => &self.no_space,
                    SenseKey::DataProtect => &self.write_protected,
                    SenseKey::Miscompare => &self.miscompare,
                    SenseKey::AbortedCommand => &self.aborted,
                    SenseKey::IllegalRequest => &self.illegal_request,
                    SenseKey::UnitAttention => &self.unit_attention,
                    SenseKey::NoSense | SenseKey::NotReady | SenseKey::CopyAborted => &self.other,
                },
            },
        }
    }

    fn read(&self) -> Errors {
        Errors {
            medium: self.medium.load(Relaxed),
            reservation_conflict: self.reservation_conflict.load(Relaxed),
            write_protected: self.write_protected.load(Relaxed),
            no_space: self.no_space.load(Relaxed),
            miscompare: self.miscompare.load(Relaxed),
            aborted: self.aborted.load(Relaxed),
            busy: self.busy.load(Relaxed),
            illegal_request: self.illegal_request.load(Relaxed),
            unit_attention: self.unit_attention.load(Relaxed),
            other: self.other.load(Relaxed),
        }
    }
}

/// The counters of one grant. How often a command was read or written is what its histogram says.
#[derive(Debug, Default)]
pub struct Counters {
    reads: Histogram,
    writes: Histogram,
    flushes: Histogram,
    compare_and_writes: AtomicU64,
    discards: AtomicU64,
    others: AtomicU64,
    read_bytes: AtomicU64,
    written_bytes: AtomicU64,
    errors: ErrorCounters,
    logins: AtomicU64,
    throttled: AtomicU64,
    throttled_nanos: AtomicU64,
}

impl Counters {
    /// Counts a command that the target had whole at `arrived` and has just done. `took_in` and
    /// `gave_out` are the bytes of data-out it came with and of data-in it made.
    pub fn command(
        &self,
        arrived: Instant,
        cdb: &[u8],
        took_in: usize,
        gave_out: usize,
        completion: &Completion,
    ) {
        match completion.status {
            Status::Good | Status::ConditionMet => {}
            Status::CheckCondition
            | Status::Busy
            | Status::ReservationConflict
            | Status::TaskSetFull
            | Status::TaskAborted => {
                self.errors.of(completion).fetch_add(1, Relaxed);
                return;
            }
        }
        match Kind::of(cdb) {
            Kind::Read => {
                self.reads.record(arrived.elapsed());
                self.read_bytes.fetch_add(gave_out as u64, Relaxed);
            }
            Kind::Write => {
                self.writes.record(arrived.elapsed());
                self.written_bytes.fetch_add(took_in as u64, Relaxed);
            }
            Kind::Flush => self.flushes.record(arrived.elapsed()),
            Kind::CompareAndWrite => {
                self.compare_and_writes.fetch_add(1, Relaxed);
                // The other half is what was compared with.
                let blocks = took_in / (2 * BLOCK_SIZE);
                self.written_bytes.fetch_add((blocks * BLOCK_SIZE) as u64, Relaxed);
            }
            Kind::Discard => drop(self.discards.fetch_add(1, Relaxed)),
            Kind::Other => drop(self.others.fetch_add(1, Relaxed)),
        }
    }

    /// Counts a session that was let in.
    pub fn login(&self) {
        self.logins.fetch_add(1, Relaxed);
    }

    /// Counts a command that a limit held back for so long.
    pub fn throttled(&self, waited: Duration) {
        self.throttled.fetch_add(1, Relaxed);
        let nanos = u64::try_from(waited.as_nanos()).unwrap_or(u64::MAX);
        self.throttled_nanos.fetch_add(nanos, Relaxed);
    }

    /// What has been counted so far.
    pub fn read(&self) -> Usage {
        Usage {
            reads: self.reads.read(),
            writes: self.writes.read(),
            flushes: self.flushes.read(),
            compare_and_writes: self.compare_and_writes.load(Relaxed),
            discards: self.discards.load(Relaxed),
            others: self.others.load(Relaxed),
            read_bytes: self.read_bytes.load(Relaxed),
            written_bytes: self.written_bytes.load(Relaxed),
            errors: self.errors.read(),
            sessions: 0,
            logins: self.logins.load(Relaxed),
            throttled: self.throttled.load(Relaxed),
            throttled_nanos: self.throttled_nanos.load(Relaxed),
        }
    }
}

/// What an initiator has done with a unit since it was granted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Reads that ended well, and how long they took.
    pub reads: Latency,
    /// Writes that ended well, COMPARE AND WRITE left out.
    pub writes: Latency,
    /// SYNCHRONIZE CACHE.
    pub flushes: Latency,
    /// COMPARE AND WRITEs that wrote; those that did not are miscompares.
    pub compare_and_writes: u64,
    /// UNMAP, and WRITE SAME with its UNMAP bit.
    pub discards: u64,
    /// All other commands that ended well.
    pub others: u64,
    /// Bytes the reads gave.
    pub read_bytes: u64,
    /// Bytes the writes came with, and COMPARE AND WRITE wrote.
    pub written_bytes: u64,
    /// What did not end well.
    pub errors: Errors,
    /// Sessions at this moment.
    pub sessions: u64,
    /// Sessions that were let in.
    pub logins: u64,
    /// Commands that a limit held back.
    pub throttled: u64,
    /// For how long altogether.
    pub throttled_nanos: u64,
}

impl Usage {
    /// Both together.
    pub fn add(&mut self, other: &Self) {
        self.reads.add(&other.reads);
        self.writes.add(&other.writes);
        self.flushes.add(&other.flushes);
        self.compare_and_writes += other.compare_and_writes;
        self.discards += other.discards;
        self.others += other.others;
        self.read_bytes += other.read_bytes;
        self.written_bytes += other.written_bytes;
        self.errors.medium += other.errors.medium;
        self.errors.reservation_conflict += other.errors.reservation_conflict;
        self.errors.write_protected += other.errors.write_protected;
        self.errors.no_space += other.errors.no_space;
        self.errors.miscompare += other.errors.miscompare;
        self.errors.aborted += other.errors.aborted;
        self.errors.busy += other.errors.busy;
        self.errors.illegal_request += other.errors.illegal_request;
        self.errors.unit_attention += other.errors.unit_attention;
        self.errors.other += other.errors.other;
        self.sessions += other.sessions;
        self.logins += other.logins;
        self.throttled += other.throttled;
        self.throttled_nanos += other.throttled_nanos;
    }
}

/// Login refusals of one target, by reason. Its size does not depend on who came.
#[derive(Debug, Default)]
pub struct RefusalCounters {
    not_granted: AtomicU64,
    authentication: AtomicU64,
    no_room: AtomicU64,
    other: AtomicU64,
}

impl RefusalCounters {
    /// Counts a login that was refused with this status.
    pub fn count(&self, status: LoginStatus) {
        let counter = match status {
            LoginStatus::NOT_FOUND => &self.not_granted,
            LoginStatus::AUTHENTICATION_FAILURE => &self.authentication,
            LoginStatus::OUT_OF_RESOURCES | LoginStatus::TOO_MANY_CONNECTIONS => &self.no_room,
            LoginStatus { .. } => &self.other,
        };
        counter.fetch_add(1, Relaxed);
    }

    /// What has been counted so far.
    pub fn read(&self) -> LoginRefusals {
        LoginRefusals {
            not_granted: self.not_granted.load(Relaxed),
            authentication: self.authentication.load(Relaxed),
            no_room: self.no_room.load(Relaxed),
            other: self.other.load(Relaxed),
        }
    }
}

/// Logins that were refused, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LoginRefusals {
    /// The initiator has no grant, or there is no such target.
    pub not_granted: u64,
    /// The initiator could not prove its name.
    pub authentication: u64,
    /// No room for another session.
    pub no_room: u64,
    /// Anything else, such as a broken negotiation.
    pub other: u64,
}

/// What was done with one exported unit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExportUsage {
    /// By initiator, those with a grant.
    pub initiators: std::collections::BTreeMap<crate::Name, Usage>,
    /// Logins that were refused.
    pub refusals: LoginRefusals,
}

/// What was done with a target.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TargetUsage {
    /// By target name.
    pub exports: std::collections::BTreeMap<crate::Name, ExportUsage>,
    /// Logins refused for anything that is not exported, discovery included.
    pub refusals: LoginRefusals,
    /// Connections at this moment, whatever they are.
    pub connections: u64,
    /// Those of them without a session on a unit.
    pub strangers: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scsi::command_name;

    #[test]
    fn every_command_is_of_the_kind_its_name_says() {
        for opcode in 0..=255u8 {
            let name = command_name(&[opcode; 1]);
            let kind = match name.split('(').next().unwrap_or_default() {
                "READ" => Kind::Read,
                "WRITE" | "WRITE AND VERIFY" | "WRITE SAME" | "ORWRITE" => Kind::Write,
                "UNMAP" => Kind::Discard,
                "SYNCHRONIZE CACHE" => Kind::Flush,
                "COMPARE AND WRITE" => Kind::CompareAndWrite,
                _ => Kind::Other,
            };
            assert_eq!(Kind::of(&[opcode, 0, 0, 0]), kind, "{name} ({opcode:#04x})");
        }
        assert_eq!(Kind::of(&[0x93, 0x08]), Kind::Discard);
        assert_eq!(Kind::of(&[]), Kind::Other);
    }

    #[test]
    fn a_command_is_counted_once() {
        let counters = Counters::default();
        let now = Instant::now();
        let (read, caw) = ([0x28, 0, 0, 0], [0x89, 0, 0, 0]);
        counters.command(now, &read, 0, 4096, &Completion::GOOD);
        counters.command(now, &caw, 2 * 1024, 0, &Completion::GOOD);
        counters.command(now, &caw, 2 * 1024, 0, &Completion::check(Sense::miscompare(3)));
        counters.command(now, &read, 0, 0, &Completion::check(Sense::read_error(9)));
        counters.command(now, &[0x2a; 4], 512, 0, &Completion::check(Sense::WRITE_PROTECTED));
        let conflict = Completion { status: Status::ReservationConflict, sense: None };
        counters.command(now, &[0x2a; 4], 512, 0, &conflict);
        counters.throttled(Duration::from_millis(2));
        let usage = counters.read();
        assert_eq!((usage.throttled, usage.throttled_nanos), (1, 2_000_000));
        assert_eq!((usage.reads.count(), usage.read_bytes), (1, 4096));
        assert_eq!((usage.compare_and_writes, usage.written_bytes), (1, 1024));
        assert_eq!(usage.writes.count(), 0);
        let errors = Errors {
            miscompare: 1,
            medium: 1,
            write_protected: 1,
            reservation_conflict: 1,
            ..Errors::default()
        };
        assert_eq!(usage.errors, errors);
    }
}
