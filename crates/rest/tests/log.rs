//! What a request leaves in the log: who it was, how it went, and no secret.
//!
//! A program of its own, because a log belongs to the whole process.

#[path = "http/client.rs"]
#[allow(dead_code)]
mod client;
#[path = "http/scene.rs"]
#[allow(dead_code)]
mod scene;

use std::io;
use std::sync::{Arc, Mutex};

use scene::{Scene, T};
use tracing_subscriber::fmt::MakeWriter;

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Lines {
    type Writer = Self;
    fn make_writer(&self) -> Self {
        self.clone()
    }
}

#[test]
fn requests_are_logged_by_id_and_passwords_are_not() {
    let lines = Lines::default();
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_writer(lines.clone())
        .init();
    let scene = Scene::new();
    let id = [("X-Request-Id", "req-4711")];
    let body = r#"{"hostName":"n","osType":"linux","ip":"10.0.0.2","accessMode":"agentless","password":"s3cret-word","username":"root"}"#;
    let hosts = format!("{T}/host/hosts");
    let made = scene.client().request("POST", &hosts, &id, Some(body.as_bytes())).expect(200);
    assert!(!made.body.contains("s3cret"), "{made:?}");
    let path = format!("{hosts}/{}", made.id());
    // Neither where it is read, nor where it is wrong.
    scene.put(&path, r#"{"password":"s3cret-word","osType":"linux"}"#).expect(200);
    scene.put(&path, r#"{"password":["s3cret-word"]}"#).expect(400);
    scene.post(&hosts, r#"{"password":"s3cret-word"}"#).expect(400);
    scene.post(&hosts, r#""s3cret-word"#).expect(400);
    assert!(!scene.get(&path).body.contains("s3cret"));
    let made = format!("{T}/block/volumes?token=s3cret-word");
    let body = Some(&br#"{"name":"v","size":1}"#[..]);
    let id = [("X-Request-Id", "req-4712"), ("Prefer", "wait=9")];
    scene.client().request("POST", &made, &id, body).expect(202);
    drop(scene);

    let log = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    let answered: Vec<_> = log.lines().filter(|line| line.contains("answered")).collect();
    assert!(answered.len() >= 7, "{log}");
    let first = answered.iter().find(|line| line.contains("req-4711")).expect(&log);
    for part in ["DEBUG", "method=POST", &format!("path=\"{hosts}\""), "status=200", "latency="] {
        assert!(first.contains(part), "{part} in {first}");
    }
    // What the controller says of a wish can be traced to the request.
    let wish = log.lines().find(|line| line.contains("volume wished for")).expect(&log);
    assert!(wish.contains("req-4712") && wish.contains("INFO"), "{wish}");
    assert!(!log.contains("s3cret"), "{log}");
}
