//! Tenants are apart: whichever documented route one of them uses with whatever another has, it is
//! shown nothing of it, changes nothing of it, and cannot tell it from what is not there.
//!
//! The tenants are random and their names begin like each other's (the original's fault B19). Each
//! request is sent twice: with the ids, names and initiators of another tenant, and with ones that nobody
//! has; the answers have to be the same. What the others have is looked at in the records.
//!
//! Proved by hand that it notices: `sees` in the controller made to compare beginnings (as in the
//! original), `owner` left out there, a `find` without `sees`, and hosts known by initiator across tenants.

use std::cell::Cell;

use osds_model::{Host, Snapshot, Volume};
use osds_store::Store;
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};

use crate::client::Answer;
use crate::scene::{Scene, WAIT};

/// What one tenant has, by what it can be spoken of.
#[derive(Clone, Debug)]
struct Things {
    tenant: String,
    volume: String,
    host: String,
    attachment: String,
    group_snapshot: String,
    /// The one that is in it.
    snapshot: String,
    volume_name: String,
    host_name: String,
    initiator: String,
    /// In what is made, and in no request.
    secret: String,
}

impl Things {
    /// Words that say which of them is spoken of. As long as each other's in every tenant.
    fn words(&self) -> [&str; 8] {
        [
            &self.volume,
            &self.host,
            &self.attachment,
            &self.group_snapshot,
            &self.snapshot,
            &self.volume_name,
            &self.host_name,
            &self.initiator,
        ]
    }

    /// Things that nobody has.
    fn nobodys(tenant: &str) -> Self {
        let id = |last: u8| format!("019a0000-0000-7000-8000-0000000000{last:02}");
        let named = |number| Self::named(tenant, number);
        Self {
            volume: id(1),
            host: id(2),
            attachment: id(3),
            group_snapshot: id(4),
            snapshot: id(5),
            ..named(99)
        }
    }

    fn named(tenant: &str, number: usize) -> Self {
        Self {
            tenant: tenant.to_owned(),
            volume: String::new(),
            host: String::new(),
            attachment: String::new(),
            group_snapshot: String::new(),
            snapshot: String::new(),
            volume_name: format!("volume-zq{number:02}"),
            host_name: format!("host-zq{number:02}"),
            initiator: format!("iqn.2026-11.test:zq{number:02}"),
            secret: format!("secret-zq{number:02}"),
        }
    }

    /// Makes one of each for this tenant.
    fn made(scene: &Scene, tenant: &str, number: usize) -> Self {
        let mut things = Self::named(tenant, number);
        let post = |path: &str, body: Value, status: u16| {
            let path = format!("/v1beta/{tenant}/{path}");
            scene.post_wait(&path, &body.to_string()).expect(status)
        };
        let body = json!({"name": things.volume_name, "size": 1, "multiAttach": true,
            "description": things.secret, "metadata": {"note": things.secret}});
        things.volume = post("block/volumes", body, 202).id();
        let body = json!({"hostName": things.host_name, "osType": "linux", "ip": "10.0.0.1",
            "accessMode": "agentless", "username": things.secret,
            "initiators": [{"portName": things.initiator, "protocol": "iscsi"}]});
        things.host = post("host/hosts", body, 200).id();
        let body = json!({"volumeId": things.volume, "hostId": things.host,
            "mountpoint": things.secret});
        things.attachment = post("block/attachments", body, 202).id();
        let body = json!({"name": things.volume_name, "volumeIds": [things.volume],
            "description": things.secret, "metadata": {"note": things.secret}});
        let taken = post("block/groupSnapshots", body, 202);
        things.group_snapshot = taken.id();
        things.snapshot = taken.json()["snapshots"][0]["id"].as_str().unwrap().to_owned();
        things
    }
}

/// One request, before it is known whose things it speaks of.
#[derive(Clone, Debug)]
struct Call {
    who: Index,
    whose: Index,
    route: Index,
    id: Index,
    query: Vec<Index>,
    own_volume: bool,
    own_host: bool,
    described: bool,
}

fn call() -> impl Strategy<Value = Call> {
    let at = any::<Index>;
    (at(), at(), at(), at(), prop::collection::vec(at(), 0..3), any::<[bool; 3]>()).prop_map(
        |(who, whose, route, id, query, [own_volume, own_host, described])| Call {
            who,
            whose,
            route,
            id,
            query,
            own_volume,
            own_host,
            described,
        },
    )
}

/// Every route of a tenant, as method and path.
fn routes() -> Vec<(String, String)> {
    let document: Value = serde_json::from_str(&osds_rest::document()).unwrap();
    let paths = document["paths"].as_object().unwrap().iter();
    let of_tenants = paths.filter(|(path, _)| path.contains("{tenantId}"));
    let with_methods = of_tenants.flat_map(|(path, item)| {
        item.as_object().unwrap().keys().map(|method| (method.to_uppercase(), path.clone()))
    });
    with_methods.collect()
}

impl Call {
    /// The request, as `who` speaks of what is in `of`.
    fn send(
        &self,
        scene: &Scene,
        (method, path): &(String, String),
        who: &Things,
        of: &Things,
        name: &str,
    ) -> Answer {
        let id = *self.id.get(&of.words());
        let queries = [
            format!("volumeId={}", of.volume),
            format!("hostId={}", of.host),
            format!("id={id}"),
            format!("name={}", of.volume_name),
            format!("hostName={}", of.host_name),
            format!("tenantId={}", of.tenant),
            format!("snapshotId={}", of.volume),
            format!("groupSnapshotId={}", of.group_snapshot),
            "status=available".to_owned(),
            "sortKey=name&sortDir=asc".to_owned(),
            "force=true".to_owned(),
        ];
        let query: Vec<&str> = self.query.iter().map(|at| at.get(&queries).as_str()).collect();
        let path = path
            .replace("{tenantId}", &who.tenant)
            .replace("{id}", id)
            .replace("{key}", &of.volume_name);
        let mut body = json!({
            "name": name, "size": 1, "newSize": 2, "description": "d", "metadata": {"a": "b"},
            "volumeId": if self.own_volume { &who.volume } else { &of.volume },
            "hostId": if self.own_host { &who.host } else { &of.host },
            "volumeIds": [if self.own_volume { &who.volume } else { &of.volume }, &of.volume],
            "volumes": [of.volume], "addVolumes": [of.volume], "attachmentId": of.attachment,
            "sourceVolumeId": of.volume, "id": of.volume, "tenantId": of.tenant,
            "hostName": name, "osType": "linux", "ip": "10.0.0.1", "accessMode": "agentless",
            "reason": "r",
        });
        if self.own_host && self.own_volume {
            body["volumeIds"] = json!([who.volume]);
        }
        if self.described {
            body["hostId"] = "".into();
            // A host of one's own, whose initiator somebody else has too.
            body["hostInfo"] = json!({"host": name, "initiator": of.initiator,
                "ip": "10.0.0.1", "osType": "linux"});
        }
        let body = body.to_string();
        let path = format!("{path}?{}", query.join("&"));
        scene.client().request(method, &path, &[WAIT], Some(body.as_bytes()))
    }
}

/// All that tenants other than `who` have.
fn of_others(scene: &Scene, who: &str) -> (Vec<Volume>, Vec<Host>, Vec<Snapshot>) {
    let view = scene.store.view();
    let snapshots = view.iter::<Snapshot>().filter(|s| s.tenant.as_str() != who);
    let snapshots = snapshots.map(|s| Snapshot::clone(s)).collect();
    let volumes = view.iter::<Volume>().filter(|v| v.tenant.as_str() != who);
    let hosts = view.iter::<Host>().filter(|h| h.tenant.as_str() != who);
    (
        volumes.map(|v| Volume::clone(v)).collect(),
        hosts.map(|h| Host::clone(h)).collect(),
        snapshots,
    )
}

/// The members that a value has, all the way down.
fn shape(value: &Value) -> Value {
    match value {
        Value::Object(members) => {
            members.iter().map(|(key, value)| (key.clone(), shape(value))).collect()
        }
        Value::Array(items) => items.iter().map(shape).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Value::Null,
    }
}

/// The answer without ids and times, a refusal without the words of `of`, and of what a request has made
/// its shape only: what is left has to be the same for what others have and for what nobody has.
fn masked(method: &str, answer: &Answer, of: &Things, name: &str) -> (u16, String, String) {
    let mut answer = answer.clone();
    if method == "POST" && answer.status < 300 {
        answer.body = shape(&answer.json()).to_string();
    }
    // Of what is not refused, nothing is hidden: what is shown is one's own.
    let said = if answer.status < 400 { Vec::new() } else { of.words().to_vec() };
    for (at, word) in said.into_iter().enumerate() {
        answer.body = answer.body.replace(word, &format!("WORD{at}"));
    }
    answer.body = answer.body.replace(name, "NAME");
    (answer.status, answer.content_type().to_owned(), answer.masked())
}

#[test]
fn a_tenant_is_shown_nothing_of_another_changes_nothing_and_cannot_tell_it_is_there() {
    let routes = routes();
    assert!(routes.len() > 25, "{}", routes.len());
    let (count, refused) = (Cell::new(0_usize), Cell::new(0_usize));
    let case = ("[a-z]{2,6}", "[a-z0-9]{1,3}", prop::collection::vec(call(), 60));
    let config = Config { cases: 24, failure_persistence: None, ..Config::default() };
    let outcome = TestRunner::new(config).run(&case, |(stem, tail, calls)| {
        let scene = Scene::new();
        let tenants = [
            stem.clone(),
            format!("{stem}{tail}"),
            format!("{stem}{tail}2"),
            format!("{stem}-{tail}"),
        ];
        let all: Vec<Things> =
            (0..).zip(&tenants).map(|(n, tenant)| Things::made(&scene, tenant, n)).collect();
        for (number, call) in calls.iter().enumerate() {
            let who = call.who.get(&all);
            let others: Vec<&Things> = all.iter().filter(|one| one.tenant != who.tenant).collect();
            let whose = *call.whose.get(&others);
            let initiator = format!("iqn.2026-11.test:{number:04}");
            let nobodys = Things { initiator, ..Things::nobodys("nobody") };
            let route = call.route.get(&routes);
            let before = of_others(&scene, &who.tenant);
            let names = [format!("own-a{number:03}"), format!("own-b{number:03}")];
            let answer = call.send(&scene, route, who, whose, &names[0]);
            prop_assert_eq!(&of_others(&scene, &who.tenant), &before, "{:?}: changed", route);
            for other in &others {
                let Things { volume, host, attachment, volume_name, secret, .. } = *other;
                let Things { group_snapshot, snapshot, .. } = *other;
                let others_words =
                    [volume, host, attachment, volume_name, secret, group_snapshot, snapshot];
                for word in others_words {
                    // What a refused request said may be said again.
                    let said = answer.status >= 400 && whose.words().contains(&word.as_str());
                    let shown = answer.body.contains(word.as_str()) && !said;
                    prop_assert!(!shown, "{route:?}: {word} in {answer:?}");
                }
            }
            let twin = call.send(&scene, route, who, &nobodys, &names[1]);
            prop_assert_eq!(
                masked(&route.0, &answer, whose, &names[0]),
                masked(&route.0, &twin, &nobodys, &names[1]),
                "{:?} {:?}: told apart\n{:?}\n{:?}",
                route,
                call,
                answer,
                twin
            );
            count.set(count.get() + 1);
            refused.set(refused.get() + usize::from(answer.status == 404));
        }
        // It is all there: for its owner and for the administrator.
        for one in &all {
            for tenant in [&one.tenant, "e93b4c0934da416eb9c8d120c5d04d96"] {
                let of = format!("/v1beta/{tenant}/block/volumes/{}", one.volume);
                prop_assert_eq!(scene.get(&of).expect(200).text("name"), one.volume_name.clone());
            }
        }
        Ok(())
    });
    outcome.unwrap();
    let (count, refused) = (count.get(), refused.get());
    assert!(refused > count / 10 && count > 1000, "{refused} of {count} were of one thing");
}
