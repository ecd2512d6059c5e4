//! A plain directory that behaves as a kernel's configfs: for tests.
//!
//! It writes down every change that was carried out, one line each, as somebody would type it; it
//! can be cut short after any number of changes, as by `kill -9`; and [`Rules`] say what the kernel
//! would put into a new object and what it would refuse. Directories that the rules put there go
//! with their object, those that were made by a call must be removed by one, as in the kernel.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::{Calls, Change};

/// What one kernel does beside what is asked. Paths are relative to the root.
pub(crate) trait Rules: Send + Sync + 'static {
    /// Attributes (a path with its value) and groups (a path with `None`) of a new object.
    fn born(&self, _made: &Path) -> Vec<(String, Option<String>)> {
        Vec::new()
    }

    /// Waits, as the kernel may; nothing else waits for it.
    fn wait(&self, _change: Change<'_>) {}

    /// Refuses a change, or does what it brings about elsewhere.
    fn check(&self, _root: &Path, _change: Change<'_>) -> io::Result<()> {
        Ok(())
    }

    /// What an attribute reads after this was written to it; `None` leaves it as it was.
    fn reads(&self, _root: &Path, _path: &Path, written: &str) -> Option<String> {
        Some(written.to_owned())
    }
}

/// An imitated kernel.
pub(crate) struct Imitation {
    root: PathBuf,
    rules: Box<dyn Rules>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    transcript: String,
    made: BTreeSet<PathBuf>,
    /// Changes that are still carried out; no bound when `None`.
    left: Option<usize>,
}

impl Imitation {
    pub(crate) fn at(root: &Path, rules: impl Rules) -> Self {
        Self { root: root.to_owned(), rules: Box::new(rules), state: Mutex::default() }
    }

    /// Every change so far, and forgets them.
    pub(crate) fn transcript(&self) -> String {
        std::mem::take(&mut self.state().transcript)
    }

    /// After this many changes more, none is carried out any more.
    pub(crate) fn cut_after(&self, changes: usize) {
        self.state().left = Some(changes);
    }

    /// Whether there was a change that was not carried out for that.
    pub(crate) fn was_cut(&self) -> bool {
        self.state().left == Some(0)
    }

    pub(crate) fn go_on(&self) {
        self.state().left = None;
    }

    /// Every object, attribute and link that there is, one line each: two trees are the same when
    /// these are.
    pub(crate) fn picture(&self) -> String {
        let mut lines = BTreeSet::new();
        let mut open = vec![self.root.clone()];
        while let Some(directory) = open.pop() {
            for entry in fs::read_dir(&directory).unwrap() {
                let path = entry.unwrap().path();
                let below = path.strip_prefix(&self.root).unwrap().display().to_string();
                if path.is_symlink() {
                    let to = fs::read_link(&path).unwrap();
                    lines.insert(format!("{below} -> {}", self.below(&to).display()));
                } else if path.is_dir() {
                    lines.insert(format!("{below}/"));
                    open.push(path);
                } else {
                    lines.insert(format!("{below} = {}", fs::read_to_string(&path).unwrap()));
                }
            }
        }
        lines.into_iter().fold(String::new(), |all, line| all + &line + "\n")
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn below<'a>(&self, path: &'a Path) -> &'a Path {
        path.strip_prefix(&self.root).unwrap_or(path)
    }

    fn carry_out(&self, state: &mut State, change: Change<'_>) -> io::Result<String> {
        Ok(match change {
            Change::Make(path) => {
                fs::create_dir(path)?;
                state.made.insert(path.to_owned());
                for (name, value) in self.rules.born(self.below(path)) {
                    let born = path.join(name);
                    match value {
                        None => fs::create_dir_all(born)?,
                        Some(value) => {
                            born.parent().map_or(Ok(()), fs::create_dir_all)?;
                            fs::write(born, value)?;
                        }
                    }
                }
                format!("mkdir {}", self.below(path).display())
            }
            Change::Remove(path) => {
                fs::read_dir(path)?;
                let inside = |other: &&PathBuf| *other != path && other.starts_with(path);
                if state.made.iter().any(|other| inside(&other)) || has_links(path)? {
                    return Err(io::ErrorKind::DirectoryNotEmpty.into());
                }
                if links_to(&self.root, path)? {
                    return Err(io::ErrorKind::ResourceBusy.into());
                }
                fs::remove_dir_all(path)?;
                state.made.remove(path);
                format!("rmdir {}", self.below(path).display())
            }
            Change::Link(path, to) => {
                if !to.is_dir() {
                    return Err(io::ErrorKind::NotFound.into());
                }
                std::os::unix::fs::symlink(to, path)?;
                format!("ln -s {} {}", self.below(to).display(), self.below(path).display())
            }
            Change::Unlink(path) => {
                fs::remove_file(path)?;
                format!("rm {}", self.below(path).display())
            }
            Change::Write(path, value) => {
                if let Some(reads) = self.rules.reads(&self.root, self.below(path), value) {
                    fs::write(path, reads)?;
                }
                let quoted =
                    if value.contains(' ') { format!("'{value}'") } else { value.to_owned() };
                format!("echo -n {quoted} > {}", self.below(path).display())
            }
        })
    }
}

impl Calls for Imitation {
    fn call(&self, change: Change<'_>) -> io::Result<()> {
        self.rules.wait(change);
        let mut state = self.state();
        if state.left == Some(0) {
            return Err(io::Error::other("the process has ended"));
        }
        self.rules.check(&self.root, change)?;
        let line = self.carry_out(&mut state, change)?;
        writeln!(state.transcript, "{line}").unwrap();
        state.left = state.left.map(|left| left - 1);
        Ok(())
    }
}

fn has_links(path: &Path) -> io::Result<bool> {
    let mut entries = fs::read_dir(path)?;
    Ok(entries.any(|entry| entry.is_ok_and(|entry| entry.path().is_symlink())))
}

/// Whether a link anywhere leads to this object: the kernel does not let go of it then.
fn links_to(root: &Path, path: &Path) -> io::Result<bool> {
    let mut open = vec![root.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(&directory)? {
            let entry = entry?.path();
            if entry.is_symlink() {
                if fs::read_link(&entry)? == path {
                    return Ok(true);
                }
            } else if entry.is_dir() {
                open.push(entry);
            }
        }
    }
    Ok(false)
}
