//! FusionStorage, driver and target, against the simulated array: the suites of every driver over
//! real iSCSI sessions, sessions of the REST service that end, calls that fail, and a cut after every
//! single call, after which nothing may be left on the array.

/// What the hosts of the target suite speak.
const PROTOCOL: Protocol = Protocol::Iscsi;

#[path = "../../drivers/tests/conformance/storage.rs"]
#[allow(dead_code, reason = "the array takes snapshots in one step, and needs no writes held")]
mod storage;
#[path = "../../drivers/tests/conformance/target.rs"]
#[allow(dead_code, reason = "nobody proves anything to the array, and usage is not told")]
mod target;

mod sessions;

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use osds_dock::{Dock, Identity, Ledger};
use osds_dock_api::DockApi as _;
use osds_drivers::config::{FusionStorageConfig, PoolConfig};
use osds_drivers::storage::fusionstorage::{FusionStorage, Patience};
use osds_drivers::target::fusionstorage::FusionStorageTarget;
use osds_drivers::{BlockSource, StorageDriver, TargetDriver};
use osds_keyring::Keyring;
use osds_model::host::Protocol;
use osds_model::{
    AttachMode, Authentication, Capacity, Connection, DockId, FaultKind, Generation, Grant, HostId,
    HostOutcome, Initiator, IoLimits, PoolId, Presence, Secret, SnapshotId, SnapshotWish, Source,
    VolumeId, VolumeOutcome, VolumeWish,
};
use osds_testkit::array::{Contents, Release, SimulatedArray, Trouble};
use osds_testkit::initiator::Options;
use sessions::{Sessions, Way};
use target::{A, B, Bench as _, Refused, SIZE};
use tempfile::TempDir;

/// The file that the multi-attach design prints, byte for byte.
const SEED: &str = include_str!("../../../docs/examples/fusionstorage.yaml");
const MIB: u64 = 1 << 20;
const V: VolumeId = VolumeId::from_u128(1);

const PATIENCE: Patience =
    Patience { answer: Duration::from_secs(20), tries: 3, first_wait: Duration::from_millis(1) };

/// The pools of the seed's file.
fn pools() -> Vec<PoolConfig> {
    FusionStorageConfig::parse(Path::new("fusionstorage.yaml"), SEED).unwrap().config.pools
}

fn storage_on(array: &SimulatedArray) -> FusionStorage {
    let only_first = pools().into_iter().take(1).collect();
    FusionStorage::new(&array.config(only_first), PATIENCE).unwrap()
}

/// An array, its drivers, and hosts that keep the sessions they have.
#[derive(Clone)]
struct Bench {
    array: Arc<SimulatedArray>,
    storage: FusionStorage,
    target: FusionStorageTarget,
    _journal: Arc<TempDir>,
    sessions: Sessions,
    /// Where an initiator found the volume of a LUN: it goes on asking there.
    found: Arc<Mutex<HashMap<(String, u32), Connection>>>,
}

impl Bench {
    fn new() -> Self {
        let array = SimulatedArray::start(Release::V8, &[(0, 64)]).unwrap();
        let storage = storage_on(&array);
        let journal = TempDir::new().unwrap();
        let target = FusionStorageTarget::new(
            storage.clone(),
            &array.config(vec![]),
            journal.path().join("array"),
        );
        Self {
            array: Arc::new(array),
            storage,
            target: target.unwrap(),
            _journal: Arc::new(journal),
            sessions: Sessions::default(),
            found: Arc::default(),
        }
    }

    /// Where the volume of a LUN is for an initiator.
    fn found(&self, host: &Initiator, way: &Connection) -> Result<Connection, Refused> {
        let Connection::Iscsi { iqn, portals, lun } = way else { panic!("{way:?}") };
        assert_eq!((iqn.as_str(), &portals[..]), (self.array.iqn(), &[self.array.portal()][..]));
        let (key, mut found) = ((host.port_name.clone(), *lun), self.found.lock().unwrap());
        if let Some(there) = self.array.way(&host.port_name, way) {
            found.insert(key.clone(), there);
        }
        found.get(&key).cloned().ok_or(Refused::Out)
    }
}

impl storage::Bench for Bench {
    fn driver(&self) -> Arc<dyn StorageDriver> {
        Arc::new(storage_on(&self.array))
    }

    fn pool(&self) -> &str {
        "0"
    }

    fn plant(&self, name: &str) {
        self.array.plant(name, 0, 1);
    }

    fn cut_short(&self, _: VolumeId) -> bool {
        false
    }

    fn reach(&self, source: BlockSource) -> File {
        self.array.blocks(source.path.to_str().unwrap()).unwrap()
    }
}

#[async_trait]
impl target::Bench for Bench {
    fn driver(&self) -> Arc<dyn TargetDriver> {
        Arc::new(self.target.clone())
    }

    fn carry(&self, _: &Initiator, _: Option<Authentication<Secret>>) {
        unreachable!("nobody proves anything to the array");
    }

    async fn blocks(&self, volume: VolumeId) -> (BlockSource, File) {
        self.storage.create("0", volume, Capacity::from_bytes(SIZE)).await.unwrap();
        let source = self.storage.open("0", volume).await.unwrap();
        let behind = self.array.blocks(source.path.to_str().unwrap()).unwrap();
        (source, behind)
    }

    async fn grow(&self, volume: VolumeId, _: &File, size: u64) {
        self.array.grow(&format!("opensds-{volume}"), size / MIB);
    }

    async fn write(
        &self,
        host: &Initiator,
        way: &Connection,
        at: u64,
        bytes: &[u8],
    ) -> Result<(), Refused> {
        let to = &self.found(host, way)?;
        let way = Way { name: &host.port_name, to, options: Options::default() };
        self.sessions.write(way, at, bytes).await
    }

    async fn read(
        &self,
        host: &Initiator,
        way: &Connection,
        at: u64,
        bytes: &mut [u8],
    ) -> Result<(), Refused> {
        let to = &self.found(host, way)?;
        let way = Way { name: &host.port_name, to, options: Options::default() };
        self.sessions.read(way, at, bytes).await
    }
}

macro_rules! suite {
    ($suite:ident: $($case:ident),+ $(,)?) => {
        mod $suite {
            $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $case() {
                    crate::$suite::$case(&crate::Bench::new()).await;
                }
            )+
        }
    };
}

mod conformance {
    suite!(
        storage:
        a_new_volume_is_zeros_of_the_size_asked_for,
        the_second_create_is_boring,
        a_shorter_leftover_is_finished,
        extend_grows_and_never_shrinks,
        delete_is_for_good,
        a_new_volume_shows_nothing_of_an_old_one,
        what_is_missing_is_gone_and_what_cannot_be_asked_is_an_error,
        everything_is_there_after_a_restart,
        what_is_not_ours_is_listed_and_left_alone,
        calls_at_once_end_in_one_volume,
        pools_are_reported_by_name,
        a_snapshot_is_of_its_moment,
        a_copy_is_a_volume_of_its_own,
    );
    suite!(
        target:
        a_granted_host_reaches_the_blocks_and_nobody_else,
        export_is_boring_and_keeps_grants,
        a_write_through_a_read_only_grant_fails,
        the_second_grant_is_boring_and_another_mode_is_refused,
        nothing_is_granted_without_an_export,
        a_host_without_the_protocol_is_refused,
        a_revoked_host_is_out_and_the_others_are_not,
        no_write_lands_after_revoke,
        unexport_puts_everybody_out,
        a_resized_volume_is_larger_for_hosts,
        exports_are_read_back,
        limits_are_read_back_and_disturb_nobody,
        a_grant_with_credentials_lets_in_who_proves_them,
    );
}

fn grant(host: HostId) -> Grant<Secret> {
    let initiators = vec![target::initiator(host)];
    Grant { mode: AttachMode::ReadWrite, initiators, authentication: None }
}

async fn exported(bench: &Bench) -> File {
    let (source, behind) = bench.blocks(V).await;
    bench.target.export(V, source).await.unwrap();
    behind
}

/// B12: the original forgets to report multiAttach, and wants a version that the file lacks.
#[tokio::test(flavor = "multi_thread")]
async fn b12_the_seeds_file_makes_two_multi_attach_pools_of_version_8() {
    let read = FusionStorageConfig::parse(Path::new("fusionstorage.yaml"), SEED).unwrap();
    assert_eq!((read.config.version.as_str(), read.warnings.len()), ("8.0", 0));
    let array = SimulatedArray::start(Release::V8, &[(0, 1024), (1, 2048), (7, 1)]).unwrap();
    array.plant("somebody-elses", 0, 24);
    array.plant(&format!("opensds-{V}"), 0, 100);
    let driver = FusionStorage::new(&array.config(read.config.pools), PATIENCE).unwrap();
    let specs: Vec<_> =
        driver.pools().await.into_iter().map(|report| report.spec.unwrap()).collect();
    let seen: Vec<_> = specs
        .iter()
        .map(|spec| {
            let (total, usable) = (spec.total.bytes() / MIB, spec.usable.bytes() / MIB);
            (spec.name.as_str(), spec.multi_attach, total, usable)
        })
        .collect();
    assert_eq!(seen, [("0", true, 1024, 1000), ("1", true, 2048, 2048)]);
    assert_eq!(specs[0].extras.io_connectivity.max_iops, 7_000_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hosts_share_a_volume_and_what_one_writes_the_other_reads() {
    let bench = Bench::new();
    exported(&bench).await;
    let a = bench.target.grant(V, A, &grant(A)).await.unwrap();
    let b = bench.target.grant(V, B, &grant(B)).await.unwrap();
    bench.write(&target::initiator(A), &a, 512, &[7; 512]).await.unwrap();
    let mut read = [0; 512];
    bench.read(&target::initiator(B), &b, 512, &mut read).await.unwrap();
    assert_eq!(read, [7; 512]);
    // B20 to B22: the end of one host changes nothing of the other's.
    let before = bench.target.export_of(V).await.unwrap().unwrap().hosts.remove(&B);
    bench.target.revoke(V, A).await.unwrap();
    let mut after = bench.target.export_of(V).await.unwrap().unwrap().hosts;
    assert_eq!((after.len(), after.remove(&B)), (1, before));
    bench.write(&target::initiator(B), &b, 512, &[8; 512]).await.unwrap();
    let out = bench.write(&target::initiator(A), &a, 512, &[9; 512]).await;
    assert_eq!(out, Err(Refused::Out));
    bench.target.unexport(V).await.unwrap();
    bench.storage.delete("0", V).await.unwrap();
    assert_eq!(bench.array.contents(), Contents::default());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_array_cannot_keep_is_refused_and_nothing_is_left_of_it() {
    let bench = Bench::new();
    exported(&bench).await;
    let contents = bench.array.contents();
    let read_only = Grant { mode: AttachMode::ReadOnly, ..grant(A) };
    let error = bench.target.grant(V, A, &read_only).await.unwrap_err();
    assert_eq!(error.kind, FaultKind::NotSupported);
    assert!(error.chain().contains("cannot hold one host to reading"), "{}", error.chain());
    // Somebody else's host has the initiator.
    let name = target::initiator(B).port_name;
    bench.array.plant_host("esx7", &name);
    let error = bench.target.grant(V, B, &grant(B)).await.unwrap_err();
    assert_eq!(error.kind, FaultKind::InUse);
    assert!(error.chain().contains("esx7"), "{}", error.chain());
    let expected = Contents {
        hosts: vec![("esx7".to_owned(), vec![name.clone()], vec![])],
        ports: vec![name],
        ..contents
    };
    assert_eq!(bench.array.contents(), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_was_there_before_us_stays() {
    let bench = Bench::new();
    exported(&bench).await;
    let name = target::initiator(A).port_name;
    bench.array.plant_host("old", &name);
    bench.array.forget_host("old");
    bench.target.grant(V, A, &grant(A)).await.unwrap();
    bench.target.revoke(V, A).await.unwrap();
    let contents = bench.array.contents();
    assert_eq!((contents.ports, contents.hosts), (vec![name], vec![]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_keeps_its_ports_while_another_volume_needs_them() {
    let bench = Bench::new();
    let other = VolumeId::from_u128(2);
    exported(&bench).await;
    let (source, _behind) = bench.blocks(other).await;
    bench.target.export(other, source).await.unwrap();
    bench.target.grant(V, A, &grant(A)).await.unwrap();
    let way = bench.target.grant(other, A, &grant(A)).await.unwrap();
    bench.target.revoke(V, A).await.unwrap();
    bench.write(&target::initiator(A), &way, 0, &[1; 512]).await.unwrap();
    bench.target.revoke(other, A).await.unwrap();
    assert_eq!((bench.array.contents().hosts, bench.array.contents().ports), (vec![], vec![]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_ends_is_renewed_and_a_wrong_password_is_not_tried_again() {
    for release in [Release::V8, Release::V6] {
        let array = SimulatedArray::start(release, &[(0, 64)]).unwrap();
        array.tokens_last(2);
        let driver = storage_on(&array);
        for size in 1..6 {
            let size = Capacity::from_bytes(size * MIB);
            assert_eq!(driver.create("0", V, size).await.unwrap().size, size, "{release:?}");
        }
        driver.delete("0", V).await.unwrap();
        assert_eq!(driver.find("0", V).await.unwrap(), None);
        let logins = array.calls().iter().filter(|path| path.ends_with("sec/login")).count();
        assert!(logins > 5, "{logins}");

        let mut config = array.config(pools());
        config.password = osds_drivers::config::Secret::new("wrong-horse");
        let driver = FusionStorage::new(&config, PATIENCE).unwrap();
        let error = driver.find("0", V).await.unwrap_err();
        assert_eq!(error.kind, FaultKind::Broken);
        let text = error.chain();
        assert!(text.contains("admin") && !text.contains("wrong-horse"), "{text}");
        // An account is locked by too many of them.
        assert_eq!(array.calls(), ["rest/version", "v1.3/sec/login"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_for_a_moment_is_tried_again_and_what_fails_for_long_is_temporary() {
    let array = SimulatedArray::start(Release::V8, &[(0, 64)]).unwrap();
    let driver = storage_on(&array);
    let size = Capacity::from_bytes(MIB);
    for trouble in [Trouble::Status(503), Trouble::Lost, Trouble::Unanswered, Trouble::Garbled] {
        array.trouble("volume/create", trouble, 2);
        assert_eq!(driver.create("0", V, size).await.unwrap().size, size, "{trouble:?}");
        array.trouble("volume/delete", trouble, 2);
        driver.delete("0", V).await.unwrap();
        assert_eq!(array.contents(), Contents::default(), "{trouble:?}");
    }
    array.latency(Duration::from_millis(20));
    driver.create("0", V, size).await.unwrap();
    // Later than anybody waits for.
    let patience = Patience { answer: Duration::from_millis(5), tries: 2, ..PATIENCE };
    let impatient = FusionStorage::new(&array.config(pools()), patience).unwrap();
    let error = impatient.find("0", V).await.unwrap_err();
    assert_eq!(error.kind, FaultKind::Temporary);
    assert!(error.chain().contains("no answer"), "{}", error.chain());
    array.trouble("queryByName", Trouble::Status(503), 100);
    let error = driver.find("0", V).await.unwrap_err();
    assert_eq!(error.kind, FaultKind::Temporary);
    array.heal();
    array.trouble("volume/expand", Trouble::Refuse(50_199_999), 100);
    let error = driver.extend("0", V, Capacity::from_bytes(2 * MIB)).await.unwrap_err();
    assert_eq!(error.kind, FaultKind::Temporary);
    assert!(error.chain().contains("50199999"), "{}", error.chain());
    // The same refusal where there is no room is for want of room.
    array.plant("others", 0, 60);
    let error = driver.extend("0", V, Capacity::from_bytes(32 * MIB)).await.unwrap_err();
    assert_eq!(error.kind, FaultKind::NoSpace, "{}", error.chain());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_nobody_vouches_for_is_refused_unless_it_is_said_so() {
    let array = SimulatedArray::start(Release::V8, &[(0, 64)]).unwrap();
    let mut config = array.config(pools());
    config.ca_file = None;
    let driver = FusionStorage::new(&config, PATIENCE).unwrap();
    let error = driver.find("0", V).await.unwrap_err();
    assert_eq!(error.kind, FaultKind::Temporary);
    assert_eq!(array.calls(), Vec::<String>::new(), "not even the password may be sent");
    config.insecure = true;
    let driver = FusionStorage::new(&config, PATIENCE).unwrap();
    assert_eq!(driver.find("0", V).await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn release_6_3_is_asked_for_portals_by_its_own_command() {
    use std::os::unix::fs::PermissionsExt as _;
    let array = SimulatedArray::start(Release::V6, &[(0, 64)]).unwrap();
    let home = TempDir::new().unwrap();
    let (cli, said) = (home.path().join("fsc_cli"), home.path().join("said"));
    let script = format!(
        "#!/bin/sh\necho \"$@\" >> {}\n[ \"$2\" = startServer ] || echo '{},{},1'\necho result=0\n",
        said.display(),
        array.portal(),
        array.iqn()
    );
    std::fs::write(&cli, script).unwrap();
    std::fs::set_permissions(&cli, std::fs::Permissions::from_mode(0o755)).unwrap();
    let config = FusionStorageConfig { fsc_cli: cli, ..array.config(pools()) };
    let storage = FusionStorage::new(&config, PATIENCE).unwrap();
    let journal = home.path().join("array");
    let target = FusionStorageTarget::new(storage.clone(), &config, journal).unwrap();
    storage.create("0", V, Capacity::from_bytes(MIB)).await.unwrap();
    target.export(V, storage.open("0", V).await.unwrap()).await.unwrap();
    let way = target.grant(V, A, &grant(A)).await.unwrap();
    let Connection::Iscsi { iqn, portals, lun } = &way else { panic!("{way:?}") };
    assert_eq!((iqn.as_str(), &portals[..]), (array.iqn(), &[array.portal()][..]));
    assert!(*lun > 0 && array.way(&target::initiator(A).port_name, &way).is_some());
    let said = std::fs::read_to_string(said).unwrap();
    let asked = format!(
        "--op queryIscsiPortalInfo --portName {} --manage_ip 127.0.0.1 --ip 127.0.0.2",
        target::initiator(A).port_name
    );
    assert_eq!(said.lines().collect::<Vec<_>>(), ["--op startServer", &asked]);
    target.unexport(V).await.unwrap();
    storage.delete("0", V).await.unwrap();
    assert_eq!(array.contents(), Contents::default());
}

/// A dock on the array; a new one each time, as after a crash.
async fn dock(array: &SimulatedArray, home: &Path, keys: &Arc<Keyring>) -> Dock {
    let storage = storage_on(array);
    let journal = home.join("array");
    let target = FusionStorageTarget::new(storage.clone(), &array.config(vec![]), journal).unwrap();
    let identity = Identity {
        id: DockId::from_u128(0xd0c),
        name: "dock".to_owned(),
        description: String::new(),
        endpoint: "local".to_owned(),
        node: "node".to_owned(),
    };
    let ledger = Ledger::open(home.join("ledger")).unwrap();
    Dock::new(identity, Arc::new(storage), Arc::new(target), ledger, Arc::clone(keys))
}

/// The copy of the volume, and the volume that is made of its snapshot.
const COPY: VolumeId = VolumeId::from_u128(2);
const OLD: VolumeId = VolumeId::from_u128(3);
const SNAPSHOT: SnapshotId = SnapshotId::from_u128(0x51);

fn wish(volume: VolumeId, pool: PoolId, generation: u64, mib: u64, hosts: &[HostId]) -> VolumeWish {
    let host = |host: &HostId| {
        let Grant { mode, initiators, .. } = grant(*host);
        (*host, Grant { mode, initiators, authentication: None })
    };
    VolumeWish {
        volume,
        generation: Generation(generation),
        pool,
        presence: match mib {
            0 => Presence::Unwanted,
            mib => Presence::Wanted(Capacity::from_bytes(mib * MIB)),
        },
        exists: generation > 1,
        guarded: false,
        limits: IoLimits::NONE,
        source: None,
        snapshots: BTreeMap::new(),
        hosts: hosts.iter().map(host).collect(),
    }
}

/// A volume's life: made, two hosts in, one out, larger, the other out, deleted.
fn shared(pool: PoolId) -> Vec<VolumeWish> {
    let steps: [(u64, &[HostId]); 6] =
        [(1, &[]), (1, &[A]), (1, &[A, B]), (2, &[B]), (2, &[]), (0, &[])];
    let wish = |(number, (mib, hosts))| wish(V, pool, number, mib, hosts);
    (1..).zip(steps).map(wish).collect()
}

/// A volume that is copied, under the eyes of a host, both ways.
fn copied(pool: PoolId) -> Vec<VolumeWish> {
    let with_snapshot = |generation, mib, hosts: &[HostId], wanted| {
        let snapshot = SnapshotWish { wanted, exists: false, moment: None };
        let snapshots = BTreeMap::from([(SNAPSHOT, snapshot)]);
        VolumeWish { snapshots, ..wish(V, pool, generation, mib, hosts) }
    };
    let from = |volume, snapshot| {
        let source = Some(Source { volume: V, snapshot });
        VolumeWish { source, ..wish(volume, pool, 1, 2, &[]) }
    };
    vec![
        wish(V, pool, 1, 1, &[A]),
        with_snapshot(2, 1, &[A], true),
        from(COPY, None),
        from(OLD, Some(SNAPSHOT)),
        with_snapshot(3, 1, &[A], false),
        wish(V, pool, 4, 0, &[]),
        wish(COPY, pool, 2, 0, &[]),
        wish(OLD, pool, 2, 0, &[]),
    ]
}

/// A directory in memory, where there is such a thing: ledger and journal sync whatever they write.
fn in_memory() -> TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { TempDir::new_in(memory) } else { TempDir::new() }.unwrap()
}

/// Lives that life with a cut after so many calls; false when it had fewer.
async fn live(array: &SimulatedArray, life: fn(PoolId) -> Vec<VolumeWish>, cut: u32) -> bool {
    let home = in_memory();
    let keys = Arc::new(Keyring::in_memory().unwrap());
    let mut dock_now = dock(array, home.path(), &keys).await;
    dock_now.describe().await.unwrap();
    let pool = dock_now.pool_id("0");
    let mut was_cut = false;
    array.cut_after(cut);
    for wish in life(pool) {
        let mut applied = dock_now.enforce(&wish).await;
        if array.is_cut() {
            was_cut = true;
            array.heal();
            // What has not answered is dead; the next finds what is left.
            dock_now = dock(array, home.path(), &keys).await;
            dock_now.restore().await;
            applied = dock_now.enforce(&wish).await;
            dock_now.inventory().await.unwrap();
        }
        let (applied, generation) = (applied.unwrap(), wish.generation);
        match wish.presence {
            Presence::Wanted(size) => assert_eq!(applied.volume, VolumeOutcome::Present(size)),
            Presence::Unwanted => assert_eq!(applied.volume, VolumeOutcome::Absent),
        }
        for (host, outcome) in &applied.hosts {
            assert!(
                matches!(outcome, HostOutcome::Granted(_)),
                "cut {cut}, {generation:?}, {host}: {outcome:?}"
            );
        }
        let contents = array.contents();
        assert!(contents.hosts.iter().all(|(_, ports, them)| ports.len() == 1 && them.len() == 1));
        if wish.volume == V {
            assert_eq!(contents.hosts.len(), wish.hosts.len(), "cut {cut}, {generation:?}");
        }
    }
    assert_eq!(array.contents(), Contents::default(), "cut {cut}");
    array.heal();
    was_cut
}

/// Every cut of a life; how many calls it has.
async fn every_cut(life: fn(PoolId) -> Vec<VolumeWish>) -> u32 {
    let array = SimulatedArray::start(Release::V8, &[(0, 64)]).unwrap();
    let mut cut = 1;
    while live(&array, life, cut).await {
        cut += 1;
    }
    cut
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_after_any_call_leaves_nothing_on_the_array() {
    let calls = every_cut(shared).await;
    assert!(calls > 60, "a life of only {calls} calls is not the one that was meant");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_while_copies_are_made_leaves_nothing_on_the_array() {
    let calls = every_cut(copied).await;
    assert!(calls > 60, "a life of only {calls} calls is not the one that was meant");
}

/// Sessions that end, an array that is busy and one that is slow: all of it all the time.
#[tokio::test(flavor = "multi_thread")]
async fn a_life_among_troubles_is_like_any_other() {
    let array = SimulatedArray::start(Release::V8, &[(0, 64)]).unwrap();
    for life in [shared, copied] {
        let home = in_memory();
        let keys = Arc::new(Keyring::in_memory().unwrap());
        let dock = dock(&array, home.path(), &keys).await;
        dock.describe().await.unwrap();
        array.tokens_last(3);
        for wish in life(dock.pool_id("0")) {
            array.heal();
            array.latency(Duration::from_millis(1));
            for path in ["create", "createHost", "addLunsToHost", "deleteLunFromHost", "delete"] {
                array.trouble(path, Trouble::Status(429), 1);
                array.trouble(path, Trouble::Unanswered, 1);
            }
            let applied = dock.enforce(&wish).await.unwrap();
            let granted = |outcome: &HostOutcome| matches!(outcome, HostOutcome::Granted(_));
            assert!(applied.hosts.values().all(granted), "{applied:?}");
            assert!(!matches!(applied.volume, VolumeOutcome::Failed(_)), "{applied:?}");
        }
        assert_eq!(array.contents(), Contents::default());
        array.heal();
    }
    let logins = array.calls().iter().filter(|path| path.ends_with("sec/login")).count();
    assert!(logins > 20, "sessions did not end: {logins} logins");
}
