//! A real Keystone on loopback, and what its administrator does to it.
//!
//! It comes from PyPI into an environment of its own (`cargo xtask packages` makes it); where it is
//! missing, the tests say so and pass, unless packages are required.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

/// Where `cargo xtask packages` puts it.
fn python() -> PathBuf {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let target = std::env::var_os("OSDS_KEYSTONE").map(PathBuf::from);
    target.unwrap_or_else(|| root.join("../../target/keystone")).join("bin/python3")
}

/// Whether there is a Keystone to test with.
pub fn is_there(test: &str) -> bool {
    let python = python();
    if python.exists() {
        return true;
    }
    let why = format!("no {}; run `cargo xtask packages`", python.display());
    assert!(std::env::var_os("OSDS_REQUIRE_PACKAGES").is_none(), "{why}");
    writeln!(std::io::stdout(), "SKIPPED: {test}: {why}").expect("stdout is open");
    false
}

/// One running server. It ends with this value.
pub struct Served {
    child: Child,
    pub port: u16,
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Servers of one database, and its administrator's token.
pub struct Keystone {
    folder: TempDir,
    pub main: Served,
    admin: String,
}

impl Keystone {
    pub fn start() -> Self {
        // The database syncs at every step; memory does that quickly.
        let shared = Path::new("/dev/shm");
        let folder = if shared.is_dir() { TempDir::new_in(shared) } else { TempDir::new() };
        let folder = folder.unwrap();
        let main = serve(&folder, 3600, true);
        let mut keystone = Self { folder, main, admin: String::new() };
        keystone.admin = keystone.token("admin", "admin-password", "admin");
        keystone
    }

    /// Ends the main server, as a crash would.
    pub fn stop(&mut self) {
        self.main.child.kill().unwrap();
        self.main.child.wait().unwrap();
    }

    /// One more server of the same users, whose tokens live shorter.
    pub fn with_lifetime(&self, seconds: u32) -> Served {
        serve(&self.folder, seconds, false)
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/v3", self.main.port)
    }

    fn call(&self, method: &str, path: &str, body: &Value) -> Value {
        let agent = agent();
        let url = format!("{}{path}", self.url());
        let request = ureq::http::Request::builder().method(method).uri(&url);
        let request = request.header("X-Auth-Token", &self.admin);
        let request = request.header("Content-Type", "application/json");
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let mut answer = agent.run(request.body(body).unwrap()).unwrap();
        let text = answer.body_mut().read_to_string().unwrap();
        assert!(answer.status().is_success(), "{method} {path}: {text}");
        serde_json::from_str(&text).unwrap_or(Value::Null)
    }

    /// A project; its id.
    pub fn project(&self, name: &str) -> String {
        let made = self.call("POST", "/projects", &json!({"project": {"name": name}}));
        made["project"]["id"].as_str().unwrap().to_owned()
    }

    /// A user with a role in a project; its id.
    pub fn user(&self, name: &str, password: &str, project: &str, role: &str) -> String {
        let user = json!({"user": {"name": name, "password": password}});
        let made = self.call("POST", "/users", &user);
        let id = made["user"]["id"].as_str().unwrap().to_owned();
        let roles = self.call("GET", &format!("/roles?name={role}"), &Value::Null);
        let role = roles["roles"][0]["id"].as_str().unwrap().to_owned();
        let grant = format!("/projects/{project}/users/{id}/roles/{role}");
        self.call("PUT", &grant, &Value::Null);
        id
    }

    /// Setting a password ends every token of a user.
    pub fn set_password(&self, user: &str, password: &str) {
        let change = json!({"user": {"password": password}});
        self.call("PATCH", &format!("/users/{user}"), &change);
    }

    /// A token for a project.
    pub fn token(&self, user: &str, password: &str, project: &str) -> String {
        token_at(self.main.port, user, password, Some(project))
    }

    /// A token for nothing in particular.
    pub fn unscoped(&self, user: &str, password: &str) -> String {
        token_at(self.main.port, user, password, None)
    }

    pub fn revoke(&self, token: &str) {
        let request = agent().delete(format!("{}/auth/tokens", self.url()));
        let request = request.header("X-Auth-Token", &self.admin);
        let answer = request.header("X-Subject-Token", token).call().unwrap();
        assert_eq!(answer.status().as_u16(), 204);
    }
}

pub fn token_at(port: u16, user: &str, password: &str, project: Option<&str>) -> String {
    let domain = json!({"name": "Default"});
    let user = json!({"name": user, "password": password, "domain": domain});
    let mut auth = json!({"identity": {"methods": ["password"], "password": {"user": user}}});
    auth["scope"] = match project {
        Some(project) => json!({"project": {"name": project, "domain": domain}}),
        None => json!("unscoped"),
    };
    let request = agent().post(format!("http://127.0.0.1:{port}/v3/auth/tokens"));
    let request = request.content_type("application/json");
    let answer = request.send(json!({"auth": auth}).to_string()).unwrap();
    assert_eq!(answer.status().as_u16(), 201);
    answer.headers()["x-subject-token"].to_str().unwrap().to_owned()
}

fn agent() -> ureq::Agent {
    ureq::Agent::config_builder().proxy(None).http_status_as_error(false).build().into()
}

fn serve(folder: &TempDir, lifetime: u32, prepare: bool) -> Served {
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/keystone/serve.py");
    let mut command = Command::new(python());
    command.arg(script).arg(folder.path()).arg(lifetime.to_string());
    if prepare {
        command.arg("prepare");
    }
    // Its own words are in its log file; errors of the script are for whoever reads the test.
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("python starts");
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let ready =
        lines.map_while(Result::ok).find_map(|line| line.strip_prefix("ready ")?.parse().ok());
    Served { child, port: ready.expect("keystone got ready; its words are above") }
}
