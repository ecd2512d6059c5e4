//! Yesterday's bytes still decode.
//!
//! `fixtures/<kind>.<format>.json` is one record of a kind as it was once stored; all files of a
//! kind are the same record. The newest is compared with what is written today, so a change of a
//! model type that changes what is stored fails here.
//!
//! When you meant it, and osds has been released with the old format:
//! 1. append a step to `Record::UPGRADES` of that type (crates/store/src/record.rs);
//! 2. leave the old file alone, and add `<kind>.<new format>.json` with the JSON that the failing
//!    test prints;
//! 3. look at the difference between the two files: it is what users' data will go through.
//!
//! A field with `#[serde(default)]` that is not written while it has its default needs none of
//! this.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use osds_model::{Dock, Host, Pool, Profile, Snapshot, Volume, VolumeGroup};
use osds_store::{Claim, Kind, Record, StoreError, decode, encode};
use serde_json::Value;

/// What is written today of a record that was stored in `format`.
fn today(kind: Kind, format: u16, stored: &Value) -> Result<Value, StoreError> {
    fn through<R: Record>(format: u16, stored: &Value) -> Result<Value, StoreError> {
        let record: R = decode(format, stored.to_string().as_bytes())?;
        Ok(serde_json::from_slice(&encode(&record)?).expect("JSON"))
    }
    match kind {
        Kind::Volume => through::<Volume>(format, stored),
        Kind::Pool => through::<Pool>(format, stored),
        Kind::Profile => through::<Profile>(format, stored),
        Kind::Dock => through::<Dock>(format, stored),
        Kind::Host => through::<Host>(format, stored),
        Kind::Snapshot => through::<Snapshot>(format, stored),
        Kind::Claim => through::<Claim>(format, stored),
        Kind::VolumeGroup => through::<VolumeGroup>(format, stored),
    }
}

fn fixtures() -> BTreeMap<(Kind, u16), Value> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let read = |entry: fs::DirEntry| {
        let name = entry.file_name().into_string().unwrap();
        let [kind, format, "json"] = name.split('.').collect::<Vec<_>>()[..] else {
            panic!("{name} is not <kind>.<format>.json");
        };
        let kind = Kind::ALL.iter().find(|k| k.as_str() == kind).expect("a kind");
        let value = serde_json::from_str(&fs::read_to_string(entry.path()).unwrap()).unwrap();
        ((*kind, format.parse().unwrap()), value)
    };
    fs::read_dir(directory).unwrap().map(|entry| read(entry.unwrap())).collect()
}

#[test]
fn every_stored_format_is_read_as_the_same_record() {
    let fixtures = fixtures();
    for ((kind, format), stored) in &fixtures {
        let written = today(*kind, *format, stored)
            .unwrap_or_else(|error| panic!("{kind}.{format}.json: {error:?}"));
        let expected = fixtures.get(&(*kind, kind.format()));
        assert!(
            expected == Some(&written),
            "{kind}.{format}.json is not written as {kind}.{}.json says; it is now\n{written:#}\n\
             See the top of this file.",
            kind.format(),
        );
    }
}

#[test]
fn every_format_there_ever_was_has_a_fixture() {
    let fixtures = fixtures();
    for kind in Kind::ALL {
        for format in 1..=kind.format() {
            assert!(fixtures.contains_key(&(*kind, format)), "{kind}.{format}.json is missing");
        }
    }
}

#[test]
fn a_newer_format_is_refused() {
    for ((kind, _), stored) in &fixtures() {
        let newer = kind.format() + 1;
        let words = today(*kind, newer, stored).unwrap_err().to_string();
        let (has, knows) = (format!("format {newer}"), format!("up to {}", kind.format()));
        assert!(words.contains(&has) && words.contains(&knows), "{words}");
        assert!(words.contains(kind.as_str()), "{words}");
    }
}
