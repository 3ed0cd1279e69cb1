//! Every byte of a file arrives, however it is asked for and however the reply is made.
#![allow(clippy::unwrap_used)]

#[macro_use]
mod support;

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, OpenOptionsExt};

use bytes::Bytes;
use fuse::{SessionConfig, Transport};
use parking_lot::RwLock;
use support::{Kind, MemFs, Mounted, Piece, Random};

/// Pieces of all kinds and of odd sizes, and what they amount to.
fn mixed(random: &mut Random, size: usize) -> (Vec<Piece>, Vec<u8>) {
    let mut pieces = Vec::new();
    let mut whole = Vec::new();
    while whole.len() < size {
        let longest = if random.below(3) == 0 { 300 } else { 200_000 };
        let len = (1 + random.below(longest)).min(size - whole.len());
        let piece = match random.below(3) {
            0 => Piece::Fill(random.bytes(len)),
            1 => Piece::Share(Bytes::from(random.bytes(len))),
            _ => Piece::Zeros(len),
        };
        match &piece {
            Piece::Fill(bytes) => whole.extend_from_slice(bytes),
            Piece::Share(bytes) => whole.extend_from_slice(bytes),
            Piece::Zeros(len) => whole.resize(whole.len() + len, 0),
        }
        pieces.push(piece);
    }
    (pieces, whole)
}

/// A mounted file of mixed pieces with its content, and many tiny pieces too.
fn mount(config: SessionConfig) -> (Mounted, Vec<u8>) {
    let mut random = Random(0x5EED);
    let (mut pieces, mut whole) = mixed(&mut random, 9_000_001);
    // More pieces in one READ than writev(2) takes.
    for _ in 0..40_000 {
        let len = 1 + random.below(40);
        let bytes = random.bytes(len);
        whole.extend_from_slice(&bytes);
        pieces.push(Piece::Share(Bytes::from(bytes)));
        whole.push(0);
        pieces.push(Piece::Zeros(1));
    }
    let mut fs = MemFs::new();
    fs.add("mixed", Kind::File(RwLock::new(pieces)));
    (Mounted::with(fs, config), whole)
}

#[test]
fn a_file_is_read_whole_and_by_random_unaligned_ranges() {
    needs_mount!();
    let (mounted, whole) = mount(SessionConfig::default());
    assert!(std::fs::read(mounted.path("mixed")).unwrap() == whole);

    let file = File::open(mounted.path("mixed")).unwrap();
    let mut random = Random(77);
    for _ in 0..300 {
        mounted
            .fs
            .notifier
            .lock()
            .clone()
            .unwrap()
            .inval_inode(fuse::NodeId(2), 0, 0)
            .unwrap();
        let start = random.below(whole.len());
        let mut buffer = vec![0; 1 + random.below(700_000)];
        let got = file.read_at(&mut buffer, start as u64).unwrap();
        assert!(
            got > 0 && buffer[..got] == whole[start..start + got],
            "at {start}"
        );
    }
    let mut past = [0; 10];
    assert_eq!(file.read_at(&mut past, whole.len() as u64).unwrap(), 0);
}

#[test]
fn direct_reads_get_the_same_bytes() {
    needs_mount!();
    for async_dio in [false, true] {
        let (mounted, whole) = mount(SessionConfig {
            async_dio,
            ..SessionConfig::default()
        });
        let file = File::options()
            .read(true)
            .custom_flags(libc::O_DIRECT)
            .open(mounted.path("mixed"))
            .unwrap();
        let mut memory = vec![0u8; (4 << 20) + 4096];
        let aligned = memory.as_ptr().align_offset(4096);
        let mut random = Random(5);
        for _ in 0..60 {
            let start = random.below(whole.len() / 4096) * 4096;
            let len = (1 + random.below(1000)) * 4096;
            let buffer = &mut memory[aligned..aligned + len];
            let got = file.read_at(buffer, start as u64).unwrap();
            assert_eq!(got, len.min(whole.len() - start), "at {start}");
            assert!(buffer[..got] == whole[start..start + got], "at {start}");
        }
    }
}

#[test]
fn a_mapping_shows_the_same_bytes() {
    needs_mount!();
    let (mounted, whole) = mount(SessionConfig::default());
    let file = File::open(mounted.path("mixed")).unwrap();
    // SAFETY: a fresh shared read-only mapping of a file nobody changes, read
    // within its length and unmapped at the end.
    unsafe {
        let map = rustix::mm::mmap(
            std::ptr::null_mut(),
            whole.len(),
            rustix::mm::ProtFlags::READ,
            rustix::mm::MapFlags::SHARED,
            &file,
            0,
        )
        .unwrap();
        let bytes = std::slice::from_raw_parts(map.cast::<u8>(), whole.len());
        let mut random = Random(3);
        for _ in 0..2000 {
            let at = random.below(whole.len());
            assert_eq!(bytes[at], whole[at], "at {at}");
        }
        assert!(bytes == whole);
        rustix::mm::munmap(map, whole.len()).unwrap();
    }
}

#[test]
fn eight_threads_read_one_file() {
    needs_mount!();
    let (mounted, whole) = mount(SessionConfig::default());
    std::thread::scope(|scope| {
        for seed in 1..=8 {
            let (mounted, whole) = (&mounted, &whole);
            scope.spawn(move || {
                let mut random = Random(seed);
                let mut file = File::open(mounted.path("mixed")).unwrap();
                for _ in 0..50 {
                    let start = random.below(whole.len());
                    let len = (1 + random.below(300_000)).min(whole.len() - start);
                    let mut buffer = vec![0; len];
                    file.seek(SeekFrom::Start(start as u64)).unwrap();
                    file.read_exact(&mut buffer).unwrap();
                    assert!(buffer == whole[start..start + len]);
                }
            });
        }
    });
}

#[test]
fn read_ahead_is_raised_and_requests_are_of_one_mebibyte() {
    needs_mount!();
    let mut fs = MemFs::new();
    fs.add("big", Kind::File(RwLock::new(vec![Piece::Zeros(64 << 20)])));
    let mounted = Mounted::with(
        fs,
        SessionConfig {
            read_ahead_kb: Some(2048),
            ..SessionConfig::default()
        },
    );
    let negotiated = mounted.session.negotiated();
    assert_eq!(negotiated.max_read, 1 << 20);
    assert_eq!(negotiated.read_ahead_kb, Some(Ok(2048)));
    let mounts = fuse::mounts().unwrap();
    let here = mounts
        .iter()
        .find(|mount| mount.mount_point == mounted.session.path());
    let device = &here.unwrap().device;
    let set = std::fs::read_to_string(format!("/sys/class/bdi/{device}/read_ahead_kb")).unwrap();
    assert_eq!(set.trim(), "2048");

    let mut file = File::open(mounted.path("big")).unwrap();
    std::io::copy(&mut file, &mut std::io::sink()).unwrap();
    let reads = mounted.fs.reads.lock();
    let large = reads.iter().filter(|(_, size)| *size == 1 << 20).count();
    assert!(
        large * 10 >= reads.len() * 7,
        "{large} of {} reads are 1 MiB",
        reads.len()
    );
}

#[test]
fn small_requests_are_enough_when_asked_for() {
    needs_mount!();
    let (mounted, whole) = mount(SessionConfig {
        max_read: 64 << 10,
        max_threads: 1,
        transport: Transport::Device,
        read_ahead_kb: None,
        ..SessionConfig::default()
    });
    assert!(std::fs::read(mounted.path("mixed")).unwrap() == whole);
    assert!(
        mounted
            .fs
            .reads
            .lock()
            .iter()
            .all(|(_, size)| *size <= 64 << 10)
    );
    assert_eq!(mounted.session.threads(), 1);
}
