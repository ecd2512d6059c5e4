//! CHAP from end to end: what an attachment's connectionInfo says opens that attachment's door, as
//! long as it is attached, and nothing else does. And what nobody may find: a password in a file or
//! in the log, however much the daemon says.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use osds_testkit::initiator::{Chap, Error, Session};
use serde_json::Value;

use crate::scene::{Scene, chap, log_in, log_in_proving, text};

const A: &str = "iqn.x:a";
const B: &str = "iqn.x:b";
const MUTUAL: &str = "[iscsi]\nchap = \"mutual\"\n[log]\nlevel = \"trace\"\n";

#[track_caller]
fn is_refused(login: Result<Session, Error>) {
    let error = login.expect_err("a login that must not go well");
    assert!(matches!(error, Error::LoginRefused { class: 2, detail: 1 }), "{error}");
}

/// Both passwords of an attachment.
fn passwords(attachment: &Value) -> [String; 2] {
    ["authPassword", "targetAuthPassword"].map(|key| {
        let password = text(&attachment["connectionInfo"]["data"], key);
        assert_eq!(password.len(), 16, "{key}");
        password
    })
}

#[test]
fn only_an_attachments_own_credentials_open_it() {
    let scene = Scene::quick();
    let (a, b, volume) = (scene.host("a", &[A]), scene.host("b", &[B]), scene.volume("v", true));
    let other = scene.volume("other", false);
    let (of_a, of_b) = (scene.attach(&volume, &a, "rw"), scene.attach(&volume, &b, "ro"));
    let of_other = scene.attach(&other, &a, "rw");
    for (attachment, name) in [(&of_a, A), (&of_b, B), (&of_other, A)] {
        log_in(attachment, name).unwrap().read(0, 1).unwrap();
    }
    let mine = text(&of_a["connectionInfo"]["data"], "authUserName");
    let theirs = text(&of_b["connectionInfo"]["data"], "authPassword");
    // Without; another host's; another volume's; my name with another's password.
    let wrong = [None, chap(&of_b), chap(&of_other), Some(Chap::new(&mine, &theirs))];
    for proof in wrong {
        is_refused(log_in_proving(&of_a, A, proof));
    }
    // With a good password under a name that is not granted: there is no such target.
    let stranger = log_in_proving(&of_a, "iqn.x:stranger", chap(&of_a));
    assert!(matches!(stranger, Err(Error::LoginRefused { class: 2, detail: 3 })));
    log_in(&of_a, A).unwrap().write(0, &[7; 512]).unwrap();
}

#[test]
fn a_new_attachment_has_new_credentials_and_the_old_ones_are_over() {
    let scene = Scene::quick();
    let (a, volume) = (scene.host("a", &[A]), scene.volume("v", false));
    let first = scene.attach(&volume, &a, "rw");
    assert_eq!(scene.attach(&volume, &a, "rw")["connectionInfo"], first["connectionInfo"]);
    scene.remove(&format!("block/attachments/{}", text(&first, "id")));
    let gone = log_in(&first, A);
    assert!(matches!(gone, Err(Error::LoginRefused { class: 2, detail: 3 })));
    let second = scene.attach(&volume, &a, "rw");
    is_refused(log_in(&first, A));
    let new_name = text(&second["connectionInfo"]["data"], "authUserName");
    let old_password = text(&first["connectionInfo"]["data"], "authPassword");
    is_refused(log_in_proving(&second, A, Some(Chap::new(&new_name, &old_password))));
    log_in(&second, A).unwrap().read(0, 1).unwrap();
}

#[test]
fn the_credentials_outlive_a_kill() {
    let mut scene = Scene::quick();
    let (a, volume) = (scene.host("a", &[A]), scene.volume("v", false));
    let attachment = scene.attach(&volume, &a, "rw");
    scene.kill();
    scene.restart();
    let path = format!("block/attachments/{}", text(&attachment, "id"));
    let after = scene.settled(&path).unwrap();
    for key in ["authMethod", "authUserName", "authPassword"] {
        let of = |attachment: &Value| text(&attachment["connectionInfo"]["data"], key);
        assert_eq!(of(&after), of(&attachment), "{key}");
    }
    // Its port is another one.
    let after = scene.until_reachable(&text(&attachment, "id"), A);
    log_in_proving(&after, A, chap(&attachment)).unwrap().read(0, 1).unwrap();
    is_refused(log_in_proving(&after, A, None));
}

#[test]
fn mutual_credentials_prove_both_sides() {
    let scene = Scene::quick_with(MUTUAL);
    let (a, volume) = (scene.host("a", &[A]), scene.volume("v", false));
    let attachment = scene.attach(&volume, &a, "rw");
    // The initiator asks the target for its proof, and checks it.
    log_in(&attachment, A).unwrap().read(0, 1).unwrap();
    let [mine, _] = passwords(&attachment);
    let name = |key: &str| text(&attachment["connectionInfo"]["data"], key);
    let wrong = Chap::new(&name("authUserName"), &mine);
    let wrong = wrong.mutual(&name("targetAuthUserName"), "not-the-password");
    let error = log_in_proving(&attachment, A, Some(wrong)).unwrap_err();
    assert!(error.to_string().contains("did not prove itself"), "{error}");
}

/// Looks for words in all files of a directory.
fn files_with(directory: &Path, words: &[String], found: &mut Vec<String>) -> usize {
    let mut looked = 0;
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            looked += files_with(&path, words, found);
        } else if path.extension().is_none_or(|extension| extension != "img") {
            let bytes = fs::read(&path).unwrap();
            let has = |word: &String| bytes.windows(word.len()).any(|at| at == word.as_bytes());
            found.extend(words.iter().filter(|word| has(word)).map(|_| path.display().to_string()));
            looked += 1;
        }
    }
    looked
}

#[test]
fn no_file_and_no_line_of_the_log_has_a_password() {
    let mut scene = Scene::quick_with(MUTUAL);
    let (a, b, volume) = (scene.host("a", &[A]), scene.host("b", &[B]), scene.volume("v", true));
    let (of_a, of_b) = (scene.attach(&volume, &a, "rw"), scene.attach(&volume, &b, "ro"));
    let secrets = [passwords(&of_a), passwords(&of_b)].concat();
    // All that could say it: logins that go well and not, a look, a list, a detach, a restart.
    log_in(&of_a, A).unwrap().read(0, 1).unwrap();
    is_refused(log_in_proving(&of_a, A, chap(&of_b)));
    scene.get("block/attachments");
    scene.remove(&format!("block/attachments/{}", text(&of_b, "id")));
    scene.kill();
    scene.restart();
    scene.log_in(&text(&of_a, "id"), A).read(0, 1).unwrap();

    let mut found = Vec::new();
    let looked = files_with(&scene.path("."), &secrets, &mut found);
    assert_eq!(found, [""; 0]);
    // The search is one: the name is where the password is, in ledger and records, and so is the
    // log at its most talkative.
    let name = [text(&of_a["connectionInfo"]["data"], "authUserName")];
    files_with(&scene.path("."), &name, &mut found);
    let has = |file: &str| found.iter().any(|path| path.ends_with(file));
    assert!(looked > 4 && has("osds.redb") && has(&format!("{volume}.json")), "{found:?}");
    assert!(scene.log().contains("TRACE") || scene.log().contains("DEBUG"));
}

/// The key is gone: it does not start, and says what to do. With another key hosts stay out, and are
/// told what to do; with the old one they are in again.
#[test]
fn a_lost_key_lets_nobody_in_and_says_so() {
    let mut scene = Scene::quick();
    let (a, volume) = (scene.host("a", &[A]), scene.volume("v", false));
    let attachment = scene.attach(&volume, &a, "rw");
    let path = format!("block/attachments/{}", text(&attachment, "id"));
    let (keys, aside) = (scene.path("keys"), scene.path("keys.aside"));
    scene.kill();
    fs::rename(&keys, &aside).unwrap();
    let refused = scene.daemon.restart().unwrap_err().to_string();
    assert!(!keys.exists(), "no key is made in place of a lost one");
    let said = format!("{refused} {}", scene.log());
    assert!(
        said.contains("of 1 attachments are sealed") && said.contains("openssl rand"),
        "{said}"
    );
    // As it says.
    fs::write(&keys, format!("{}\n", "0123456789abcdef".repeat(4))).unwrap();
    fs::set_permissions(&keys, fs::Permissions::from_mode(0o600)).unwrap();
    scene.restart();
    crate::scene::until("the reason is on record", || {
        text(&scene.get(&path), "statusReason").contains("put the key back").then_some(())
    });
    assert!(text(&scene.get(&path)["connectionInfo"]["data"], "authPassword").is_empty());
    let mut now = attachment.clone();
    now["connectionInfo"]["data"]["targetPortal"][0] = scene.daemon.portal.to_string().into();
    for proof in [None, chap(&attachment)] {
        let error = log_in_proving(&now, A, proof).expect_err("nobody is let in");
        assert!(matches!(error, Error::LoginRefused { class: 2, .. }), "{error}");
    }
    scene.kill();
    fs::rename(&aside, &keys).unwrap();
    scene.restart();
    scene.log_in(&text(&attachment, "id"), A).read(0, 1).unwrap();
}
