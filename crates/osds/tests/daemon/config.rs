//! What an operator meets first: help, the example, and words about mistakes.
//!
//! Compared as a whole, so that a change of these words is seen and judged when it is made.
//! `UPDATE_EXPECT=1 cargo test` rewrites them; words on standard error are marked `!`.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use expect_test::{Expect, expect};

use crate::scene::OSDS;

/// Runs osds at a place: everything it says, and how it ended.
pub(crate) fn run(at: &Path, arguments: &[&str]) -> String {
    let mut command = Command::new(OSDS);
    let output = command.args(arguments).current_dir(at).env_remove("COLUMNS").output().unwrap();
    let code = output.status.code().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let words = String::from_utf8(output.stderr).unwrap();
    let words: String = words.lines().map(|line| format!("! {line}\n")).collect();
    format!("{said}{words}[rc={code}]\n")
}

fn check(files: &[(&str, &str)], expected: &Expect) {
    let home = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(home.path().join(name), text).unwrap();
    }
    expected.assert_eq(&run(home.path(), &["config", "check", "osds.toml"]));
}

const BACKEND: &str = "[[backend]]\nname = \"a\"\ndriver = \"file\"\nconfig = \"pools.yaml\"\n";

#[test]
fn the_example_is_usable() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    expect![[r#"
        backend file: pool shared in zone default, multiAttach true
        backend file: pool single in zone default, multiAttach false
        docs/examples/osds.toml is usable; warnings: 0
        [rc=0]
    "#]]
    .assert_eq(&run(&root, &["config", "check", "docs/examples/osds.toml"]));
}

#[test]
fn a_mistake_in_the_toml_is_shown_where_it_is() {
    let text = "[api]\nlisten = \"127.0.0.1:1\"\nlisten_adress = 1\n";
    check(
        &[("osds.toml", text)],
        &expect![[r#"
            ! osds: in configuration osds.toml: TOML parse error at line 3, column 1
            !   |
            ! 3 | listen_adress = 1
            !   | ^^^^^^^^^^^^^
            ! unknown field `listen_adress`, expected one of `listen`, `max_connections`, `request_timeout`, `tls_certificate`, `tls_key`
            [rc=1]
        "#]],
    );
    let text = format!("{BACKEND}[backend.iscsi]\nlisten = [\"127.0.0.1\"]\n");
    check(
        &[("osds.toml", &text)],
        &expect![[r#"
            ! osds: in configuration osds.toml: TOML parse error at line 6, column 11
            !   |
            ! 6 | listen = ["127.0.0.1"]
            !   |           ^^^^^^^^^^^
            ! invalid socket address syntax
            [rc=1]
        "#]],
    );
    check(
        &[("osds.toml", &format!("{BACKEND}{BACKEND}"))],
        &expect![[r#"
        ! osds: in configuration osds.toml: backend name 'a' is used twice; give each backend its own
        [rc=1]
    "#]],
    );
}

#[test]
fn what_is_odd_about_keystone_is_a_warning() {
    let text = "[auth]\nstrategy = \"keystone\"\npolicy_file = \"policy.json\"\n\
        [auth.keystone]\nauth_url = \"http://127.0.0.1:1\"\nusername = \"osds\"\n\
        password_file = \"password\"\n";
    let home = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(home.path().join(name), text).unwrap();
    write("osds.toml", text);
    write("policy.json", r#"{"admin_api": "rule:gone", "volume:list": ""}"#);
    write("password", "hunter2");
    let open = fs::Permissions::from_mode(0o644);
    fs::set_permissions(home.path().join("password"), open).unwrap();
    let said = run(home.path(), &["config", "check", "osds.toml"]);
    for part in ["refers to \"gone\"", "no rule for \"volume:create\"", "chmod 600"] {
        assert!(said.contains("warning: ") && said.contains(part), "{part}: {said}");
    }
    assert!(!said.contains("hunter2") && !said.contains("warnings: 0"), "{said}");
    // A check makes nothing.
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 3);
    write("osds.toml", "[secrets]\nkey_file = \"nowhere/keys\"\n");
    let said = run(home.path(), &["config", "check", "osds.toml"]);
    assert!(said.contains("there is no folder"), "{said}");
}

#[test]
fn a_mistake_in_the_yaml_is_shown_where_it_is() {
    let pools = "baseDir: p\npool:\n  one:\n    storageType: block\n    multiAttach: maybe\n";
    check(
        &[("osds.toml", BACKEND), ("pools.yaml", pools)],
        &expect![[r#"
        ! osds: backend a: pools.yaml:5:18: pool.one.multiAttach is "maybe", and it must be true or false; write multiAttach: true or multiAttach: false
        [rc=1]
    "#]],
    );
    check(
        &[("osds.toml", BACKEND), ("pools.yaml", "baseDir: [\n")],
        &expect![[r#"
        ! osds: backend a: pools.yaml:1:10: unclosed bracket '['; compare the line with the examples in docs/examples
        [rc=1]
    "#]],
    );
    check(
        &[("osds.toml", BACKEND)],
        &expect![[r#"
        ! osds: backend a: cannot read the driver configuration pools.yaml: No such file or directory (os error 2)
        [rc=1]
    "#]],
    );
}

#[test]
fn what_is_not_known_in_the_yaml_is_passed_over_aloud() {
    let pools = "baseDir: p\ncolour: red\npool:\n  one:\n    storageType: block\n    \
                 availabilityZone: default\n    flavour: sweet\n";
    check(
        &[("osds.toml", BACKEND), ("pools.yaml", pools)],
        &expect![[r#"
            warning: pools.yaml:7:5: pool.one.flavour is not known and is ignored
            warning: pools.yaml:2:1: colour is not known and is ignored
            backend a: pool one in zone default, multiAttach false
            osds.toml is usable; warnings: 2
            [rc=0]
        "#]],
    );
}

#[test]
fn a_file_that_is_not_there_is_named() {
    check(
        &[],
        &expect![[r#"
        ! osds: cannot read configuration osds.toml: No such file or directory (os error 2)
        [rc=1]
    "#]],
    );
}

/// What does not pass the check does not start either, and says the same.
#[test]
fn a_daemon_does_not_start_on_a_mistake() {
    let home = tempfile::tempdir().unwrap();
    fs::write(home.path().join("osds.toml"), "[controller]\nsweep_every = \"0s\"\n").unwrap();
    let said = run(home.path(), &["all", "--config", "osds.toml"]);
    expect![[r#"
        ! osds: in configuration osds.toml: controller.sweep_every must be longer than nothing: 0s is not a usable duration; write for example 30s
        [rc=1]
    "#]].assert_eq(&said);
}

#[test]
fn help() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    expect![[r#"
        OpenSDS block storage with true multi-attach: one volume, many hosts, each read-write or read-only,
        and the target enforces it

        Usage: osds <COMMAND>

        Commands:
          all       Run everything in this process: REST API, controller, docks and iSCSI targets
          demo      Show what multi-attach means, on real blocks over real iSCSI, in under a minute
          import    Bring over what the original keeps in etcd: profiles, hosts and volumes
          password  Encrypt a password for a configuration file, as pwdEncrypter did, and better
          attach    Make a volume a block device of this machine, and print which
          detach    Take a volume away from this machine: device, session, record and attachment
          csi       Run the CSI driver, through which Kubernetes and Nomad use osds
          config    Work with configuration files
          help      Print this message or the help of the given subcommand(s)

        Options:
          -h, --help     Print help
          -V, --version  Print version

        A first look:      osds demo
        A first daemon:    osds all --data-dir /tmp/osds
        and beside it:     osdsctl pool list
        [rc=0]
    "#]].assert_eq(&run(here, &["--help"]));
    expect![[r#"
        Run everything in this process: REST API, controller, docks and iSCSI targets.

        Prints one line starting with `ready` on standard output when it serves; logs go to standard error.
        Ends cleanly on SIGTERM and SIGINT, and goes on where it was when it is started again, however it
        ended.

        Usage: osds all [OPTIONS]

        Options:
          -c, --config <FILE>
                  The configuration; without it, defaults and one file pool in the data directory

          -d, --data-dir <DIR>
                  Where records and volumes are kept; overrides data_dir of the configuration

              --api <ADDRESS:PORT>
                  Address of the REST API; overrides api.listen of the configuration

              --iscsi <ADDRESS:PORT>
                  Address of the built-in iSCSI target of a run without configuration

          -h, --help
                  Print help (see a summary with '-h')
        [rc=0]
    "#]].assert_eq(&run(here, &["all", "--help"]));
    expect![[r#"
        Read a configuration and every file it names, and say what is wrong or odd, with its place

        Usage: osds config check <FILE>

        Arguments:
          <FILE>  An osds.toml

        Options:
          -h, --help  Print help
        [rc=0]
    "#]]
    .assert_eq(&run(here, &["config", "check", "--help"]));
    expect![[r#"
        Show what multi-attach means, on real blocks over real iSCSI, in under a minute.

        Starts a daemon of its own on free loopback ports in a temporary directory, plays two hosts and a
        stranger, says what happens and why, and ends with an error if any claim is not true.

        Usage: osds demo [OPTIONS]

        Options:
              --keep
                  Keep the daemon's directory (records, volumes, log) for a look afterwards

          -h, --help
                  Print help (see a summary with '-h')
        [rc=0]
    "#]].assert_eq(&run(here, &["demo", "--help"]));
}
