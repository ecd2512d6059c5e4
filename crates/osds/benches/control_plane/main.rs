//! The control plane's figures: the real daemon over real HTTP, each figure beside its baseline in
//! the same run.
//!
//! The daemon is a child process on the embedded store, with the file driver and the built-in
//! target really granting. The load is 32 blocking clients in this process, on the same cores, so
//! that figures are what one small machine does in all. Baselines: a bare route of the same HTTP
//! stack (this program again, as a child), and a bare write and fdatasync on the same disk.
//!
//! `cargo xtask bench [-- --quick]`

mod bare;
mod http;
mod load;
mod process;

use std::path::Path;
use std::time::{Duration, Instant};

use load::{Figures, run};
use osds_testkit::daemon::Daemon;
use process::Usage;

const TENANT: &str = "/v1beta/e93b4c0934da416eb9c8d120c5d04d96";
/// A tenant of few volumes among many.
const OTHER: &str = "/v1beta/few";
const OTHERS: usize = 100;
const CLIENTS: usize = 32;

/// How much is done.
#[derive(Clone, Copy)]
struct Scale {
    /// Volumes on record while lists are measured.
    volumes: usize,
    /// Volumes created, attached, detached and deleted.
    cycle: usize,
    /// Volumes on record while lists are measured again.
    many: usize,
    /// How long reads are measured.
    time: Duration,
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if arguments.iter().any(|a| a == "bare-route") {
        return bare::serve();
    }
    let quick = arguments.iter().any(|a| a == "--quick");
    let scale = if quick {
        Scale { volumes: 1000, cycle: 500, many: 10_000, time: Duration::from_millis(500) }
    } else {
        Scale { volumes: 10_000, cycle: 4000, many: 100_000, time: Duration::from_secs(3) }
    };
    let home = tempfile::tempdir().expect("a temporary directory");
    measure(scale, home.path());
}

fn measure(scale: Scale, home: &Path) {
    let config = write_config(home);
    let program = Path::new(env!("CARGO_BIN_EXE_osds"));
    let daemon = Daemon::start_with(program, home, &["--config", &config]).expect("a daemon");
    println!("ready after {:.0} ms, empty", daemon.ready_after.as_secs_f64() * 1e3);
    let api = daemon.api.trim_start_matches("http://").to_owned();
    let usage = || Usage::of(daemon.id());
    println!("RSS empty: {:.1} MiB\n", usage().rss_mib());
    println!("{}", Figures::header());

    let sync = load::fdatasync_loop(home, scale.time);
    println!("{}", sync.row("bare write + fdatasync, 1 thread", None));

    let hosts: Vec<String> = (0..CLIENTS).map(|n| add_host(&api, n)).collect();
    let before = usage();
    let (created, ids) = create(&api, scale.volumes);
    let row = created.with_cpu(before.until(&usage()));
    println!("{}", row.row("create to available", Some(&sync)));

    let bare = bare::start();
    let bare_usage = || Usage::of(bare.id());
    let before = bare_usage();
    let bare_route = run(CLIENTS, scale.time, |client, _| client_get(client, &bare.address, "/"))
        .with_cpu(before.until(&bare_usage()));
    println!("{}", bare_route.row("bare route of the same stack", None));
    let read = |name: &str, path: &(dyn Fn(u64) -> String + Sync)| {
        let before = usage();
        let figures = run(CLIENTS, scale.time, |client, n| client_get(client, &api, &path(n)))
            .with_cpu(before.until(&usage()));
        println!("{}", figures.row(name, Some(&bare_route)));
        let alone = run(1, scale.time / 3, |client, n| client_get(client, &api, &path(n)));
        println!("{}", alone.row("  the same, one client", None));
    };
    read("GET volume", &|n| {
        let id = &ids[usize::try_from(n.wrapping_mul(2_654_435_761)).unwrap_or(0) % ids.len()];
        format!("{TENANT}/block/volumes/{id}")
    });
    let other = create_for(&api, OTHER, OTHERS).1;
    let few = lists(&volume_lists(scale.volumes), &api, scale.time, &[&bare_route]);
    println!("RSS with {} volumes: {:.1} MiB", scale.volumes, usage().rss_mib());

    let cycle: Vec<String> = ids.iter().take(scale.cycle).cloned().collect();
    let before = usage();
    let (attached, attachments) = attach(&api, &cycle, &hosts);
    let attached = attached.with_cpu(before.until(&usage()));
    println!("{}", attached.row("attach to available", Some(&sync)));
    println!("RSS with {} of them attached: {:.1} MiB", cycle.len(), usage().rss_mib());
    let of_attachments = |volumes: &[String]| attachment_lists(&volumes[0], &hosts[0]);
    let few_attached = lists(&of_attachments(&cycle), &api, scale.time, &[&bare_route]);
    let path = |id: &String| format!("{TENANT}/block/attachments/{id}");
    let before = usage();
    let detached = remove(&api, &attachments, path).with_cpu(before.until(&usage()));
    println!("{}", detached.row("detach until gone", Some(&sync)));
    let kept = &ids[cycle.len()..];
    let before = usage();
    let taken = take_snapshots(&api, kept, scale.volumes).with_cpu(before.until(&usage()));
    println!("{}", taken.row("snapshot to available", Some(&sync)));
    let few_taken = lists(&snapshot_lists(&kept[0]), &api, scale.time, &[&bare_route]);
    let path = |id: &String| format!("{TENANT}/block/volumes/{id}");
    let before = usage();
    let deleted = remove(&api, &cycle, path).with_cpu(before.until(&usage()));
    println!("{}", deleted.row("delete until gone", Some(&sync)));
    let mut daemon = daemon;
    daemon.kill().expect("it can be killed");
    daemon.restart().expect("it starts again");
    println!(
        "ready after {:.0} ms, with {} volumes, after kill -9",
        daemon.ready_after.as_secs_f64() * 1e3,
        scale.volumes + other.len() - cycle.len()
    );
    let left = scale.volumes + other.len() - cycle.len();
    let more = create(&api, scale.many - left).1;
    println!("\nwith {} volumes; the baseline is the same with {}:", scale.many, scale.volumes);
    println!("{}", Figures::header());
    lists(&volume_lists(scale.many), &api, scale.time, &few.iter().collect::<Vec<_>>());
    println!("RSS with {} volumes: {:.1} MiB", scale.many, Usage::of(daemon.id()).rss_mib());
    let figures = take_snapshots(&api, &more, scale.many - scale.volumes);
    println!("{}", figures.row("snapshot to available", Some(&taken)));
    println!("with {} snapshots; the baseline is the same with {}:", scale.many, scale.volumes);
    let of_snapshots = snapshot_lists(&more[0]);
    lists(&of_snapshots, &api, scale.time, &few_taken.iter().collect::<Vec<_>>());
    println!("RSS then: {:.1} MiB", Usage::of(daemon.id()).rss_mib());
    let held = &more[..(scale.cycle * 4).min(more.len())];
    let figures = attach(&api, held, &hosts).0;
    println!("{}", figures.row("attach to available", Some(&attached)));
    println!("with {} attachments; the baseline is the same with {}:", held.len(), cycle.len());
    lists(&of_attachments(held), &api, scale.time, &few_attached.iter().collect::<Vec<_>>());
    println!("RSS then: {:.1} MiB", Usage::of(daemon.id()).rss_mib());
}

/// Pages of 50 of volumes.
fn volume_lists(volumes: usize) -> Vec<(&'static str, String)> {
    let of = |tenant: &str, query: &str| format!("{tenant}/block/volumes?limit=50&{query}");
    vec![
        ("volumes, page of 50", of(TENANT, "offset=0&sortDir=desc&sortKey=id")),
        ("  from the middle", of(TENANT, &format!("offset={}", volumes / 2))),
        ("  by name", of(TENANT, "Name=v777")),
        ("  by name and status", of(TENANT, "Status=available&Name=v777")),
        ("  by tenant, one of few", of(TENANT, "tenantId=few")),
        ("  by tenant and status", of(TENANT, "tenantId=few&status=available")),
        ("  by a status of all", of(TENANT, "status=available")),
        ("  by a status of none", of(TENANT, "status=error")),
        ("  by a field without an index", of(TENANT, "availabilityZone=none")),
        ("  by name, sorted", of(TENANT, "sortKey=name&sortDir=asc")),
        ("  as a tenant of few", of(OTHER, "offset=20")),
        ("  as a tenant of few, by status", of(OTHER, "status=available")),
    ]
}

/// Pages of 50 of attachments, and of hosts.
fn attachment_lists(volume: &str, host: &str) -> Vec<(&'static str, String)> {
    let of = |query: &str| format!("{TENANT}/block/attachments?limit=50&{query}");
    vec![
        ("attachments, page of 50", of("offset=0&sortDir=desc&sortKey=id")),
        ("  by volume", of(&format!("volumeId={volume}"))),
        ("  by host, one of 32", of(&format!("hostId={host}"))),
        ("  by host and status", of(&format!("hostId={host}&status=available"))),
        ("  by host and a status of none", of(&format!("hostId={host}&status=error"))),
        ("  by a status of none", of("status=error")),
        ("  as a tenant of none", format!("{OTHER}/block/attachments?limit=50")),
        ("hosts by name", format!("{TENANT}/host/hosts?hostName=host7")),
    ]
}

/// Pages of 50 of snapshots.
fn snapshot_lists(volume: &str) -> Vec<(&'static str, String)> {
    let of = |query: &str| format!("{TENANT}/block/snapshots?limit=50&{query}");
    vec![
        ("snapshots, page of 50", of("offset=0&sortDir=desc&sortKey=id")),
        ("  by volume", of(&format!("volumeId={volume}"))),
        ("  by name", of("Name=s777")),
        ("  by a status of all", of("status=available")),
        ("  by a status of none", of("status=error")),
        ("  as a tenant of none", format!("{OTHER}/block/snapshots?limit=50")),
    ]
}

/// Each list beside its baseline.
fn lists(
    asked: &[(&str, String)],
    api: &str,
    time: Duration,
    baselines: &[&Figures],
) -> Vec<Figures> {
    let all = asked.iter().zip(baselines.iter().cycle()).map(|((name, path), baseline)| {
        let figures = run(CLIENTS, time, |client, _| client_get(client, api, path));
        println!("{}", figures.row(name, Some(baseline)));
        figures
    });
    all.collect()
}

/// Pools that promise much more than this disk has, one alone not enough: the volumes stay empty.
fn write_config(home: &Path) -> String {
    let mut yaml = "baseDir: pools\npool:\n".to_owned();
    for number in 0..8 {
        yaml += &format!(
            "  bench{number}:\n    storageType: block\n    multiAttach: true\n    \
             maxOverSubscriptionRatio: 1000\n"
        );
    }
    let toml = "data_dir = \".\"\n[log]\nlevel = \"warn\"\n[[backend]]\nname = \"bench\"\n\
                driver = \"file\"\nconfig = \"bench.yaml\"\n[backend.iscsi]\n\
                listen = [\"127.0.0.1:0\"]\n";
    std::fs::write(home.join("bench.yaml"), yaml).expect("a file can be written");
    std::fs::write(home.join("osds.toml"), toml).expect("a file can be written");
    home.join("osds.toml").display().to_string()
}

fn client_get(client: &mut http::Client, address: &str, path: &str) {
    let answer = client.request(address, "GET", path, "", false);
    assert_eq!(answer.status, 200, "GET {path}: {}", answer.body);
}

fn add_host(api: &str, number: usize) -> String {
    let body = format!(
        r#"{{"hostName":"host{number}","osType":"linux","accessMode":"agentless","ip":"10.0.0.1",
            "initiators":[{{"portName":"iqn.2026-11.bench:{number}","protocol":"iscsi"}}]}}"#
    );
    let path = format!("{TENANT}/host/hosts");
    let answer = http::Client::default().request(api, "POST", &path, &body, false);
    assert_eq!(answer.status, 200, "{}", answer.body);
    http::field(&answer.body, "id").to_owned()
}

fn create(api: &str, count: usize) -> (Figures, Vec<String>) {
    create_for(api, TENANT, count)
}

fn create_for(api: &str, tenant: &str, count: usize) -> (Figures, Vec<String>) {
    let path = format!("{tenant}/block/volumes");
    load::each(CLIENTS, count, |client, number| {
        let body = format!(r#"{{"name":"v{number}","size":1}}"#);
        wished(client, api, &path, &body)
    })
}

fn attach(api: &str, volumes: &[String], hosts: &[String]) -> (Figures, Vec<String>) {
    let path = format!("{TENANT}/block/attachments");
    load::each(CLIENTS, volumes.len(), |client, number| {
        let (volume, host) = (&volumes[number], &hosts[number % hosts.len()]);
        wished(client, api, &path, &format!(r#"{{"volumeId":"{volume}","hostId":"{host}"}}"#))
    })
}

fn take_snapshots(api: &str, volumes: &[String], count: usize) -> Figures {
    let path = format!("{TENANT}/block/snapshots");
    let taken = load::each(CLIENTS, count, |client, number| {
        let volume = &volumes[number % volumes.len()];
        wished(client, api, &path, &format!(r#"{{"name":"s{number}","volumeId":"{volume}"}}"#))
    });
    taken.0
}

/// Asks for something and waits until it is available; its id.
fn wished(client: &mut http::Client, api: &str, path: &str, body: &str) -> String {
    let answer = client.request(api, "POST", path, body, true);
    assert_eq!(answer.status, 202, "{}", answer.body);
    assert_eq!(http::field(&answer.body, "status"), "available", "{}", answer.body);
    http::field(&answer.body, "id").to_owned()
}

fn remove(api: &str, ids: &[String], path: impl Fn(&String) -> String + Sync) -> Figures {
    let began = Instant::now();
    let (figures, _) = load::each(CLIENTS, ids.len(), |client, number| {
        let answer = client.request(api, "DELETE", &path(&ids[number]), "", true);
        assert_eq!(answer.status, 202, "{}", answer.body);
        String::new()
    });
    let last = ids.last().map(path).unwrap_or_default();
    let answer = http::Client::default().request(api, "GET", &last, "", false);
    assert_eq!(answer.status, 404, "gone means gone ({:?} later)", began.elapsed());
    figures
}
