//! The credentials in a node record of open-iscsi.
//!
//! A record is a file of lines `name = value` below `nodes/<target>/`, which `iscsiadm --op new`
//! makes and `--login` reads. We replace the lines of CHAP and leave the others; the file is the
//! owner's only from before a password is in it.

use std::fs::{self, File, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use osds_model::{Authentication, Secret};

use crate::error::{ConnectError, Kind};
use crate::tools::Machine;

/// Where distributions keep the records.
const HOMES: [&str; 2] = ["etc/iscsi/nodes", "var/lib/iscsi/nodes"];

/// The names in a record that this is about.
const AUTH: &str = "node.session.auth.";

/// Makes the record of this target and portal prove this, or nothing.
pub(super) fn prove(
    machine: &Machine,
    iqn: &str,
    portal: &str,
    proof: Option<&Authentication<Secret>>,
) -> Result<(), ConnectError> {
    let files = files(machine, iqn, portal)?;
    if files.is_empty() {
        let doing = format!("looking for the record of {iqn} at {portal}");
        let homes = HOMES.join(" and /");
        let why = format!("iscsiadm made none below /{homes}; mount the node's into the container");
        return Err(ConnectError::new(Kind::Missing, doing).because(why));
    }
    for file in files {
        rewrite(&file, proof).map_err(|error| {
            ConnectError::io(format!("writing the record {}", file.display()), error)
        })?;
    }
    Ok(())
}

/// `nodes/<iqn>/<address>,<port>[,<group>]`, a file or a directory with the file `default` in it.
fn files(machine: &Machine, iqn: &str, portal: &str) -> Result<Vec<PathBuf>, ConnectError> {
    let (address, port) = portal.rsplit_once(':').unwrap_or((portal, "3260"));
    let address = address.trim_start_matches('[').trim_end_matches(']');
    let begins = format!("{address},{port}");
    let mut files = Vec::new();
    for home in HOMES {
        let home = machine.path(home).join(iqn);
        for name in machine.names(&home)? {
            let rest = name.strip_prefix(&begins);
            if rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(',')) {
                let record = home.join(name);
                if !record.is_dir() {
                    files.push(record);
                    continue;
                }
                let inner = machine.names(&record)?;
                files.extend(inner.iter().map(|name| record.join(name)));
            }
        }
    }
    Ok(files)
}

fn rewrite(file: &Path, proof: Option<&Authentication<Secret>>) -> io::Result<()> {
    let text = fs::read_to_string(file)?;
    let mut lines: Vec<String> = text
        .lines()
        .filter(|line| !line.starts_with(AUTH) || line.starts_with("node.session.auth.chap_algs"))
        .map(str::to_owned)
        .collect();
    // A record ends with this comment, and what is after it is not read.
    let end = lines.iter().position(|line| line.starts_with("# END RECORD")).unwrap_or(lines.len());
    let mut auth =
        vec![format!("{AUTH}authmethod = {}", if proof.is_some() { "CHAP" } else { "None" })];
    if let Some(proof) = proof {
        auth.push(format!("{AUTH}username = {}", proof.initiator.name));
        auth.push(format!("{AUTH}password = {}", proof.initiator.secret.reveal()));
        if let Some(target) = &proof.target {
            auth.push(format!("{AUTH}username_in = {}", target.name));
            auth.push(format!("{AUTH}password_in = {}", target.secret.reveal()));
        }
    }
    lines.splice(end..end, auth);
    let begun = file.with_extension("osds-new");
    let mut new = File::create(&begun)?;
    new.set_permissions(Permissions::from_mode(0o600))?;
    for line in &lines {
        writeln!(new, "{line}")?;
    }
    new.sync_all()?;
    fs::rename(begun, file)
}

#[cfg(test)]
mod tests {
    use osds_model::Credentials;

    use super::*;

    #[test]
    fn a_password_is_in_a_file_of_root_alone() {
        let home = tempfile::tempdir().unwrap();
        let machine = Machine { root: home.path().to_owned(), programs: None };
        let record = home.path().join("etc/iscsi/nodes/iqn.x:a/::1,3260,1");
        fs::create_dir_all(&record).unwrap();
        let file = record.join("default");
        let text = "# BEGIN RECORD 2.1\nnode.name = iqn.x:a\nnode.session.auth.authmethod = None\n\
                    node.session.auth.chap_algs = MD5\n# END RECORD\n";
        fs::write(&file, text).unwrap();
        let initiator = Credentials { name: "u".into(), secret: Secret::new("hunter2".into()) };
        let proof = Authentication { initiator, target: None };
        for _ in 0..2 {
            prove(&machine, "iqn.x:a", "[::1]:3260", Some(&proof)).unwrap();
            let now = fs::read_to_string(&file).unwrap();
            assert_eq!(now.matches("password = hunter2\n").count(), 1);
            assert_eq!(now.matches("authmethod = CHAP\n").count(), 1);
            assert!(now.contains("chap_algs = MD5\n") && now.ends_with("# END RECORD\n"), "{now}");
            assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        }
        prove(&machine, "iqn.x:a", "[::1]:3260", None).unwrap();
        assert!(!fs::read_to_string(&file).unwrap().contains("hunter2"));
        let error = prove(&machine, "iqn.x:a", "[::1]:326", None).unwrap_err();
        assert_eq!(error.kind, Kind::Missing, "{}", error.chain());
    }
}
