//! Stories: what users and mishaps do, a line each, and what is seen. Written so that a person can
//! check the expected text against the design without knowing the code.
//!
//! ```text
//! hosts A B                     create V 10 shared|single      extend V 20     delete V
//! attach V A rw|ro [exclusive]  detach V A    force V A        fence A         unfence A
//! fail grant|revoke|create|extend|offer|delete       heal               restart         settle
//! lose export V                 lose volume V                  intrude V A
//! show V                        served V                       write V A       pools
//! ```
//! Refusals are part of the text. Waiting is `settle`; nothing sleeps.

use std::fmt::Write as _;

use osds_drivers::fake::{Op, When};
use osds_drivers::{ExportFacts, TargetDriver};
use osds_lifecycle::status;
use osds_model::{AttachMode, FaultKind, Grant, Host, Pool, Sharing, Volume};

use crate::cluster::{Cluster, SHARED_POOL, SINGLE_POOL, quick};

/// Tells a story to a fresh cluster; the answer is what was seen.
///
/// # Panics
/// When a line cannot be understood: the story is wrong, not the cluster.
pub async fn tell(story: &str) -> String {
    let mut cluster = Cluster::start(quick()).await;
    let mut seen = String::new();
    for line in story.lines().flat_map(|line| line.split(';')).map(str::trim) {
        if line.is_empty() {
            continue;
        }
        cluster = tell_line(cluster, line, &mut seen).await;
    }
    cluster.controller.stop().await;
    seen
}

async fn tell_line(cluster: Cluster, line: &str, seen: &mut String) -> Cluster {
    let words: Vec<&str> = line.split_whitespace().collect();
    let admin = Cluster::admin();
    let volume = |name: &str| cluster.volume(name).unwrap_or_else(|| panic!("{line}: no volume"));
    let host = |name: &str| cluster.host(name).unwrap_or_else(|| panic!("{line}: no host"));
    let control = &cluster.controller;
    let refused = match words.as_slice() {
        ["hosts", names @ ..] => {
            for name in names {
                cluster.add_host(name).await.unwrap_or_else(|error| panic!("{line}: {error}"));
            }
            None
        }
        ["create", name, gib, kind] => {
            let gib = gib.parse().unwrap_or_else(|_| panic!("{line}: size"));
            cluster.add_volume(name, gib, *kind == "shared").await.err()
        }
        ["attach", name, who, mode, rest @ ..] => {
            let sharing = match rest {
                ["exclusive"] => Sharing::Exclusive,
                ["soleWriter"] => Sharing::SoleWriter,
                _ => Sharing::Shared,
            };
            let mode: AttachMode = mode.parse().unwrap_or_else(|_| panic!("{line}: mode"));
            cluster.attach(volume(name).id, &host(who), mode, sharing).await.err()
        }
        ["detach" | "force", name, who] => {
            let held = volume(name).state.attachments.get(&host(who).id).map(|a| a.id.to_string());
            let id = held.unwrap_or_else(|| panic!("{line}: not attached"));
            control.detach(&admin, &id, words[0] == "force").await.err()
        }
        ["extend", name, gib] => {
            let gib = gib.parse().unwrap_or_else(|_| panic!("{line}: size"));
            control.extend_volume(&admin, &volume(name).id.to_string(), gib).await.err()
        }
        ["delete", name] => control.delete_volume(&admin, &volume(name).id.to_string()).await.err(),
        ["fence", who] => {
            control.fence_host(&admin, &host(who).id.to_string(), "story").await.err()
        }
        ["unfence", who] => control.unfence_host(&admin, &host(who).id.to_string()).await.err(),
        ["settle"] => {
            cluster.settle().await;
            None
        }
        ["restart"] => return cluster.restart().await,
        _ => {
            mishap_or_look(&cluster, &words, line, seen).await;
            None
        }
    };
    if let Some(error) = refused {
        let _ = writeln!(seen, "{line}: {}", by_name(&cluster, &error.to_string()));
    }
    cluster
}

async fn mishap_or_look(cluster: &Cluster, words: &[&str], line: &str, seen: &mut String) {
    let volume = |name: &str| cluster.volume(name).unwrap_or_else(|| panic!("{line}: no volume"));
    let host = |name: &str| cluster.host(name).unwrap_or_else(|| panic!("{line}: no host"));
    match words {
        ["fail", "grant"] => {
            cluster.target.faults.fail_all(Op::Grant, When::Before, FaultKind::Temporary);
        }
        ["fail", "revoke"] => {
            cluster.target.faults.fail_all(Op::Revoke, When::Before, FaultKind::Temporary);
        }
        ["fail", "create"] => {
            cluster.storage.faults.fail_all(Op::Create, When::Before, FaultKind::Temporary);
        }
        ["fail", "extend"] => {
            cluster.storage.faults.fail_all(Op::Extend, When::Before, FaultKind::NoSpace);
        }
        ["fail", "offer"] => {
            cluster.target.faults.fail_all(Op::Resized, When::Before, FaultKind::Temporary);
        }
        ["fail", "delete"] => {
            cluster.storage.faults.fail_all(Op::Delete, When::Before, FaultKind::Temporary);
        }
        ["heal"] => {
            cluster.target.faults.heal();
            cluster.storage.faults.heal();
            cluster.heal().await;
        }
        ["lose", "export", name] => drop(cluster.target.lose(volume(name).id)),
        ["lose", "volume", name] => {
            let id = volume(name).id;
            let _ = cluster.storage.lose(SHARED_POOL, id) || cluster.storage.lose(SINGLE_POOL, id);
        }
        ["intrude", name, who] => {
            let host = host(who);
            let initiators = host.initiators.clone();
            let grant = Grant { mode: AttachMode::ReadWrite, initiators, authentication: None };
            cluster.target.intrude(volume(name).id, host.id, grant);
        }
        ["show", name] => show(cluster, name, seen),
        ["served", name] => served(cluster, volume(name).as_ref(), seen).await,
        ["write", name, who] => {
            let outcome = cluster.target.write_as(host(who).id, volume(name).id, 0, b"x");
            let text = outcome.map_or_else(|denied| denied.to_string(), |()| "written".to_owned());
            let _ = writeln!(seen, "write {name} {who}: {text}");
        }
        ["pools"] => {
            for pool in cluster.store.view().iter::<Pool>() {
                let _ = writeln!(seen, "{} allocated {}", pool.spec.name, pool.allocated);
            }
        }
        _ => panic!("not understood: {line}"),
    }
}

fn show(cluster: &Cluster, name: &str, seen: &mut String) {
    let Some(volume) = cluster.volume(name) else {
        let _ = writeln!(seen, "{name} is gone");
        return;
    };
    let _ =
        writeln!(seen, "{name} {}{}", status::volume(&volume.state), because(&volume.state.fault));
    let hosts = names(cluster);
    let mut lines: Vec<String> = volume
        .state
        .attachments
        .iter()
        .map(|(id, held)| {
            let who = hosts.iter().find(|(host, _)| host == id).map_or("?", |(_, name)| name);
            format!("  {who} {} {}{}", held.mode, status::attachment(held), because(&held.fault))
        })
        .collect();
    lines.sort();
    for line in lines {
        let _ = writeln!(seen, "{line}");
    }
}

async fn served(cluster: &Cluster, volume: &Volume, seen: &mut String) {
    let export: Option<ExportFacts> = cluster.target.export_of(volume.id).await.unwrap_or_default();
    let hosts = names(cluster);
    let mut who: Vec<String> = export
        .map(|export| export.hosts)
        .unwrap_or_default()
        .iter()
        .map(|(id, facts)| {
            let name = hosts.iter().find(|(host, _)| host == id).map_or("?", |(_, name)| name);
            format!("{name} {}", facts.grant.mode)
        })
        .collect();
    who.sort();
    let list = if who.is_empty() { "nobody".to_owned() } else { who.join(", ") };
    let _ = writeln!(seen, "{} serves {list}", volume.name);
}

fn names(cluster: &Cluster) -> Vec<(osds_model::HostId, String)> {
    cluster.store.view().iter::<Host>().map(|h| (h.id, h.name.clone())).collect()
}

/// Ids differ from run to run; names do not.
fn by_name(cluster: &Cluster, text: &str) -> String {
    let view = cluster.store.view();
    let hosts = view.iter::<Host>().map(|h| (h.id.to_string(), "<id>"));
    let volumes = view.iter::<Volume>().map(|v| (v.id.to_string(), "<id>"));
    hosts.chain(volumes).fold(text.to_owned(), |text, (id, name)| text.replace(&id, name))
}

fn because(fault: &Option<osds_model::Fault>) -> String {
    fault.as_ref().map_or_else(String::new, |fault| format!(" because {}", fault.kind))
}
