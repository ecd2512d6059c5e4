//! LOG SENSE: the log pages that initiators ask for.
//!
//! The unit counts nothing yet, so there are two pages: the list of pages, with and without
//! subpages, and the informational exceptions, of which there are none (health tools such as
//! smartctl ask for them and take silence for a fault). Nothing can be saved or reset, so there is
//! no LOG SELECT, and cumulative and threshold values are the same.

use super::dispatch::{Call, reply};
use super::sense::{Sense, Status};
use crate::buffer::Buffer;

const SUPPORTED: u8 = 0x00;
const EXCEPTIONS: u8 = 0x2f;
const ALL_SUBPAGES: u8 = 0xff;

/// Parameter 0 of the informational exceptions page: a list in binary, nothing to report, no
/// temperature.
const NO_EXCEPTIONS: [u8; 8] = [0, 0, 0x03, 4, 0, 0, 0xff, 0];

/// LOG SENSE.
pub(super) fn log_sense(call: &Call<'_>, data_in: &mut Buffer) -> Result<Status, Sense> {
    let cdb = call.cdb;
    let save = cdb.bit(1, 0);
    if save {
        return Err(Sense::invalid_cdb_bit(1, 0));
    }
    let (page, subpage, first_parameter) = (cdb.byte(2) & 0x3f, cdb.byte(3), cdb.u16(5));
    let (code, body) = match (page, subpage) {
        (SUPPORTED, 0) => (page, vec![SUPPORTED, EXCEPTIONS]),
        (SUPPORTED, ALL_SUBPAGES) => {
            const HAS_SUBPAGE: u8 = 0x40;
            (page | HAS_SUBPAGE, vec![SUPPORTED, 0, SUPPORTED, ALL_SUBPAGES, EXCEPTIONS, 0])
        }
        (EXCEPTIONS, 0) => (page, NO_EXCEPTIONS.to_vec()),
        (SUPPORTED | EXCEPTIONS, _) => return Err(Sense::invalid_cdb(3)),
        _ => return Err(Sense::invalid_cdb_bit(2, 5)),
    };
    if first_parameter != 0 {
        return Err(Sense::invalid_cdb(5));
    }
    let mut out = vec![code, subpage];
    out.extend_from_slice(&(body.len() as u16).to_be_bytes());
    out.extend_from_slice(&body);
    Ok(reply(data_in, &out, usize::from(cdb.u16(7))))
}

#[cfg(test)]
mod tests {
    use super::super::testing::Rig;
    use super::*;

    fn ask(page: u8, subpage: u8) -> [u8; 10] {
        [0x4d, 0, page, subpage, 0, 0, 0, 0, 0xff, 0]
    }

    #[test]
    fn every_listed_page_is_there() {
        let rig = Rig::new(8);
        assert_eq!(rig.good(&ask(0, 0), &[]), [0, 0, 0, 2, 0, 0x2f]);
        let listed = rig.good(&ask(0x40, 0xff), &[]);
        assert_eq!(listed[..4], [0x40, 0xff, 0, 6]);
        for pair in listed[4..].chunks(2) {
            let page = rig.good(&ask(pair[0], pair[1]), &[]);
            assert_eq!((page[0] & 0x3f, page[1]), (pair[0], pair[1]));
            assert_eq!(usize::from(page[3]), page.len() - 4);
        }
        assert_eq!(rig.good(&ask(0x2f, 0), &[])[4..], NO_EXCEPTIONS);
    }

    #[test]
    fn what_is_not_there_is_refused() {
        let rig = Rig::new(8);
        assert_eq!(rig.sense(&ask(0x0d, 0), &[]), Sense::invalid_cdb_bit(2, 5));
        assert_eq!(rig.sense(&ask(0x2f, 1), &[]), Sense::invalid_cdb(3));
        let mut cdb = ask(0, 0);
        cdb[1] = 1;
        assert_eq!(rig.sense(&cdb, &[]), Sense::invalid_cdb_bit(1, 0));
        (cdb[1], cdb[6]) = (0, 1);
        assert_eq!(rig.sense(&cdb, &[]), Sense::invalid_cdb(5));
    }
}
