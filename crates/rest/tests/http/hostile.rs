//! Clients that mean no good, or are broken: each is cut off or told off, and nobody else notices.

use std::io::Write;
use std::net::Shutdown;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use axum::Router;
use axum::routing::get;
use osds_rest::Limits;
use tokio::sync::Semaphore;

use crate::client::Client;
use crate::scene::{Scene, Setup, T};

const SHORT: Duration = Duration::from_millis(300);
const LONG: Duration = Duration::from_secs(20);

fn scene(limits: Limits) -> Scene {
    Scene::of(Setup { limits, ..Setup::default() })
}

#[track_caller]
fn fine(scene: &Scene) {
    scene.get(&format!("{T}/docks")).expect(200);
}

#[test]
fn slow_heads_and_idle_connections_are_closed() {
    let scene = scene(Limits { head_read: SHORT, ..Limits::default() });
    let mut slow = scene.client();
    slow.send("GET /v1beta HTTP/1.1\r\nHo").unwrap();
    let mut silent = scene.client();
    let mut idle = scene.client();
    idle.request("GET", "/v1beta", &[], None).expect(200);
    fine(&scene);
    for client in [&mut slow, &mut silent, &mut idle] {
        assert!(client.is_closed_within(LONG));
    }
    fine(&scene);
}

#[test]
fn a_head_that_drips_is_as_slow_as_one_that_stops() {
    let scene = scene(Limits { head_read: SHORT, ..Limits::default() });
    let mut drip = scene.client();
    let since = Instant::now();
    drip.send("GET /v1beta HTTP/1.1\r\n").unwrap();
    while drip.send("X-A: b\r\n").is_ok() && !drip.is_closed_within(Duration::from_millis(20)) {
        assert!(since.elapsed() < LONG, "a byte now and then keeps the place for ever");
    }
    fine(&scene);
}

#[test]
fn huge_heads_are_refused() {
    let scene = scene(Limits::default());
    let mut client = scene.client();
    let head = format!("GET /v1beta HTTP/1.1\r\nX-A: {}\r\n\r\n", "a".repeat(1 << 20));
    // The server may stop listening before all of it is sent.
    let _ = client.send(head);
    if let Ok(answer) = client.read(false) {
        assert_eq!(answer.status, 431);
    }
    let mut client = scene.client();
    let many: String = (0..2000).map(|n| format!("X-{n}: a\r\n")).collect();
    let _ = client.send(format!("GET /v1beta HTTP/1.1\r\n{many}\r\n"));
    if let Ok(answer) = client.read(false) {
        assert_eq!(answer.status, 431);
    }
    let long = format!("/v1beta/{}", "x".repeat(20_000));
    assert_eq!(scene.get(&long).status, 404);
    fine(&scene);
}

#[test]
fn huge_bodies_are_refused_in_words() {
    let scene = scene(Limits::default());
    let path = format!("{T}/block/volumes");
    let body = vec![b' '; 3 << 20];
    let answer = scene.client().request("POST", &path, &[], Some(&body)).expect(400);
    assert_eq!(answer.message(), "request body is larger than 1048576 bytes");
    // Also when it comes in pieces and does not say how large it is.
    let mut client = scene.client();
    client
        .send(format!("POST {path} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"))
        .unwrap();
    let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
    for _ in 0..40 {
        client.send(&chunk).unwrap();
    }
    client.send("0\r\n\r\n").unwrap();
    assert!(client.read(false).unwrap().expect(400).message().contains("larger"));
    // One that never ends is cut off.
    let mut client = scene.client();
    client
        .send(format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n"))
        .unwrap();
    let since = Instant::now();
    while client.stream().write_all(&body).is_ok() {
        assert!(since.elapsed() < LONG, "it reads for ever");
    }
    fine(&scene);
}

#[test]
fn bodies_that_do_not_come_are_not_waited_for() {
    let scene = scene(Limits { body_read: SHORT, ..Limits::default() });
    let path = format!("{T}/block/volumes");
    let head = format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{{");
    let mut slow = scene.client();
    slow.send(&head).unwrap();
    let mut half = scene.client();
    half.send(&head).unwrap();
    half.stream().shutdown(Shutdown::Write).unwrap();
    fine(&scene);
    let answer = slow.read(false).unwrap().expect(400);
    assert_eq!(answer.message(), "request body did not arrive in time");
    assert!(half.is_closed_within(LONG) || half.read(false).is_ok());
    fine(&scene);
    assert_eq!(scene.get(&path).body, "[]");
}

#[test]
fn no_more_connections_than_there_is_room_for() {
    let limits = Limits { connections: 2, head_read: SHORT, ..Limits::default() };
    let scene = scene(limits);
    let mut squatters: Vec<Client> = (0..8).map(|_| scene.client()).collect();
    // All in front of us have to be cut off before it is our turn; it comes.
    fine(&scene);
    for squatter in &mut squatters {
        assert!(squatter.is_closed_within(LONG));
    }
}

#[test]
fn who_waits_makes_room_for_who_asks() {
    let go = Arc::new(Semaphore::new(0));
    let limits = Limits { connections: 4, ..Limits::default() };
    let scene = Scene::of(Setup { more: held(&go), limits, ..Setup::default() });
    let mut busy = scene.client();
    busy.send("GET /held HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    scene.client().request("GET", "/v1beta", &[], None).expect(200);
    let since = Instant::now();
    let mut crowd: Vec<Client> = (0..32).map(|_| scene.client()).collect();
    crowd[0].send("GET /v1beta HTTP/1.1\r\nHo").unwrap();
    fine(&scene);
    assert!(since.elapsed() < Limits::default().head_read / 2);
    for waiting in &mut crowd[..24] {
        assert!(waiting.is_closed_within(LONG));
    }
    // Whoever asked something is answered all the same.
    go.close();
    assert_eq!(busy.read(false).unwrap().expect(200).body, "done");
}

#[test]
fn who_does_not_read_does_not_stay() {
    let limits = Limits { connections: 2, write: Duration::from_secs(1), ..Limits::default() };
    let scene = scene(limits);
    let path = format!("{T}/block/volumes");
    let mut client = scene.client();
    for _ in 0..300 {
        client.request("POST", &path, &[], Some(br#"{"name":"v","size":1}"#)).expect(202);
    }
    drop(client);
    // Far more answers than the buffers on the way can hold.
    let requests = format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").repeat(600);
    let deaf: Vec<_> = (0..2)
        .map(|_| {
            let mut client = scene.client();
            client.send(&requests).unwrap();
            client
        })
        .collect();
    fine(&scene);
    drop(deaf);
}

#[test]
fn nonsense_is_no_http() {
    let scene = scene(Limits { head_read: SHORT, ..Limits::default() });
    for nonsense in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..],
        b"\r\n\r\n\r\n",
        b"GET\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"POST /v1beta HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
        b"POST /v1beta HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        &[0; 100_000],
    ] {
        let mut client = scene.client();
        let _ = client.send(nonsense);
        if let Ok(answer) = client.read(false) {
            assert!((400..500).contains(&answer.status), "{answer:?}");
        }
        assert!(client.is_closed_within(LONG));
    }
    fine(&scene);
}

#[test]
fn a_panic_is_one_500_and_the_connection_survives() {
    let more = Router::new().route("/bug", get(|| async { explode().await }));
    let scene = Scene::of(Setup { more, ..Setup::default() });
    let mut client = scene.client();
    for _ in 0..3 {
        let answer = client.request("GET", "/bug", &[], None).expect(500);
        assert_eq!(answer.message(), "internal error; the server's log says more");
        client.request("GET", "/v1beta", &[], None).expect(200);
    }
}

async fn explode() -> &'static str {
    panic!("planned: a handler with a bug");
}

/// A route that answers when the test lets it.
fn held(go: &Arc<Semaphore>) -> Router {
    let go = Arc::clone(go);
    let wait = move || {
        let go = Arc::clone(&go);
        async move {
            drop(go.acquire().await);
            "done"
        }
    };
    Router::new().route("/held", get(wait))
}

#[test]
fn a_request_that_takes_too_long_is_answered_all_the_same() {
    let more = held(&Arc::new(Semaphore::new(0)));
    let limits = Limits { request: SHORT, ..Limits::default() };
    let scene = Scene::of(Setup { more, limits, ..Setup::default() });
    let mut client = scene.client();
    assert!(client.request("GET", "/held", &[], None).expect(503).message().contains("too long"));
    client.request("GET", "/v1beta", &[], None).expect(200);
}

#[test]
fn at_the_end_requests_under_way_are_answered_and_idle_ones_are_let_go() {
    let go = Arc::new(Semaphore::new(0));
    let mut scene = Scene::of(Setup { more: held(&go), ..Setup::default() });
    let (mut idle, mut busy, address) = (scene.client(), scene.client(), scene.address);
    idle.request("GET", "/v1beta", &[], None).expect(200);
    busy.send("GET /held HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    // Whoever is answered after it was sent is answered after it was read.
    scene.client().request("GET", "/v1beta", &[], None).expect(200);
    let since = Instant::now();
    scene.stop();
    assert!(idle.is_closed_within(LONG));
    let deadline = Instant::now() + LONG;
    while std::net::TcpStream::connect(address).is_ok() {
        assert!(Instant::now() < deadline, "it still takes connections");
        thread::yield_now();
    }
    go.close();
    assert_eq!(busy.read(false).unwrap().expect(200).body, "done");
    scene.stopped();
    assert!(since.elapsed() < Limits::default().grace);
}

#[test]
fn request_ids_come_back() {
    let scene = scene(Limits::default());
    let with = |id: &str| {
        let answer = scene.client().request("GET", "/v1beta", &[("X-Request-Id", id)], None);
        answer.header("x-request-id").unwrap().to_owned()
    };
    assert_eq!(with("req-0815"), "req-0815");
    assert_ne!(with("two words"), "two words");
    assert_ne!(with(&"x".repeat(500)).len(), 500);
    let ids = [scene.get("/v1beta"), scene.get("/nope")];
    let [a, b] = ids.map(|answer| answer.header("x-request-id").unwrap().to_owned());
    assert_ne!(a, b);
}
