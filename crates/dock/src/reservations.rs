//! Reservations that outlive a loss of power: a file for each volume that has some, beside its wish.
//!
//! `<volume>.reservations` is there as long as the ledger's entry, and moves with it. It is a file of
//! its own because the threads of sessions write it. Nothing of it stays in memory: while the volume
//! is exported the target has the truth, and before that the file. One that cannot be understood
//! keeps its volume from being exported: without it a fenced host could write.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use osds_drivers::{KeptReservations, ReservationShelf};
use osds_model::{VolumeId, VolumeWish};
use serde::{Deserialize, Serialize};

use crate::ledger::replace;

const FORMAT: u16 = 1;

/// The files of reservations in a ledger's directory.
#[derive(Clone, Debug)]
pub struct ReservationFiles {
    directory: PathBuf,
}

#[derive(Serialize, Deserialize)]
struct Entry {
    format: u16,
    reservations: KeptReservations,
}

impl ReservationFiles {
    pub(crate) fn new(directory: PathBuf) -> Self {
        Self { directory }
    }

    /// Something is kept of this volume, readable or not.
    pub(crate) fn has(&self, volume: VolumeId) -> bool {
        // What cannot be looked at is as good as there: reading it says why.
        self.path(volume).try_exists().unwrap_or(true)
    }

    /// Drops what is kept of hosts that `wish` does not let in. Only while the volume is not
    /// exported.
    pub(crate) fn drop_others(&self, wish: &VolumeWish) -> io::Result<()> {
        if wish.hosts.is_empty() {
            // Also what nobody can read: it is nobody's any more.
            return self.remove(wish.volume);
        }
        let mut kept = self.kept(wish.volume)?;
        if kept.drop_others(wish.initiator_names()) {
            self.keep(wish.volume, &kept)
        } else {
            Ok(())
        }
    }

    fn path(&self, volume: VolumeId) -> PathBuf {
        self.directory.join(format!("{volume}.reservations"))
    }

    fn remove(&self, volume: VolumeId) -> io::Result<()> {
        let path = self.path(volume);
        match fs::remove_file(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            removed => removed.and_then(|()| self.sync()),
        }
        .map_err(|error| about("removing", &path, &error))
    }

    /// Makes the names in the directory durable.
    fn sync(&self) -> io::Result<()> {
        File::open(&self.directory)?.sync_all()
    }
}

impl ReservationShelf for ReservationFiles {
    fn kept(&self, volume: VolumeId) -> io::Result<KeptReservations> {
        let path = self.path(volume);
        let bytes = match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Default::default()),
            read => read.map_err(|error| about("reading", &path, &error))?,
        };
        let refuse = |why: String| {
            let what = format!(
                "the reservations in {} cannot be used: {why}; when no host was fenced, remove the \
                 file to go on without them",
                path.display()
            );
            io::Error::new(io::ErrorKind::InvalidData, what)
        };
        match serde_json::from_slice::<Entry>(&bytes) {
            Ok(entry) if entry.format == FORMAT => Ok(entry.reservations),
            Ok(Entry { format, .. }) => {
                Err(refuse(format!("their format is {format}, this program knows {FORMAT}")))
            }
            Err(error) => Err(refuse(error.to_string())),
        }
    }

    fn keep(&self, volume: VolumeId, reservations: &KeptReservations) -> io::Result<()> {
        if reservations.is_empty() {
            return self.remove(volume);
        }
        let path = self.path(volume);
        // Ends in `new`, so that the ledger removes what a crash leaves of it.
        let new = self.directory.join(format!("{volume}.reservations.new"));
        let entry = Entry { format: FORMAT, reservations: reservations.clone() };
        replace(&self.directory, &path, &new, &entry)
            .map_err(|error| about("keeping", &path, &error))
    }
}

fn about(doing: &str, path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{doing} {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::os::unix::fs::MetadataExt as _;

    use osds_drivers::reservations::{Port, Registration, Reservation};
    use osds_model::host::Protocol;
    use osds_model::{
        AttachMode, Capacity, Generation, Grant, HostId, Initiator, IoLimits, PoolId, Presence,
    };

    use super::*;
    use crate::Ledger;

    const V: VolumeId = VolumeId::from_u128(1);
    const W: VolumeId = VolumeId::from_u128(2);

    fn kept() -> KeptReservations {
        let port = |name: &str| Port { initiator: name.to_owned(), isid: 1 };
        let registration =
            |name: &str| Registration { port: port(name), key: 7, all_target_ports: false };
        KeptReservations {
            registrations: vec![registration("iqn.x:a"), registration("iqn.x:b")],
            reservation: Some(Reservation { kind: 5, holder: Some(port("iqn.x:b")) }),
        }
    }

    fn wish(names: &[&str]) -> VolumeWish {
        let grant = |name: &&str| Grant {
            mode: AttachMode::ReadWrite,
            initiators: vec![Initiator {
                port_name: (*name).to_owned(),
                protocol: Protocol::Iscsi,
            }],
            authentication: None,
        };
        let hosts = names.iter().zip(1..).map(|(name, id)| (HostId::from_u128(id), grant(name)));
        VolumeWish {
            volume: V,
            generation: Generation(1),
            pool: PoolId::from_u128(1),
            presence: Presence::Wanted(Capacity::from_bytes(1)),
            exists: true,
            guarded: false,
            limits: IoLimits::NONE,
            source: None,
            snapshots: BTreeMap::new(),
            hosts: BTreeMap::from_iter(hosts),
        }
    }

    #[tokio::test]
    async fn what_was_kept_is_there_after_a_restart_and_the_ledger_is_not_confused() {
        let home = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(home.path()).unwrap();
        let files = ledger.reservations();
        assert_eq!((files.kept(V).unwrap(), files.has(V)), (KeptReservations::default(), false));
        ledger.put(&wish(&["iqn.x:a"])).await.unwrap();
        files.keep(V, &kept()).unwrap();
        assert_eq!(fs::metadata(files.path(V)).unwrap().mode() & 0o777, 0o600);
        // A crash in the middle of the next.
        fs::write(home.path().join(format!("{V}.reservations.new")), b"{\"for").unwrap();
        let ledger = Ledger::open(home.path()).unwrap();
        ledger.loaded().await.unwrap();
        assert_eq!(
            (ledger.all(), ledger.tidy().await.unwrap()),
            (vec![wish(&["iqn.x:a"])], vec![])
        );
        assert_eq!(ledger.reservations().kept(V).unwrap(), kept());
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 2, "nothing is left of the crash");
        ledger.reservations().keep(V, &KeptReservations::default()).unwrap();
        ledger.reservations().keep(W, &KeptReservations::default()).unwrap();
        assert!(!ledger.reservations().has(V));
    }

    #[test]
    fn who_is_not_wished_for_is_dropped_from_the_file() {
        let home = tempfile::tempdir().unwrap();
        let files = ReservationFiles::new(home.path().to_owned());
        files.keep(V, &kept()).unwrap();
        files.drop_others(&wish(&["iqn.x:a", "iqn.x:b"])).unwrap();
        assert_eq!(files.kept(V).unwrap(), kept());
        files.drop_others(&wish(&["iqn.x:a"])).unwrap();
        let left = files.kept(V).unwrap();
        assert_eq!(
            (left.registrations, left.reservation),
            (kept().registrations[..1].into(), None)
        );
        files.drop_others(&wish(&[])).unwrap();
        assert!(!files.has(V));
    }

    #[test]
    fn what_cannot_be_understood_is_an_error_with_a_remedy_until_nobody_needs_it() {
        let home = tempfile::tempdir().unwrap();
        let files = ReservationFiles::new(home.path().to_owned());
        for bad in
            ["", "{}", r#"{"format":2,"reservations":{"registrations":[],"reservation":null}}"#]
        {
            fs::write(files.path(V), bad).unwrap();
            let error = files.kept(V).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData);
            assert!(error.to_string().contains("remove the file"), "{error}");
            assert!(files.drop_others(&wish(&["iqn.x:a"])).is_err());
        }
        files.drop_others(&wish(&[])).unwrap();
        assert!(!files.has(V));
    }

    #[test]
    fn what_cannot_be_written_leaves_what_was() {
        let home = tempfile::tempdir().unwrap();
        let files = ReservationFiles::new(home.path().to_owned());
        files.keep(V, &kept()).unwrap();
        // In the way of the new file.
        fs::create_dir(home.path().join(format!("{V}.reservations.new"))).unwrap();
        let mut more = kept();
        more.registrations[0].key = 8;
        assert!(files.keep(V, &more).unwrap_err().to_string().contains("keeping"));
        assert_eq!(files.kept(V).unwrap(), kept());
    }
}
