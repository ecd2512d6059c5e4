//! What the unit says about provisioning is so: over a real sparse file, after any sequence of
//! writes, UNMAPs and WRITE SAMEs.
//!
//! GET LBA STATUS, walked from block to block, covers the medium without a gap; what it calls
//! unmapped reads as zeros, and what is not zero it calls mapped. A whole unmap granule that was
//! given back is unmapped until it is written again. The file system is asked first whether it has
//! holes at all; one without them may call everything mapped.

use proptest::prelude::*;

use super::cdb::Cdb;
use super::testing::*;
use super::*;

/// Blocks of one unmap granule, as page B0h says.
const GRANULE: u64 = 8;
const BLOCKS: u64 = 32 * GRANULE;

#[derive(Debug, Clone)]
enum Step {
    Write {
        lba: u64,
        blocks: u64,
        value: u8,
    },
    Unmap(Vec<(u64, u64)>),
    /// Opcode and flags of a WRITE SAME.
    Same {
        opcode: u8,
        flags: u8,
        lba: u64,
        blocks: u64,
        value: u8,
    },
}

fn any_step() -> impl Strategy<Value = Step> {
    // Half of them whole granules.
    let extent = || {
        prop_oneof![
            (0..BLOCKS, 1..40u64).prop_map(|(lba, n)| (lba, n.min(BLOCKS - lba))),
            (0..BLOCKS / GRANULE, 1..5u64).prop_map(|(granule, n)| {
                let lba = granule * GRANULE;
                (lba, (n * GRANULE).min(BLOCKS - lba))
            }),
        ]
    };
    let kinds = vec![(0x41, 0), (0x41, 8), (0x93, 0), (0x93, 8), (0x93, 1), (0x93, 9)];
    prop_oneof![
        (extent(), 0..3u8).prop_map(|((lba, blocks), value)| Step::Write { lba, blocks, value }),
        proptest::collection::vec(extent(), 1..4).prop_map(Step::Unmap),
        (proptest::sample::select(kinds), extent(), 0..2u8).prop_map(
            |((opcode, flags), (lba, blocks), value)| Step::Same {
                opcode,
                flags,
                lba,
                blocks,
                value,
            }
        ),
    ]
}

/// A block, as far as it is known.
#[derive(Debug, Clone, Copy)]
struct Block {
    value: u8,
    /// It was given back, as part of a whole granule, and not written since.
    given_back: bool,
}

struct Scene {
    unit: LogicalUnit,
    nexus: Nexus,
    model: Vec<Block>,
    has_holes: bool,
}

impl Scene {
    fn new() -> Self {
        let file = tempfile::tempfile().unwrap();
        file.set_len(BLOCKS * BLOCK_SIZE as u64).unwrap();
        let medium = FileBackend::new(file);
        let has_holes = !medium.mapped(0).unwrap().mapped;
        let unit = LogicalUnit::new(Box::new(medium), identity()).unwrap();
        let nexus = quiet(&unit, Access::ReadWrite);
        let model = vec![Block { value: 0, given_back: true }; BLOCKS as usize];
        Self { unit, nexus, model, has_holes }
    }

    fn send(&self, cdb: &[u8], data: &[u8]) -> Vec<u8> {
        let (done, data_in) = run(&self.unit, &self.nexus, cdb, data);
        assert_eq!(done, Completion::GOOD, "{}", command_name(cdb));
        data_in
    }

    fn set(&mut self, (lba, blocks): (u64, u64), value: u8, gives_back: bool) {
        let whole = lba.next_multiple_of(GRANULE)..(lba + blocks) / GRANULE * GRANULE;
        for lba in lba..lba + blocks {
            let block = &mut self.model[lba as usize];
            block.value = value;
            // A part of a granule may stay as it was or go, so nothing is known of it.
            block.given_back = gives_back && (whole.contains(&lba) || block.given_back);
        }
        if !gives_back {
            // File systems keep space by their own block: the neighbours have it as well.
            let first = lba / GRANULE * GRANULE;
            let end = (lba + blocks).next_multiple_of(GRANULE);
            self.model[first as usize..end as usize].iter_mut().for_each(|b| b.given_back = false);
        }
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::Write { lba, blocks, value } => {
                let data = vec![*value; *blocks as usize * BLOCK_SIZE];
                self.send(&cdb16(0x8a, 0, *lba, *blocks as u32), &data);
                self.set((*lba, *blocks), *value, false);
            }
            Step::Unmap(extents) => {
                let list: Vec<_> = extents.iter().map(|&(lba, n)| (lba, n as u32)).collect();
                let list = unmap_list(&list);
                self.send(&unmap_cdb(list.len()), &list);
                extents.iter().for_each(|&extent| self.set(extent, 0, true));
            }
            Step::Same { opcode, flags, lba, blocks, value } => {
                let no_data = *flags & 1 == 1;
                let value = if no_data { 0 } else { *value };
                let data = if no_data { vec![] } else { vec![value; BLOCK_SIZE] };
                if *opcode == 0x41 {
                    self.send(&cdb10(*opcode, *flags, *lba as u32, *blocks as u16), &data);
                } else {
                    self.send(&cdb16(*opcode, *flags, *lba, *blocks as u32), &data);
                }
                self.set((*lba, *blocks), value, *flags & 8 != 0 && value == 0);
            }
        }
    }

    /// Walks GET LBA STATUS: for each block whether it is mapped.
    fn status(&self) -> Vec<bool> {
        let mut mapped = vec![];
        while (mapped.len() as u64) < BLOCKS {
            let asked = mapped.len() as u64;
            let told = self.send(&cdb16(0x9e, 0x12, asked, 8 + 3 * 16), &[]);
            assert_eq!(Cdb::new(&told).u32(0) as usize, told.len() - 4);
            for descriptor in told[8..].chunks(16) {
                let fields = Cdb::new(descriptor);
                assert_eq!(fields.u64(0), mapped.len() as u64, "the descriptors follow each other");
                assert!(fields.u32(8) > 0);
                let run = fields.u32(8) as usize;
                mapped.extend(std::iter::repeat_n(fields.byte(12) & 0x0f == 0, run));
            }
            assert!(mapped.len() as u64 > asked);
        }
        assert_eq!(mapped.len() as u64, BLOCKS, "no block beyond the end");
        mapped
    }

    /// What is not as the head of this file says.
    fn lies(&self) -> Option<String> {
        let bytes = self.send(&cdb10(0x28, 0, 0, BLOCKS as u16), &[]);
        let blocks = bytes.chunks(BLOCK_SIZE).zip(self.status()).zip(&self.model);
        blocks.enumerate().find_map(|(lba, ((bytes, mapped), block))| {
            let said = |words: &str| Some(format!("block {lba} {words}"));
            if bytes.iter().any(|byte| *byte != block.value) {
                said("holds something else than was written")
            } else if !mapped && block.value != 0 {
                said("is not zero and said to be unmapped")
            } else if mapped && block.given_back && self.has_holes {
                said("was given back and is said to be mapped")
            } else {
                None
            }
        })
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        cases: 64,
        ..ProptestConfig::default()
    })]

    #[test]
    fn lba_status_is_what_was_done(steps in proptest::collection::vec(any_step(), 1..20)) {
        let mut scene = Scene::new();
        prop_assert_eq!(scene.lies(), None);
        for step in &steps {
            scene.take(step);
            prop_assert_eq!(scene.lies(), None, "after {:?}", step);
        }
    }
}

/// The check can fail: it finds a model that is told something else than the unit was.
#[test]
fn what_is_not_so_is_found_out() {
    let mut scene = Scene::new();
    scene.take(&Step::Write { lba: 0, blocks: 2 * GRANULE, value: 1 });
    assert_eq!(scene.lies(), None);
    scene.set((0, GRANULE), 0, true);
    assert_eq!(scene.lies().unwrap(), "block 0 holds something else than was written");
    let mut scene = Scene::new();
    if scene.has_holes {
        scene.take(&Step::Write { lba: 0, blocks: GRANULE, value: 0 });
        scene.set((0, GRANULE), 0, true);
        assert_eq!(scene.lies().unwrap(), "block 0 was given back and is said to be mapped");
    }
}

/// Pages B0h and B2h, bit by bit, against what the commands do.
#[test]
fn the_provisioning_pages_promise_what_is_done() {
    let scene = Scene::new();
    let page = |code: u8| scene.send(&[0x12, 1, code, 1, 0, 0], &[]);
    let (limits, provisioning) = (page(0xb0), page(0xb2));
    assert_eq!(Cdb::new(&limits).u32(28), GRANULE as u32);
    assert_eq!(Cdb::new(&limits).u32(32), 1 << 31, "aligned with block 0, and that is valid");
    assert_eq!(limits[44..64], [0; 20], "nothing is said of atomic writes");
    let bit = |bit: u8| provisioning[5] >> bit & 1 == 1;
    let unmaps = |cdb: &[u8], data: &[u8]| {
        let mut scene = Scene::new();
        scene.take(&Step::Write { lba: 0, blocks: GRANULE, value: 1 });
        let done = run(&scene.unit, &scene.nexus, cdb, data).0;
        let zeros = scene.send(&cdb10(0x28, 0, 0, GRANULE as u16), &[]).iter().all(|b| *b == 0);
        done == Completion::GOOD && zeros && (!scene.has_holes || !scene.status()[0])
    };
    let list = unmap_list(&[(0, GRANULE as u32)]);
    assert_eq!(bit(7), unmaps(&unmap_cdb(list.len()), &list), "LBPU");
    let zeros = [0; BLOCK_SIZE];
    assert_eq!(bit(6), unmaps(&cdb16(0x93, 8, 0, GRANULE as u32), &zeros), "LBPWS");
    assert_eq!(bit(5), unmaps(&cdb10(0x41, 8, 0, GRANULE as u16), &zeros), "LBPWS10");
    assert!(bit(2), "LBPRZ: the walk above proves it");
    let mut anchored = unmap_cdb(list.len());
    anchored[1] = 1;
    assert_eq!(bit(1), unmaps(&anchored, &list), "ANC_SUP");
}
