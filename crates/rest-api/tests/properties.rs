//! What must hold for any input: text never panics, JSON survives the way through [`json`], and a
//! page is what a straightforward reading of the rules gives.

use osds_rest_api::request::{HostUpdate, NewAttachment, NewProfile, NewVolume};
use osds_rest_api::{Id, ListQuery, VolumeView, decode, json};
use proptest::prelude::*;
use serde_json::{Value, json};

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        // Eighths survive; serde_json may be off by the last bit of others.
        any::<i32>().prop_map(|eighths| Value::from(f64::from(eighths) / 8.0)),
        ".{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::btree_map("[a-zA-Z<&]{0,3}", inner, 0..5)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// A body whose members have the names that matter, and any value.
fn any_body() -> impl Strategy<Value = String> {
    let names = prop::sample::select(vec![
        "name",
        "Name",
        "size",
        "volumeId",
        "hostId",
        "hostInfo",
        "attachMode",
        "storageType",
        "customProperties",
        "provisioningProperties",
        "initiators",
        "availabilityZones",
        "port",
    ]);
    prop::collection::vec((names, any_json()), 0..6).prop_map(|members| {
        let members: Vec<_> =
            members.iter().map(|(name, value)| format!("{}:{value}", json!(name))).collect();
        format!("{{{}}}", members.join(","))
    })
}

fn volumes(seeds: &[(u8, u8)]) -> Vec<VolumeView<'static>> {
    let make = |(at, (name, size)): (usize, &(u8, u8))| VolumeView {
        id: Id::from(format!("{at:04}").as_str()),
        name: format!("n{}", name % 4).into(),
        size: u64::from(size % 4),
        ..VolumeView::default()
    };
    seeds.iter().enumerate().map(make).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn json_survives(value in any_json()) {
        let wire = json::write(&value);
        prop_assert_eq!(&json::read::<Value>(&wire).unwrap(), &value);
        prop_assert_eq!(&serde_json::from_slice::<Value>(&wire).unwrap(), &value);
    }

    #[test]
    fn no_text_panics(bytes in prop::collection::vec(any::<u8>(), 0..64), body in any_body()) {
        for text in [bytes.as_slice(), body.as_bytes()] {
            let _ = decode::<NewVolume>(text);
            let _ = decode::<NewAttachment>(text);
            let _ = decode::<NewProfile>(text);
            let _ = decode::<HostUpdate>(text);
        }
        let _ = ListQuery::parse::<VolumeView<'_>>(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn a_page_is_what_the_rules_say(
        seeds in prop::collection::vec(any::<(u8, u8)>(), 0..40),
        wanted in prop::option::of(0_u8..4),
        key in prop::sample::select(vec!["", "id", "name", "size"]),
        ascending in any::<bool>(),
        offset in 0_usize..45,
        limit in prop::option::of(1_usize..45),
    ) {
        let mut query = format!("offset={offset}&sortKey={key}");
        query += if ascending { "&sortDir=asc" } else { "" };
        if let Some(limit) = limit {
            query += &format!("&limit={limit}");
        }
        if let Some(wanted) = wanted {
            query += &format!("&name=n{wanted}");
        }
        let all = volumes(&seeds);

        let mut expected: Vec<_> = all.clone();
        expected.retain(|v| wanted.is_none_or(|n| v.name == format!("n{n}")));
        // Stable sorts, so equals stay in the order of their ids.
        match (key, ascending) {
            ("id", false) => expected.reverse(),
            ("name", true) => expected.sort_by_key(|v| v.name.clone()),
            ("name", false) => expected.sort_by_key(|v| std::cmp::Reverse(v.name.clone())),
            ("size", true) => expected.sort_by_key(|v| v.size),
            ("size", false) => expected.sort_by_key(|v| std::cmp::Reverse(v.size)),
            _ => {}
        }
        let expected: Vec<_> =
            expected.into_iter().skip(offset).take(limit.unwrap_or(usize::MAX)).collect();

        let query = ListQuery::parse::<VolumeView<'_>>(&query).unwrap();
        prop_assert_eq!(query.page(all.iter(), Clone::clone), expected);
    }
}
