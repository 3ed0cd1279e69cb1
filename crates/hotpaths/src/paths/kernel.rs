//! Requests of the kernel, and replies to it.

use std::hint::black_box;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use fuse::{Attr, DirEntry, DirReply, Entry, FileType, NodeId, Operation, ReadReply, Segments};

/// A LOOKUP and a READ as the kernel sends them, parsed.
pub(super) fn parse() -> Box<dyn FnMut() -> usize> {
    let [lookup, read] = requests();
    Box::new(move || {
        let of = |bytes| fuse::parse(bytes).map(|message| message.operation);
        let is_lookup = matches!(of(black_box(&lookup)), Ok(Operation::Lookup { .. }));
        let is_read = matches!(of(black_box(&read)), Ok(Operation::Read { .. }));
        usize::from(is_lookup && is_read)
    })
}

fn requests() -> [Vec<u8>; 2] {
    let request = |opcode: u32, body: &[u8]| {
        let mut bytes = (40 + body.len() as u32).to_ne_bytes().to_vec();
        bytes.extend(opcode.to_ne_bytes());
        // Its number, and the node.
        bytes.extend(77_u64.to_ne_bytes());
        bytes.extend(5_u64.to_ne_bytes());
        // User, group, thread, extensions.
        bytes.extend([1000_u32, 1000, 4711, 0].map(u32::to_ne_bytes).concat());
        bytes.extend(body);
        bytes
    };
    let mut read = [1_u64, 1 << 20].map(u64::to_ne_bytes).concat();
    read.extend([131_072_u32, 0].map(u32::to_ne_bytes).concat());
    read.extend(0_u64.to_ne_bytes());
    read.extend([0_u32; 2].map(u32::to_ne_bytes).concat());
    [
        request(1, b"a-name-of-some-length.tar\0"),
        request(15, &read),
    ]
}

/// Two pieces of a cache with a hole between, copied together as for io_uring.
pub(super) fn reply_read() -> Box<dyn FnMut() -> usize> {
    let cached = Bytes::from(vec![7; 4096]);
    let mut memory = vec![0; 16 << 10];
    let mut segments = Segments::default();
    Box::new(move || {
        let mut reply = ReadReply::new(&mut memory, &mut segments);
        reply.share(black_box(&cached).clone());
        reply.zeros(4096);
        reply.share(black_box(&cached).clone());
        reply.flatten().map_or(0, <[u8]>::len)
    })
}

/// Ten names with their attributes.
pub(super) fn reply_names() -> Box<dyn FnMut() -> usize> {
    let time = SystemTime::UNIX_EPOCH + Duration::new(1_700_000_000, 5);
    let names: Vec<String> = (0..10)
        .map(|n| format!("a-name-of-some-length-{n}.tar"))
        .collect();
    let entry = move |number: u64| Entry {
        node: NodeId(number),
        entry_ttl: Duration::from_secs(60),
        attr_ttl: Duration::from_secs(60),
        attr: Attr {
            ino: number,
            size: 4096,
            blocks: 8,
            atime: time,
            mtime: time,
            ctime: time,
            kind: FileType::Regular,
            perm: 0o644,
            nlink: 1,
            uid: 1000,
            gid: 1000,
            rdev: 0,
            blksize: 4096,
        },
    };
    let mut memory = vec![0; 8192];
    Box::new(move || {
        let mut reply = DirReply::new(&mut memory, true);
        for (number, name) in (2..).zip(black_box(&names)) {
            let dirent = DirEntry {
                ino: number,
                next_offset: number,
                kind: FileType::Regular,
                name: name.as_bytes(),
            };
            if !reply.add_plus(&dirent, || Some(entry(number))) {
                return 0;
            }
        }
        reply.bytes().len()
    })
}
