//! Held to our own OpenAPI document by schemathesis, which reads it and asks what nobody thought of:
//! no answer blames the server, and none has a status, a content type or a body that the document
//! does not speak of. It comes from PyPI (`cargo xtask packages`); without it the test says so.
//!
//! Two of its checks are not asked for, because the original does otherwise and clients know it so:
//! a wrong method is 404, and what the schema allows may still be refused.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::Command;

use crate::scene::Scene;

const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,\
                      response_schema_conformance,response_headers_conformance";
/// How long it may go on asking, in seconds; what it asks is the same each time.
const TIME: &str = "60";

/// Where `cargo xtask packages` puts it.
fn program() -> Option<PathBuf> {
    let target = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../target/schemathesis");
    let home = std::env::var_os("OSDS_SCHEMATHESIS").map_or(target, PathBuf::from);
    let program = home.join("bin/schemathesis");
    if program.exists() {
        return Some(program);
    }
    let why = format!("no {}; run `cargo xtask packages`", program.display());
    assert!(std::env::var_os("OSDS_REQUIRE_PACKAGES").is_none(), "{why}");
    writeln!(std::io::stdout(), "SKIPPED: the_server_is_as_its_document_says: {why}")
        .expect("stdout is open");
    None
}

#[test]
fn the_server_is_as_its_document_says() {
    let Some(program) = program() else { return };
    let scene = Scene::new();
    let home = tempfile::tempdir().unwrap();
    let outcome = Command::new(program)
        .args(["run", &format!("http://{}/openapi.json", scene.address)])
        .args(["--seed", "20261122", "--generation-deterministic", "--max-examples", "25"])
        .args(["--phases", "coverage,fuzzing", "--checks", CHECKS, "--max-time", TIME])
        .args(["--no-color", "--no-shrink", "--warnings", "off", "--max-failures", "20"])
        .current_dir(home.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&outcome.stdout);
    assert!(outcome.status.success(), "{said}\n{}", String::from_utf8_lossy(&outcome.stderr));
    // It did ask.
    assert!(said.contains("generated"), "{said}");
}
