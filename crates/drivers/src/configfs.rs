//! The kernel's targets, as the directories by which it is told what to export (configfs).
//!
//! A directory that is made is an object of the kernel's; its attributes are files, written with
//! one system call each; a link joins two objects; nothing of it survives a reboot. Every call says
//! in its error which path it was about, and never what was written there, which may be a secret.
//!
//! Must stay true: each call that makes or removes something is boring the second time. What changes
//! anything goes through [`Calls`], so that a test can write down the calls, cut them short anywhere
//! and behave as a kernel on a plain directory (`configfs/imitation.rs`).

#[cfg(test)]
pub(crate) mod imitation;

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use osds_model::FaultKind;

use crate::DriverError;

/// Where Debian and everybody else mounts it.
pub(crate) const MOUNT: &str = "/sys/kernel/config";

/// One subsystem of configfs, such as `/sys/kernel/config/target`. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Configfs {
    root: PathBuf,
    calls: Arc<dyn Calls>,
}

/// One call that changes something. Paths are whole.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Change<'a> {
    /// mkdir
    Make(&'a Path),
    /// rmdir
    Remove(&'a Path),
    /// A symbolic link at the first, to the second.
    Link(&'a Path, &'a Path),
    /// Takes a link away.
    Unlink(&'a Path),
    /// Writes an attribute.
    Write(&'a Path, &'a str),
}

/// Whoever carries changes out.
pub(crate) trait Calls: Send + Sync {
    /// Carries one out, as the kernel does.
    fn call(&self, change: Change<'_>) -> io::Result<()>;
}

/// The kernel of this machine.
struct Kernel;

impl Calls for Kernel {
    fn call(&self, change: Change<'_>) -> io::Result<()> {
        match change {
            Change::Make(path) => fs::create_dir(path),
            Change::Remove(path) => fs::remove_dir(path),
            Change::Link(path, to) => std::os::unix::fs::symlink(to, path),
            Change::Unlink(path) => fs::remove_file(path),
            Change::Write(path, value) => {
                // An attribute is what one call brings; it is never made and never cut short.
                let mut file = File::options().write(true).open(path)?;
                let written = file.write(value.as_bytes())?;
                if written == value.len() {
                    Ok(())
                } else {
                    Err(io::Error::new(io::ErrorKind::InvalidData, "only a part was taken"))
                }
            }
        }
    }
}

impl Configfs {
    /// The subsystem of this name (`target`, `nvmet`), which `module` brings.
    ///
    /// # Errors
    /// `NotSupported`, naming the module and how to load it, where the kernel does not have it.
    pub(crate) fn of_kernel(name: &str, module: &str) -> Result<Self, DriverError> {
        Self::mounted(Path::new(MOUNT), name, module)
    }

    fn mounted(mount: &Path, name: &str, module: &str) -> Result<Self, DriverError> {
        let root = mount.join(name);
        if root.is_dir() {
            return Ok(Self { root, calls: Arc::new(Kernel) });
        }
        let doing = format!("using the kernel's targets at {}", root.display());
        // Other subsystems, or the directory alone: without the file system it is empty.
        let is_mounted = fs::read_dir(mount).is_ok_and(|mut entries| entries.next().is_some());
        let (mount, load) = (mount.display(), format!("modprobe {module}"));
        let why = if is_mounted {
            format!("the kernel module {module} is not loaded: {load}")
        } else {
            format!(
                "the kernel module {module} is not loaded, or configfs is not mounted: {load}; \
                 mount -t configfs configfs {mount}"
            )
        };
        Err(DriverError::new(FaultKind::NotSupported, doing).because(why))
    }

    #[cfg(test)]
    pub(crate) fn imitated(root: PathBuf, calls: Arc<dyn Calls>) -> Self {
        Self { root, calls }
    }

    /// The path of a thing in it.
    pub(crate) fn path(&self, below: impl AsRef<Path>) -> PathBuf {
        self.root.join(below)
    }

    /// Whether there is such a thing.
    pub(crate) fn has(&self, path: impl AsRef<Path>) -> bool {
        fs::symlink_metadata(self.path(path)).is_ok()
    }

    /// Makes sure the object is there; whether it was made now. What it lies in must be there.
    pub(crate) fn make(&self, path: impl AsRef<Path>) -> Result<bool, DriverError> {
        let path = self.path(path);
        match self.calls.call(Change::Make(&path)) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(failed("making", &path, error)),
        }
    }

    /// Makes sure the object is gone.
    pub(crate) fn remove(&self, path: impl AsRef<Path>) -> Result<(), DriverError> {
        let path = self.path(path);
        gone(self.calls.call(Change::Remove(&path))).map_err(|e| failed("removing", &path, e))
    }

    /// Makes sure there is a link to `to`, which lies in here as well. One that leads elsewhere is
    /// not moved.
    pub(crate) fn link(
        &self,
        path: impl AsRef<Path>,
        to: impl AsRef<Path>,
    ) -> Result<(), DriverError> {
        let (path, to) = (self.path(path), self.path(to));
        match self.calls.call(Change::Link(&path, &to)) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let leads_there = path.canonicalize().is_ok_and(|found| found == canonical(&to));
                if leads_there { Ok(()) } else { Err(failed("linking", &path, error)) }
            }
            outcome => outcome.map_err(|error| failed("linking", &path, error)),
        }
    }

    /// Makes sure the link is gone.
    pub(crate) fn unlink(&self, path: impl AsRef<Path>) -> Result<(), DriverError> {
        let path = self.path(path);
        gone(self.calls.call(Change::Unlink(&path))).map_err(|e| failed("unlinking", &path, e))
    }

    /// Writes an attribute, as it is: no end of the line is added. It must not be empty.
    pub(crate) fn write(&self, path: impl AsRef<Path>, value: &str) -> Result<(), DriverError> {
        let path = self.path(path);
        self.calls.call(Change::Write(&path, value)).map_err(|e| failed("writing", &path, e))
    }

    /// Makes sure the attribute reads like this; whether it was written now.
    pub(crate) fn ensure(&self, path: impl AsRef<Path>, value: &str) -> Result<bool, DriverError> {
        let path = path.as_ref();
        if self.read(path)?.as_deref() == Some(value) {
            return Ok(false);
        }
        self.write(path, value).map(|()| true)
    }

    /// What an attribute says, without the end of the line; `None` where there is none.
    pub(crate) fn read(&self, path: impl AsRef<Path>) -> Result<Option<String>, DriverError> {
        let path = self.path(path);
        match fs::read(&path) {
            Ok(bytes) => {
                Ok(Some(String::from_utf8_lossy(&bytes).trim_end_matches('\n').to_owned()))
            }
            Err(error) if is_gone(&error) => Ok(None),
            Err(error) => Err(failed("reading", &path, error)),
        }
    }

    /// The objects in one, by name, in order; none where it is not there.
    pub(crate) fn list(&self, path: impl AsRef<Path>) -> Result<Vec<String>, DriverError> {
        self.entries(path.as_ref(), fs::FileType::is_dir)
    }

    /// The links in one, by name, in order; none where it is not there.
    pub(crate) fn links(&self, path: impl AsRef<Path>) -> Result<Vec<String>, DriverError> {
        self.entries(path.as_ref(), fs::FileType::is_symlink)
    }

    fn entries(
        &self,
        path: &Path,
        wanted: fn(&fs::FileType) -> bool,
    ) -> Result<Vec<String>, DriverError> {
        let path = self.path(path);
        let failed = |error| failed("listing", &path, error);
        let entries = match fs::read_dir(&path) {
            Ok(entries) => entries,
            Err(error) if is_gone(&error) => return Ok(Vec::new()),
            Err(error) => return Err(failed(error)),
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry.map_err(failed)?;
            if wanted(&entry.file_type().map_err(failed)?) {
                names.push(entry.file_name().to_string_lossy().into_owned());
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    /// Where a link leads, below the root; `None` where there is none, or it leads out of it.
    pub(crate) fn follow(&self, path: impl AsRef<Path>) -> Option<PathBuf> {
        // The kernel's links are relative to where they lie.
        let found = self.path(path).canonicalize().ok()?;
        found.strip_prefix(canonical(&self.root)).ok().map(Path::to_owned)
    }
}

fn canonical(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}

/// An object that goes away while it is looked at is not there.
fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
        || error.raw_os_error().map(rustix::io::Errno::from_raw_os_error)
            == Some(rustix::io::Errno::NODEV)
}

fn gone(outcome: io::Result<()>) -> io::Result<()> {
    match outcome {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        outcome => outcome,
    }
}

fn failed(doing: &str, path: &Path, error: io::Error) -> DriverError {
    let error = DriverError::from_io(format!("{doing} {}", path.display()), error);
    match error.kind {
        // What an object lies in went away meanwhile: that says nothing of the volume.
        FaultKind::Gone => DriverError { kind: FaultKind::Temporary, ..error },
        FaultKind::NoSpace
        | FaultKind::NotSupported
        | FaultKind::InUse
        | FaultKind::Temporary
        | FaultKind::Broken => error,
    }
}

#[cfg(test)]
mod tests {
    use super::imitation::{Imitation, Rules};
    use super::*;

    struct NoRules;

    impl Rules for NoRules {}

    fn plain(root: &Path) -> (Configfs, Arc<Imitation>) {
        let imitation = Arc::new(Imitation::at(root, NoRules));
        (Configfs::imitated(root.to_owned(), Arc::clone(&imitation) as Arc<dyn Calls>), imitation)
    }

    #[test]
    fn a_missing_module_is_named_with_what_to_type() {
        let mount = tempfile::tempdir().unwrap();
        let said = |mount: &Path| {
            let error = Configfs::mounted(mount, "target", "target_core_mod").err().unwrap();
            assert_eq!(error.kind, FaultKind::NotSupported);
            error.chain()
        };
        let bare = said(mount.path());
        assert!(bare.contains("modprobe target_core_mod; mount -t configfs configfs /"), "{bare}");
        fs::create_dir(mount.path().join("dlm")).unwrap();
        let loaded_nothing = said(mount.path());
        assert!(loaded_nothing.ends_with(": modprobe target_core_mod"), "{loaded_nothing}");
        fs::create_dir(mount.path().join("target")).unwrap();
        assert!(Configfs::mounted(mount.path(), "target", "target_core_mod").is_ok());
    }

    #[test]
    fn the_second_call_is_boring_and_links_are_not_moved() {
        let home = tempfile::tempdir().unwrap();
        let (tree, imitation) = plain(home.path());
        assert!(tree.make("a").unwrap() && !tree.make("a").unwrap());
        tree.make("b").unwrap();
        tree.make("c").unwrap();
        for _ in 0..2 {
            tree.link("a/x", "b").unwrap();
        }
        assert_eq!(tree.follow("a/x"), Some(PathBuf::from("b")));
        assert!(tree.link("a/x", "c").is_err());
        tree.write("a/attribute", "one").unwrap();
        assert!(!tree.ensure("a/attribute", "one").unwrap());
        assert!(tree.ensure("a/attribute", "two").unwrap());
        assert_eq!(tree.read("a/attribute").unwrap().as_deref(), Some("two"));
        assert_eq!(tree.read("a/none").unwrap(), None);
        assert_eq!(tree.list("").unwrap(), ["a", "b", "c"]);
        assert_eq!(tree.links("a").unwrap(), ["x"]);
        assert!(tree.list("nowhere").unwrap().is_empty());
        for _ in 0..2 {
            tree.unlink("a/x").unwrap();
            tree.remove("c").unwrap();
        }
        let calls = imitation.transcript();
        assert_eq!(
            calls,
            "mkdir a\nmkdir b\nmkdir c\nln -s b a/x\necho -n one > a/attribute\n\
             echo -n two > a/attribute\nrm a/x\nrmdir c\n"
        );
    }

    #[test]
    fn an_error_names_the_path_and_not_the_value() {
        let home = tempfile::tempdir().unwrap();
        let tree = Configfs { root: home.path().to_owned(), calls: Arc::new(Kernel) };
        let error = tree.write("acl/password", "hunter2").unwrap_err();
        let said = format!("{} {error:?}", error.chain());
        assert!(said.contains("acl/password") && !said.contains("hunter2"), "{said}");
        assert_eq!(error.kind, FaultKind::Temporary, "no volume is gone by that");
        // A file is not made by writing an attribute.
        assert!(!tree.has("acl/password"));
    }

    #[test]
    fn whoever_is_cut_short_does_nothing_more() {
        let home = tempfile::tempdir().unwrap();
        let (tree, imitation) = plain(home.path());
        imitation.cut_after(1);
        tree.make("a").unwrap();
        assert!(tree.make("b").is_err() && tree.write("a/x", "1").is_err());
        assert_eq!(imitation.transcript(), "mkdir a\n");
        imitation.go_on();
        assert!(tree.make("b").unwrap());
    }
}
