//! `osds password`: through a pipe, as scripts call it, and what a configuration makes of it.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::scene::OSDS;

/// Runs it with `input`: output, words, and whether it went well.
fn password(at: &Path, arguments: &[&str], input: &str) -> (String, String, bool) {
    let mut command = Command::new(OSDS);
    command.arg("password").args(arguments).current_dir(at);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // One that does not read ends first.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (text(output.stdout), text(output.stderr), output.status.success())
}

#[test]
fn sealed_and_opened_with_the_keys_of_a_configuration() {
    let home = tempfile::tempdir().unwrap();
    let at = home.path();
    fs::write(at.join("osds.toml"), "data_dir = \".\"\n").unwrap();
    let (sealed, words, fine) = password(at, &["encrypt", "-c", "osds.toml"], "hunter2\n");
    assert!(fine && sealed.starts_with("v1.") && words.contains("a key for secrets"), "{words}");
    let (opened, words, fine) = password(at, &["decrypt", "-c", "osds.toml"], &sealed);
    assert!(fine && opened == "hunter2\n" && words.is_empty(), "{words}");

    // A configuration opens it, too, and says what is wrong with one that it cannot open.
    let check = |password: &str| {
        let text = format!(
            "data_dir = \".\"\n[auth]\nstrategy = \"keystone\"\n[auth.keystone]\n\
             auth_url = \"http://127.0.0.1:1\"\nusername = \"osds\"\npassword = \"{password}\"\n"
        );
        fs::write(at.join("osds.toml"), text).unwrap();
        crate::config::run(at, &["config", "check", "osds.toml"])
    };
    let said = check(sealed.trim());
    assert!(said.ends_with("[rc=0]\n"), "{said}");
    let mut changed = sealed.trim().to_owned();
    let last = if changed.pop() == Some('A') { 'B' } else { 'A' };
    changed.push(last);
    let said = check(&changed);
    assert!(said.contains("in [auth.keystone], the password: it"), "{said}");
    assert!(said.ends_with("[rc=1]\n") && !said.contains(&changed), "{said}");
}

#[test]
fn the_originals_form() {
    let home = tempfile::tempdir().unwrap();
    let at = home.path();
    let vector = "9a3b4d577c86d5c9468123b93382c194399070c3f5e3";
    assert_eq!(password(at, &["decrypt", "--opensds", vector], "").0, "123456\n");
    let (made, words, fine) = password(at, &["encrypt", "--opensds", "123456"], "");
    assert!(fine && made.trim().len() == vector.len() && words.is_empty(), "{words}");
    assert_eq!(password(at, &["decrypt", "--opensds"], &made).0, "123456\n");
    let (shown, words, fine) = password(at, &["decrypt", "--opensds", "hunter2"], "");
    assert!(!fine && shown.is_empty() && !words.contains("hunter2"), "{words}");
    assert!(!password(at, &["encrypt", "--opensds"], "\n").2, "an empty one is a mistake");
    // Under the original's name.
    let link = at.join("pwdEncrypter");
    std::os::unix::fs::symlink(OSDS, &link).unwrap();
    let output = Command::new(link).arg("123456").output().unwrap();
    let made = String::from_utf8(output.stdout).unwrap();
    assert_eq!(password(at, &["decrypt", "--opensds"], &made).0, "123456\n");
}
