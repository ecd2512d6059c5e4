//! A disk that loses power: what was not synced is lost in part, sector by sector, at random.
//!
//! This is what kill -9 cannot show, because the kernel outlives the process. The store runs on
//! the disk until the power goes in the middle of some write; what is left of the disk is opened
//! again, and every acknowledged commit must be there, each whole. Two sabotages prove that the
//! test sees something: commits that are not synced, and a disk that lies about syncing.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};

use osds_model::id::{PoolId, VolumeId};
use osds_model::{Capacity, Pool, Volume};
use redb::StorageBackend;

use super::*;
use crate::{decide, make};

const SECTOR: usize = 512;
const WRITERS: u128 = 3;

#[derive(Clone, Debug, Default)]
struct Disk(Arc<Mutex<Platter>>);

#[derive(Debug, Default)]
struct Platter {
    /// What a reader sees.
    shown: Vec<u8>,
    /// What a power cut leaves for sure.
    safe: Vec<u8>,
    /// What it may leave too: sectors and lengths, oldest first.
    unsynced: Vec<Unsynced>,
    /// How many writes until the power goes.
    left: Option<u64>,
    /// Whether syncing only pretends.
    lies: bool,
}

#[derive(Debug)]
enum Unsynced {
    Sector(usize, Vec<u8>),
    Length(usize),
}

impl Unsynced {
    fn apply(&self, to: &mut Vec<u8>) {
        match self {
            Self::Length(length) => to.resize(*length, 0),
            Self::Sector(at, bytes) => {
                let end = at + bytes.len();
                if to.len() < end {
                    to.resize(end, 0);
                }
                to[*at..end].copy_from_slice(bytes);
            }
        }
    }
}

impl Platter {
    fn tick(&mut self) -> io::Result<()> {
        match &mut self.left {
            Some(0) => Err(io::Error::other("the power is gone")),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn remember(&mut self, change: Unsynced) {
        change.apply(&mut self.shown);
        self.unsynced.push(change);
    }
}

impl Disk {
    fn platter(&self) -> std::sync::MutexGuard<'_, Platter> {
        self.0.lock().unwrap()
    }

    /// The disk as it is found when the power is back.
    fn found(&self, random: &mut Random) -> Self {
        let platter = self.platter();
        let mut safe = platter.safe.clone();
        for change in &platter.unsynced {
            if random.below(2) == 0 {
                change.apply(&mut safe);
            }
        }
        Self::holding(safe)
    }

    fn holding(bytes: Vec<u8>) -> Self {
        let platter = Platter { shown: bytes.clone(), safe: bytes, ..Platter::default() };
        Self(Arc::new(Mutex::new(platter)))
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.platter().shown.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let at = offset as usize;
        let platter = self.platter();
        let bytes = platter.shown.get(at..at + out.len());
        out.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        let mut platter = self.platter();
        platter.tick()?;
        platter.remember(Unsynced::Length(length as usize));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut platter = self.platter();
        platter.tick()?;
        if !platter.lies {
            platter.safe = platter.shown.clone();
            platter.unsynced.clear();
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut platter = self.platter();
        let mut at = offset as usize;
        let mut data = data;
        while !data.is_empty() {
            // The power may go between any two sectors.
            platter.tick()?;
            let (sector, rest) = data.split_at((SECTOR - at % SECTOR).min(data.len()));
            platter.remember(Unsynced::Sector(at, sector.to_vec()));
            at += sector.len();
            data = rest;
        }
        Ok(())
    }
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % end
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Sabotage {
    None,
    CommitsAreNotSynced,
    DiskLies,
}

fn sink(disk: &Disk, sabotage: Sabotage) -> Result<RedbSink, StoreError> {
    let path = PathBuf::from("simulated");
    let database =
        builder().create_with_backend(disk.clone()).map_err(|error| unusable(&path, error))?;
    let durability = match sabotage {
        Sabotage::CommitsAreNotSynced => Durability::None,
        Sabotage::None | Sabotage::DiskLies => Durability::Immediate,
    };
    Ok(RedbSink { database, path, durability })
}

/// How far a writer got: its volume and its pool say so together.
fn steps(view: &View, writer: u128) -> (u64, u64) {
    let volume = view.get::<Volume>(VolumeId::from_u128(writer));
    let pool = view.get::<Pool>(PoolId::from_u128(writer));
    (volume.map_or(0, |v| v.state.generation.0), pool.map_or(0, |p| p.allocated.bytes()))
}

fn step(view: &View, writer: u128) -> (Txn, u64) {
    let volume = view.get::<Volume>(VolumeId::from_u128(writer));
    let pool = view.get::<Pool>(PoolId::from_u128(writer));
    match volume.zip(pool) {
        Some((volume, pool)) => {
            let step = volume.state.generation.0 + 1;
            let new = Pool { allocated: Capacity::from_bytes(step), ..Pool::clone(pool) };
            (Txn::new().replace(volume, make::edited(volume)).replace(pool, new), step)
        }
        None => (Txn::new().create(make::volume(writer)).create(make::pool(writer, 1)), 1),
    }
}

/// Writes until the power goes; what was acknowledged, by writer.
fn run(disk: &Disk, sabotage: Sabotage) -> Result<Vec<u64>, StoreError> {
    let store = EmbeddedStore::start(sink(disk, sabotage)?)?;
    let acknowledged: Vec<_> = (0..WRITERS).map(|_| AtomicU64::new(0)).collect();
    thread::scope(|scope| {
        for (writer, acknowledged) in (0..).zip(&acknowledged) {
            let store = &store;
            acknowledged.store(steps(&store.view(), writer).0, Ordering::SeqCst);
            scope.spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
                runtime.block_on(async {
                    while let Ok(step) = decide(store, |view| Ok::<_, ()>(step(view, writer))).await
                    {
                        acknowledged.store(step, Ordering::SeqCst);
                        // Without a sync the disk is never reached and the power never goes.
                        if sabotage == Sabotage::CommitsAreNotSynced && step >= 50 {
                            break;
                        }
                    }
                });
            });
        }
    });
    // The power goes before the store is closed.
    disk.platter().left = Some(0);
    Ok(acknowledged.into_iter().map(AtomicU64::into_inner).collect())
}

/// Runs until the power goes, then again, and says how much was acknowledged, or what was wrong.
fn power_cuts(seed: u64, sabotage: Sabotage) -> Result<u64, String> {
    let mut random = Random(seed);
    let mut total = 0;
    let disk = Disk::default();
    prepare(&sink(&disk, Sabotage::None).unwrap().database).unwrap();
    let mut disk = Disk::holding(disk.platter().shown.clone());
    for cut in 0..3 {
        disk.platter().lies = sabotage == Sabotage::DiskLies;
        disk.platter().left = Some(random.below(600));
        // A start may meet the power cut; then nothing was acknowledged.
        let acknowledged = run(&disk, sabotage).ok();
        disk = disk.found(&mut random);
        let view = sink(&disk, sabotage)
            .and_then(|sink| sink.load())
            .map_err(|error| format!("seed {seed}, cut {cut}: {error}"))?;
        for (writer, acknowledged) in (0..).zip(acknowledged.into_iter().flatten()) {
            let (volume, pool) = steps(&view, writer);
            if volume != pool || volume < acknowledged || volume > acknowledged + 1 {
                return Err(format!(
                    "seed {seed}, cut {cut}: {acknowledged} acknowledged, {volume}/{pool} there"
                ));
            }
            total += acknowledged;
        }
    }
    Ok(total)
}

#[test]
fn nothing_acknowledged_is_lost() {
    let total: u64 = (0..100).map(|seed| power_cuts(seed, Sabotage::None).unwrap()).sum();
    assert!(total > 2000, "only {total} commits were acknowledged: the power goes too early");
}

#[test]
fn sabotage_is_noticed() {
    for sabotage in [Sabotage::CommitsAreNotSynced, Sabotage::DiskLies] {
        let noticed = (0..20).any(|seed| {
            // What a lying disk leaves may be worse than redb's own checks in debug builds allow.
            catch_unwind(AssertUnwindSafe(|| power_cuts(seed, sabotage))).is_ok_and(|r| r.is_err())
        });
        assert!(noticed);
    }
}
