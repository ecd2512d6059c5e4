//! What things are called in configfs, and whose they are by their names.
//!
//! A name that a user chose becomes a directory's name there, so it is held to what an NVMe
//! qualified name may be; one with a slash in it would be a path.

use osds_model::host::Protocol;
use osds_model::{HostId, Initiator, VolumeId};

/// How subsystems are called when nobody says; the original's own.
pub const NQN_PREFIX: &str = "nqn.2019-01.com.opensds:nvme";

/// Most bytes of a qualified name (NVMe base specification, 4.7).
const MOST: usize = 223;

/// How our subsystems are called.
#[derive(Clone, Debug)]
pub(super) struct Names {
    prefix: String,
}

impl Names {
    pub(super) const fn new(prefix: String) -> Self {
        Self { prefix }
    }

    pub(super) fn subsystem(&self, volume: VolumeId, host: HostId) -> String {
        format!("{}:{volume}.{host}", self.prefix)
    }

    /// Whose subsystem this is; `None` when it is not ours.
    pub(super) fn whose(&self, name: &str) -> Option<(VolumeId, HostId)> {
        let ids = name.strip_prefix(&self.prefix)?.strip_prefix(':')?;
        let (volume, host) = ids.split_once('.')?;
        let (volume, host) = (volume.parse().ok()?, host.parse().ok()?);
        // An id may be written in several ways, and we write it in one.
        (self.subsystem(volume, host) == name).then_some((volume, host))
    }
}

/// The names by which these initiators connect; why one of them cannot.
pub(super) fn hosts_of(initiators: &[Initiator]) -> Result<Vec<String>, String> {
    let ours = initiators.iter().filter(|one| one.protocol == Protocol::NvmeOf);
    let name = |one: &Initiator| {
        let name = &one.port_name;
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".:-_".contains(&byte);
        let is_good = name.starts_with("nqn.") && name.len() <= MOST && name.bytes().all(plain);
        if is_good {
            return Ok(name.clone());
        }
        Err(format!(
            "{name} is no NVMe qualified name, such as nqn.2014-08.org.nvmexpress:uuid:..."
        ))
    };
    ours.map(name).collect()
}

/// A subsystem's serial number: 20 characters, of which a volume's id ends in.
pub(super) fn serial(volume: VolumeId) -> String {
    let digits = volume.0.simple().to_string();
    digits[digits.len() - 20..].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_whose_it_is() {
        let names = Names::new(NQN_PREFIX.to_owned());
        let (volume, host) = (VolumeId::from_u128(7), HostId::from_u128(8));
        let ours = names.subsystem(volume, host);
        assert_eq!(names.whose(&ours), Some((volume, host)));
        assert!(ours.len() <= MOST);
        let other = format!("{NQN_PREFIX}:{}.{host}", volume.0.simple());
        for other in ["nqn.x:a", NQN_PREFIX, &other, &ours.replace("nvme:", "nvme:x:")] {
            assert_eq!(names.whose(other), None, "{other}");
        }
        assert_eq!(serial(volume), "00000000000000000007");
    }

    #[test]
    fn a_host_is_no_path() {
        let named = |name: &str| {
            let protocol = Protocol::NvmeOf;
            hosts_of(&[Initiator { port_name: name.to_owned(), protocol }])
        };
        let good = "nqn.2014-08.org.nvmexpress:uuid:00000000-0000-4000-8000-00000000000a";
        assert_eq!(named(good).unwrap(), [good]);
        let long = format!("nqn.{}", "x".repeat(MOST));
        for bad in ["", "..", "nqn.x/../../subsystems/y", "nqn.x\n", "iqn.x:a", long.as_str()] {
            assert!(named(bad).is_err(), "{bad}");
        }
    }
}
