//! The OpenAPI document: committed, served, complete.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::scene::{Scene, T};

const COMMITTED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../openapi/osds.json");

#[test]
fn the_committed_document_is_this_servers() {
    let document = osds_rest::document();
    if std::env::var_os("OSDS_UPDATE").is_some() {
        std::fs::write(COMMITTED, &document).unwrap();
    }
    let committed = std::fs::read_to_string(COMMITTED).unwrap_or_default();
    assert!(
        committed == document,
        "openapi/osds.json is old: OSDS_UPDATE=1 cargo test -p osds-rest"
    );
    let scene = Scene::new();
    for path in ["/openapi.json", "/v1beta/openapi.json"] {
        assert_eq!(scene.get(path).expect(200).body, document);
    }
}

#[test]
fn every_path_of_the_document_has_a_route() {
    let document: Value = serde_json::from_str(&osds_rest::document()).unwrap();
    let scene = Scene::new();
    let (mut count, mut ids) = (0, BTreeSet::new());
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            assert!(operation["summary"].is_string(), "{method} {path} does not say what it does");
            let id = operation["operationId"].as_str().unwrap();
            assert!(ids.insert(id), "two operations are called {id}");
            let path = path.replace("/v1beta/{tenantId}", T).replace("{apiVersion}", "v1beta");
            let path = path.replace("{id}", "nope").replace("{key}", "nope");
            let method = method.to_uppercase();
            let answer = scene.client().request(&method, &path, &[], Some(b"{}"));
            assert!(!answer.body.contains("no such route"), "{method} {path}");
            count += 1;
        }
    }
    assert!(count > 30, "{count}");
    let must = &document["components"]["schemas"]["NewVolume"]["required"];
    assert_eq!(*must, serde_json::json!(["name", "size"]));
}

#[test]
fn every_route_under_a_tenant_asks_who_asks() {
    let document: Value = serde_json::from_str(&osds_rest::document()).unwrap();
    let scene = Scene::new();
    let paths = document["paths"].as_object().unwrap().iter();
    for (path, item) in paths.filter(|(path, _)| path.contains("{tenantId}")) {
        for method in item.as_object().unwrap().keys() {
            // A tenant that is no text: whoever looks at it must stumble.
            let path = path.replace("{tenantId}", "%ff").replace("{id}", "x").replace("{key}", "x");
            let answer = scene.client().request(&method.to_uppercase(), &path, &[], Some(b"{}"));
            assert!(answer.expect(404).message().contains("no such route"), "{method} {path}");
        }
    }
}

#[test]
fn every_reference_leads_somewhere() {
    let document: Value = serde_json::from_str(&osds_rest::document()).unwrap();
    let mut found = BTreeSet::new();
    references(&document, &mut found);
    assert!(found.contains("#/components/schemas/VolumeView"), "{found:?}");
    for reference in found {
        let place = reference.strip_prefix('#').unwrap();
        assert!(document.pointer(place).is_some(), "{reference}");
    }
}

fn references(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => {
            if let Some(Value::String(reference)) = members.get("$ref") {
                found.insert(reference.clone());
            }
            members.values().for_each(|value| references(value, found));
        }
        Value::Array(items) => items.iter().for_each(|value| references(value, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
