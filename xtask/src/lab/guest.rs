//! One guest: a QEMU process under emulation, its console, its channel.
//!
//! The process is ours: it is ended when the value is dropped, unless it was told to stay, and then
//! its pid is kept, with which `down` ends it, after a look that it is still the same program.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::Places;
use super::channel::{Channel, Output};
use super::image::Image;

/// How long a guest may take to boot; it takes 10 s on idle cores.
const BOOT: Duration = Duration::from_secs(180);

/// How long a script may take if nobody says.
const PATIENCE: Duration = Duration::from_secs(180);

/// Who a guest is.
pub struct Identity {
    /// Its name.
    pub name: &'static str,
    /// Its address on the lab's network.
    pub address: &'static str,
    /// The last byte of its network card's address.
    pub card: u8,
    /// Modules to load at boot.
    pub modules: &'static str,
    /// MiB of memory.
    pub memory: u32,
    /// GiB of each empty disk of its own, /dev/vdb and so on. They outlive a reset.
    pub disks: &'static [u64],
}

/// A running guest.
pub struct Guest {
    /// Its name.
    pub name: &'static str,
    home: PathBuf,
    process: Option<Child>,
    channel: Mutex<Option<Channel>>,
}

impl Guest {
    /// Starts it. `network` tells the labs on one machine apart.
    pub fn start(who: &Identity, places: &Places, image: &Image, network: u16) -> Result<Self> {
        let home = places.run.join(who.name);
        fs::remove_dir_all(&home).ok();
        fs::create_dir_all(&home).with_context(|| home.display().to_string())?;
        let mut qemu = Command::new("qemu-system-x86_64");
        qemu.args(["-nodefaults", "-no-user-config", "-display", "none", "-M", "q35", "-smp", "1"]);
        qemu.args(["-accel", "tcg,thread=multi,tb-size=256", "-cpu", "Nehalem"]);
        qemu.args(["-m", &who.memory.to_string(), "-kernel"]).arg(&image.kernel);
        qemu.arg("-initrd").arg(&image.initrd).args(["-append", &kernel_line(who)]);
        let at = |name: &str| home.join(name).display().to_string();
        qemu.args(["-chardev", &format!("file,id=console,path={}", at("console.log"))]);
        qemu.args(["-serial", "chardev:console", "-device", "virtio-serial-pci"]);
        qemu.args([
            "-chardev",
            &format!("socket,id=agent,path={},server=on,wait=off", at("agent.sock")),
        ]);
        qemu.args(["-device", "virtserialport,chardev=agent,name=lab.agent"]);
        qemu.args(["-qmp", &format!("unix:{},server=on,wait=off", at("qmp.sock"))]);
        let root = image.root.display();
        qemu.args(["-drive", &format!("if=none,id=root,format=raw,readonly=on,file={root}")]);
        qemu.args(["-device", "virtio-blk-pci,drive=root"]);
        for (number, gib) in who.disks.iter().enumerate() {
            let disk = home.join(format!("disk{number}.img"));
            File::create(&disk)
                .and_then(|file| file.set_len(gib << 30))
                .context("the guest's disk")?;
            let file = disk.display();
            let drive = format!("if=none,id=disk{number},format=raw,cache=unsafe,file={file}");
            let device = format!("virtio-blk-pci,drive=disk{number},serial=lab{number}");
            qemu.args(["-drive", &drive, "-device", &device]);
        }
        let lan = format!("socket,id=lan,mcast=230.9.0.1:{network},localaddr=127.0.0.1");
        let card =
            format!("virtio-net-pci,netdev=lan,mac=52:54:00:09:00:{:02x},romfile=", who.card);
        qemu.args(["-netdev", &lan, "-device", &card]);
        let share = places.share.display();
        qemu.args([
            "-fsdev",
            &format!("local,id=share,path={share},security_model=none,readonly=on"),
        ]);
        qemu.args(["-device", "virtio-9p-pci,fsdev=share,mount_tag=host"]);
        let log = File::create(home.join("qemu.log"))?;
        qemu.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        // A Ctrl-C is for us; the guests end when we do (`cluster::end_with_us`).
        std::os::unix::process::CommandExt::process_group(&mut qemu, 0);
        let process = qemu.spawn().context("could not start qemu-system-x86_64")?;
        fs::write(home.join("pid"), process.id().to_string())?;
        Ok(Self { name: who.name, home, process: Some(process), channel: Mutex::default() })
    }

    /// Its process, if it is ours.
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Child::id)
    }

    /// One that another call of the lab left running.
    pub fn running(name: &'static str, places: &Places) -> Result<Self> {
        let home = places.run.join(name);
        if pid_of(&home).is_none() {
            bail!("guest {name} is not running; start the lab with: cargo xtask lab up");
        }
        let channel = Mutex::new(Some(Channel::open(name, &home.join("agent.sock"))?));
        Ok(Self { name, home, process: None, channel })
    }

    /// Waits until it has booted.
    pub fn ready(&self) -> Result<()> {
        self.booted(0)
    }

    /// Resets it, as a machine that crashes, and waits until it has booted again. Its disks are as
    /// they were; all else is as at the first start.
    pub fn reset(&self) -> Result<()> {
        let boots = self.boots();
        // Before its driver is set up anew: it must not find somebody at the other end.
        if let Some(channel) = self.channel().take() {
            channel.close();
        }
        super::monitor::command(&self.home.join("qmp.sock"), "system_reset")?;
        self.booted(boots)
    }

    fn boots(&self) -> usize {
        self.console().matches("LAB-READY").count()
    }

    fn booted(&self, before: usize) -> Result<()> {
        let until = Instant::now() + BOOT;
        let mut missed = 0;
        while self.boots() <= before {
            // A process that has only just become QEMU has no command line for a moment.
            missed = if pid_of(&self.home).is_none() { missed + 1 } else { 0 };
            if missed > 20 {
                bail!("guest {} ended: {}", self.name, self.log("qemu.log"));
            }
            if Instant::now() > until {
                bail!(
                    "guest {} did not boot in {} s; its console:\n{}",
                    self.name,
                    BOOT.as_secs(),
                    self.console()
                );
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        *self.channel() = Some(Channel::open(self.name, &self.home.join("agent.sock"))?);
        self.run("true").map(|_| ())
    }

    fn channel(&self) -> MutexGuard<'_, Option<Channel>> {
        self.channel.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs a script, whatever comes of it.
    pub fn run(&self, script: &str) -> Result<Output> {
        self.run_for(script, PATIENCE)
    }

    /// The same, with another patience.
    pub fn run_for(&self, script: &str, patience: Duration) -> Result<Output> {
        let channel = self.channel().clone().context("the guest is not ready")?;
        channel.run(script, patience)
    }

    /// Runs a script that must go well; what it printed, without the end of the line.
    pub fn must(&self, script: &str) -> Result<String> {
        let output = self.run(script)?;
        if !output.ok() {
            bail!("guest {}: exit code {}: {script}\n{}", self.name, output.code, output.text);
        }
        Ok(output.text.trim_end().to_owned())
    }

    /// Stops its processor, as if the machine froze.
    pub fn freeze(&self) -> Result<()> {
        super::monitor::command(&self.home.join("qmp.sock"), "stop")
    }

    /// Lets it go on.
    pub fn thaw(&self) -> Result<()> {
        super::monitor::command(&self.home.join("qmp.sock"), "cont")
    }

    /// What its kernel and its programs wrote to the console.
    pub fn console(&self) -> String {
        self.log("console.log")
    }

    fn log(&self, name: &str) -> String {
        let bytes = fs::read(self.home.join(name)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Lets it run on after us.
    pub fn leave(&mut self) {
        self.process = None;
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        if let Some(process) = &mut self.process {
            process.kill().ok();
            process.wait().ok();
            fs::remove_file(self.home.join("pid")).ok();
        }
    }
}

/// The pid of a guest that runs: the file may be older than the machine's last boot.
pub fn pid_of(home: &Path) -> Option<u32> {
    let pid: u32 = fs::read_to_string(home.join("pid")).ok()?.trim().parse().ok()?;
    let command = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let is_ours = String::from_utf8_lossy(&command).contains(&*home.to_string_lossy());
    is_ours.then_some(pid)
}

fn kernel_line(who: &Identity) -> String {
    let Identity { name, address, modules, .. } = who;
    format!(
        "console=ttyS0 quiet loglevel=4 panic=-1 tsc=reliable no_timer_check mitigations=off audit=0 \
         random.trust_cpu=on lab.name={name} lab.address={address} lab.modules={modules}"
    )
}
