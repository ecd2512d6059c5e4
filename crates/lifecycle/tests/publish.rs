//! The attach table of CSI, all 924 rows of it (`csi-attach-table.csv`): seven access modes, the
//! read-only flag, multi-attach or not, three things that lie on the blocks, and eleven states of
//! who has the volume already.
//!
//! A row says a code and, for a grant, ro or rw. Codes of the rules' words are the CSI driver's;
//! here they stand a second time, so that a change of one of them is noticed.

use osds_lifecycle::access::{self, AttachRequest};
use osds_lifecycle::{Refused, volume};
use osds_model::access::AttachmentFacts;
use osds_model::volume::Terms;
use osds_model::{
    AccessMode, AccessType, AttachMode, AttachmentId, Capacity, HostId, Publication, Reason,
    Sharing, VolumeState,
};

const HERE: HostId = HostId::from_u128(1);
const ELSEWHERE: HostId = HostId::from_u128(2);

fn mode(word: &str) -> AccessMode {
    match word {
        "SNW" => AccessMode::SingleNodeWriter,
        "SNRO" => AccessMode::SingleNodeReaderOnly,
        "MNRO" => AccessMode::MultiNodeReaderOnly,
        "MNSW" => AccessMode::MultiNodeSingleWriter,
        "MNMW" => AccessMode::MultiNodeMultiWriter,
        "SNSW" => AccessMode::SingleNodeSingleWriter,
        "SNMW" => AccessMode::SingleNodeMultiWriter,
        other => panic!("{other}"),
    }
}

fn ask(host: HostId, said: Option<Publication>, readonly: bool) -> AttachRequest {
    AttachRequest {
        id: AttachmentId::from_u128(9),
        host,
        fenced: false,
        mode: if readonly { AttachMode::ReadOnly } else { AttachMode::ReadWrite },
        sharing: Sharing::Shared,
        publication: said,
        read_only_enforced: true,
        initiators: vec![],
        authentication: None,
        about: AttachmentFacts::default(),
    }
}

fn code(refused: &Refused) -> u8 {
    match refused.reason() {
        Reason::NotMultiAttach | Reason::LocalFileSystem => 3,
        Reason::OtherTerms => 6,
        Reason::HeldByAnotherHost
        | Reason::Promised
        | Reason::CannotPromise
        | Reason::FileSystemBesideWriter => 9,
        other => panic!("{other}"),
    }
}

/// A volume that is there; granted to `host` in this way whatever the rules say, since some rows
/// are of states that they would never let come about.
fn held(state: &VolumeState, host: HostId, said: Publication, readonly: bool) -> VolumeState {
    let free =
        VolumeState { terms: Terms { multi_attach: true, max_attachments: None }, ..state.clone() };
    let said = Publication {
        access: if said.mode.is_multi_node() { AccessType::ClusterFs } else { said.access },
        ..said
    };
    let state = VolumeState { terms: state.terms, ..state.clone() };
    let granted = access::attach(&free, &ask(host, Some(said), readonly)).unwrap();
    VolumeState { terms: state.terms, ..granted }
}

fn with_access(state: &VolumeState, host: HostId, access: AccessType) -> VolumeState {
    let mut state = state.clone();
    let attachment = std::sync::Arc::make_mut(state.attachments.get_mut(&host).unwrap());
    attachment.publication.as_mut().unwrap().access = access;
    state
}

#[test]
fn all_rows() {
    let table = include_str!("csi-attach-table.csv");
    let mut rows = 0;
    let mut wrong = Vec::new();
    for line in table.lines().skip(1) {
        rows += 1;
        let columns = columns(line);
        let [word, readonly, multi, access, existing, code_wanted, mode_wanted, _why] =
            &columns[..]
        else {
            panic!("{line}");
        };
        let readonly = readonly == "True";
        let access = match access.as_str() {
            "block" => AccessType::Block,
            "localfs" => AccessType::LocalFs,
            "clusterfs" => AccessType::ClusterFs,
            other => panic!("{other}"),
        };
        let asked = Publication { mode: mode(word), access };
        let terms = Terms { multi_attach: multi == "True", max_attachments: None };
        let size = Capacity::from_gib(1).unwrap();
        let fresh = VolumeState { made: Some(size), ..volume::new(size, terms) };
        let state = match existing.as_str() {
            "none" => fresh,
            "same node, identical" => {
                with_access(&held(&fresh, HERE, asked, readonly), HERE, access)
            }
            "same node, other ro flag" => {
                // Where the mode decides, the other flag is another mode's.
                let state = with_access(&held(&fresh, HERE, asked, readonly), HERE, access);
                flipped(&state)
            }
            "same node, other access type" => {
                let other = if access == AccessType::Block {
                    AccessType::LocalFs
                } else {
                    AccessType::Block
                };
                with_access(&held(&fresh, HERE, asked, readonly), HERE, other)
            }
            other => {
                let other = other.strip_prefix("other: ").unwrap();
                let (word, how) = other.split_once(' ').unwrap();
                let word = if word == "SINGLE" { "SNW" } else { word };
                let said = Publication { mode: mode(word), access };
                with_access(&held(&fresh, ELSEWHERE, said, how == "ro"), ELSEWHERE, access)
            }
        };
        let outcome = access::attach(&state, &ask(HERE, Some(asked), readonly));
        let (code_is, mode_is) = match &outcome {
            Ok(next) => (0, next.attachments[&HERE].mode.as_str()),
            Err(refused) => (code(refused), "-"),
        };
        if (code_is.to_string(), mode_is) != (code_wanted.clone(), mode_wanted.as_str()) {
            wrong.push(format!("{line}: {code_is} {mode_is} {outcome:?}"));
        }
    }
    assert_eq!(rows, 924);
    assert!(wrong.is_empty(), "{} rows:\n{}", wrong.len(), wrong.join("\n"));
}

/// The same attachment with the other mode.
fn flipped(state: &VolumeState) -> VolumeState {
    let mut state = state.clone();
    let attachment = std::sync::Arc::make_mut(state.attachments.get_mut(&HERE).unwrap());
    attachment.mode = match attachment.mode {
        AttachMode::ReadOnly => AttachMode::ReadWrite,
        AttachMode::ReadWrite => AttachMode::ReadOnly,
    };
    state
}

/// The columns of a line; some are quoted.
fn columns(line: &str) -> Vec<String> {
    let mut columns = vec![String::new()];
    let mut quoted = false;
    for c in line.chars() {
        match c {
            '"' => quoted = !quoted,
            ',' if !quoted => columns.push(String::new()),
            c => columns.last_mut().unwrap().push(c),
        }
    }
    columns
}

/// What the table leaves out: access types that differ, and attachments of who said no mode.
#[test]
fn beside_what_others_do() {
    let size = Capacity::from_gib(1).unwrap();
    let shared = Terms { multi_attach: true, max_attachments: None };
    let fresh = VolumeState { made: Some(size), ..volume::new(size, shared) };
    let said = |mode, access| Some(Publication { mode, access });
    let (mnro, mnmw) = (AccessMode::MultiNodeReaderOnly, AccessMode::MultiNodeMultiWriter);
    let (block, local) = (AccessType::Block, AccessType::LocalFs);

    // Many who read an ext4; then one who wants to write its blocks.
    let readers = access::attach(&fresh, &ask(ELSEWHERE, said(mnro, local), false)).unwrap();
    assert_eq!(readers.attachments[&ELSEWHERE].mode, AttachMode::ReadOnly);
    let refused = access::attach(&readers, &ask(HERE, said(mnmw, block), false)).unwrap_err();
    assert_eq!(refused.reason(), Reason::FileSystemBesideWriter);
    assert!(refused.to_string().contains(&ELSEWHERE.to_string()), "{refused}");
    assert!(access::attach(&readers, &ask(HERE, said(mnmw, block), true)).is_ok());
    // Nor may somebody who says no mode.
    let refused = access::attach(&readers, &ask(HERE, None, false)).unwrap_err();
    assert_eq!(refused.reason(), Reason::FileSystemBesideWriter);

    // One without a word on a shared volume counts as a writer of blocks.
    let silent = access::attach(&fresh, &ask(ELSEWHERE, None, false)).unwrap();
    assert!(access::attach(&silent, &ask(HERE, said(mnmw, block), false)).is_ok());
    let refused = access::attach(&silent, &ask(HERE, said(mnro, local), false)).unwrap_err();
    assert_eq!(refused.reason(), Reason::FileSystemBesideWriter);
    let single = said(AccessMode::SingleNodeWriter, block);
    let refused = access::attach(&silent, &ask(HERE, single, false)).unwrap_err();
    assert_eq!(refused.reason(), Reason::CannotPromise);

    // And on one that is not, as one node alone.
    let alone = Terms { multi_attach: false, max_attachments: None };
    let fresh = VolumeState { made: Some(size), ..volume::new(size, alone) };
    let silent = access::attach(&fresh, &ask(HERE, None, false)).unwrap();
    assert_eq!(access::attach(&silent, &ask(HERE, single, false)).unwrap(), silent);
    let refused = access::attach(&silent, &ask(HERE, said(mnmw, block), false)).unwrap_err();
    assert_eq!(refused.reason(), Reason::OtherTerms);
    // What has another name and means the same is the same.
    for mode in [AccessMode::SingleNodeSingleWriter, AccessMode::SingleNodeMultiWriter] {
        assert!(access::attach(&silent, &ask(HERE, said(mode, block), false)).is_ok());
    }
    let reader = said(AccessMode::SingleNodeReaderOnly, block);
    let refused = access::attach(&silent, &ask(HERE, reader, false)).unwrap_err();
    assert_eq!(refused.reason(), Reason::OtherTerms);
}
