//! `cargo xtask lab`: real kernels against our daemons, in three QEMU guests on a private network.
//!
//! One storage guest runs `osds`; two client guests log in with the kernel's own initiator. No KVM
//! and no root are needed: QEMU emulates, the image is made of Debian packages that nobody installs
//! here, and the network is a multicast group on loopback. Nothing of a run is left behind but its
//! logs, and those only when it failed or was told to stay.

mod channel;
mod checks;
mod cluster;
mod guest;
mod image;
mod monitor;
mod scenes;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};

use crate::{packages, workspace};

/// What to do with the lab.
#[derive(Subcommand)]
pub enum Lab {
    /// Run the scenes, each with a control that shows that it can fail.
    Test {
        /// Only scenes with this word (or one of these: a,b) in their name, long ones too.
        filter: Option<String>,
        /// Also the scenes that take too long for every push.
        #[arg(long)]
        long: bool,
        /// Let the guests run on afterwards, for `lab shell`.
        #[arg(long)]
        keep: bool,
        #[command(flatten)]
        kernel: Kernel,
    },
    /// Start the guests and leave them running.
    Up(Kernel),
    /// Run a script in a running guest: one given here, or each line typed.
    Shell {
        /// Which: store, a or b.
        guest: String,
        /// The script.
        script: Vec<String>,
    },
    /// Stop what `up` or `--keep` left running.
    Down,
    /// Only build the guests' image.
    Image(Kernel),
}

/// What guests run.
#[derive(Args)]
pub struct Kernel {
    /// The kernel of this package instead of Debian's own: a linux-image-*.deb of backports, say.
    #[arg(long = "kernel", value_name = "DEB")]
    package: Option<PathBuf>,
}

/// Where the lab keeps its image, its state and its logs.
pub struct Places {
    /// The repository.
    pub root: PathBuf,
    /// Images, by the hash of their recipe, and downloaded packages.
    pub images: PathBuf,
    /// Sockets, disks and logs of the guests.
    pub run: PathBuf,
    /// What guests see as /host.
    pub share: PathBuf,
}

impl Places {
    fn here() -> Result<Self> {
        let root = workspace::root()?;
        let lab = std::env::var_os("CARGO_TARGET_DIR")
            .map_or_else(|| root.join("target"), PathBuf::from)
            .join("lab");
        let (images, run, share) = (lab.join("images"), lab.join("run"), lab.join("share"));
        for place in [&images, &run, &share] {
            std::fs::create_dir_all(place)
                .with_context(|| format!("could not make {}", place.display()))?;
        }
        Ok(Self { root, images, run, share })
    }
}

/// How the scenes went.
pub enum Outcome {
    /// Every check held.
    Held,
    /// One did not; it was said which.
    Failed,
    /// Nothing was played, and this is why.
    Skipped(String),
}

/// Every short scene, as a step of `ci`.
pub fn whole() -> Result<Outcome> {
    match need_programs() {
        Ok(()) => scenes::run(&Places::here()?, None, &scenes::Wanted::default(), false),
        Err(missing) => Ok(Outcome::Skipped(missing.to_string())),
    }
}

/// Does it.
pub fn run(what: &Lab) -> Result<ExitCode> {
    let places = Places::here()?;
    match what {
        Lab::Test { filter, long, keep, kernel } => {
            let wanted = scenes::Wanted { word: filter.clone(), long: *long };
            match scenes::run(&places, kernel.package.as_deref(), &wanted, *keep)? {
                Outcome::Held => {}
                Outcome::Failed | Outcome::Skipped(_) => return Ok(ExitCode::FAILURE),
            }
        }
        Lab::Up(kernel) => {
            let image = image::ensure(&places, kernel.package.as_deref())?;
            cluster::binaries(&places)?;
            let mut guests = cluster::start(&places, &image)?;
            guests.iter_mut().for_each(guest::Guest::leave);
            println!("lab: up; cargo xtask lab shell store 'uname -a', cargo xtask lab down");
        }
        Lab::Shell { guest, script } => return cluster::shell(&places, guest, &script.join(" ")),
        Lab::Down => cluster::down(&places)?,
        Lab::Image(kernel) => {
            image::ensure(&places, kernel.package.as_deref())?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Fails with the remedy when a program is missing.
fn need_programs() -> Result<()> {
    let missing: Vec<_> =
        packages::LAB_PROGRAMS.into_iter().filter(|program| !packages::on_path(program)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    bail!("the lab needs {}: cargo xtask packages; or {}", missing.join(", "), packages::how())
}
