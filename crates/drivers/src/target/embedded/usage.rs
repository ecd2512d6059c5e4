//! What hosts did, put together from what their initiators did.
//!
//! A host with several initiators is one host: their counters are summed. Initiators that no host is
//! on record for are left out, for nobody could say whose they are.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use osds_iscsi as iscsi;
use osds_iscsi::Name;
use osds_model::VolumeId;
use osds_model::usage::{Errors, Latency, LoginRefusals, TargetUsage, Usage, VolumeUsage};

use super::{Export, Inner, names};

impl Inner {
    pub(super) fn usage(&self) -> TargetUsage {
        // Before the lock: nobody who exports or grants waits for the counters to be read.
        let iscsi::TargetUsage { exports, refusals, connections, strangers } = self.target.usage();
        let mut counted: HashMap<Name, iscsi::ExportUsage> = exports.into_iter().collect();
        let mut volumes = BTreeMap::new();
        for (volume, export) in self.exports().iter() {
            let name = Name::new(&self.iqn(*volume)).ok();
            if let Some(counted) = name.and_then(|name| counted.remove(&name)) {
                volumes.insert(*volume, by_host(export, &counted));
            }
        }
        TargetUsage { volumes, refusals: refused(refusals), connections, strangers }
    }

    pub(super) fn usage_of(&self, volume: VolumeId) -> Option<VolumeUsage> {
        let counted = self.target.usage_of(&self.iqn(volume))?;
        self.exports().get(&volume).map(|export| by_host(export, &counted))
    }
}

fn by_host(export: &Export, counted: &iscsi::ExportUsage) -> VolumeUsage {
    let hosts = export.hosts.iter().map(|(host, admitted)| {
        let mut sum = iscsi::Usage::default();
        for name in names(&admitted.grant) {
            let name = Name::new(name).ok();
            if let Some(usage) = name.and_then(|name| counted.initiators.get(&name)) {
                sum.add(usage);
            }
        }
        (*host, usage(&sum))
    });
    VolumeUsage { hosts: hosts.collect(), refusals: refused(counted.refusals) }
}

fn usage(of: &iscsi::Usage) -> Usage {
    let iscsi::Usage {
        reads,
        writes,
        flushes,
        compare_and_writes,
        discards,
        others,
        read_bytes,
        written_bytes,
        errors,
        sessions,
        logins,
        throttled,
        throttled_nanos,
    } = of;
    Usage {
        reads: latency(reads),
        writes: latency(writes),
        flushes: latency(flushes),
        compare_and_writes: *compare_and_writes,
        discards: *discards,
        others: *others,
        read_bytes: *read_bytes,
        written_bytes: *written_bytes,
        errors: wrong(*errors),
        sessions: *sessions,
        logins: *logins,
        throttled: *throttled,
        throttled_for: Duration::from_nanos(*throttled_nanos),
    }
}

fn wrong(errors: iscsi::Errors) -> Errors {
    let iscsi::Errors {
        medium,
        reservation_conflict,
        write_protected,
        no_space,
        miscompare,
        aborted,
        busy,
        illegal_request,
        unit_attention,
        other,
    } = errors;
    Errors {
        medium,
        reservation_conflict,
        write_protected,
        no_space,
        miscompare,
        aborted,
        busy,
        illegal_request,
        unit_attention,
        other,
    }
}

fn latency(of: &iscsi::Latency) -> Latency {
    let bounds = iscsi::BOUNDS.iter().map(|nanos| Duration::from_nanos(*nanos));
    let beyond = of.counts.last().copied().unwrap_or_default();
    Latency {
        buckets: bounds.zip(of.counts).collect(),
        beyond,
        total: Duration::from_nanos(of.nanos),
    }
}

fn refused(refusals: iscsi::LoginRefusals) -> LoginRefusals {
    let iscsi::LoginRefusals { not_granted, authentication, no_room, other } = refusals;
    LoginRefusals { not_granted, authentication, no_room, other }
}
