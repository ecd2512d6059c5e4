//! csi-sanity, the suite of the CSI community, against the real driver before the real daemon: for
//! file systems and for raw blocks, in a mount namespace of its own.
//!
//! It knows nothing of many nodes; the attach table and the tests of many nodes do. Needs root, loop
//! devices and `cargo xtask packages`; elsewhere it says that it was skipped.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::scene::{OSDS, Scene};

/// Where `cargo xtask packages` puts it.
fn program(test: &str) -> Option<PathBuf> {
    let target = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../target/csi-sanity");
    let home = std::env::var_os("OSDS_CSI_SANITY").map_or(target, PathBuf::from);
    let program = home.join("csi-sanity");
    let why = if !rustix::process::geteuid().is_root() {
        "it takes root".to_owned()
    } else if !Path::new("/dev/loop-control").exists() {
        "there are no loop devices".to_owned()
    } else if !program.exists() {
        format!("no {}; run `cargo xtask packages`", program.display())
    } else {
        return Some(program);
    };
    assert!(std::env::var_os("OSDS_REQUIRE_PACKAGES").is_none(), "{test}: {why}");
    writeln!(std::io::stdout(), "SKIPPED: {test}: {why}").expect("stdout is open");
    None
}

/// The driver and the suite in one namespace; the driver ends with the suite.
const RUN: &str = r#"
"$OSDS" csi all --endpoint "unix://$DIR/csi.sock" --osds-endpoint "$API" --node-id sanity \
    --node-state-dir "$DIR/state" >"$DIR/ready" 2>"$DIR/driver.log" &
driver=$!
trap 'kill $driver; wait $driver' EXIT
tail -f --pid=$driver "$DIR/ready" | head -n 1 >/dev/null
"$SANITY" --csi.endpoint "unix://$DIR/csi.sock" --csi.stagingdir "$DIR/staging" \
    --csi.mountdir "$DIR/mount" --csi.testvolumeaccesstype "$KIND" \
    --csi.testvolumemutableparameters "$DIR/mutable.yaml" --csi.testvolumesize 1073741824 --csi.testvolumeexpandsize 2147483648 --ginkgo.no-color
"#;

fn run(test: &str, kind: &str) {
    let Some(program) = program(test) else { return };
    let scene = Scene::local();
    let home = scene.path("sanity");
    fs::create_dir(&home).unwrap();
    fs::write(home.join("mutable.yaml"), "multiAttach: \"true\"\n").unwrap();
    let outcome = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "sh", "-c", RUN])
        .env("OSDS", OSDS)
        .env("DIR", &home)
        .env("API", &scene.daemon.api)
        .env("SANITY", program)
        .env("KIND", kind)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&outcome.stdout);
    let log = fs::read_to_string(home.join("driver.log")).unwrap_or_default();
    assert!(outcome.status.success(), "{said}\n{log}");
    let figures = said.lines().find(|line| line.contains("Passed |")).unwrap_or_default();
    assert!(figures.contains("| 0 Failed") || figures.contains(" 0 Failed |"), "{said}");
    // What was made is gone, and nobody holds anything.
    let left = scene.get("block/attachments");
    assert_eq!(left.as_array().map_or(0, Vec::len), 0, "{left}");
    writeln!(std::io::stdout(), "{kind}: {figures}").expect("stdout is open");
}

#[test]
fn file_systems() {
    run("sanity::file_systems", "mount");
}

#[test]
fn raw_blocks() {
    run("sanity::raw_blocks", "block");
}
