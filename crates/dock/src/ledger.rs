//! The wishes a dock holds: one small JSON file per volume, written before the first step.
//!
//! The ledger is what makes a late message harmless after a restart, so a wish is on the disk
//! (file and directory synced) before anything is done for it, and the wish of a deleted volume
//! stays as a tombstone for a day: an older "make it" may still be on its way.
//!
//! The files are the truth only at start; after that memory is, and [`Ledger::tidy`] finds what
//! somebody took away. They are read beside everything else that starts, as a
//! dock may hold tens of thousands; whoever needs a wish waits in [`Ledger::loaded`] first.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use osds_model::{GroupSnapshotId, Moment, Presence, VolumeId, VolumeWish};
use serde::{Deserialize, Serialize};
use tokio::sync::SetOnce;
use tracing::error;

use crate::ReservationFiles;

/// Longer than any message can be on its way.
const TOMBSTONE_AGE: Duration = Duration::from_secs(24 * 3600);
const FORMAT: u16 = 1;

/// The wishes a dock holds.
#[derive(Clone)]
pub struct Ledger {
    inner: Arc<Inner>,
}

struct Inner {
    directory: PathBuf,
    wishes: Mutex<BTreeMap<VolumeId, VolumeWish>>,
    loaded: SetOnce<Result<(), LedgerError>>,
}

/// A ledger that cannot be read or written.
#[derive(Clone, Debug, thiserror::Error)]
pub enum LedgerError {
    /// The file system said no.
    #[error("{doing} {path}")]
    Io {
        /// What we were doing.
        doing: &'static str,
        /// To what.
        path: PathBuf,
        /// Why not.
        source: Arc<io::Error>,
    },
}

#[derive(Serialize, Deserialize)]
struct Entry {
    format: u16,
    wish: VolumeWish,
}

impl Ledger {
    /// Opens the ledger in `directory`, which is made when it is missing, and starts to read it;
    /// tombstones that are a day old are forgotten.
    ///
    /// # Errors
    /// The directory cannot be made.
    pub fn open(directory: impl Into<PathBuf>) -> Result<Self, LedgerError> {
        let directory = directory.into();
        fs::create_dir_all(&directory).map_err(io_error("making ledger directory", &directory))?;
        let (wishes, loaded) = (Mutex::default(), SetOnce::new());
        let ledger = Self { inner: Arc::new(Inner { directory, wishes, loaded }) };
        let reader = ledger.clone();
        std::thread::spawn(move || {
            let outcome = read_all(&reader.inner.directory).map(|held| *reader.wishes() = held);
            if let Err(error) = &outcome {
                error!(%error, "the dock's ledger cannot be read; nothing is enforced until it can");
            }
            // Set here and nowhere else.
            let _ = reader.inner.loaded.set(outcome);
        });
        Ok(ledger)
    }

    /// Waits until the files are read. Nothing may be decided before.
    ///
    /// # Errors
    /// [`LedgerError`] naming the file and the remedy.
    pub async fn loaded(&self) -> Result<(), LedgerError> {
        self.inner.loaded.wait().await.clone()
    }

    /// The wish held for a volume.
    #[must_use]
    pub fn get(&self, volume: VolumeId) -> Option<VolumeWish> {
        self.wishes().get(&volume).cloned()
    }

    /// Every volume that has a wish here, tombstones included.
    #[must_use]
    pub fn volumes(&self) -> Vec<VolumeId> {
        self.wishes().keys().copied().collect()
    }

    /// Every wish held, tombstones included.
    #[must_use]
    pub fn all(&self) -> Vec<VolumeWish> {
        self.wishes().values().cloned().collect()
    }

    /// Where the reservations of the same volumes are kept.
    #[must_use]
    pub fn reservations(&self) -> ReservationFiles {
        ReservationFiles::new(self.inner.directory.clone())
    }

    /// Whether the snapshots of this moment were all taken, while the writes of all were held.
    ///
    /// # Errors
    /// [`LedgerError::Io`]: nobody knows.
    pub(crate) fn had(&self, moment: GroupSnapshotId) -> Result<bool, LedgerError> {
        let path = self.moment_path(moment);
        path.try_exists().map_err(io_error("looking for", &path))
    }

    /// Notes that they were: from now on they exist. Durable when it returns.
    ///
    /// # Errors
    /// [`LedgerError::Io`]; they do not.
    pub(crate) async fn note_moment(&self, moment: Arc<Moment>) -> Result<(), LedgerError> {
        let ledger = self.clone();
        blocking(move || {
            let path = ledger.moment_path(moment.group);
            // Ends in `new`, so that the next life removes what a crash leaves of it.
            let new = ledger.inner.directory.join(format!("{}.moment.new", moment.group));
            replace(&ledger.inner.directory, &path, &new, &*moment).map_err(|error| {
                // One that is there and may be gone after a crash must not be believed.
                let _ = fs::remove_file(&path);
                io_error("noting", &path)(error)
            })
        })
        .await
    }

    fn moment_path(&self, moment: GroupSnapshotId) -> PathBuf {
        self.inner.directory.join(format!("{moment}.moment"))
    }

    /// Removes the notes of moments of which no wish wants a snapshot any more.
    fn forget_moments(&self, there: &BTreeSet<PathBuf>) -> Result<(), LedgerError> {
        let mut notes: Vec<_> =
            there.iter().filter(|path| path.extension().is_some_and(|e| e == "moment")).collect();
        if notes.is_empty() {
            return Ok(());
        }
        let wished: BTreeSet<PathBuf> = self
            .wishes()
            .values()
            .flat_map(|wish| wish.snapshots.values().filter(|snapshot| snapshot.wanted))
            .filter_map(|snapshot| Some(self.moment_path(snapshot.moment.as_ref()?.group)))
            .collect();
        notes.retain(|path| !wished.contains(*path));
        notes.iter().try_for_each(|path| fs::remove_file(path).map_err(io_error("removing", path)))
    }

    /// Drops the reservations of hosts that the wish does not let in. Only while the volume is not
    /// exported: the target has the truth otherwise.
    ///
    /// # Errors
    /// [`LedgerError::Io`].
    pub(crate) async fn drop_reservations_of_others(
        &self,
        wish: &VolumeWish,
    ) -> Result<(), LedgerError> {
        let (ledger, wish) = (self.clone(), wish.clone());
        blocking(move || {
            let dropped = ledger.reservations().drop_others(&wish);
            dropped
                .map_err(io_error("looking through the reservations in", &ledger.inner.directory))
        })
        .await
    }

    /// Puts a wish in place of the one held. Durable when it returns.
    ///
    /// # Errors
    /// [`LedgerError::Io`], also when the ledger could not be read; the wish held is still the one
    /// before.
    pub async fn put(&self, wish: &VolumeWish) -> Result<(), LedgerError> {
        // Who reads the files takes what is being written for what a crash left.
        self.loaded().await?;
        let (ledger, wish) = (self.clone(), wish.clone());
        blocking(move || {
            ledger.write(&wish)?;
            ledger.wishes().insert(wish.volume, wish);
            Ok(())
        })
        .await
    }

    /// Forgets tombstones that are a day old and moments that are nobody's, and names the entries
    /// whose files somebody took away. Those are written back with [`Ledger::put`] by who has the
    /// volume's turn: a newer wish may be on its way to the same file.
    ///
    /// # Errors
    /// [`LedgerError::Io`].
    pub async fn tidy(&self) -> Result<Vec<VolumeId>, LedgerError> {
        let ledger = self.clone();
        blocking(move || {
            ledger.forget_old_tombstones()?;
            // First, so that what comes later is not taken for missing.
            let held = ledger.volumes();
            let directory = &ledger.inner.directory;
            let listing = fs::read_dir(directory).map_err(io_error("reading", directory))?;
            let there: BTreeSet<PathBuf> = listing
                .map(|file| file.map(|f| f.path()))
                .collect::<Result<_, _>>()
                .map_err(io_error("reading", directory))?;
            ledger.forget_moments(&there)?;
            Ok(held.into_iter().filter(|id| !there.contains(&ledger.path(*id))).collect())
        })
        .await
    }

    fn forget_old_tombstones(&self) -> Result<(), LedgerError> {
        let gone = |wish: &&VolumeWish| wish.presence == Presence::Unwanted;
        let tombstones: Vec<_> = self.wishes().values().filter(gone).map(|w| w.volume).collect();
        for volume in tombstones {
            let path = self.path(volume);
            if is_old(&path) {
                self.wishes().remove(&volume);
                fs::remove_file(&path).map_err(io_error("removing", &path))?;
            }
        }
        Ok(())
    }

    fn wishes(&self) -> MutexGuard<'_, BTreeMap<VolumeId, VolumeWish>> {
        self.inner.wishes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path(&self, volume: VolumeId) -> PathBuf {
        self.inner.directory.join(format!("{volume}.json"))
    }

    fn write(&self, wish: &VolumeWish) -> Result<(), LedgerError> {
        let path = self.path(wish.volume);
        let new = path.with_extension("new");
        let entry = Entry { format: FORMAT, wish: wish.clone() };
        replace(&self.inner.directory, &path, &new, &entry)
            .map_err(io_error("writing ledger entry", &path))
    }
}

/// Puts `entry` in the place of the file `path` of `directory`, by way of `new`: whole or not at
/// all, and durable when it returns.
pub(crate) fn replace(
    directory: &Path,
    path: &Path,
    new: &Path,
    entry: &impl Serialize,
) -> io::Result<()> {
    let bytes = serde_json::to_vec(entry)?;
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(new)?;
    file.write_all(&bytes)?;
    file.sync_data()?;
    fs::rename(new, path)?;
    File::open(directory)?.sync_all()
}

fn read_all(directory: &Path) -> Result<BTreeMap<VolumeId, VolumeWish>, LedgerError> {
    let mut wishes = BTreeMap::new();
    let listing = fs::read_dir(directory).map_err(io_error("reading", directory))?;
    for file in listing {
        let path = file.map_err(io_error("reading", directory))?.path();
        match path.extension().and_then(|e| e.to_str()) {
            Some("json") => {}
            // Left by a crash in the middle of a write: the entry proper is still the old one.
            Some("new") => {
                fs::remove_file(&path).map_err(io_error("removing", &path))?;
                continue;
            }
            Some(_) | None => continue,
        }
        let wish = match read(&path)? {
            Ok(wish) => wish,
            Err(reason) => {
                set_aside(&path, &reason)?;
                continue;
            }
        };
        if wish.presence == Presence::Unwanted && is_old(&path) {
            fs::remove_file(&path).map_err(io_error("removing", &path))?;
        } else {
            wishes.insert(wish.volume, wish);
        }
    }
    Ok(wishes)
}

/// The wish of an entry, or why it cannot be understood.
fn read(path: &Path) -> Result<Result<VolumeWish, String>, LedgerError> {
    let bytes = fs::read(path).map_err(io_error("reading ledger entry", path))?;
    Ok(match serde_json::from_slice::<Entry>(&bytes) {
        Ok(entry) if entry.format == FORMAT => Ok(entry.wish),
        Ok(entry) => Err(format!("its format is {}, this program knows {FORMAT}", entry.format)),
        Err(error) => Err(error.to_string()),
    })
}

/// Nothing is lost by it: the controller has the wish on record and sends it again.
fn set_aside(path: &Path, reason: &str) -> Result<(), LedgerError> {
    let aside = path.with_extension("unreadable");
    fs::rename(path, &aside).map_err(io_error("setting aside", path))?;
    error!(
        entry = %path.display(), reason, aside = %aside.display(),
        "a ledger entry cannot be read and is set aside; the controller says anew what it wishes"
    );
    Ok(())
}

fn is_old(path: &Path) -> bool {
    let age = fs::metadata(path)
        .and_then(|m| m.modified())
        .map(|at| SystemTime::now().duration_since(at).unwrap_or_default());
    age.is_ok_and(|age| age > TOMBSTONE_AGE)
}

fn io_error(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> LedgerError {
    let path = path.to_owned();
    move |source| LedgerError::Io { doing, path, source: Arc::new(source) }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, LedgerError> + Send + 'static,
) -> Result<T, LedgerError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use osds_model::{Capacity, Generation, PoolId};

    async fn opened(directory: impl Into<PathBuf>) -> Result<Ledger, LedgerError> {
        let ledger = Ledger::open(directory)?;
        ledger.loaded().await?;
        Ok(ledger)
    }

    fn wish(number: u128, generation: u64, presence: Presence) -> VolumeWish {
        VolumeWish {
            volume: VolumeId::from_u128(number),
            generation: Generation(generation),
            pool: PoolId::from_u128(1),
            presence,
            exists: false,
            guarded: false,
            limits: osds_model::IoLimits::NONE,
            source: None,
            snapshots: BTreeMap::new(),
            hosts: BTreeMap::new(),
        }
    }

    #[tokio::test]
    async fn what_was_put_is_there_after_a_restart() {
        let home = tempfile::tempdir().unwrap();
        let wanted = Presence::Wanted(Capacity::from_bytes(1));
        let ledger = opened(home.path().join("ledger")).await.unwrap();
        ledger.put(&wish(1, 1, wanted)).await.unwrap();
        ledger.put(&wish(1, 2, wanted)).await.unwrap();
        ledger.put(&wish(2, 5, Presence::Unwanted)).await.unwrap();
        // A crash in the middle of a write leaves this; it must not count.
        fs::write(ledger.path(VolumeId::from_u128(1)).with_extension("new"), b"{\"for").unwrap();
        let again = opened(home.path().join("ledger")).await.unwrap();
        assert_eq!(again.all(), [wish(1, 2, wanted), wish(2, 5, Presence::Unwanted)]);
    }

    /// Fields that came later are absent from what an older program wrote.
    #[tokio::test]
    async fn an_entry_of_an_older_program_is_read() {
        let home = tempfile::tempdir().unwrap();
        let volume = VolumeId::from_u128(1);
        let entry = format!(
            r#"{{"format":1,"wish":{{"volume":"{volume}","generation":2,"pool":"{}","presence":{{"wanted":1}},"exists":false,"guarded":false,"hosts":{{}}}}}}"#,
            PoolId::from_u128(1)
        );
        fs::write(home.path().join(format!("{volume}.json")), &entry).unwrap();
        let ledger = opened(home.path()).await.unwrap();
        let wanted = Presence::Wanted(Capacity::from_bytes(1));
        assert_eq!(ledger.all(), [wish(1, 2, wanted)]);
        // And what says nothing new is written as it was.
        ledger.put(&wish(1, 2, wanted)).await.unwrap();
        assert_eq!(fs::read_to_string(ledger.path(volume)).unwrap(), entry);
    }

    #[tokio::test]
    async fn old_tombstones_go_and_young_ones_stay() {
        let home = tempfile::tempdir().unwrap();
        let ledger = opened(home.path()).await.unwrap();
        for number in [1, 2] {
            ledger.put(&wish(number, 5, Presence::Unwanted)).await.unwrap();
        }
        let old = SystemTime::now() - TOMBSTONE_AGE - Duration::from_secs(1);
        let file = File::options().write(true).open(ledger.path(VolumeId::from_u128(1))).unwrap();
        file.set_modified(old).unwrap();
        let again = opened(home.path()).await.unwrap();
        assert_eq!(again.all(), [wish(2, 5, Presence::Unwanted)]);
        // Also by a dock that is never restarted.
        let file = File::options().write(true).open(ledger.path(VolumeId::from_u128(2))).unwrap();
        file.set_modified(old).unwrap();
        again.tidy().await.unwrap();
        assert_eq!(again.all(), []);
        assert!(!again.path(VolumeId::from_u128(2)).exists());
    }

    #[tokio::test]
    async fn an_entry_that_was_taken_away_is_noticed() {
        let home = tempfile::tempdir().unwrap();
        let ledger = opened(home.path()).await.unwrap();
        ledger.put(&wish(1, 1, Presence::Unwanted)).await.unwrap();
        assert_eq!(ledger.tidy().await.unwrap(), []);
        fs::remove_file(ledger.path(VolumeId::from_u128(1))).unwrap();
        assert_eq!(ledger.tidy().await.unwrap(), [VolumeId::from_u128(1)]);
    }

    #[tokio::test]
    async fn rubbish_is_set_aside_and_harms_no_other_entry() {
        let home = tempfile::tempdir().unwrap();
        let ledger = opened(home.path()).await.unwrap();
        ledger.put(&wish(1, 5, Presence::Unwanted)).await.unwrap();
        fs::write(home.path().join("x.json"), b"{}").unwrap();
        let again = opened(home.path()).await.unwrap();
        assert_eq!(again.all(), [wish(1, 5, Presence::Unwanted)]);
        assert_eq!(fs::read(home.path().join("x.unreadable")).unwrap(), b"{}");
        assert!(!home.path().join("x.json").exists());
    }

    #[tokio::test]
    async fn a_ledger_that_cannot_be_read_at_all_is_an_error_with_its_place() {
        let home = tempfile::tempdir().unwrap();
        fs::create_dir(home.path().join("x.json")).unwrap();
        let error = opened(home.path()).await.err().unwrap().to_string();
        assert!(error.contains("x.json"), "{error}");
    }
}
