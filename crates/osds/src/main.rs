//! The osds daemon: everything in one process, a demo of what it is for, and a check of its
//! configuration. Which parts there are and how they hold together is in `wiring`.
//!
//! The command line says little and overrides the file where it says something; no option is needed
//! for a first try. An error that ends the program is one line with its whole cause on stderr.

mod attach;
mod check;
mod config;
mod csi;
mod demo;
mod log;
mod moving;
mod node;
mod password;
mod run;
mod space;
mod wiring;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Parser, Subcommand};

use config::Config;

/// OpenSDS block storage with true multi-attach: one volume, many hosts, each read-write or
/// read-only, and the target enforces it.
#[derive(Parser)]
#[command(
    name = "osds",
    version,
    after_help = "A first look:      osds demo\n\
                  A first daemon:    osds all --data-dir /tmp/osds\n\
                  and beside it:     osdsctl pool list"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run everything in this process: REST API, controller, docks and iSCSI targets.
    ///
    /// Prints one line starting with `ready` on standard output when it serves; logs go to
    /// standard error. Ends cleanly on SIGTERM and SIGINT, and goes on where it was when it is
    /// started again, however it ended.
    All(Run),
    /// Show what multi-attach means, on real blocks over real iSCSI, in under a minute.
    ///
    /// Starts a daemon of its own on free loopback ports in a temporary directory, plays two hosts
    /// and a stranger, says what happens and why, and ends with an error if any claim is not true.
    Demo(demo::Options),
    /// Bring over what the original keeps in etcd: profiles, hosts and volumes.
    ///
    /// Runs while osds does not. Prints a plan: what comes, what is there already, what has no place
    /// here and why. Ids stay, and running it again changes nothing. Nothing is ever written to the
    /// original, and no blocks are copied.
    Import(moving::records::Import),
    /// Encrypt a password for a configuration file, as pwdEncrypter did, and better.
    Password {
        #[command(subcommand)]
        command: password::PasswordCommand,
    },
    /// Make a volume a block device of this machine, and print which.
    ///
    /// Registers this machine as a host if need be, attaches the volume to it, logs in and checks
    /// that the device is the volume. Asked again, it answers the same device.
    Attach(attach::Attach),
    /// Take a volume away from this machine: device, session, record and attachment.
    Detach(attach::Detach),
    /// Run the CSI driver, through which Kubernetes and Nomad use osds.
    Csi {
        #[command(subcommand)]
        command: csi::Command,
    },
    /// Work with configuration files.
    Config {
        #[command(subcommand)]
        command: ConfigCommand,
    },
}

#[derive(Args)]
struct Run {
    /// The configuration; without it, defaults and one file pool in the data directory.
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where records and volumes are kept; overrides data_dir of the configuration.
    #[arg(short, long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Address of the REST API; overrides api.listen of the configuration.
    #[arg(long, value_name = "ADDRESS:PORT")]
    api: Option<std::net::SocketAddr>,
    /// Address of the built-in iSCSI target of a run without configuration.
    #[arg(long, value_name = "ADDRESS:PORT", conflicts_with = "config")]
    iscsi: Option<std::net::SocketAddr>,
}

#[derive(Subcommand)]
enum ConfigCommand {
    /// Read a configuration and every file it names, and say what is wrong or odd, with its place.
    Check {
        /// An osds.toml.
        file: PathBuf,
    },
    /// Make an osds.toml out of the original's opensds.conf, and say what has no equivalent.
    Import {
        /// An opensds.conf.
        file: PathBuf,
        /// Where to write it, and beside it the password of keystone_authtoken, for its owner
        /// only; standard output when absent.
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
}

impl Run {
    fn config(&self) -> Result<Config> {
        let mut config = match &self.config {
            Some(file) => Config::read(file)?,
            None => Config::default(),
        };
        if let Some(data_dir) = &self.data_dir {
            config.data_dir.clone_from(data_dir);
        }
        if let Some(api) = self.api {
            config.api.listen = api;
        }
        Ok(config)
    }
}

fn main() -> ExitCode {
    let outcome = match Cli::parse_from(password::as_called(std::env::args_os())).command {
        Command::All(run) => run.config().and_then(|config| run::run(&config, run.iscsi)),
        Command::Demo(options) => demo::run(&options),
        Command::Import(import) => import.run(),
        Command::Password { command } => password::run(&command),
        Command::Attach(attach) => attach.run(),
        Command::Detach(detach) => detach.run(),
        Command::Csi { command } => csi::run(&command),
        Command::Config { command: ConfigCommand::Check { file } } => check::check(&file),
        Command::Config { command: ConfigCommand::Import { file, output } } => {
            moving::config::import(&file, output.as_deref())
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Some causes end with a line of their own.
            eprintln!("osds: {}", format!("{error:#}").trim_end());
            ExitCode::FAILURE
        }
    }
}
