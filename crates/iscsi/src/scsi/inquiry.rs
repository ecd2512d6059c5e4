//! INQUIRY: who the unit is and what it can do, in the standard page and the vital product data.
//!
//! Everything here is the same for every session and path: initiators recognise a volume they
//! reach twice by the NAA designator of page 83h, and trust the limits of page B0h, which are the
//! constants that the commands themselves check.

use super::MAX_TRANSFER_BLOCKS;
use super::block::MAX_COMPARE_AND_WRITE_BLOCKS;
use super::dispatch::{Call, reply};
use super::persist::TARGET_PORT;
use super::provisioning::{MAX_UNMAP_BLOCKS, MAX_UNMAP_DESCRIPTORS, MAX_WRITE_SAME_BLOCKS};
use super::sense::{Sense, Status};
use super::unit::Identity;
use crate::buffer::Buffer;

/// Logical blocks per physical block, as a power of two: 4096 bytes.
pub(super) const PHYSICAL_EXPONENT: u8 = 3;

/// Transfers and unmaps should start and end on a physical block.
const GRANULARITY: u16 = 1 << PHYSICAL_EXPONENT;
/// The group that the one target port is in.
pub(super) const TARGET_PORT_GROUP: u16 = 1;

/// A transfer that is worth its overhead: 1 MiB.
const OPTIMAL_TRANSFER_BLOCKS: u32 = 2048;

type Page = fn(&Identity) -> Vec<u8>;

/// The vital product data pages, in ascending order as page 00h must list them.
const PAGES: &[(u8, Page)] = &[
    (0x00, supported_pages),
    (0x80, serial_number),
    (0x83, device_identification),
    (0xb0, block_limits),
    (0xb1, block_characteristics),
    (0xb2, provisioning),
];

/// INQUIRY.
pub(super) fn inquiry(call: &Call<'_>, data_in: &mut Buffer) -> Result<Status, Sense> {
    let identity = call.unit.identity();
    let (page, allocation) = (call.cdb.byte(2), usize::from(call.cdb.u16(3)));
    let obsolete_command_data = call.cdb.bit(1, 1);
    if obsolete_command_data {
        return Err(Sense::invalid_cdb_bit(1, 1));
    }
    if !call.cdb.bit(1, 0) {
        if page != 0 {
            return Err(Sense::invalid_cdb(2));
        }
        const IMPLICIT_ALUA: u8 = 0x10;
        const THIRD_PARTY_COPY: u8 = 0x08;
        let mut out = standard(DISK, &identity.vendor, &identity.product, &identity.revision);
        out[5] = IMPLICIT_ALUA | THIRD_PARTY_COPY;
        return Ok(reply(data_in, &out, allocation));
    }
    let (code, build) =
        PAGES.iter().find(|(code, _)| *code == page).ok_or(Sense::invalid_cdb(2))?;
    let body = build(identity);
    let mut out = vec![DISK, *code];
    out.extend_from_slice(&(body.len() as u16).to_be_bytes());
    out.extend_from_slice(&body);
    Ok(reply(data_in, &out, allocation))
}

/// Peripheral qualifier 0, direct access block device.
const DISK: u8 = 0x00;

/// Standard INQUIRY data of a device whose first byte is `peripheral`.
pub(super) fn standard(peripheral: u8, vendor: &str, product: &str, revision: &str) -> [u8; 96] {
    const SPC4: u8 = 0x06;
    const RESPONSE_FORMAT: u8 = 0x02;
    const COMMAND_QUEUING: u8 = 0x02;
    const SAM5: u16 = 0x00a0;
    const SPC4_VERSION: u16 = 0x0460;
    const SBC3: u16 = 0x04c0;
    const ISCSI: u16 = 0x0960;
    let mut out = [0; 96];
    out[0] = peripheral;
    out[2] = SPC4;
    out[3] = RESPONSE_FORMAT;
    out[4] = (out.len() - 5) as u8;
    out[7] = COMMAND_QUEUING;
    put_ascii(&mut out[8..16], vendor);
    put_ascii(&mut out[16..32], product);
    put_ascii(&mut out[32..36], revision);
    for (index, descriptor) in [SAM5, ISCSI, SPC4_VERSION, SBC3].into_iter().enumerate() {
        out[58 + 2 * index..60 + 2 * index].copy_from_slice(&descriptor.to_be_bytes());
    }
    out
}

/// Left-aligned, padded with spaces, cut where it does not fit; only printable ASCII goes out.
fn put_ascii(field: &mut [u8], text: &str) {
    field.fill(b' ');
    for (to, from) in field.iter_mut().zip(ascii(text)) {
        *to = from;
    }
}

fn ascii(text: &str) -> impl Iterator<Item = u8> + '_ {
    text.chars().map(|c| if c == ' ' || c.is_ascii_graphic() { c as u8 } else { b'?' })
}

fn supported_pages(_: &Identity) -> Vec<u8> {
    PAGES.iter().map(|(code, _)| *code).collect()
}

fn serial_number(identity: &Identity) -> Vec<u8> {
    ascii(&identity.serial).take(252).collect()
}

/// Page 83h: NAA, vendor designator, and the one port that all paths lead to with its group.
fn device_identification(identity: &Identity) -> Vec<u8> {
    const BINARY: u8 = 1;
    const ASCII: u8 = 2;
    const ISCSI_PORT: u8 = 0x50;
    const NAA: u8 = 0x03;
    const T10_VENDOR: u8 = 0x01;
    const RELATIVE_PORT_OF_PORT: u8 = 0x80 | 0x10 | 0x04;
    const GROUP_OF_PORT: u8 = 0x80 | 0x10 | 0x05;
    let mut out = vec![BINARY, NAA, 0, 16];
    out.extend_from_slice(&identity.naa);
    let mut vendor = vec![b' '; 8];
    put_ascii(&mut vendor, &identity.vendor);
    vendor.extend(ascii(&identity.serial).take(120));
    out.extend_from_slice(&[ASCII, T10_VENDOR, 0, vendor.len() as u8]);
    out.extend_from_slice(&vendor);
    for (kind, number) in [(RELATIVE_PORT_OF_PORT, TARGET_PORT), (GROUP_OF_PORT, TARGET_PORT_GROUP)]
    {
        let [high, low] = number.to_be_bytes();
        out.extend_from_slice(&[ISCSI_PORT | BINARY, kind, 0, 4, 0, 0, high, low]);
    }
    out
}

/// Page B0h.
fn block_limits(_: &Identity) -> Vec<u8> {
    const WRITE_SAME_NON_ZERO: u8 = 0x01;
    const ALIGNMENT_VALID: u32 = 1 << 31;
    let mut page = [0; 64];
    page[4] = WRITE_SAME_NON_ZERO;
    page[5] = MAX_COMPARE_AND_WRITE_BLOCKS;
    page[6..8].copy_from_slice(&GRANULARITY.to_be_bytes());
    page[8..12].copy_from_slice(&MAX_TRANSFER_BLOCKS.to_be_bytes());
    page[12..16].copy_from_slice(&OPTIMAL_TRANSFER_BLOCKS.to_be_bytes());
    page[20..24].copy_from_slice(&MAX_UNMAP_BLOCKS.to_be_bytes());
    page[24..28].copy_from_slice(&MAX_UNMAP_DESCRIPTORS.to_be_bytes());
    page[28..32].copy_from_slice(&u32::from(GRANULARITY).to_be_bytes());
    page[32..36].copy_from_slice(&ALIGNMENT_VALID.to_be_bytes());
    page[36..44].copy_from_slice(&u64::from(MAX_WRITE_SAME_BLOCKS).to_be_bytes());
    page[4..].to_vec()
}

/// Page B1h: nothing rotates.
fn block_characteristics(_: &Identity) -> Vec<u8> {
    const NON_ROTATING: [u8; 2] = [0, 1];
    let mut page = [0; 64];
    page[4..6].copy_from_slice(&NON_ROTATING);
    page[4..].to_vec()
}

/// Page B2h: UNMAP and both WRITE SAMEs unmap, unmapped blocks read as zeros, thin.
fn provisioning(_: &Identity) -> Vec<u8> {
    const LBPU_LBPWS_LBPWS10_LBPRZ: u8 = 0x80 | 0x40 | 0x20 | 0x04;
    const THIN: u8 = 2;
    vec![0, LBPU_LBPWS_LBPWS10_LBPRZ, THIN, 0]
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Rig, identity};
    use super::*;

    fn page(code: u8) -> Vec<u8> {
        let out = Rig::new(8).good(&[0x12, 1, code, 1, 0, 0], &[]);
        assert_eq!((out[0], out[1]), (0, code));
        assert_eq!(usize::from(out[2]) << 8 | usize::from(out[3]), out.len() - 4);
        out
    }

    #[test]
    fn standard_data_has_fixed_fields() {
        let rig = Rig::new(8);
        let out = rig.good(&[0x12, 0, 0, 0, 255, 0], &[]);
        assert_eq!((out.len(), out[0], out[2], out[3], out[4], out[5]), (96, 0, 6, 2, 91, 0x18));
        assert_eq!(&out[8..36], b"VENDOR  Product         1   ");
        assert_eq!(out[58..66], [0x00, 0xa0, 0x09, 0x60, 0x04, 0x60, 0x04, 0xc0]);
        assert_eq!(rig.good(&[0x12, 0, 0, 0, 5, 0], &[]).len(), 5);
        assert_eq!(rig.good(&[0x12, 0, 0, 0, 0, 0], &[]).len(), 0);
    }

    #[test]
    fn page_codes_are_checked() {
        let rig = Rig::new(8);
        assert_eq!(rig.sense(&[0x12, 0, 0x83, 0, 255, 0], &[]), Sense::invalid_cdb(2));
        assert_eq!(rig.sense(&[0x12, 1, 0x81, 0, 255, 0], &[]), Sense::invalid_cdb(2));
        assert_eq!(rig.sense(&[0x12, 2, 0, 0, 255, 0], &[]), Sense::invalid_cdb_bit(1, 1));
    }

    #[test]
    fn listed_pages_exist_in_order() {
        let listed = page(0)[4..].to_vec();
        assert!(listed.is_sorted());
        for code in listed {
            page(code);
        }
    }

    #[test]
    fn identity_is_binary_and_text() {
        assert_eq!(&page(0x80)[4..], b"serial-1");
        let out = page(0x83);
        assert_eq!(out[4..8], [1, 3, 0, 16]);
        assert_eq!(out[8..24], identity().naa);
        assert_eq!(out[24..28], [2, 1, 0, 16]);
        assert_eq!(&out[28..44], b"VENDOR  serial-1");
        assert_eq!(out[44..52], [0x51, 0x94, 0, 4, 0, 0, 0, 1]);
        assert_eq!(out[52..], [0x51, 0x95, 0, 4, 0, 0, 0, 1]);
    }

    #[test]
    fn limits_are_those_the_commands_check() {
        let out = page(0xb0);
        assert_eq!((out.len(), out[4], out[5]), (64, 1, MAX_COMPARE_AND_WRITE_BLOCKS));
        assert_eq!(out[8..12], MAX_TRANSFER_BLOCKS.to_be_bytes());
        assert_eq!(out[20..24], MAX_UNMAP_BLOCKS.to_be_bytes());
        assert_eq!(out[24..28], MAX_UNMAP_DESCRIPTORS.to_be_bytes());
        assert_eq!(out[36..44], u64::from(MAX_WRITE_SAME_BLOCKS).to_be_bytes());
        assert_eq!(page(0xb1)[4..6], [0, 1]);
        assert_eq!(page(0xb2)[4..], [0, 0xe4, 2, 0]);
    }

    #[test]
    fn text_that_does_not_fit_is_cut_and_cleaned() {
        let mut field = [0; 4];
        put_ascii(&mut field, "a\u{e4}\nbcd");
        assert_eq!(&field, b"a??b");
    }
}
