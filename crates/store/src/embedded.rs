//! A store in one file, for one process: redb behind the shared [`Engine`].
//!
//! One thread owns the file. It takes all commits that have gathered, writes them as one redb
//! transaction and one sync, and publishes them together: 32 writers pay for one sync between them.
//! Reading never touches the file: all records are in memory, and redb keeps only a few pages.
//!
//! On disk: table `records`, from kind tag and uuid to format, revision and JSON; table `meta`,
//! the layout of all this and the last revision. This is the only file that knows redb.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use async_trait::async_trait;
use redb::{
    Builder, Database, DatabaseError, Durability, ReadableDatabase, ReadableTable, StorageError,
    TableDefinition,
};
use uuid::Uuid;

use crate::Store;
use crate::engine::{Encoded, Engine, Pending, Sink};
use crate::error::StoreError;
use crate::record::{Kind, Revision, Row};
use crate::txn::{Txn, Write};
use crate::view::View;
use crate::watch::Watch;

const RECORDS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("records");
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
const LAYOUT: (&str, u64) = ("layout", 1);
const LAST_REVISION: &str = "revision";

/// Kind tag and uuid.
type Key = [u8; 17];
/// Format (u16) and revision (u64), big endian, stand before the JSON.
const HEADER: usize = 10;

/// What redb may keep of the file in memory. Enough for the upper levels of the tree; records are
/// in the view already.
const CACHE: usize = 4 << 20;

const RESTORE: &str = "restore it from a backup, or move it away to begin with an empty store";

/// Keeps records in one file, which no other process can open meanwhile.
pub struct EmbeddedStore {
    engine: Arc<Engine>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

impl EmbeddedStore {
    /// Opens the file at `path`, or makes it when it is not there. Blocks: it reads everything.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when the file cannot be used, for example because its directory
    /// is missing, permission is lacking, or another process has it; [`StoreError::Corrupt`] when
    /// what it holds cannot be read. Both name the file and a remedy.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        let path = path.as_ref();
        if !path.try_exists().map_err(|error| refused(path, error))? {
            create_file(path)?;
        }
        let database = builder().open(path).map_err(|error| unusable(path, error))?;
        Self::start(RedbSink { database, path: path.to_owned(), durability: Durability::Immediate })
    }

    fn start(mut sink: RedbSink) -> Result<Self, StoreError> {
        let view = sink.load()?;
        let engine = Arc::new(Engine::queued(view));
        let writer = thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn({
                let engine = Arc::clone(&engine);
                move || engine.drain(&mut sink)
            })
            .map_err(|error| StoreError::unavailable_for("starting its writer thread", error))?;
        Ok(Self { engine, writer: Mutex::new(Some(writer)) })
    }

    /// Takes no more commits, makes those on their way durable, and lets go of the file. Blocks
    /// for as long as that takes; dropping the store does the same.
    pub fn close(&self) {
        self.engine.close();
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(writer) = writer {
            // A writer that panicked has said so, and has answered everybody.
            let _ = writer.join();
        }
    }
}

impl Drop for EmbeddedStore {
    fn drop(&mut self) {
        self.close();
    }
}

#[async_trait]
impl Store for EmbeddedStore {
    fn view(&self) -> Arc<View> {
        self.engine.view()
    }

    fn latest(&self) -> Arc<View> {
        self.engine.latest()
    }

    async fn commit(&self, txn: Txn) -> Result<Revision, StoreError> {
        self.engine.commit(encoded(txn)?).await
    }

    fn watch(&self) -> Watch {
        self.engine.watch()
    }
}

/// The JSON of every record that `txn` puts, made by the caller's thread and not by the writer's.
fn encoded(txn: Txn) -> Result<Encoded, StoreError> {
    let values = txn
        .ops
        .values()
        .filter_map(|op| match &op.write {
            Write::Put(row) => Some(row.encode()),
            Write::Delete | Write::Nothing => None,
        })
        .collect::<Result<_, _>>()?;
    Ok(Encoded { txn, values })
}

struct RedbSink {
    database: Database,
    path: PathBuf,
    /// Always `Immediate`, but for the test that shows what would happen otherwise.
    durability: Durability,
}

/// A record on its way to the file.
struct Value<'a> {
    format: u16,
    revision: Revision,
    json: &'a [u8],
}

impl Sink for RedbSink {
    fn write(&mut self, batch: &[Pending]) -> Result<(), StoreError> {
        self.try_write(batch).map_err(|source| {
            let doing = format!(
                "writing to {} failed, so what it holds is not known: restart osds, and look at \
                 the disk if it happens again",
                self.path.display()
            );
            tracing::error!(error = %source, "{doing}");
            StoreError::unavailable_for(doing, source)
        })
    }
}

impl RedbSink {
    fn try_write(&self, batch: &[Pending]) -> Result<(), redb::Error> {
        let writes = last_writes(batch);
        let (false, Some(last)) = (writes.is_empty(), batch.last()) else { return Ok(()) };
        let mut txn = self.database.begin_write()?;
        txn.set_durability(self.durability)?;
        {
            let mut records = txn.open_table(RECORDS)?;
            for (key, value) in &writes {
                match value {
                    Some(value) => {
                        let size = HEADER + value.json.len();
                        let mut place = records.insert_reserve(key.as_slice(), size)?;
                        let (header, json) = place.as_mut().split_at_mut(HEADER);
                        header[..2].copy_from_slice(&value.format.to_be_bytes());
                        header[2..].copy_from_slice(&value.revision.0.to_be_bytes());
                        json.copy_from_slice(value.json);
                    }
                    None => {
                        records.remove(key.as_slice())?;
                    }
                }
            }
            txn.open_table(META)?.insert(LAST_REVISION, last.view.revision().0)?;
        }
        txn.commit()?;
        Ok(())
    }

    /// Reads everything there is.
    fn load(&self) -> Result<View, StoreError> {
        let broken = |error: redb::Error| match error {
            redb::Error::Io(error) => refused(&self.path, error),
            error => {
                let what = format!("{} is damaged", self.path.display());
                StoreError::corrupt_for(what, RESTORE, error)
            }
        };
        let txn = self.database.begin_read().map_err(|e| broken(e.into()))?;
        let meta = txn.open_table(META).map_err(|e| broken(e.into()))?;
        let meta =
            |name| meta.get(name).map(|v| v.map(|v| v.value())).map_err(|e| broken(e.into()));
        let layout = meta(LAYOUT.0)?.unwrap_or(0);
        if layout != LAYOUT.1 {
            let path = self.path.display();
            return Err(StoreError::corrupt(
                format!("{path} has layout {layout}, and this osds knows layout {}", LAYOUT.1),
                "run the osds that wrote it",
            ));
        }
        let mut view = View::default();
        let records = txn.open_table(RECORDS).map_err(|e| broken(e.into()))?;
        for record in records.iter().map_err(|e| broken(e.into()))? {
            let (key, value) = record.map_err(|e| broken(e.into()))?;
            let (row, revision) = read(key.value(), value.value())
                .map_err(|error| in_file(&self.path, key.value(), error))?;
            view.load(&row, revision);
        }
        view.loaded(Revision(meta(LAST_REVISION)?.unwrap_or(0)));
        Ok(view)
    }
}

/// What a batch leaves behind: of several writes of one record only the last counts, because the
/// batch is written whole or not at all.
fn last_writes(batch: &[Pending]) -> BTreeMap<Key, Option<Value<'_>>> {
    let mut writes = BTreeMap::new();
    for pending in batch {
        let mut values = pending.txn.values.iter();
        for ((kind, id), op) in &pending.txn.txn.ops {
            let value = match &op.write {
                Write::Put(_) => {
                    let json = values.next().expect("encoded made a value for every put");
                    let revision = pending.view.revision();
                    Some(Value { format: kind.format(), revision, json })
                }
                Write::Delete => None,
                Write::Nothing => continue,
            };
            writes.insert(key_of(*kind, *id), value);
        }
    }
    writes
}

fn key_of(kind: Kind, id: Uuid) -> Key {
    let mut key = [0; 17];
    key[0] = kind.tag();
    key[1..].copy_from_slice(id.as_bytes());
    key
}

fn read(key: &[u8], value: &[u8]) -> Result<(Row, Revision), StoreError> {
    let strange = |what: &str| StoreError::corrupt(what, RESTORE);
    let (&tag, id) = key.split_first().ok_or_else(|| strange("a record without a name"))?;
    let kind = Kind::from_tag(tag).ok_or_else(|| {
        let what = format!("a record of kind {tag}, which this osds does not know");
        StoreError::corrupt(what, "a newer osds wrote it: run that one again")
    })?;
    let id = Uuid::from_slice(id).map_err(|_| strange("a record whose name is no uuid"))?;
    let Some((&[f0, f1, ref revision @ ..], json)) = value.split_first_chunk::<HEADER>() else {
        return Err(strange("a record that is cut short"));
    };
    let row = Row::decode(kind, u16::from_be_bytes([f0, f1]), json)?;
    if row.key() != id {
        return Err(strange("a record under the name of another"));
    }
    Ok((row, Revision(u64::from_be_bytes(*revision))))
}

/// Adds file and record to an error about a value.
fn in_file(path: &Path, key: &[u8], error: StoreError) -> StoreError {
    let StoreError::Corrupt { what, remedy, source } = error else { return error };
    let name = key.get(1..).and_then(|id| Uuid::from_slice(id).ok()).unwrap_or_default();
    StoreError::Corrupt {
        what: format!("{} has, as {name}, {what}", path.display()),
        remedy,
        source,
    }
}

fn builder() -> Builder {
    let mut builder = Database::builder();
    // Every page's checksum is checked once, at the start: damage is found before it is served.
    builder.set_cache_size(CACHE).set_check_integrity_on_open(true);
    builder
}

/// Makes an empty store at `path`, whole or not at all: it is made under another name first. When
/// two processes do this at once, one file stays.
fn create_file(path: &Path) -> Result<(), StoreError> {
    let mut draft = path.as_os_str().to_owned();
    draft.push(format!(".new-{}", std::process::id()));
    let draft = PathBuf::from(draft);
    let made = lay_out(&draft).and_then(|()| match fs::hard_link(&draft, path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(refused(path, error)),
        Ok(()) | Err(_) => Ok(()),
    });
    let _ = fs::remove_file(&draft);
    made?;
    // The file's name must survive a power cut as well as what is in it.
    File::open(directory_of(path)).and_then(|d| d.sync_all()).map_err(|error| refused(path, error))
}

fn lay_out(path: &Path) -> Result<(), StoreError> {
    let database = builder().create(path).map_err(|error| unusable(path, error))?;
    prepare(&database)
        .map_err(|error| StoreError::unavailable_for(format!("making {}", path.display()), error))
}

fn prepare(database: &Database) -> Result<(), redb::Error> {
    let txn = database.begin_write()?;
    txn.open_table(RECORDS)?;
    txn.open_table(META)?.insert(LAYOUT.0, LAYOUT.1)?;
    txn.commit()?;
    Ok(())
}

fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) | None => Path::new("."),
    }
}

/// Why redb did not open a file, and what to do about it.
fn unusable(path: &Path, error: DatabaseError) -> StoreError {
    let file = path.display();
    match error {
        DatabaseError::DatabaseAlreadyOpen => StoreError::unavailable(format!(
            "{file} is in use by another process: stop that one, or choose another data directory"
        )),
        DatabaseError::Storage(StorageError::Io(error))
            if error.kind() == io::ErrorKind::InvalidData =>
        {
            let what = format!("{file} is not an osds data file, or its beginning is lost");
            StoreError::corrupt_for(what, RESTORE, error)
        }
        DatabaseError::Storage(StorageError::Io(error)) => refused(path, error),
        DatabaseError::Storage(StorageError::Corrupted(_)) => {
            StoreError::corrupt_for(format!("{file} is damaged"), RESTORE, error)
        }
        DatabaseError::UpgradeRequired(_) => StoreError::corrupt_for(
            format!("{file} is in a file format that this osds does not read"),
            "run the osds that wrote it",
            error,
        ),
        error => StoreError::unavailable_for(format!("opening {file}"), error),
    }
}

/// Why the system did not let us have a file, and what to do about it.
fn refused(path: &Path, error: io::Error) -> StoreError {
    let (file, directory) = (path.display(), directory_of(path).display());
    let doing = match error.kind() {
        io::ErrorKind::NotFound => format!(
            "{file} cannot be made because {directory} does not exist: create that directory, or \
             choose another data directory"
        ),
        io::ErrorKind::PermissionDenied => format!(
            "no permission to use {file}: give the user that runs osds write access to it and to \
             {directory}, or choose another data directory"
        ),
        io::ErrorKind::IsADirectory => format!("{file} is a directory and must be a file"),
        io::ErrorKind::UnexpectedEof => {
            return StoreError::corrupt_for(format!("{file} is cut short"), RESTORE, error);
        }
        _ => format!("opening {file}: look at the disk and at {directory}"),
    };
    StoreError::unavailable_for(doing, error)
}

#[cfg(test)]
mod power_cut;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{encode, make};

    /// What is said when a file holds this; an unreadable file is made with redb itself.
    fn words(key: &[u8], value: &[u8], layout: u64) -> String {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store.redb");
        create_file(&path).unwrap();
        let database = builder().open(&path).unwrap();
        let txn = database.begin_write().unwrap();
        txn.open_table(RECORDS).unwrap().insert(key, value).unwrap();
        txn.open_table(META).unwrap().insert(LAYOUT.0, layout).unwrap();
        txn.commit().unwrap();
        drop(database);
        let error = EmbeddedStore::open(&path).err().expect("is refused");
        assert!(!error.retryable());
        let words = error.to_string();
        assert!(words.contains(path.to_str().unwrap()), "{words}");
        words
    }

    fn value(format: u16, json: &[u8]) -> Vec<u8> {
        [&format.to_be_bytes()[..], &7_u64.to_be_bytes(), json].concat()
    }

    #[test]
    fn what_cannot_be_read_is_named_with_a_remedy() {
        let volume = make::volume(1);
        let json = encode(&volume).unwrap();
        let key = key_of(Kind::Volume, volume.id.0);

        let newer = words(&key, &value(9, &json), 1);
        let name = volume.id.to_string();
        for part in [&name, "a volume in format 9", "up to 1", "a newer osds wrote it"] {
            assert!(newer.contains(part), "{newer}");
        }
        assert!(words(&key, &value(1, &json[..9]), 1).contains("format 1 is unreadable"));
        assert!(words(&key, b"short", 1).contains("cut short"));
        assert!(words(b"", &value(1, &json), 1).contains("without a name"));
        assert!(words(&key[..5], &value(1, &json), 1).contains("no uuid"));
        let other = key_of(Kind::Volume, Uuid::from_u128(2));
        assert!(words(&other, &value(1, &json), 1).contains("name of another"));
        assert!(words(&[99; 17], &value(1, &json), 1).contains("kind 99"));
        let layout = words(&key, &value(1, &json), 2);
        assert!(layout.contains("layout 2") && layout.contains("layout 1"), "{layout}");
    }

    #[test]
    fn what_the_system_refuses_is_named_with_a_remedy() {
        let path = Path::new("/data/store.redb");
        let words = |kind: io::ErrorKind| refused(path, kind.into()).to_string();
        assert!(words(io::ErrorKind::PermissionDenied).contains("write access"));
        assert!(words(io::ErrorKind::NotFound).contains("/data does not exist"));
        assert!(words(io::ErrorKind::StorageFull).contains("look at the disk"));
        assert_eq!(directory_of(Path::new("store.redb")), Path::new("."));
    }
}
