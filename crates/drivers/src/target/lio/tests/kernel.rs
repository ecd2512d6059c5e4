//! What the kernel's target puts into new objects and refuses, as far as we depend on it; seen on
//! Linux 6.1. Whether it really does is for the lab to say.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};

use crate::configfs::Change;
use crate::configfs::imitation::Rules;

/// The rules; deleting an ACL waits while the storage hangs.
#[derive(Clone, Default)]
pub(super) struct Lio {
    pub(super) storage: Arc<Storage>,
}

#[derive(Default)]
pub(super) struct Storage {
    hangs: Mutex<bool>,
    changed: Condvar,
}

impl Storage {
    pub(super) fn hang(&self, hangs: bool) {
        *self.hangs.lock().unwrap() = hangs;
        self.changed.notify_all();
    }
}

fn depth(path: &Path) -> usize {
    path.components().count()
}

fn begins(path: &Path, with: &str) -> bool {
    path.starts_with(with)
}

/// The parts of a path, as texts.
fn parts(path: &Path) -> Vec<&str> {
    path.iter().filter_map(|part| part.to_str()).collect()
}

impl Rules for Lio {
    fn born(&self, made: &Path) -> Vec<(String, Option<String>)> {
        let file = |name: &str, value: &str| (name.to_owned(), Some(format!("{value}\n")));
        let group = |name: &str| (name.to_owned(), None);
        match parts(made).as_slice() {
            ["core", _, _] => {
                let mut all = vec![file("enable", "0"), file("attrib/emulate_tas", "1")];
                let empty = ["alias", "control", "info", "pr/res_aptpl_metadata"];
                let wwn = ["vpd_unit_serial", "company_id", "vendor_id", "product_id", "revision"];
                all.extend(empty.map(|name| file(name, "")));
                all.extend(wwn.map(|name| file(&format!("wwn/{name}"), "")));
                all
            }
            ["iscsi"] => vec![group("discovery_auth")],
            ["iscsi", _] => vec![group("fabric_statistics"), group("param")],
            ["iscsi", _, _] => {
                let mut all: Vec<_> = ["acls", "np", "lun", "param"].map(group).into();
                all.push(file("enable", "0"));
                for (name, value) in [
                    ("authentication", "1"),
                    ("demo_mode_discovery", "1"),
                    ("demo_mode_write_protect", "1"),
                    ("generate_node_acls", "0"),
                    ("prod_mode_write_protect", "0"),
                ] {
                    all.push(file(&format!("attrib/{name}"), value));
                }
                all
            }
            ["iscsi", _, _, "acls", _] => {
                let mut all = vec![file("attrib/authentication", "-1"), file("tag", "")];
                let auth = ["userid", "password", "userid_mutual", "password_mutual"];
                all.extend(auth.map(|name| file(&format!("auth/{name}"), "")));
                all.push(file("info", "No active iSCSI Session for Initiator Endpoint: x"));
                all
            }
            ["iscsi", _, _, "acls", _, _] => {
                vec![file("write_protect", "0"), group("statistics/scsi_auth_intr")]
            }
            _ => Vec::new(),
        }
    }

    fn wait(&self, change: Change<'_>) {
        if let Change::Remove(path) = change
            && path.parent().is_some_and(|parent| parent.ends_with("acls"))
        {
            let hangs = self.storage.hangs.lock().unwrap();
            drop(self.storage.changed.wait_while(hangs, |hangs| *hangs).unwrap());
        }
    }

    fn check(&self, root: &Path, change: Change<'_>) -> io::Result<()> {
        let below = |path: &Path| path.strip_prefix(root).unwrap().to_owned();
        let read = |path: &Path| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
        match change {
            Change::Link(path, to) if begins(&below(to), "core") => {
                assert!(below(path).to_str().unwrap().contains("/lun/lun_0/"));
                if read(&to.join("enable")) != "1" {
                    return Err(io::ErrorKind::InvalidInput.into());
                }
            }
            Change::Link(path, to) => {
                // A mapped LUN begins as the group says.
                let group = to.parent().unwrap().parent().unwrap();
                let protect = read(&group.join("attrib/prod_mode_write_protect"));
                fs::write(path.parent().unwrap().join("write_protect"), protect + "\n")?;
            }
            Change::Write(path, value) => {
                if !path.is_file() {
                    return Err(io::ErrorKind::NotFound.into());
                }
                let backstore = path.parent().unwrap();
                let name = path.file_name().unwrap();
                let is_wrong = (name == "tag" && value.len() > 63)
                    || (name == "res_aptpl_metadata" && read(&backstore.join("../enable")) != "1")
                    || (name == "enable"
                        && begins(&below(path), "core")
                        && (read(&backstore.join("info")).is_empty()
                            || read(&backstore.join("wwn/vpd_unit_serial")).is_empty()));
                if is_wrong {
                    return Err(io::ErrorKind::InvalidInput.into());
                }
            }
            Change::Make(path) => {
                // Objects are made in groups that are there, never two levels at once.
                if depth(&below(path)) > 1 && !path.parent().unwrap().is_dir() {
                    return Err(io::ErrorKind::NotFound.into());
                }
            }
            Change::Remove(_) | Change::Unlink(_) => {}
        }
        Ok(())
    }

    fn reads(&self, root: &Path, path: &Path, written: &str) -> Option<String> {
        let file = root.join(path);
        match path.file_name()?.to_str()? {
            "control" => {
                let info = file.with_file_name("info");
                let word = |word: &str| {
                    written.split(',').find_map(|part| part.strip_prefix(word)?.strip_prefix('='))
                };
                if let Some(device) = word("udev_path") {
                    let text = format!("iBlock device: x  UDEV PATH: {device}\nMajor: 7 Minor: 3");
                    fs::write(info, text).unwrap();
                } else {
                    let before = fs::read_to_string(&info).unwrap();
                    let name = word("fd_dev_name").map_or_else(
                        || before.split_whitespace().nth(4).unwrap().to_owned(),
                        str::to_owned,
                    );
                    let size = word("fd_dev_size").unwrap();
                    let text =
                        format!("TCM FILEIO ID: 0 File: {name}  Size: {size}  Mode: O_DSYNC");
                    fs::write(info, text).unwrap();
                }
                None
            }
            "vpd_unit_serial" => Some(format!("T10 VPD Unit Serial Number: {written}\n")),
            _ => Some(format!("{written}\n")),
        }
    }
}
