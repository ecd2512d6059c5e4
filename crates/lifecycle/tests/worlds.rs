//! Every interleaving around one volume, up to a bound, in a handful of small worlds; and every
//! way to break the protocol that we could think of, each of which must be caught in one of them.

mod world;

use std::time::Instant;

use osds_model::{HostId, Phase};
use stateright::{Checker, HasDiscoveries, Model};
use world::twins::Twin;
use world::{
    A, B, C, Exclusive, Kind, RO, RW, Shared, SoleWriter, State, Trouble, Users, World, at_most,
    terms,
};

fn quiet(name: &'static str, start: Vec<State>) -> World {
    World {
        name,
        start,
        asks: vec![],
        users: Users::default(),
        trouble: Trouble::default(),
        mail: 2,
        last_generation: 4,
        keep_dead_mail: false,
        shows: vec![],
        twin: None,
    }
}

/// One host at a time: handover, force, a dock that cannot put a host out, reboots.
fn exclusive() -> World {
    World {
        asks: vec![(A, RW, Shared), (B, RW, Shared)],
        users: Users { force: true, ..Users::default() },
        trouble: Trouble {
            reboot: true,
            fails: &[Kind::Revoke, Kind::Grant],
            ..Trouble::default()
        },
        last_generation: 5,
        ..quiet("exclusive", vec![State::made(terms(false), &[])])
    }
}

#[test]
fn probe() {
    let world = exclusive();
    for g in 3..=6 {
        for keep in [false, true] {
            let mut w = world.clone();
            w.last_generation = g;
            w.keep_dead_mail = keep;
            let t = Instant::now();
            let c = w.checker().threads(2).spawn_bfs().join();
            println!("{g} keep={keep} {} {:?}", c.unique_state_count(), t.elapsed());
            for (n, p) in c.discoveries() {
                println!("{n}: {:#?}", p.into_actions());
            }
            if t.elapsed().as_secs() > 20 {
                return;
            }
        }
    }
}
