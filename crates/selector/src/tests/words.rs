//! What people read: why no pool fits, what is wrong with a profile. And how long it takes.

use std::time::Instant;

use expect_test::{Expect, expect};
use osds_model::{Capacity, PoolId};
use serde_json::{Value, json};

use crate::fixtures::{ask, captured_pools, pool, profile};
use crate::{Ask, check_profile, choose, explain};

#[test]
fn every_pool_says_why_not() {
    let mut pools = captured_pools().to_vec();
    pools.push(pool(3, 5));
    pools[2].available = false;
    pools[2].spec.availability_zone = "az2".to_owned();
    let profile = profile(json!({
        "capabilities:extras.advanced.diskType": "<or> NVMe <or> SCM",
        "capabilities:extras.ioConnectivity.maxIOPS": ">= 1000",
    }));
    let ask = Ask { size: Capacity::from_gib(100).unwrap(), multi_attach: true, ..ask(&profile) };
    let no_pool = choose(&pools, &ask).unwrap_err();
    expect![[r#"
        no available pool to meet user's requirement: sample-pool-02: multiAttach is false, wanted true, extras.advanced.diskType is "SAS", wanted <or> NVMe <or> SCM, has no extras.ioConnectivity.maxIOPS, wanted >= 1000; sample-pool-01: 90 GiB free, wanted 100 GiB, extras.advanced.diskType is "SSD", wanted <or> NVMe <or> SCM, has no extras.ioConnectivity.maxIOPS, wanted >= 1000; pool-3: its dock does not report it, availabilityZone is "az2", wanted "default", 5 GiB free, wanted 100 GiB, has no extras.advanced.diskType, wanted <or> NVMe <or> SCM, has no extras.ioConnectivity.maxIOPS, wanted >= 1000"#]]
    .assert_eq(&no_pool.to_string());
}

#[test]
fn explain_lists_the_fitting_first() {
    let profile = profile(json!({"capabilities:multiAttach": "<is> True"}));
    let mut pools = captured_pools().to_vec();
    pools.push(pool(3, 95));
    let lines: Vec<String> =
        explain(&pools, &ask(&profile)).iter().map(ToString::to_string).collect();
    expect![[r#"
        pool-3: fits, 95 GiB free
        sample-pool-01: fits, 90 GiB free
        sample-pool-02: multiAttach is false, wanted <is> true"#]]
    .assert_eq(&lines.join("\n"));
}

#[test]
fn a_named_pool_speaks_alone() {
    let profile = profile(json!(null));
    let pools = captured_pools();
    let with = |id| Ask { pool: Some(id), size: Capacity::from_gib(150).unwrap(), ..ask(&profile) };
    let told = |id| choose(&pools, &with(id)).unwrap_err().to_string();
    expect![
        "no available pool to meet user's requirement: sample-pool-01: 90 GiB free, wanted 150 GiB"
    ]
    .assert_eq(&told(pools[0].id));
    expect!["no available pool to meet user's requirement: there is no pool 00000000-0000-0000-0000-000000000007"]
        .assert_eq(&told(PoolId::from_u128(7)));
    assert_eq!(choose(&pools, &with(pools[1].id)).unwrap().id, pools[1].id);
    let none = choose(&[], &ask(&profile)).unwrap_err().to_string();
    expect!["no available pool to meet user's requirement: there is no pool at all"]
        .assert_eq(&none);
}

#[test]
fn many_pools_do_not_flood_the_message() {
    let profile = profile(json!({"capabilities:nosuch": "x"}));
    let pools: Vec<_> = (1..=50).map(|id| pool(id, 10)).collect();
    let told = choose(&pools, &ask(&profile)).unwrap_err().to_string();
    assert!(told.ends_with("; and 30 pools more") && told.len() < 2000, "{told}");
}

#[test]
fn a_malformed_filter_is_refused_in_words() {
    let check = |custom: Value, expected: Expect| {
        expected.assert_eq(&check_profile(&profile(custom)).unwrap_err().to_string());
    };
    check(
        json!({"capabilities:multiAttach": "<is> yes"}),
        expect![[
            r#"custom property "capabilities:multiAttach" is "<is> yes": <is> takes true or false, not "yes"; write for example "<is> true""#
        ]],
    );
    check(
        json!({"capabilities:totalCapacity": ">=100"}),
        expect![[
            r#"custom property "capabilities:totalCapacity" is ">=100": ">=100" is no operator (a space must follow the operator); write for example ">= 100" or "<is> true""#
        ]],
    );
    check(
        json!({"capabilities:name": "<in> (a"}),
        expect![[
            r#"custom property "capabilities:name" is "<in> (a": "(a" is no regular expression that can be used: unclosed group; write for example "<in> S[AS]""#
        ]],
    );
    check(
        json!({"capabilities:multiAttach": "yes"}),
        expect![[
            r#"custom property "capabilities:multiAttach" is "yes": no pool can meet this: multiAttach is either true or false; write for example "<is> true""#
        ]],
    );
    check(
        json!({"maxAttachments": "many"}),
        expect![[
            r#"custom property "maxAttachments" is "many": it must be a whole number of at least 1; write for example 3"#
        ]],
    );
}

/// A profile that came into the store unchecked harms nobody but itself.
#[test]
fn a_malformed_filter_is_a_reason_of_each_pool() {
    let profile = profile(json!({"capabilities:multiAttach": "<is> yes"}));
    let told = choose(&captured_pools(), &ask(&profile)).unwrap_err().to_string();
    assert!(told.contains("sample-pool-01: custom property"), "{told}");
}

#[test]
fn choosing_among_a_hundred_pools_takes_microseconds() {
    let profile = profile(json!({
        "capabilities:multiAttach": "<is> true",
        "capabilities:extras.advanced.diskType": "SSD",
    }));
    let mut pools: Vec<_> = (1..=100).map(|id| pool(id, 10)).collect();
    for pool in &mut pools {
        pool.spec.extras.advanced.insert("diskType".to_owned(), "SSD".into());
    }
    let ask = ask(&profile);
    let quickest = (0..50)
        .map(|_| {
            let before = Instant::now();
            assert!(choose(std::hint::black_box(&pools), &ask).is_ok());
            before.elapsed()
        })
        .min()
        .unwrap();
    // Ten times what it takes in an unoptimised build, so that only a change of order fails.
    assert!(quickest.as_micros() < 1000, "{quickest:?}");
    println!("{quickest:?} for 100 pools");
}
