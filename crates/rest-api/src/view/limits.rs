//! The limits on a volume's I/O as users see them: under the names, and in the units, by which
//! profiles ask for them. Ours; a volume without limits says nothing of them.
//!
//! Must stay true: what has no limit says nothing about limits, as in the original.

use std::num::NonZeroU64;

use osds_model::{IoLimits, IoRate};
use serde::{Deserialize, Serialize};

use super::is_zero;

/// Bytes in one MB, the unit of `maxBWS`.
const MB: u64 = 1_000_000;

/// The limits on a volume's I/O; what is left out is not limited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default)]
pub struct IoLimitsView {
    /// Commands a second, all hosts together.
    #[serde(rename = "maxIOPS", skip_serializing_if = "is_zero")]
    pub max_iops: u64,
    /// MB a second, all hosts together.
    #[serde(rename = "maxBWS", skip_serializing_if = "is_zero")]
    pub max_bws: u64,
    /// Commands a second, each host by itself.
    #[serde(rename = "maxIOPSPerHost", skip_serializing_if = "is_zero")]
    pub max_iops_per_host: u64,
    /// MB a second, each host by itself.
    #[serde(rename = "maxBWSPerHost", skip_serializing_if = "is_zero")]
    pub max_bws_per_host: u64,
}

impl IoLimitsView {
    /// How `limits` look; `None` when there are none.
    #[must_use]
    pub fn of(limits: &IoLimits) -> Option<Self> {
        let number = |limit: Option<NonZeroU64>| limit.map_or(0, NonZeroU64::get);
        (!limits.is_none()).then(|| Self {
            max_iops: number(limits.volume.iops),
            max_bws: number(limits.volume.bytes_per_second) / MB,
            max_iops_per_host: number(limits.each_host.iops),
            max_bws_per_host: number(limits.each_host.bytes_per_second) / MB,
        })
    }

    /// The limits that these numbers are; 0 is none.
    #[must_use]
    pub fn to_limits(self) -> IoLimits {
        let rate = |iops, megabytes: u64| IoRate {
            iops: NonZeroU64::new(iops),
            bytes_per_second: NonZeroU64::new(megabytes.saturating_mul(MB)),
        };
        IoLimits {
            volume: rate(self.max_iops, self.max_bws),
            each_host: rate(self.max_iops_per_host, self.max_bws_per_host),
        }
    }

    /// In words, such as `500 IOPS, 10 MB/s; each host 100 IOPS`.
    #[must_use]
    pub fn to_words(&self) -> String {
        let rate = |iops: u64, bandwidth: u64| {
            let said = [(iops, "IOPS"), (bandwidth, "MB/s")].into_iter().filter(|(n, _)| *n > 0);
            said.map(|(n, unit)| format!("{n} {unit}")).collect::<Vec<_>>().join(", ")
        };
        let each = rate(self.max_iops_per_host, self.max_bws_per_host);
        let each = if each.is_empty() { each } else { format!("each host {each}") };
        let all = [rate(self.max_iops, self.max_bws), each];
        all.into_iter().filter(|said| !said.is_empty()).collect::<Vec<_>>().join("; ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(iops: u64, mb: u64) -> IoRate {
        IoRate { iops: NonZeroU64::new(iops), bytes_per_second: NonZeroU64::new(mb * MB) }
    }

    #[test]
    fn what_is_not_limited_is_not_there() {
        assert_eq!(IoLimitsView::of(&IoLimits::NONE), None);
        let shown = |volume, each_host| {
            let view = IoLimitsView::of(&IoLimits { volume, each_host }).unwrap();
            (serde_json::to_string(&view).unwrap(), view.to_words())
        };
        let (json, words) = shown(rate(500, 0), IoRate::NONE);
        assert_eq!((&*json, &*words), (r#"{"maxIOPS":500}"#, "500 IOPS"));
        let (json, words) = shown(rate(500, 10), rate(0, 3));
        assert_eq!(json, r#"{"maxIOPS":500,"maxBWS":10,"maxBWSPerHost":3}"#);
        assert_eq!(words, "500 IOPS, 10 MB/s; each host 3 MB/s");
        let back = serde_json::from_str::<IoLimitsView>(&json).unwrap().to_limits();
        assert_eq!(back, IoLimits { volume: rate(500, 10), each_host: rate(0, 3) });
        let (json, words) = shown(IoRate::NONE, rate(7, 0));
        assert_eq!((&*json, &*words), (r#"{"maxIOPSPerHost":7}"#, "each host 7 IOPS"));
    }
}
