//! Random transactions, compared with a naive model: two maps and no index.
//!
//! The model is read off the contract: whether a transaction passes is looked up, and every index
//! is found by looking at every record. The embedded store is also closed and opened in between.

mod make;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use osds_lifecycle::status;
use osds_model::id::{AttachmentId, GroupId, HostId, PoolId, ProfileId, TenantId, VolumeId};
use osds_model::{Attachment, Capacity, Host, Phase, Pool, Presence, Volume};
use osds_store::{
    AttachmentsWhere, EmbeddedStore, HostsWhere, MemoryStore, Store, StoreError, Txn, Versioned,
    View, VolumesWhere,
};
use proptest::collection::vec;
use proptest::prelude::*;

/// Few of each, so that transactions meet.
const IDS: u128 = 4;

/// What one operation of a transaction does.
#[derive(Clone, Copy, Debug)]
enum Act {
    Create,
    Replace,
    Remove,
    Require,
}

/// One operation. `stale` is how old a picture the operation was decided on.
#[derive(Clone, Debug)]
struct Op {
    act: Act,
    volume: bool,
    id: u128,
    seed: u64,
    stale: usize,
}

#[derive(Clone, Debug)]
enum Event {
    Commit(Vec<Op>),
    Reopen,
}

fn op() -> impl Strategy<Value = Op> {
    let act = prop_oneof![
        4 => Just(Act::Create),
        4 => Just(Act::Replace),
        2 => Just(Act::Remove),
        1 => Just(Act::Require),
    ];
    let stale = prop_oneof![8 => Just(0_usize), 1 => 1..4_usize];
    (act, any::<bool>(), 0..IDS, any::<u64>(), stale)
        .prop_map(|(act, volume, id, seed, stale)| Op { act, volume, id, seed, stale })
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event =
        prop_oneof![20 => vec(op(), 0..4).prop_map(Event::Commit), 1 => Just(Event::Reopen)];
    vec(event, 0..60)
}

fn tenant(number: u64) -> TenantId {
    TenantId::from(["t1", "t2"][(number % 2) as usize])
}

/// A volume whose indexed parts are drawn from `seed`.
fn volume(id: u128, seed: u64) -> Volume {
    let mut volume = make::volume(id);
    volume.tenant = tenant(seed);
    volume.pool = PoolId::from_u128(u128::from(seed >> 1) % 2);
    volume.profile = ProfileId::from_u128(u128::from(seed >> 2) % 2);
    volume.name = format!("v{}", (seed >> 8) % 2);
    volume.state.made = (seed >> 9 & 1 == 1).then(|| Capacity::from_bytes(1 << 30));
    if seed >> 10 & 3 == 3 {
        volume.state.presence = Presence::Unwanted;
    }
    volume.group = (seed >> 20 & 1 == 1).then(|| GroupId::from_u128(u128::from(seed >> 21) % 2));
    for host in (0..3_u64).filter(|host| seed >> (3 + host) & 1 == 1) {
        let name = (id << 8) | (u128::from(host) << 4) | (u128::from(seed >> 6) % 2);
        let mut attachment = make::attachment(name, ["t1", "t2"][(seed >> 7) as usize % 2]);
        attachment.phase =
            [Phase::Attaching, Phase::Attached, Phase::Detaching][(seed >> 12) as usize % 3];
        volume.state.attachments.insert(HostId::from_u128(u128::from(host)), attachment.into());
    }
    volume
}

fn host(id: u128, seed: u64) -> Host {
    Host { tenant: tenant(seed), ..make::host(id, ["h", "i"][(seed >> 1) as usize % 2]) }
}

#[derive(Clone, Default)]
struct Model {
    revision: u64,
    volumes: BTreeMap<u128, (u64, Volume)>,
    hosts: BTreeMap<u128, (u64, Host)>,
}

impl Model {
    /// Whether all operations pass; if so they are done.
    fn commit(&mut self, ops: &[(Op, Option<u64>)]) -> bool {
        let passes = ops.iter().all(|(op, expected)| {
            let volume = self.volumes.get(&op.id).map(|v| v.0);
            let host = self.hosts.get(&op.id).map(|h| h.0);
            *expected == if op.volume { volume } else { host }
        });
        let writes = ops.iter().any(|(op, _)| !matches!(op.act, Act::Require));
        if passes && writes {
            self.revision += 1;
            for (Op { act, volume: is_volume, id, seed, .. }, _) in ops {
                match (act, is_volume) {
                    (Act::Require, _) => {}
                    (Act::Remove, true) => drop(self.volumes.remove(id)),
                    (Act::Remove, false) => drop(self.hosts.remove(id)),
                    (Act::Create | Act::Replace, true) => {
                        self.volumes.insert(*id, (self.revision, volume(*id, *seed)));
                    }
                    (Act::Create | Act::Replace, false) => {
                        self.hosts.insert(*id, (self.revision, host(*id, *seed)));
                    }
                }
            }
        }
        passes
    }

    fn compare(&self, view: &View) {
        assert_eq!(view.revision().0, self.revision);
        let volumes: Vec<_> =
            view.iter::<Volume>().map(|v| (v.revision.0, (**v).clone())).collect();
        assert_eq!(volumes, self.volumes.values().cloned().collect::<Vec<_>>());
        let hosts: Vec<_> = view.iter::<Host>().map(|h| (h.revision.0, (**h).clone())).collect();
        assert_eq!(hosts, self.hosts.values().cloned().collect::<Vec<_>>());
        assert_eq!(view.len::<Volume>(), self.volumes.len());
        assert!(view.is_empty::<Pool>());

        let volumes: Vec<&Volume> = self.volumes.values().map(|v| &v.1).collect();
        let those = |wanted: &dyn Fn(&Volume) -> bool| -> Vec<VolumeId> {
            volumes.iter().filter(|v| wanted(v)).map(|v| v.id).collect()
        };
        for number in 0..3 {
            let (host, pool, profile) = (
                HostId::from_u128(number),
                PoolId::from_u128(number),
                ProfileId::from_u128(number),
            );
            let held = those(&|v| v.state.attachments.contains_key(&host));
            assert!(view.volumes_of_host(host).eq(held));
            assert!(view.volumes_in_pool(pool).eq(those(&|v| v.pool == pool)));
            assert!(view.volumes_of_profile(profile).eq(those(&|v| v.profile == profile)));
            let group = GroupId::from_u128(number);
            assert!(view.volumes_of_group(group).eq(those(&|v| v.group == Some(group))));
        }
        let attachments: BTreeMap<AttachmentId, _> = volumes
            .iter()
            .flat_map(|v| v.state.attachments.iter().map(|(h, a)| (a.id, (v.id, *h, a))))
            .collect();
        assert!(view.attachments().eq(attachments.iter().map(|(id, (v, h, _))| (*id, *v, *h))));
        for (id, (volume, host, _)) in &attachments {
            assert_eq!(view.attachment(*id), Some((*volume, *host)));
        }
        for tenant in [tenant(0), tenant(1)] {
            assert!(view.volumes_of_tenant(&tenant).eq(those(&|v| v.tenant == tenant)));
            let theirs = self.hosts.values().filter(|h| h.1.tenant == tenant).map(|h| h.1.id);
            assert!(view.hosts_of_tenant(&tenant).eq(theirs));
            let theirs = attachments.iter().filter(|(_, a)| a.2.about.tenant == tenant);
            assert!(view.attachments_of_tenant(&tenant).eq(theirs.map(|(id, _)| *id)));
        }
        self.check_where(view, &volumes, &attachments);
    }

    /// What is found by several things at once is what one finds by looking at everything.
    fn check_where(
        &self,
        view: &View,
        volumes: &[&Volume],
        attachments: &BTreeMap<AttachmentId, (VolumeId, HostId, &Arc<Attachment>)>,
    ) {
        let word = |v: &Volume| status::volume(&v.state);
        let words: BTreeSet<_> = volumes.iter().map(|v| word(v)).chain(["error"]).collect();
        let (host, pool) = (HostId::from_u128(1), PoolId::from_u128(1));
        for wanted in words {
            let statuses = Some(vec![wanted.to_owned()]);
            let by_status = VolumesWhere { statuses: statuses.clone(), ..VolumesWhere::default() };
            let found: Vec<_> = view.volumes_where(&by_status, None).collect();
            let those = volumes.iter().filter(|v| word(v) == wanted).map(|v| v.id);
            assert_eq!(found, those.collect::<Vec<_>>());
            let name = volumes.first().map_or_else(String::new, |v| v.name.clone());
            let all = VolumesWhere {
                statuses,
                pools: Some(vec![pool]),
                names: Some(vec![name.clone(), "nobody".to_owned()]),
                ..VolumesWhere::default()
            };
            let found: Vec<_> = view.volumes_where(&all, Some(&tenant(1))).collect();
            let those = volumes.iter().filter(|v| {
                word(v) == wanted && v.pool == pool && v.name == name && v.tenant == tenant(1)
            });
            assert_eq!(found, those.map(|v| v.id).collect::<Vec<_>>());
        }
        for ascending in [true, false] {
            let mut those: Vec<_> = volumes.iter().map(|v| (&v.name, v.id)).collect();
            those.sort_by(|(a, _), (b, _)| if ascending { a.cmp(b) } else { b.cmp(a) });
            let found: Vec<_> = view.volumes_by_name(ascending).collect();
            assert_eq!(found, those.iter().map(|(_, id)| *id).collect::<Vec<_>>());
        }
        for wanted in ["creating", "available", "deleting", "error"] {
            let has = AttachmentsWhere {
                statuses: Some(vec![wanted.to_owned()]),
                hosts: Some(vec![host]),
                volumes: Some(volumes.iter().map(|v| v.id).collect()),
                ..AttachmentsWhere::default()
            };
            let found: Vec<_> = view.attachments_where(&has, None).rev().collect();
            let those = attachments.iter().rev().filter(|(_, (_, holder, held))| {
                *holder == host && status::attachment(held) == wanted
            });
            assert_eq!(found, those.map(|(id, _)| *id).collect::<Vec<_>>());
        }
        for (_, one) in self.hosts.values() {
            let names = Some(vec![one.name.clone()]);
            let has = HostsWhere { names, ..HostsWhere::default() };
            let found: Vec<_> = view.hosts_where(&has, Some(&one.tenant)).collect();
            let same = |h: &&Host| h.name == one.name && h.tenant == one.tenant;
            let those = self.hosts.values().map(|(_, h)| h).filter(same).map(|h| h.id);
            assert_eq!(found, those.collect::<Vec<_>>());
        }
    }
}

/// Adds one operation as it is decided on the picture `seen`, and says what it rests on; `None`
/// when there is nothing to decide on.
fn add(txn: Txn, op: &Op, seen: &View) -> Option<(Txn, Option<u64>)> {
    fn on<R: osds_store::Record>(
        txn: Txn,
        act: Act,
        old: Option<&Versioned<R>>,
        new: R,
    ) -> Option<(Txn, Option<u64>)> {
        let txn = match act {
            Act::Create => return Some((txn.create(new), None)),
            Act::Replace => txn.replace(old?, new),
            Act::Remove => txn.remove(old?),
            Act::Require => txn.require(old?),
        };
        Some((txn, old.map(|old| old.revision.0)))
    }
    if op.volume {
        let old = seen.get::<Volume>(VolumeId::from_u128(op.id));
        on(txn, op.act, old, volume(op.id, op.seed))
    } else {
        on(txn, op.act, seen.get::<Host>(HostId::from_u128(op.id)), host(op.id, op.seed))
    }
}

/// Runs the events; `reopen` makes the store that the next ones run on.
fn run<S: Store>(events: &[Event], mut store: S, mut reopen: impl FnMut(S) -> S) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut model = Model::default();
    let mut history = vec![store.view()];
    for event in events {
        match event {
            Event::Reopen => store = reopen(store),
            Event::Commit(ops) => {
                let (mut txn, mut done) = (Txn::new(), Vec::new());
                let mut named = BTreeSet::new();
                for op in ops {
                    if !named.insert((op.volume, op.id)) {
                        continue;
                    }
                    let seen = &history[history.len().saturating_sub(1 + op.stale)];
                    if let Some((more, expected)) = add(txn.clone(), op, seen) {
                        txn = more;
                        done.push((op.clone(), expected));
                    }
                }
                let passes = model.commit(&done);
                match runtime.block_on(store.commit(txn)) {
                    Ok(revision) => assert!(passes && revision.0 == model.revision),
                    Err(StoreError::Conflict) => assert!(!passes),
                    Err(error) => panic!("{error}"),
                }
            }
        }
        model.compare(&store.view());
        history.push(store.view());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_memory_store_does_as_the_model(events in events()) {
        run(&events, MemoryStore::new(), |store| store);
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 30,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn the_embedded_store_does_as_the_model(events in events()) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store.redb");
        run(&events, EmbeddedStore::open(&path).unwrap(), |store| {
            drop(store);
            EmbeddedStore::open(&path).unwrap()
        });
    }
}
