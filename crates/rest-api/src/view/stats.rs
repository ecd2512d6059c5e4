//! What a host did with a volume, for people: totals since it was let in, and how long its reads,
//! writes and flushes took. Ours; the original has nothing like it.
//!
//! Times are whole microseconds, quantiles are as exact as the target's buckets. Everything is
//! always said, a nought too: whoever computes with it should not have to know what may be absent.

use std::borrow::Cow;
use std::collections::BTreeMap;

use osds_model::usage::{Latency, Usage};
use osds_model::{Attachment, HostId, VolumeId};
use serde::{Deserialize, Serialize};

use crate::scalar::Id;

/// What the host of an attachment did since it was let in.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct AttachmentStatsView<'a> {
    /// The attachment.
    pub attachment_id: Id,
    /// Its volume.
    pub volume_id: Id,
    /// Its host.
    pub host_id: Id,
    /// `ro` or `rw`.
    pub attach_mode: Cow<'a, str>,
    /// Sessions at this moment.
    pub sessions: u64,
    /// Sessions that were let in.
    pub logins: u64,
    /// Reads that ended well.
    pub reads: u64,
    /// Bytes they gave.
    pub read_bytes: u64,
    /// How long they took.
    pub read_latency: LatencyView,
    /// Writes that ended well, compare-and-writes left out.
    pub writes: u64,
    /// Bytes that were written, by compare-and-writes too.
    pub written_bytes: u64,
    /// How long the writes took.
    pub write_latency: LatencyView,
    /// Flushes of caches that ended well.
    pub flushes: u64,
    /// How long they took.
    pub flush_latency: LatencyView,
    /// Compare-and-writes that wrote.
    pub compare_and_writes: u64,
    /// Commands that gave blocks back.
    pub discards: u64,
    /// All other commands that ended well.
    pub others: u64,
    /// Commands that a limit held back.
    pub throttled: u64,
    /// For how long altogether, in microseconds.
    pub throttled_micros: u64,
    /// Commands that did not end well, by reason; `write_protected` are writes of a host that may
    /// only read, `reservation_conflict` is what another host's reservation forbade.
    #[cfg_attr(feature = "openapi", schema(value_type = BTreeMap<String, u64>))]
    pub errors: BTreeMap<Cow<'a, str>, u64>,
}

/// How long commands took, in microseconds; nothing when there were none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct LatencyView {
    /// All of them together.
    pub total_micros: u64,
    /// Half of them were done within this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p50_micros: Option<u64>,
    /// 99 of 100 were done within this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p99_micros: Option<u64>,
}

impl LatencyView {
    fn of(latency: &Latency) -> Self {
        let micros =
            |duration: std::time::Duration| u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        Self {
            total_micros: micros(latency.total),
            p50_micros: latency.within(500).map(micros),
            p99_micros: latency.within(990).map(micros),
        }
    }
}

impl<'a> AttachmentStatsView<'a> {
    /// How the usage of an attachment looks.
    #[must_use]
    pub fn of(
        volume: VolumeId,
        host: HostId,
        attachment: &'a Attachment,
        usage: &'a Usage,
    ) -> Self {
        let errors = usage.errors.by_kind();
        Self {
            attachment_id: Id::of(attachment.id),
            volume_id: Id::of(volume),
            host_id: Id::of(host),
            attach_mode: attachment.mode.as_str().into(),
            sessions: usage.sessions,
            logins: usage.logins,
            reads: usage.reads.count(),
            read_bytes: usage.read_bytes,
            read_latency: LatencyView::of(&usage.reads),
            writes: usage.writes.count(),
            written_bytes: usage.written_bytes,
            write_latency: LatencyView::of(&usage.writes),
            flushes: usage.flushes.count(),
            flush_latency: LatencyView::of(&usage.flushes),
            compare_and_writes: usage.compare_and_writes,
            discards: usage.discards,
            others: usage.others,
            throttled: usage.throttled,
            throttled_micros: u64::try_from(usage.throttled_for.as_micros()).unwrap_or(u64::MAX),
            errors: errors.into_iter().map(|(kind, count)| (kind.into(), count)).collect(),
        }
    }
}
