//! Files that cannot be opened: the error names the file and what to do about it.

mod make;

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use osds_model::Volume;
use osds_store::{EmbeddedStore, Store, StoreError, Txn};

/// The error with all its causes, as a log shows it.
fn words(error: &StoreError) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        words = format!("{words}: {error}");
        cause = error.source();
    }
    words
}

fn refusal(path: &Path) -> StoreError {
    let error = EmbeddedStore::open(path).err().expect("is refused");
    let words = words(&error);
    assert!(words.contains(path.to_str().unwrap()), "names the file: {words}");
    error
}

async fn filled(directory: &tempfile::TempDir, volumes: u128) -> PathBuf {
    let path = directory.path().join("store.redb");
    let store = EmbeddedStore::open(&path).unwrap();
    let txn = (0..volumes).fold(Txn::new(), |txn, id| txn.create(make::volume(id)));
    store.commit(txn).await.unwrap();
    path
}

#[test]
fn a_missing_directory() {
    let directory = tempfile::tempdir().unwrap();
    let error = refusal(&directory.path().join("nowhere/store.redb"));
    assert!(matches!(error, StoreError::Unavailable { .. }));
    assert!(words(&error).contains("nowhere does not exist: create that directory"), "{error}");
}

#[test]
fn a_directory_or_a_file_in_the_way() {
    let directory = tempfile::tempdir().unwrap();
    let error = refusal(directory.path());
    assert!(words(&error).contains("is a directory"), "{}", words(&error));
    let file = directory.path().join("file");
    fs::write(&file, "").unwrap();
    assert!(matches!(refusal(&file.join("store.redb")), StoreError::Unavailable { .. }));
}

#[test]
fn no_permission() {
    let directory = tempfile::tempdir().unwrap();
    let mut mode = fs::metadata(directory.path()).unwrap().permissions();
    mode.set_readonly(true);
    fs::set_permissions(directory.path(), mode).unwrap();
    if fs::write(directory.path().join("probe"), "").is_ok() {
        return; // root may do anything
    }
    let error = refusal(&directory.path().join("store.redb"));
    assert!(words(&error).contains("write access"), "{}", words(&error));
}

#[tokio::test]
async fn a_file_that_another_has_open() {
    let directory = tempfile::tempdir().unwrap();
    let path = filled(&directory, 1).await;
    let first = EmbeddedStore::open(&path).unwrap();
    let error = refusal(&path);
    assert!(words(&error).contains("in use by another process"), "{}", words(&error));
    first.close();
    assert!(EmbeddedStore::open(&path).is_ok(), "close lets go of the file");
}

#[test]
fn something_else() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.redb");
    fs::write(&path, "[storage]\nthis = \"is a toml file\"\n".repeat(1000)).unwrap();
    let error = refusal(&path);
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error:?}");
    assert!(words(&error).contains("not an osds data file"), "{}", words(&error));
    assert!(words(&error).contains("backup"), "{}", words(&error));
}

#[tokio::test]
async fn a_file_that_is_cut_short() {
    let directory = tempfile::tempdir().unwrap();
    let path = filled(&directory, 200).await;
    let whole = fs::read(&path).unwrap();
    for part in [1, 100, 4096, whole.len() / 2, whole.len() - 4096] {
        fs::write(&path, &whole[..part]).unwrap();
        let error = refusal(&path);
        assert!(matches!(error, StoreError::Corrupt { .. }), "{part} bytes: {}", words(&error));
    }
}

/// A flipped bit is found when the file is opened, or it did not matter: it is never served.
#[tokio::test]
async fn a_file_with_a_flipped_bit() {
    let directory = tempfile::tempdir().unwrap();
    let path = filled(&directory, 50).await;
    let whole = fs::read(&path).unwrap();
    let (mut found, mut harmless) = (0, 0);
    for at in (0..whole.len()).step_by(997) {
        let mut flipped = whole.clone();
        flipped[at] ^= 1 << (at % 8);
        fs::write(&path, &flipped).unwrap();
        match EmbeddedStore::open(&path) {
            Ok(store) => {
                let view = store.view();
                let same =
                    (0..50).map(make::volume).eq(view.iter::<Volume>().map(|v| (**v).clone()));
                assert!(same, "the bit at {at} was served");
                harmless += 1;
            }
            Err(error) => {
                assert!(matches!(error, StoreError::Corrupt { .. }), "at {at}: {}", words(&error));
                found += 1;
            }
        }
    }
    assert!(found > 10, "{found} found and {harmless} harmless");
}

#[tokio::test]
async fn an_empty_draft_of_a_crash_is_in_nobodys_way() {
    let directory = tempfile::tempdir().unwrap();
    let path = filled(&directory, 3).await;
    let names: Vec<_> = fs::read_dir(directory.path()).unwrap().collect();
    assert_eq!(names.len(), 1, "the draft is gone: {names:?}");
    let revision = EmbeddedStore::open(&path).unwrap().view().revision();
    assert_eq!(EmbeddedStore::open(&path).unwrap().view().revision(), revision);
}

/// The revision does not go back when the newest record is gone: a revision is never used twice.
#[tokio::test]
async fn revisions_go_on_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let path = filled(&directory, 1).await;
    let store = EmbeddedStore::open(&path).unwrap();
    let view = store.view();
    let removed = store.commit(Txn::new().remove(view.iter::<Volume>().next().unwrap())).await;
    drop(store);
    let store = EmbeddedStore::open(&path).unwrap();
    assert_eq!(store.view().revision(), removed.unwrap());
    assert!(store.view().is_empty::<Volume>());
}
