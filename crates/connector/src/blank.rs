//! Whether nothing is on a device: the only state in which it may be formatted.
//!
//! Three proofs, all of them: nobody else has the device, the low-level probe knows nothing on it
//! (exit 2, and no other), and its first MiB is zeros. A failure of any is not a "no": what cannot
//! be read is never formatted.

use std::io::Read as _;

use crate::device::Device;
use crate::error::{ConnectError, Kind};
use crate::tools::Machine;

/// How much has to be zeros.
const FIRST: usize = 1 << 20;

/// What is on a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// Nothing.
    Blank,
    /// A file system of this type.
    FileSystem(String),
    /// Something else; the words are for people.
    Other(String),
}

/// What is on the device.
///
/// # Errors
/// It cannot be read.
pub fn content(machine: &Machine, device: &Device) -> Result<Content, ConnectError> {
    let arguments =
        ["--probe".as_ref(), "--output".as_ref(), "export".as_ref(), device.path.as_os_str()];
    let probed = machine.try_run("blkid", &arguments)?;
    let value = |key: &str| {
        let line = probed.output.lines().find_map(|line| line.strip_prefix(key))?;
        Some(line.trim_start_matches('=').to_owned()).filter(|value| !value.is_empty())
    };
    match probed.code {
        0 => {
            let is_filesystem = value("USAGE").is_none_or(|usage| usage == "filesystem");
            Ok(match value("TYPE") {
                Some(kind) if is_filesystem => Content::FileSystem(kind),
                Some(kind) => Content::Other(kind),
                None => Content::Other(match value("PTTYPE") {
                    Some(table) => format!("a partition table ({table})"),
                    None => "something that blkid knows".to_owned(),
                }),
            })
        }
        2 if is_zeros(device)? => Ok(Content::Blank),
        2 => Ok(Content::Other("data that blkid does not know".to_owned())),
        8 => Ok(Content::Other("traces of more than one thing".to_owned())),
        code => {
            let why = format!("blkid ended with {code}: {}", probed.complaint);
            let doing = format!("looking what is on {}", device.path.display());
            Err(ConnectError::new(Kind::Temporary, doing).because(why))
        }
    }
}

fn is_zeros(device: &Device) -> Result<bool, ConnectError> {
    let mut first = Vec::with_capacity(FIRST);
    let read = device.open_alone()?.take(FIRST as u64).read_to_end(&mut first);
    read.map_err(|e| ConnectError::io(format!("reading {}", device.path.display()), e))?;
    Ok(!first.is_empty() && first.iter().all(|byte| *byte == 0))
}
