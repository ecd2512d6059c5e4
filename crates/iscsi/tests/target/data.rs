//! Data in both directions, whatever was negotiated, and residuals.

use std::sync::Arc;

use osds_iscsi::Limits;

use crate::initiator::{Answer, Data, Error, Io, Options, Residual};
use crate::scene::{ALICE, BOB, Scene, noise};

const BLOCK: usize = 512;

#[test]
fn data_arrives_whole_with_every_combination_of_bursts() {
    let scene = Scene::with(Limits {
        max_data_segment: 8192,
        max_burst: 32 << 10,
        first_burst: 16 << 10,
        buffered_bytes_per_session: 64 << 10,
        ..Limits::default()
    });
    let mut seed = 0;
    for bits in 0u32..32 {
        let on = |bit: u32| bits >> bit & 1 == 1;
        let options = Options {
            initial_r2t: on(0),
            immediate_data: on(1),
            header_digest: on(2),
            data_digest: on(3),
            from_security: on(4),
            max_recv_segment: [512, 4096, 8192, 65536][(bits % 4) as usize],
            max_burst: [4096, 9000, 32 << 10, 1 << 20][(bits / 4 % 4) as usize],
            first_burst: [512, 4096, 16 << 10, 1 << 20][(bits / 2 % 4) as usize],
            ..Options::default()
        };
        let mut session = scene.login_with(ALICE, &options).unwrap();
        // Around every border of segments, first bursts and bursts.
        for blocks in [1, 2, 7, 8, 9, 15, 16, 17, 18, 31, 32, 33, 63, 64, 65, 130] {
            seed += 1;
            let lba = seed % 100;
            let data = noise(seed, blocks * BLOCK);
            session.write(lba, &data).unwrap();
            assert!(session.read(lba, blocks as u32).unwrap() == data, "{options:?} {blocks}");
            let at = lba as usize * BLOCK;
            assert!(scene.medium.snapshot()[at..at + data.len()] == data[..]);
        }
        session.logout().unwrap();
    }
}

#[test]
fn the_largest_command_works_and_a_larger_one_is_refused() {
    let scene = Scene::new();
    let mut session = scene.login(ALICE).unwrap();
    let data = noise(1, 4 << 20);
    session.write(0, &data).unwrap();
    assert!(session.read(0, 8192).unwrap() == data);
    let too_much: Arc<[u8]> = vec![0; (16 << 20) + 512].into();
    let mut cdb = [0; 16];
    (cdb[0], cdb[12], cdb[13]) = (0x8a, 0x80, 1);
    let answer = session.command(&cdb, Data::Out(too_much)).unwrap();
    assert!(matches!(answer.good(), Err(Error::CheckCondition { key: 5, asc: 0x24, ascq: 0 })));
    assert!(session.read(0, 1).is_ok());
}

#[test]
fn deep_queues_of_mixed_commands_stay_in_step() {
    let scene = Scene::new();
    let mut session = scene
        .login_with(
            ALICE,
            &Options { initial_r2t: true, immediate_data: false, ..Options::default() },
        )
        .unwrap();
    session.block_size().unwrap();
    let pieces: Vec<Arc<[u8]>> = (0..64).map(|n| noise(n, 16 << 10).into()).collect();
    for (lba, piece) in (0..).step_by(32).zip(&pieces) {
        session.submit_write(lba, piece).unwrap();
    }
    for _ in 0..64 {
        session.queue().complete().unwrap().1.good().unwrap();
    }
    let tags: Vec<_> = (0..64).map(|n| session.submit_read(n * 32, 32).unwrap()).collect();
    for _ in 0..64 {
        let (tag, answer) = session.queue().complete().unwrap();
        let piece = tags.iter().position(|t| *t == tag).unwrap();
        assert!(answer.good().unwrap() == pieces[piece][..]);
    }
}

#[test]
fn a_pipeline_reads_what_a_pipeline_wrote() {
    let scene = Scene::new();
    let mut session = scene.login(ALICE).unwrap();
    let pieces: Vec<Arc<[u8]>> = (0..200).map(|n| noise(n, 4096).into()).collect();
    let lba = |n: usize| n as u64 * 8;
    let mut n = 0..pieces.len();
    let next = || n.next().map(|n| Io::Write { lba: lba(n), data: Arc::clone(&pieces[n]) });
    session.pipeline(32, next, |_, answer| assert_eq!(answer.status, 0)).unwrap();
    let (mut n, mut seen) = (0..pieces.len(), 0);
    let next = || n.next().map(|n| Io::Read { lba: lba(n), blocks: 8 });
    let done = |place, answer: &Answer| {
        assert!(answer.data == pieces[place as usize][..]);
        seen += 1;
    };
    session.pipeline(32, next, done).unwrap();
    assert_eq!(seen, pieces.len());
}

#[test]
fn two_hosts_share_one_unit_one_of_them_read_only() {
    let scene = Scene::new();
    let mut alice = scene.login(ALICE).unwrap();
    let mut bob = scene.login(BOB).unwrap();
    let data = noise(3, 8 * BLOCK);
    alice.write(5, &data).unwrap();
    assert_eq!(bob.read(5, 8).unwrap(), data);
    let refused = bob.write(5, &data);
    assert!(matches!(refused, Err(Error::CheckCondition { key: 7, asc: 0x27, ascq: 0 })));
    assert!(bob.is_write_protected().unwrap() && !alice.is_write_protected().unwrap());
    assert_eq!(alice.vital_product_data(0x83).unwrap(), bob.vital_product_data(0x83).unwrap());
    alice.unmap(5, 8).unwrap();
    alice.flush().unwrap();
    assert_eq!(bob.read(5, 8).unwrap(), vec![0; 8 * BLOCK]);
    assert_eq!(scene.unit.nexuses(), 2);
}

#[test]
fn residuals_say_what_was_not_moved() {
    let scene = Scene::new();
    let mut session = scene.login(ALICE).unwrap();
    let read = |blocks: u8| {
        let mut cdb = [0; 10];
        (cdb[0], cdb[8]) = (0x28, blocks);
        cdb
    };
    let cases = [
        (read(2), 2 * BLOCK, 2 * BLOCK, Residual::None),
        (read(1), 10_000, BLOCK, Residual::Underflow(10_000 - 512)),
        (read(2), BLOCK, BLOCK, Residual::Overflow(512)),
        (read(1), 200, 200, Residual::Overflow(312)),
        (read(255), 70_000, 70_000, Residual::Overflow(255 * 512 - 70_000)),
        (read(200), 200_000, 200 * BLOCK, Residual::Underflow(200_000 - 200 * 512)),
    ];
    for (cdb, expected, len, residual) in cases {
        let answer = session.command(&cdb, Data::In(expected)).unwrap();
        assert_eq!((answer.status, answer.data.len(), answer.residual), (0, len, residual));
    }
    let answer = session.command(&read(1), Data::None).unwrap();
    assert_eq!((answer.status, answer.residual), (0, Residual::Overflow(512)));
    let mut write = read(1);
    write[0] = 0x2a;
    let answer = session.command(&write, Data::Out(noise(1, 2048).into())).unwrap();
    assert_eq!((answer.status, answer.residual), (0, Residual::Underflow(1536)));
    assert_eq!(scene.medium.snapshot()[512..2048], [0; 1536]);
    // Less data than the command asks for must not become a partial write.
    write[8] = 2;
    let before = scene.medium.snapshot();
    let answer = session.command(&write, Data::Out(noise(2, 512).into())).unwrap();
    assert_eq!((answer.status, answer.residual), (2, Residual::Overflow(512)));
    assert!(scene.medium.snapshot() == before);
}

#[test]
fn other_luns_answer_without_a_unit() {
    let scene = Scene::new();
    let mut session = scene.login(ALICE).unwrap();
    let inquiry = [0x12, 0, 0, 0, 36, 0];
    let on = |session: &mut crate::initiator::Session, lun, cdb: &[u8], len| {
        session.command_on(lun, cdb, Data::In(len)).unwrap()
    };
    assert_eq!(on(&mut session, 0, &inquiry, 36).status, 0);
    assert_eq!(on(&mut session, 7, &inquiry, 36).data[0], 0x7f);
    assert_eq!(on(&mut session, 1, &inquiry, 36).data[0], 0);
    let luns = on(&mut session, 0, &[0xa0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0], 1024).good().unwrap();
    assert!(luns[8..].chunks(8).any(|lun| lun == [0, 1, 0, 0, 0, 0, 0, 0]));
    let before = scene.medium.writes();
    let write = [0x2a, 0, 0, 0, 0, 0, 0, 0, 1, 0];
    let answer = session.command_on(0, &write, Data::Out(vec![1; 512].into())).unwrap();
    assert!(matches!(answer.good(), Err(Error::CheckCondition { key: 5, .. })));
    assert_eq!(scene.medium.writes(), before);
}

#[test]
fn an_echo_comes_back() {
    let scene = Scene::new();
    let mut session = scene.login(BOB).unwrap();
    assert_eq!(session.queue().echo(b"hello").unwrap(), b"hello");
}
