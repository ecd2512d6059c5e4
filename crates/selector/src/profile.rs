//! What a profile demands: its property blocks and its `capabilities:` custom properties as
//! filters, and the two facts that outlive the choice of a pool (multi-attach, and to how many).
//!
//! Only the second part of a `capabilities:<key>` name counts; other custom properties are the
//! user's own words and demand nothing. As in the original, a `dataStorage` block in which
//! anything is set demands its two flags, too, even when they are false.

use std::borrow::Cow;

use osds_model::Profile;
use osds_model::profile::{DataProtection, DataStorage, IoConnectivity};
use serde_json::Value;

use crate::capability::Stated;
use crate::grammar::{Filter, Malformed, shortened};

const MULTI_ATTACH: &str = "multiAttach";
const MAX_ATTACHMENTS: &str = "maxAttachments";

/// One thing a pool must state.
#[derive(Debug)]
pub(crate) struct Demand<'a> {
    pub(crate) key: Cow<'a, str>,
    pub(crate) filter: Filter,
}

/// Whether everything a profile says to the selector can be understood.
///
/// # Errors
/// The first thing that cannot.
pub fn check_profile(profile: &Profile) -> Result<(), Malformed> {
    for demand in custom_demands(profile) {
        demand?;
    }
    multi_attach_of(profile)?;
    max_attachments_of(profile)?;
    Ok(())
}

/// What `capabilities:multiAttach` comes down to, in whatever spelling: `Some(true)` when only
/// pools with multi-attach will do (then the volume has it), `Some(false)` when only pools without
/// will do, `None` when the profile does not care.
///
/// # Errors
/// The filter cannot be understood, or is true neither of `true` nor of `false`.
pub fn multi_attach_of(profile: &Profile) -> Result<Option<bool>, Malformed> {
    let (mut with, mut without) = (true, true);
    for (name, key, value) in capabilities(profile) {
        if key != MULTI_ATTACH {
            continue;
        }
        let filter = Filter::parse(name, value)?;
        with &= filter.accepts(&Stated::Flag(true));
        without &= filter.accepts(&Stated::Flag(false));
        if !with && !without {
            return Err(Malformed {
                key: name.to_owned(),
                text: shortened(&value.to_string()),
                wrong: "no pool can meet this: multiAttach is either true or false".to_owned(),
                example: r#""<is> true""#,
            });
        }
    }
    Ok(match (with, without) {
        (true, false) => Some(true),
        (false, true) => Some(false),
        (true, true) | (false, false) => None,
    })
}

/// To how many hosts at most a volume may be attached: the custom property `maxAttachments`, a
/// whole number of at least 1, as a number or as text.
///
/// # Errors
/// It is something else.
pub fn max_attachments_of(profile: &Profile) -> Result<Option<u32>, Malformed> {
    let Some(value) = profile.custom.as_ref().and_then(|custom| custom.get(MAX_ATTACHMENTS)) else {
        return Ok(None);
    };
    let number = match value {
        Value::Number(number) => number.as_u64().and_then(|number| u32::try_from(number).ok()),
        Value::String(text) => text.trim().parse().ok(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    };
    match number {
        Some(number @ 1..) => Ok(Some(number)),
        Some(0) | None => Err(Malformed {
            key: MAX_ATTACHMENTS.to_owned(),
            text: shortened(&value.to_string()),
            wrong: "it must be a whole number of at least 1".to_owned(),
            example: "3",
        }),
    }
}

/// Everything the profile demands of a pool.
pub(crate) fn demands(profile: &Profile) -> Vec<Result<Demand<'_>, Malformed>> {
    let mut all: Vec<_> = custom_demands(profile).collect();
    data_storage_demands(&profile.provisioning.data_storage, &mut all);
    io_demands(&profile.provisioning.io_connectivity, &mut all);
    protection_demands(&profile.replication.data_protection, &mut all);
    all
}

type Demands<'a> = Vec<Result<Demand<'a>, Malformed>>;

fn custom_demands(profile: &Profile) -> impl Iterator<Item = Result<Demand<'_>, Malformed>> {
    capabilities(profile).map(|(name, key, value)| {
        if key.is_empty() {
            return Err(Malformed {
                key: name.to_owned(),
                text: shortened(&value.to_string()),
                wrong: "the name says no pool capability".to_owned(),
                example: r#""capabilities:multiAttach": "<is> true""#,
            });
        }
        Filter::parse(name, value).map(|filter| Demand { key: Cow::Borrowed(key), filter })
    })
}

/// Whole name, pool key and value of each `capabilities:` property.
fn capabilities(profile: &Profile) -> impl Iterator<Item = (&str, &str, &Value)> {
    profile.custom.iter().flatten().filter_map(|(name, value)| {
        let rest = name.strip_prefix("capabilities:")?;
        Some((name.as_str(), rest.split(':').next().unwrap_or(rest), value))
    })
}

fn data_storage_demands<'a>(data: &'a DataStorage, all: &mut Demands<'a>) {
    let without_older_word = DataStorage { is_space_efficient: None, ..data.clone() };
    if without_older_word != DataStorage::default() {
        demand(all, "extras.dataStorage.compression", Filter::is(data.compression));
        demand(all, "extras.dataStorage.deduplication", Filter::is(data.deduplication));
    }
    if let Some(flag) = data.is_space_efficient {
        demand(all, "extras.dataStorage.isSpaceEfficient", Filter::is(flag));
    }
    same(all, "extras.dataStorage.provisioningPolicy", &data.provisioning_policy);
    at_most(all, "extras.dataStorage.recoveryTimeObjective", data.recovery_time_objective);
}

fn io_demands<'a>(io: &'a IoConnectivity, all: &mut Demands<'a>) {
    same(all, "extras.ioConnectivity.accessProtocol", &io.access_protocol);
    at_least(all, "extras.ioConnectivity.maxIOPS", io.max_iops);
    at_least(all, "extras.ioConnectivity.minIOPS", io.min_iops);
    at_least(all, "extras.ioConnectivity.maxBWS", io.max_bws);
    at_least(all, "extras.ioConnectivity.minBWS", io.min_bws);
    // The original wants at least this latency, which turns away the faster pools.
    at_most(all, "extras.ioConnectivity.latency", io.latency);
}

fn protection_demands<'a>(protection: &'a DataProtection, all: &mut Demands<'a>) {
    if *protection == DataProtection::default() {
        return;
    }
    let geographic = &protection.recovery_geographic_objective;
    demand(all, "extras.dataProtection.isIsolated", Filter::is(protection.is_isolated));
    same(all, "extras.dataProtection.recoveryGeographicObjective", geographic);
    same(all, "extras.dataProtection.recoveryTimeObjective", &protection.recovery_time_objective);
    same(all, "extras.dataProtection.replicaType", &protection.replica_type);
}

fn demand(all: &mut Demands<'_>, key: &'static str, filter: Filter) {
    all.push(Ok(Demand { key: Cow::Borrowed(key), filter }));
}

fn same(all: &mut Demands<'_>, key: &'static str, text: &str) {
    if !text.is_empty() {
        demand(all, key, Filter::same(text));
    }
}

fn at_least(all: &mut Demands<'_>, key: &'static str, number: i64) {
    if number != 0 {
        demand(all, key, Filter::at_least(number));
    }
}

fn at_most(all: &mut Demands<'_>, key: &'static str, number: i64) {
    if number != 0 {
        demand(all, key, Filter::at_most(number));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::fixtures::{ask, pool, profile};
    use crate::{Ask, choose};

    #[test]
    fn multi_attach_in_every_spelling() {
        let of =
            |value: Value| multi_attach_of(&profile(json!({"capabilities:multiAttach": value})));
        for yes in [
            json!("<is> true"),
            json!("<is> True"),
            json!("<is> TRUE"),
            json!("<is> t"),
            json!("<is> 1"),
            json!(true),
            json!("true"),
            json!("True"),
            json!("1"),
            json!("<or> true"),
            json!("<or> true <or> True"),
            json!("<or> 1 <or> T"),
        ] {
            assert_eq!(of(yes.clone()), Ok(Some(true)), "{yes}");
        }
        for no in [json!("<is> false"), json!(false), json!("False"), json!("<or> 0 <or> f")] {
            assert_eq!(of(no.clone()), Ok(Some(false)), "{no}");
        }
        assert_eq!(of(json!("<or> true <or> false")), Ok(None));
        for wrong in [
            json!("yes"),
            json!("<is> yes"),
            json!("<is>true"),
            json!(1),
            json!("== 1"),
            json!(["true"]),
            json!(null),
            json!(""),
            json!("s== true"),
        ] {
            assert!(of(wrong.clone()).is_err(), "{wrong}");
        }
        assert_eq!(multi_attach_of(&profile(json!(null))), Ok(None));
        assert_eq!(multi_attach_of(&profile(json!({"multiAttach": "<is> true"}))), Ok(None));
        let twice = json!({"capabilities:multiAttach": true, "capabilities:multiAttach:x": false});
        assert!(multi_attach_of(&profile(twice)).is_err());
    }

    #[test]
    fn max_attachments() {
        let of = |value: Value| max_attachments_of(&profile(json!({"maxAttachments": value})));
        assert_eq!(of(json!(3)), Ok(Some(3)));
        assert_eq!(of(json!(" 12 ")), Ok(Some(12)));
        assert_eq!(max_attachments_of(&profile(json!({}))), Ok(None));
        for wrong in [
            json!(0),
            json!("0"),
            json!(-1),
            json!(1.5),
            json!("x"),
            json!(true),
            json!(1_u64 << 32),
        ] {
            assert!(of(wrong.clone()).is_err(), "{wrong}");
            assert!(check_profile(&profile(json!({"maxAttachments": wrong}))).is_err());
        }
    }

    #[test]
    fn names_that_are_not_capabilities_demand_nothing() {
        let free =
            json!({"diskType": ">=", ":multiAttach": "<is> yes", "k": null, "capabilities": {}});
        assert_eq!(check_profile(&profile(free)), Ok(()));
        assert!(check_profile(&profile(json!({"capabilities:": "x"}))).is_err());
        assert!(check_profile(&profile(json!({"capabilities::x": "x"}))).is_err());
    }

    #[test]
    fn property_blocks_demand_what_the_original_demands() {
        let (slow, mut fast) = (pool(1, 100), pool(2, 10));
        fast.spec.extras = serde_json::from_value(json!({
            "dataStorage": {"provisioningPolicy": "Thin", "compression": true,
                "recoveryTimeObjective": 5, "isSpaceEfficient": false},
            "ioConnectivity": {"accessProtocol": "iscsi", "maxIOPS": 100, "minIOPS": 10,
                "maxBWS": 100, "minBWS": 10, "latency": 3},
            "dataProtection": {"isIsolated": true, "recoveryGeographicObjective": "Rack",
                "recoveryTimeObjective": "Online", "replicaType": "Mirror"},
        }))
        .unwrap();
        let pools = [slow, fast];
        let check = |provisioning: Value, protection: Value, fits: bool| {
            let mut profile = profile(json!(null));
            profile.provisioning = serde_json::from_value(provisioning.clone()).unwrap();
            profile.replication.data_protection =
                serde_json::from_value(protection.clone()).unwrap();
            let chosen = choose(&pools, &ask(&profile)).map(|pool| pool.id).ok();
            let wanted = fits.then_some(pools[1].id);
            assert_eq!(chosen, wanted, "{provisioning} {protection}");
        };
        let data = |block: Value, fits| check(json!({"dataStorage": block}), json!({}), fits);
        data(json!({"compression": true}), true);
        data(json!({"compression": true, "deduplication": true}), false);
        data(json!({"compression": true, "provisioningPolicy": "thin"}), true);
        data(json!({"compression": true, "provisioningPolicy": "Thick"}), false);
        // Any word in the block demands both flags; `fast` compresses.
        data(json!({"provisioningPolicy": "Thin"}), false);
        data(json!({"compression": true, "recoveryTimeObjective": 6}), true);
        data(json!({"compression": true, "recoveryTimeObjective": 4}), false);
        data(json!({"isSpaceEfficient": false}), true);
        data(json!({"isSpaceEfficient": true}), false);
        for name in ["maxIOPS", "maxBWS"] {
            check(json!({"ioConnectivity": {name: 100}}), json!({}), true);
            check(json!({"ioConnectivity": {name: 101}}), json!({}), false);
        }
        for name in ["minIOPS", "minBWS"] {
            check(json!({"ioConnectivity": {name: 10}}), json!({}), true);
            check(json!({"ioConnectivity": {name: 11}}), json!({}), false);
        }
        check(
            json!({"ioConnectivity": {"latency": 3, "accessProtocol": "ISCSI"}}),
            json!({}),
            true,
        );
        check(json!({"ioConnectivity": {"latency": 2}}), json!({}), false);
        check(json!({"ioConnectivity": {"accessProtocol": "rbd"}}), json!({}), false);
        let protect = |block: Value, fits| check(json!({}), block, fits);
        protect(json!({"isIsolated": true, "replicaType": "Mirror"}), true);
        protect(json!({"isIsolated": true, "recoveryGeographicObjective": "Region"}), false);
        protect(json!({"isIsolated": true, "recoveryTimeObjective": "Offline"}), false);
        protect(json!({"replicaType": "Mirror"}), false);
    }

    /// The original lets a request body have multi-attach on any pool.
    #[test]
    fn multi_attach_from_the_body_needs_a_pool_with_it() {
        let mut pools = [pool(1, 100), pool(2, 10)];
        pools[0].spec.multi_attach = false;
        let profile = profile(json!(null));
        let plain = ask(&profile);
        assert_eq!(choose(&pools, &plain).unwrap().id, pools[0].id);
        let shared = Ask { multi_attach: true, ..plain };
        assert_eq!(choose(&pools, &shared).unwrap().id, pools[1].id);
        let named = Ask { pool: Some(pools[0].id), ..shared };
        assert!(choose(&pools, &named).unwrap_err().to_string().contains("multiAttach is false"));
    }
}
