//! The root of the grammar, and how a run ends.
//!
//! Data goes to stdout and words to stderr, so that a pipe gets only data. The exit codes are the
//! original's: 0, 1 for a command line that is wrong, 255 for a command that did not work; scripts
//! rely on them, so errors of the argument parser are mapped to its words as well.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use crate::cmd::{csi, dock, fileshare, host, pool, profile, version, volume};
use crate::manual;
use crate::session::{Session, to_stdout};
use crate::table::tame;

/// The command did not work; said as `ERROR: ...`.
const FAILED: u8 = 255;
/// The command line was wrong.
const MISUSED: u8 = 1;

const EXAMPLES: &str = "\
Examples:
  Two hosts, one volume, one of them read-only:
    osdsctl profile create \\
      '{\"name\":\"multi-attach\",\"customProperties\":{\"capabilities:multiAttach\":\"<is> true\"}}'
    osdsctl volume create 1 --name shared --profile <profile id> --wait
    osdsctl volume attachment create <volume id> <host a>
    osdsctl volume attachment create <volume id> <host b> --attach-mode ro

  Which pool would take it, and why not the others:
    osdsctl pool explain 100 --profile <profile id>

Environment:
  OPENSDS_ENDPOINT       where the server is [default: http://localhost:50040]
  OPENSDS_AUTH_STRATEGY  noauth or keystone [default: noauth]; keystone wants OpenStack's OS_AUTH_URL,
                         OS_USERNAME, OS_PASSWORD, OS_TENANT_NAME, OS_PROJECT_NAME, OS_USER_DOMAIN_ID
  OS_CACERT              certificates to trust for https
  OPENSDS_TENANT_ID      whose things these are [default: the admin tenant]";

/// Administer the opensds storage cluster.
#[derive(Debug, Parser)]
#[command(
    name = "osdsctl",
    version,
    after_help = EXAMPLES,
    arg_required_else_help = true,
    infer_long_args = false
)]
struct Cli {
    /// Show what is sent and what comes back, on stderr.
    #[arg(long, global = true, help_heading = "Global options")]
    debug: bool,
    /// Show passwords instead of `***`.
    #[arg(long, global = true, help_heading = "Global options")]
    show_secrets: bool,
    /// How to print data.
    #[arg(
        short,
        long,
        global = true,
        help_heading = "Global options",
        value_enum,
        default_value_t,
        value_name = "format"
    )]
    output: Format,
    #[command(subcommand)]
    command: Command,
}

/// How to print data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// The original's tables.
    #[default]
    Table,
    /// As the server says it.
    Json,
    /// The same in YAML.
    Yaml,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show the versions of the API.
    #[command(subcommand)]
    Version(version::Command),
    /// Show docks: the agents on storage hosts.
    #[command(subcommand)]
    Dock(dock::Command),
    /// Show pools: the places volumes come from.
    #[command(subcommand)]
    Pool(pool::Command),
    /// Manage profiles: what users ask of storage, by name.
    #[command(subcommand)]
    Profile(profile::Command),
    /// Manage volumes and who has them.
    Volume(volume::Volume),
    /// Manage hosts: the machines volumes are attached to.
    #[command(subcommand)]
    Host(host::Command),
    /// Manage file shares, on servers that have them.
    #[command(subcommand)]
    Fileshare(fileshare::Command),
    /// Compare what Kubernetes believes with what is.
    #[command(subcommand)]
    Csi(csi::Command),
    /// Print a completion script for a shell.
    #[command(
        after_help = "Example: osdsctl completion bash > ~/.local/share/bash-completion/completions/osdsctl"
    )]
    Completion {
        /// Which shell.
        shell: Shell,
    },
    /// Print the manual page, or write one for every command into a directory.
    #[command(after_help = "Example: osdsctl man /usr/local/share/man/man1")]
    Man {
        /// Where to write them; it has to be there.
        directory: Option<PathBuf>,
    },
}

/// The command line is well formed and still wrong, like text that is not JSON.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Misuse(pub(crate) String);

/// Runs osdsctl with the arguments and the environment of this process.
#[must_use]
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return misused(&error),
    };
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("ERROR: {error:#}"));
            let misuse = error.downcast_ref::<Misuse>().is_some();
            ExitCode::from(if misuse { MISUSED } else { FAILED })
        }
    }
}

fn run(cli: Cli) -> anyhow::Result<()> {
    if let Command::Completion { shell } = cli.command {
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut Cli::command(), "osdsctl", &mut script);
        return to_stdout(&script);
    }
    if let Command::Man { directory } = cli.command {
        return manual::write(Cli::command(), directory.as_deref());
    }
    let session = Session::from_env(cli.output, cli.debug, cli.show_secrets)?;
    match cli.command {
        Command::Version(command) => command.run(&session),
        Command::Dock(command) => command.run(&session),
        Command::Pool(command) => command.run(&session),
        Command::Profile(command) => command.run(&session),
        Command::Volume(volume) => volume.run(&session),
        Command::Host(command) => command.run(&session),
        Command::Csi(command) => command.run(&session),
        Command::Fileshare(command) => command.run(&session),
        Command::Completion { .. } | Command::Man { .. } => Ok(()),
    }
}

fn misused(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        // --help and --version are data.
        return match to_stdout(error.render().to_string().as_bytes()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::from(FAILED),
        };
    }
    let text = error.render().to_string();
    let usage = text.find("Usage:").map_or("", |at| text[at..].trim_end());
    if wrong_count(error) {
        say(&format!("ERROR: The number of args is not correct!\n{usage}"));
    } else if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        say(text.trim_end());
    } else {
        let text = text.trim_end();
        say(&text
            .strip_prefix("error: ")
            .map_or_else(|| text.to_owned(), |t| format!("ERROR: {t}")));
    }
    ExitCode::from(MISUSED)
}

/// Whether there are too few or too many positional arguments.
fn wrong_count(error: &clap::Error) -> bool {
    match (error.kind(), error.get(ContextKind::InvalidArg)) {
        (ErrorKind::MissingRequiredArgument, Some(ContextValue::Strings(missing))) => {
            missing.iter().all(|arg| arg.starts_with('<'))
        }
        (ErrorKind::UnknownArgument, Some(ContextValue::String(extra))) => !extra.starts_with('-'),
        _ => false,
    }
}

/// Words for people. That nobody reads them is no reason to fail. Somebody else's words may be
/// among them, which are not for the terminal to obey.
pub(crate) fn say(words: &str) {
    let lines: Vec<_> = words.split('\n').map(tame).collect();
    let _ = writeln!(std::io::stderr(), "{}", lines.join("\n"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grammar_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn flags_of_the_whole_command_go_anywhere() {
        for line in [
            "osdsctl -o json volume -p x create 1 -n v",
            "osdsctl volume create 1 -p x -n v -o json",
            "osdsctl volume create -n v 1 --profile x --output json --debug",
        ] {
            Cli::try_parse_from(line.split(' ')).unwrap();
        }
    }
}
