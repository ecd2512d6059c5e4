//! The three guests together: a storage host and two clients.
//!
//! Programs of this workspace are built as `cargo build` does and shown to the guests as /host; they
//! run there because the guests are the same Debian as the machine that CI gives us.

use std::fs;
use std::io::{BufRead as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::Places;
use super::guest::{Guest, Identity, pid_of};
use super::image::Image;
use crate::workspace;

/// Everybody in the lab.
pub const GUESTS: [Identity; 3] = [
    Identity {
        name: "store",
        address: "10.9.0.1",
        card: 1,
        modules: "dm-mod,dm-thin-pool,dm-delay,ext4,loop,target_core_mod,target_core_iblock,target_core_file,\
                  iscsi_target_mod,nvmet,nvmet-tcp",
        memory: 768,
        // For osds and its files, for a disk that is slow, and for a volume group.
        disks: &[4, 4, 4],
    },
    Identity {
        name: "a",
        address: "10.9.0.2",
        card: 2,
        modules: "iscsi_tcp,sd_mod,sg,nvme-tcp",
        memory: 320,
        disks: &[],
    },
    Identity {
        name: "b",
        address: "10.9.0.3",
        card: 3,
        modules: "iscsi_tcp,sd_mod,sg,nvme-tcp",
        memory: 320,
        disks: &[],
    },
];

/// What the guests run of ours: where it is built, and its name there.
const PROGRAMS: [(&str, &str); 3] =
    [("osds", "osds"), ("osdsctl", "osdsctl"), ("examples/csi-client", "csi-client")];

/// Builds what the guests run of ours.
pub fn binaries(places: &Places) -> Result<()> {
    let mut build = workspace::cargo();
    // All of the workspace with an example, as its tests are built: another choice of features would
    // be another build of nearly everything.
    let what = ["--workspace", "--bin", "osds", "--bin", "osdsctl", "--example", "csi-client"];
    build.current_dir(&places.root).args(["build", "--quiet"]).args(what);
    ensure!(build.status()?.success(), "the programs do not build");
    PROGRAMS.iter().try_for_each(|(built, name)| show(places, built, name))
}

/// Tests that guests run: the crate, and the test program, which they know as `test-<program>`.
const SUITES: [(&str, &str); 3] =
    [("drivers", "conformance"), ("testkit", "lio"), ("testkit", "nvmet")];

/// Builds the conformance suites, of which guests run those that want a kernel of their own.
pub fn suites(places: &Places) -> Result<()> {
    let mut build = workspace::cargo();
    build.current_dir(&places.root).args(["test", "--quiet", "--no-run", "--workspace"]);
    for (_, test) in SUITES {
        build.args(["--test", test]);
    }
    let built =
        build.arg("--message-format=json-render-diagnostics").stderr(Stdio::inherit()).output()?;
    ensure!(built.status.success(), "the suites do not build");
    let messages: Vec<Value> = built
        .stdout
        .split(|byte| *byte == b'\n')
        .filter_map(|line| serde_json::from_slice(line).ok())
        .collect();
    for (folder, test) in SUITES {
        let manifest = format!("crates/{folder}/Cargo.toml");
        let is_it = |message: &&Value| {
            message["manifest_path"].as_str().is_some_and(|path| path.ends_with(&manifest))
                && message["target"]["name"] == test
                && message["executable"].is_string()
        };
        let program = messages.iter().find(is_it).and_then(|found| found["executable"].as_str());
        let program = program.with_context(|| format!("cargo built no {test} of {folder}"))?;
        share(places, Path::new(program), &format!("test-{test}"))?;
    }
    Ok(())
}

/// Lets guests see what was built.
fn show(places: &Places, built: &str, name: &str) -> Result<()> {
    let target = places.share.parent().and_then(|lab| lab.parent()).context("target")?;
    share(places, &target.join("debug").join(built), name)
}

fn share(places: &Places, built: &Path, name: &str) -> Result<()> {
    // Under another name first: a running guest may be reading the old one.
    let new = places.share.join(format!("{name}.new"));
    fs::copy(built, &new).with_context(|| format!("no {}", built.display()))?;
    fs::rename(new, places.share.join(name))?;
    Ok(())
}

/// Starts everybody, and waits until all have booted.
pub fn start(places: &Places, image: &Image) -> Result<Vec<Guest>> {
    if let Some(guest) = GUESTS.iter().find(|guest| pid_of(&places.run.join(guest.name)).is_some())
    {
        bail!("guest {} runs already; stop the lab with: cargo xtask lab down", guest.name);
    }
    let began = Instant::now();
    // Ports of a multicast group, which all labs on this machine would share.
    let network = 20_000 + u16::try_from(std::process::id() % 20_000).unwrap_or_default();
    let started = GUESTS.iter().map(|who| Guest::start(who, places, image, network));
    let guests = started.collect::<Result<Vec<_>>>()?;
    for guest in &guests {
        guest.ready()?;
    }
    println!("lab: three guests up in {:.1} s", began.elapsed().as_secs_f32());
    Ok(guests)
}

/// Ends the guests with us however we end, also where nothing is dropped: by Ctrl-C, or killed. For as
/// long as the value lives; its pipe is what the watcher hears us by.
pub fn end_with_us(guests: &[Guest]) -> Result<Child> {
    let pids = guests.iter().filter_map(Guest::pid).map(|pid| pid.to_string());
    let mut watcher = Command::new("sh");
    watcher.args(["-c", "cat >/dev/null; kill \"$@\"", "watcher"]).args(pids);
    watcher.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    watcher.process_group(0).spawn().context("could not run sh")
}

/// Runs one script in a guest, or each line that is typed.
pub fn shell(places: &Places, name: &str, script: &str) -> Result<ExitCode> {
    let known = GUESTS.iter().find(|guest| guest.name == name);
    let known = known.with_context(|| format!("there is no guest {name}: store, a or b"))?;
    let guest = Guest::running(known.name, places)?;
    let hours = Duration::from_secs(24 * 3600);
    let say = |script: &str| -> Result<u8> {
        let output = guest.run_for(script, hours)?;
        print!("{}", output.text);
        Ok(u8::try_from(output.code).unwrap_or(1))
    };
    if !script.is_empty() {
        return Ok(ExitCode::from(say(script)?));
    }
    loop {
        print!("{name}# ");
        std::io::stdout().flush()?;
        let mut line = String::new();
        if std::io::stdin().lock().read_line(&mut line)? == 0 {
            return Ok(ExitCode::SUCCESS);
        }
        say(&line)?;
    }
}

/// Ends guests that were left running.
pub fn down(places: &Places) -> Result<()> {
    for who in &GUESTS {
        let home = places.run.join(who.name);
        if let Some(pid) = pid_of(&home) {
            let ended = Command::new("kill").arg(pid.to_string()).status()?;
            ensure!(ended.success(), "could not end guest {} (pid {pid})", who.name);
            println!("lab: guest {} ended", who.name);
        }
        fs::remove_file(home.join("pid")).ok();
    }
    Ok(())
}
