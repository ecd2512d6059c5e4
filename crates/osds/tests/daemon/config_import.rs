//! `osds config import`: what an operator who comes from the original is told and given.
//!
//! The whole of it is compared, as in `config`; then the file that was made is checked by the
//! program that is to run on it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use expect_test::{Expect, expect_file};

use crate::config::run;

const SOURCE: &str = include_str!("opensds.conf");
const PASSWORD: &str = "123456";

fn home(source: &str) -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(home.path().join(name), text).unwrap();
    write("opensds.conf", source);
    write("policy.json", "{}");
    write("pools.yaml", "baseDir: p\npool:\n  one:\n    multiAttach: true\n");
    home
}

fn import(at: &Path) -> String {
    run(at, &["config", "import", "opensds.conf", "--output", "osds.toml"])
}

#[test]
fn a_whole_file_with_keystone_and_https() {
    let home = home(SOURCE);
    let at = home.path();
    // So that no certificate has to be made for the check.
    fs::write(at.join("opensds.conf"), SOURCE.replace("https_enabled = True", "https_enabled=0"))
        .unwrap();
    let said = import(at);
    let toml = fs::read_to_string(at.join("osds.toml")).unwrap();
    expect_file!["golden/config-import.txt"].assert_eq(&format!("{said}\n{toml}"));
    let file = at.join("keystone-password");
    assert_eq!(fs::read_to_string(&file).unwrap(), PASSWORD);
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let checked = run(at, &["config", "check", "osds.toml"]);
    assert!(checked.ends_with("[rc=0]\n"), "{checked}");
    assert!(checked.contains("backend lvm: pool one"), "{checked}");
    // Nothing is ever written over.
    let again = import(at);
    assert!(again.contains("osds.toml is there already") && again.ends_with("[rc=1]\n"), "{again}");
    fs::remove_file(at.join("osds.toml")).unwrap();
    fs::write(&file, "another").unwrap();
    let again = import(at);
    assert!(again.contains("with another password") && again.ends_with("[rc=1]\n"), "{again}");
    assert!(!again.contains(PASSWORD) && !at.join("osds.toml").exists());
}

#[test]
fn standard_output_never_has_the_password() {
    for source in [SOURCE.to_owned(), SOURCE.replace("enable_encrypted = T", "")] {
        let home = home(&source);
        let said = run(home.path(), &["config", "import", "opensds.conf"]);
        assert!(said.contains("the password is not printed") && said.contains("[[backend]]"));
        assert!(said.contains("\ntls_certificate = \"api.pem\"\n"), "{said}");
        assert!(!said.contains("9a3b4d57") && !said.contains(PASSWORD), "{said}");
        assert!(!home.path().join("keystone-password").exists());
    }
}

fn refused(source: &str, expected: &Expect) {
    expected.assert_eq(&import(home(source).path()));
}

#[test]
fn what_cannot_be_carried_over_faithfully_is_refused() {
    use expect_test::expect;
    let password = "9a3b4d577c86d5c9468123b93382c194399070c3f5e3\nenable";
    refused(
        &SOURCE.replace(password, "hunter2\nenable"),
        &expect![[r#"
            ! osds: in configuration opensds.conf: line 62: [keystone_authtoken] password: it is no ciphertext of pwdEncrypter, which is at least 32 hexadecimal digits; is it the password itself?
            [rc=1]
        "#]],
    );
    refused(
        &SOURCE.replace("https_enabled = True", "https_enabled = perhaps"),
        &expect![[r#"
            ! osds: in configuration opensds.conf: line 8: [osdsapiserver] https_enabled is neither true nor false
            [rc=1]
        "#]],
    );
    refused(
        "[osdsapiserver]\nhunter2\n",
        &expect![[r#"
            ! osds: in configuration opensds.conf: line 2 is neither [section] nor key = value
            [rc=1]
        "#]],
    );
}
