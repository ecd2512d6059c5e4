//! The actions of the API, by the names that a policy file knows them under, and the original's
//! own rule for each.
//!
//! Must stay true: every route of the server is one of these, and none is without a rule.

use std::fmt;

/// Rules that the built-in ones refer to.
pub const BUILT_IN_RULES: &[(&str, &str)] = &[
    ("admin_or_owner", "rule:admin_api or tenant_id:%(tenant_id)s"),
    ("admin_api", "is_admin:True or (role:admin and is_admin_project:True)"),
];

const EVERYBODY: &str = "";
const OWNER: &str = "rule:admin_or_owner";
const ADMIN: &str = "rule:admin_api";

macro_rules! actions {
    ($($(#[doc = $doc:literal])* $variant:ident = $name:literal by $rule:ident),* $(,)?) => {
        /// Something that the API can be asked to do.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Action {
            $($(#[doc = $doc])* $variant,)*
        }

        impl Action {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The name in a policy file.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// The original's own rule.
            pub(crate) const fn built_in(self) -> &'static str {
                match self { $(Self::$variant => $rule,)* }
            }
        }
    };
}

actions! {
    /// Make a profile.
    ProfileCreate = "profile:create" by ADMIN,
    /// List profiles.
    ProfileList = "profile:list" by EVERYBODY,
    /// Show a profile.
    ProfileGet = "profile:get" by EVERYBODY,
    /// Change a profile.
    ProfileUpdate = "profile:update" by ADMIN,
    /// Delete a profile.
    ProfileDelete = "profile:delete" by ADMIN,
    /// Set custom properties.
    ProfileAddCustomProperty = "profile:add_custom_property" by ADMIN,
    /// List custom properties.
    ProfileListCustomProperties = "profile:list_custom_properties" by EVERYBODY,
    /// Take a custom property away.
    ProfileRemoveCustomProperty = "profile:remove_custom_property" by ADMIN,
    /// Make a volume.
    VolumeCreate = "volume:create" by OWNER,
    /// List volumes.
    VolumeList = "volume:list" by OWNER,
    /// Show a volume.
    VolumeGet = "volume:get" by OWNER,
    /// Change a volume's name, description or metadata.
    VolumeUpdate = "volume:update" by OWNER,
    /// Make a volume larger.
    VolumeExtend = "volume:extend" by OWNER,
    /// Ours: change the limits on a volume's I/O. They are the provider's, as profiles are.
    VolumeSetIoLimits = "volume:set_io_limits" by ADMIN,
    /// Ours: change whether several hosts may have a volume.
    VolumeSetMultiAttach = "volume:set_multi_attach" by OWNER,
    /// Delete a volume.
    VolumeDelete = "volume:delete" by OWNER,
    /// Attach a volume to a host.
    AttachmentCreate = "volume:create_attachment" by OWNER,
    /// List attachments.
    AttachmentList = "volume:list_attachments" by OWNER,
    /// Show an attachment.
    AttachmentGet = "volume:get_attachment" by OWNER,
    /// Change an attachment's mount point.
    AttachmentUpdate = "volume:update_attachment" by OWNER,
    /// Detach.
    AttachmentDelete = "volume:delete_attachment" by OWNER,
    /// Make a snapshot.
    SnapshotCreate = "snapshot:create" by OWNER,
    /// List snapshots.
    SnapshotList = "snapshot:list" by OWNER,
    /// Show a snapshot.
    SnapshotGet = "snapshot:get" by OWNER,
    /// Change a snapshot's name, description or metadata.
    SnapshotUpdate = "snapshot:update" by OWNER,
    /// Delete a snapshot.
    SnapshotDelete = "snapshot:delete" by OWNER,
    /// List docks.
    DockList = "dock:list" by ADMIN,
    /// Show a dock.
    DockGet = "dock:get" by ADMIN,
    /// List pools.
    PoolList = "pool:list" by ADMIN,
    /// Show a pool.
    PoolGet = "pool:get" by ADMIN,
    /// Make a replication.
    ReplicationCreate = "replication:create" by OWNER,
    /// List replications.
    ReplicationList = "replication:list" by OWNER,
    /// List replications in full.
    ReplicationListDetail = "replication:list_detail" by OWNER,
    /// Show a replication.
    ReplicationGet = "replication:get" by OWNER,
    /// Change a replication.
    ReplicationUpdate = "replication:update" by OWNER,
    /// Delete a replication.
    ReplicationDelete = "replication:delete" by OWNER,
    /// Start a replication.
    ReplicationEnable = "replication:enable" by OWNER,
    /// Stop a replication.
    ReplicationDisable = "replication:disable" by OWNER,
    /// Fail a replication over.
    ReplicationFailover = "replication:failover" by OWNER,
    /// Make a volume group.
    VolumeGroupCreate = "volume_group:create" by OWNER,
    /// List volume groups.
    VolumeGroupList = "volume_group:list" by OWNER,
    /// Show a volume group.
    VolumeGroupGet = "volume_group:get" by OWNER,
    /// Change a volume group or its members.
    VolumeGroupUpdate = "volume_group:update" by OWNER,
    /// Delete a volume group and its members.
    VolumeGroupDelete = "volume_group:delete" by OWNER,
    /// Make a file share.
    FileShareCreate = "fileshare:create" by OWNER,
    /// List file shares.
    FileShareList = "fileshare:list" by OWNER,
    /// Show a file share.
    FileShareGet = "fileshare:get" by OWNER,
    /// Change a file share.
    FileShareUpdate = "fileshare:update" by OWNER,
    /// Delete a file share.
    FileShareDelete = "fileshare:delete" by OWNER,
    /// Let somebody reach a file share.
    FileShareAclCreate = "fileshareacl:create" by OWNER,
    /// List who may reach file shares.
    FileShareAclList = "fileshareacl:list" by OWNER,
    /// Show one who may reach a file share.
    FileShareAclGet = "fileshareacl:get" by OWNER,
    /// Let somebody not reach a file share any more.
    FileShareAclDelete = "fileshareacl:delete" by OWNER,
    /// List availability zones.
    AvailabilityZoneList = "availability_zone:list" by EVERYBODY,
    /// Make a host.
    HostCreate = "host:create" by OWNER,
    /// List hosts.
    HostList = "host:list" by OWNER,
    /// Show a host.
    HostGet = "host:get" by OWNER,
    /// Change a host.
    HostUpdate = "host:update" by OWNER,
    /// Delete a host.
    HostDelete = "host:delete" by OWNER,
    /// Read metrics.
    MetricsGet = "metrics:get" by OWNER,
    /// Have metrics collected.
    MetricsCollect = "metrics:collect" by OWNER,
    /// Upload a configuration of the monitoring tools.
    MetricsUploadConf = "metrics:uploadconf" by OWNER,
    /// Download a configuration of the monitoring tools.
    MetricsDownloadConf = "metrics:downloadconf" by OWNER,
    /// List the addresses of the monitoring tools.
    MetricsUrls = "metrics:urls" by OWNER,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
