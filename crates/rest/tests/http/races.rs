//! Races over real HTTP: fifty clients, each with its own connection, all at once.

use std::sync::Barrier;
use std::thread;

use crate::client::Answer;
use crate::scene::{Scene, T, WAIT, attach_body, shared_pool};

const CLIENTS: usize = 50;

/// Every client sends its request of every round at the same moment as the others.
fn all_at_once(
    scene: &Scene,
    rounds: usize,
    headers: &[(&str, &str)],
    path: &str,
    body: impl Fn(usize, usize) -> String + Sync,
    check: impl Fn(usize, &[Answer]),
) {
    let start = Barrier::new(CLIENTS);
    let answers: Vec<Vec<Answer>> = thread::scope(|scope| {
        let one = |client: usize| {
            let (start, body) = (&start, &body);
            move || {
                let mut connection = scene.client();
                let rounds = (0..rounds).map(|round| {
                    let body = body(round, client);
                    start.wait();
                    connection.request("POST", path, headers, Some(body.as_bytes()))
                });
                rounds.collect()
            }
        };
        let threads: Vec<_> = (0..CLIENTS).map(|client| scope.spawn(one(client))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    for round in 0..rounds {
        let round_answers: Vec<_> = answers.iter().map(|mine| mine[round].clone()).collect();
        check(round, &round_answers);
    }
}

fn hosts(scene: &Scene) -> Vec<String> {
    (0..CLIENTS).map(|n| scene.host(&format!("h{n}"))).collect()
}

#[test]
fn b04_of_fifty_attaches_of_a_volume_that_is_not_multi_attach_exactly_one_wins() {
    const ROUNDS: usize = 200;
    let scene = Scene::new();
    let hosts = hosts(&scene);
    let volumes: Vec<_> = (0..ROUNDS).map(|_| scene.volume(false)).collect();
    let path = format!("{T}/block/attachments");
    let body = |round: usize, client: usize| attach_body(&volumes[round], &hosts[client], "rw");
    all_at_once(&scene, ROUNDS, &[], &path, body, |round, answers| {
        let won: Vec<_> = answers.iter().filter(|answer| answer.status == 202).collect();
        assert_eq!(won.len(), 1, "round {round}");
        for lost in answers.iter().filter(|answer| answer.status != 202) {
            assert_eq!(lost.status, 400);
            assert!(lost.message().starts_with("volume is already attached to one of the host."));
        }
        let held = scene.attachments_of(&volumes[round]);
        assert_eq!(held.len(), 1);
        assert_eq!(held[0]["id"], won[0].id());
    });
    let last = scene.attachments_of(&volumes[ROUNDS - 1])[0]["id"].as_str().unwrap().to_owned();
    let settled = scene.client().request("GET", &scene.attachment_path(&last), &[WAIT], None);
    assert_eq!(settled.text("status"), "available");
}

#[test]
fn b05_fifty_attaches_of_a_multi_attach_volume_all_become_available() {
    let scene = Scene::new();
    let hosts = hosts(&scene);
    let volume = scene.volume(true);
    let path = format!("{T}/block/attachments");
    let mode = |client: usize| if client.is_multiple_of(2) { "rw" } else { "ro" };
    let body = |_: usize, client: usize| attach_body(&volume, &hosts[client], mode(client));
    all_at_once(&scene, 1, &[WAIT], &path, body, |_, answers| {
        for (client, answer) in answers.iter().enumerate() {
            let attached = answer.clone().expect(202);
            assert_eq!(attached.text("status"), "available");
            assert_eq!(attached.text("attachMode"), mode(client));
        }
    });
    let held = scene.attachments_of(&volume);
    assert_eq!(held.len(), CLIENTS);
    assert_eq!(scene.status_of_volume(&volume), "inUse");
    // All but one leave at once; the volume is still in use.
    let (last, leaving) = held.split_last().unwrap();
    thread::scope(|scope| {
        for attachment in leaving {
            let scene = &scene;
            scope.spawn(move || scene.detach(attachment["id"].as_str().unwrap()));
        }
    });
    assert_eq!(scene.status_of_volume(&volume), "inUse");
    scene.detach(last["id"].as_str().unwrap());
    assert_eq!(scene.status_of_volume(&volume), "available");
}

#[test]
fn b08_fifty_times_the_same_attach_is_one_attachment() {
    let scene = Scene::new();
    let (a, volume) = (scene.host("a"), scene.volume(true));
    let path = format!("{T}/block/attachments");
    all_at_once(
        &scene,
        1,
        &[],
        &path,
        |_, _| attach_body(&volume, &a, "rw"),
        |_, answers| {
            let mut ids: Vec<_> =
                answers.iter().map(|answer| answer.clone().expect(202).id()).collect();
            ids.dedup();
            assert_eq!(ids.len(), 1);
        },
    );
}

#[test]
fn b23_fifty_creates_never_over_commit_a_pool() {
    const ROUNDS: usize = 20;
    let scene = Scene::with_pools(vec![shared_pool(100)]);
    let path = format!("{T}/block/volumes");
    // 100 GiB, 50 clients, 3 GiB each: 33 fit, and then never one more.
    let body = |_: usize, _: usize| r#"{"name":"v","size":3}"#.to_owned();
    let mut made = 0;
    let total = std::cell::Cell::new(0);
    all_at_once(&scene, ROUNDS, &[], &path, body, |_, answers| {
        total.set(total.get() + answers.iter().filter(|answer| answer.status == 202).count());
        assert!(answers.iter().all(|answer| matches!(answer.status, 202 | 400)));
    });
    made += total.get();
    assert_eq!(made, 33);
    let pool = scene.get(&format!("{T}/pools")).json();
    assert_eq!((&pool[0]["freeCapacity"], &pool[0]["consumedCapacity"]), (&1.into(), &99.into()));
}
