//! Who goes next: the commands that a limit holds back, and a fair order among those who sent them.
//!
//! Each party (a host, by all of its initiator names and sessions) has a line of its own and a tag,
//! the share it has had so far; the line with the lowest tag is served and its tag moves on by what
//! the command takes of the limit (start-time fair queueing). So parties that compete have equal
//! shares, whatever their depth and the size of their commands; one that was away comes back at the
//! tag of today and has neither saved up nor lost anything; and what one leaves, the others have.
//! A party that its own limit holds back is passed over. Pure: the moment is a value, nothing waits.

use std::collections::{BTreeMap, VecDeque};

use super::rate::{Meter, Nanos, Rate};

/// A party: whoever a share belongs to.
pub type Party = u64;

/// A command that is held back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// One command in a line.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    ticket: Ticket,
    bytes: u64,
}

#[derive(Debug, Default)]
struct Line {
    meter: Meter,
    waiting: VecDeque<Waiting>,
    /// The share it has had, as virtual time.
    tag: u64,
    /// When it was served last, for a fair choice among equals.
    served: u64,
}

impl Line {
    /// Somebody waits in it, and no limit of its own holds him back.
    fn may_go(&self, now: Nanos) -> bool {
        self.waiting.front().is_some_and(|first| self.meter.ready(now, first.bytes) <= now)
    }
}

/// Who goes next.
#[derive(Debug, Default)]
pub struct Queue {
    unit: Meter,
    each: Rate,
    lines: BTreeMap<Party, Line>,
    /// The tag of the line that was served last.
    virtual_time: u64,
    served: u64,
    waiting: usize,
}

impl Queue {
    /// Changes the limits of the unit and of each party; holds from `now` on, also for those that
    /// wait.
    pub fn change(&mut self, unit: Rate, each: Rate, now: Nanos) {
        self.unit.change(unit, now);
        self.each = each;
        self.lines.values_mut().for_each(|line| line.meter.change(each, now));
    }

    /// Whether a command may go at once, which is then written down. If not, [`Queue::wait`] for a
    /// turn.
    pub fn go(&mut self, now: Nanos, party: Party, bytes: u64) -> bool {
        let free = self.unit.ready(now, bytes) <= now;
        let line = self.line(party, now);
        if !free || !line.waiting.is_empty() || line.meter.ready(now, bytes) > now {
            return false;
        }
        // Whoever waits while the unit is free is held back by a limit of his own, or has not been
        // called yet: he comes first.
        if self.waiting > 0 && self.next(now).is_some() {
            return false;
        }
        self.serve(party, now, bytes);
        true
    }

    /// Puts a command at the end of its party's line.
    pub fn wait(&mut self, now: Nanos, party: Party, ticket: Ticket, bytes: u64) {
        let virtual_time = self.virtual_time;
        let line = self.line(party, now);
        if line.waiting.is_empty() {
            line.tag = line.tag.max(virtual_time);
        }
        line.waiting.push_back(Waiting { ticket, bytes });
        self.waiting += 1;
    }

    /// Takes out the next one that may go now; to be asked until there is none.
    pub fn call(&mut self, now: Nanos) -> Option<Ticket> {
        let party = self.next(now)?;
        let waiting = *self.lines.get(&party)?.waiting.front()?;
        if self.unit.ready(now, waiting.bytes) > now {
            // Nobody overtakes: else small ones would keep a large one out for ever.
            return None;
        }
        self.lines.get_mut(&party)?.waiting.pop_front();
        self.waiting -= 1;
        self.serve(party, now, waiting.bytes);
        Some(waiting.ticket)
    }

    /// No earlier than this will the first of the party's line be called; `None` when the line is
    /// empty. To be asked when nobody can be called now; asking again by then is enough, as whoever
    /// asks calls all whose turn it is.
    pub fn not_before(&self, now: Nanos, party: Party) -> Option<Nanos> {
        let line = self.lines.get(&party)?;
        let first = line.waiting.front()?;
        let own = line.meter.ready(now, first.bytes);
        let ours = self.unit.ready(now, first.bytes);
        let next = self.next(now).filter(|next| *next != party);
        let Some(next) = next.and_then(|next| self.lines.get(&next)?.waiting.front()) else {
            return Some(own.max(ours));
        };
        let ahead: Nanos = self
            .lines
            .values()
            .filter(|rival| rival.tag < line.tag && rival.may_go(now))
            .map(|rival| {
                let owed: Nanos = rival.waiting.iter().map(|w| self.unit.weight(w.bytes)).sum();
                owed.min(line.tag - rival.tag)
            })
            .sum();
        let turn = self.unit.ready(now, next.bytes).saturating_add(ahead);
        Some(own.max(turn))
    }

    /// Takes a command out that will not be carried out.
    pub fn cancel(&mut self, party: Party, ticket: Ticket) {
        if let Some(line) = self.lines.get_mut(&party)
            && let Some(at) = line.waiting.iter().position(|waiting| waiting.ticket == ticket)
        {
            line.waiting.remove(at);
            self.waiting -= 1;
        }
    }

    /// Sorts those who wait into other lines, in the order in which they came.
    pub fn regroup(&mut self, now: Nanos, party: impl Fn(Ticket) -> Party) {
        let lines = self.lines.values_mut();
        let mut all: Vec<_> = lines.flat_map(|line| line.waiting.drain(..)).collect();
        all.sort_by_key(|waiting| waiting.ticket);
        self.waiting = 0;
        for waiting in all {
            self.wait(now, party(waiting.ticket), waiting.ticket, waiting.bytes);
        }
    }

    /// Forgets parties that nobody speaks for any more, once they have paid what they spent: coming
    /// back under the same name is no way around a limit.
    pub fn forget(&mut self, now: Nanos, is_there: impl Fn(Party) -> bool) {
        self.lines.retain(|party, line| {
            !line.waiting.is_empty() || !line.meter.is_paid(now) || is_there(*party)
        });
    }

    /// Whether there is anything to remember of a party.
    pub fn knows(&self, party: Party) -> bool {
        self.lines.contains_key(&party)
    }

    fn line(&mut self, party: Party, now: Nanos) -> &mut Line {
        let each = self.each;
        self.lines.entry(party).or_insert_with(|| {
            let mut line = Line::default();
            line.meter.change(each, now);
            line
        })
    }

    /// Whose turn it is, among those that no limit of their own holds back.
    fn next(&self, now: Nanos) -> Option<Party> {
        let lines = self.lines.iter().filter(|(_, line)| line.may_go(now));
        lines.min_by_key(|(_, line)| (line.tag, line.served)).map(|(party, _)| *party)
    }

    fn serve(&mut self, party: Party, now: Nanos, bytes: u64) {
        self.unit.spend(now, bytes);
        let weight = self.unit.weight(bytes);
        self.served += 1;
        let (virtual_time, served) = (self.virtual_time, self.served);
        let line = self.line(party, now);
        line.meter.spend(now, bytes);
        line.tag = line.tag.max(virtual_time);
        line.served = served;
        let tag = line.tag;
        line.tag = tag.saturating_add(weight);
        self.virtual_time = tag;
    }
}
