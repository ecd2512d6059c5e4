//! The state diagram of ARCHITECTURE.md, drawn by applying the real functions to every state that
//! they lead to. `OSDS_UPDATE=1 cargo test -p osds-lifecycle --test diagram` writes it anew.

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::fmt::Write;
use std::path::Path;

use osds_lifecycle::access::{self, AttachRequest};
use osds_lifecycle::{Confirmed, confirm, status, volume};
use osds_model::access::AttachmentFacts;
use osds_model::volume::Terms;
use osds_model::{
    Applied, AttachMode, AttachmentId, Capacity, Connection, Fault, FaultKind, Generation, HostId,
    HostOutcome, Phase, Presence, Sharing, VolumeOutcome, VolumeState,
};

const BEGIN: &str = "<!-- generated: lifecycle -->\n";
const END: &str = "<!-- /generated -->\n";
const HOST: HostId = HostId::from_u128(1);

/// Something that happens, and what it makes of the record (`None` when that is gone).
type Event = (&'static str, Option<VolumeState>);

fn gib(n: u64) -> Capacity {
    Capacity::from_gib(n).unwrap()
}

fn fresh() -> VolumeState {
    volume::new(gib(1), Terms { multi_attach: true, max_attachments: None })
}

fn fault() -> Fault {
    Fault::new(FaultKind::Temporary, "x")
}

fn attach(state: &VolumeState) -> Option<VolumeState> {
    let request = AttachRequest {
        id: AttachmentId::from_u128(1),
        host: HOST,
        fenced: false,
        mode: AttachMode::ReadWrite,
        sharing: Sharing::Shared,
        publication: None,
        read_only_enforced: true,
        initiators: vec![],
        authentication: None,
        about: AttachmentFacts::default(),
    };
    access::attach(state, &request).ok()
}

/// The record after an answer to its wish; `None` when it is gone.
fn answered(
    state: &VolumeState,
    volume: &VolumeOutcome,
    host: Option<HostOutcome>,
) -> Option<VolumeState> {
    let hosts: BTreeMap<_, _> = host.into_iter().map(|outcome| (HOST, outcome)).collect();
    let (generation, snapshots) = (state.generation, BTreeMap::new());
    let answer = Applied { generation, volume: volume.clone(), hosts, snapshots };
    match confirm(state, &answer) {
        Confirmed::Known(next) => Some(next),
        Confirmed::Gone { .. } => None,
    }
}

/// What a dock can say of the host: of one that shall have the volume, that it is let in or not;
/// of one that shall not, that it may still be served, or nothing.
fn host_outcomes(state: &VolumeState) -> Vec<(&'static str, Option<HostOutcome>)> {
    let connection = Connection::Iscsi { iqn: String::new(), portals: vec![], lun: 1 };
    match state.attachments.get(&HOST).map(|held| held.phase) {
        None => vec![],
        Some(Phase::Attaching | Phase::Attached) => vec![
            ("granted", Some(HostOutcome::Granted(connection))),
            ("grant failed", Some(HostOutcome::GrantFailed(fault()))),
        ],
        Some(Phase::Detaching) => {
            vec![("revoke failed", Some(HostOutcome::RevokeFailed(fault()))), ("put out", None)]
        }
    }
}

/// What a dock can say of the volume; no label where that is nothing new.
fn volume_outcomes(state: &VolumeState) -> [(Option<&'static str>, VolumeOutcome); 2] {
    let failed = VolumeOutcome::Failed(fault());
    let news = |label: &'static str, is_news: bool| is_news.then_some(label);
    let (well, faulty) = (state.fault.is_none(), state.fault.is_some());
    match (state.presence, state.made) {
        (Presence::Unwanted, _) => {
            [(Some("gone"), VolumeOutcome::Absent), (news("failed", well), failed)]
        }
        (Presence::Wanted(size), None) => {
            [(Some("made"), VolumeOutcome::Present(size)), (news("failed", well), failed)]
        }
        (Presence::Wanted(size), Some(_)) if state.taken_back.is_some() => {
            [(Some("as it was"), VolumeOutcome::Present(size)), (news("not told", well), failed)]
        }
        (Presence::Wanted(size), Some(made)) if made < size => [
            (Some("extended"), VolumeOutcome::Present(size)),
            (news("extend failed", well), failed),
        ],
        (Presence::Wanted(size), Some(_)) => [
            (news("there again", faulty), VolumeOutcome::Present(size)),
            (news("lost", well), failed),
        ],
    }
}

fn requests(state: &VolumeState) -> Vec<Event> {
    vec![
        ("attach", attach(state)),
        ("detach", Some(access::detach(state, HOST))),
        ("force", access::force(state, HOST).ok()),
    ]
}

/// What can happen to the attachment of one host.
fn attachment_events(state: &VolumeState) -> Vec<Event> {
    let there = VolumeOutcome::Present(gib(1));
    let answers = host_outcomes(state).into_iter();
    let mut events = requests(state);
    events.extend(answers.map(|(label, host)| (label, answered(state, &there, host))));
    events
}

/// What can happen to a volume and the one host that may have it.
fn volume_events(state: &VolumeState) -> Vec<Event> {
    let mut events = requests(state);
    events.push(("delete", volume::delete(state).ok()));
    // Once: the words after a second one are the same.
    events.push(("extend", volume::extend(state, gib(2)).ok()));
    events.push(("take back", volume::extend(state, gib(1)).ok()));
    for (news, volume) in volume_outcomes(state) {
        let mut hosts = host_outcomes(state);
        if hosts.is_empty() {
            hosts.push(("nothing new", None));
        }
        for (label, host) in hosts {
            // Nobody is newly let in to a volume that is not there.
            let let_in = label == "granted" && status::volume(state) != "inUse";
            if !(news == Some("lost") && let_in) {
                events.push((news.unwrap_or(label), answered(state, &volume, host)));
            }
        }
    }
    events
}

/// Every arrow between two words, with all that can lead along it.
fn arrows(
    start: VolumeState,
    events: fn(&VolumeState) -> Vec<Event>,
    word: fn(&VolumeState) -> &'static str,
) -> BTreeMap<(&'static str, &'static str), BTreeSet<&'static str>> {
    let mut arrows: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    let mut known = HashSet::from([start.clone()]);
    let mut queue = VecDeque::from([start]);
    while let Some(state) = queue.pop_front() {
        for (label, next) in events(&state) {
            // A request that is refused, or changes nothing, is no arrow; the record's end is.
            let end = matches!(label, "gone") && next.is_none();
            let to = match &next {
                Some(next) if *next != state => word(next),
                None if end => "[*]",
                Some(_) | None => continue,
            };
            arrows.entry((word(&state), to)).or_default().insert(label);
            if let Some(mut next) = next {
                // Generations count edits; without this there would be no end of states.
                next.generation = Generation(1);
                if known.insert(next.clone()) {
                    queue.push_back(next);
                }
            }
        }
    }
    arrows
}

fn draw(arrows: &BTreeMap<(&'static str, &'static str), BTreeSet<&'static str>>) -> String {
    let mut text = String::from("```mermaid\nstateDiagram-v2\n");
    for ((from, to), labels) in arrows {
        // The same word before and after is left out: it says nothing in a picture of words.
        if from != to {
            let labels: Vec<_> = labels.iter().copied().collect();
            writeln!(text, "    {from} --> {to}: {}", labels.join(", ")).unwrap();
        }
    }
    text + "```\n"
}

fn section() -> String {
    let mut made = fresh();
    made.made = Some(gib(1));
    let attachment = arrows(made, attachment_events, |state| {
        state.attachments.get(&HOST).map_or("[*]", |held| status::attachment(held))
    });
    let mut volume = arrows(fresh(), volume_events, status::volume);
    volume.insert(("[*]", "creating"), BTreeSet::from(["create"]));
    format!(
        "Words are derived, and this is how they follow each other. `attach`, `detach`, `force`,\n\
         `create`, `extend`, `take back` (an extend that fails) and `delete` are requests; the rest is\n\
         what a dock answers.\n\n\
         The life of an attachment:\n\n{}\n\
         The life of a volume. One host is drawn; a volume is `inUse` until the last of its hosts is\n\
         out, and a host on its way out counts, because it may still be served:\n\n{}",
        draw(&attachment),
        draw(&volume)
    )
}

#[test]
fn the_diagram_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../ARCHITECTURE.md");
    let text = std::fs::read_to_string(&path).unwrap_or_default();
    let parts = text
        .split_once(BEGIN)
        .and_then(|(before, rest)| rest.split_once(END).map(|(old, after)| (before, old, after)));
    let section = section();
    if std::env::var_os("OSDS_UPDATE").is_some() {
        let (before, after) = match parts {
            Some((before, _, after)) => (before.to_owned(), after),
            None if text.is_empty() => ("## State diagram\n\n".to_owned(), ""),
            None => (format!("{text}\n## State diagram\n\n"), ""),
        };
        std::fs::write(&path, format!("{before}{BEGIN}{section}{END}{after}")).unwrap();
        return;
    }
    let old = parts.map(|(_, old, _)| old);
    assert_eq!(
        old,
        Some(section.as_str()),
        "the state diagram of ARCHITECTURE.md is out of date; this writes it anew: \
         OSDS_UPDATE=1 cargo test -p osds-lifecycle --test diagram"
    );
}
