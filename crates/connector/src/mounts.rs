//! What is mounted in our mount namespace, and mounting and unmounting.
//!
//! `/proc/self/mountinfo` is the truth; of several mounts on one path the last is the one that is
//! seen. A raw block volume is a bind mount of the device's node on a file, never a symbolic link,
//! which would mean something else in a container.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use crate::device::Number;
use crate::error::{ConnectError, Kind};
use crate::tools::Machine;

/// One mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// The number of what is mounted; of a bind-mounted node that of the file system it is on.
    pub number: Option<Number>,
    /// Which part of it.
    pub root: PathBuf,
    /// Where.
    pub target: PathBuf,
    /// Its type.
    pub kind: String,
    /// What was mounted, as it was named.
    pub source: PathBuf,
    /// Whether writes through it are refused.
    pub is_read_only: bool,
}

/// Every mount, in order.
///
/// # Errors
/// It cannot be read.
pub fn all() -> Result<Vec<Mount>, ConnectError> {
    let file = "/proc/self/mountinfo";
    let text = fs::read(file).map_err(|e| ConnectError::io(format!("reading {file}"), e))?;
    Ok(text.split(|byte| *byte == b'\n').filter_map(parse).collect())
}

/// What is mounted on this very path.
///
/// # Errors
/// It cannot be read.
pub fn on(target: &Path) -> Result<Option<Mount>, ConnectError> {
    let target = resolved(target);
    Ok(all()?.into_iter().rfind(|mount| mount.target == target))
}

/// The path as mountinfo has it: what leads there resolved, its own name as it is.
fn resolved(target: &Path) -> PathBuf {
    match (target.parent().map(Path::canonicalize), target.file_name()) {
        (Some(Ok(parent)), Some(name)) => parent.join(name),
        _ => target.to_owned(),
    }
}

/// `36 35 98:0 /root /target rw,noatime master:1 - ext4 /dev/x rw`
fn parse(line: &[u8]) -> Option<Mount> {
    let fields: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
    let end = fields.iter().position(|field| *field == b"-")?;
    let path = |field: &[u8]| PathBuf::from(OsString::from_vec(unescaped(field)));
    let has_ro = |options: &[u8]| options.split(|byte| *byte == b',').any(|one| one == b"ro");
    Some(Mount {
        number: Number::parse(std::str::from_utf8(fields.get(2)?).ok()?),
        root: path(fields.get(3)?),
        target: path(fields.get(4)?),
        kind: String::from_utf8_lossy(fields.get(end + 1)?).into_owned(),
        source: path(fields.get(end + 2)?),
        is_read_only: has_ro(fields.get(5)?) || fields.get(end + 3).is_some_and(|o| has_ro(o)),
    })
}

/// Blanks and the like are octal.
fn unescaped(field: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, after)) = rest.split_first() {
        let octal = after.get(..3).filter(|_| *first == b'\\');
        let code = octal.and_then(|digits| std::str::from_utf8(digits).ok());
        match code.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &rest[4..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    bytes
}

/// Mounts a device.
///
/// # Errors
/// It could not.
pub fn mount(
    machine: &Machine,
    kind: &str,
    options: &[String],
    source: &Path,
    target: &Path,
) -> Result<(), ConnectError> {
    let options = options.join(",");
    let mut arguments: Vec<&OsStr> = vec!["-t".as_ref(), kind.as_ref()];
    if !options.is_empty() {
        arguments.extend([OsStr::new("-o"), options.as_ref()]);
    }
    arguments.extend([source.as_os_str(), target.as_os_str()]);
    machine.run("mount", &arguments).map(drop)
}

/// Shows `source` at `target` too; the second mount with the options, as the first ignores them.
///
/// # Errors
/// It could not; then nothing is mounted there.
pub fn bind(
    machine: &Machine,
    source: &Path,
    target: &Path,
    options: &[String],
) -> Result<(), ConnectError> {
    machine.run("mount", &["--bind".as_ref(), source.as_os_str(), target.as_os_str()])?;
    if options.is_empty() {
        return Ok(());
    }
    let options = format!("remount,bind,{}", options.join(","));
    let again = machine.run("mount", &["-o".as_ref(), OsStr::new(&options), target.as_os_str()]);
    again.map(drop).inspect_err(|_| {
        // Half a mount would be taken for a whole one by the next call.
        let _ = machine.run("umount", &[target.as_os_str()]);
    })
}

/// Makes sure nothing is mounted on this path.
///
/// # Errors
/// `InUse` while somebody works in it.
pub fn unmount(machine: &Machine, target: &Path) -> Result<(), ConnectError> {
    // Several may lie on one another.
    while on(target)?.is_some() {
        let ended = machine.try_run("umount", &[target.as_os_str()])?;
        if ended.code != 0 && on(target)?.is_some() {
            let doing = format!("unmounting {}", target.display());
            let kind = if ended.complaint.contains("busy") { Kind::InUse } else { Kind::Temporary };
            return Err(ConnectError::new(kind, doing).because(ended.complaint));
        }
    }
    Ok(())
}

/// Removes what a mount was on: an empty directory, or an empty file. What holds anything stays.
///
/// # Errors
/// It holds something, or cannot be removed.
pub fn remove_target(target: &Path) -> Result<(), ConnectError> {
    let failed = |error| ConnectError::io(format!("removing {}", target.display()), error);
    let found = match fs::symlink_metadata(target) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
    };
    let removed = if found.is_dir() {
        fs::remove_dir(target)
    } else if found.is_file() && found.len() > 0 {
        let doing =
            format!("{} is a file with something in it, and none of ours", target.display());
        return Err(ConnectError::new(Kind::Wrong, doing));
    } else {
        fs::remove_file(target)
    };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// What a file system has and what is left of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Bytes: all, used, free to those who are not root.
    pub bytes: [u64; 3],
    /// Inodes: all, used, free.
    pub inodes: [u64; 3],
}

/// What the file system at this path has.
///
/// # Errors
/// It does not answer.
pub fn usage(path: &Path) -> Result<Usage, ConnectError> {
    let stat = rustix::fs::statvfs(path)
        .map_err(|error| ConnectError::io(format!("asking {}", path.display()), error))?;
    let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
    let used = stat.f_blocks.saturating_sub(stat.f_bfree);
    Ok(Usage {
        bytes: [bytes(stat.f_blocks), bytes(used), bytes(stat.f_bavail)],
        inodes: [stat.f_files, stat.f_files.saturating_sub(stat.f_ffree), stat.f_favail],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read() {
        let line =
            br"36 35 7:3 / /mnt/a\040b rw,noatime shared:1 master:2 - ext4 /dev/loop3 ro,x=1";
        let mount = parse(line).unwrap();
        assert_eq!(mount.number, Some(Number { major: 7, minor: 3 }));
        assert_eq!((mount.target.as_path(), mount.kind.as_str()), (Path::new("/mnt/a b"), "ext4"));
        assert!(mount.is_read_only);
        assert!(!parse(b"1 2 0:5 /null /t rw - devtmpfs d rw").unwrap().is_read_only);
        assert_eq!(parse(b""), None);
        assert_eq!(unescaped(br"a\134\0b\"), br"a\\0b\");
        assert!(on(Path::new("/proc")).unwrap().is_some());
    }

    #[test]
    fn what_holds_something_is_not_removed() {
        let home = tempfile::tempdir().unwrap();
        let (file, directory) = (home.path().join("f"), home.path().join("d"));
        fs::write(&file, "x").unwrap();
        fs::create_dir_all(directory.join("in")).unwrap();
        assert!(remove_target(&file).is_err() && remove_target(&directory).is_err());
        fs::write(&file, "").unwrap();
        for path in [&file, &directory.join("in"), &directory, &home.path().join("none")] {
            remove_target(path).unwrap();
            assert!(!path.exists());
        }
    }
}
