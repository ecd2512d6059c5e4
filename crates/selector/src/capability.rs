//! What a pool says of itself, by the names it has on the OpenSDS wire: `freeCapacity`,
//! `multiAttach`, `extras.advanced.diskType` ...
//!
//! Looked up one by one, without rendering the pool as JSON. As on the wire, a text or a list that
//! is empty, and a number under `extras` that is zero, was never stated: such a key is missing, and
//! no filter is true of it. Capacities are facts, not statements: a capacity of zero is zero. The
//! record's times (`createdAt`, `updatedAt`) are nothing to choose by and are missing, too.

use std::borrow::Cow;
use std::fmt;

use osds_model::Pool;
use osds_model::pool::PoolExtras;
use serde_json::Value;

/// One stated value.
#[derive(Clone, Debug, PartialEq)]
pub enum Stated<'p> {
    /// True or false.
    Flag(bool),
    /// A number; capacities are in GiB.
    Number(f64),
    /// Text.
    Text(Cow<'p, str>),
    /// A list of words.
    Words(&'p [String]),
    /// A list from `extras.advanced`.
    Items(&'p [Value]),
}

impl fmt::Display for Stated<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(flag) => flag.fmt(f),
            Self::Number(number) => number.fmt(f),
            Self::Text(text) => write!(f, "{text:?}"),
            Self::Words(words) => write!(f, "{words:?}"),
            Self::Items(items) => {
                f.write_str("[")?;
                for (index, item) in items.iter().enumerate() {
                    write!(f, "{}{item}", if index == 0 { "" } else { ", " })?;
                }
                f.write_str("]")
            }
        }
    }
}

/// What `pool` states under `key`; `None` when it states nothing.
#[must_use]
pub fn stated<'p>(pool: &'p Pool, key: &str) -> Option<Stated<'p>> {
    let spec = &pool.spec;
    if let Some(rest) = key.strip_prefix("extras.") {
        return extra(&spec.extras, rest);
    }
    match key {
        "id" => Some(Stated::Text(pool.id.to_string().into())),
        "name" => text(&spec.name),
        "description" => text(&spec.description),
        "status" => text(if pool.available { "available" } else { "unavailable" }),
        "dockId" => Some(Stated::Text(pool.dock.to_string().into())),
        "availabilityZone" => text(&spec.availability_zone),
        "totalCapacity" => Some(gib(spec.total)),
        "freeCapacity" => Some(gib(pool.free())),
        "consumedCapacity" => Some(gib(pool.allocated)),
        "multiAttach" => Some(Stated::Flag(spec.multi_attach)),
        "storageType" => text(&spec.storage_type),
        _ => None,
    }
}

fn extra<'p>(extras: &'p PoolExtras, key: &str) -> Option<Stated<'p>> {
    let (data, io) = (&extras.data_storage, &extras.io_connectivity);
    let protection = &extras.data_protection;
    if let Some(rest) = key.strip_prefix("advanced.") {
        return advanced(&|name| extras.advanced.get(name), rest);
    }
    match key {
        "dataStorage.recoveryTimeObjective" => number(data.recovery_time_objective),
        "dataStorage.provisioningPolicy" => text(&data.provisioning_policy),
        "dataStorage.characterCodeSet" => text(&data.character_code_set),
        "dataStorage.maxFileNameLengthBytes" => number(data.max_file_name_length_bytes),
        "dataStorage.storageAccessCapability" => words(&data.storage_access_capability),
        "dataStorage.compression" => Some(Stated::Flag(data.compression)),
        "dataStorage.deduplication" => Some(Stated::Flag(data.deduplication)),
        "dataStorage.isSpaceEfficient" => data.is_space_efficient.map(Stated::Flag),
        "ioConnectivity.accessProtocol" => text(&io.access_protocol),
        "ioConnectivity.maxIOPS" => number(io.max_iops),
        "ioConnectivity.minIOPS" => number(io.min_iops),
        "ioConnectivity.maxBWS" => number(io.max_bws),
        "ioConnectivity.minBWS" => number(io.min_bws),
        "ioConnectivity.latency" => number(io.latency),
        "dataProtection.isIsolated" => Some(Stated::Flag(protection.is_isolated)),
        "dataProtection.minLifetime" => text(&protection.min_lifetime),
        "dataProtection.recoveryGeographicObjective" => {
            text(&protection.recovery_geographic_objective)
        }
        "dataProtection.recoveryPointObjectiveTime" => {
            text(&protection.recovery_point_objective_time)
        }
        "dataProtection.recoveryTimeObjective" => text(&protection.recovery_time_objective),
        "dataProtection.replicaType" => text(&protection.replica_type),
        _ => None,
    }
}

/// Nested objects are reached with dots; a name that has dots itself is found as well.
fn advanced<'p>(get: &dyn Fn(&str) -> Option<&'p Value>, key: &str) -> Option<Stated<'p>> {
    if let Some(value) = get(key) {
        return match value {
            Value::Null | Value::Object(_) => None,
            Value::Bool(flag) => Some(Stated::Flag(*flag)),
            Value::Number(number) => number.as_f64().map(Stated::Number),
            Value::String(string) => text(string),
            Value::Array(items) if items.is_empty() => None,
            Value::Array(items) => Some(Stated::Items(items)),
        };
    }
    key.match_indices('.').find_map(|(dot, _)| match get(&key[..dot]) {
        Some(Value::Object(inner)) => advanced(&|name| inner.get(name), &key[dot + 1..]),
        Some(_) | None => None,
    })
}

#[allow(clippy::cast_precision_loss)] // Whole GiB stay exact up to 2^53.
fn gib(capacity: osds_model::Capacity) -> Stated<'static> {
    Stated::Number(capacity.whole_gib() as f64)
}

#[allow(clippy::cast_precision_loss)] // The wire has JSON numbers: doubles.
fn number(number: i64) -> Option<Stated<'static>> {
    (number != 0).then_some(Stated::Number(number as f64))
}

fn text(text: &str) -> Option<Stated<'_>> {
    (!text.is_empty()).then_some(Stated::Text(Cow::Borrowed(text)))
}

fn words(words: &[String]) -> Option<Stated<'_>> {
    (!words.is_empty()).then_some(Stated::Words(words))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::fixtures;

    #[test]
    fn every_key_of_the_wire_form_is_found() {
        let mut pool = fixtures::pool(1, 100);
        pool.allocated = osds_model::Capacity::from_gib(10).unwrap();
        let extras = &mut pool.spec.extras;
        *extras = serde_json::from_value(json!({
            "dataStorage": {
                "recoveryTimeObjective": 1, "provisioningPolicy": "Thin",
                "characterCodeSet": "UTF8", "maxFileNameLengthBytes": 2,
                "storageAccessCapability": ["Read"], "compression": true,
                "deduplication": false, "isSpaceEfficient": true,
            },
            "ioConnectivity": {
                "accessProtocol": "iscsi", "maxIOPS": 3, "minIOPS": 4, "maxBWS": 5, "minBWS": 6,
                "latency": 7,
            },
            "dataProtection": {
                "isIsolated": true, "minLifetime": "a", "recoveryGeographicObjective": "b",
                "recoveryPointObjectiveTime": "c", "recoveryTimeObjective": "d",
                "replicaType": "e",
            },
            "advanced": {
                "diskType": "SSD", "rack": {"row": 4, "a.b": true}, "tags": ["x", 1], "c.d": "e",
            },
        }))
        .unwrap();
        let wire = serde_json::to_value(&*extras).unwrap();
        let mut seen = 0;
        for (block, fields) in wire.as_object().unwrap() {
            for (field, value) in fields.as_object().unwrap() {
                let key = format!("extras.{block}.{field}");
                if value.is_object() {
                    assert_eq!(stated(&pool, &key), None, "{key}");
                    continue;
                }
                let found = stated(&pool, &key).unwrap_or_else(|| panic!("{key} is not found"));
                let shown = found.to_string().replace(", ", ",");
                assert_eq!(shown, value.to_string(), "{key}");
                seen += 1;
            }
        }
        assert_eq!(seen, 8 + 6 + 6 + 3);
        assert_eq!(stated(&pool, "extras.advanced.rack.row"), Some(Stated::Number(4.0)));
        assert_eq!(stated(&pool, "extras.advanced.rack.a.b"), Some(Stated::Flag(true)));
        for (key, shown) in [
            ("id", "\"00000000-0000-0000-0000-000000000001\""),
            ("name", "\"pool-1\""),
            ("status", "\"available\""),
            ("dockId", "\"00000000-0000-0000-0000-000000000009\""),
            ("availabilityZone", "\"default\""),
            ("totalCapacity", "100"),
            ("freeCapacity", "90"),
            ("consumedCapacity", "10"),
            ("multiAttach", "true"),
            ("storageType", "\"block\""),
        ] {
            assert_eq!(stated(&pool, key).unwrap().to_string(), shown, "{key}");
        }
    }

    #[test]
    fn what_was_not_stated_is_missing_but_a_capacity_of_zero_is_zero() {
        let pool = fixtures::pool(1, 0);
        for key in [
            "description",
            "nosuch",
            "Name",
            "createdAt",
            "extras",
            "extras.advanced",
            "extras.advanced.",
            "extras.advanced.a..b",
            "extras.ioConnectivity.maxIOPS",
            "extras.dataStorage.storageAccessCapability",
            "extras.dataStorage.isSpaceEfficient",
            "",
            ".",
        ] {
            assert_eq!(stated(&pool, key), None, "{key}");
        }
        assert_eq!(stated(&pool, "freeCapacity"), Some(Stated::Number(0.0)));
        assert_eq!(stated(&pool, "extras.dataStorage.compression"), Some(Stated::Flag(false)));
    }
}
