//! Where hosts log in to the array: asked over REST in 8.0, with the array's own command in 6.3.
//!
//! The command speaks to one agent at a time; the agents are asked in turn, and what any of them
//! knows counts. It is run with its arguments as they are, never through a shell.

use std::collections::HashMap;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use osds_model::FaultKind;

use crate::DriverError;
use crate::config::FusionStorageConfig;
use crate::storage::fusionstorage::{Array, Portal};

/// For so long an answer is good for those who only look. Who lets a host in asks anew.
const FRESH: Duration = Duration::from_secs(60);

pub(super) struct Portals {
    way: Way,
    known: Mutex<HashMap<String, (Instant, Vec<Portal>)>>,
}

enum Way {
    Rest,
    Command { program: PathBuf, manager: String, agents: Vec<String> },
}

impl Portals {
    pub(super) fn new(config: &FusionStorageConfig) -> Self {
        let way = match config.version.as_str() {
            "6.3" => Way::Command {
                program: config.fsc_cli.clone(),
                manager: config.fm_ip.clone(),
                agents: config.fsa_ips.clone(),
            },
            _ => Way::Rest,
        };
        Self { way, known: Mutex::default() }
    }

    /// Open ways for this initiator, at least one.
    pub(super) fn of(
        &self,
        array: &Array,
        initiator: &str,
        anew: bool,
    ) -> Result<Vec<Portal>, DriverError> {
        let lock = || self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let key = match self.way {
            Way::Rest => "",
            Way::Command { .. } => initiator,
        };
        if let Some((since, portals)) = lock().get(key)
            && !anew
            && since.elapsed() < FRESH
        {
            return Ok(portals.clone());
        }
        let doing = "asking the array for its iSCSI portals";
        let portals = match &self.way {
            Way::Rest => array.portals().map_err(|error| error.while_doing(doing))?,
            Way::Command { program, manager, agents } => {
                run(program, &["--op", "startServer"])?;
                let ask = |agent: &String| {
                    let arguments = ["--op", "queryIscsiPortalInfo", "--portName", initiator];
                    let where_to = ["--manage_ip", manager.as_str(), "--ip", agent.as_str()];
                    run(program, &[&arguments[..], &where_to[..]].concat())
                };
                let answers: Vec<_> = agents.iter().map(ask).collect();
                let mut portals: Vec<Portal> = Vec::new();
                for text in answers.iter().filter_map(|answer| answer.as_ref().ok()) {
                    portals.extend(parse(text));
                }
                portals.dedup();
                // When nobody knew any, the first agent's trouble is the reason.
                match answers.into_iter().find_map(Result::err) {
                    Some(error) if portals.is_empty() => return Err(error),
                    Some(_) | None => portals,
                }
            }
        };
        if portals.is_empty() {
            return Err(DriverError::new(FaultKind::Temporary, doing).because("none is active"));
        }
        lock().insert(key.to_owned(), (Instant::now(), portals.clone()));
        Ok(portals)
    }
}

fn run(program: &PathBuf, arguments: &[&str]) -> Result<String, DriverError> {
    let doing = || format!("running {} {}", program.display(), arguments.join(" "));
    let command = Command::new(program).args(arguments).stdin(Stdio::null()).output();
    let output = command.map_err(|error| {
        let doing = format!("{} (install it, or say where it is with fscCli)", doing());
        DriverError::from_io(doing, error)
    })?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    // It says in its last line how it went.
    let said = text.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or_default();
    if output.status.success() && said == "result=0" {
        return Ok(text);
    }
    let why = format!("it ends with {} and says {said:?}", output.status);
    Err(DriverError::new(FaultKind::Temporary, doing()).because(why))
}

/// Lines of `address:port,iqn` and perhaps more.
fn parse(text: &str) -> impl Iterator<Item = Portal> {
    text.lines().filter_map(|line| {
        let mut words = line.split(',').map(str::trim);
        let (address, iqn) = (words.next()?, words.next()?);
        let is_portal = address.contains(':') && !iqn.is_empty();
        is_portal.then(|| Portal { address: address.to_owned(), iqn: Some(iqn.to_owned()) })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commands_answer_is_read() {
        let text =
            "192.0.2.1:3260,iqn.2006-08.com.huawei:a,1\n\n192.0.2.2:3260, iqn.x:b\nresult=0\n";
        let found: Vec<_> = parse(text).map(|portal| (portal.address, portal.iqn)).collect();
        let expected =
            [("192.0.2.1:3260", "iqn.2006-08.com.huawei:a"), ("192.0.2.2:3260", "iqn.x:b")];
        assert_eq!(found, expected.map(|(at, iqn)| (at.to_owned(), Some(iqn.to_owned()))));
    }

    #[test]
    fn a_command_that_is_not_there_is_named() {
        let error = run(&"/nowhere/fsc_cli".into(), &["--op", "startServer"]).unwrap_err();
        assert!(error.chain().contains("fscCli"), "{}", error.chain());
        let error = run(&"/bin/false".into(), &[]).unwrap_err();
        assert_eq!(error.kind, FaultKind::Temporary);
    }
}
