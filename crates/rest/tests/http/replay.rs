//! Every request of the captures of the original (`tests/golden/*.txt`), sent again to osds, and
//! each answer compared with the original's: status, content type, JSON.
//!
//! Ids and times are the only things that may differ unsaid, and ids only one for one: the first
//! answer that has one says which of ours it is, and it must be that one ever after. Everything
//! else is a difference, and has to be in `tests/golden/differences.tsv` with its reason; a line
//! there that no answer needs fails the test too. docs/book shows that table.
//!
//! A transcript is a list of exchanges, an empty line after each: number, method and path; `> ` the
//! body; `< ` status and content type; then the answer. `= ` names the thing made by a request
//! that the capture did not print, `* ` is something done to the storage, `(n things)` is a list
//! of which only the length was captured. Pages of HTML are not copied.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use osds_drivers::fake::{Op, When};
use osds_model::FaultKind;
use osds_model::pool::PoolSpec;
use serde_json::Value;

use crate::client::{Answer, mask};
use crate::scene::{Scene, T, eventually, plain_pool, shared_pool};

const BOOK: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/book/src/compatibility.md");
const HTML: &str = "(a page of HTML)";

/// One request and what the original said to it.
#[derive(Clone, Debug, Default)]
struct Exchange {
    number: String,
    method: String,
    path: String,
    body: Option<String>,
    status: u16,
    /// Empty when it was not captured.
    content_type: String,
    /// Empty when there was none, or it was not captured.
    answer: String,
    /// What the original called the thing that it made.
    named: Option<String>,
    /// Something to do before.
    first: Option<String>,
}

/// A line of the table of differences.
#[derive(Debug)]
struct Entry {
    name: String,
    /// Numbers of exchanges; all when empty.
    exchanges: Vec<String>,
    differences: Vec<String>,
    reason: String,
}

fn golden(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(file)
}

fn read(file: &str) -> String {
    std::fs::read_to_string(golden(file)).unwrap_or_else(|e| panic!("{file}: {e}"))
}

fn transcript(file: &str) -> Vec<Exchange> {
    let mut all = Vec::new();
    let mut first = None;
    for block in read(file).split("\n\n") {
        let mut lines = block.lines().filter(|line| !line.starts_with('#'));
        let Some(head) = lines.next() else { continue };
        if let Some(todo) = head.strip_prefix("* ") {
            first = Some(todo.to_owned());
            continue;
        }
        let mut words = head.splitn(3, ' ').map(str::to_owned);
        let mut word = || words.next().unwrap_or_else(|| panic!("{file}: {head}"));
        let mut exchange = Exchange {
            number: word(),
            method: word(),
            path: word(),
            first: first.take(),
            ..Exchange::default()
        };
        for line in lines {
            match line.split_at_checked(2) {
                Some(("> ", body)) => exchange.body = Some(body.to_owned()),
                Some(("= ", id)) => exchange.named = Some(id.to_owned()),
                Some(("< ", answer)) => {
                    let (status, kind) = answer.split_once(' ').unwrap_or((answer, ""));
                    exchange.status = status.parse().unwrap();
                    exchange.content_type = kind.to_owned();
                }
                Some(_) | None => exchange.answer.push_str(line),
            }
        }
        all.push(exchange);
    }
    all
}

fn table() -> Vec<Entry> {
    let text = read("differences.tsv");
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    let entries = lines.map(|line| {
        let [name, exchanges, differences, reason] = line.split('\t').collect::<Vec<_>>()[..]
        else {
            panic!("four columns, not: {line}");
        };
        let list = |text: &str, by: &str| text.split(by).map(|s| s.trim().to_owned()).collect();
        Entry {
            name: name.to_owned(),
            exchanges: if exchanges == "*" { vec![] } else { list(exchanges, ",") },
            differences: list(differences, " ; "),
            reason: reason.to_owned(),
        }
    });
    entries.collect()
}

/// Whether `text` is as `pattern` says, in which a `*` is anything.
fn like(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((start, rest)) => text.strip_prefix(start).is_some_and(|text| {
            (0..=text.len()).any(|at| text.get(at..).is_some_and(|text| like(rest, text)))
        }),
    }
}

/// Which of our ids is which of theirs.
#[derive(Default)]
struct Ids(HashMap<String, String>);

impl Ids {
    /// Their text with our ids in it.
    fn ours(&self, text: &str) -> String {
        let mut ours = text.to_owned();
        for (their, our) in &self.0 {
            ours = ours.replace(their, our);
        }
        ours
    }

    fn same(&mut self, their: &str, our: &str) -> bool {
        if mask(their) != "ID" || mask(our) != "ID" {
            return self.ours(their) == our || mask(their) == "NOW" && mask(our) == "NOW";
        }
        self.0.entry(their.to_owned()).or_insert_with(|| our.to_owned()) == our
    }

    fn compare(&mut self, at: &str, their: &Value, our: &Value, found: &mut Vec<String>) {
        match (their, our) {
            (Value::Object(theirs), Value::Object(ours)) => {
                let keys: BTreeSet<&String> = theirs.keys().chain(ours.keys()).collect();
                for key in keys {
                    let at = format!("{at}/{key}");
                    match (theirs.get(key), ours.get(key)) {
                        (Some(their), Some(our)) => self.compare(&at, their, our, found),
                        (Some(_), None) => found.push(format!("{at}: absent")),
                        (None, _) => found.push(format!("{at}: added")),
                    }
                }
            }
            (Value::Array(theirs), Value::Array(ours)) => self.lists(at, theirs, ours, found),
            (Value::String(their), Value::String(our)) => {
                if !self.same(their, our) {
                    let both = mask(their) == "ID" && mask(our) == "ID";
                    let other = if both { "another id".into() } else { short(&mask(our)) };
                    found.push(format!("{at}: {other}"));
                }
            }
            _ if their == our => {}
            _ => found.push(format!("{at}: {}", short(&our.to_string()))),
        }
    }

    /// The original lists in the order of random ids, so a thing is looked for by its id.
    fn lists(&mut self, at: &str, theirs: &[Value], ours: &[Value], found: &mut Vec<String>) {
        let mut left: Vec<&Value> = ours.iter().collect();
        for (n, their) in theirs.iter().enumerate() {
            let id = their["id"].as_str().map(|id| self.ours(id));
            let at = format!("{at}/{}", their["name"].as_str().unwrap_or(&n.to_string()));
            let place = match id {
                Some(id) => left.iter().position(|our| our["id"] == *id),
                None => (!left.is_empty()).then_some(0),
            };
            match place {
                Some(place) => self.compare(&at, their, left.remove(place), found),
                None => found.push(format!("{at}: absent")),
            }
        }
        found.extend(left.iter().map(|_| format!("{at}: one more")));
    }
}

fn short(text: &str) -> String {
    if text.is_empty() { "empty".to_owned() } else { text.to_owned() }
}

/// How our answer differs from theirs.
fn differences(ids: &mut Ids, exchange: &Exchange, ours: &Answer) -> Vec<String> {
    let mut found = Vec::new();
    if exchange.status != ours.status {
        found.push(format!("status {} is {}", exchange.status, ours.status));
    }
    let kind = |full: &str| full.split(';').next().unwrap_or_default().to_owned();
    if !exchange.content_type.is_empty() && exchange.content_type != ours.content_type() {
        let (theirs, ours) = (kind(&exchange.content_type), kind(ours.content_type()));
        found.push(format!("type {theirs} is {ours}"));
    }
    if let Some(named) = &exchange.named {
        if ours.status < 300 {
            ids.0.insert(named.clone(), ours.id());
        }
        return found;
    }
    if exchange.answer.is_empty() || exchange.answer == HTML {
        if exchange.content_type.starts_with("application/json")
            && exchange.method == "DELETE"
            && ours.status < 300
            && !ours.body.is_empty()
        {
            found.push(format!("body {}", mask(&ours.body)));
        }
        return found;
    }
    if let Some(count) = exchange.answer.strip_suffix(" things)") {
        let is = ours.json().as_array().map_or(0, Vec::len);
        if count != format!("({is}") {
            found.push("count".to_owned());
        }
        return found;
    }
    let mut our = if ours.body.is_empty() { Value::Null } else { ours.json() };
    if let Some(words) = our["message"].as_str().filter(|w| w.starts_with("There are dependent"))
        && let (Some(open), Some(close)) = (words.find('['), words.rfind(']'))
    {
        our["message"] = format!("{}[NAMES{}", &words[..open], &words[close..]).into();
    }
    let their: Value = serde_json::from_str(&exchange.answer).unwrap();
    // Of another kind of answer, the parts are not worth a line each.
    if (exchange.status < 300) != (ours.status < 300) {
        found.extend(our["message"].as_str().map(|words| format!("body {}", mask(words))));
    } else {
        ids.compare("", &their, &our, &mut found);
    }
    found
}

/// The pools of the captures.
fn scene() -> Scene {
    let mut first = PoolSpec { name: "sample-pool-01".to_owned(), ..shared_pool(100) };
    let mut second = PoolSpec { name: "sample-pool-02".to_owned(), ..plain_pool(200) };
    for (pool, disk) in [(&mut first, "SSD"), (&mut second, "SAS")] {
        "rbd".clone_into(&mut pool.extras.io_connectivity.access_protocol);
        pool.extras.advanced.insert("diskType".to_owned(), disk.into());
    }
    Scene::with_pools(vec![first, second])
}

/// The original was given a second or more after each request.
fn settled(scene: &Scene) {
    eventually("nothing is under way", || {
        ["block/volumes", "block/attachments", "block/snapshots", "block/volumeGroups"].iter().all(
            |noun| {
                let list = scene.get(&format!("{T}/{noun}")).json();
                let busy = ["creating", "attaching", "deleting", "extending", "updating"];
                list.as_array().into_iter().flatten().all(|thing| {
                    thing["status"].as_str().is_none_or(|status| !busy.contains(&status))
                })
            },
        )
    });
}

fn prepare(scene: &Scene, todo: &str) {
    match todo {
        "the target fails to put hosts out" => {
            scene.target.faults.fail_all(Op::Revoke, When::Before, FaultKind::Broken);
        }
        "the target works again" => scene.target.faults.heal(),
        "the storage works again" => {
            scene.storage.faults.heal();
            let path = format!("{T}/block/volumes?status=error");
            eventually("all is well", || scene.get(&path).body == "[]");
        }
        "the profile that osds has made is taken away" => {
            let path = format!("{T}/profiles");
            let made = scene.get(&format!("{path}?name=multi-attach")).json()[0]["id"].clone();
            scene.delete(&format!("{path}/{}", made.as_str().unwrap())).expect(200);
        }
        "node2 has an initiator" => {
            let path = format!("{T}/host/hosts");
            let host = scene.get(&format!("{path}?hostName=node2")).json()[0]["id"].clone();
            let body = r#"{"initiators":[{"portName":"iqn.node2","protocol":"iscsi"}]}"#;
            scene.put(&format!("{path}/{}", host.as_str().unwrap()), body).expect(200);
        }
        "60 volumes of node1 are called race, and one called big has failed" => {
            let host = scene.host("node1");
            for _ in 0..60 {
                let body = r#"{"name":"race","size":1,"multiAttach":true}"#;
                let made = scene.post_wait(&format!("{T}/block/volumes"), body).expect(202);
                scene.attach(&made.id(), &host, "rw").expect(202);
            }
            scene.storage.faults.fail_all(Op::Create, When::Before, FaultKind::Broken);
            let body = r#"{"name":"big","size":1}"#;
            scene.post_wait(&format!("{T}/block/volumes"), body).expect(202);
        }
        other => panic!("nobody knows how: {other}"),
    }
}

/// Sends all of `file`; what differs, by the number of the exchange.
fn replayed(file: &str) -> BTreeMap<String, Vec<String>> {
    let scene = scene();
    let mut ids = Ids::default();
    for (their, name) in [
        ("084bf71e-a102-11e7-88a8-e31fe6d52248", "sample-pool-01"),
        ("a594b8ac-a103-11e7-985f-d723bcf01b5f", "sample-pool-02"),
    ] {
        let pool = scene.get(&format!("{T}/pools?name={name}")).json()[0]["id"].clone();
        ids.0.insert(their.to_owned(), pool.as_str().unwrap().to_owned());
    }
    // The original has no profile until somebody makes one.
    let default = scene.get(&format!("{T}/profiles?name=default_block")).json()[0]["id"].clone();
    scene.delete(&format!("{T}/profiles/{}", default.as_str().unwrap())).expect(200);
    let mut all = BTreeMap::new();
    for exchange in transcript(file) {
        if let Some(todo) = &exchange.first {
            prepare(&scene, todo);
        }
        let (path, body) = (ids.ours(&exchange.path), exchange.body.as_deref());
        let body = body.map(|body| ids.ours(body));
        let body = body.as_ref().map(String::as_bytes);
        let answer = scene.client().request(&exchange.method, &path, &[], body);
        let found = differences(&mut ids, &exchange, &answer);
        if !found.is_empty() {
            assert!(all.insert(exchange.number.clone(), found).is_none(), "{}", exchange.number);
        }
        if answer.status == 202 {
            settled(&scene);
        }
    }
    all
}

#[test]
fn every_answer_is_the_originals_but_for_what_the_table_says() {
    let files = ["1-basic.txt", "2-attach.txt", "3-races.txt", "5-misc.txt", "7-osdsctl.txt"];
    let entries = table();
    let mut unused: BTreeSet<(usize, String)> = BTreeSet::new();
    for (at, entry) in entries.iter().enumerate() {
        unused.extend(entry.differences.iter().map(|text| (at, format!("difference {text}"))));
        unused.extend(entry.exchanges.iter().map(|text| (at, format!("exchange {text}"))));
    }
    let mut unexplained = String::new();
    for (number, found) in files.iter().flat_map(|file| replayed(file)) {
        for difference in found {
            let mut explained = false;
            for (at, entry) in entries.iter().enumerate() {
                if !entry.exchanges.is_empty() && !entry.exchanges.contains(&number) {
                    continue;
                }
                for pattern in entry.differences.iter().filter(|text| like(text, &difference)) {
                    unused.remove(&(at, format!("difference {pattern}")));
                    unused.remove(&(at, format!("exchange {number}")));
                    explained = true;
                }
            }
            if !explained {
                writeln!(unexplained, "{number}\t{difference}").unwrap();
            }
        }
    }
    assert!(unexplained.is_empty(), "not as the original, and not in the table:\n{unexplained}");
    let unused: Vec<String> =
        unused.iter().map(|(at, what)| format!("{}: {what}", entries[*at].name)).collect();
    assert!(unused.is_empty(), "in the table, and no longer so: {unused:#?}");
}

#[test]
fn the_book_has_the_table() {
    const BEGIN: &str = "<!-- generated: differences -->\n";
    const END: &str = "<!-- /generated -->";
    let mut text = String::from("| difference | in | why |\n|---|---|---|\n");
    for entry in table() {
        let answers = match entry.exchanges.len() {
            0 => "every such answer".to_owned(),
            _ => entry.exchanges.join(", "),
        };
        writeln!(text, "| {} | {answers} | {} |", entry.name, entry.reason).unwrap();
    }
    let book = std::fs::read_to_string(BOOK).unwrap();
    let (before, rest) = book.split_once(BEGIN).expect("the book has a place for it");
    let (_, after) = rest.split_once(END).expect("the place has an end");
    let wanted = format!("{before}{BEGIN}{text}{END}{after}");
    if std::env::var_os("OSDS_UPDATE").is_some() {
        std::fs::write(BOOK, &wanted).unwrap();
    }
    let is = std::fs::read_to_string(BOOK).unwrap();
    assert!(is == wanted, "the book is old: OSDS_UPDATE=1 cargo test -p osds-rest --test http");
}

#[test]
fn a_difference_is_seen() {
    let mut ids = Ids::default();
    let (one, two) =
        ("11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222");
    use serde_json::json;
    let mut found = |their: Value, our: Value| {
        let mut found = Vec::new();
        ids.compare("", &their, &our, &mut found);
        found
    };
    assert_eq!(found(json!({"id": one, "a": 1}), json!({"id": two, "a": 1})), [""; 0]);
    assert_eq!(found(json!({"id": one}), json!({"id": one})), ["/id: another id"]);
    assert_eq!(found(json!({"m": format!("{one} x")}), json!({"m": format!("{two} x")})), [""; 0]);
    assert_eq!(found(json!({"m": "a"}), json!({"m": "b"})), ["/m: b"]);
    assert_eq!(found(json!({"m": "a"}), json!({})), ["/m: absent"]);
    assert_eq!(found(json!([]), json!([1])), [": one more"]);
    assert_eq!(found(json!({"t": "2026-11-22T11:54:06"}), json!({"t": ""})), ["/t: empty"]);
    assert!(like("a*c*", "abcd") && !like("a*c", "abcd") && like("*", ""));
}
