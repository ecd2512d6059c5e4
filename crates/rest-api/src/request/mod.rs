//! What users ask for: the bodies of POST and PUT.
//!
//! Only what a user may decide is in these types; everything else that a body carries (an id, a
//! status, a whole volume that was read earlier) is skipped, so it cannot be smuggled in. Ids stay
//! text here: one that names nothing is "not found", not "malformed".

mod attachment;
mod group;
mod group_snapshot;
mod host;
mod profile;
mod snapshot;
mod volume;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::check::{Rule, Shape};
use crate::list::BadParameter;
use crate::url;

pub use attachment::{AttachmentUpdate, HostInfo, NewAttachment};
pub use group::{NewVolumeGroup, VolumeGroupUpdate};
pub use group_snapshot::NewGroupSnapshot;
pub use host::{HostUpdate, NewFence, NewHost};
pub use profile::{CustomProperties, NewProfile, ProfileUpdate};
pub use snapshot::{NewSnapshot, SnapshotUpdate};
pub use volume::{MultiAttach, NewVolume, Resize, VolumeUpdate};

/// A body in which everything goes.
const NOTHING: Shape = Shape { required: &[], members: &[] };

/// A body that renames.
const NAMES: Shape =
    Shape { required: &[], members: &[("name", Rule::Text), ("description", Rule::Text)] };

/// A member of a body that may be missing, `null`, or there: the three mean different things in
/// updates.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Given<T> {
    /// It was not mentioned.
    #[default]
    Absent,
    /// It was `null`.
    Null,
    /// It was this.
    Value(T),
}

impl<T> Given<T> {
    /// Whether it was not mentioned.
    #[must_use]
    pub const fn is_absent(&self) -> bool {
        matches!(self, Self::Absent)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Given<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Option::deserialize(deserializer)?.map_or(Self::Null, Self::Value))
    }
}

impl<T: Serialize> Serialize for Given<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Absent | Self::Null => serializer.serialize_none(),
            Self::Value(value) => value.serialize(serializer),
        }
    }
}

/// Ours: the query of GET pools/explain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Explain {
    /// How large, in GiB.
    pub size: i64,
    /// Under which profile; empty for `default_block`.
    pub profile_id: String,
    /// Where; empty for `default`.
    pub availability_zone: String,
}

impl Explain {
    /// Reads the query string.
    ///
    /// # Errors
    /// When there is no size, or it is not a whole number.
    pub fn parse(query: &str) -> Result<Self, BadParameter> {
        let mut asked = Self::default();
        let mut size = None;
        for (key, value) in url::query_pairs(query) {
            if key.eq_ignore_ascii_case("size") {
                size = value.parse().ok();
            } else if key.eq_ignore_ascii_case("profileId") {
                asked.profile_id = value.into_owned();
            } else if key.eq_ignore_ascii_case("availabilityZone") {
                asked.availability_zone = value.into_owned();
            }
        }
        asked.size = size.ok_or_else(|| BadParameter::new("size", "must be a whole number"))?;
        Ok(asked)
    }

    /// As a query string.
    #[must_use]
    pub fn to_query(&self) -> String {
        let mut query = format!("size={}", self.size);
        for (key, value) in
            [("profileId", &self.profile_id), ("availabilityZone", &self.availability_zone)]
        {
            if !value.is_empty() {
                query = format!("{query}&{key}={}", url::encode(value));
            }
        }
        query
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use osds_model::host::Protocol;
    use osds_model::{AttachMode, Initiator, Sharing};

    use super::*;
    use crate::check::{Checked, decode};

    fn refusal<T: Checked + std::fmt::Debug>(body: &str) -> String {
        decode::<T>(body.as_bytes()).unwrap_err().to_string()
    }

    const UNFIT: &str = "Request body has an error: doesn't match the schema: ";

    // Their differences are looked for pair by pair: without an end, one body keeps a processor
    // busy for half a minute.
    #[test]
    fn a_set_is_only_so_large() {
        let zones: Vec<_> = (0..257).map(|n| format!("\"z{n}\"")).collect();
        let body = |zones: &[String]| {
            format!(
                r#"{{"hostName":"h","osType":"linux","accessMode":"agent","ip":"1.2.3.4",
                "availabilityZones":[{}]}}"#,
                zones.join(",")
            )
        };
        assert_eq!(
            refusal::<NewHost>(&body(&zones)),
            format!("{UNFIT}Error at \"/availabilityZones\":Maximum number of items is 256")
        );
        assert!(decode::<NewHost>(body(&zones[1..]).as_bytes()).is_ok());
    }

    #[test]
    fn refusals_in_the_originals_words() {
        let volume = refusal::<NewVolume>;
        assert_eq!(volume(r#"{"name":"v0"}"#), format!("{UNFIT}Property 'size' is missing"));
        assert_eq!(volume(r#"{"size":1}"#), format!("{UNFIT}Property 'name' is missing"));
        assert_eq!(
            volume("garbage"),
            "Request body has an error: failed to decode request body: \
             invalid character 'g' looking for beginning of value"
        );
        assert_eq!(
            volume(r#"{"name":"x","size":"1"}"#),
            format!("{UNFIT}Error at \"/size\":Field must be set to string or not be present")
        );
        assert_eq!(
            volume(r#"{"name":7,"size":1}"#),
            format!(
                "{UNFIT}Error at \"/name\":Field must be set to number, integer or not be present"
            )
        );
        assert_eq!(
            volume(r#"{"name":"x","size":1.5}"#),
            format!("{UNFIT}Error at \"/size\":Value must be an integer")
        );
        assert_eq!(
            volume(r#"{"name":null,"size":1}"#),
            format!("{UNFIT}Error at \"/name\":Value is not nullable")
        );
        assert_eq!(volume(""), "Request body has an error: must have a value");
        assert_eq!(refusal::<Resize>("{}"), format!("{UNFIT}Property 'newSize' is missing"));
        assert_eq!(
            refusal::<NewAttachment>(r#"{"volumeId":"v"}"#),
            format!("{UNFIT}Property 'hostId' is missing")
        );
        let words = "JSON value is not one of the allowed values";
        assert_eq!(
            refusal::<NewAttachment>(r#"{"volumeId":"v","hostId":"h","attachMode":"xx"}"#),
            format!("{UNFIT}Error at \"/attachMode\":{words}")
        );
        assert_eq!(
            refusal::<NewProfile>(r#"{"name":"p","storageType":"Block"}"#),
            format!("{UNFIT}Error at \"/storageType\":{words}")
        );
        assert_eq!(
            refusal::<NewHost>(
                r#"{"hostName":"node_4","osType":"linux","ip":"10.0.0.4","accessMode":"agentless"}"#
            ),
            format!(
                "{UNFIT}Error at \"/hostName\":JSON string doesn't match the regular expression '{}'",
                r"^(([a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9\-]*[a-zA-Z0-9])\.)*([A-Za-z0-9]|[A-Za-z0-9][A-Za-z0-9\-]*[A-Za-z0-9])$"
            )
        );
    }

    #[test]
    fn refusals_deeper_down() {
        let profile = refusal::<NewProfile>;
        assert!(
            profile(
                r#"{"name":"p","provisioningProperties":{"dataStorage":{"storageAccessCapability":["Read","read"]}}}"#
            )
            .ends_with(
                "Error at \"/provisioningProperties/dataStorage/storageAccessCapability/1\":JSON value is not one of the allowed values"
            )
        );
        assert!(profile(r#"{"name":"ää"}"#).contains("regular expression '[A-Za-z0-9_-]'"));
        assert!(profile(r#"{"name":""}"#).ends_with("Minimum string length is 1"));
        let far = r#"{"name":"p","replicationProperties":{"dataProtection":{"#;
        assert!(
            profile(&format!("{far}\"RecoveryTimeObjective\":\"offline\"}}}}}}"))
                .contains("allowed")
        );
        // Only the document's own spelling is checked.
        assert!(
            decode::<NewProfile>(
                format!("{far}\"recoveryTimeObjective\":\"offline\"}}}}}}").as_bytes()
            )
            .is_ok()
        );
        let host = refusal::<HostUpdate>;
        assert!(host(r#"{"port":0}"#).ends_with("Number must be at least 1"));
        assert!(host(r#"{"port":65536}"#).ends_with("Number must be most 65535"));
        assert!(host(r#"{"availabilityZones":["a","a"]}"#).ends_with("Duplicate items found"));
        assert!(
            host(r#"{"initiators":[{"portName":"x","protocol":"scsi"}]}"#)
                .contains("/initiators/0/protocol")
        );
        assert!(refusal::<CustomProperties>("[]").ends_with("set to array or not be present"));
    }

    #[test]
    fn a_volume_in_any_case_with_everything_else_skipped() {
        let volume: NewVolume = decode(
            br#"{"id":"mine","Name":"v","SIZE":2,"multiAttach":true,"status":"inUse","metadata":{"A":"b"}}"#,
        )
        .unwrap();
        let expected = NewVolume {
            name: "v".into(),
            size: 2,
            multi_attach: true,
            metadata: BTreeMap::from([("A".into(), "b".into())]),
            ..NewVolume::default()
        };
        assert_eq!(volume, expected);
    }

    #[test]
    fn both_generations_of_attachments() {
        let second: NewAttachment =
            decode(br#"{"hostId":"h","volumeId":"v","attachMode":"ro","connectionInfo":{}}"#)
                .unwrap();
        assert_eq!(second.attach_mode, Some(AttachMode::ReadOnly));
        let first: NewAttachment = decode(
            br#"{"volumeId":"v","hostInfo":{"host":"node1","ip":"10.0.0.1","osType":"linux","initiator":"iqn.x"}}"#,
        )
        .unwrap();
        assert_eq!(first.host_info.unwrap().initiator, "iqn.x");
        assert!(refusal::<NewAttachment>(r#"{"volumeId":"v","hostInfo":{}}"#).contains("hostId"));
        let sole: NewAttachment =
            decode(br#"{"volumeId":"v","hostId":"h","sharing":"soleWriter"}"#).unwrap();
        assert_eq!(sole.sharing, Some(Sharing::SoleWriter));
    }

    #[test]
    fn the_seeds_own_profile_is_a_block_profile() {
        let profile: NewProfile = decode(
            br#"{"name": "multi-attach", "description": "multi attach profile","customProperties":{"capabilities:multiAttach":"<is> true"}}"#,
        )
        .unwrap();
        assert_eq!(profile.storage_type, "block");
        assert_eq!(profile.custom_properties.unwrap()["capabilities:multiAttach"], "<is> true");
    }

    #[test]
    fn updates_tell_absent_from_null_from_given() {
        let update: HostUpdate = decode(
            br#"{"availabilityZones":null,"initiators":[{"portName":"iqn.x","protocol":"iscsi"}]}"#,
        )
        .unwrap();
        assert_eq!(update.availability_zones, Given::Null);
        let initiator = Initiator { port_name: "iqn.x".into(), protocol: Protocol::Iscsi };
        assert_eq!(update.initiators, Given::Value(vec![initiator]));
        let update: HostUpdate = decode(br#"{"initiators":[]}"#).unwrap();
        assert_eq!(update.initiators, Given::Value(vec![]));
        assert!(update.availability_zones.is_absent());
    }

    #[test]
    fn a_fence_needs_no_body_and_an_explanation_needs_a_size() {
        assert_eq!(decode::<NewFence>(b"").unwrap(), NewFence::default());
        let asked = Explain { size: 3, profile_id: "p q".into(), ..Explain::default() };
        assert_eq!(asked.to_query(), "size=3&profileId=p%20q");
        assert_eq!(Explain::parse(&asked.to_query()).unwrap(), asked);
        assert!(Explain::parse("size=x").unwrap_err().to_string().contains("whole number"));
    }
}
