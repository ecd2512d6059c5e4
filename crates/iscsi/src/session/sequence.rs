//! Command and status numbering of one session (RFC 7143 section 4.2.2).
//!
//! There is one connection per session, and an initiator must send commands on one connection in
//! ascending order, so a number in the window that is not the next one is a hole nobody will fill:
//! a protocol error. Numbers outside the window are ignored, as the standard demands. The upper end
//! of the window never moves backwards: it is the next number plus the places that are free, and a
//! command that takes a place also moves the next number on.

use crate::pdu::Counters;

/// What to do with a request by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// It is its turn.
    Run,
    /// Outside the window: not received, as far as anybody can tell.
    Ignore,
    /// A hole that cannot be filled.
    Hole,
}

/// The counters of a session.
#[derive(Clone, Copy, Debug)]
pub struct Sequence {
    stat_sn: u32,
    exp_cmd_sn: u32,
    depth: u32,
    occupied: u32,
}

impl Sequence {
    /// Starts with the first numbers of the full feature phase.
    pub fn new(first_cmd_sn: u32, next_stat_sn: u32, depth: u32) -> Self {
        Self { stat_sn: next_stat_sn, exp_cmd_sn: first_cmd_sn, depth, occupied: 0 }
    }

    fn max_cmd_sn(&self) -> u32 {
        let free = self.depth.saturating_sub(self.occupied);
        self.exp_cmd_sn.wrapping_add(free).wrapping_sub(1)
    }

    /// Judges a request; the one whose turn it is counts as received.
    pub fn arrive(&mut self, immediate: bool, cmd_sn: u32) -> Order {
        if immediate {
            return Order::Run;
        }
        let ahead = cmd_sn.wrapping_sub(self.exp_cmd_sn);
        let window = self.max_cmd_sn().wrapping_sub(self.exp_cmd_sn).wrapping_add(1);
        if ahead >= window {
            return Order::Ignore;
        }
        if ahead > 0 {
            return Order::Hole;
        }
        self.exp_cmd_sn = self.exp_cmd_sn.wrapping_add(1);
        Order::Run
    }

    /// A command stays open: one place less in the window.
    pub fn occupy(&mut self) {
        self.occupied += 1;
    }

    /// An open command has ended.
    pub fn release(&mut self) {
        self.occupied = self.occupied.saturating_sub(1);
    }

    /// Counters for a PDU that carries a status of its own.
    pub fn status(&mut self) -> Counters {
        let counters = self.peek();
        self.stat_sn = self.stat_sn.wrapping_add(1);
        counters
    }

    /// Counters for a PDU that carries none.
    pub fn peek(&self) -> Counters {
        Counters {
            stat_sn: self.stat_sn,
            exp_cmd_sn: self.exp_cmd_sn,
            max_cmd_sn: self.max_cmd_sn(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers_outside_the_window_are_ignored_and_holes_noticed() {
        let mut s = Sequence::new(u32::MAX - 1, 0, 4);
        assert_eq!(s.arrive(false, u32::MAX), Order::Hole);
        assert_eq!(s.arrive(false, u32::MAX - 2), Order::Ignore);
        assert_eq!(s.arrive(false, 2), Order::Ignore);
        for sn in [u32::MAX - 1, u32::MAX, 0, 1] {
            assert_eq!(s.arrive(false, sn), Order::Run);
        }
        assert_eq!(s.arrive(true, 77), Order::Run);
        assert_eq!(s.peek().exp_cmd_sn, 2);
    }

    #[test]
    fn a_full_window_takes_nothing() {
        let mut s = Sequence::new(0, 0, 2);
        for sn in 0..2 {
            assert_eq!(s.arrive(false, sn), Order::Run);
            s.occupy();
        }
        assert_eq!(s.arrive(false, 2), Order::Ignore);
        s.release();
        assert_eq!(s.arrive(false, 2), Order::Run);
    }

    proptest! {
        #[test]
        fn the_window_never_moves_back(steps in proptest::collection::vec(0u8..3, 0..300)) {
            let mut s = Sequence::new(5, 0, 8);
            let mut open = 0;
            for step in steps {
                let before = s.peek().max_cmd_sn;
                match step {
                    0 if s.arrive(false, s.peek().exp_cmd_sn) == Order::Run => {}
                    1 if open < 8 && s.arrive(false, s.peek().exp_cmd_sn) == Order::Run => {
                        s.occupy();
                        open += 1;
                    }
                    2 if open > 0 => {
                        s.release();
                        open -= 1;
                    }
                    _ => {}
                }
                prop_assert!(s.peek().max_cmd_sn >= before);
            }
        }
    }
}
