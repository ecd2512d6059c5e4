//! What every store promises. A new implementation joins by one line at the foot of the file.

mod make;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;

use async_trait::async_trait;
use osds_model::id::{AttachmentId, HostId, PoolId, ProfileId, TenantId, VolumeId};
use osds_model::{Capacity, Pool, Profile, Volume};
use osds_store::{
    Changes, Claim, ClaimKind, DecideError, EmbeddedStore, Hint, Kind, MemoryStore, Revision,
    SnapshotsWhere, Store, StoreError, Txn, Versioned, View, Watch, decide,
};

type Shared = Arc<dyn Store>;

fn get(store: &Shared, id: u128) -> Option<Versioned<Volume>> {
    store.view().get::<Volume>(VolumeId::from_u128(id)).cloned()
}

fn is_conflict<T>(result: &Result<T, StoreError>) -> bool {
    matches!(result, Err(StoreError::Conflict))
}

async fn create_needs_the_record_to_be_absent(store: Shared) {
    let first = store.commit(Txn::new().create(make::volume(1))).await.unwrap();
    assert_eq!(get(&store, 1).unwrap().revision, first);
    assert_eq!(*get(&store, 1).unwrap(), make::volume(1));
    assert!(is_conflict(&store.commit(Txn::new().create(make::volume(1))).await));
    // Another kind with the same number is another record.
    store.commit(Txn::new().create(make::pool(1, 0))).await.unwrap();
}

async fn replace_needs_the_record_to_be_unchanged(store: Shared) {
    store.commit(Txn::new().create(make::volume(1))).await.unwrap();
    let old = get(&store, 1).unwrap();
    let revision = store.commit(Txn::new().replace(&old, make::edited(&old))).await.unwrap();
    assert!(revision > old.revision);
    let new = get(&store, 1).unwrap();
    assert_eq!(new.revision, revision);
    assert_eq!(*new, make::edited(&old));
    assert!(is_conflict(&store.commit(Txn::new().replace(&old, make::edited(&old))).await));
    assert_eq!(get(&store, 1).unwrap(), new);
}

async fn remove_needs_the_record_to_be_unchanged(store: Shared) {
    store.commit(Txn::new().create(make::volume(1))).await.unwrap();
    let old = get(&store, 1).unwrap();
    store.commit(Txn::new().replace(&old, make::edited(&old))).await.unwrap();
    assert!(is_conflict(&store.commit(Txn::new().remove(&old)).await));
    let new = get(&store, 1).unwrap();
    store.commit(Txn::new().remove(&new)).await.unwrap();
    assert_eq!(get(&store, 1), None);
    assert!(is_conflict(&store.commit(Txn::new().remove(&new)).await));
    assert!(is_conflict(&store.commit(Txn::new().replace(&new, make::volume(1))).await));
}

async fn a_record_made_again_is_not_the_old_one(store: Shared) {
    store.commit(Txn::new().create(make::volume(1))).await.unwrap();
    let old = get(&store, 1).unwrap();
    store.commit(Txn::new().remove(&old)).await.unwrap();
    store.commit(Txn::new().create(make::volume(1))).await.unwrap();
    assert!(get(&store, 1).unwrap().revision > old.revision);
    assert!(is_conflict(&store.commit(Txn::new().replace(&old, make::volume(1))).await));
}

async fn require_guards_without_writing(store: Shared) {
    store.commit(Txn::new().create(make::volume(1)).create(make::pool(1, 0))).await.unwrap();
    let (seen, pool) = (get(&store, 1).unwrap(), store.view().get(PoolId::from_u128(1)).cloned());
    let pool: Versioned<Pool> = pool.unwrap();
    store.commit(Txn::new().require(&seen).replace(&pool, make::pool(1, 5))).await.unwrap();
    assert_eq!(get(&store, 1).unwrap(), seen, "a required record is not written");
    store.commit(Txn::new().require(&seen).replace(&seen, make::edited(&seen))).await.unwrap();
    let pool = store.view().get::<Pool>(PoolId::from_u128(1)).cloned().unwrap();
    let late = Txn::new().require(&seen).replace(&pool, make::pool(1, 6));
    assert!(is_conflict(&store.commit(late).await));
    assert!(is_conflict(&store.commit(Txn::new().require(&seen)).await));
}

async fn a_transaction_is_written_whole_or_not_at_all(store: Shared) {
    store.commit(Txn::new().create(make::volume(1))).await.unwrap();
    let before = store.view().revision();
    let one = get(&store, 1).unwrap();
    let half = Txn::new()
        .create(make::pool(7, 0))
        .create(make::volume(2))
        .replace(&one, make::edited(&one))
        .create(Claim::profile_name("gold", ProfileId::from_u128(1)));
    let fails = half.clone().create(make::host(3, "h"));
    store.commit(Txn::new().create(make::host(3, "h"))).await.unwrap();
    assert!(is_conflict(&store.commit(fails).await));
    let view = store.view();
    assert_eq!(view.revision(), Revision(before.0 + 1), "only the host was written");
    assert_eq!(view.len::<Volume>(), 1);
    assert_eq!(get(&store, 1).unwrap(), one);
    assert!(view.get::<Pool>(PoolId::from_u128(7)).is_none());
    assert_eq!(view.claim_owner(ClaimKind::ProfileName, "gold"), None);

    let revision = store.commit(half).await.unwrap();
    let view = store.view();
    assert_eq!(view.get::<Pool>(PoolId::from_u128(7)).unwrap().revision, revision);
    assert_eq!(view.get::<Volume>(VolumeId::from_u128(1)).unwrap().revision, revision);
    assert_eq!(view.get::<Volume>(VolumeId::from_u128(2)).unwrap().revision, revision);
}

async fn nothing_to_write_writes_nothing(store: Shared) {
    store.commit(Txn::new().create(make::volume(1))).await.unwrap();
    let before = store.view().revision();
    let seen = get(&store, 1).unwrap();
    assert_eq!(store.commit(Txn::new()).await.unwrap(), before);
    assert_eq!(store.commit(Txn::new().require(&seen)).await.unwrap(), before);
    assert_eq!(store.view().revision(), before);
}

async fn one_claim_has_one_owner(store: Shared) {
    let mut takers = Vec::new();
    for id in 1..=20 {
        let store = Arc::clone(&store);
        takers.push(tokio::spawn(async move {
            let profile = ProfileId::from_u128(id);
            let txn = Txn::new()
                .create(make::profile(id, "gold"))
                .create(Claim::profile_name("gold", profile));
            store.commit(txn).await.map(|_| profile)
        }));
    }
    let mut winners = Vec::new();
    for taker in takers {
        match taker.await.unwrap() {
            Ok(profile) => winners.push(profile),
            Err(error) => assert!(matches!(error, StoreError::Conflict)),
        }
    }
    let [winner] = winners[..] else { panic!("{winners:?} all have the name") };
    let view = store.view();
    assert_eq!(view.claim_owner(ClaimKind::ProfileName, "gold"), Some(winner.0));
    assert_eq!(view.profile_named("gold").unwrap().id, winner);
    assert_eq!(view.len::<Profile>(), 1);

    // Who renames lets go of the old word in the same transaction.
    let old = view.profile_named("gold").unwrap();
    let claim = view.claim(ClaimKind::ProfileName, "gold").unwrap();
    let renamed = Txn::new()
        .replace(old, make::profile(winner.0.as_u128(), "silver"))
        .remove(claim)
        .create(Claim::profile_name("silver", winner));
    store.commit(renamed).await.unwrap();
    let view = store.view();
    assert!(view.profile_named("gold").is_none());
    assert_eq!(view.profile_named("silver").unwrap().id, winner);
}

async fn host_names_are_unique_in_their_tenant_only(store: Shared) {
    let (t1, t2) = (TenantId::from("t1"), TenantId::from("t2"));
    let claim = |tenant, id| Claim::host_name(tenant, "node1", HostId::from_u128(id));
    store.commit(Txn::new().create(make::host(1, "node1")).create(claim(&t1, 1))).await.unwrap();
    store.commit(Txn::new().create(make::host(2, "node1")).create(claim(&t2, 2))).await.unwrap();
    assert!(is_conflict(&store.commit(Txn::new().create(claim(&t1, 3))).await));
    assert_eq!(store.view().host_named(&t1, "node1").unwrap().id, HostId::from_u128(1));
    assert_eq!(store.view().host_named(&t2, "node1").unwrap().id, HostId::from_u128(2));
    assert!(store.view().host_named(&t2, "node2").is_none());
}

/// Two pools share a fixed sum, and a volume is in step with them: no reader may ever see it off.
async fn a_reader_never_sees_half_a_transaction(store: Shared) {
    const SUM: u64 = 1000;
    const ROUNDS: u64 = 200;
    let start = Txn::new().create(make::pool(1, SUM)).create(make::pool(2, 0));
    store.commit(start.create(make::volume(1))).await.unwrap();
    let whole = |view: &View| {
        let pool = |id| view.get::<Pool>(PoolId::from_u128(id)).unwrap();
        let volume = view.get::<Volume>(VolumeId::from_u128(1)).unwrap();
        let moved = pool(2).allocated.bytes();
        assert_eq!(pool(1).allocated.bytes() + moved, SUM);
        assert_eq!(volume.state.attachments.len() as u64, moved);
        assert_eq!(view.volumes_of_host(HostId::from_u128(9)).count() as u64, moved.min(1));
        let listed: Vec<_> = view.attachments().map(|(id, ..)| id.0.as_u128()).collect();
        let held = volume.state.attachments.values().map(|a| a.id.0.as_u128());
        assert_eq!(listed, held.collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>());
        moved
    };
    let readers: Vec<_> = (0..3)
        .map(|_| {
            let store = Arc::clone(&store);
            tokio::task::spawn_blocking(move || {
                while whole(&store.view()) < ROUNDS {
                    whole(&store.latest());
                }
            })
        })
        .collect();
    for round in 0..ROUNDS {
        decide(&*store, |view| {
            let pool = |id| view.get::<Pool>(PoolId::from_u128(id)).unwrap();
            let add = |pool: &Pool, by: i64| {
                let bytes = pool.allocated.bytes().checked_add_signed(by).unwrap();
                Pool { allocated: Capacity::from_bytes(bytes), ..pool.clone() }
            };
            let volume = view.get::<Volume>(VolumeId::from_u128(1)).unwrap();
            let mut new = Volume::clone(volume);
            let host = HostId::from_u128(9 + u128::from(round));
            new.state
                .attachments
                .insert(host, make::attachment(1000 - u128::from(round), "t1").into());
            let txn = Txn::new()
                .replace(pool(1), add(pool(1), -1))
                .replace(pool(2), add(pool(2), 1))
                .replace(volume, new);
            Ok::<_, DecideError<()>>((txn, ()))
        })
        .await
        .unwrap();
    }
    for reader in readers {
        reader.await.unwrap();
    }
}

async fn an_old_view_stays_as_it_was(store: Shared) {
    store.commit(Txn::new().create(make::volume(1))).await.unwrap();
    let old = store.view();
    let one = get(&store, 1).unwrap();
    store.commit(Txn::new().remove(&one).create(make::volume(2))).await.unwrap();
    assert_eq!(old.iter::<Volume>().map(|v| v.id.0.as_u128()).collect::<Vec<_>>(), [1]);
    assert_eq!(old.volumes_of_tenant(&"t1".into()).count(), 1);
    let new = store.view();
    assert_eq!(new.iter::<Volume>().map(|v| v.id.0.as_u128()).collect::<Vec<_>>(), [2]);
    assert!(new.revision() > old.revision());
}

async fn records_come_in_the_order_of_their_ids(store: Shared) {
    for id in [5, 1, 9, 3] {
        store.commit(Txn::new().create(make::volume(id))).await.unwrap();
    }
    let view = store.view();
    let ids = |records: &mut dyn Iterator<Item = &Versioned<Volume>>| -> Vec<u128> {
        records.map(|v| v.id.0.as_u128()).collect()
    };
    assert_eq!(ids(&mut view.iter()), [1, 3, 5, 9]);
    assert_eq!(ids(&mut view.iter().rev()), [9, 5, 3, 1]);
    assert_eq!(ids(&mut view.iter_from(VolumeId::from_u128(4))), [5, 9]);
    assert_eq!(ids(&mut view.iter_from(VolumeId::from_u128(5))), [5, 9]);
    let tenant = view.volumes_of_tenant(&"t1".into()).rev().map(|id| id.0.as_u128());
    assert_eq!(tenant.collect::<Vec<_>>(), [9, 5, 3, 1]);
    assert_eq!(view.volumes_of_tenant(&"t2".into()).count(), 0);
}

async fn indexes_follow_the_records(store: Shared) {
    let mut volume = make::volume(1);
    for (host, id, tenant) in [(7, 70, "t1"), (8, 80, "t2")] {
        volume
            .state
            .attachments
            .insert(HostId::from_u128(host), make::attachment(id, tenant).into());
    }
    let txn = Txn::new().create(volume).create(make::pool(1, 0)).create(make::snapshot(1, 1));
    store.commit(txn.create(make::host(7, "h"))).await.unwrap();
    let view = store.view();
    let id = VolumeId::from_u128(1);
    assert_eq!(view.attachment(AttachmentId::from_u128(80)), Some((id, HostId::from_u128(8))));
    assert_eq!(view.attachments_of_tenant(&"t2".into()).count(), 1);
    assert_eq!(view.volumes_of_host(HostId::from_u128(7)).collect::<Vec<_>>(), [id]);
    assert_eq!(view.volumes_in_pool(PoolId::from_u128(1)).collect::<Vec<_>>(), [id]);
    assert_eq!(view.volumes_of_profile(ProfileId::from_u128(1)).collect::<Vec<_>>(), [id]);
    assert_eq!(view.pools_of_dock(make::pool(1, 0).dock).count(), 1);
    assert_eq!(view.hosts_of_tenant(&"t1".into()).count(), 1);
    assert_eq!(view.snapshots_of_volume(id).count(), 1);
    let of = SnapshotsWhere { volumes: Some(vec![id]), ..SnapshotsWhere::default() };
    assert_eq!(view.snapshots_where(&of, None).count(), 1);
    assert_eq!(view.snapshots_where(&of, Some(&"t1".into())).count(), 1);
    assert_eq!(view.snapshots_where(&of, Some(&"t".into())).count(), 0);

    let old = get(&store, 1).unwrap();
    let mut new = Volume::clone(&old);
    new.state.attachments.remove(&HostId::from_u128(7));
    store.commit(Txn::new().replace(&old, new)).await.unwrap();
    let view = store.view();
    assert_eq!(view.attachment(AttachmentId::from_u128(70)), None);
    assert_eq!(view.volumes_of_host(HostId::from_u128(7)).count(), 0);
    assert_eq!(view.volumes_of_host(HostId::from_u128(8)).count(), 1);
}

async fn view_never_runs_ahead_of_latest(store: Shared) {
    let mut commits = Vec::new();
    for id in 0..100 {
        let store = Arc::clone(&store);
        commits.push(tokio::spawn(async move {
            let revision = store.commit(Txn::new().create(make::volume(id))).await.unwrap();
            let view = store.view();
            assert!(view.revision() >= revision, "what is committed is visible");
            assert!(view.get::<Volume>(VolumeId::from_u128(id)).is_some());
            assert!(store.latest().revision() >= view.revision());
        }));
    }
    for commit in commits {
        commit.await.unwrap();
    }
    assert_eq!(store.view().revision(), store.latest().revision());
}

/// Many writes of the same records are on their way at once; each rests on the one before.
async fn a_decision_may_rest_on_what_is_on_its_way(store: Shared) {
    store.commit(Txn::new().create(make::volume(1))).await.unwrap();
    let mut on_their_way = Vec::new();
    for round in 0..50 {
        let latest = store.latest();
        let old = latest.get::<Volume>(VolumeId::from_u128(1)).unwrap();
        let txn = Txn::new().replace(old, make::edited(old));
        let pool = latest.get::<Pool>(PoolId::from_u128(1));
        let txn = match (round % 3, pool) {
            (0, None) => txn.create(make::pool(1, round)),
            (1, Some(pool)) => txn.replace(pool, make::pool(1, round)),
            (2, Some(pool)) => txn.remove(pool),
            other => panic!("{other:?}"),
        };
        let store = Arc::clone(&store);
        let mut commit = Box::pin(async move { store.commit(txn).await });
        match std::future::poll_fn(|context| Poll::Ready(commit.as_mut().poll(context))).await {
            Poll::Ready(done) => drop(done.unwrap()),
            Poll::Pending => on_their_way.push(commit),
        }
    }
    for commit in on_their_way {
        commit.await.unwrap();
    }
    assert_eq!(get(&store, 1).unwrap().state.generation.0, 51);
    let pool = store.view().get::<Pool>(PoolId::from_u128(1)).cloned().unwrap();
    assert_eq!(pool.allocated.bytes(), 49);
}

async fn hints_name_what_is_visible_by_then(store: Shared) {
    store.commit(Txn::new().create(make::volume(1))).await.unwrap();
    let mut watch = store.watch();
    assert_eq!(watch.try_next(), None, "what was before is not hinted");
    let writer = Arc::clone(&store);
    let seen = get(&store, 1).unwrap();
    let task = tokio::spawn(async move {
        for id in 2..=50 {
            let txn = Txn::new().create(make::volume(id)).create(make::pool(id, 0)).require(&seen);
            writer.commit(txn).await.unwrap();
        }
    });
    let mut hinted = BTreeSet::new();
    while hinted.len() < 98 {
        let Some(Hint::Changed(changes)) = watch.next().await else { panic!("no hint") };
        let view = store.view();
        for (kind, key) in changes.iter() {
            match kind {
                Kind::Volume => assert!(view.get::<Volume>(*key).is_some()),
                Kind::Pool => assert!(view.get::<Pool>(*key).is_some()),
                other => panic!("nobody wrote a {other}"),
            }
            hinted.insert((*kind, *key));
        }
    }
    task.await.unwrap();
    assert!(!hinted.contains(&(Kind::Volume, VolumeId::from_u128(1).0)), "required, not written");
    let two = get(&store, 2).unwrap();
    store.commit(Txn::new().remove(&two)).await.unwrap();
    let expected: Changes = Arc::new([(Kind::Volume, two.id.0)]);
    assert_eq!(watch.next().await, Some(Hint::Changed(expected)), "removals are hinted too");
}

async fn a_watch_that_is_too_slow_is_told(store: Shared) {
    let mut watch = store.watch();
    for id in 0..1100 {
        store.commit(Txn::new().create(make::dock(id))).await.unwrap();
    }
    assert_eq!(watch.next().await, Some(Hint::Lagged));
    assert!(matches!(watch.next().await, Some(Hint::Changed(_))), "and goes on from there");
}

async fn concurrent_counters_lose_nothing(store: Shared) {
    const COUNTERS: u64 = 32;
    const ROUNDS: u64 = 20;
    store.commit(Txn::new().create(make::volume(1))).await.unwrap();
    let counters: Vec<_> = (0..COUNTERS)
        .map(|_| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                for _ in 0..ROUNDS {
                    decide(&*store, |view| {
                        let old = view.get::<Volume>(VolumeId::from_u128(1)).unwrap();
                        Ok::<_, ()>((Txn::new().replace(old, make::edited(old)), ()))
                    })
                    .await
                    .unwrap();
                }
            })
        })
        .collect();
    for counter in counters {
        counter.await.unwrap();
    }
    assert_eq!(get(&store, 1).unwrap().state.generation.0, 1 + COUNTERS * ROUNDS);
}

/// A store where somebody else is always a little quicker, `left` times.
struct Meddled {
    store: Shared,
    left: AtomicUsize,
}

#[async_trait]
impl Store for Meddled {
    fn view(&self) -> Arc<View> {
        self.store.view()
    }
    fn latest(&self) -> Arc<View> {
        self.store.latest()
    }
    async fn commit(&self, txn: Txn) -> Result<Revision, StoreError> {
        let less = |left: usize| left.checked_sub(1);
        if self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less).is_ok() {
            let old = get(&self.store, 1).unwrap();
            self.store.commit(Txn::new().replace(&old, make::edited(&old))).await.unwrap();
        }
        self.store.commit(txn).await
    }
    fn watch(&self) -> Watch {
        self.store.watch()
    }
}

async fn decide_decides_again_on_what_is_new(store: Shared) {
    store.commit(Txn::new().create(make::volume(1))).await.unwrap();
    let meddled = Meddled { store: Arc::clone(&store), left: AtomicUsize::new(3) };
    let mut seen = Vec::new();
    let answer = decide(&meddled, |view| {
        let old = view.get::<Volume>(VolumeId::from_u128(1)).unwrap();
        seen.push(old.state.generation.0);
        Ok::<_, ()>((Txn::new().replace(old, make::edited(old)), old.state.generation.0))
    })
    .await
    .unwrap();
    assert_eq!((answer, &seen[..]), (4, &[1, 2, 3, 4][..]));
    assert_eq!(get(&store, 1).unwrap().state.generation.0, 5);

    let meddled = Meddled { store: Arc::clone(&store), left: AtomicUsize::new(usize::MAX) };
    let error = decide(&meddled, |view| {
        let old = view.get::<Volume>(VolumeId::from_u128(1)).unwrap();
        Ok::<_, ()>((Txn::new().replace(old, make::edited(old)), ()))
    })
    .await
    .unwrap_err();
    assert!(matches!(error, DecideError::Store(StoreError::Unavailable { .. })), "{error:?}");
}

async fn decide_passes_on_refusals_and_needs_no_commit(store: Shared) {
    store.commit(Txn::new().create(make::volume(1))).await.unwrap();
    let before = store.view().revision();
    let refused = decide(&*store, |_| Err::<(Txn, ()), _>("no")).await;
    assert!(matches!(refused, Err(DecideError::Refused("no"))));
    assert_eq!(decide(&*store, |_| Ok::<_, ()>((Txn::new(), 7))).await.unwrap(), 7);
    assert_eq!(store.view().revision(), before);
}

macro_rules! conformance {
    ($($promise:ident),+ $(,)?) => {
        mod memory {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn $promise() {
                let store = super::Arc::new(super::MemoryStore::new());
                super::in_time(super::$promise(store.clone())).await;
                store.close();
                super::is_closed(store).await;
            })+
        }

        mod embedded {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn $promise() {
                let directory = tempfile::tempdir().unwrap();
                let path = directory.path().join("store.redb");
                let store = super::Arc::new(super::EmbeddedStore::open(&path).unwrap());
                super::in_time(super::$promise(store.clone())).await;
                store.close();
                super::is_closed(store.clone()).await;
                // Whatever was done to it, it reads back as it was.
                let again = super::EmbeddedStore::open(&path).unwrap();
                super::assert_same(&super::Store::view(&*store), &super::Store::view(&again));
            })+
        }
    };
}

/// A store that hangs shall fail the test and not the whole run.
async fn in_time(test: impl Future<Output = ()>) {
    tokio::time::timeout(Duration::from_secs(60), test).await.expect("ends in time");
}

async fn is_closed(store: Shared) {
    let refused = store.commit(Txn::new().create(make::volume(4711))).await;
    assert!(matches!(refused, Err(StoreError::Unavailable { .. })), "{refused:?}");
    assert_eq!(store.latest().revision(), store.view().revision());
    assert_eq!(store.watch().next().await, None);
}

fn assert_same(one: &View, other: &View) {
    assert_eq!(one.revision(), other.revision());
    assert!(one.iter::<Volume>().eq(other.iter::<Volume>()));
    assert!(one.iter::<Pool>().eq(other.iter::<Pool>()));
    assert!(one.iter::<Profile>().eq(other.iter::<Profile>()));
    assert!(one.iter::<Claim>().eq(other.iter::<Claim>()));
    assert!(one.attachments().eq(other.attachments()));
}

conformance! {
    create_needs_the_record_to_be_absent,
    replace_needs_the_record_to_be_unchanged,
    remove_needs_the_record_to_be_unchanged,
    a_record_made_again_is_not_the_old_one,
    require_guards_without_writing,
    a_transaction_is_written_whole_or_not_at_all,
    nothing_to_write_writes_nothing,
    one_claim_has_one_owner,
    host_names_are_unique_in_their_tenant_only,
    a_reader_never_sees_half_a_transaction,
    an_old_view_stays_as_it_was,
    records_come_in_the_order_of_their_ids,
    indexes_follow_the_records,
    view_never_runs_ahead_of_latest,
    a_decision_may_rest_on_what_is_on_its_way,
    hints_name_what_is_visible_by_then,
    a_watch_that_is_too_slow_is_told,
    concurrent_counters_lose_nothing,
    decide_decides_again_on_what_is_new,
    decide_passes_on_refusals_and_needs_no_commit,
}
