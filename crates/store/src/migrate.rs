//! How records become bytes, and how yesterday's bytes become today's records.
//!
//! A value is a format number and JSON. An older format is lifted one step at a time, as JSON, by
//! the record's own list of [`Upgrade`]s; today's format is decoded directly. A newer format is
//! refused: writing it back would lose what this program does not know.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::StoreError;
use crate::record::Record;

/// Makes one format's JSON into the next one's. Says in words what it did not understand.
pub type Upgrade = fn(Value) -> Result<Value, String>;

/// The JSON of a record in today's format.
///
/// # Errors
/// [`StoreError::Corrupt`] when the record holds what JSON cannot say; no model type does.
pub fn encode<R: Record>(record: &R) -> Result<Vec<u8>, StoreError> {
    json(record).map_err(|source| {
        StoreError::corrupt_for(
            format!("{} {} cannot be written as JSON", R::KIND, record.key()),
            "this is a bug in osds, please report it",
            source,
        )
    })
}

fn json(value: &impl Serialize) -> Result<Vec<u8>, serde_json::Error> {
    let mut bytes = Vec::with_capacity(1024);
    serde_json::to_writer(&mut bytes, value)?;
    Ok(bytes)
}

/// The record whose JSON was written in `format`.
///
/// # Errors
/// [`StoreError::Corrupt`] when the format is newer than this program or the JSON is not such a
/// record.
pub fn decode<R: Record>(format: u16, json: &[u8]) -> Result<R, StoreError> {
    lift(R::KIND.as_str(), R::UPGRADES, format, json)
}

fn lift<T: DeserializeOwned>(
    noun: &str,
    upgrades: &[Upgrade],
    format: u16,
    json: &[u8],
) -> Result<T, StoreError> {
    const RESTORE: &str = "restore the data file from a backup";
    let known = 1 + upgrades.len();
    let Some(done) = usize::from(format).checked_sub(1) else {
        return Err(StoreError::corrupt(format!("a {noun} in format 0, which never was"), RESTORE));
    };
    let unreadable = |source| {
        StoreError::corrupt_for(
            format!("a {noun} in format {format} is unreadable"),
            RESTORE,
            source,
        )
    };
    let Some(missing) = upgrades.get(done..) else {
        return Err(StoreError::corrupt(
            format!("a {noun} in format {format}, and this osds knows formats up to {known}"),
            "a newer osds wrote it: run that one again",
        ));
    };
    if missing.is_empty() {
        return serde_json::from_slice(json).map_err(unreadable);
    }
    let mut value: Value = serde_json::from_slice(json).map_err(unreadable)?;
    for (upgrade, from) in missing.iter().zip(format..) {
        value = upgrade(value).map_err(|why| {
            let what =
                format!("a {noun} cannot be taken from format {from} to {}: {why}", from + 1);
            StoreError::corrupt(what, RESTORE)
        })?;
    }
    serde_json::from_value(value).map_err(unreadable)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;
    use serde_json::json;

    /// Format 1 said `name`; format 2 said `names`, a list; format 3 added `size`.
    #[derive(Debug, PartialEq, Deserialize)]
    struct Today {
        names: Vec<String>,
        size: u64,
    }

    const CHAIN: &[Upgrade] = &[
        |mut old| {
            let name = old["name"].as_str().ok_or("no name")?.to_owned();
            old["names"] = json!([name]);
            Ok(old)
        },
        |mut old| {
            old["size"] = json!(7);
            Ok(old)
        },
    ];

    fn read(format: u16, json: &Value) -> Result<Today, StoreError> {
        lift("thing", CHAIN, format, json.to_string().as_bytes())
    }

    #[test]
    fn every_older_format_is_lifted_to_todays() {
        let today = Today { names: vec!["a".into()], size: 7 };
        assert_eq!(read(1, &json!({"name": "a"})).unwrap(), today);
        assert_eq!(read(2, &json!({"names": ["a"]})).unwrap(), today);
        assert_eq!(read(3, &json!({"names": ["a"], "size": 7})).unwrap(), today);
    }

    #[test]
    fn what_cannot_be_lifted_is_refused_in_words() {
        let newer = read(9, &json!({})).unwrap_err().to_string();
        assert!(newer.contains("format 9") && newer.contains("up to 3"), "{newer}");
        assert!(newer.contains("newer osds"), "{newer}");
        assert!(read(0, &json!({})).unwrap_err().to_string().contains("format 0"));
        let stuck = read(1, &json!({})).unwrap_err().to_string();
        assert!(stuck.contains("from format 1 to 2: no name"), "{stuck}");
        assert!(read(3, &json!({"names": 3})).unwrap_err().to_string().contains("unreadable"));
        assert!(lift::<Today>("thing", CHAIN, 2, b"{").is_err());
    }
}
