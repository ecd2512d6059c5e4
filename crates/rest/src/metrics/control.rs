//! The control plane in figures: what is on record, how full the pools are, whether docks answer,
//! and how the loop gets on.
//!
//! Everything here is a handful of rows, but for two that have one for each pool and each exported
//! volume.

use std::borrow::Cow;
use std::fmt;

use osds_controller::{Census, DockFigures, PoolFigures};
use osds_model::Capacity;

use super::page::{Labels, Page, bytes, family, seconds, secs};

pub(super) fn write(page: &mut Page<'_>, census: &Census) -> fmt::Result {
    page.gauge(
        &family("osds_volumes", "Volumes"),
        census.volumes.iter().map(|(status, count)| (vec![label("status", *status)], *count)),
    )?;
    page.gauge(
        &family("osds_attachments", "Attachments"),
        census.attachments.iter().map(|((status, mode), count)| {
            (vec![label("status", *status), label("mode", mode.as_str())], *count)
        }),
    )?;
    page.gauge(&family("osds_hosts", "Registered hosts"), [(Labels::new(), census.hosts)])?;
    page.gauge(&family("osds_hosts_fenced", "Fenced hosts"), [(Labels::new(), census.fenced)])?;
    pools(page, &census.pools)?;
    docks(page, &census.docks)?;
    let did = &census.reconcile;
    page.counter(
        &family("osds_wishes", "Wishes that were sent to a dock"),
        [
            ("settled", did.settled),
            ("failing", did.failing),
            ("outdated", did.outdated),
            ("unrecorded", did.unrecorded),
        ]
        .map(|(outcome, count)| (vec![label("outcome", outcome)], count)),
    )?;
    page.counter(
        &seconds("osds_wishes", "Time for which docks worked on wishes"),
        [(Labels::new(), secs(did.took))],
    )?;
    page.gauge(
        &family("osds_reconcile_volumes", "Volumes that are worked on, or wait for it"),
        [(Labels::new(), did.tended)],
    )?;
    page.gauge(
        &family("osds_reconcile_workers_busy", "Volumes that docks work on"),
        [(Labels::new(), did.busy)],
    )?;
    page.counter(
        &family("osds_store_commits", "Commits to the records, since they were made"),
        [(Labels::new(), census.revision)],
    )
}

fn label<'a>(name: &'static str, value: impl Into<Cow<'a, str>>) -> (&'static str, Cow<'a, str>) {
    (name, value.into())
}

fn pools(page: &mut Page<'_>, pools: &[PoolFigures]) -> fmt::Result {
    fn of(pool: &PoolFigures) -> Labels<'_> {
        vec![label("pool_id", pool.id.to_string()), label("pool", pool.name.as_str())]
    }
    let sizes = |size: fn(&PoolFigures) -> Capacity| {
        pools.iter().map(move |pool| (of(pool), size(pool).bytes()))
    };
    page.gauge(&bytes("osds_pool_total", "What the backend has in all"), sizes(|pool| pool.total))?;
    page.gauge(
        &bytes("osds_pool_usable", "What volumes may take altogether"),
        sizes(|pool| pool.usable),
    )?;
    page.gauge(
        &bytes("osds_pool_allocated", "What is promised to volumes"),
        sizes(|pool| pool.allocated),
    )?;
    page.gauge(
        &family("osds_pool_available", "Whether its dock reported the pool the last time"),
        pools.iter().map(|pool| (of(pool), u64::from(pool.available))),
    )
}

fn docks(page: &mut Page<'_>, docks: &[DockFigures]) -> fmt::Result {
    fn of(dock: &DockFigures) -> Labels<'_> {
        vec![label("dock_id", dock.id.to_string()), label("dock", dock.name.as_str())]
    }
    let up = || docks.iter().filter(|dock| dock.up);
    page.gauge(
        &family("osds_dock_up", "Whether the dock answers"),
        docks.iter().map(|dock| (of(dock), u64::from(dock.up))),
    )?;
    page.gauge(
        &family("osds_target_connections", "iSCSI connections of all kinds"),
        up().map(|dock| (of(dock), dock.connections)),
    )?;
    page.gauge(
        &family("osds_target_strangers", "iSCSI connections that were let in to no volume"),
        up().map(|dock| (of(dock), dock.strangers)),
    )?;
    let refusals = up().flat_map(|dock| &dock.refusals);
    let elsewhere = up().filter_map(|dock| Some((dock, dock.refusals.get(&None)?)));
    page.counter(
        &family("osds_target_login_refusals", "Refused logins to what is no volume"),
        elsewhere.flat_map(|(dock, refused)| {
            refused.by_reason().map(|(reason, count)| {
                let mut labels = of(dock);
                labels.push(label("reason", reason));
                (labels, count)
            })
        }),
    )?;
    page.counter(
        &family("osds_volume_login_refusals", "Refused logins to a volume"),
        refusals.filter_map(|(volume, refused)| Some(((*volume)?, refused))).flat_map(
            |(volume, refused)| {
                refused.by_reason().map(|(reason, count)| {
                    (vec![label("volume_id", volume.to_string()), label("reason", reason)], count)
                })
            },
        ),
    )
}
