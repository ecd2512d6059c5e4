//! Block range locks: no command sees half of another one's blocks.
//!
//! Commands queue in order of arrival; one may run when nothing before it in the queue overlaps
//! it, except that shared ranges do not bother each other. Waiting entries count too, so nobody
//! starves, and a command queues once, for all the ranges that it needs, so nobody waits in a
//! circle: whoever waits, waits for somebody before him. The queue is about as long as the number
//! of running commands, hence one short scan under one mutex; its storage is kept, so that locking
//! does not allocate. Whoever is before him may be stuck in the medium for ever: once his own session
//! has been told to end (`leaving`), he waits no longer.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// The locks of one logical unit.
#[derive(Debug, Default)]
pub(super) struct RangeLocks {
    queue: Mutex<Queue>,
    moved: Condvar,
}

#[derive(Debug, Default)]
struct Queue {
    next_ticket: u64,
    waiting: usize,
    /// In order of arrival, hence of ticket; the entries of one ticket stand together.
    entries: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    ticket: u64,
    start: u64,
    end: u64,
    exclusive: bool,
}

impl Entry {
    fn conflicts(&self, other: &Self) -> bool {
        (self.exclusive || other.exclusive) && self.start < other.end && other.start < self.end
    }
}

/// Holds its ranges until dropped.
#[derive(Debug)]
#[must_use]
pub(super) struct RangeGuard<'a> {
    locks: &'a RangeLocks,
    ticket: u64,
}

impl RangeLocks {
    /// Holds `blocks` blocks from `lba` against writers; `None` when `leaving` came first.
    pub(super) fn shared(
        &self,
        lba: u64,
        blocks: u64,
        leaving: &AtomicBool,
    ) -> Option<RangeGuard<'_>> {
        self.queue_up(&[(lba, blocks, false)], leaving)
    }

    /// Holds `blocks` blocks from `lba` against everybody; `None` when `leaving` came first.
    pub(super) fn exclusive(
        &self,
        lba: u64,
        blocks: u64,
        leaving: &AtomicBool,
    ) -> Option<RangeGuard<'_>> {
        self.queue_up(&[(lba, blocks, true)], leaving)
    }

    /// The same as [`Self::shared`], unless that would wait.
    pub(super) fn try_shared(&self, lba: u64, blocks: u64) -> Option<RangeGuard<'_>> {
        self.try_acquire(lba, blocks, false)
    }

    /// The same as [`Self::exclusive`], unless that would wait.
    pub(super) fn try_exclusive(&self, lba: u64, blocks: u64) -> Option<RangeGuard<'_>> {
        self.try_acquire(lba, blocks, true)
    }

    /// Goes behind everybody who waits too, so that whoever does not wait starves nobody.
    fn try_acquire(&self, lba: u64, blocks: u64, exclusive: bool) -> Option<RangeGuard<'_>> {
        let mut queue = self.queue();
        let ticket = queue.next_ticket;
        let entry = Entry { ticket, start: lba, end: lba.saturating_add(blocks), exclusive };
        if queue.entries.iter().any(|earlier| earlier.conflicts(&entry)) {
            return None;
        }
        queue.next_ticket += 1;
        queue.entries.push(entry);
        Some(RangeGuard { locks: self, ticket })
    }

    /// Holds `blocks` blocks from `from` against writers and as many from `to` against everybody.
    /// The two may overlap.
    pub(super) fn copying(
        &self,
        from: u64,
        to: u64,
        blocks: u64,
        leaving: &AtomicBool,
    ) -> Option<RangeGuard<'_>> {
        self.queue_up(&[(from, blocks, false), (to, blocks, true)], leaving)
    }

    /// Makes those who wait look at their `leaving` again.
    pub(super) fn wake(&self) {
        // With the lock, so that nobody is between looking and waiting.
        drop(self.queue());
        self.moved.notify_all();
    }

    fn queue_up(
        &self,
        wanted: &[(u64, u64, bool)],
        leaving: &AtomicBool,
    ) -> Option<RangeGuard<'_>> {
        let mut queue = self.queue();
        let ticket = queue.next_ticket;
        queue.next_ticket += 1;
        queue.entries.extend(wanted.iter().map(|&(lba, blocks, exclusive)| Entry {
            ticket,
            start: lba,
            end: lba.saturating_add(blocks),
            exclusive,
        }));
        while !queue.may_run(ticket) {
            if leaving.load(Ordering::Acquire) {
                drop(queue);
                // Gives its place back.
                drop(RangeGuard { locks: self, ticket });
                return None;
            }
            queue.waiting += 1;
            queue = self.moved.wait(queue).unwrap_or_else(PoisonError::into_inner);
            queue.waiting -= 1;
        }
        Some(RangeGuard { locks: self, ticket })
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    /// Where the entries of a ticket stand.
    fn own(&self, ticket: u64) -> Range<usize> {
        let start = self
            .entries
            .iter()
            .position(|entry| entry.ticket == ticket)
            .expect("an entry stays in the queue until its guard is dropped");
        let more = self.entries[start..].iter().take_while(|entry| entry.ticket == ticket);
        start..start + more.count()
    }

    fn may_run(&self, ticket: u64) -> bool {
        let own = self.own(ticket);
        let (before, own) = (&self.entries[..own.start], &self.entries[own]);
        !before.iter().any(|earlier| own.iter().any(|entry| earlier.conflicts(entry)))
    }
}

impl Drop for RangeGuard<'_> {
    fn drop(&mut self) {
        let mut queue = self.locks.queue();
        let own = queue.own(self.ticket);
        queue.entries.drain(own);
        let wake = queue.waiting > 0;
        drop(queue);
        if wake {
            self.locks.moved.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, channel};
    use std::thread::Scope;

    use super::*;

    static STAYS: AtomicBool = AtomicBool::new(false);

    /// Starts a thread that takes a range, tells so and gives it back.
    fn contender<'s>(
        scope: &'s Scope<'s, '_>,
        locks: &'s RangeLocks,
        (lba, blocks, exclusive): (u64, u64, bool),
    ) -> Receiver<()> {
        let (taken, was_taken) = channel();
        let before = locks.queue().next_ticket;
        scope.spawn(move || {
            let _held = locks.queue_up(&[(lba, blocks, exclusive)], &STAYS);
            taken.send(()).unwrap();
        });
        while locks.queue().next_ticket == before {
            std::thread::yield_now();
        }
        was_taken
    }

    #[test]
    fn only_overlaps_wait() {
        let locks = RangeLocks::default();
        std::thread::scope(|scope| {
            let held = locks.exclusive(10, 10, &STAYS).unwrap();
            for free in [(0, 10, true), (20, 5, true), (0, 10, false)] {
                contender(scope, &locks, free).recv().unwrap();
            }
            let waits = [(19, 1, false), (0, 11, true), (5, 100, false)]
                .map(|range| contender(scope, &locks, range));
            for waiting in &waits {
                waiting.try_recv().unwrap_err();
            }
            drop(held);
            for waiting in &waits {
                waiting.recv().unwrap();
            }
        });
        assert!(locks.queue().entries.is_empty());
    }

    #[test]
    fn readers_share_but_do_not_starve_a_writer() {
        let locks = RangeLocks::default();
        std::thread::scope(|scope| {
            let held = locks.shared(0, 10, &STAYS).unwrap();
            contender(scope, &locks, (5, 1, false)).recv().unwrap();
            let writer = contender(scope, &locks, (5, 1, true));
            let late_reader = contender(scope, &locks, (5, 1, false));
            writer.try_recv().unwrap_err();
            late_reader.try_recv().unwrap_err();
            drop(held);
            writer.recv().unwrap();
            late_reader.recv().unwrap();
        });
    }

    /// Copies to and fro between the same two places: with two locks taken one after the other this
    /// would stand still at once.
    #[test]
    fn crossed_copies_do_not_wait_for_each_other_in_a_circle() {
        let locks = RangeLocks::default();
        std::thread::scope(|scope| {
            for (from, to) in [(0, 100), (100, 0), (50, 0), (0, 50), (95, 100)] {
                let locks = &locks;
                scope.spawn(move || {
                    for _ in 0..2000 {
                        drop(locks.copying(from, to, 10, &STAYS).unwrap());
                    }
                });
            }
        });
        assert!(locks.queue().entries.is_empty());
    }

    #[test]
    fn a_copy_lets_readers_at_its_source_and_nobody_at_its_destination() {
        let locks = RangeLocks::default();
        std::thread::scope(|scope| {
            let held = locks.copying(0, 100, 10, &STAYS).unwrap();
            contender(scope, &locks, (0, 10, false)).recv().unwrap();
            let waits = [(9, 1, true), (100, 1, false)].map(|it| contender(scope, &locks, it));
            for waiting in &waits {
                waiting.try_recv().unwrap_err();
            }
            drop(held);
            for waiting in &waits {
                waiting.recv().unwrap();
            }
        });
    }

    #[test]
    fn who_leaves_waits_no_longer_and_lets_those_behind_him_go_on() {
        let (locks, leaving) = (RangeLocks::default(), AtomicBool::new(false));
        std::thread::scope(|scope| {
            let reading = locks.shared(0, 1, &STAYS).unwrap();
            let writer = scope.spawn(|| locks.exclusive(0, 1, &leaving).is_none());
            while locks.queue().waiting == 0 {
                std::thread::yield_now();
            }
            let behind = contender(scope, &locks, (0, 1, false));
            behind.try_recv().unwrap_err();
            leaving.store(true, Ordering::Release);
            locks.wake();
            assert!(writer.join().unwrap());
            behind.recv().unwrap();
            drop(reading);
        });
        assert!(locks.queue().entries.is_empty());
        assert!(locks.exclusive(0, 1, &leaving).is_some(), "what need not wait runs");
    }

    #[test]
    fn a_panic_gives_the_range_back() {
        let locks = RangeLocks::default();
        let died = std::thread::scope(|scope| {
            scope
                .spawn(|| {
                    let _held = locks.exclusive(0, 1, &STAYS).unwrap();
                    panic!("a handler died");
                })
                .join()
        });
        assert!(died.is_err());
        drop(locks.exclusive(0, 1, &STAYS).unwrap());
    }

    /// Not a test of correctness: prints what one lock costs (run with --ignored --nocapture).
    #[test]
    #[ignore = "a measurement"]
    fn what_it_costs() {
        for threads in [1, 2, 8] {
            let locks = RangeLocks::default();
            const ROUNDS: u64 = 1_000_000;
            let start = std::time::Instant::now();
            std::thread::scope(|scope| {
                for thread in 0..threads {
                    let locks = &locks;
                    scope.spawn(move || {
                        for round in 0..ROUNDS {
                            drop(
                                locks
                                    .exclusive(thread * 1_000_000 + round % 1000, 8, &STAYS)
                                    .unwrap(),
                            );
                        }
                    });
                }
            });
            let each = start.elapsed().as_nanos() as u64 / (threads * ROUNDS);
            println!("{threads} threads: {each} ns per lock and unlock");
        }
    }
}
