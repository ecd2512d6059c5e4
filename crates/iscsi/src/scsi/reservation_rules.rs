//! The rules of reservations, tested: the tables of SPC-4 as tables, the rest by trying many.
//!
//! Any sequence of orders keeps the invariants (`is_sound`), a refused order changes nothing, the
//! generation only grows, and whoever loses something against its will is told. The tables of
//! allowed commands are written out here by hand, so that a slip in the code has no second copy.

use std::borrow::Borrow;

use proptest::prelude::*;

use super::nexus::Attention::{self, *};
use super::reservation_terms::ReservationType::*;
use super::reservation_terms::*;
use super::reservations::*;

fn port(number: u8) -> InitiatorPort {
    InitiatorPort { initiator: format!("iqn.x:{number}"), isid: [number; 6] }
}

fn register(key: u64, new_key: u64) -> Order {
    let (ignore, all_target_ports, persist) = (false, false, false);
    Order::Register { key, new_key, ignore, all_target_ports, persist, also: vec![] }
}

/// Ports 1 to `n` are registered with ten times their number.
fn registered(n: u8) -> Reservations {
    let mut state = Reservations::default();
    for number in 1..=n {
        good(&mut state, number, register(0, u64::from(number) * 10));
    }
    state
}

#[track_caller]
fn good(state: &mut Reservations, by: u8, order: impl Borrow<Order>) -> Change {
    state.carry_out(&port(by), order.borrow()).unwrap()
}

#[track_caller]
fn refused(state: &Reservations, by: u8, order: impl Borrow<Order>) -> Refusal {
    let mut after = state.clone();
    let refusal = after.carry_out(&port(by), order.borrow()).unwrap_err();
    assert_eq!(*state, after, "a refused order changes nothing");
    refusal
}

fn told(change: &Change) -> Vec<(u8, Attention)> {
    let mut told: Vec<_> = change.told.iter().map(|(port, what)| (port.isid[0], *what)).collect();
    told.sort_by_key(|(number, what)| (*number, *what as u8));
    told
}

fn keys(state: &Reservations) -> Vec<u64> {
    state.registrants().iter().map(|r| r.key).collect()
}

fn preempt(key: u64, victim: u64, kind: ReservationType) -> Order {
    Order::Preempt { key, victim, kind: Some(kind), abort: false }
}

/// SPC-4 tables 33 and 34: rows are types; columns what another registrant and what a stranger may
/// do, as a text of R (reads) and W (writes).
#[test]
fn the_table_of_conflicts() {
    let table = [
        (WriteExclusive, "R", "R"),
        (ExclusiveAccess, "", ""),
        (WriteExclusiveRegistrantsOnly, "RW", "R"),
        (ExclusiveAccessRegistrantsOnly, "RW", ""),
        (WriteExclusiveAllRegistrants, "RW", "R"),
        (ExclusiveAccessAllRegistrants, "RW", ""),
    ];
    for (kind, registrant, stranger) in table {
        let mut state = registered(2);
        good(&mut state, 1, Order::Reserve { key: 10, kind });
        for (number, may) in [(1, "RW"), (2, registrant), (9, stranger)] {
            let permits = |class| state.permits(&port(number), class);
            assert_eq!(permits(Class::Reads), may.contains('R'), "{kind:?}: {number} reads");
            assert_eq!(permits(Class::Writes), may.contains('W'), "{kind:?}: {number} writes");
            assert!(permits(Class::Free) && permits(Class::Asks) && permits(Class::Own));
        }
    }
}

#[test]
fn registering_needs_the_key_one_has() {
    let mut state = Reservations::default();
    assert_eq!(refused(&state, 1, register(5, 10)), Refusal::Conflict);
    assert_eq!(good(&mut state, 1, register(0, 0)), Change::default());
    assert_eq!(state.generation(), 0, "nothing happened");
    good(&mut state, 1, register(0, 10));
    assert_eq!(refused(&state, 1, register(0, 11)), Refusal::Conflict);
    good(&mut state, 1, register(10, 11));
    assert_eq!((keys(&state), state.generation()), (vec![11], 2));
    let ignore = |new_key| Order::Register {
        key: 999,
        new_key,
        ignore: true,
        all_target_ports: true,
        persist: false,
        also: vec![],
    };
    good(&mut state, 1, ignore(12));
    good(&mut state, 2, ignore(20));
    assert_eq!((keys(&state), state.registrants()[0].all_target_ports), (vec![12, 20], true));
    good(&mut state, 1, ignore(0));
    assert_eq!((keys(&state), state.generation()), (vec![20], 5));
}

#[test]
fn other_ports_are_registered_all_or_none() {
    let with = |also: &[u8]| Order::Register {
        key: 0,
        new_key: 10,
        ignore: false,
        all_target_ports: false,
        persist: false,
        also: also.iter().map(|&number| port(number)).collect(),
    };
    let mut state = registered(0);
    good(&mut state, 1, with(&[2, 3]));
    assert_eq!(keys(&state), [10, 10, 10]);
    for also in [&[5, 3][..], &[5, 5], &[4]] {
        assert_eq!(refused(&state, 4, with(also)), Refusal::WrongPort, "{also:?}");
    }
    let mut full = registered(0);
    good(&mut full, 1, with(&(3..=255).collect::<Vec<_>>()));
    good(&mut full, 2, with(&[0]));
    let late = InitiatorPort { isid: [1; 6], ..port(2) };
    assert_eq!(full.carry_out(&late, &register(0, 9)).unwrap_err(), Refusal::NoRoom);
}

#[test]
fn reserving_again_is_fine_only_for_the_same() {
    for kind in ReservationType::ALL {
        let mut state = registered(2);
        assert_eq!(refused(&state, 1, Order::Reserve { key: 11, kind }), Refusal::Conflict);
        assert_eq!(refused(&state, 9, Order::Reserve { key: 0, kind }), Refusal::Conflict);
        good(&mut state, 1, Order::Reserve { key: 10, kind });
        let before = state.clone();
        good(&mut state, 1, Order::Reserve { key: 10, kind });
        assert_eq!(state, before);
        assert_eq!(state.generation(), 2, "RESERVE does not count");
        for other in ReservationType::ALL.into_iter().filter(|other| *other != kind) {
            let order = Order::Reserve { key: 10, kind: other };
            assert_eq!(refused(&state, 1, order), Refusal::Conflict);
        }
        let mut second = state.clone();
        let outcome = second.carry_out(&port(2), &Order::Reserve { key: 20, kind });
        assert_eq!(outcome.is_ok(), state.holds(&port(2)), "{kind:?}");
        assert_eq!(second, state);
    }
}

#[test]
fn releasing_tells_those_it_let_through() {
    for kind in ReservationType::ALL {
        let mut state = registered(3);
        good(&mut state, 1, Order::Reserve { key: 10, kind });
        let wrong = ReservationType::ALL.into_iter().find(|other| *other != kind);
        for kind in [wrong, None] {
            assert_eq!(refused(&state, 1, Order::Release { key: 10, kind }), Refusal::WrongRelease);
        }
        let release = |key| Order::Release { key, kind: Some(kind) };
        assert_eq!(refused(&state, 1, release(11)), Refusal::Conflict);
        if !state.holds(&port(2)) {
            let before = state.clone();
            assert_eq!(good(&mut state, 2, release(20)), Change::default());
            assert_eq!(state, before, "not the holder's");
        }
        let expected = match kind {
            WriteExclusive | ExclusiveAccess => vec![],
            _ => vec![(2, ReservationsReleased), (3, ReservationsReleased)],
        };
        assert_eq!(told(&good(&mut state, 1, release(10))), expected, "{kind:?}");
        assert_eq!((state.held(), state.generation()), (None, 3));
        assert_eq!(good(&mut state, 1, release(10)), Change::default(), "nothing to release");
    }
}

#[test]
fn a_reservation_ends_with_its_holders_registration() {
    for kind in ReservationType::ALL {
        let mut state = registered(3);
        good(&mut state, 1, Order::Reserve { key: 10, kind });
        let change = good(&mut state, 1, register(10, 0));
        let (stays, expected) = match kind {
            WriteExclusive | ExclusiveAccess => (false, vec![]),
            WriteExclusiveRegistrantsOnly | ExclusiveAccessRegistrantsOnly => {
                (false, vec![(2, ReservationsReleased), (3, ReservationsReleased)])
            }
            WriteExclusiveAllRegistrants | ExclusiveAccessAllRegistrants => (true, vec![]),
        };
        assert_eq!((state.held().is_some(), told(&change)), (stays, expected), "{kind:?}");
        good(&mut state, 2, register(20, 0));
        good(&mut state, 3, register(30, 0));
        assert_eq!(state.held(), None);
    }
}

#[test]
fn clearing_takes_everything_and_tells_the_others() {
    let mut state = registered(3);
    good(&mut state, 1, Order::Reserve { key: 10, kind: WriteExclusive });
    assert_eq!(refused(&state, 9, Order::Clear { key: 0 }), Refusal::Conflict);
    let change = good(&mut state, 2, Order::Clear { key: 20 });
    assert_eq!(told(&change), [(1, ReservationsPreempted), (3, ReservationsPreempted)]);
    assert_eq!((keys(&state), state.held(), state.generation()), (vec![], None, 4));
}

#[test]
fn preempting_the_holder_takes_the_reservation_over() {
    let mut state = registered(3);
    good(&mut state, 1, Order::Reserve { key: 10, kind: WriteExclusive });
    assert_eq!(refused(&state, 2, preempt(21, 10, WriteExclusive)), Refusal::Conflict);
    let zero = Order::Preempt { key: 20, victim: 0, kind: Some(WriteExclusive), abort: false };
    assert_eq!(refused(&state, 2, zero), Refusal::ZeroKey);
    let no_type = Order::Preempt { key: 20, victim: 10, kind: None, abort: true };
    assert_eq!(refused(&state, 2, no_type), Refusal::NoSuchType);
    let mut same = state.clone();
    let change = good(&mut same, 2, preempt(20, 10, WriteExclusive));
    assert_eq!(told(&change), [(1, RegistrationsPreempted)]);
    assert!(same.holds(&port(2)) && keys(&same) == [20, 30] && same.generation() == 4);
    assert_eq!(change.aborted, []);
    let order = Order::Preempt { key: 20, victim: 10, kind: Some(ExclusiveAccess), abort: true };
    let change = good(&mut state, 2, order);
    assert_eq!(told(&change), [(1, RegistrationsPreempted), (3, ReservationsReleased)]);
    assert_eq!(change.aborted, [port(1)]);
    assert!(!state.permits(&port(3), Class::Reads), "the type is the new one");
}

#[test]
fn preempting_oneself_changes_the_type() {
    let mut state = registered(2);
    good(&mut state, 1, Order::Reserve { key: 10, kind: WriteExclusive });
    let change = good(&mut state, 1, preempt(10, 10, ExclusiveAccessRegistrantsOnly));
    assert_eq!(told(&change), [(2, ReservationsReleased)]);
    assert!(state.holds(&port(1)) && keys(&state) == [10, 20]);
}

#[test]
fn preempting_others_takes_their_registrations_only() {
    let mut state = registered(3);
    assert_eq!(refused(&state, 1, preempt(10, 99, WriteExclusive)), Refusal::Conflict);
    assert_eq!(refused(&state, 1, preempt(10, 0, WriteExclusive)), Refusal::ZeroKey);
    good(&mut state, 1, Order::Reserve { key: 10, kind: WriteExclusiveRegistrantsOnly });
    let order = Order::Preempt { key: 20, victim: 30, kind: None, abort: true };
    let change = good(&mut state, 2, order);
    assert_eq!(told(&change), [(3, RegistrationsPreempted)]);
    assert_eq!(change.aborted, [port(3)]);
    assert!(state.holds(&port(1)) && keys(&state) == [10, 20]);
    assert!(!state.permits(&port(3), Class::Writes));
}

#[test]
fn where_all_hold_a_key_of_zero_preempts_all() {
    let mut state = registered(3);
    good(&mut state, 1, Order::Reserve { key: 10, kind: WriteExclusiveAllRegistrants });
    let mut some = state.clone();
    let change = good(&mut some, 2, preempt(20, 30, WriteExclusive));
    assert_eq!(told(&change), [(3, RegistrationsPreempted)]);
    assert_eq!(some.held().unwrap().kind, WriteExclusiveAllRegistrants, "it stays");
    let change = good(&mut state, 2, preempt(20, 0, WriteExclusive));
    assert_eq!(told(&change), [(1, RegistrationsPreempted), (3, RegistrationsPreempted)]);
    assert_eq!(*state.held().unwrap(), Held { kind: WriteExclusive, by: Some(port(2)) });
}

#[test]
fn moving_takes_the_reservation_to_another_port() {
    let order = |key, new_key, to, unregister| Order::Move {
        key,
        new_key,
        to: port(to),
        unregister,
        persist: false,
    };
    let mut state = registered(2);
    assert_eq!(refused(&state, 1, order(10, 5, 3, false)), Refusal::NotHolder);
    let mut all = state.clone();
    good(&mut all, 1, Order::Reserve { key: 10, kind: WriteExclusiveAllRegistrants });
    assert_eq!(refused(&all, 1, order(10, 5, 3, false)), Refusal::Conflict);
    good(&mut state, 1, Order::Reserve { key: 10, kind: WriteExclusive });
    assert_eq!(refused(&state, 1, order(11, 5, 3, false)), Refusal::Conflict);
    assert_eq!(refused(&state, 2, order(20, 5, 3, false)), Refusal::NotHolder);
    assert_eq!(refused(&state, 1, order(10, 0, 3, false)), Refusal::ZeroKey);
    assert_eq!(refused(&state, 1, order(10, 5, 1, false)), Refusal::WrongPort);
    good(&mut state, 1, order(10, 30, 3, false));
    assert!(state.holds(&port(3)) && keys(&state) == [10, 20, 30]);
    good(&mut state, 3, order(30, 21, 2, true));
    assert!(state.holds(&port(2)) && keys(&state) == [10, 21]);
    assert_eq!(state.held().unwrap().kind, WriteExclusive);
}

#[test]
fn forgetting_an_initiator_is_unregistering_all_its_ports() {
    for kind in ReservationType::ALL {
        let mut state = registered(3);
        let second = InitiatorPort { isid: [77; 6], ..port(1) };
        state.carry_out(&second, &register(0, 77)).unwrap();
        good(&mut state, 1, Order::Reserve { key: 10, kind });
        let before = state.generation();
        let change = state.forget(&port(1).initiator);
        assert_eq!((keys(&state), state.generation()), (vec![20, 30], before + 1));
        match kind {
            WriteExclusive | ExclusiveAccess => {
                assert_eq!((state.held(), told(&change)), (None, vec![]));
            }
            WriteExclusiveRegistrantsOnly | ExclusiveAccessRegistrantsOnly => {
                let expected = vec![(2, ReservationsReleased), (3, ReservationsReleased)];
                assert_eq!((state.held(), told(&change)), (None, expected));
            }
            WriteExclusiveAllRegistrants | ExclusiveAccessAllRegistrants => {
                assert!(state.held().is_some() && change.told.is_empty());
            }
        }
        let before = state.clone();
        assert!(!state.knows(&port(1).initiator) && state.knows(&port(2).initiator));
        assert_eq!(state.forget("iqn.x:nobody"), Change::default());
        assert_eq!(state, before);
    }
    let mut state = Reservations::default();
    state.hold_unit(&port(1)).unwrap();
    assert!(state.knows(&port(1).initiator));
    state.forget(&port(1).initiator);
    assert!(!state.unit_is_held());
}

#[test]
fn reserve_6_and_persistent_reservations_do_not_mix() {
    let mut old = Reservations::default();
    old.hold_unit(&port(1)).unwrap();
    old.hold_unit(&port(1)).unwrap();
    assert_eq!(old.hold_unit(&port(2)), Err(Refusal::Conflict));
    old.let_unit_go(&port(2)).unwrap();
    assert!(old.unit_is_held(), "a release by another does nothing");
    for by in [1, 2] {
        assert_eq!(refused(&old, by, register(0, 10)), Refusal::Conflict);
    }
    let permits = |number, class| old.permits(&port(number), class);
    assert!(permits(1, Class::Writes) && permits(2, Class::Free));
    for class in [Class::Asks, Class::Reads, Class::Writes] {
        assert!(!permits(2, class), "{class:?}");
    }
    old.end_session(&port(2));
    assert!(old.unit_is_held());
    old.end_session(&port(1));
    assert!(!old.unit_is_held());

    // CRH: who is let through anyway hears GOOD, and nothing changes.
    for (kind, second) in [(WriteExclusive, false), (WriteExclusiveRegistrantsOnly, true)] {
        let mut state = registered(2);
        assert_eq!(state.hold_unit(&port(1)), Err(Refusal::Conflict), "only registered");
        good(&mut state, 1, Order::Reserve { key: 10, kind });
        let before = state.clone();
        for (number, passes) in [(1, true), (2, second), (9, false)] {
            assert_eq!(state.hold_unit(&port(number)).is_ok(), passes, "{kind:?} {number}");
            assert_eq!(state.let_unit_go(&port(number)).is_ok(), passes, "{kind:?} {number}");
        }
        assert_eq!(state, before);
    }
}

#[test]
fn what_is_kept_comes_back_and_nonsense_does_not() {
    let mut state = registered(1);
    assert_eq!(state.kept(), KeptReservations::default(), "nobody asked");
    let persist = Order::Register {
        key: 0,
        new_key: 20,
        ignore: false,
        all_target_ports: false,
        persist: true,
        also: vec![],
    };
    good(&mut state, 2, persist);
    good(&mut state, 1, Order::Reserve { key: 10, kind: ExclusiveAccess });
    let kept = state.kept();
    let back = Reservations::restore(kept.clone()).unwrap();
    assert_eq!((keys(&back), back.held(), back.generation()), (vec![10, 20], state.held(), 0));
    assert!(back.persists() && back.holds(&port(1)));
    good(&mut state, 2, register(20, 21));
    assert_eq!(state.kept(), KeptReservations::default(), "the last registration said no");

    let mut twice = kept.clone();
    twice.registrants.push(twice.registrants[0].clone());
    let mut zero = kept.clone();
    zero.registrants[1].key = 0;
    let mut orphan = kept.clone();
    orphan.registrants.remove(0);
    let mut nobody = kept;
    nobody.held = Some(Held { kind: ExclusiveAccess, by: None });
    for nonsense in [twice, zero, orphan, nobody] {
        assert_eq!(Reservations::restore(nonsense), None);
    }
}

fn any_order() -> impl Strategy<Value = (u8, Order)> {
    let key = || 0..5u64;
    let kind = || proptest::sample::select(&ReservationType::ALL[..]);
    let flags = any::<(bool, bool, bool)>();
    let order = prop_oneof![
        3 => (key(), key(), flags, proptest::collection::vec(1..6u8, 0..2)).prop_map(
            |(key, new_key, (ignore, all_target_ports, persist), also)| Order::Register {
                key,
                new_key,
                ignore,
                all_target_ports,
                persist,
                also: also.into_iter().map(port).collect(),
            }
        ),
        2 => (key(), kind()).prop_map(|(key, kind)| Order::Reserve { key, kind }),
        1 => (key(), kind()).prop_map(|(key, kind)| Order::Release { key, kind: Some(kind) }),
        1 => key().prop_map(|key| Order::Clear { key }),
        2 => (key(), key(), kind(), any::<bool>()).prop_map(|(key, victim, kind, abort)| {
            Order::Preempt { key, victim, kind: Some(kind), abort }
        }),
        1 => (key(), key(), 1..6u8, any::<bool>()).prop_map(|(key, new_key, to, unregister)| {
            Order::Move { key, new_key, to: port(to), unregister, persist: false }
        }),
    ];
    (1..6u8, order)
}

proptest! {
    #[test]
    fn any_sequence_keeps_the_invariants(
        steps in proptest::collection::vec((any_order(), 0..20u8), 0..60),
    ) {
        let mut state = Reservations::default();
        for ((by, order), aside) in steps {
            // The old commands come in between now and then.
            match aside {
                0 => drop(state.hold_unit(&port(by))),
                1 => drop(state.let_unit_go(&port(by))),
                2 => drop(state.forget(&port(by).initiator)),
                _ => {}
            }
            prop_assert!(state.is_sound(), "{state:?}");
            let before = state.clone();
            let outcome = state.carry_out(&port(by), &order);
            prop_assert!(state.is_sound(), "{order:?} led to {state:?}");
            let Ok(change) = outcome else {
                prop_assert_eq!(&before, &state);
                continue;
            };
            prop_assert!(state.generation() >= before.generation());
            let registrations =
                |of: &Reservations| of.registrants().iter().map(|r| (r.port.clone(), r.key)).collect::<Vec<_>>();
            if registrations(&before) != registrations(&state) {
                prop_assert!(state.generation() > before.generation(), "{order:?}");
            }
            // Who lost its registration to another one is told, and nobody is told of its own act.
            for lost in before.registrants().iter().filter(|r| state.key_of(&r.port).is_none()) {
                let is_told = change.told.iter().any(|(to, what)| {
                    *to == lost.port && matches!(what, ReservationsPreempted | RegistrationsPreempted)
                });
                prop_assert_eq!(is_told, lost.port != port(by), "{:?}", order);
            }
            prop_assert!(change.told.iter().all(|(to, _)| *to != port(by)));
            prop_assert!(change.aborted.iter().all(|gone| state.key_of(gone).is_none()));
            // What a stranger may do a registrant may do, and what that may the holder may.
            for class in [Class::Reads, Class::Writes] {
                let stranger = state.permits(&port(99), class);
                for registrant in state.registrants() {
                    let may = state.permits(&registrant.port, class);
                    prop_assert!(may || !stranger);
                    prop_assert!(may || !state.holds(&registrant.port));
                }
            }
            let kept = state.kept();
            prop_assert!(Reservations::restore(kept).is_some());
        }
    }
}
