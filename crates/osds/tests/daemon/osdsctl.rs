//! The command line against the real daemon: the story of the MultiAttach design, typed by a person
//! into a shell, compared as that person sees it.
//!
//! Golden files are under `golden/`; `UPDATE_EXPECT=1 cargo test` rewrites them. Ids, times and
//! ports differ from run to run and are shown by name, in the same width. Words on standard error
//! are marked `!`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use expect_test::expect_file;
use osds_testkit::initiator::Error;

use crate::scene::{ADMIN_TENANT, OSDS, Scene};

/// The folder with `osdsctl`, which is built to match: it is another package, so Cargo does not
/// build it for these tests.
fn osdsctl() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        // <target>/<profile>/osds
        let folder = Path::new(OSDS).parent().unwrap();
        let profile = match folder.file_name().and_then(|name| name.to_str()).unwrap() {
            "debug" => "dev",
            other => other,
        };
        let built = Command::new(env!("CARGO"))
            .args(["build", "--quiet", "--package", "osds-ctl", "--profile", profile])
            .arg("--target-dir")
            .arg(folder.parent().unwrap())
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .output()
            .unwrap();
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        assert!(folder.join("osdsctl").is_file());
        folder.to_owned()
    })
}

/// A person at a shell.
pub struct Shell<'a> {
    scene: &'a Scene,
    /// Shell variables: what the person has copied from earlier answers.
    known: BTreeMap<String, String>,
    told: String,
}

impl<'a> Shell<'a> {
    pub fn new(scene: &'a Scene) -> Self {
        Self { scene, known: BTreeMap::new(), told: String::new() }
    }

    /// Types a line; what it printed as data.
    fn run(&mut self, line: &str) -> String {
        let output = Command::new("sh")
            .args(["-c", line])
            .env_clear()
            .env("PATH", format!("{}:/usr/bin:/bin", osdsctl().display()))
            .env("OPENSDS_ENDPOINT", &self.scene.daemon.api)
            .env("OPENSDS_AUTH_STRATEGY", "noauth")
            .envs(&self.known)
            .output()
            .unwrap();
        let data = String::from_utf8(output.stdout).unwrap();
        let words = String::from_utf8(output.stderr).unwrap();
        writeln!(self.told, "$ {line}").unwrap();
        self.told.push_str(&data);
        for word in words.lines() {
            writeln!(self.told, "! {word}").unwrap();
        }
        writeln!(self.told, "[rc={}]\n", output.status.code().unwrap()).unwrap();
        data
    }

    /// Types a line whose answer has an id, and keeps that as a shell variable.
    pub fn make(&mut self, name: &str, line: &str) -> String {
        let said = self.run(line);
        let row = said.lines().find_map(|line| line.strip_prefix("| Id "));
        let id = row.and_then(|row| row.split('|').nth(1)).map(str::trim);
        let id = id.unwrap_or_else(|| panic!("{line}: no id in {said}")).to_owned();
        self.known.insert(name.to_owned(), id.clone());
        id
    }

    /// Everything that was said, without what differs from run to run.
    fn told(self) -> String {
        let mut told = self.told.replace(ADMIN_TENANT, "admin-tenant....................");
        for (name, id) in &self.known {
            let naa = format!("6{}", &id.replace('-', "")[1..]);
            let durable = format!("naa-of-{name}");
            told =
                told.replace(id, &format!("{name:.<36}")).replace(&naa, &format!("{durable:.<32}"));
        }
        let port = self.scene.daemon.portal.port().to_string();
        let told = told.replace(&format!(":{port}"), &format!(":{:.<1$}", "PORT", port.len()));
        mask(&mask(&told, "dddd-dd-ddTdd:dd:dd"), "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx")
    }
}

/// Puts the pattern in the place of all that fits it: `d` is a digit, `x` a hexadecimal one.
fn mask(text: &str, pattern: &str) -> String {
    let fits = |text: &str| {
        let mut chars = text.chars();
        pattern.chars().all(|wanted| {
            chars.next().is_some_and(|found| match wanted {
                'd' => found.is_ascii_digit(),
                'x' => found.is_ascii_hexdigit(),
                other => found == other,
            })
        })
    };
    let (mut masked, mut rest) = (String::new(), text);
    while let Some(next) = rest.chars().next() {
        if fits(rest) {
            masked.push_str(pattern);
            rest = &rest[pattern.len()..];
        } else {
            masked.push(next);
            rest = &rest[next.len_utf8()..];
        }
    }
    masked
}

/// The line as the design prints it, to the letter.
pub const PROFILE: &str = r#"osdsctl profile create '{"name": "multi-attach", "description": "multi attach profile","customProperties":{"capabilities:multiAttach":"<is> true"}}'"#;

#[test]
fn the_story_of_multi_attach() {
    let scene = Scene::quick();
    let mut shell = Shell::new(&scene);
    shell.make("profile", PROFILE);
    shell.make("volume", "osdsctl volume create 1 --name shared --profile $profile --wait");
    for name in ["a", "b"] {
        shell.make(name, &format!("osdsctl host create node-{name} --ip 10.0.0.1"));
        shell.run(&format!("osdsctl host initiator add ${name} iqn.x:{name} iscsi"));
    }
    let of_a = shell.make("of_a", "osdsctl volume attachment create $volume $a --wait");
    let of_b =
        shell.make("of_b", "osdsctl volume attachment create $volume $b --attach-mode ro --wait");
    shell.run("osdsctl volume attachment list --volumeId $volume");
    shell.run("osdsctl volume attachment show $of_b");
    shell.run("osdsctl volume list");

    // And it is so.
    let (mut a, mut b) = (scene.log_in(&of_a, "iqn.x:a"), scene.log_in(&of_b, "iqn.x:b"));
    a.write(0, &[b'a'; 512]).unwrap();
    assert_eq!(b.read(0, 1).unwrap(), [b'a'; 512]);
    let refused = b.write(0, &[b'b'; 512]).unwrap_err();
    assert!(matches!(refused, Error::CheckCondition { key: 7, asc: 0x27, .. }), "{refused}");

    shell.run("osdsctl volume attachment delete $of_a --wait");
    assert!(matches!(a.read(0, 1).unwrap_err(), Error::ConnectionLost(_)));
    shell.run("osdsctl volume show $volume");
    shell.run("osdsctl volume attachment delete $of_b --wait");
    shell.run("osdsctl volume delete $volume --wait");
    shell.run("osdsctl volume list");
    shell.run("osdsctl pool list");
    expect_file!["golden/story.txt"].assert_eq(&shell.told());
}

#[test]
fn what_is_refused_says_why_and_what_to_do() {
    let scene = Scene::quick();
    let mut shell = Shell::new(&scene);
    shell.make("volume", "osdsctl volume create 1 --name single --wait");
    for name in ["a", "b"] {
        shell.make(name, &format!("osdsctl host create node-{name} --ip 10.0.0.1"));
    }
    shell.run("osdsctl volume attachment create $volume $a");
    for name in ["a", "b"] {
        shell.run(&format!("osdsctl host initiator add ${name} iqn.x:{name} iscsi"));
    }
    shell.make("of_a", "osdsctl volume attachment create $volume $a --wait");
    shell.run("osdsctl volume attachment create $volume $b --attach-mode ro --wait");
    shell.run("osdsctl volume attachment create $volume $a --attach-mode ro");
    shell.run("osdsctl volume delete $volume --wait");
    shell.run("osdsctl host delete $a");
    shell.run("osdsctl volume attachment delete $of_a --force --wait");
    shell.run("osdsctl volume create 100000 --name huge");
    shell.run("osdsctl volume create one --name bad");
    shell.run("osdsctl volume attachment create $volume");
    shell.run("osdsctl volume attachment create $volume $b --attach-mode wr");
    shell.run("osdsctl profile create '{\"name\":'");
    shell.run("osdsctl volume show nothing");
    expect_file!["golden/refused.txt"].assert_eq(&shell.told());
}

#[test]
fn a_fenced_host_has_nothing_and_gets_nothing() {
    let scene = Scene::quick();
    let mut shell = Shell::new(&scene);
    shell.make("volume", "osdsctl volume create 1 --name shared --multi-attach --wait");
    for name in ["a", "b"] {
        shell.make(name, &format!("osdsctl host create node-{name} --ip 10.0.0.1"));
        shell.run(&format!("osdsctl host initiator add ${name} iqn.x:{name} iscsi"));
    }
    let of_a = shell.make("of_a", "osdsctl volume attachment create $volume $a --wait");
    let of_b = shell.make("of_b", "osdsctl volume attachment create $volume $b --wait");
    let (mut a, mut b) = (scene.log_in(&of_a, "iqn.x:a"), scene.log_in(&of_b, "iqn.x:b"));
    shell.run("osdsctl host fence $a --reason 'does not answer since 10:42'");
    let gone = scene.settled(&format!("block/attachments/{of_a}")).unwrap_err();
    assert!(gone.is_not_found(), "{gone}");
    assert!(matches!(a.read(0, 1).unwrap_err(), Error::ConnectionLost(_)));
    b.read(0, 1).unwrap();
    shell.run("osdsctl volume attachment list");
    shell.run("osdsctl volume attachment create $volume $a --wait");
    shell.run("osdsctl host show $a");
    shell.run("osdsctl host unfence $a");
    let again = shell.make("again", "osdsctl volume attachment create $volume $a --wait");
    scene.log_in(&again, "iqn.x:a").read(0, 1).unwrap();
    expect_file!["golden/fence.txt"].assert_eq(&shell.told());
}

/// Others read what it prints.
#[test]
fn json_and_yaml_are_for_programs() {
    let scene = Scene::quick();
    let mut shell = Shell::new(&scene);
    shell.make("volume", "osdsctl volume create 1 --name shared --multi-attach --wait");
    shell.run("osdsctl volume show $volume -o json");
    shell.run("osdsctl volume list -o yaml");
    expect_file!["golden/output.txt"].assert_eq(&shell.told());
}
