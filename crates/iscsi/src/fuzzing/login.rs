//! A connection's first bytes, up to the door of the full feature phase.
//!
//! Holds for every stream: whoever gets to the door is granted what he claims, under the name, the
//! session and the connection that his first request named; every answer is a login response that
//! decodes, with a text that parses and fits one segment; and there are bounds on how long it takes. One
//! grant demands a proof that no input can hold: nobody gets there.

use std::io;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::Limits;
use crate::login::{Claim, Login, MAX_SEGMENT, Ready, Step};
use crate::pdu::frame::{self, Parsed};
use crate::pdu::response::LoginResponse;
use crate::pdu::{Digests, Request, Response, request, text};
use crate::registry::Registry;
use crate::scsi::Access;
use crate::{Authentication, Credentials, Secret};

use super::medium::Medium;

const DISK: &str = "iqn.x:disk";
const LOCKED: &str = "iqn.x:locked";
const ALICE: &str = "iqn.x:alice";
const CAROL: &str = "iqn.x:carol";

/// Who may log in to what without a proof.
const OPEN: [(&str, &str); 2] = [(DISK, ALICE), (LOCKED, ALICE)];

/// More requests than this are no login.
const ROUNDS: usize = 32;

fn registry() -> &'static Registry {
    static REGISTRY: OnceLock<Registry> = OnceLock::new();
    REGISTRY.get_or_init(|| {
        let registry = Registry::new(Limits::default(), Vec::new());
        let grant = |iqn, initiator, authentication| {
            let granted = registry.grant(iqn, initiator, Access::ReadWrite, authentication);
            granted.expect("a sound grant");
        };
        for iqn in [DISK, LOCKED] {
            let unit = std::sync::Arc::new(Medium::new().unit());
            registry.export(iqn, unit).expect("a sound name");
        }
        OPEN.into_iter().for_each(|(iqn, initiator)| grant(iqn, initiator, None));
        let credentials = |name: &str, secret: &str| Credentials {
            name: name.into(),
            secret: Secret::new(secret).expect("long enough"),
        };
        let authentication = Authentication {
            initiator: credentials("carol", "carol's own secret"),
            target: Some(credentials("locked", "the target's secret")),
        };
        grant(LOCKED, CAROL, Some(authentication));
        registry
    })
}

/// A stream of login PDUs.
pub fn login(input: &[u8]) {
    let registry = registry();
    let mut login = Login::new(registry.limits(), unforeseen);
    let mut stream = input;
    let (mut first, mut said) = (None, Vec::new());
    let (mut rounds, mut refused) = (0, false);
    while let Ok(Parsed::Whole(frame)) = frame::next(stream, Digests::default(), MAX_SEGMENT) {
        let Ok(Request::Login(request)) = Request::decode(&frame.header) else {
            let refusal = login.refuse_other(frame.header.itt());
            assert_ne!(refusal.class, 0);
            return;
        };
        rounds += 1;
        // A name may be cut in two by the C bit.
        said.extend_from_slice(frame.data);
        let first = *first.get_or_insert(request);
        match login.step(&request, frame.data, |claim| registry.check(claim)) {
            Step::Answer(response, text) => {
                assert!(response.class == 0 && !refused, "a refused login goes on");
                answers(response, &text);
            }
            Step::Refuse(response) => {
                assert!(response.class != 0 && !response.transit);
                answers(response, &[]);
                refused = true;
            }
            Step::Ready(ready) => {
                assert!(rounds <= ROUNDS && !refused, "after {rounds} requests");
                return at_the_door(&ready, &first, &said);
            }
        }
        stream = &stream[frame.len..];
    }
}

/// Other bytes each time: what proves something in one run proves nothing in the next, so that
/// nobody can learn a proof by trying.
fn unforeseen(bytes: &mut [u8]) -> io::Result<()> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    for chunk in bytes.chunks_mut(8) {
        let count = COUNT.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        chunk.copy_from_slice(&count.to_be_bytes()[..chunk.len()]);
    }
    Ok(())
}

fn answers(response: LoginResponse, text: &[u8]) {
    let response = Response::Login(response);
    assert_eq!(Response::decode(&response.encode()), Ok(response));
    assert!(text.len() <= MAX_SEGMENT, "an answer of {} bytes", text.len());
    assert!(text::parse(text).is_ok(), "an answer that is no text: {text:?}");
}

fn at_the_door(ready: &Ready, first: &request::Login, said: &[u8]) {
    answers(ready.response, &ready.text);
    assert!(ready.response.class == 0 && ready.response.transit && ready.response.next == 3);
    let Claim { initiator, isid, tsih, cid, target } = &ready.claim;
    assert_eq!((*isid, *tsih, *cid), (first.isid, first.tsih, first.cid));
    assert!(names(said, initiator.as_str()), "{initiator} was never named");
    if let Some(target) = target {
        // A session handle that he claims too is a matter of the admission behind the door.
        let open = OPEN.contains(&(target.as_str(), initiator.as_str()));
        assert!(open, "{initiator} is in {target}");
        assert!(names(said, target.as_str()));
    }
    let parameters = &ready.parameters;
    assert!((512..1 << 24).contains(&parameters.max_send_segment));
    assert!((512..1 << 24).contains(&parameters.max_burst));
    assert!((512..=64 << 10).contains(&parameters.first_burst), "{parameters:?}");
}

/// Names have no case.
fn names(said: &[u8], name: &str) -> bool {
    String::from_utf8_lossy(said).to_lowercase().contains(name)
}
