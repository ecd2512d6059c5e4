//! Writing families of metrics from plain numbers.
//!
//! A family is always written, also without a single row: what there is to know of does not depend
//! on what there is just now. Escaping is the encoder's: values of labels may be any text.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use prometheus_client::encoding::{
    DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, MetricEncoder, NoLabelSet,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;

/// The labels of one row.
pub(super) type Labels<'a> = Vec<(&'static str, Cow<'a, str>)>;

/// A name and what it means. Units and suffixes (`_bytes`, `_total`) are added by the encoder.
pub(super) struct Family {
    pub(super) name: &'static str,
    pub(super) help: &'static str,
    pub(super) unit: Option<Unit>,
}

/// A family without a unit.
pub(super) const fn family(name: &'static str, help: &'static str) -> Family {
    Family { name, help, unit: None }
}

/// A family in seconds.
pub(super) const fn seconds(name: &'static str, help: &'static str) -> Family {
    Family { name, help, unit: Some(Unit::Seconds) }
}

/// A family in bytes.
pub(super) const fn bytes(name: &'static str, help: &'static str) -> Family {
    Family { name, help, unit: Some(Unit::Bytes) }
}

/// The page that is being written.
pub(super) struct Page<'a>(DescriptorEncoder<'a>);

impl<'a> Page<'a> {
    pub(super) fn new(encoder: DescriptorEncoder<'a>) -> Self {
        Self(encoder)
    }

    pub(super) fn counter<'l, V: EncodeCounterValue>(
        &mut self,
        family: &Family,
        rows: impl IntoIterator<Item = (Labels<'l>, V)>,
    ) -> fmt::Result {
        self.rows(family, MetricType::Counter, rows, |metric, value| {
            metric.encode_counter::<NoLabelSet, V, f64>(&value, None)
        })
    }

    pub(super) fn gauge<'l, V: EncodeGaugeValue>(
        &mut self,
        family: &Family,
        rows: impl IntoIterator<Item = (Labels<'l>, V)>,
    ) -> fmt::Result {
        self.rows(family, MetricType::Gauge, rows, |metric, value| metric.encode_gauge(&value))
    }

    /// A histogram's buckets, and all its durations together.
    pub(super) fn histogram<'l, 'h>(
        &mut self,
        family: &Family,
        rows: impl IntoIterator<Item = (Labels<'l>, &'h osds_model::usage::Latency)>,
    ) -> fmt::Result {
        self.rows(family, MetricType::Histogram, rows, |metric, latency| {
            let ends = latency.buckets.iter().map(|(to, count)| (to.as_secs_f64(), *count));
            let buckets: Vec<_> = ends.chain([(f64::INFINITY, latency.beyond)]).collect();
            let (sum, count) = (latency.total.as_secs_f64(), latency.count());
            metric.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
        })
    }

    /// One row for each set of labels; the value is always 1.
    pub(super) fn info<'l>(
        &mut self,
        family: &Family,
        rows: impl IntoIterator<Item = Labels<'l>>,
    ) -> fmt::Result {
        let descriptor = self.0.encode_descriptor(family.name, family.help, None, MetricType::Info);
        let mut metric = descriptor?;
        rows.into_iter().try_for_each(|labels| metric.encode_info(&labels))
    }

    fn rows<'l, V>(
        &mut self,
        family: &Family,
        kind: MetricType,
        rows: impl IntoIterator<Item = (Labels<'l>, V)>,
        write: impl Fn(&mut MetricEncoder<'_>, V) -> fmt::Result,
    ) -> fmt::Result {
        let Family { name, help, unit } = family;
        let mut metric = self.0.encode_descriptor(name, help, unit.as_ref(), kind)?;
        for (labels, value) in rows {
            // No labels, no braces: some who read the format by hand do not expect empty ones.
            if labels.is_empty() {
                write(&mut metric, value)?;
            } else {
                write(&mut metric.encode_family(&labels)?, value)?;
            }
        }
        Ok(())
    }
}

/// A duration as the value of a counter.
pub(super) fn secs(duration: Duration) -> f64 {
    duration.as_secs_f64()
}
