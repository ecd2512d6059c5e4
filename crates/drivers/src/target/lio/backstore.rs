//! The kernel's hold on a volume's blocks.
//!
//! A block device goes through `iblock`, which claims it for itself; a file through `fileio`, which
//! opens it O_DSYNC: no write is answered before it is on the disk. The alias of a backstore keeps
//! which blocks it is of, as the kernel says only their path. It is written before the backstore is
//! enabled, so one that is enabled has it.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::sync::{Mutex, PoisonError};

use osds_model::{Capacity, FaultKind, VolumeId};

use super::{Inner, names};
use crate::{BlockSource, Blocks, BlocksId, DriverError};

/// Our own adapters, so that what others have is not in the same directory. The kernel wants a
/// number; this one reads 0x05d5.
const ADAPTERS: [&str; 2] = ["core/iblock_1493", "core/fileio_1493"];

/// Held while an adapter is made or taken away, by whichever backend.
static ADAPTER: Mutex<()> = Mutex::new(());

/// A backstore that is enabled.
pub(super) struct Backstore {
    /// Where it is in the tree.
    pub(super) path: String,
    pub(super) blocks: BlocksId,
}

impl Inner {
    /// Where backstores of the volume are, whatever their state.
    pub(super) fn backstores(&self, volume: VolumeId) -> Vec<String> {
        let name = self.names.backstore(volume);
        let paths = ADAPTERS.iter().map(|adapter| format!("{adapter}/{name}"));
        paths.filter(|path| self.tree.has(path)).collect()
    }

    /// Every volume with a backstore of ours.
    pub(super) fn with_backstore(&self) -> Result<Vec<VolumeId>, DriverError> {
        let mut volumes = Vec::new();
        for adapter in ADAPTERS {
            let names = self.tree.list(adapter)?;
            volumes.extend(names.iter().filter_map(|name| self.names.volume(name)));
        }
        Ok(volumes)
    }

    /// The volume's backstore, if it is enabled.
    pub(super) fn backstore(&self, volume: VolumeId) -> Result<Option<Backstore>, DriverError> {
        for path in self.backstores(volume) {
            if self.tree.read(format!("{path}/enable"))?.as_deref() == Some("1") {
                let alias = self.tree.read(format!("{path}/alias"))?.unwrap_or_default();
                let blocks = read_alias(&alias).unwrap_or(BlocksId::NOTHING);
                return Ok(Some(Backstore { path, blocks }));
            }
        }
        Ok(None)
    }

    /// Makes one and enables it. Nothing of the volume is there.
    pub(super) fn make_backstore(
        &self,
        volume: VolumeId,
        source: &BlockSource,
    ) -> Result<String, DriverError> {
        let doing = || format!("giving {} to the kernel's target", source.path.display());
        let refused =
            |kind, why: String| Err::<String, _>(DriverError::new(kind, doing()).because(why));
        let file = match &source.blocks {
            Blocks::File(file) | Blocks::Device(file, _) => file,
            Blocks::Unit(_) => {
                let why = "they are an array's, which has to export them itself".to_owned();
                return refused(FaultKind::NotSupported, why);
            }
        };
        let blocks = source.id()?;
        let found = file.metadata().map_err(|error| DriverError::from_io(doing(), error))?;
        let is_device = found.file_type().is_block_device();
        let (place, bytes) = (source.path.to_str().unwrap_or_default(), source.size.bytes());
        // It parts words at commas and lines, and keeps 255 bytes.
        if !place.starts_with('/') || place.len() > 255 || place.contains([',', '\n', '"', '\\']) {
            let why = "the kernel takes absolute paths of 255 bytes at most, without commas, quotes \
                       and backslashes";
            return refused(FaultKind::NotSupported, why.to_owned());
        }
        let [block, plain] = ADAPTERS;
        let (adapter, control) = if is_device {
            (block, format!("udev_path={place}"))
        } else {
            (plain, format!("fd_dev_name={place},fd_dev_size={bytes}"))
        };
        let path = format!("{adapter}/{}", self.names.backstore(volume));
        {
            let _adapter = ADAPTER.lock().unwrap_or_else(PoisonError::into_inner);
            self.tree.make(adapter).map_err(|error| {
                let module = if is_device { "target_core_iblock" } else { "target_core_file" };
                DriverError::new(FaultKind::NotSupported, format!("loading it: modprobe {module}"))
                    .because(error)
            })?;
            self.tree.make(&path)?;
        }
        self.tree.write(format!("{path}/control"), &control)?;
        self.tree.write(format!("{path}/wwn/vpd_unit_serial"), &names::serial(volume))?;
        let shown = [
            ("wwn/company_id", names::company(volume)),
            ("wwn/vendor_id", "OSDS".to_owned()),
            ("wwn/product_id", "Volume".to_owned()),
            ("wwn/revision", "1".to_owned()),
        ];
        for (attribute, value) in shown {
            let attribute = format!("{path}/{attribute}");
            // Kernels before 5.10 have fewer; hosts then know the volume by another name.
            if self.tree.has(&attribute) {
                self.tree.write(&attribute, &value)?;
            }
        }
        self.tree.write(format!("{path}/alias"), &alias(blocks))?;
        self.tree.write(format!("{path}/enable"), "1")?;
        // A PREEMPT AND ABORT ends what runs under the old reservation, and waits. With an answer
        // (TASK ABORTED) for each it waits until the host has taken note, which a dead host does not;
        // and of its sender's own commands for ever, as the thread that waits is the one that would
        // be told. The session then hangs, and so does the next detach.
        self.tree.write(format!("{path}/attrib/emulate_tas"), "0")?;
        // The kernel goes by the path: what it opened must be what was opened before.
        let is_it = if is_device {
            let (major, minor) = (rustix::fs::major(found.rdev()), rustix::fs::minor(found.rdev()));
            self.device_number(&path)? == Some((major, minor))
        } else {
            fs::metadata(&source.path)
                .is_ok_and(|now| BlocksId { device: now.dev(), file: now.ino() } == blocks)
        };
        if !is_it {
            return refused(FaultKind::Temporary, "it was exchanged meanwhile".to_owned());
        }
        Ok(path)
    }

    pub(super) fn remove_backstores(&self, volume: VolumeId) -> Result<(), DriverError> {
        for path in self.backstores(volume) {
            self.tree.remove(&path)?;
        }
        let _adapter = ADAPTER.lock().unwrap_or_else(PoisonError::into_inner);
        for adapter in ADAPTERS {
            if self.tree.has(adapter) && self.tree.list(adapter)?.is_empty() {
                // Nothing depends on it; one that stays empty is no harm.
                let _ = self.tree.remove(adapter);
            }
        }
        Ok(())
    }

    /// How large hosts see it.
    pub(super) fn size(&self, backstore: &str) -> Result<Capacity, DriverError> {
        let bytes = match self.device_number(backstore)? {
            Some((major, minor)) => {
                let file = self.sysfs.join(format!("dev/block/{major}:{minor}/size"));
                let doing = || format!("reading {}", file.display());
                let text = match fs::read_to_string(&file) {
                    // A device that was pulled out has none, and its hosts can still be put out.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => "0".to_owned(),
                    text => text.map_err(|error| DriverError::from_io(doing(), error))?,
                };
                // The kernel counts sectors of 512 bytes here, whatever the device has.
                text.trim().parse::<u64>().ok().and_then(|sectors| sectors.checked_mul(512))
            }
            None => after(&self.info(backstore)?, "Size:").and_then(|size| size.parse().ok()),
        };
        let doing = || format!("reading the size of {}", self.tree.path(backstore).display());
        let bytes = bytes.ok_or_else(|| DriverError::new(FaultKind::Broken, doing()))?;
        Ok(Capacity::from_bytes(bytes))
    }

    /// Tells the kernel that there is more. A device says so itself.
    pub(super) fn resize(&self, backstore: &str, size: Capacity) -> Result<(), DriverError> {
        if self.device_number(backstore)?.is_none() && self.size(backstore)? != size {
            let control = format!("fd_dev_size={}", size.bytes());
            self.tree.write(format!("{backstore}/control"), &control)?;
        }
        Ok(())
    }

    fn device_number(&self, backstore: &str) -> Result<Option<(u32, u32)>, DriverError> {
        let info = self.info(backstore)?;
        let number = |word| after(&info, word).and_then(|number| number.parse().ok());
        Ok(number("Major:").zip(number("Minor:")))
    }

    fn info(&self, backstore: &str) -> Result<String, DriverError> {
        Ok(self.tree.read(format!("{backstore}/info"))?.unwrap_or_default())
    }
}

/// The word behind another one.
fn after<'a>(text: &'a str, word: &str) -> Option<&'a str> {
    text.split_whitespace().skip_while(|one| *one != word).nth(1)
}

fn alias(blocks: BlocksId) -> String {
    format!("osds blocks {:x}:{:x}", blocks.device, blocks.file)
}

fn read_alias(text: &str) -> Option<BlocksId> {
    let (device, file) = text.strip_prefix("osds blocks ")?.split_once(':')?;
    let number = |digits| u64::from_str_radix(digits, 16).ok();
    Some(BlocksId { device: number(device)?, file: number(file)? })
}
