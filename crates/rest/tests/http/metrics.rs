//! The metrics: the page and the book agree, the numbers are what was done, and whoever scrapes, or
//! asks for nonsense, makes nothing grow.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use osds_drivers::fake::{FakeTarget, Op, When};
use osds_model::{HostId, VolumeId};
use osds_rest::{Limits, MetricsSettings, Requests};
use tokio::net::TcpListener;

use crate::client::{Answer, Client};
use crate::scene::{Scene, Setup, T, WAIT};

const BOOK: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/book/src/metrics.md");

fn serve(scene: &Scene, settings: MetricsSettings, limits: Limits) -> SocketAddr {
    let router = osds_rest::metrics_router(scene.controller.clone(), settings);
    let bind = TcpListener::bind("127.0.0.1:0");
    let listener = scene.runtime().block_on(bind).unwrap();
    let address = listener.local_addr().unwrap();
    scene.runtime().spawn(osds_rest::serve(listener, None, router, limits, std::future::pending()));
    address
}

/// Always what is so just now.
fn fresh(requests: Requests) -> MetricsSettings {
    MetricsSettings { requests, fresh_for: Duration::ZERO, ..MetricsSettings::default() }
}

fn scrape(address: SocketAddr) -> Answer {
    Client::connect(address).request("GET", "/metrics", &[], None).expect(200)
}

#[track_caller]
fn row(page: &str, row: &str) -> f64 {
    let found = page.lines().find_map(|line| line.strip_prefix(row)?.strip_prefix(' '));
    found.unwrap_or_else(|| panic!("no {row} in\n{page}")).parse().unwrap()
}

/// A volume of a writer and a reader, as ids: volume, both hosts, both attachments.
fn shared(scene: &Scene) -> (VolumeId, [HostId; 2], [String; 2]) {
    let post = |path: &str, body: &str| {
        Client::connect(scene.address).request("POST", path, &[WAIT], Some(body.as_bytes()))
    };
    let volume =
        post(&format!("{T}/block/volumes"), r#"{"name":"disk","size":1,"multiAttach":true}"#);
    let volume = volume.expect(202).id();
    let attach = |name: &str, mode: &str| {
        let host = format!(
            r#"{{"hostName":"{name}","osType":"linux","accessMode":"agentless","ip":"127.0.0.1",
               "initiators":[{{"portName":"iqn.2026-11.test:{name}","protocol":"iscsi"}}]}}"#
        );
        let host = scene.post(&format!("{T}/host/hosts"), &host).id();
        let body = format!(r#"{{"volumeId":"{volume}","hostId":"{host}","attachMode":"{mode}"}}"#);
        let attachment = post(&format!("{T}/block/attachments"), &body).expect(202);
        assert_eq!(attachment.text("status"), "available");
        (host.parse().unwrap(), attachment.id())
    };
    let (a, held_a) = attach("a", "rw");
    let (b, held_b) = attach("b", "ro");
    (volume.parse().unwrap(), [a, b], [held_a, held_b])
}

#[test]
fn the_book_lists_what_is_served() {
    let requests = Requests::default();
    let scene = Scene::of(Setup { requests: requests.clone(), ..Setup::default() });
    scene.get("/v1beta").expect(200);
    let page = scrape(serve(&scene, fresh(requests), Limits::default()));
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    assert_eq!(page.content_type(), kind);
    assert!(page.body.ends_with("# EOF\n"));
    let served: BTreeSet<(String, String)> = page
        .body
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '))
        .map(|(name, kind)| {
            let suffix = match kind {
                "counter" => "_total",
                "info" => "_info",
                _ => "",
            };
            (format!("{name}{suffix}"), kind.to_owned())
        })
        .collect();
    let book = std::fs::read_to_string(BOOK).unwrap();
    let listed: BTreeSet<(String, String)> = book
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once("` | "))
        .filter_map(|(name, rest)| Some((name.to_owned(), rest.split_once(' ')?.0.to_owned())))
        .collect();
    assert_eq!(served, listed, "docs/book/src/metrics.md and the endpoint differ");
    assert!(served.len() > 30);
}

#[test]
fn numbers_are_what_was_done_and_go_with_the_attachment() {
    let scene = Scene::new();
    let (volume, [a, b], [held_a, held_b]) = shared(&scene);
    for _ in 0..3 {
        scene.target.write_as(a, volume, 0, &[1; 512]).unwrap();
    }
    scene.target.read_as(b, volume, 0, &mut [0; 1024]).unwrap();
    scene.target.write_as(b, volume, 0, &[1; 512]).unwrap_err();
    let address = serve(&scene, fresh(Requests::default()), Limits::default());
    let page = scrape(address).body;
    let of = |host: HostId| format!("volume_id=\"{volume}\",host_id=\"{host}\"");
    let (of_a, of_b) = (of(a), of(b));
    let count =
        |name: &str, labels: &str| row(&page, &format!("osds_attachment_{name}{{{labels}}}"));
    assert_eq!(count("commands_total", &format!("{of_a},kind=\"write\"")), 3.0);
    assert_eq!(count("written_bytes_total", &of_a), 1536.0);
    assert_eq!(count("read_bytes_total", &of_b), 1024.0);
    assert_eq!(count("errors_total", &format!("{of_b},kind=\"write_protected\"")), 1.0);
    assert_eq!(count("errors_total", &format!("{of_a},kind=\"write_protected\"")), 0.0);
    assert_eq!(count("duration_seconds_count", &format!("{of_a},kind=\"write\"")), 3.0);
    let info = format!(
        "osds_attachment_info{{{of_b},attachment_id=\"{held_b}\",\
         volume=\"disk\",host=\"b\",pool=\"shared\",mode=\"ro\"}}"
    );
    assert_eq!(row(&page, &info), 1.0);
    assert_eq!(row(&page, "osds_volumes{status=\"inUse\"}"), 1.0);
    assert_eq!(row(&page, "osds_attachments{status=\"available\",mode=\"ro\"}"), 1.0);
    assert_eq!(row(&page, "osds_hosts"), 2.0);
    assert!(row(&page, "osds_wishes_total{outcome=\"settled\"}") >= 3.0);
    // The same for people, and for nobody else's tenant.
    let stats = scene.get(&format!("{T}/block/attachments/{held_a}/stats")).expect(200).json();
    assert_eq!((&stats["writes"], &stats["writtenBytes"]), (&3.into(), &1536.into()));
    let stats = scene.get(&format!("{T}/block/attachments/{held_b}/stats")).expect(200).json();
    assert_eq!((&stats["reads"], &stats["errors"]["write_protected"]), (&1.into(), &1.into()));
    scene.get(&format!("/v1beta/another/block/attachments/{held_a}/stats")).expect(404);
    let path = format!("{T}/block/attachments/{held_a}");
    Client::connect(scene.address).request("DELETE", &path, &[WAIT], None).expect(202);
    scene.get(&format!("{path}/stats")).expect(404);
    let page = scrape(address).body;
    assert!(!page.contains(&of_a) && page.contains(&of_b));
}

#[test]
fn attachments_beyond_the_limit_are_left_out_and_counted() {
    let scene = Scene::new();
    shared(&scene);
    let settings = MetricsSettings { max_attachments: 1, ..fresh(Requests::default()) };
    let page = scrape(serve(&scene, settings, Limits::default())).body;
    assert_eq!(page.matches("osds_attachment_info{").count(), 1);
    assert_eq!(row(&page, "osds_attachments_left_out"), 1.0);
}

#[test]
fn requests_are_counted_by_route_and_clients_make_no_rows() {
    let requests = Requests::default();
    let scene = Scene::of(Setup { requests: requests.clone(), ..Setup::default() });
    let address = serve(&scene, fresh(requests), Limits::default());
    scene.get(&format!("{T}/docks")).expect(200);
    scene.get(&format!("{T}/docks/")).expect(200);
    let rows = |page: &str| page.matches("osds_http_requests_total{").count();
    for number in 0..40 {
        let client = || Client::connect(scene.address);
        scene.get(&format!("{T}/block/volumes/nope-{number}")).expect(404);
        scene.get(&format!("/no/such/thing-{number}")).expect(404);
        scene.get(&format!("/no/such/thing-{number}/")).expect(404);
        let method = format!("METHOD{number}");
        client().request(&method, &format!("{T}/docks"), &[], None).expect(404);
    }
    let page = scrape(address).body;
    let count = |method: &str, route: &str, status: u16| {
        let labels = format!("method=\"{method}\",route=\"{route}\",status=\"{status}\"");
        row(&page, &format!("osds_http_requests_total{{{labels}}}"))
    };
    assert_eq!(count("GET", "/v1beta/{tenantId}/docks", 200), 2.0);
    assert_eq!(count("GET", "/v1beta/{tenantId}/block/volumes/{id}", 404), 40.0);
    assert_eq!(count("GET", "none", 404), 80.0);
    assert_eq!(rows(&page), 4, "{page}");
}

#[test]
fn a_dock_that_hangs_is_down_and_holds_nobody_up() {
    let target = FakeTarget::default();
    let scene = Scene::of(Setup { target: target.clone(), ..Setup::default() });
    let (_, _, [held, _]) = shared(&scene);
    let address = serve(&scene, fresh(Requests::default()), Limits::default());
    let gate = target.faults.pause(Op::Usage, When::Before);
    let page = scrape(address).body;
    assert!(page.contains(
        "osds_dock_up{dock_id=\"00000000-0000-0000-0000-000000000d0c\",dock=\"dock\"} 0"
    ));
    assert_eq!(row(&page, "osds_volumes{status=\"inUse\"}"), 1.0);
    // The rest goes on.
    let path = format!("{T}/block/attachments/{held}");
    Client::connect(scene.address).request("DELETE", &path, &[WAIT], None).expect(202);
    scene.get(&path).expect(404);
    drop(gate);
}

#[test]
fn hostile_scrapers_share_one_page() {
    let target = FakeTarget::default();
    let scene = Scene::of(Setup { target: target.clone(), ..Setup::default() });
    let settings =
        MetricsSettings { fresh_for: Duration::from_secs(3600), ..MetricsSettings::default() };
    let limits = Limits { connections: 64, ..MetricsSettings::limits() };
    let address = serve(&scene, settings, limits);
    // Some ask and leave, some say nothing, some ask for what is not there.
    let crowd: Vec<Client> = (0..40)
        .map(|number| {
            let mut client = Client::connect(address);
            match number % 3 {
                0 => drop(client.send("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")),
                1 => drop(client.send("GET /metr")),
                _ => drop(client.send("POST /metrics HTTP/1.1\r\nHost: x\r\n\r\n")),
            }
            client
        })
        .collect();
    let threads: Vec<_> = (0..4)
        .map(|_| thread::spawn(move || (0..25).for_each(|_| drop(scrape(address)))))
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    drop(crowd);
    assert_eq!(target.faults.calls(Op::Usage), 1, "more than one page was made");
    Client::connect(address).request("GET", "/v1beta", &[], None).expect(404);
    Client::connect(address).request("DELETE", "/metrics", &[], None).expect(404);
    let since = Instant::now();
    scene.get(&format!("{T}/docks")).expect(200);
    assert!(since.elapsed() < Duration::from_secs(10));
}
