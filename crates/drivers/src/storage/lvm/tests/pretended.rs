//! A pretended lvm: one volume group of 64 extents of 1 MiB, kept in memory, its devices files.
//!
//! What an extent holds stays on the disk when a logical volume goes, and the disk is full of what
//! others wrote. It can be cut off at any command, before it has done anything or after.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::sync::{Arc, Mutex, MutexGuard};

use osds_model::FaultKind;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::super::command::{Lvm, complaint};
use super::super::report::LogicalVolume;
use crate::DriverError;

pub(super) const MIB: u64 = 1 << 20;
pub(super) const FOREIGN: u8 = 0xA5;

#[derive(Clone, Debug)]
pub(super) struct Pretended {
    home: Arc<TempDir>,
    disk: Arc<Mutex<Disk>>,
}

#[derive(Debug, Default)]
pub(super) struct Disk {
    pub(super) volumes: Vec<Made>,
    extents: BTreeMap<u64, Vec<u8>>,
    made: u32,
    pub(super) uuid: String,
    /// Commands left until it is cut off, and whether the last of them is done.
    pub(super) cut: Option<(usize, bool)>,
    pub(super) log: Vec<String>,
    pub(super) zeroes: bool,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Made {
    pub(super) name: String,
    pub(super) tags: Vec<String>,
    pub(super) pool: String,
    pub(super) origin: String,
    pub(super) open: bool,
    number: u32,
    /// Where it lies; a thin one nowhere.
    extents: Vec<u64>,
    size: u64,
    inactive: bool,
}

impl Pretended {
    pub(super) fn new(thin: bool) -> Self {
        let disk = Disk { uuid: "VG".to_owned(), zeroes: true, ..Disk::default() };
        let (home, disk) = (Arc::new(TempDir::new().unwrap()), Arc::new(Mutex::new(disk)));
        let new = Self { home, disk };
        if thin {
            let pool = Made { name: "t".to_owned(), size: 64 * MIB, ..Made::default() };
            new.disk().volumes.push(pool);
        }
        new
    }

    pub(super) fn disk(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().unwrap()
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.disk().volumes.iter().map(|volume| volume.name.clone()).collect()
    }

    pub(super) fn bytes(&self, name: &str) -> Vec<u8> {
        fs::read(self.home.path().join(name)).unwrap()
    }

    fn file(&self, name: &str) -> File {
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(false);
        options.open(self.home.path().join(name)).unwrap()
    }

    fn report(&self) -> Value {
        let disk = self.disk();
        let used: usize = disk.volumes.iter().map(|volume| volume.extents.len()).sum();
        let rows = disk.volumes.iter().map(|volume| {
            let size = volume.size.to_string();
            let has_snapshots = disk.volumes.iter().any(|other| other.origin == volume.name);
            let kind = match (&*volume.name, volume.pool.is_empty(), volume.origin.is_empty()) {
                ("t", ..) => 't',
                (_, false, _) => 'V',
                (_, true, false) => 's',
                (_, true, true) if has_snapshots => 'o',
                _ => '-',
            };
            let major = if volume.inactive { "-1" } else { "253" };
            json!({
                "lv_uuid": format!("LV{}", volume.number), "lv_name": volume.name,
                "lv_path": self.home.path().join(&volume.name), "lv_size": size,
                "lv_tags": volume.tags.join(","),
                "lv_attr": format!(
                    "{kind}wi-a{}-{}--",
                    if volume.open { 'o' } else { '-' },
                    if disk.zeroes { 'z' } else { '-' }
                ),
                "pool_lv": volume.pool, "origin": volume.origin, "origin_size": size,
                "lv_kernel_major": major, "lv_kernel_minor": major, "data_percent": "",
                "lv_health_status": "",
            })
        });
        let seg = disk.volumes.iter().map(|volume| {
            let range = |extent: &u64| format!("/dev/d:{extent}-{extent}");
            let ranges = volume.extents.iter().map(range).collect::<Vec<_>>().join(" ");
            json!({"lv_name": volume.name, "seg_pe_ranges": ranges})
        });
        let group = json!({
            "vg_uuid": disk.uuid, "vg_size": (64 * MIB).to_string(),
            "vg_free": ((64 - used as u64) * MIB).to_string(),
            "vg_extent_size": MIB.to_string(), "vg_missing_pv_count": "0",
        });
        json!({"report": [{
            "vg": [group], "lv": rows.collect::<Vec<_>>(), "seg": seg.collect::<Vec<_>>(),
        }]})
    }

    /// What is free, or just this.
    fn take(&self, count: u64, given: &[&str]) -> Result<Vec<u64>, &'static str> {
        let disk = self.disk();
        let is_free = |at: &u64| !disk.volumes.iter().any(|volume| volume.extents.contains(at));
        let given = given.iter().map(|range| range.rsplit('-').next().unwrap().parse().unwrap());
        let given: Vec<u64> = given.collect();
        let from = if given.is_empty() { (0..64).collect() } else { given };
        let count = usize::try_from(count).unwrap();
        let free: Vec<u64> = from.into_iter().filter(is_free).take(count).collect();
        if free.len() == count { Ok(free) } else { Err("  insufficient free space") }
    }

    /// The device's file shows what the disk holds from here on.
    fn lay(&self, name: &str, before: u64, extents: &[u64]) {
        let file = self.file(name);
        for (index, at) in extents.iter().enumerate() {
            let foreign = || vec![FOREIGN; usize::try_from(MIB).unwrap()];
            let held = self.disk().extents.remove(at).unwrap_or_else(foreign);
            file.write_all_at(&held, before + index as u64 * MIB).unwrap();
        }
    }

    fn change(&self, words: &[&str]) -> Result<(), &'static str> {
        let value = |key: &str| {
            let at = words.iter().position(|word| *word == key)?;
            Some(words[at + 1])
        };
        let all = |key: &str| {
            let at = words.windows(2).filter(move |two| two[0] == key);
            at.map(|two| two[1].to_owned()).collect::<Vec<_>>()
        };
        let last = words.last().unwrap().rsplit('/').next().unwrap();
        match words[0] {
            "lvcreate" => {
                let name = value("-n").unwrap().to_owned();
                if self.disk().volumes.iter().any(|volume| volume.name == name) {
                    return Err("  already exists in volume group");
                }
                let source = words.contains(&"-s").then(|| self.found(last)).transpose()?;
                let mut made = Made { name, tags: all("--addtag"), ..Made::default() };
                if let Some(source) = source {
                    (made.pool, made.size) = (source.pool.clone(), source.size);
                    if source.pool.is_empty() {
                        made.origin.clone_from(&source.name);
                        let count = match value("-l").unwrap() {
                            "100%ORIGIN" => source.size / MIB + 1,
                            count => count.parse().unwrap(),
                        };
                        made.extents = self.take(count, &[])?;
                    }
                    fs::copy(
                        self.home.path().join(&source.name),
                        self.home.path().join(&made.name),
                    )
                    .unwrap();
                } else if let Some(size) = value("-V") {
                    made.pool = value("--thinpool").unwrap().to_owned();
                    made.size = size.trim_end_matches('b').parse::<u64>().unwrap();
                    made.size = made.size.next_multiple_of(MIB);
                    self.file(&made.name).set_len(made.size).unwrap();
                } else {
                    made.extents = self.take(value("-l").unwrap().parse().unwrap(), &[])?;
                    made.size = made.extents.len() as u64 * MIB;
                    self.file(&made.name);
                    self.lay(&made.name, 0, &made.extents);
                }
                let mut disk = self.disk();
                disk.made += 1;
                made.number = disk.made;
                disk.volumes.push(made);
            }
            "lvextend" => {
                let at = words.iter().position(|word| word.contains('/')).unwrap();
                let name = words[at].rsplit('/').next().unwrap();
                let found = self.found(name)?;
                let has_snapshots = self.disk().volumes.iter().any(|volume| volume.origin == name);
                if has_snapshots && !found.inactive {
                    return Err("  can be resized only while inactive: try lvchange -an.");
                }
                let mut extents = Vec::new();
                let size = if let Some(size) = value("-L") {
                    let size = size.trim_end_matches('b').parse::<u64>().unwrap();
                    self.file(name).set_len(size.next_multiple_of(MIB)).unwrap();
                    size.next_multiple_of(MIB)
                } else {
                    let count = value("-l").unwrap().trim_start_matches('+').parse().unwrap();
                    extents = self.take(count, &words[at + 1..])?;
                    self.lay(name, found.size, &extents);
                    found.size + count * MIB
                };
                self.with(name, |volume| {
                    volume.size = size;
                    volume.extents.extend(extents);
                });
            }
            "lvchange" => {
                let (add, del) = (all("--addtag"), all("--deltag"));
                let found = self.found(last)?;
                if words.contains(&"-an") && found.open {
                    return Err("  in use.");
                }
                self.with(last, |volume| {
                    volume.tags.retain(|tag| !del.contains(tag));
                    volume.tags.extend(add);
                    volume.inactive =
                        words.contains(&"-an") || (volume.inactive && !words.contains(&"-ay"));
                });
            }
            "lvremove" => {
                let found = self.found(last)?;
                if found.open {
                    return Err("  in use.");
                }
                let bytes = self.bytes(last);
                let mut disk = self.disk();
                assert!(!disk.volumes.iter().any(|other| other.origin == last), "it has snapshots");
                for (piece, at) in bytes.chunks(usize::try_from(MIB).unwrap()).zip(&found.extents) {
                    disk.extents.insert(*at, piece.to_vec());
                }
                disk.volumes.retain(|volume| volume.name != last);
                fs::remove_file(self.home.path().join(last)).unwrap();
            }
            other => panic!("{other}"),
        }
        Ok(())
    }

    fn found(&self, name: &str) -> Result<Made, &'static str> {
        let found = self.disk().volumes.iter().find(|volume| volume.name == name).cloned();
        found.ok_or("  Failed to find logical volume")
    }

    pub(super) fn with(&self, name: &str, change: impl FnOnce(&mut Made)) {
        change(self.disk().volumes.iter_mut().find(|volume| volume.name == name).unwrap());
    }
}

impl Lvm for Pretended {
    fn run(&self, words: &[&str]) -> Result<String, DriverError> {
        let line = words.join(" ");
        if words[0] == "fullreport" {
            self.disk().log.push("report".to_owned());
            return Ok(self.report().to_string());
        }
        let cut = {
            let mut disk = self.disk();
            disk.log.push(line.clone());
            match &mut disk.cut {
                Some((0, _)) => Some(false),
                Some((left, done)) => {
                    *left -= 1;
                    (*left == 0).then_some(*done)
                }
                None => None,
            }
        };
        if cut != Some(false) {
            self.change(words).map_err(|said| complaint(&line, said))?;
        }
        match cut {
            None => Ok(String::new()),
            Some(_) => Err(DriverError::new(FaultKind::Temporary, "cut off")),
        }
    }

    fn open(&self, volume: &LogicalVolume, _: bool) -> Result<File, DriverError> {
        assert!(volume.device.is_some(), "it is not active");
        Ok(self.file(&volume.name))
    }
}
