//! How much a request costs beyond what the HTTP stack costs by itself.
//!
//! `cargo run --release -p osds-rest --example speed`: GET of a volume, and lists, each beside a
//! bare axum route that answers the same number of bytes; 32 connections (lists also 1), clients
//! in the same process on the same processors, rounds in turn so that noise hits all alike.

#[path = "../tests/http/client.rs"]
#[allow(dead_code)]
mod client;
#[path = "../tests/http/scene.rs"]
#[allow(dead_code)]
mod scene;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::http::header;
use axum::routing::get;
use scene::{Scene, T};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const VOLUMES: usize = 10_000;
const ROUND: Duration = Duration::from_millis(1500);
const ROUNDS: usize = 3;

fn main() {
    let scene = Scene::new();
    let one = fill(&scene);
    let list = format!("{T}/block/volumes");
    let page = format!("{list}?limit=50&offset=5000&sortKey=id&sortDir=desc");
    let filtered = format!("{list}?limit=50&status=available&name=v9");
    println!("{:<34}{:>11}{:>11}{:>8}", "", "ours /s", "bare /s", "ratio");
    for (name, path, connections) in [
        ("GET volume, 32 connections", scene.volume_path(&one), 32),
        ("GET volume, 1 connection", scene.volume_path(&one), 1),
        ("page of 50 of 10,000, 32", page.clone(), 32),
        ("page of 50 of 10,000, 1", page, 1),
        ("filtered by name of 10,000, 1", filtered, 1),
        ("50 by size of 10,000, 1", format!("{list}?limit=50&sortKey=size"), 1),
    ] {
        let bytes = scene.get(&path).expect(200).body;
        let bare = scene.runtime().block_on(bare(bytes));
        let (mut ours, mut theirs) = (0.0, 0.0);
        for _ in 0..ROUNDS {
            theirs += scene.runtime().block_on(load(bare, "/", connections));
            ours += scene.runtime().block_on(load(scene.address, &path, connections));
        }
        let (ours, theirs) = (ours / ROUNDS as f64, theirs / ROUNDS as f64);
        println!("{name:<34}{ours:>11.0}{theirs:>11.0}{:>8.2}", ours / theirs);
    }
}

/// Makes the volumes; the id of the last one.
fn fill(scene: &Scene) -> String {
    let mut client = scene.client();
    let path = format!("{T}/block/volumes");
    let ids = (0..VOLUMES).map(|n| {
        let body = format!(r#"{{"name":"v{}","size":1}}"#, n % 100);
        client.request("POST", &path, &[], Some(body.as_bytes())).expect(202).id()
    });
    let one = ids.last().expect("some were made");
    let settled = scene.client().request("GET", &scene.volume_path(&one), &[scene::WAIT], None);
    assert_eq!(settled.text("status"), "available");
    one
}

/// A route that knows its answer, behind axum's own server.
async fn bare(body: String) -> SocketAddr {
    let body = bytes::Bytes::from(body);
    let answer = move || {
        let body = body.clone();
        async move { ([(header::CONTENT_TYPE, "application/json; charset=utf-8")], body) }
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("a bound port");
    let router = Router::new().route("/", get(answer));
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

/// Requests a second.
async fn load(address: SocketAddr, path: &str, connections: usize) -> f64 {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    static STOP: AtomicBool = AtomicBool::new(false);
    COUNT.store(0, Ordering::SeqCst);
    STOP.store(false, Ordering::SeqCst);
    let request = format!("GET {path} HTTP/1.1\r\nHost: osds\r\n\r\n");
    let clients: Vec<_> = (0..connections)
        .map(|_| {
            let request = request.clone().into_bytes();
            tokio::spawn(async move {
                let mut stream = TcpStream::connect(address).await.expect("the server is there");
                stream.set_nodelay(true).expect("a TCP socket");
                let mut buffer = vec![0; 1 << 16];
                while !STOP.load(Ordering::Relaxed) {
                    stream.write_all(&request).await.expect("the server reads");
                    read(&mut stream, &mut buffer).await;
                    COUNT.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    let since = Instant::now();
    tokio::time::sleep(ROUND).await;
    let count = COUNT.load(Ordering::SeqCst);
    let took = since.elapsed();
    STOP.store(true, Ordering::SeqCst);
    for client in clients {
        client.await.expect("no client panics");
    }
    count as f64 / took.as_secs_f64()
}

/// Reads one answer, by its length.
async fn read(stream: &mut TcpStream, buffer: &mut [u8]) {
    let mut have = 0;
    let mut whole = None;
    while whole.is_none_or(|whole| have < whole) {
        let at = if whole.is_some() { 0 } else { have };
        let read = stream.read(&mut buffer[at..]).await.expect("the server writes");
        assert_ne!(read, 0, "the server closed the connection");
        have += read;
        if whole.is_none()
            && let Some(end) = buffer[..have].windows(4).position(|four| four == b"\r\n\r\n")
        {
            let head = std::str::from_utf8(&buffer[..end]).expect("a head is ASCII");
            let length = head.lines().find_map(|line| {
                let (name, value) = line.split_once(':')?;
                name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
            });
            whole = Some(end + 4 + length.unwrap_or(0_usize));
        }
    }
}
