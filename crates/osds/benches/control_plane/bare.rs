//! The baseline: a route of the same HTTP stack that answers a volume's worth of bytes and does
//! nothing else.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;

/// As long as a volume is on the wire.
const BODY: &str = r#"{"id":"01a203e0-6a8f-723d-ab38-4a6bd1a1af88","createdAt":"2026-11-22T11:54:39","updatedAt":"2026-11-22T11:54:44","tenantId":"e93b4c0934da416eb9c8d120c5d04d96","name":"v1234","size":1,"availabilityZone":"default","status":"available","poolId":"db817a4a-6e48-5bc0-ac12-22162e115deb","profileId":"01a203e0-6a8f-723d-ab38-4a6bd1a1af00","AttachStatus":""}"#;

/// The bare server as a child process; killed when it is dropped.
pub struct Bare {
    child: Child,
    pub address: String,
}

impl Bare {
    pub fn id(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts this program again as the bare server.
pub fn start() -> Bare {
    let program = std::env::current_exe().expect("this program's own file");
    let mut child = Command::new(program)
        .arg("bare-route")
        .stdout(Stdio::piped())
        .spawn()
        .expect("it can be started");
    let mut address = String::new();
    let stdout = child.stdout.take().expect("it was piped");
    BufReader::new(stdout).read_line(&mut address).expect("it says where it listens");
    Bare { child, address: address.trim().to_owned() }
}

/// Serves until killed.
pub fn serve() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        println!("{}", listener.local_addr().expect("its address"));
        let json = [(CONTENT_TYPE, "application/json; charset=utf-8")];
        let router = Router::new().route("/", get(move || async move { (json, BODY) }));
        axum::serve(listener, router).await.expect("it serves");
    });
}
