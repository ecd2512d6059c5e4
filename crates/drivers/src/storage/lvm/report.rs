//! What lvm reports, and whose each logical volume is.
//!
//! One report has everything of a volume group: itself, its logical volumes, where each lies. What
//! is ours says so on the disk itself, by tags; what the original made is known by its names
//! (`volume-<id>`, `_snapshot-<id>`) and gets its tag when it is first used. All else is foreign.

use std::path::PathBuf;

use osds_model::{Capacity, FaultKind, SnapshotId, VolumeId};
use serde_json::Value;

use crate::{BlocksId, DriverError};

/// Tags: which volume it is, or of which one the snapshot is.
pub(super) const VOLUME: &str = "osds.volume=";
/// Which snapshot.
pub(super) const SNAPSHOT: &str = "osds.snapshot=";
/// How large the volume was when the snapshot was taken: of a thick one, lvm says something else.
pub(super) const SIZE: &str = "osds.size=";
/// How far a thick volume has been zeroed that is being made.
pub(super) const ZEROED: &str = "osds.zeroed=";
/// A snapshot that lasts as long as the copy to this volume takes.
pub(super) const COPYING: &str = "osds.copying=";
/// Space that this volume will have when it is zeroed.
pub(super) const GROWING: &str = "osds.growing=";
/// It holds what others had before, or half of a copy: it is no volume yet.
pub(super) const MAKING: &str = "osds.state=making";
/// The volume is deleted; its thick snapshots need its blocks.
pub(super) const DELETED: &str = "osds.state=deleted";

/// The words of the command that reports a group.
pub(super) fn words(group: &str) -> Vec<&str> {
    vec![
        "fullreport",
        "--reportformat",
        "json",
        "--units",
        "b",
        "--nosuffix",
        "--configreport",
        "vg",
        "-o",
        "vg_uuid,vg_size,vg_free,vg_extent_size,vg_missing_pv_count",
        "--configreport",
        "pv",
        "-o",
        "pv_name",
        "--configreport",
        "pvseg",
        "-o",
        "pvseg_start",
        "--configreport",
        "lv",
        "-o",
        "lv_uuid,lv_name,lv_path,lv_size,lv_tags,lv_attr,pool_lv,origin,origin_size,\
         lv_kernel_major,lv_kernel_minor,data_percent,lv_health_status",
        "--configreport",
        "seg",
        "-o",
        "lv_name,seg_pe_ranges",
        group,
    ]
}

/// A volume group.
#[derive(Clone, Debug)]
pub(super) struct Group {
    pub(super) uuid: String,
    pub(super) size: Capacity,
    pub(super) free: Capacity,
    pub(super) extent: u64,
    /// Disks of it that are not there.
    pub(super) missing: u64,
    pub(super) volumes: Vec<LogicalVolume>,
}

/// A logical volume.
#[derive(Clone, Debug)]
pub(super) struct LogicalVolume {
    pub(super) uuid: String,
    pub(super) name: String,
    pub(super) path: PathBuf,
    /// Of a thick snapshot: the space set aside for it.
    pub(super) size: Capacity,
    pub(super) tags: Vec<String>,
    /// The thin pool that it is in; empty for a thick one.
    pub(super) pool: String,
    /// What it is a snapshot of; empty for what is none.
    pub(super) origin: String,
    pub(super) origin_size: Capacity,
    /// The device, while it is active.
    pub(super) device: Option<(u32, u32)>,
    attributes: Vec<u8>,
    /// Of a thin pool: how full it is, in percent.
    pub(super) filled: f64,
    /// Empty while all is well.
    pub(super) health: String,
    /// Where it lies, as `DEVICE:FIRST-LAST`.
    pub(super) ranges: Vec<String>,
}

/// Whose a logical volume is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// A volume of ours.
    Volume(VolumeId, State),
    /// A snapshot of one.
    Snapshot(VolumeId, SnapshotId),
    /// Helps to copy to this volume.
    Copying(VolumeId),
    /// Helps this volume to grow.
    Growing(VolumeId),
    /// Not ours.
    Foreign,
}

/// How far a volume is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// It is being made.
    Making,
    /// It is one.
    Whole,
    /// It was one.
    Deleted,
}

impl Group {
    /// Reads what [`words`] had lvm print.
    pub(super) fn parse(printed: &str) -> Result<Self, DriverError> {
        let wrong = |what: &str| {
            DriverError::new(FaultKind::Broken, "reading lvm's report")
                .because(format!("{what}; osds knows the reports of lvm2 2.03"))
        };
        let report: Value = serde_json::from_str(printed).map_err(|e| wrong(&e.to_string()))?;
        let parts = &report["report"][0];
        let rows = |name: &str| parts[name].as_array().map(Vec::as_slice).unwrap_or_default();
        let [group] = rows("vg") else { return Err(wrong("it is not about one volume group")) };
        let mut volumes = Vec::new();
        for row in rows("lv") {
            let volume = LogicalVolume::parse(row);
            volumes.push(volume.ok_or_else(|| wrong(&format!("no logical volume: {row}")))?);
        }
        for row in rows("seg") {
            let found = volumes.iter_mut().find(|volume| row["lv_name"] == *volume.name);
            if let (Some(volume), Some(ranges)) = (found, row["seg_pe_ranges"].as_str()) {
                volume.ranges.extend(ranges.split_whitespace().map(str::to_owned));
            }
        }
        let parsed = || {
            Some(Self {
                uuid: text(group, "vg_uuid").filter(|uuid| !uuid.is_empty())?,
                size: bytes(group, "vg_size")?,
                free: bytes(group, "vg_free")?,
                extent: bytes(group, "vg_extent_size")?.bytes().max(1),
                missing: number(group, "vg_missing_pv_count").unwrap_or(0),
                volumes,
            })
        };
        parsed().ok_or_else(|| wrong(&format!("no volume group: {group}")))
    }

    pub(super) fn named(&self, name: &str) -> Option<&LogicalVolume> {
        self.volumes.iter().find(|volume| volume.name == name)
    }

    /// Those of a role, such as all that help to copy to one volume.
    pub(super) fn of_role(&self, role: Role) -> impl Iterator<Item = &LogicalVolume> {
        self.volumes.iter().filter(move |volume| volume.role() == role)
    }

    /// The volume, made or not.
    pub(super) fn volume(
        &self,
        id: VolumeId,
    ) -> Result<Option<(&LogicalVolume, State)>, DriverError> {
        let mut found = self.volumes.iter().filter_map(|volume| {
            let Role::Volume(this, state) = volume.role() else { return None };
            (this == id).then_some((volume, state))
        });
        let (first, second) = (found.next(), found.next());
        if let (Some((first, _)), Some((second, _))) = (first, second) {
            let doing = format!(
                "both {} and {} are volume {id}: take the tag {VOLUME}{id} from the one that is \
                 not (lvchange --deltag)",
                first.path.display(),
                second.path.display()
            );
            return Err(DriverError::new(FaultKind::Broken, doing));
        }
        Ok(first)
    }

    /// What depends on its blocks: thick snapshots.
    pub(super) fn dependants(&self, of: &LogicalVolume) -> impl Iterator<Item = &LogicalVolume> {
        self.volumes.iter().filter(move |volume| volume.pool.is_empty() && volume.origin == of.name)
    }

    /// As many whole extents.
    pub(super) const fn extents(&self, size: Capacity) -> u64 {
        size.bytes().div_ceil(self.extent)
    }
}

impl LogicalVolume {
    fn parse(row: &Value) -> Option<Self> {
        let device = number(row, "lv_kernel_major").zip(number(row, "lv_kernel_minor"));
        let device = device.and_then(|(a, b)| u32::try_from(a).ok().zip(u32::try_from(b).ok()));
        let tags = text(row, "lv_tags")?;
        Some(Self {
            uuid: text(row, "lv_uuid")?,
            name: text(row, "lv_name")?,
            path: text(row, "lv_path")?.into(),
            size: bytes(row, "lv_size")?,
            tags: tags.split(',').filter(|tag| !tag.is_empty()).map(str::to_owned).collect(),
            pool: text(row, "pool_lv")?,
            origin: text(row, "origin")?,
            origin_size: bytes(row, "origin_size").unwrap_or_default(),
            device,
            attributes: text(row, "lv_attr")?.into_bytes(),
            filled: text(row, "data_percent").and_then(|text| text.parse().ok()).unwrap_or(0.0),
            health: text(row, "lv_health_status").unwrap_or_default(),
            ranges: Vec::new(),
        })
    }

    /// Whose it is.
    pub(super) fn role(&self) -> Role {
        let volume = self.tag(VOLUME).and_then(volume_id);
        if let Some(id) = self.tag(COPYING).and_then(volume_id) {
            return Role::Copying(id);
        }
        if let Some(id) = self.tag(GROWING).and_then(volume_id) {
            return Role::Growing(id);
        }
        if let (Some(volume), Some(id)) = (volume, self.tag(SNAPSHOT).and_then(snapshot_id)) {
            return Role::Snapshot(volume, id);
        }
        if let Some(id) = volume {
            let has = |state| self.tags.iter().any(|tag| tag == state);
            let state = match (has(MAKING), has(DELETED)) {
                (true, _) => State::Making,
                (false, true) => State::Deleted,
                (false, false) => State::Whole,
            };
            return Role::Volume(id, state);
        }
        self.of_the_original()
    }

    /// By the names that the original gives.
    fn of_the_original(&self) -> Role {
        let volume = |name: &str| name.strip_prefix("volume-").and_then(volume_id);
        if self.origin.is_empty() {
            return match volume(&self.name) {
                Some(id) if matches!(self.kind(), b'-' | b'o' | b'V') => {
                    Role::Volume(id, State::Whole)
                }
                _ => Role::Foreign,
            };
        }
        let snapshot = self.name.strip_prefix("_snapshot-").and_then(snapshot_id);
        match volume(&self.origin).zip(snapshot) {
            Some((volume, id)) => Role::Snapshot(volume, id),
            None => Role::Foreign,
        }
    }

    /// The first of lvm's attributes: `V` thin, `t` thin pool, `o` with snapshots, `s` a snapshot.
    fn kind(&self) -> u8 {
        self.attributes.first().copied().unwrap_or(b'?')
    }

    /// Of a thin pool: whether a block is zeroed before it is first used.
    pub(super) fn zeroes(&self) -> bool {
        self.attributes.get(7) == Some(&b'z')
    }

    /// A thick snapshot that had no room left for what was overwritten: it holds nothing any more.
    pub(super) fn is_lost(&self) -> bool {
        matches!(self.attributes.get(4), Some(b'I' | b'S'))
    }

    /// Whether somebody has its device open.
    pub(super) fn is_open(&self) -> bool {
        self.attributes.get(5) == Some(&b'o')
    }

    pub(super) fn is_thin_pool(&self) -> bool {
        self.kind() == b't'
    }

    pub(super) fn is_thin(&self) -> bool {
        !self.pool.is_empty()
    }

    /// The value of a tag.
    pub(super) fn tag(&self, key: &str) -> Option<&str> {
        self.tags.iter().find_map(|tag| tag.strip_prefix(key))
    }

    /// How large the volume is that this is, or was when the snapshot was taken.
    pub(super) fn content(&self) -> Capacity {
        let tagged = self.tag(SIZE).and_then(|size| size.parse().ok()).map(Capacity::from_bytes);
        let is_thick_snapshot = !self.is_thin() && !self.origin.is_empty();
        tagged.unwrap_or(if is_thick_snapshot { self.origin_size } else { self.size })
    }

    /// lvm gives no other volume this uuid, though it has the same name.
    pub(super) fn blocks(&self) -> BlocksId {
        // FNV-1a: 32 letters are more than 128 bits, and must give the same after a restart.
        let mix = |hash: u128, byte: u8| {
            (hash ^ u128::from(byte)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b)
        };
        let start = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
        BlocksId::of_unit(self.uuid.bytes().fold(start, mix))
    }
}

fn text(row: &Value, key: &str) -> Option<String> {
    row[key].as_str().map(str::to_owned)
}

fn number(row: &Value, key: &str) -> Option<u64> {
    row[key].as_str()?.parse().ok()
}

fn bytes(row: &Value, key: &str) -> Option<Capacity> {
    number(row, key).map(Capacity::from_bytes)
}

/// Only the very text that we would write.
fn volume_id(text: &str) -> Option<VolumeId> {
    text.parse().ok().filter(|id: &VolumeId| id.to_string() == text)
}

fn snapshot_id(text: &str) -> Option<SnapshotId> {
    text.parse().ok().filter(|id: &SnapshotId| id.to_string() == text)
}
