//! What must hold for every command, found by trying many.
//!
//! Arbitrary CDBs and data never panic and never change anything over a read-only nexus; and any
//! sequence of reads, writes, unmaps and write sames does to the medium what the same sequence
//! does to a plain vector of bytes.

use std::sync::atomic::Ordering;

use proptest::prelude::*;

use super::table::TABLE;
use super::testing::*;
use super::*;

const BLOCKS: u16 = 48;

/// A CDB that is mostly noise but often starts like a real one and has small numbers in it.
fn any_cdb() -> impl Strategy<Value = Vec<u8>> {
    let opcode = prop_oneof![
        any::<u8>(),
        proptest::sample::select(TABLE.iter().map(|row| row.opcode).collect::<Vec<_>>()),
    ];
    let byte = prop_oneof![3 => Just(0), 2 => 0..64u8, 1 => any::<u8>()];
    (opcode, proptest::collection::vec(byte, 0..32)).prop_map(|(opcode, mut rest)| {
        rest.insert(0, opcode);
        rest
    })
}

fn any_data() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..64),
        (0..40_000usize, any::<u8>()).prop_map(|(length, byte)| vec![byte; length]),
        proptest::collection::vec((0..64u64, 0..64u32), 0..5).prop_map(|list| unmap_list(&list)),
    ]
}

/// One step of the model.
#[derive(Debug, Clone)]
enum Step {
    Read(u16, u16),
    Write(u16, u16, u8),
    Unmap(Vec<(u16, u16)>),
    WriteSame { lba: u16, blocks: u16, fill: u8, flags: u8 },
}

fn any_step() -> impl Strategy<Value = Step> {
    let (lba, blocks) = (|| 0..=BLOCKS + 1, || 0..BLOCKS);
    prop_oneof![
        (lba(), blocks()).prop_map(|(lba, blocks)| Step::Read(lba, blocks)),
        (lba(), blocks(), any::<u8>()).prop_map(|(lba, n, seed)| Step::Write(lba, n, seed)),
        proptest::collection::vec((lba(), blocks()), 0..4).prop_map(Step::Unmap),
        (lba(), blocks(), 0..3u8, proptest::sample::select(vec![0, 1, 8, 9]))
            .prop_map(|(lba, blocks, fill, flags)| Step::WriteSame { lba, blocks, fill, flags }),
    ]
}

fn fits(lba: u16, blocks: u16) -> bool {
    lba + blocks <= BLOCKS
}

fn slice(model: &mut [u8], lba: u16, blocks: u16) -> &mut [u8] {
    &mut model[usize::from(lba) * BLOCK_SIZE..][..usize::from(blocks) * BLOCK_SIZE]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn noise_never_panics_and_a_reader_never_mutates(
        cdb in any_cdb(),
        data in any_data(),
        lun0: bool,
    ) {
        let rig = Rig::new(usize::from(BLOCKS));
        let reader = quiet(&rig.unit, Access::ReadOnly);
        let _ = run(&rig.unit, &reader, &cdb, &data);
        prop_assert_eq!(rig.medium.mutations.load(Ordering::Relaxed), 0);
        let (done, data_in) = rig.run(&cdb, &data);
        prop_assert!(done.status == Status::Good || done.status == Status::ConditionMet
            || data_in.is_empty());
        prop_assert!(data_in.len() <= MAX_TRANSFER_BYTES);
        let _ = (data_out_length(&cdb), command_name(&cdb));
        let mut scan = crate::Buffer::default();
        let _ = if lun0 {
            execute_well_known(&cdb, &[1], &mut scan)
        } else {
            execute_absent(&cdb, &mut scan)
        };
    }

    #[test]
    fn the_medium_behaves_like_a_vector(steps in proptest::collection::vec(any_step(), 1..30)) {
        let rig = Rig::new(usize::from(BLOCKS));
        let mut model = vec![0; usize::from(BLOCKS) * BLOCK_SIZE];
        for step in steps {
            let (expected, (done, data_in)) = match step {
                Step::Read(lba, n) => {
                    let answer = rig.run(&cdb10(0x28, 0, lba.into(), n), &[]);
                    if fits(lba, n) {
                        prop_assert_eq!(&answer.1, slice(&mut model, lba, n));
                    }
                    (fits(lba, n), answer)
                }
                Step::Write(lba, n, seed) => {
                    let data: Vec<u8> =
                        (0..usize::from(n) * BLOCK_SIZE).map(|i| (i / 3) as u8 ^ seed).collect();
                    if fits(lba, n) {
                        slice(&mut model, lba, n).copy_from_slice(&data);
                    }
                    (fits(lba, n), rig.run(&cdb16(0x8a, 0, lba.into(), n.into()), &data))
                }
                Step::Unmap(extents) => {
                    let ok = extents.iter().all(|&(lba, n)| fits(lba, n));
                    if ok {
                        for &(lba, n) in &extents {
                            slice(&mut model, lba, n).fill(0);
                        }
                    }
                    let list: Vec<_> =
                        extents.into_iter().map(|(lba, n)| (lba.into(), n.into())).collect();
                    let list = unmap_list(&list);
                    (ok, rig.run(&unmap_cdb(list.len()), &list))
                }
                Step::WriteSame { lba, blocks, fill, flags } => {
                    let ok = fits(lba, blocks) && blocks > 0;
                    if ok {
                        let value = if flags & 1 == 1 { 0 } else { fill };
                        slice(&mut model, lba, blocks).fill(value);
                    }
                    let cdb = cdb16(0x93, flags, lba.into(), blocks.into());
                    (ok, rig.run(&cdb, &[fill; BLOCK_SIZE]))
                }
            };
            prop_assert_eq!(expected, done.status == Status::Good, "{:?}", done);
            prop_assert!(expected || data_in.is_empty());
        }
        prop_assert_eq!(rig.medium.bytes(), model);
    }
}
