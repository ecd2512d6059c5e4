//! A host dies in the middle of a write, and another fences it by reservation, in the middle of
//! commands of its own: the storage is held still meanwhile, so that all of them are under way.
//!
//! The control: while the storage stands still no write ends.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::{On, Stage, both};
use crate::lab::checks::Checks;

/// How long what was sent may take to be under way, and what is late to land.
const WHILE: Duration = Duration::from_secs(3);
/// How long the answer may take once the storage goes on.
const PATIENCE: Duration = Duration::from_secs(60);

pub fn play(stage: &Stage<'_>, checks: &mut Checks) -> Result<()> {
    let (a, b, store) = (&stage.a, &stage.b, stage.store);
    let (zone, find) = match stage.on {
        On::Lio => (stage.on.zone(), "dmsetup ls | grep -o '^[^ \t]*VOLUME[^ \t]*'"),
        On::Embedded | On::LioFiles => (stage.on.slow_zone(), "echo slow"),
    };
    let volume = stage.volume_in(zone, "preempt")?;
    let (to_a, to_b) = (stage.attach(&volume, a, "rw")?, stage.attach(&volume, b, "rw")?);
    let (on_a, on_b) = both(|| stage.login(a, &to_a), || stage.login(b, &to_b));
    let (on_a, on_b) = (on_a?, on_b?);
    // dm writes a dash of a name as two.
    let disk = store.must(&find.replace("VOLUME", &volume.replace('-', "--")))?;
    let out = |words: &str, disk: &str| format!("sg_persist -n --out {words} {disk}");
    a.must(&out("--register-ignore --param-sark=0xa", &on_a))?;
    a.must(&out("--reserve --param-rk=0xa --prout-type=5", &on_a))?;
    b.must(&out("--register-ignore --param-sark=0xb", &on_b))?;
    // An answer that was lost is asked for again after 5 s instead of 30.
    for (client, disk) in [(a, &on_a), (b, &on_b)] {
        let name = disk.trim_start_matches("/dev/");
        client.must(&format!("echo 5 >/sys/block/{name}/device/timeout; rm -f /tmp/*.code"))?;
    }
    // Not only in the storage host's memory.
    let direct = "oflag=direct,dsync conv=nocreat bs=4096 count=1";
    let write = |word: &str, disk: &str, at: u32| {
        format!(
            "yes {word} | head -c 4096 >/tmp/{word}; dd if=/tmp/{word} of={disk} {direct} seek={at} 2>&1"
        )
    };
    a.must(&write("OLD", &on_a, 0))?;

    store.must(&format!("dmsetup suspend --noflush --nolockfs {disk}"))?;
    let fenced = (|| {
        a.must(&apart("write", &write("LATE", &on_a, 0)))?;
        b.must(&apart("write", &write("OWN", &on_b, 1)))?;
        b.must(&apart(
            "read",
            &format!("dd if={on_b} iflag=direct bs=4096 count=1 skip=2 2>&1 >/dev/null"),
        ))?;
        sleep(WHILE);
        a.guest.freeze()?;
        let preempt = out("--preempt-abort --param-rk=0xb --param-sark=0xa --prout-type=5", &on_b);
        b.must(&apart("preempt", &preempt))?;
        sleep(WHILE);
        b.must("ls /tmp/write.code 2>/dev/null || true")
    })();
    store.must(&format!("dmsetup resume {disk}"))?;
    let ended = fenced?;
    checks.check(ended.is_empty(), "control: writes wait for the storage", &ended);
    let begun = Instant::now();
    let code = until_ended(b, "preempt")?;
    let took = begun.elapsed().as_secs_f32();
    let what = format!("B has preempted A, which is dead, {took:.1} s after the storage went on");
    checks.check(code == "0", &what, &code);
    b.must(&write("MARK", &on_b, 0))?;
    a.guest.thaw()?;
    let code = until_ended(a, "write")?;
    let was_refused = code != "0" && code != NEVER;
    checks.check(was_refused, "A, back, is told that its write was refused", &code);
    sleep(WHILE);
    let stays =
        format!("dd if={on_b} iflag=direct bs=4096 count=1 2>/dev/null | cmp - /tmp/MARK 2>&1");
    let kept = b.run(&stays)?;
    checks.check(kept.ok(), "and nothing of it landed later", &kept.text);
    let (wrote, read) = (until_ended(b, "write")?, until_ended(b, "read")?);
    checks.check(
        wrote == "0" && read == "0",
        "what B had under way itself ends well",
        &format!("write {wrote}, read {read}"),
    );
    let begun = Instant::now();
    stage.detach(&to_a)?;
    let took = begun.elapsed().as_secs_f32();
    checks.check(took < 10.0, "and A is detached as ever", &format!("{took:.1} s"));
    Ok(())
}

/// In place of an exit code, where a script has not ended.
const NEVER: &str = "none";

/// Runs a script beside what comes next; its exit code is in a file once it has ended.
fn apart(name: &str, script: &str) -> String {
    let (out, code) = (format!("/tmp/{name}.out"), format!("/tmp/{name}.code"));
    format!(
        "cat >/tmp/{name}.sh <<'SCRIPT'\n{script}\nSCRIPT\n\
         setsid sh -c 'sh /tmp/{name}.sh >{out} 2>&1; echo $? >{code}' >/dev/null 2>&1 </dev/null &"
    )
}

/// The exit code of a script that runs apart, with what it said if it is not 0.
fn until_ended(client: &super::Client<'_>, name: &str) -> Result<String> {
    let tries = PATIENCE.as_secs() * 2;
    client.must(&format!(
        "for try in $(seq {tries}); do [ -s /tmp/{name}.code ] && break; sleep 0.5; done\n\
         code=$(cat /tmp/{name}.code 2>/dev/null || echo {NEVER}); echo $code; \
         [ $code = 0 ] || [ $code = {NEVER} ] || cat /tmp/{name}.out"
    ))
}
