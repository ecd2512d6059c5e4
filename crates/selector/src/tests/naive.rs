//! A second, slow reading of the same rules, to compare with on random pools and profiles.
//!
//! It renders the pool as flat JSON and evaluates the filter text anew for each pool, sharing no
//! code with the selector. Also: whatever a user writes, reading it does not panic.

use std::collections::BTreeMap;

use osds_model::{Capacity, Pool, PoolId};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use crate::capability::Stated;
use crate::fixtures::{self, ask};
use crate::{Ask, Filter, choose, explain, multi_attach_of};

fn flat(pool: &Pool) -> Map<String, Value> {
    fn pour(prefix: &str, value: &Value, into: &mut Map<String, Value>) {
        match value {
            Value::Object(fields) => {
                for (name, value) in fields {
                    pour(&format!("{prefix}.{name}"), value, into);
                }
            }
            other => {
                into.insert(prefix[1..].to_owned(), other.clone());
            }
        }
    }
    let gib = |capacity: Capacity| capacity.bytes() >> 30;
    let wire = json!({
        "name": pool.spec.name,
        "totalCapacity": gib(pool.spec.total),
        "freeCapacity": gib(pool.spec.usable) - gib(pool.allocated),
        "multiAttach": pool.spec.multi_attach,
        "extras": pool.spec.extras,
    });
    let mut into = Map::new();
    pour("", &wire, &mut into);
    into
}

fn number(text: &str) -> Option<f64> {
    text.parse().ok()
}

fn flag(text: &str) -> Option<bool> {
    match text.to_lowercase().as_str() {
        "1" | "t" | "true" => Some(true),
        "0" | "f" | "false" => Some(false),
        _ => None,
    }
}

fn equal(text: &str, has: &Value) -> bool {
    match has {
        Value::Bool(b) => flag(text) == Some(*b),
        Value::Number(n) => number(text) == n.as_f64(),
        Value::String(s) => s.to_lowercase() == text.to_lowercase(),
        _ => false,
    }
}

fn holds(wanted: &Value, has: &Value) -> bool {
    let Some(text) = wanted.as_str() else {
        return wanted.as_f64() == has.as_f64() && wanted.as_bool() == has.as_bool();
    };
    let words: Vec<&str> = text.split(' ').collect();
    match words[..] {
        ["<is>", word] => has.is_boolean() && flag(word) == has.as_bool(),
        ["<in>", word] => {
            has.as_str().is_some_and(|s| regex::Regex::new(word).unwrap().is_match(s))
        }
        ["<or>", ..] => words.iter().skip(1).step_by(2).any(|word| equal(word, has)),
        [operator, word] if operator.starts_with('s') && operator != "ssd" => {
            let Some(has) = has.as_str().map(str::to_lowercase) else { return false };
            let word = word.to_lowercase();
            match operator {
                "s==" => has == word,
                "s!=" => has != word,
                "s<" => has < word,
                "s<=" => has <= word,
                "s>" => has > word,
                "s>=" => has >= word,
                _ => unreachable!(),
            }
        }
        [operator @ ("=" | "==" | "!=" | "<" | "<=" | ">" | ">="), word] => {
            let (Some(has), Some(word)) = (has.as_f64(), number(word)) else { return false };
            match operator {
                "=" | "==" => has == word,
                "!=" => has != word,
                "<" => has < word,
                "<=" => has <= word,
                ">" => has > word,
                ">=" => has >= word,
                _ => unreachable!(),
            }
        }
        _ => equal(text, has),
    }
}

fn fits(pool: &Pool, ask: &Ask<'_>) -> bool {
    let has = flat(pool);
    let custom = ask.profile.custom.clone().unwrap_or_default();
    pool.available
        && pool.spec.availability_zone == ask.availability_zone
        && pool.free() >= ask.size
        && (pool.spec.multi_attach || !ask.multi_attach)
        && ask.pool.is_none_or(|id| id == pool.id)
        && custom.iter().all(|(name, wanted)| match name.strip_prefix("capabilities:") {
            Some(key) => has.get(key).is_some_and(|has| holds(wanted, has)),
            None => true,
        })
}

prop_compose! {
    fn any_pool()(
        id in 1_u128..9,
        total in 1_u64..5,
        allocated in 0_u64..5,
        available in prop::bool::weighted(0.9),
        zone in prop_oneof![9 => Just("default"), 1 => Just("az 2")],
        multi_attach: bool,
        disk in prop::sample::select(vec!["SSD", "SAS", "fast disk", ""]),
        iops in 0_i64..3,
    ) -> Pool {
        let mut pool = fixtures::pool(id, total);
        pool.allocated = Capacity::from_gib(allocated.min(total)).unwrap();
        pool.available = available;
        pool.spec.availability_zone = zone.to_owned();
        pool.spec.multi_attach = multi_attach;
        pool.spec.extras.io_connectivity.max_iops = iops;
        if !disk.is_empty() {
            pool.spec.extras.advanced.insert("diskType".to_owned(), disk.into());
        }
        pool
    }
}

fn any_filter() -> impl Strategy<Value = (String, Value)> {
    let key = prop::sample::select(vec![
        "capabilities:extras.advanced.diskType",
        "capabilities:multiAttach",
        "capabilities:totalCapacity",
        "capabilities:freeCapacity",
        "capabilities:extras.ioConnectivity.maxIOPS",
        "capabilities:nosuch",
        "diskType",
    ]);
    let operator = prop::sample::select(vec![
        "", "", "<is>", "<in>", "<or>", "=", "==", "!=", "<", "<=", ">", ">=", "s==", "s!=", "s<",
        "s<=", "s>", "s>=", "json",
    ]);
    let operand =
        prop::sample::select(vec!["1", "2", "true", "False", "SSD", "sas", "fast disk", "S[AS]"]);
    (key, operator, operand.clone(), operand).prop_filter_map("read", |(key, operator, a, b)| {
        let value = match operator {
            "" => json!(a),
            "json" => serde_json::from_str(a).ok()?,
            "<or>" => json!(format!("<or> {} <or> {}", a.replace(' ', "-"), b.replace(' ', "-"))),
            _ => json!(format!("{operator} {}", a.replace(' ', "-"))),
        };
        Filter::parse(key, &value).ok()?;
        Some((key.to_owned(), value))
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_choice_is_the_freest_of_those_that_naively_fit(
        pools in prop::collection::vec(any_pool(), 0..6),
        filters in prop::collection::vec(any_filter(), 0..3),
        gib in 0_u64..4,
        multi_attach: bool,
        asked in prop::option::weighted(0.1, 1_u128..9),
    ) {
        // Ids are unique in the store.
        let pools: BTreeMap<PoolId, Pool> = pools.into_iter().map(|pool| (pool.id, pool)).collect();
        let profile = fixtures::profile(Value::Object(filters.into_iter().collect()));
        let ask = Ask {
            size: Capacity::from_gib(gib).unwrap(),
            multi_attach,
            pool: asked.map(PoolId::from_u128),
            ..ask(&profile)
        };
        let naive: Vec<&Pool> = pools.values().filter(|pool| fits(pool, &ask)).collect();
        let verdicts = explain(pools.values(), &ask);
        let fitting = verdicts.iter().filter(|verdict| verdict.fits());
        let mut fitting: Vec<PoolId> = fitting.map(|verdict| verdict.pool).collect();
        match choose(pools.values(), &ask) {
            Ok(chosen) => {
                prop_assert!(naive.iter().any(|pool| pool.id == chosen.id));
                prop_assert!(naive.iter().all(|pool| pool.free() <= chosen.free()));
                prop_assert!(chosen.spec.multi_attach || !multi_attach);
                prop_assert_eq!(verdicts[0].pool, chosen.id);
            }
            Err(no_pool) => {
                prop_assert!(naive.is_empty());
                prop_assert!(no_pool.verdicts.iter().all(|verdict| !verdict.fits()));
            }
        }
        fitting.sort_unstable();
        prop_assert_eq!(fitting, naive.iter().map(|pool| pool.id).collect::<Vec<_>>());
    }

    #[test]
    fn reading_never_panics(
        text in prop_oneof![
            any::<String>(),
            "(<is>|<in>|<or>|=|==|s[=<>!]{1,2}|[<>!]=?| |\t|[a-z0-9.()*+]|é|\u{212a}){0,12}",
        ],
        number: f64,
        json in prop::sample::select(vec![
            json!(null), json!({}), json!([[]]), json!([]), json!([null, 1, "a"]), json!(1e300),
            json!(u64::MAX), json!(-1),
        ]),
    ) {
        let items = [json!("a"), json!(1), json!(null), json!([1])];
        let words = ["a".to_owned()];
        for value in [json!(text), json!(number), json] {
            match Filter::parse("capabilities:x", &value) {
                Ok(filter) => {
                    for stated in [
                        Stated::Flag(true),
                        Stated::Number(number),
                        Stated::Text(text.as_str().into()),
                        Stated::Words(&words),
                        Stated::Items(&items),
                    ] {
                        let _ = filter.accepts(&stated);
                    }
                    prop_assert!(!filter.to_string().contains('\n') || text.contains('\n'));
                }
                Err(malformed) => prop_assert!(malformed.to_string().contains("write for example")),
            }
        }
        let profile = fixtures::profile(json!({"capabilities:multiAttach": text}));
        let _ = multi_attach_of(&profile);
        let pools = fixtures::captured_pools();
        let _ = choose(&pools, &ask(&profile)).map_err(|no_pool| no_pool.to_string());
    }
}
