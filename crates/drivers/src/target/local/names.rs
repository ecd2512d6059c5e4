//! The directory of a pool in which the local target keeps a link and a grant for each host.
//!
//! A link gives the volume's file a name that says whose it is; the grant beside it says by which
//! names and in which mode the host was let in. Both are written before the device is made and
//! removed after it has gone, so whatever is left over means nothing.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use osds_model::{Grant, HostId, VolumeId};

use crate::{BlocksId, DriverError};

/// The directory's name; beside the volumes, as a link does not leave its file system.
pub const DIRECTORY: &str = ".exports";

const LINK: &str = "img";
const GRANT: &str = "json";

/// One such directory.
#[derive(Debug)]
pub(super) struct Exports {
    directory: PathBuf,
}

impl Exports {
    /// The one beside this volume's file; made if need be.
    pub(super) fn beside(file: &Path) -> Result<Self, DriverError> {
        let directory = file.parent().unwrap_or(Path::new("/")).join(DIRECTORY);
        match DirBuilder::new().mode(0o700).create(&directory) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => {
                let doing = format!("making the directory {}", directory.display());
                return Err(DriverError::from_io(doing, error));
            }
        }
        Ok(Self { directory })
    }

    /// The one at this place, which need not be there.
    pub(super) fn at(directory: PathBuf) -> Self {
        Self { directory }
    }

    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    pub(super) fn link(&self, volume: VolumeId, host: HostId) -> PathBuf {
        self.directory.join(format!("{volume}.{host}.{LINK}"))
    }

    /// Makes sure `link` is this very file.
    pub(super) fn make_link(&self, file: &Path, link: &Path) -> Result<(), DriverError> {
        let doing = |error| {
            let (file, link) = (file.display(), link.display());
            DriverError::from_io(format!("linking {file} as {link}"), error)
        };
        match fs::hard_link(file, link) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(doing(error)),
        }
        // No device is on it, or nobody would ask for a link: it is from an earlier life.
        fs::remove_file(link).and_then(|()| fs::hard_link(file, link)).map_err(doing)
    }

    pub(super) fn write_grant(
        &self,
        volume: VolumeId,
        host: HostId,
        grant: &Grant<()>,
    ) -> Result<(), DriverError> {
        let file = self.link(volume, host).with_extension(GRANT);
        let begun = file.with_extension("new");
        let write = || {
            let bytes = serde_json::to_vec(grant)?;
            let mut new = File::create(&begun)?;
            new.write_all(&bytes)?;
            new.sync_all()?;
            fs::rename(&begun, &file)
        };
        write().map_err(|error| DriverError::from_io(format!("writing {}", file.display()), error))
    }

    /// Makes sure nothing is kept for this host.
    pub(super) fn remove(&self, volume: VolumeId, host: HostId) -> Result<(), DriverError> {
        let link = self.link(volume, host);
        for file in [link.with_extension("new"), link.with_extension(GRANT), link] {
            remove(&file)?;
        }
        Ok(())
    }

    /// Makes sure nothing is kept for this volume.
    pub(super) fn remove_all_of(&self, volume: VolumeId) -> Result<(), DriverError> {
        let failed =
            |error| DriverError::from_io(format!("reading {}", self.directory.display()), error);
        let entries = match fs::read_dir(&self.directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(failed(error)),
        };
        for entry in entries {
            let file = entry.map_err(failed)?.path();
            if whose(&file).is_some_and(|(of, _)| of == volume) {
                remove(&file)?;
            }
        }
        Ok(())
    }
}

fn remove(file: &Path) -> Result<(), DriverError> {
    match fs::remove_file(file) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(DriverError::from_io(format!("removing {}", file.display()), error)),
    }
}

/// Whose link or grant this is.
pub(super) fn whose(file: &Path) -> Option<(VolumeId, HostId)> {
    let (volume, host) = file.file_stem()?.to_str()?.split_once('.')?;
    Some((volume.parse().ok()?, host.parse().ok()?))
}

/// Which blocks the link leads to.
pub(super) fn blocks_of(link: &Path) -> Option<BlocksId> {
    let found = fs::symlink_metadata(link).ok()?;
    Some(BlocksId { device: found.dev(), file: found.ino() })
}

/// What was granted to the host whose link this is; `None` when nobody can tell.
pub(super) fn grant_of(link: &Path) -> Option<Grant<()>> {
    serde_json::from_slice(&fs::read(link.with_extension(GRANT)).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_whose_it_is() {
        let exports = Exports::at(PathBuf::from("/p/.exports"));
        let (volume, host) = (VolumeId::from_u128(7), HostId::from_u128(8));
        assert_eq!(whose(&exports.link(volume, host)), Some((volume, host)));
        for other in ["x.img", "volume-1.img", "a.b.img"] {
            assert_eq!(whose(&Path::new("/p/.exports").join(other)), None);
        }
    }
}
