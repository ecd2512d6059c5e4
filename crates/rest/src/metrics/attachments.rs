//! One set of rows for each attachment that a target counts for.
//!
//! Rows are told apart by the ids of volume and host; what people know them by (names, pool, mode)
//! is in `osds_attachment_info` only, to be joined in where it is wanted. So a rename is not another
//! time series, and a row is short.

use std::borrow::Cow;
use std::fmt;

use osds_controller::{AttachmentFigures, Census};
use osds_model::usage::{Latency, Usage};

use super::page::{Labels, Page, bytes, family, seconds, secs};

pub(super) fn write(page: &mut Page<'_>, census: &Census) -> fmt::Result {
    let used: Vec<Row<'_>> = census.used.iter().map(Row::of).collect();
    page.info(
        &family("osds_attachment", "What an attachment is known by"),
        used.iter().map(Row::info),
    )?;
    page.gauge(
        &family("osds_attachment_sessions", "iSCSI sessions that are open"),
        one(&used, |usage| usage.sessions),
    )?;
    page.counter(
        &family("osds_attachment_logins", "iSCSI sessions that were let in"),
        one(&used, |usage| usage.logins),
    )?;
    page.counter(
        &family("osds_attachment_commands", "SCSI commands that ended well"),
        many(&used, "kind", commands),
    )?;
    page.counter(
        &family("osds_attachment_errors", "SCSI commands that did not end well"),
        many(&used, "kind", |usage| usage.errors.by_kind().to_vec()),
    )?;
    page.counter(
        &bytes("osds_attachment_read", "Bytes that reads gave"),
        one(&used, |usage| usage.read_bytes),
    )?;
    page.counter(
        &bytes("osds_attachment_written", "Bytes that were written"),
        one(&used, |usage| usage.written_bytes),
    )?;
    page.histogram(
        &seconds("osds_attachment_duration", "Time from a command's last byte to its answer"),
        used.iter().flat_map(|row| {
            latencies(row.usage).map(|(kind, latency)| (row.labels(Some(("kind", kind))), latency))
        }),
    )?;
    page.counter(
        &family("osds_attachment_throttled", "SCSI commands that a limit held back"),
        one(&used, |usage| usage.throttled),
    )?;
    page.counter(
        &seconds("osds_attachment_throttled", "Time for which a limit held commands back"),
        one(&used, |usage| secs(usage.throttled_for)),
    )?;
    page.gauge(
        &family("osds_attachments_left_out", "Attachments without metrics of their own"),
        [(Labels::new(), census.left_out)],
    )
}

struct Row<'a> {
    volume: String,
    host: String,
    figures: &'a AttachmentFigures,
    usage: &'a Usage,
}

impl<'a> Row<'a> {
    fn of(figures: &'a AttachmentFigures) -> Self {
        let (volume, host) = (figures.volume.to_string(), figures.host.to_string());
        Self { volume, host, figures, usage: &figures.usage }
    }

    fn labels(&self, more: Option<(&'static str, &'static str)>) -> Labels<'_> {
        let mut labels: Labels<'_> = Vec::with_capacity(3);
        labels.push(("volume_id", Cow::Borrowed(&self.volume)));
        labels.push(("host_id", Cow::Borrowed(&self.host)));
        labels.extend(more.map(|(name, value)| (name, Cow::Borrowed(value))));
        labels
    }

    fn info(&self) -> Labels<'_> {
        let figures = self.figures;
        let mut labels = self.labels(None);
        labels.push(("attachment_id", figures.id.to_string().into()));
        labels.push(("volume", figures.volume_name.as_str().into()));
        labels.push(("host", figures.host_name.as_str().into()));
        labels.push(("pool", figures.pool_name.as_str().into()));
        labels.push(("mode", figures.mode.as_str().into()));
        labels
    }
}

fn one<'r, V>(
    rows: &'r [Row<'_>],
    value: impl Fn(&Usage) -> V + 'r,
) -> impl Iterator<Item = (Labels<'r>, V)> {
    rows.iter().map(move |row| (row.labels(None), value(row.usage)))
}

fn many<'r>(
    rows: &'r [Row<'_>],
    label: &'static str,
    values: impl Fn(&Usage) -> Vec<(&'static str, u64)> + 'r,
) -> impl Iterator<Item = (Labels<'r>, u64)> {
    rows.iter().flat_map(move |row| {
        let each = values(row.usage).into_iter();
        each.map(|(kind, count)| (row.labels(Some((label, kind))), count))
    })
}

fn commands(usage: &Usage) -> Vec<(&'static str, u64)> {
    vec![
        ("read", usage.reads.count()),
        ("write", usage.writes.count()),
        ("compare_and_write", usage.compare_and_writes),
        ("flush", usage.flushes.count()),
        ("discard", usage.discards),
        ("other", usage.others),
    ]
}

fn latencies(usage: &Usage) -> [(&'static str, &Latency); 3] {
    [("read", &usage.reads), ("write", &usage.writes), ("flush", &usage.flushes)]
}
