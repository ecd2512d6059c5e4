//! Commands that have arrived and not ended: whose turn it is, and what holds the others back.
//!
//! Pure bookkeeping of one session, in order of arrival. A command is collecting its data, or parked
//! (until the unit's limit calls it, until writes may go on, until its turn, until there is memory), or run by a worker; one
//! that runs to its end as it arrives never comes here. The order is SAM's: an ORDERED task begins
//! when everything before it has ended, and nothing later begins before it has; a HEAD OF QUEUE
//! task begins at once. Parked commands keep their place in the command window and are found by task
//! management. Read data of commands that run is bounded, but one command may always run.

use std::time::Instant;

use super::tasks::Began;
use crate::buffer::Buffer;
use crate::pdu::request::ScsiCommand;
use crate::throttle;

/// What a parked command waits for, beside its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// Nothing more.
    Nothing,
    /// The limit of the unit, until it calls this ticket: [`Pending::call`].
    Called(throttle::Ticket),
    /// Leave to change the unit's blocks, while they are being copied: [`Pending::resume`].
    Quiet,
}

/// A command with all of its data-out.
#[derive(Debug)]
pub struct Task {
    /// Its number among the session's commands; none for one that has just arrived.
    pub ticket: Option<u64>,
    /// The command.
    pub command: ScsiCommand,
    /// When it began, if it had to wait.
    pub began: Option<Began>,
    /// When it arrived, or the last of its data.
    pub received: Instant,
    /// R2Ts sent for it.
    pub r2t_sn: u32,
    /// Bytes of the budget for solicited data that it holds.
    pub reserved: usize,
}

/// What has become of a task that is to be aborted.
#[derive(Debug)]
pub enum Aborted {
    /// There is no such task.
    Unknown,
    /// It has not begun and never will; these were its command, its data and what held it back.
    Gone(Task, Buffer, Hold),
    /// It still collects its data.
    Collecting(u64),
    /// A worker runs it; when it ends, nobody is told.
    Running(u64),
}

/// A command that a worker has run.
#[derive(Debug)]
pub struct Finished {
    /// What was run.
    pub task: Task,
    /// It was aborted meanwhile: its initiator must not hear of it.
    pub aborted: bool,
}

#[derive(Debug)]
struct Entry {
    ticket: u64,
    command: ScsiCommand,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    Collecting,
    Parked { task: Task, data: Buffer, hold: Hold, reads: usize },
    Running { task: Task, reads: usize, aborted: bool },
}

/// How a task takes part in the order of tasks (SAM-5 section 8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Attribute {
    Simple,
    Ordered,
    HeadOfQueue,
}

impl Attribute {
    fn of(command: &ScsiCommand) -> Self {
        match command.attribute {
            2 => Self::Ordered,
            3 => Self::HeadOfQueue,
            // Untagged; and ACA, which an ACA that never is would have to let in.
            _ => Self::Simple,
        }
    }
}

/// All of them.
#[derive(Debug)]
pub struct Pending {
    /// In order of arrival, hence of ticket.
    entries: Vec<Entry>,
    next_ticket: u64,
    /// Entries that are parked or running.
    active: usize,
    read_budget: usize,
    reading: usize,
}

impl Pending {
    /// Nothing yet. At most `read_budget` bytes of read data, or one command's.
    pub fn new(read_budget: usize) -> Self {
        Self { entries: Vec::new(), next_ticket: 0, active: 0, read_budget, reading: 0 }
    }

    /// A number that nothing else of this session has.
    pub fn ticket(&mut self) -> u64 {
        self.next_ticket += 1;
        self.next_ticket
    }

    /// A command of this tag has not ended.
    pub fn contains(&self, itt: u32) -> bool {
        self.entries.iter().any(|entry| entry.command.itt == itt)
    }

    /// Commands are parked or running: the session has to listen for more than its socket.
    pub fn is_active(&self) -> bool {
        self.active > 0
    }

    /// How many immediate commands have not ended.
    pub fn immediate(&self) -> usize {
        self.entries.iter().filter(|entry| entry.command.immediate).count()
    }

    /// The oldest command that has not ended.
    pub fn oldest(&self) -> Option<u32> {
        self.entries.first().map(|entry| entry.command.itt)
    }

    /// Takes note of a command whose data is still to come.
    pub fn collect(&mut self, command: &ScsiCommand) -> u64 {
        let ticket = self.ticket();
        self.entries.push(Entry { ticket, command: *command, stage: Stage::Collecting });
        ticket
    }

    /// The ticket of a task.
    pub fn ticket_of(&self, itt: u32) -> Option<u64> {
        self.entries.iter().find(|entry| entry.command.itt == itt).map(|entry| entry.ticket)
    }

    /// Whether it is a task's turn; without a ticket, one that arrives now.
    pub fn is_its_turn(&self, ticket: Option<u64>, command: &ScsiCommand) -> bool {
        let others = self.entries.iter().filter(|other| Some(other.ticket) != ticket);
        let earlier = |other: &Entry| ticket.is_none_or(|own| other.ticket < own);
        let blocks = |other: &Entry| match (Attribute::of(command), Attribute::of(&other.command)) {
            (Attribute::HeadOfQueue, _) => false,
            // It is in the task set only when its data is here.
            (_, Attribute::HeadOfQueue) if !matches!(other.stage, Stage::Collecting) => true,
            (Attribute::Ordered, _) => earlier(other),
            (Attribute::Simple, Attribute::Ordered) => earlier(other),
            (Attribute::Simple, _) => false,
        };
        !others.into_iter().any(blocks)
    }

    /// Whether a command that will read so many bytes may run beside those that do.
    pub fn has_room(&self, reads: usize) -> bool {
        self.reading == 0 || self.reading + reads <= self.read_budget
    }

    /// Parks a task. Its data-out is `data`, and it will read `reads` bytes.
    pub fn park(&mut self, mut task: Task, data: Buffer, reads: usize, hold: Hold) {
        let (ticket, command) = (self.ticket_for(&mut task), task.command);
        self.put(ticket, command, Stage::Parked { task, data, hold, reads });
    }

    /// Notes that a worker runs a task, and returns its ticket.
    pub fn run(&mut self, mut task: Task, reads: usize) -> u64 {
        let (ticket, command) = (self.ticket_for(&mut task), task.command);
        self.reading += reads;
        self.put(ticket, command, Stage::Running { task, reads, aborted: false });
        ticket
    }

    fn ticket_for(&mut self, task: &mut Task) -> u64 {
        match task.ticket {
            Some(ticket) => ticket,
            None => *task.ticket.insert(self.ticket()),
        }
    }

    fn put(&mut self, ticket: u64, command: ScsiCommand, stage: Stage) {
        self.active += 1;
        let at = self.entries.partition_point(|entry| entry.ticket < ticket);
        match self.entries.get_mut(at).filter(|entry| entry.ticket == ticket) {
            Some(entry) => {
                debug_assert!(matches!(entry.stage, Stage::Collecting));
                entry.stage = stage;
            }
            None => self.entries.insert(at, Entry { ticket, command, stage }),
        }
    }

    /// The next parked task that may go on, with its data. It counts as collecting until it is
    /// parked again, run, or ended.
    pub fn next_due(&mut self) -> Option<(Task, Buffer)> {
        if self.active == 0 {
            return None;
        }
        let at = self.entries.iter().position(|entry| match &entry.stage {
            Stage::Parked { task, hold, reads, .. } => {
                let is_free = *hold == Hold::Nothing && self.has_room(*reads);
                is_free && self.is_its_turn(task.ticket, &task.command)
            }
            Stage::Collecting | Stage::Running { .. } => false,
        })?;
        match std::mem::replace(&mut self.entries[at].stage, Stage::Collecting) {
            Stage::Parked { task, data, .. } => {
                self.active -= 1;
                Some((task, data))
            }
            Stage::Collecting | Stage::Running { .. } => None,
        }
    }

    /// Whether any task waits to be called by the unit's limit.
    pub fn waits_for_call(&self) -> bool {
        self.active > 0
            && self
                .entries
                .iter()
                .any(|entry| matches!(entry.stage, Stage::Parked { hold: Hold::Called(_), .. }))
    }

    /// The unit's limit lets a task go on; when that one arrived.
    pub fn call(&mut self, ticket: throttle::Ticket) -> Option<Instant> {
        self.entries.iter_mut().find_map(|entry| match &mut entry.stage {
            Stage::Parked { task, hold, .. } if *hold == Hold::Called(ticket) => {
                *hold = Hold::Nothing;
                Some(task.received)
            }
            Stage::Parked { .. } | Stage::Collecting | Stage::Running { .. } => None,
        })
    }

    /// Whether any task waits for leave to change the unit's blocks.
    pub fn waits_for_leave(&self) -> bool {
        let waits = |entry: &Entry| matches!(entry.stage, Stage::Parked { hold: Hold::Quiet, .. });
        self.active > 0 && self.entries.iter().any(waits)
    }

    /// Those that wait for that leave may ask for it again.
    pub fn resume(&mut self) {
        for entry in &mut self.entries {
            if let Stage::Parked { hold, .. } = &mut entry.stage
                && *hold == Hold::Quiet
            {
                *hold = Hold::Nothing;
            }
        }
    }

    /// Forgets a task that has ended or was aborted while it collected; `None`: there is no such.
    pub fn end(&mut self, ticket: u64) -> Option<ScsiCommand> {
        let at = self.entries.iter().position(|entry| entry.ticket == ticket)?;
        debug_assert!(matches!(self.entries[at].stage, Stage::Collecting));
        Some(self.entries.remove(at).command)
    }

    /// A worker has run a task, or will not.
    pub fn finish(&mut self, ticket: u64) -> Option<Finished> {
        let at = self.entries.iter().position(|entry| entry.ticket == ticket)?;
        match self.entries.remove(at).stage {
            Stage::Running { task, reads, aborted } => {
                self.active -= 1;
                self.reading -= reads;
                Some(Finished { task, aborted })
            }
            Stage::Collecting | Stage::Parked { .. } => None,
        }
    }

    /// Aborts one task.
    pub fn abort(&mut self, itt: u32, lun: [u8; 8]) -> Aborted {
        let found = self.entries.iter().position(|e| e.command.itt == itt && e.command.lun == lun);
        let Some(at) = found else { return Aborted::Unknown };
        let ticket = self.entries[at].ticket;
        match &mut self.entries[at].stage {
            Stage::Collecting => return Aborted::Collecting(ticket),
            Stage::Running { aborted, .. } => {
                *aborted = true;
                return Aborted::Running(ticket);
            }
            Stage::Parked { .. } => {}
        }
        match self.entries.remove(at).stage {
            Stage::Parked { task, data, hold, .. } => {
                self.active -= 1;
                Aborted::Gone(task, data, hold)
            }
            Stage::Collecting | Stage::Running { .. } => Aborted::Unknown,
        }
    }

    /// The tags of all tasks of a logical unit.
    pub fn tasks_of(&self, lun: [u8; 8]) -> Vec<u32> {
        let of_unit = self.entries.iter().filter(|entry| entry.command.lun == lun);
        of_unit.map(|entry| entry.command.itt).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::throttle::Ticket;

    const LUN: [u8; 8] = [0, 1, 0, 0, 0, 0, 0, 0];

    fn task(itt: u32, attribute: u8) -> Task {
        let command = ScsiCommand {
            immediate: false,
            is_final: true,
            read: true,
            write: false,
            attribute,
            lun: LUN,
            itt,
            expected_len: 0,
            cmd_sn: 0,
            exp_stat_sn: 0,
            cdb: [0; 16],
        };
        let received = Instant::now();
        Task { ticket: None, command, began: None, received, r2t_sn: 0, reserved: 0 }
    }

    fn park(pending: &mut Pending, itt: u32, attribute: u8, reads: usize, hold: Hold) {
        pending.park(task(itt, attribute), Buffer::default(), reads, hold);
    }

    /// Runs everything that is due; the tags, in that order.
    fn due(pending: &mut Pending) -> Vec<u32> {
        let mut tags = vec![];
        while let Some((task, _)) = pending.next_due() {
            tags.push(task.command.itt);
            pending.end(task.ticket.unwrap());
        }
        tags
    }

    #[test]
    fn what_is_held_back_goes_on_when_it_is_called() {
        let mut pending = Pending::new(100);
        let before = Instant::now();
        for (itt, ticket) in [(1, 11), (2, 12), (3, 13)] {
            park(&mut pending, itt, 1, 0, Hold::Called(Ticket(ticket)));
        }
        assert_eq!(due(&mut pending), []);
        assert!(pending.call(Ticket(12)).is_some_and(|arrived| arrived >= before));
        assert!(pending.call(Ticket(12)).is_none(), "once");
        assert_eq!(due(&mut pending), [2]);
        assert!(pending.is_active() && pending.contains(1) && pending.waits_for_call());
        assert!(pending.call(Ticket(13)).is_some() && pending.call(Ticket(11)).is_some());
        assert!(!pending.waits_for_call());
        assert_eq!(due(&mut pending), [1, 3], "as they arrived");
        assert!(!pending.is_active());
    }

    #[test]
    fn the_order_holds_for_what_is_parked_and_what_collects() {
        let mut pending = Pending::new(100);
        let collecting = pending.collect(&task(1, 1).command);
        assert!(!pending.is_its_turn(None, &task(2, 2).command), "a write before it collects");
        park(&mut pending, 2, 2, 0, Hold::Nothing);
        assert!(!pending.is_its_turn(None, &task(3, 1).command), "an ordered one before it waits");
        assert!(pending.is_its_turn(None, &task(3, 3).command));
        park(&mut pending, 3, 1, 0, Hold::Nothing);
        assert!(pending.is_its_turn(Some(collecting), &task(1, 1).command), "it came first");
        assert_eq!(due(&mut pending), []);
        pending.end(collecting);
        assert_eq!(due(&mut pending), [2, 3]);
        // A head of queue that is held lets nobody pass.
        park(&mut pending, 4, 1, 0, Hold::Nothing);
        park(&mut pending, 5, 3, 0, Hold::Called(Ticket(1)));
        assert_eq!(due(&mut pending), []);
        pending.call(Ticket(1));
        assert_eq!(due(&mut pending), [5, 4]);
    }

    #[test]
    fn read_data_is_bounded_and_one_always_goes() {
        let mut pending = Pending::new(100);
        for itt in 0..3 {
            park(&mut pending, itt, 1, 500, Hold::Nothing);
        }
        for _ in 0..3 {
            let (task, _) = pending.next_due().unwrap();
            let ticket = pending.run(task, 500);
            assert!(pending.next_due().is_none());
            assert!(!pending.has_room(1));
            assert!(pending.finish(ticket).is_some_and(|finished| !finished.aborted));
        }
        assert!(!pending.is_active() && pending.has_room(500));
    }

    #[test]
    fn task_management_finds_every_stage() {
        let mut pending = Pending::new(100);
        pending.collect(&task(1, 1).command);
        park(&mut pending, 2, 1, 0, Hold::Called(Ticket(1)));
        let running = pending.run(task(3, 1), 0);
        assert_eq!(pending.tasks_of(LUN), [1, 2, 3]);
        assert!(matches!(pending.abort(2, [0; 8]), Aborted::Unknown), "another unit's task");
        assert!(matches!(pending.abort(1, LUN), Aborted::Collecting(_)));
        assert!(matches!(pending.abort(2, LUN), Aborted::Gone(..)));
        assert!(matches!(pending.abort(2, LUN), Aborted::Unknown));
        assert!(matches!(pending.abort(3, LUN), Aborted::Running(ticket) if ticket == running));
        assert!(pending.finish(running).is_some_and(|finished| finished.aborted));
    }
}
