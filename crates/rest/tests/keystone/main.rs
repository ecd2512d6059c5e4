//! The server behind a real Keystone: who is let in, what for, and for how long.
//!
//! One Keystone for all scenes, because it takes its time to start; each scene has projects of its
//! own.

#[path = "../http/client.rs"]
#[allow(dead_code)]
mod client;
#[path = "../http/scene.rs"]
#[allow(dead_code)]
mod scene;
mod service;

use std::time::{Duration, Instant};

use client::Answer;
use osds_policy::Policy;
use osds_rest::Authority;
use osds_rest_api::client::{Client, Settings};
use osds_rest_api::keystone::{Domain, Login};
use scene::{Scene, Setup};
use serde_json::Value;
use service::Keystone;

const NAMED_VOLUME: &[u8] = br#"{"name":"v","size":1}"#;

fn server(keystone: &Keystone, token_cache: Duration) -> Scene {
    let login = Login {
        auth_url: keystone.url(),
        username: "osds".to_owned(),
        password: "osds-password".to_owned(),
        user_domain: Domain::Name("Default".to_owned()),
        project_name: "service".to_owned(),
        project_domain: Domain::Name("Default".to_owned()),
        ca_file: None,
    };
    let authority = Authority::keystone(login, token_cache, Policy::built_in()).unwrap();
    Scene::of(Setup { authority, ..Setup::default() })
}

fn ask(scene: &Scene, token: &str, method: &str, path: &str, body: Option<&[u8]>) -> Answer {
    let path = format!("/v1beta/{path}");
    scene.client().request(method, &path, &[("X-Auth-Token", token)], body)
}

fn get(scene: &Scene, token: &str, path: &str) -> Answer {
    ask(scene, token, "GET", path, None)
}

#[test]
fn behind_a_real_keystone() {
    if !service::is_there("behind_a_real_keystone") {
        return;
    }
    let mut keystone = Keystone::start();
    let service = keystone.project("service");
    let osds = keystone.user("osds", "osds-password", &service, "admin");
    roles_and_tenants(&keystone);
    refusals(&keystone);
    revocation(&keystone);
    expiry(&keystone);
    our_own_token(&keystone, &osds);
    without_keystone(&mut keystone);
}

/// A new password ends every token of the same second, those that are made after it as well:
/// Keystone counts in seconds.
fn soon(is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !is_so() {
        assert!(Instant::now() < deadline, "it did not come true");
        // sleep: until Keystone's next second.
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn roles_and_tenants(keystone: &Keystone) {
    let (red, blue) = (keystone.project("red"), keystone.project("blue"));
    let alice_id = keystone.user("alice", "a", &red, "member");
    keystone.user("bob", "b", &blue, "member");
    let (scene, fresh) =
        (server(keystone, Duration::from_secs(60)), server(keystone, Duration::ZERO));
    let admin = keystone.token("admin", "admin-password", "admin");
    let alice = keystone.token("alice", "a", "red");
    let bob = keystone.token("bob", "b", "blue");

    let made = ask(&scene, &alice, "POST", &format!("{red}/block/volumes"), Some(NAMED_VOLUME));
    let volume = made.expect(202);
    assert_eq!(volume.text("tenantId"), red, "made for the token's project");
    assert!(!volume.text("userId").is_empty());
    let one = format!("block/volumes/{}", volume.id());

    get(&scene, &alice, &format!("{red}/{one}")).expect(200);
    get(&scene, &bob, &format!("{blue}/{one}")).expect(404);
    assert_eq!(get(&scene, &bob, &format!("{blue}/block/volumes")).expect(200).body, "[]");
    let said = get(&scene, &bob, &format!("{red}/{one}")).expect(403).message();
    assert_eq!(said, "operation is not permitted", "another's tenant in the path");
    ask(&scene, &bob, "DELETE", &format!("{red}/{one}"), None).expect(403);
    ask(&scene, &bob, "DELETE", &format!("{blue}/{one}"), None).expect(404);

    get(&scene, &alice, &format!("{red}/pools")).expect(403);
    get(&scene, &alice, &format!("{red}/docks")).expect(403);
    get(&scene, &alice, &format!("{red}/profiles")).expect(200);
    get(&scene, &alice, &format!("{red}/availabilityZones")).expect(200);
    let profile = br#"{"name":"p","storageType":"block"}"#;
    ask(&scene, &alice, "POST", &format!("{red}/profiles"), Some(profile)).expect(403);

    get(&scene, &admin, &format!("{red}/pools")).expect(200);
    get(&scene, &admin, &format!("{red}/{one}")).expect(200);
    ask(&scene, &admin, "POST", &format!("{red}/profiles"), Some(profile)).expect(200);

    // The role of an administrator in a tenant of one's own opens no other tenant.
    keystone.user("dave", "d", &blue, "admin");
    let dave = keystone.token("dave", "d", "blue");
    assert_eq!(get(&scene, &dave, &format!("{blue}/block/volumes")).expect(200).body, "[]");
    get(&scene, &dave, &format!("{blue}/{one}")).expect(404);
    ask(&scene, &dave, "DELETE", &format!("{blue}/{one}"), None).expect(404);
    get(&scene, &dave, &format!("{red}/{one}")).expect(403);
    get(&scene, &dave, &format!("{blue}/pools")).expect(403);
    // Nor do routes that do nothing yet answer whoever comes.
    scene.get(&format!("/v1beta/{red}/metrics")).expect(401);
    get(&scene, &bob, &format!("{red}/metrics")).expect(403);
    get(&scene, &alice, &format!("{red}/metrics")).expect(501);

    // Our own client gets its token by itself, and another one when that is not taken any more.
    let login = |password: &str| Login {
        auth_url: keystone.url(),
        username: "alice".to_owned(),
        password: password.to_owned(),
        user_domain: Domain::Id("default".to_owned()),
        project_name: "red".to_owned(),
        project_domain: Domain::Id("default".to_owned()),
        ca_file: None,
    };
    let client = |password: &str| {
        Client::new(Settings {
            endpoint: format!("http://{}", fresh.address),
            tenant: String::new(),
            login: Some(login(password)),
            ca_file: None,
            timeout: Duration::from_secs(60),
            user_agent: "test".to_owned(),
        })
    };
    let said = client("wrong").err().expect("refused").to_string();
    assert!(said.contains("does not take user alice") && !said.contains("wrong"), "{said}");
    let own = client("a").unwrap();
    assert!(own.get::<Vec<Value>>("block/volumes").unwrap().is_empty());
    keystone.set_password(&alice_id, "a");
    soon(|| own.get::<Vec<Value>>("block/volumes").is_ok());

    // The magic tenant of noauth means nothing here.
    let magic = "e93b4c0934da416eb9c8d120c5d04d96";
    get(&scene, &alice, &format!("{magic}/{one}")).expect(403);
}

fn refusals(keystone: &Keystone) {
    let scene = server(keystone, Duration::from_secs(60));
    let path = "/v1beta/any/block/volumes";
    let none = scene.get(path).expect(401);
    assert_eq!(none.message(), "token not found in header");
    assert_eq!(none.header("www-authenticate"), Some("Keystone"));
    get(&scene, "not-a-token", "any/block/volumes").expect(401);
    get(&scene, &"x".repeat(9000), "any/block/volumes").expect(401);
    let unscoped = keystone.unscoped("admin", "admin-password");
    let said = get(&scene, &unscoped, "any/block/volumes").expect(401).message();
    assert!(said.contains("project"), "{said}");
    scene.get("/").expect(200);
    scene.get("/v1beta").expect(200);
}

fn revocation(keystone: &Keystone) {
    let green = keystone.project("green");
    keystone.user("carol", "c", &green, "member");
    let (asking, keeping) =
        (server(keystone, Duration::ZERO), server(keystone, Duration::from_secs(3600)));
    let token = keystone.token("carol", "c", "green");
    let path = format!("{green}/block/volumes");
    for scene in [&asking, &keeping] {
        get(scene, &token, &path).expect(200);
    }
    keystone.revoke(&token);
    get(&asking, &token, &path).expect(401);
    get(&keeping, &token, &path).expect(200);
}

fn expiry(keystone: &Keystone) {
    let hasty = keystone.with_lifetime(10);
    let scene = server(keystone, Duration::from_secs(3600));
    // So that the server has its own token before the other one's time begins to run.
    let admin = keystone.token("admin", "admin-password", "admin");
    get(&scene, &admin, "any/pools").expect(200);
    let token = service::token_at(hasty.port, "carol", "c", Some("green"));
    let found = get(&scene, &token, "green/block/volumes");
    assert_eq!(found.status, 403, "it is good, and for another tenant than the name in the path");
    let deadline = Instant::now() + Duration::from_secs(30);
    while get(&scene, &token, "green/block/volumes").status != 401 {
        assert!(Instant::now() < deadline, "an expired token is believed, from the cache");
        // sleep: the token's lifetime is real time, and it is Keystone that counts it.
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Keystone drops our own token: the next request gets a new one, and nobody notices.
fn our_own_token(keystone: &Keystone, osds: &str) {
    let scene = server(keystone, Duration::ZERO);
    let admin = keystone.token("admin", "admin-password", "admin");
    get(&scene, &admin, "any/pools").expect(200);
    keystone.set_password(osds, "osds-password");
    soon(|| get(&scene, &admin, "any/pools").status == 200);
    keystone.set_password(osds, "another-password");
    let said = get(&scene, &admin, "any/pools").expect(503).message();
    assert!(!said.contains("password"), "{said}");
    keystone.set_password(osds, "osds-password");
    soon(|| get(&scene, &admin, "any/pools").status == 200);
}

fn without_keystone(keystone: &mut Keystone) {
    let scene = server(keystone, Duration::from_secs(3600));
    let known = keystone.token("admin", "admin-password", "admin");
    let unknown = keystone.token("admin", "admin-password", "admin");
    get(&scene, &known, "any/pools").expect(200);
    keystone.stop();
    get(&scene, &known, "any/pools").expect(200);
    get(&scene, &unknown, "any/pools").expect(503);
}
