//! Reservations that are kept through a loss of power (APTPL), in the kernel's own file.
//!
//! The kernel writes `<dbroot>/pr/aptpl_<serial>` whenever an initiator asks it to, always the whole
//! of it, and never reads it: that is for whoever exports the volume again. It does not write when
//! an ACL is deleted, though the registrations of that initiator end then. So the file is never
//! believed as it is. Beside our own things is noted who was put out since this content was written;
//! a file that reads differently by then was written by the kernel afterwards, without them.
//!
//! Must stay true: nobody who was put out has a registration again, not by being let in again
//! either. What is in doubt is left out: an initiator can register again, a fence cannot be undone.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use osds_model::VolumeId;
use serde::{Deserialize, Serialize};

use super::names;
use crate::DriverError;
use crate::configfs::Configfs;

/// Where the kernel's file and our notes are.
#[derive(Debug)]
pub(super) struct Kept {
    kernels: PathBuf,
    notes: PathBuf,
}

/// Who was put out since the kernel wrote this.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Note {
    written: String,
    without: Vec<String>,
}

/// A registration, as the kernel writes it: words and their values, in its order.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Registration(Vec<(String, String)>);

impl Kept {
    /// Makes the directories: the kernel answers NOT READY to initiators where its own is missing.
    pub(super) fn open(dbroot: &Path, notes: PathBuf) -> Result<Self, DriverError> {
        let kernels = dbroot.join("pr");
        for directory in [&kernels, &notes] {
            let doing = || format!("making {}, for reservations", directory.display());
            let made = DirBuilder::new().recursive(true).mode(0o700).create(directory);
            made.map_err(|error| DriverError::from_io(doing(), error))?;
        }
        Ok(Self { kernels, notes })
    }

    fn file(&self, volume: VolumeId) -> PathBuf {
        self.kernels.join(format!("aptpl_{}", names::serial(volume)))
    }

    fn note(&self, volume: VolumeId) -> PathBuf {
        self.notes.join(format!("{volume}.json"))
    }

    /// Whether anything is kept of the volume.
    pub(super) fn has(&self, volume: VolumeId) -> bool {
        self.file(volume).exists()
    }

    /// Notes that this initiator was put out, durably. Its ACL is gone, so that the kernel writes
    /// nothing of it any more.
    pub(super) fn drop_one(&self, volume: VolumeId, initiator: &str) -> Result<(), DriverError> {
        let Some(written) = read(&self.file(volume))? else { return Ok(()) };
        if !registrations(&written).iter().any(|one| one.is_of(initiator)) {
            return Ok(());
        }
        let mut without = self.without(volume, &written)?;
        without.push(initiator.to_owned());
        let path = self.note(volume);
        let note = serde_json::to_vec(&Note { written, without });
        let kept = note.map_err(io::Error::from).and_then(|text| replace(&path, &text));
        kept.map_err(|error| DriverError::from_io(format!("writing {}", path.display()), error))
    }

    /// Drops what is kept of everybody but these. Nothing is exported, so that the kernel does not
    /// write meanwhile.
    pub(super) fn drop_others(
        &self,
        volume: VolumeId,
        let_in: &[String],
    ) -> Result<(), DriverError> {
        let path = self.file(volume);
        let Some(written) = read(&path)? else { return Ok(()) };
        let without = self.without(volume, &written)?;
        let stays = |one: &Registration| {
            let_in.iter().any(|name| one.is_of(name)) && !without.iter().any(|name| one.is_of(name))
        };
        let kept = filter(registrations(&written), stays);
        let failed = |error| DriverError::from_io(format!("tidying {}", path.display()), error);
        if kept.is_empty() {
            return self.forget(volume);
        }
        let text = write(&kept);
        if text != written {
            replace(&path, text.as_bytes()).map_err(failed)?;
        }
        remove(&self.note(volume)).map_err(failed)
    }

    /// Nothing is kept any more.
    pub(super) fn forget(&self, volume: VolumeId) -> Result<(), DriverError> {
        for path in [self.file(volume), self.note(volume)] {
            let failed =
                |error| DriverError::from_io(format!("removing {}", path.display()), error);
            remove(&path).map_err(failed)?;
        }
        Ok(())
    }

    /// Gives a backstore that is not exported yet what was kept of it.
    pub(super) fn feed(
        &self,
        tree: &Configfs,
        volume: VolumeId,
        backstore: &str,
    ) -> Result<(), DriverError> {
        let Some(written) = read(&self.file(volume))? else { return Ok(()) };
        let without = self.without(volume, &written)?;
        let stays = |one: &Registration| !without.iter().any(|name| one.is_of(name));
        for registration in filter(registrations(&written), stays) {
            tree.write(format!("{backstore}/pr/res_aptpl_metadata"), &registration.line())?;
        }
        Ok(())
    }

    /// Who was put out since this was written.
    fn without(&self, volume: VolumeId, written: &str) -> Result<Vec<String>, DriverError> {
        let path = self.note(volume);
        let Some(text) = read(&path)? else { return Ok(Vec::new()) };
        let note: Note = serde_json::from_str(&text)
            .map_err(|error| DriverError::from_io(format!("reading {}", path.display()), error))?;
        Ok(if note.written == written { note.without } else { Vec::new() })
    }
}

impl Registration {
    fn get(&self, word: &str) -> Option<&str> {
        self.0.iter().find(|(one, _)| one == word).map(|(_, value)| &**value)
    }

    fn set(&mut self, word: &str, to: &str) {
        match self.0.iter_mut().find(|(one, _)| one == word) {
            Some((_, value)) => to.clone_into(value),
            None => self.0.push((word.to_owned(), to.to_owned())),
        }
    }

    fn is_of(&self, initiator: &str) -> bool {
        self.get("initiator_node").is_some_and(|name| name.eq_ignore_ascii_case(initiator))
    }

    fn holds(&self) -> bool {
        self.get("res_holder") == Some("1")
    }

    /// As the kernel takes it back. It reads numbers as C does, and writes some with zeros in front:
    /// 08 would be no number.
    fn line(&self) -> String {
        let words = self.0.iter().map(|(word, value)| {
            let is_number = matches!(&**word, "res_type" | "res_scope");
            let short = value.trim_start_matches('0');
            let value = if !is_number {
                value
            } else if short.is_empty() {
                "0"
            } else {
                short
            };
            format!("{word}={value}")
        });
        words.collect::<Vec<_>>().join(",")
    }
}

/// Those that stay. Where all registrants hold the reservation, another of them stands for them.
fn filter(all: Vec<Registration>, stays: impl Fn(&Registration) -> bool) -> Vec<Registration> {
    let holder = all.iter().find(|one| one.holds()).cloned();
    let mut kept: Vec<_> = all.into_iter().filter(stays).collect();
    if let Some(holder) = holder
        && !kept.iter().any(Registration::holds)
        && let Some(kind @ ("07" | "08" | "7" | "8")) = holder.get("res_type")
        && let Some(next) = kept.first_mut()
    {
        next.set("res_holder", "1");
        next.set("res_type", kind);
        next.set("res_scope", "0");
    }
    kept
}

fn registrations(text: &str) -> Vec<Registration> {
    let mut all = Vec::new();
    let mut open: Option<Vec<(String, String)>> = None;
    for line in text.lines() {
        if line.starts_with("PR_REG_START:") {
            open = Some(Vec::new());
        } else if line.starts_with("PR_REG_END:") {
            // One that was cut off has no end, and is not one.
            all.extend(open.take().map(Registration));
        } else if let (Some(words), Some((word, value))) = (&mut open, line.split_once('=')) {
            words.push((word.to_owned(), value.to_owned()));
        }
    }
    all
}

fn write(registrations: &[Registration]) -> String {
    let one = |(number, Registration(words)): (usize, &Registration)| {
        let lines: String = words.iter().map(|(word, value)| format!("{word}={value}\n")).collect();
        format!("PR_REG_START: {number}\n{lines}PR_REG_END: {number}\n")
    };
    registrations.iter().enumerate().map(one).collect()
}

fn read(path: &Path) -> Result<Option<String>, DriverError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).trim_end_matches('\0').to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(DriverError::from_io(format!("reading {}", path.display()), error)),
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Durable when it returns.
fn replace(path: &Path, text: &[u8]) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut file = File::create(&new)?;
    file.write_all(text)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    path.parent().map_or(Ok(()), |directory| File::open(directory)?.sync_all())
}

#[cfg(test)]
mod tests {
    use super::*;

    const V: VolumeId = VolumeId::from_u128(7);

    fn registration(name: &str, holder: Option<&str>) -> String {
        let held = holder.map(|kind| format!("res_type={kind}\nres_scope=00\n"));
        format!(
            "PR_REG_START: 0\ninitiator_fabric=iSCSI\ninitiator_node={name}\n\
             initiator_sid=00023d000001\nsa_res_key=10\nres_holder={}\n{}res_all_tg_pt=0\n\
             mapped_lun=1\ntarget_fabric=iSCSI\ntarget_node=iqn.x:v\ntpgt=1\nport_rtpi=1\n\
             target_lun=0\nPR_REG_END: 0\n",
            u8::from(holder.is_some()),
            held.unwrap_or_default()
        )
    }

    struct Bench {
        home: tempfile::TempDir,
        kept: Kept,
    }

    impl Bench {
        fn new() -> Self {
            let home = tempfile::tempdir().unwrap();
            let kept = Kept::open(home.path(), home.path().join("notes")).unwrap();
            Self { home, kept }
        }

        fn kernel_writes(&self, text: &str) {
            fs::write(self.kept.file(V), text).unwrap();
        }

        /// Who is fed back, and what the holder holds.
        fn fed(&self) -> Vec<String> {
            use crate::configfs::imitation::{Imitation, Rules};
            struct Plain;
            impl Rules for Plain {}
            let root = self.home.path().join("tree");
            fs::create_dir_all(root.join("b/pr")).unwrap();
            let imitation = std::sync::Arc::new(Imitation::at(&root, Plain));
            let tree = Configfs::imitated(root, imitation.clone());
            self.kept.feed(&tree, V, "b").unwrap();
            imitation.transcript().lines().map(str::to_owned).collect()
        }
    }

    #[test]
    fn it_is_fed_back_as_the_kernel_takes_it() {
        let bench = Bench::new();
        assert!(bench.fed().is_empty());
        bench.kernel_writes(&registration("iqn.x:a", Some("08")));
        assert_eq!(
            bench.fed(),
            ["echo -n initiator_fabric=iSCSI,initiator_node=iqn.x:a,initiator_sid=00023d000001,\
              sa_res_key=10,res_holder=1,res_type=8,res_scope=0,res_all_tg_pt=0,mapped_lun=1,\
              target_fabric=iSCSI,target_node=iqn.x:v,tpgt=1,port_rtpi=1,target_lun=0 > \
              b/pr/res_aptpl_metadata"]
        );
    }

    #[test]
    fn who_was_put_out_has_nothing_until_the_kernel_writes_again() {
        let bench = Bench::new();
        let both = registration("iqn.x:a", None) + &registration("iqn.x:b", Some("05"));
        bench.kernel_writes(&both);
        bench.kept.drop_one(V, "IQN.x:b").unwrap();
        let fed = bench.fed();
        assert!(fed.len() == 1 && fed[0].contains("iqn.x:a"), "{fed:?}");
        bench.kept.drop_one(V, "iqn.x:a").unwrap();
        assert!(bench.fed().is_empty(), "those before stay out");
        // It registered again, and the kernel wrote that down.
        bench.kernel_writes(&(both.clone() + &registration("iqn.x:c", None)));
        assert_eq!(bench.fed().len(), 3);
        // One who has nothing there leaves no note.
        bench.kept.forget(V).unwrap();
        bench.kernel_writes(&both);
        bench.kept.drop_one(V, "iqn.x:d").unwrap();
        assert!(!bench.kept.note(V).exists());
        bench.kept.forget(V).unwrap();
        assert!(!bench.kept.has(V));
    }

    #[test]
    fn what_all_hold_is_held_by_those_who_stay() {
        let bench = Bench::new();
        let both = registration("iqn.x:a", Some("07")) + &registration("iqn.x:b", None);
        bench.kernel_writes(&both);
        bench.kept.drop_one(V, "iqn.x:a").unwrap();
        let fed = bench.fed();
        assert!(fed[0].contains("res_holder=1") && fed[0].contains("res_type=7"), "{fed:?}");
    }

    #[test]
    fn with_nothing_exported_the_file_itself_is_tidied() {
        let bench = Bench::new();
        let all = ["iqn.x:a", "iqn.x:b", "iqn.x:c"].map(|name| registration(name, None));
        bench.kernel_writes(&all.concat());
        bench.kept.drop_one(V, "iqn.x:c").unwrap();
        let wanted = ["iqn.x:a".to_owned(), "iqn.x:c".to_owned()];
        for _ in 0..2 {
            bench.kept.drop_others(V, &wanted).unwrap();
            let text = fs::read_to_string(bench.kept.file(V)).unwrap();
            assert_eq!(text, registration("iqn.x:a", None));
            assert!(!bench.kept.note(V).exists());
        }
        bench.kept.drop_others(V, &[]).unwrap();
        assert!(!bench.kept.has(V));
    }

    #[test]
    fn what_was_cut_off_is_no_registration() {
        let whole = registration("iqn.x:a", None);
        let cut = &whole[..whole.len() - 20];
        assert_eq!(registrations(&(whole.clone() + cut)).len(), 1);
        assert!(registrations("nonsense\n=\nPR_REG_END: 0\n").is_empty());
    }
}
