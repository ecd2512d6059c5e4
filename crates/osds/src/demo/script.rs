//! The story, chapter by chapter: share, refuse, detach under load, crash, leave.
//!
//! Each chapter says why it matters, does it through the public API and over iSCSI, and claims what
//! it saw. The commands it prints as `osdsctl ...` are what a person would type for the same
//! request. Later chapters use the volume of the first, so the order is part of the story.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use osds_testkit::daemon::Daemon;
use osds_testkit::initiator::{Error as ScsiError, Session, discover};
use serde_json::json;

use super::narrator::Narrator;
use super::steps::{Admin, Way, Writer, read_region, sense, text};

const IQN_A: &str = "iqn.1994-05.com.redhat:alpha";
const IQN_B: &str = "iqn.1994-05.com.redhat:beta";
const IQN_STRANGER: &str = "iqn.1994-05.com.redhat:stranger";

/// Who and what the story is about.
struct Stage {
    admin: Admin,
    daemon: Daemon,
    alpha: String,
    beta: String,
    volume: String,
    attachment_a: String,
    attachment_b: String,
}

pub(super) fn tell(say: &mut Narrator, daemon: Daemon, home: &Path) -> Result<()> {
    println!("osds: one volume, many hosts, each read-write or read-only, enforced by the target.");
    println!("Daemon {} serves {} and iSCSI {}", daemon.id(), daemon.api, daemon.portal);
    println!("from {} (ready in {} ms).", home.display(), daemon.ready_after.as_millis());
    let mut stage = set(say, daemon)?;
    let (mut a, mut b) = log_in(say, &stage)?;
    share(say, &mut a, &mut b)?;
    stranger(say, &stage)?;
    detach_while_writing(say, &stage, a, &mut b)?;
    single_attach(say, &stage)?;
    crash(say, &mut stage)?;
    tidy_up(say, &stage)
}

fn set(say: &mut Narrator, daemon: Daemon) -> Result<Stage> {
    let admin = Admin::new(&daemon.api)?;
    say.chapter(
        "A profile asks for multi-attach, and the controller picks a pool that offers it",
        "The profile is the one printed in the OpenSDS MultiAttach design, to the letter.",
    );
    let alpha = admin.add_host("alpha", IQN_A)?;
    let beta = admin.add_host("beta", IQN_B)?;
    say.did("registered hosts alpha and beta, each by its iSCSI initiator name");
    let profile = admin.post(
        "profiles",
        &json!({"name": "multi-attach", "description": "multi attach profile",
                "customProperties": {"capabilities:multiAttach": "<is> true"}}),
    )?;
    say.did("as osdsctl profile create '{\"name\": \"multi-attach\", ... \"<is> true\"}}' does");
    let volume = admin.post_and_wait(
        "block/volumes",
        &json!({"name": "database", "size": 1, "profileId": text(&profile, "id")}),
    )?;
    let pool = admin.get(&format!("pools/{}", text(&volume, "poolId")))?;
    say.did("as osdsctl volume create 1 --name database --profile <id> does");
    say.claim(
        volume["multiAttach"] == json!(true) && pool["multiAttach"] == json!(true),
        "the volume is multi-attach, in a pool that offers it",
        &format!("pool {}, status {}", text(&pool, "name"), text(&volume, "status")),
    );
    let volume = text(&volume, "id");
    let a = admin.attach(&volume, &alpha, "rw")?;
    let b = admin.attach(&volume, &beta, "ro")?;
    say.did("attached it to alpha read-write and to beta read-only");
    say.claim(
        text(&a, "status") == "available" && text(&b, "status") == "available",
        "both attachments are available",
        &format!("alpha {}, beta {}", text(&a, "attachMode"), text(&b, "attachMode")),
    );
    let (attachment_a, attachment_b) = (text(&a, "id"), text(&b, "id"));
    Ok(Stage { admin, daemon, alpha, beta, volume, attachment_a, attachment_b })
}

fn log_in(say: &mut Narrator, stage: &Stage) -> Result<(Session, Session)> {
    say.chapter(
        "Both hosts log in over iSCSI and see the same disk",
        "The target name, portal and LUN come from the attachment's connectionInfo, and so does the\n\
         CHAP password that was made for this one attachment.",
    );
    let (to_a, to_b) = (way(stage, &stage.attachment_a)?, way(stage, &stage.attachment_b)?);
    say.note(&format!("{} at {}, LUN 1", to_a.target, to_a.portal));
    let mut a = to_a.log_in(IQN_A).context("alpha cannot log in")?;
    let mut b = to_b.log_in(IQN_B).context("beta cannot log in")?;
    let capacity = a.read_capacity()?;
    let (id_a, id_b) = (a.vital_product_data(0x83)?, b.vital_product_data(0x83)?);
    let naa = id_a.get(8..24).unwrap_or_default().iter().map(|b| format!("{b:02x}"));
    say.claim(
        id_a == id_b,
        "the disk has one identity, the same on every path",
        &format!("naa.{}", naa.collect::<String>()),
    );
    say.note(&format!("{} blocks of {} bytes", capacity.blocks, capacity.block_size));
    say.claim(
        !a.is_write_protected()? && b.is_write_protected()?,
        "alpha's disk is writable, beta's says that it is write-protected",
        "MODE SENSE, WP bit",
    );
    Ok((a, b))
}

fn share(say: &mut Narrator, a: &mut Session, b: &mut Session) -> Result<()> {
    say.chapter(
        "What alpha writes, beta reads; what beta writes, the target refuses",
        "Read-only is not a hint to the host: the target checks each command of each host.",
    );
    let page = b"written by alpha ".repeat(512 * 8 / 17 + 1)[..512 * 8].to_vec();
    a.write(0, &page)?;
    a.flush()?;
    say.did("alpha wrote 4 KiB at block 0");
    let seen = b.read(0, 8)?;
    let words = String::from_utf8_lossy(&seen[..17]).trim_end().to_owned();
    say.claim(seen == page, "beta reads the same bytes", &words);
    match b.write(0, &vec![0xbb; 512 * 8]) {
        Err(error @ ScsiError::CheckCondition { key: 7, asc: 0x27, .. }) => {
            say.claim(true, "beta's write is refused by the target", &sense(&error));
        }
        Err(error) => say.claim(false, "beta's write is refused by the target", &sense(&error)),
        Ok(()) => say.claim(false, "beta's write is refused by the target", "it was accepted"),
    }
    say.claim(a.read(0, 8)? == page, "and nothing on the disk has changed", "");
    Ok(())
}

fn stranger(say: &mut Narrator, stage: &Stage) -> Result<()> {
    say.chapter(
        "A host that was not granted the volume does not get in",
        "Not by discovery, not by knowing the name, and not by using a name that is granted: each\n\
         attachment has a password of its own, which is handed out in its connectionInfo only.",
    );
    let (to_a, to_b) = (way(stage, &stage.attachment_a)?, way(stage, &stage.attachment_b)?);
    let shown = discover(to_a.portal, IQN_STRANGER)?;
    say.claim(shown.is_empty(), "discovery shows the stranger nothing", "SendTargets=All");
    let shown = discover(to_a.portal, IQN_A)?;
    say.claim(shown.len() == 1, "discovery shows alpha its one target", "");
    refused(say, "the stranger's login is refused", to_a.log_in(IQN_STRANGER));
    refused(say, "under alpha's name, without the password: refused", {
        to_a.proving(None).log_in(IQN_A)
    });
    refused(say, "under alpha's name, with beta's password: refused", {
        to_a.proving(to_b.chap.as_ref()).log_in(IQN_A)
    });
    Ok(())
}

fn refused(say: &mut Narrator, claim: &str, login: Result<Session, ScsiError>) {
    match login {
        Err(error @ ScsiError::LoginRefused { .. }) => say.claim(true, claim, &error.to_string()),
        Err(error) => say.claim(false, claim, &error.to_string()),
        Ok(_) => say.claim(false, claim, "it was let in"),
    }
}

fn detach_while_writing(
    say: &mut Narrator,
    stage: &Stage,
    a: Session,
    b: &mut Session,
) -> Result<()> {
    say.chapter(
        "Alpha is detached in the middle of its writes",
        "The promise: once the detach is confirmed, no write of alpha reaches the disk, not even\n\
         one that was under way. The target stops its commands, waits for those that run, and\n\
         drops its session; only then does the control plane confirm.",
    );
    let writer = Writer::start(a);
    let limit = Instant::now() + Duration::from_secs(10);
    while writer.written() < 200 && Instant::now() < limit {
        std::thread::sleep(Duration::from_millis(5));
    }
    let to_a = way(stage, &stage.attachment_a)?;
    say.did(&format!("alpha writes, 8 commands of 64 KiB in flight ({} done)", writer.written()));
    let began = Instant::now();
    stage.admin.delete_and_wait(&format!("block/attachments/{}", stage.attachment_a))?;
    let confirmed = began.elapsed();
    let at_once = read_region(b)?;
    let (written, ended) = writer.join();
    say.did(&format!("detached it: confirmed after {:.1} ms", confirmed.as_secs_f64() * 1e3));
    say.note(&format!("alpha had {written} writes acknowledged; then: {ended}"));
    std::thread::sleep(Duration::from_millis(300));
    let later = read_region(b)?;
    say.claim(
        at_once == later,
        "no write landed after the confirmation",
        "512 KiB read by beta at once and 300 ms later are equal",
    );
    refused(say, "alpha cannot log in again", to_a.log_in(IQN_A));
    let volume = stage.admin.get(&format!("block/volumes/{}", stage.volume))?;
    say.claim(
        text(&volume, "status") == "inUse",
        "the volume is still inUse: beta has it",
        &text(&volume, "status"),
    );
    Ok(())
}

fn single_attach(say: &mut Narrator, stage: &Stage) -> Result<()> {
    say.chapter(
        "A volume without multi-attach has one host at a time",
        "One compare-and-swap on the volume's record decides every race.",
    );
    let admin = &stage.admin;
    let volume = admin.post_and_wait("block/volumes", &json!({"name": "single", "size": 1}))?;
    let id = text(&volume, "id");
    let first = admin.attach(&id, &stage.alpha, "rw")?;
    say.did("attached volume single to alpha");
    match admin.attach(&id, &stage.beta, "ro") {
        Err(error) => {
            let words = error.to_string();
            let right = words.contains("volume is already attached to one of the host");
            say.claim(right, "beta is refused, with the remedy", "");
            say.note(&words);
        }
        Ok(_) => say.claim(false, "beta is refused, with the remedy", "it was granted"),
    }
    admin.delete_and_wait(&format!("block/attachments/{}", text(&first, "id")))?;
    admin.delete_and_wait(&format!("block/volumes/{id}"))?;
    Ok(())
}

fn crash(say: &mut Narrator, stage: &mut Stage) -> Result<()> {
    say.chapter(
        "The daemon is killed (SIGKILL) right after it accepted an attach",
        "What was acknowledged is on disk, what was begun is finished, what was exported is\n\
         exported again: a crash is just a restart.",
    );
    let path = format!("block/volumes/{}", stage.volume);
    let before = stage.admin.get(&path)?;
    let body = json!({"volumeId": stage.volume, "hostId": stage.alpha, "attachMode": "rw"});
    let accepted = stage.admin.post("block/attachments", &body)?;
    stage.daemon.kill()?;
    say.did(&format!("202 for alpha's attachment ({}), then kill -9", text(&accepted, "status")));
    stage.daemon.restart()?;
    stage.admin = Admin::new(&stage.daemon.api)?;
    say.did(&format!("started again: ready in {} ms", stage.daemon.ready_after.as_millis()));
    let again = stage.admin.settled(&format!("block/attachments/{}", text(&accepted, "id")))?;
    say.claim(
        text(&again, "status") == "available",
        "the attachment that was only accepted is made available",
        &text(&again, "status"),
    );
    let after = stage.admin.get(&path)?;
    let same = |key: &str| before[key] == after[key];
    say.claim(
        ["id", "name", "size", "status", "poolId", "multiAttach"].into_iter().all(same),
        "the volume is as it was",
        &text(&after, "status"),
    );
    let (to_a, to_b) = (Way::of(&again)?, way(stage, &stage.attachment_b)?);
    let mut b = patiently(|| to_b.log_in(IQN_B)).context("beta, again")?;
    let mut a = patiently(|| to_a.log_in(IQN_A)).context("alpha, again")?;
    say.claim(
        b.is_write_protected()? && !a.is_write_protected()?,
        "both hosts log in again, beta still read-only",
        "",
    );
    say.claim(read_region(&mut b)? == read_region(&mut a)?, "and both read the same blocks", "");
    Ok(())
}

fn tidy_up(say: &mut Narrator, stage: &Stage) -> Result<()> {
    say.chapter("The last host leaves", "Only then is the volume available, and can be deleted.");
    let admin = &stage.admin;
    let list = admin.get(&format!("block/attachments?volumeId={}", stage.volume))?;
    let ids: Vec<String> = list.as_array().into_iter().flatten().map(|a| text(a, "id")).collect();
    say.claim(
        ids.len() == 2 && ids.contains(&stage.attachment_b),
        "two attachments are on record",
        "",
    );
    for id in ids {
        admin.delete_and_wait(&format!("block/attachments/{id}"))?;
    }
    let path = format!("block/volumes/{}", stage.volume);
    let volume = admin.get(&path)?;
    let status = text(&volume, "status");
    say.claim(status == "available", "nobody has it any more", &status);
    admin.delete_and_wait(&path)?;
    let gone = admin.get(&path).is_err_and(|error| error.is_not_found());
    say.claim(gone, "and it is gone", "404");
    Ok(())
}

fn way(stage: &Stage, attachment: &str) -> Result<Way> {
    Way::of(&stage.admin.get(&format!("block/attachments/{attachment}"))?)
}

/// A real initiator keeps trying while a target restarts; so do these.
fn patiently(log_in: impl Fn() -> Result<Session, ScsiError>) -> Result<Session> {
    let limit = Instant::now() + Duration::from_secs(10);
    loop {
        match log_in() {
            Ok(session) => return Ok(session),
            Err(error) if Instant::now() > limit => bail!("login still fails: {error}"),
            Err(_) => std::thread::sleep(Duration::from_millis(50)),
        }
    }
}
