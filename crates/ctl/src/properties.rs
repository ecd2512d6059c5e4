//! Nouns as named properties, in the order of the original's structs, values as it prints them:
//! a list as `[a b]`, a nested value as indented JSON with a line break at its end, nothing at all
//! as nothing. Properties of ours are there only when they have something to say.

use std::collections::BTreeMap;

use osds_rest_api::{
    AttachmentStatsView, AttachmentView, DockView, FitView, GroupSnapshotView, HostView,
    LatencyView, PoolView, ProfileView, SnapshotView, VersionView, VolumeGroupView, VolumeView,
    json,
};
use serde::Serialize;
use serde_json::Value;

use crate::table::Property;

/// Something that is shown as named properties.
pub(crate) trait Properties: Serialize {
    /// All of them.
    fn properties(&self) -> Vec<Property>;
}

fn nested(value: &impl Serialize) -> String {
    format!("{}\n", json::pretty(value))
}

/// A Go map that is empty came as nothing, and shows as `null`.
fn pairs<T: Serialize>(map: &BTreeMap<String, T>) -> String {
    nested(&Some(map).filter(|map| !map.is_empty()))
}

fn with_ours(mut properties: Vec<Property>, ours: &[(&'static str, &str)]) -> Vec<Property> {
    let said = ours.iter().filter(|(_, value)| !value.is_empty());
    properties.extend(said.map(|(name, value)| (*name, (*value).to_owned())));
    properties
}

impl Properties for VersionView<'_> {
    fn properties(&self) -> Vec<Property> {
        vec![
            ("Name", self.name.to_string()),
            ("Status", self.status.to_string()),
            ("UpdatedAt", self.updated_at.to_string()),
        ]
    }
}

impl Properties for DockView<'_> {
    fn properties(&self) -> Vec<Property> {
        vec![
            ("Id", self.id.to_string()),
            ("CreatedAt", self.created_at.to_string()),
            ("UpdatedAt", self.updated_at.to_string()),
            ("Name", self.name.to_string()),
            ("Description", self.description.to_string()),
            ("Endpoint", self.endpoint.to_string()),
            ("DriverName", self.driver_name.to_string()),
            ("Metadata", pairs(&self.metadata)),
        ]
    }
}

impl Properties for PoolView<'_> {
    fn properties(&self) -> Vec<Property> {
        vec![
            ("Id", self.id.to_string()),
            ("CreatedAt", self.created_at.to_string()),
            ("UpdatedAt", self.updated_at.to_string()),
            ("Name", self.name.to_string()),
            ("Description", self.description.to_string()),
            ("Status", self.status.to_string()),
            ("DockId", self.dock_id.to_string()),
            ("AvailabilityZone", self.availability_zone.to_string()),
            ("TotalCapacity", self.total_capacity.to_string()),
            ("FreeCapacity", self.free_capacity.to_string()),
            ("MultiAttach", self.multi_attach.to_string()),
            ("StorageType", self.storage_type.to_string()),
            ("Extras", nested(&self.extras)),
        ]
    }
}

impl Properties for FitView<'_> {
    fn properties(&self) -> Vec<Property> {
        vec![
            ("PoolId", self.pool_id.to_string()),
            ("Name", self.name.to_string()),
            ("Fits", self.fits.to_string()),
            ("FreeCapacity", self.free_capacity.to_string()),
            ("Reason", self.reason.to_string()),
        ]
    }
}

impl Properties for ProfileView<'_> {
    fn properties(&self) -> Vec<Property> {
        vec![
            ("Id", self.id.to_string()),
            ("CreatedAt", self.created_at.to_string()),
            ("UpdatedAt", self.updated_at.to_string()),
            ("Name", self.name.to_string()),
            ("Description", self.description.to_string()),
            ("StorageType", self.storage_type.to_string()),
            ("ProvisioningProperties", nested(&self.provisioning_properties)),
            ("ReplicationProperties", nested(&self.replication_properties)),
            ("SnapshotProperties", nested(&self.snapshot_properties)),
            ("DataProtectionProperties", nested(&self.data_protection_properties)),
            ("CustomProperties", nested(&self.custom_properties)),
        ]
    }
}

impl Properties for VolumeView<'_> {
    fn properties(&self) -> Vec<Property> {
        let properties = vec![
            ("Id", self.id.to_string()),
            ("CreatedAt", self.created_at.to_string()),
            ("UpdatedAt", self.updated_at.to_string()),
            ("Name", self.name.to_string()),
            ("Description", self.description.to_string()),
            ("GroupId", self.group_id.to_string()),
            ("Size", self.size.to_string()),
            ("AvailabilityZone", self.availability_zone.to_string()),
            ("Status", self.status.to_string()),
            ("PoolId", self.pool_id.to_string()),
            ("ProfileId", self.profile_id.to_string()),
            ("Metadata", pairs(&self.metadata)),
            ("SnapshotId", self.snapshot_id.to_string()),
            ("MultiAttach", self.multi_attach.to_string()),
        ];
        let limits = self.io_limits.map(|limits| limits.to_words()).unwrap_or_default();
        let source = self.source_volume_id.to_string();
        let reason = ("StatusReason", &*self.status_reason);
        with_ours(properties, &[("SourceVolumeId", &source), ("IoLimits", &limits), reason])
    }
}

impl Properties for SnapshotView<'_> {
    fn properties(&self) -> Vec<Property> {
        let properties = vec![
            ("Id", self.id.to_string()),
            ("CreatedAt", self.created_at.to_string()),
            ("UpdatedAt", self.updated_at.to_string()),
            ("Name", self.name.to_string()),
            ("Description", self.description.to_string()),
            ("ProfileId", self.profile_id.to_string()),
            ("Size", self.size.to_string()),
            ("Status", self.status.to_string()),
            ("VolumeId", self.volume_id.to_string()),
            ("Metadata", pairs(&self.metadata)),
        ];
        let group = self.group_snapshot_id.to_string();
        let reason = ("StatusReason", &*self.status_reason);
        with_ours(properties, &[("GroupSnapshotId", &group), reason])
    }
}

impl Properties for GroupSnapshotView<'_> {
    fn properties(&self) -> Vec<Property> {
        let snapshots = self.snapshots.iter();
        let of = snapshots.map(|one| format!("{} of volume {}", one.id, one.volume_id));
        let snapshots: Vec<_> = of.collect();
        let properties = vec![
            ("Id", self.id.to_string()),
            ("CreatedAt", self.created_at.to_string()),
            ("Name", self.name.to_string()),
            ("Description", self.description.to_string()),
            ("Size", self.size.to_string()),
            ("Status", self.status.to_string()),
            ("Volumes", self.snapshots.len().to_string()),
            ("Snapshots", snapshots.join("\n")),
        ];
        with_ours(properties, &[("StatusReason", &self.status_reason)])
    }
}

impl Properties for VolumeGroupView<'_> {
    fn properties(&self) -> Vec<Property> {
        let profiles: Vec<_> = self.profiles.iter().map(ToString::to_string).collect();
        vec![
            ("Id", self.id.to_string()),
            ("CreatedAt", self.created_at.to_string()),
            ("UpdatedAt", self.updated_at.to_string()),
            ("Name", self.name.to_string()),
            ("Status", self.status.to_string()),
            ("Description", self.description.to_string()),
            ("Profiles", format!("[{}]", profiles.join(" "))),
            ("AvailabilityZone", self.availability_zone.to_string()),
            ("PoolId", self.pool_id.to_string()),
        ]
    }
}

impl Properties for AttachmentView<'_> {
    fn properties(&self) -> Vec<Property> {
        let properties = vec![
            ("Id", self.id.to_string()),
            ("CreatedAt", self.created_at.to_string()),
            ("UpdatedAt", self.updated_at.to_string()),
            ("TenantId", self.tenant_id.to_string()),
            ("UserId", self.user_id.to_string()),
            ("HostId", self.host_id.to_string()),
            ("VolumeId", self.volume_id.to_string()),
            ("Status", self.status.to_string()),
            ("Mountpoint", self.mountpoint.to_string()),
            ("AttachMode", self.attach_mode.to_string()),
            ("AccessProtocol", self.access_protocol.to_string()),
            ("ConnectionInfo", nested(&self.connection_info)),
        ];
        let ours = [("Sharing", &*self.sharing), ("StatusReason", &*self.status_reason)];
        with_ours(properties, &ours)
    }
}

impl Properties for AttachmentStatsView<'_> {
    fn properties(&self) -> Vec<Property> {
        let errors = |kind: &str| self.errors.get(kind).copied().unwrap_or_default();
        let (refused, conflicts) = (errors("write_protected"), errors("reservation_conflict"));
        // News that a session was told is no error.
        let all: u64 = self.errors.values().sum();
        let others = all.saturating_sub(refused + conflicts + errors("unit_attention"));
        vec![
            ("AttachmentId", self.attachment_id.to_string()),
            ("VolumeId", self.volume_id.to_string()),
            ("HostId", self.host_id.to_string()),
            ("Mode", self.attach_mode.to_string()),
            ("Sessions", self.sessions.to_string()),
            ("Reads", self.reads.to_string()),
            ("ReadBytes", self.read_bytes.to_string()),
            ("ReadP50/P99", quantiles(self.read_latency)),
            ("Writes", self.writes.to_string()),
            ("WrittenBytes", self.written_bytes.to_string()),
            ("WriteP50/P99", quantiles(self.write_latency)),
            ("Refused", refused.to_string()),
            ("Conflicts", conflicts.to_string()),
            ("Errors", others.to_string()),
        ]
    }
}

/// Both in milliseconds, as people read them.
fn quantiles(latency: LatencyView) -> String {
    let (Some(p50), Some(p99)) = (latency.p50_micros, latency.p99_micros) else {
        return String::new();
    };
    let ms = |micros: u64| format!("{}.{:02}", micros / 1000, micros % 1000 / 10);
    format!("{}/{} ms", ms(p50), ms(p99))
}

impl Properties for HostView<'_> {
    fn properties(&self) -> Vec<Property> {
        let zones = self.availability_zones.as_deref().unwrap_or_default().join(" ");
        let initiators = Some(&self.initiators).filter(|initiators| !initiators.is_empty());
        let properties = vec![
            ("Id", self.id.to_string()),
            ("CreatedAt", self.created_at.to_string()),
            ("UpdatedAt", self.updated_at.to_string()),
            ("HostName", self.host_name.to_string()),
            ("OsType", self.os_type.to_string()),
            ("AccessMode", self.access_mode.to_string()),
            ("IP", self.ip.to_string()),
            ("Port", self.port.to_string()),
            ("Username", self.username.to_string()),
            ("AvailabilityZones", format!("[{zones}]")),
            ("Initiators", nested(&initiators)),
        ];
        let fenced = if self.fenced { "true" } else { "" };
        with_ours(properties, &[("Fenced", fenced), ("FenceReason", &self.fence_reason)])
    }
}

/// A profile's free pairs.
pub(crate) fn of_pairs(map: &BTreeMap<String, Value>) -> impl Iterator<Item = (String, String)> {
    map.iter().map(|(name, value)| {
        let text = match value {
            Value::String(text) => text.clone(),
            Value::Null | Value::Bool(_) | Value::Number(_) => value.to_string(),
            Value::Array(_) | Value::Object(_) => nested(value),
        };
        (name.clone(), text)
    })
}
