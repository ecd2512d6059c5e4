//! Hosts in a simulated time in front of a limit: how much, for whom, and never more.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use proptest::prelude::*;

use super::*;

const MS: u64 = 1_000_000;
const SECOND: u64 = 1_000 * MS;

/// A host that keeps `depth` commands of `bytes` open from `from` until `to`, and sends the next one
/// `pause` after an answer.
#[derive(Clone, Copy, Debug)]
struct Host {
    depth: usize,
    bytes: u64,
    pause: u64,
    from: u64,
    to: u64,
}

impl Host {
    fn new(depth: usize, bytes: u64) -> Self {
        Self { depth, bytes, pause: MS / 10, from: 0, to: u64::MAX }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Send(usize),
    Ask(usize),
}

struct World {
    throttle: Arc<Throttle>,
    hosts: Vec<Host>,
    lanes: Vec<Lane>,
    events: BinaryHeap<Reverse<(u64, Event)>>,
    /// Which host's command went when.
    went: Vec<(u64, usize)>,
    longest_wait: Vec<u64>,
    waiting: Vec<HashMap<Ticket, u64>>,
    asks: usize,
}

fn name(text: &str) -> Name {
    Name::new(&format!("iqn.x:{text}")).unwrap()
}

fn limit(unit: Rate, each: Rate) -> Limit {
    Limit { unit, each, parties: vec![] }
}

impl World {
    fn new(limit: &Limit, hosts: &[Host]) -> Self {
        let throttle = Arc::new(Throttle::default());
        throttle.set(limit, throttle.epoch);
        let mut world = Self {
            lanes: Vec::new(),
            throttle,
            hosts: hosts.to_vec(),
            events: BinaryHeap::new(),
            went: vec![],
            longest_wait: vec![0; hosts.len()],
            waiting: vec![HashMap::new(); hosts.len()],
            asks: 0,
        };
        for (index, host) in hosts.iter().enumerate() {
            let lane = world.throttle.lane(&name(&index.to_string()), world.throttle.epoch);
            world.lanes.push(lane);
            for _ in 0..host.depth {
                world.events.push(Reverse((host.from, Event::Send(index))));
            }
        }
        world
    }

    fn at(&self, now: u64) -> Instant {
        self.throttle.epoch + Duration::from_nanos(now)
    }

    fn run(&mut self, until: u64) -> &mut Self {
        while let Some(Reverse((now, event))) = self.events.peek().copied() {
            if now > until {
                break;
            }
            self.events.pop();
            match event {
                Event::Send(host) => {
                    if now < self.hosts[host].to {
                        match self.lanes[host].ask(self.at(now), self.hosts[host].bytes) {
                            Passage::Go => self.goes(now, host),
                            Passage::Wait(ticket) => {
                                self.waiting[host].insert(ticket, now);
                                self.ask_again(now, host);
                            }
                        }
                    }
                }
                Event::Ask(host) => {
                    self.asks += 1;
                    for ticket in self.lanes[host].called(self.at(now)) {
                        let since = self.waiting[host].remove(&ticket).unwrap();
                        self.longest_wait[host] = self.longest_wait[host].max(now - since);
                        self.goes(now, host);
                    }
                    self.ask_again(now, host);
                }
            }
        }
        self
    }

    fn ask_again(&mut self, now: u64, host: usize) {
        if let Some(at) = self.lanes[host].ask_again(self.at(now)) {
            let at = at.duration_since(self.throttle.epoch).as_nanos() as u64;
            let event = Event::Ask(host);
            self.events.retain(|Reverse((_, other))| *other != event);
            self.events.push(Reverse((at, event)));
        }
    }

    fn goes(&mut self, now: u64, host: usize) {
        self.went.push((now, host));
        self.events.push(Reverse((now + self.hosts[host].pause, Event::Send(host))));
    }

    /// Commands of a host in a span of time.
    fn count(&self, host: usize, from: u64, to: u64) -> usize {
        self.went.iter().filter(|(at, who)| *who == host && (from..to).contains(at)).count()
    }

    fn total(&self, from: u64, to: u64) -> usize {
        (0..self.hosts.len()).map(|host| self.count(host, from, to)).sum()
    }

    /// In every window that begins and ends with a command: no more than the limit and a burst.
    fn never_above(&self, per_second: u64, units: impl Fn(usize) -> u64) -> Result<(), String> {
        let burst = per_second / 10;
        let largest = (0..self.hosts.len()).map(&units).max().unwrap_or(0);
        // The lowest line through what had gone before each moment: one look backwards is enough.
        let mut spent: i128 = 0;
        let mut lowest = i128::MAX;
        for (at, host) in &self.went {
            let earned = i128::from(*at) * i128::from(per_second) / i128::from(SECOND);
            lowest = lowest.min(spent - earned);
            spent += i128::from(units(*host));
            let above = spent - earned - lowest;
            let allowed = i128::from(burst.max(largest)) + i128::from(largest) + 1;
            if above > allowed {
                return Err(format!("{above} beyond the limit at {at}, allowed are {allowed}"));
            }
        }
        Ok(())
    }
}

#[test]
fn a_flag_is_all_that_no_limit_costs() {
    let throttle = Arc::new(Throttle::default());
    let lane = throttle.lane(&name("a"), throttle.epoch);
    assert!(!lane.is_limited());
    throttle.set(&limit(Rate::new(1, 0), Rate::NONE), throttle.epoch);
    assert!(lane.is_limited());
    throttle.set(&limit(Rate::NONE, Rate::new(0, 1)), throttle.epoch);
    assert!(lane.is_limited());
    throttle.set(&Limit::default(), throttle.epoch);
    assert!(!lane.is_limited());
}

#[test]
fn a_deep_queue_does_not_starve_a_shallow_one() {
    let hosts = [Host::new(128, 4096), Host::new(1, 4096)];
    let mut world = World::new(&limit(Rate::new(500, 0), Rate::NONE), &hosts);
    world.run(4 * SECOND);
    let (deep, shallow) = (world.count(0, SECOND, 4 * SECOND), world.count(1, SECOND, 4 * SECOND));
    assert!((1490..=1510).contains(&(deep + shallow)), "{deep} {shallow}");
    assert!((730..=770).contains(&shallow), "{deep} {shallow}");
    // One of the other goes first, and half a slot at worst was missed.
    assert!(world.longest_wait[1] <= 5 * MS, "{}", world.longest_wait[1]);
    world.never_above(500, |_| 1).unwrap();
}

/// The same without fairness, in the order in which they came: the test above would notice.
#[test]
fn in_the_order_of_arrival_it_would_starve() {
    let hosts = [Host::new(128, 4096), Host::new(1, 4096)];
    let mut world = World::new(&Limit::default(), &hosts);
    let one = Limit {
        unit: Rate::new(500, 0),
        each: Rate::NONE,
        parties: vec![vec![name("0"), name("1")]],
    };
    world.throttle.set(&one, world.throttle.epoch);
    world.run(4 * SECOND);
    assert!(world.count(1, SECOND, 4 * SECOND) < 30);
}

#[test]
fn shares_are_of_bytes_where_bytes_are_limited() {
    let hosts = [Host::new(32, 1 << 20), Host::new(4, 16 << 10)];
    let mut world = World::new(&limit(Rate::new(0, 50_000_000), Rate::NONE), &hosts);
    world.run(10 * SECOND);
    let large = world.count(0, SECOND, 10 * SECOND) as f64 * f64::from(1 << 20);
    let small = world.count(1, SECOND, 10 * SECOND) as f64 * f64::from(16 << 10);
    assert!((0.9..1.1).contains(&(large / small)), "{large} {small}");
    let total = (large + small) / 9.0;
    assert!((0.97..1.01).contains(&(total / 50e6)), "{total}");
}

#[test]
fn what_an_idle_host_leaves_the_others_have() {
    let hosts = [Host::new(8, 0), Host { from: SECOND, to: 2 * SECOND, ..Host::new(8, 0) }];
    let mut world = World::new(&limit(Rate::new(1000, 0), Rate::NONE), &hosts);
    world.run(3 * SECOND);
    let of =
        |host, second: u64| world.count(host, second * SECOND + 200 * MS, (second + 1) * SECOND);
    assert!((790..=810).contains(&of(0, 0)), "{}", of(0, 0));
    assert!((390..=410).contains(&of(0, 1)), "{}", of(0, 1));
    assert!((390..=410).contains(&of(1, 1)), "{}", of(1, 1));
    assert!((790..=810).contains(&of(0, 2)), "{}", of(0, 2));
}

#[test]
fn a_host_that_was_away_has_saved_up_nothing() {
    let hosts = [Host::new(8, 0), Host { from: 5 * SECOND, ..Host::new(8, 0) }];
    let mut world = World::new(&limit(Rate::new(1000, 0), Rate::NONE), &hosts);
    world.run(6 * SECOND);
    let span = 5 * SECOND + 20 * MS..5 * SECOND + 120 * MS;
    let (old, new) = (world.count(0, span.start, span.end), world.count(1, span.start, span.end));
    assert!(old.abs_diff(new) <= 4, "{old} {new}");
}

#[test]
fn each_host_has_its_own_limit_and_the_rest_is_for_others() {
    let hosts = [Host::new(32, 0), Host::new(32, 0), Host { to: SECOND, ..Host::new(32, 0) }];
    let mut world = World::new(&limit(Rate::new(1000, 0), Rate::new(400, 0)), &hosts);
    world.run(3 * SECOND);
    for host in 0..3 {
        let third = world.count(host, 200 * MS, SECOND);
        assert!((250..=280).contains(&third), "{third}");
    }
    for host in 0..2 {
        let alone = world.count(host, 2 * SECOND, 3 * SECOND);
        assert!((392..=405).contains(&alone), "{alone}");
    }
}

#[test]
fn a_limit_that_is_changed_takes_effect_at_once() {
    let mut world = World::new(&limit(Rate::new(100, 0), Rate::NONE), &[Host::new(16, 0)]);
    world.run(SECOND);
    let now = world.at(SECOND);
    world.throttle.set(&limit(Rate::new(2000, 0), Rate::NONE), now);
    world.run(2 * SECOND);
    assert!((1880..=2210).contains(&world.total(SECOND, 2 * SECOND)));
    let now = world.at(2 * SECOND);
    world.throttle.set(&limit(Rate::new(50, 0), Rate::NONE), now);
    world.run(4 * SECOND);
    assert!((98..=107).contains(&world.total(2 * SECOND, 4 * SECOND)));
    let now = world.at(4 * SECOND);
    world.throttle.set(&Limit::default(), now);
    world.run(4 * SECOND + 51 * MS);
    assert!(world.waiting[0].is_empty(), "those that waited went when the limit did");
}

#[test]
fn the_names_of_one_host_are_one_party() {
    let hosts = [Host::new(16, 0), Host::new(16, 0), Host::new(16, 0)];
    let all = Limit {
        unit: Rate::new(1000, 0),
        each: Rate::NONE,
        parties: vec![vec![name("1"), name("2")]],
    };
    let mut world = World::new(&all, &hosts);
    world.run(2 * SECOND);
    let alone = world.count(0, SECOND, 2 * SECOND);
    assert!((490..=510).contains(&alone), "{alone}");
    // Also when that is only said while they wait.
    let mut world = World::new(&limit(all.unit, Rate::NONE), &hosts);
    world.run(SECOND);
    let now = world.at(SECOND);
    world.throttle.set(&all, now);
    world.run(3 * SECOND);
    let alone = world.count(0, 2 * SECOND, 3 * SECOND);
    assert!((490..=510).contains(&alone), "{alone}");
}

#[test]
fn what_is_taken_back_never_goes_and_what_is_left_goes_on() {
    let throttle = Arc::new(Throttle::default());
    let at = |ms: u64| throttle.epoch + Duration::from_millis(ms);
    throttle.set(&limit(Rate::new(10, 0), Rate::NONE), at(0));
    let (a, b) = (throttle.lane(&name("a"), at(0)), throttle.lane(&name("b"), at(0)));
    assert_eq!(a.ask(at(0), 0), Passage::Go);
    let ticket = |lane: &Lane| match lane.ask(at(0), 0) {
        Passage::Wait(ticket) => ticket,
        Passage::Go => panic!("went"),
    };
    let (first, second, other) = (ticket(&a), ticket(&a), ticket(&b));
    a.cancel(first);
    assert!(a.called(at(99)).is_empty() && b.called(at(99)).is_empty());
    // Called by the other's question, kept for its own.
    assert_eq!(a.called(at(100)), []);
    assert_eq!(b.called(at(100)), [other]);
    assert_eq!(a.called(at(200)), [second]);
    assert_eq!(a.ask_again(at(200)), None);
    let third = ticket(&a);
    assert_eq!(b.ask(at(250), 0), Passage::Wait(Ticket(third.0 + 1)));
    drop(a);
    assert_eq!(b.called(at(300)), [Ticket(third.0 + 1)], "a session that is gone holds nobody up");
    b.cancel(third);
}

#[test]
fn a_new_session_is_no_new_burst() {
    let throttle = Arc::new(Throttle::default());
    throttle.set(&limit(Rate::NONE, Rate::new(100, 0)), throttle.epoch);
    let mut went = 0;
    for session in 0..50 {
        let now = throttle.epoch + Duration::from_micros(session);
        let lane = throttle.lane(&name("a"), now);
        while lane.ask(now, 0) == Passage::Go {
            went += 1;
        }
    }
    assert_eq!(went, 10);
    assert!(throttle.lock().parties.len() == 1 && throttle.lock().tickets.is_empty());
}

fn hosts() -> impl Strategy<Value = Vec<Host>> {
    let host = (1usize..130, prop_oneof![Just(512u64), Just(4096), Just(65_536), Just(1 << 20)])
        .prop_map(|(depth, bytes)| Host::new(depth, bytes));
    prop::collection::vec(host, 1..5)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn never_above_the_limit_in_any_window_and_near_it_in_the_long_run(
        hosts in hosts(), iops in 50u64..2000, mib in 1u64..200, which in 0..3,
    ) {
        let bytes = mib << 20;
        let rate = match which {
            0 => Rate::new(iops, 0),
            1 => Rate::new(0, bytes),
            _ => Rate::new(iops, bytes),
        };
        // The smallest commands at the highest rate would only make the test slow.
        let hosts: Vec<_> = hosts.iter().map(|h| {
            Host { bytes: if which == 0 { h.bytes } else { h.bytes.max(65_536) }, ..*h }
        }).collect();
        let mut world = World::new(&limit(rate, Rate::NONE), &hosts);
        world.run(4 * SECOND);
        if let Some(iops) = rate.iops {
            prop_assert_eq!(world.never_above(iops.get(), |_| 1), Ok(()));
        }
        if let Some(bytes) = rate.bytes_per_second {
            prop_assert_eq!(world.never_above(bytes.get(), |host| hosts[host].bytes), Ok(()));
        }
        // Whatever can keep the limit busy does: a command each tenth of a millisecond and place.
        let counts: Vec<_> = (0..hosts.len()).map(|h| world.count(h, SECOND, 4 * SECOND)).collect();
        let moved: u64 = counts.iter().zip(&hosts).map(|(n, h)| *n as u64 * h.bytes).sum();
        let of_iops = counts.iter().sum::<usize>() as f64 / 3.0 / iops as f64;
        let of_bytes = moved as f64 / 3.0 / bytes as f64;
        let used = match which {
            0 => of_iops,
            1 => of_bytes,
            _ => of_iops.max(of_bytes),
        };
        let demand = hosts.iter().map(|h| h.depth).sum::<usize>() as f64 * 10_000.0;
        if demand > 2.0 * iops as f64 && which != 2 {
            prop_assert!(used > 0.95, "{used} of the limit used, {counts:?}");
        }
        // Nobody starves: each has at least four fifths of an equal share of what was used.
        let weight = |h: usize| {
            let price_of_bytes = if which == 0 { 0.0 } else { hosts[h].bytes as f64 / bytes as f64 };
            let price = if which == 1 { 0.0 } else { 1.0 / iops as f64 };
            price.max(price_of_bytes)
        };
        let all: f64 = (0..hosts.len()).map(|h| counts[h] as f64 * weight(h)).sum();
        for h in 0..hosts.len() {
            let had = counts[h] as f64 * weight(h);
            // A host of depth 1 is away for a tenth of a millisecond after each answer.
            if hosts[h].depth > 1 && hosts.len() > 1 {
                let fair = all / hosts.len() as f64;
                let rounding = 2.0 * weight(h) + (0..hosts.len()).map(weight).fold(0.0, f64::max);
                prop_assert!(had + rounding >= 0.8 * fair, "host {h} had {had} of {fair}: {counts:?}");
            } else {
                prop_assert!(counts[h] > 0);
            }
        }
        // Asking is bounded: a handful of questions for each command.
        let asks_allowed = world.went.len() * (hosts.len() + 2) + 400 * hosts.len();
        prop_assert!(world.asks <= asks_allowed, "{} questions for {}", world.asks, world.went.len());
    }
}
