//! One target behind several portals: the same disk, whichever way a host comes.
//!
//! Multipath merges paths by what the unit says of itself (VPD 80 and 83), so that must not depend
//! on the portal; and what one path does, a reservation as well as a revoke, must hold on the other.

use std::net::SocketAddr;
use std::sync::Arc;

use osds_iscsi::scsi::Access;
use osds_iscsi::{Limits, Target};

use crate::initiator::{Data, Error, Options, Session, discover};
use crate::scene::{ALICE, BOB, DISK, Medium, refused, unit};

/// The disk of a scene behind an IPv4 and an IPv6 portal.
fn two_ways() -> (Target, SocketAddr, SocketAddr) {
    let listen = ["127.0.0.1:0".parse().unwrap(), "[::1]:0".parse().unwrap()];
    let target = Target::start(&listen, Limits::default()).unwrap();
    let medium = Arc::new(Medium::sized());
    target.export(DISK, unit(&medium, 1)).unwrap();
    target.grant(DISK, ALICE, Access::ReadWrite, None).unwrap();
    target.grant(DISK, BOB, Access::ReadOnly, None).unwrap();
    let portals = target.portals();
    (target, portals[0], portals[1])
}

fn path(portal: SocketAddr, initiator: &str, number: u8) -> Result<Session, Error> {
    let options = Options { isid: [0x80, 0, 0, 0, 0, number], ..Options::default() };
    Session::login_with(portal, initiator, DISK, &options)
}

fn page(session: &mut Session, page: u8) -> Vec<u8> {
    session.command(&[0x12, 1, page, 1, 0, 0], Data::In(256)).unwrap().good().unwrap()
}

#[test]
fn both_ways_lead_to_one_disk_with_one_identity() {
    let (target, v4, v6) = two_ways();
    assert!(v4.is_ipv4() && v6.is_ipv6());
    let mut paths = [path(v4, ALICE, 1).unwrap(), path(v6, ALICE, 2).unwrap()];
    let [serial, identity] = [0x80, 0x83].map(|number| {
        let [one, two] = [0, 1].map(|at| page(&mut paths[at], number));
        assert_eq!(one, two, "VPD {number:x}");
        one
    });
    assert!(serial.len() > 4 && identity.len() > 4 + 4 + 16);
    let [one, two] = &mut paths;
    one.write(3, &[0xa5; 512]).unwrap();
    assert_eq!(two.read(3, 1).unwrap(), [0xa5; 512]);
    // Another host sees the same by any way, and is held to reading by each.
    for portal in [v4, v6] {
        let mut bob = path(portal, BOB, 1).unwrap();
        assert_eq!(
            (page(&mut bob, 0x80), page(&mut bob, 0x83)),
            (serial.clone(), identity.clone())
        );
        assert!(bob.write(3, &[0; 512]).is_err());
    }
    // A revoke shuts every way.
    target.revoke(DISK, ALICE).unwrap();
    assert!(paths.iter_mut().all(|path| path.read(3, 1).is_err()));
    for portal in [v4, v6] {
        assert_eq!(refused(path(portal, ALICE, 1)), (2, 3));
    }
}

#[test]
fn a_session_is_one_whichever_way_it_comes_back() {
    let (target, v4, v6) = two_ways();
    let mut old = path(v4, ALICE, 1).unwrap();
    let mut new = path(v6, ALICE, 1).unwrap();
    assert!(new.read(0, 1).is_ok());
    assert!(old.read(0, 1).is_err());
    assert_eq!(target.exports()[0].sessions.len(), 1);
}

#[test]
fn discovery_tells_every_way_the_one_taken_first() {
    let (_target, v4, v6) = two_ways();
    for (first, second) in [(v4, v6), (v6, v4)] {
        let entry = |portal: SocketAddr| (DISK.to_owned(), format!("{portal},1"));
        assert_eq!(discover(first, ALICE).unwrap(), [entry(first), entry(second)]);
    }
}
