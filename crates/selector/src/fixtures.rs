//! Pools and profiles for the tests of this crate.

use osds_model::pool::{PoolExtras, PoolSpec};
use osds_model::profile::{
    DataProtectionProperties, ProvisioningProperties, ReplicationProperties, SnapshotProperties,
};
use osds_model::{Capacity, DockId, Pool, PoolId, Profile, ProfileId, Timestamp};
use serde_json::Value;

use crate::Ask;

/// A multi-attach pool `pool-<id>` with this many GiB.
pub(crate) fn pool(id: u128, gib: u64) -> Pool {
    let size = Capacity::from_gib(gib).unwrap();
    Pool {
        id: PoolId::from_u128(id),
        created_at: Timestamp(0),
        updated_at: None,
        dock: DockId::from_u128(9),
        available: true,
        enforces_read_only: true,
        enforces_credentials: true,
        spec: PoolSpec {
            name: format!("pool-{id}"),
            description: String::new(),
            storage_type: "block".to_owned(),
            availability_zone: "default".to_owned(),
            multi_attach: true,
            total: size,
            usable: size,
            extras: PoolExtras::default(),
        },
        allocated: Capacity::ZERO,
    }
}

/// The two pools that the captures of the original were taken with.
pub(crate) fn captured_pools() -> [Pool; 2] {
    let make = |id: &str, number, total, free, disk: &str, multi_attach| {
        let mut pool = pool(number, total);
        pool.id = id.parse().unwrap();
        pool.spec.name = format!("sample-pool-0{number}");
        pool.spec.usable = Capacity::from_gib(free).unwrap();
        pool.spec.multi_attach = multi_attach;
        pool.spec.extras.advanced.insert("diskType".to_owned(), disk.into());
        pool
    };
    [
        make("084bf71e-a102-11e7-88a8-e31fe6d52248", 1, 100, 90, "SSD", true),
        make("a594b8ac-a103-11e7-985f-d723bcf01b5f", 2, 200, 170, "SAS", false),
    ]
}

/// A block profile with these custom properties (a JSON object or null).
pub(crate) fn profile(custom: Value) -> Profile {
    Profile {
        id: ProfileId::from_u128(1),
        created_at: Timestamp(0),
        updated_at: None,
        name: "p".to_owned(),
        description: String::new(),
        storage_type: "block".to_owned(),
        provisioning: ProvisioningProperties::default(),
        replication: ReplicationProperties::default(),
        snapshot: SnapshotProperties::default(),
        data_protection: DataProtectionProperties::default(),
        custom: serde_json::from_value(custom).unwrap(),
    }
}

/// One GiB in zone `default`.
pub(crate) fn ask(profile: &Profile) -> Ask<'_> {
    Ask {
        size: Capacity::from_gib(1).unwrap(),
        availability_zone: "default",
        multi_attach: false,
        pool: None,
        profile,
    }
}
