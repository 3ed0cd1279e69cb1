use std::time::{Duration, UNIX_EPOCH};

use super::*;

fn read(entry: pb::Entry) -> Entry {
    Entry::from_pb("/dir", entry).unwrap()
}

fn file(attributes: pb::FuseAttributes) -> pb::Entry {
    pb::Entry {
        name: "file".into(),
        attributes: Some(attributes),
        ..Default::default()
    }
}

fn sized(file_size: u64) -> pb::Entry {
    file(pb::FuseAttributes {
        file_size,
        mtime: 1000,
        ..Default::default()
    })
}

fn chunk(offset: i64, size: u64) -> pb::FileChunk {
    pb::FileChunk {
        file_id: "3,01637037d6".into(),
        offset,
        size,
        ..Default::default()
    }
}

fn remote(remote_size: i64, remote_mtime: i64) -> Option<pb::RemoteEntry> {
    Some(pb::RemoteEntry {
        storage_name: "s3".into(),
        remote_size,
        remote_mtime,
        ..Default::default()
    })
}

#[test]
fn attributes_are_taken_over() {
    let entry = read(pb::Entry {
        hard_link_counter: 3,
        hard_link_id: Bytes::from_static(b"id"),
        ..file(pb::FuseAttributes {
            file_mode: 1 << 23 | 0o751,
            uid: 1,
            gid: 2,
            rdev: 3,
            inode: 4,
            mtime: 10,
            mtime_ns: 11,
            ctime: 20,
            ctime_ns: 21,
            atime: 30,
            atime_ns: 31,
            crtime: 40,
            crtime_ns: 41,
            ttl_sec: 50,
            mime: "text/plain".into(),
            ..Default::default()
        })
    });
    assert_eq!((entry.kind, entry.perm), (Kind::Regular, 0o4751));
    assert_eq!(
        (entry.uid, entry.gid, entry.rdev, entry.inode, entry.nlink),
        (1, 2, 3, 4, 3)
    );
    let at = |seconds, nanos| UNIX_EPOCH + Duration::new(seconds, nanos);
    assert_eq!((entry.mtime, entry.ctime), (at(10, 11), at(20, 21)));
    assert_eq!((entry.atime, entry.crtime), (at(30, 31), at(40, 41)));
    assert_eq!((entry.ttl_sec, entry.mime.as_str()), (50, "text/plain"));
    assert_eq!(entry.hard_link_id.as_deref(), Some(&b"id"[..]));
}

#[test]
fn missing_attributes_have_defaults() {
    let entry = read(file(pb::FuseAttributes {
        mtime: 10,
        mtime_ns: 11,
        ..Default::default()
    }));
    assert_eq!((entry.ctime, entry.atime), (entry.mtime, entry.mtime));
    assert_eq!((entry.nlink, &entry.hard_link_id), (1, &None));
    let made_by_a_filer = read(file(pb::FuseAttributes {
        mtime: 10,
        ctime: -62_135_596_800,
        atime: -62_135_596_800,
        ..Default::default()
    }));
    assert_eq!(made_by_a_filer.ctime, made_by_a_filer.mtime);
    assert_eq!(made_by_a_filer.atime, made_by_a_filer.mtime);
    let bare = read(pb::Entry {
        name: "bare".into(),
        is_directory: true,
        ..Default::default()
    });
    assert!(bare.is_directory());
    assert_eq!((bare.mtime, bare.size), (UNIX_EPOCH, 0));
    let negative = read(pb::Entry {
        hard_link_counter: -1,
        ..sized(0)
    });
    assert_eq!(negative.nlink, 1);
}

#[test]
fn inode_numbers_are_stored_or_computed() {
    let at = |directory: &str, crtime| {
        let entry = file(pb::FuseAttributes {
            crtime,
            ..Default::default()
        });
        Entry::from_pb(directory, entry).unwrap().inode
    };
    assert_eq!(at("/dir", 5), inode::of_path("/dir/file", 5));
    assert_eq!(at("/", 5), inode::of_path("/file", 5));
    let linked = read(pb::Entry {
        hard_link_id: Bytes::from_static(b"id"),
        ..sized(0)
    });
    assert_eq!(linked.inode, inode::of_hard_link(b"id"));
}

#[test]
fn the_size_is_the_largest_of_attribute_and_chunks() {
    let with = |file_size, chunks: &[pb::FileChunk]| {
        let chunks = chunks.to_vec();
        read(pb::Entry {
            chunks,
            ..sized(file_size)
        })
        .size
    };
    assert_eq!(with(5, &[]), 5);
    assert_eq!(with(5, &[chunk(0, 4)]), 5);
    assert_eq!(with(5, &[chunk(90, 10), chunk(0, 4)]), 100);
    assert_eq!(with(u64::MAX, &[]), i64::MAX as u64);
}

#[test]
fn inline_content_counts_where_the_attribute_is_missing() {
    let with = |file_size| {
        read(pb::Entry {
            content: Bytes::from_static(b"inline"),
            ..sized(file_size)
        })
        .size
    };
    assert_eq!((with(0), with(3), with(6), with(9)), (6, 3, 6, 9));
    // A filer's ways to say that no change of the entry was noted.
    let never = (-62_135_596_800, 0);
    let as_the_content = (1000, 7);
    for (ctime, ctime_ns) in [never, as_the_content] {
        let unchanged = file(pb::FuseAttributes {
            mtime: 1000,
            mtime_ns: 7,
            ctime,
            ctime_ns,
            ..Default::default()
        });
        let content = Bytes::from_static(b"inline");
        let entry = pb::Entry {
            content,
            ..unchanged
        };
        assert_eq!(read(entry).size, 6, "ctime {ctime}.{ctime_ns}");
    }
}

#[test]
fn content_that_a_mount_truncated_away_stays_away() {
    let truncated = read(pb::Entry {
        content: Bytes::from_static(b"inline"),
        ..file(pb::FuseAttributes {
            mtime: 1000,
            mtime_ns: 490_055_584,
            ctime: 1000,
            ctime_ns: 490_056_065,
            ..Default::default()
        })
    });
    assert_eq!(truncated.size, 0);
}

#[test]
fn a_newer_remote_object_may_be_longer() {
    let with = |remote_size, remote_mtime| {
        read(pb::Entry {
            remote_entry: remote(remote_size, remote_mtime),
            ..sized(5)
        })
        .size
    };
    assert_eq!(
        (with(9, 1001), with(9, 1000), with(3, 1001), with(-1, 1001)),
        (9, 5, 5, 5)
    );
}

#[test]
fn a_remote_object_without_chunks_is_remote_only() {
    let with = |chunks: Vec<pb::FileChunk>, size| {
        let entry = pb::Entry {
            chunks,
            remote_entry: remote(size, 1),
            ..sized(5)
        };
        read(entry).is_remote_only()
    };
    assert!(with(vec![], 5));
    assert!(!with(vec![chunk(0, 5)], 5));
    assert!(!with(vec![], 0));
    assert!(!read(sized(5)).is_remote_only());
}

#[test]
fn a_link_is_as_long_as_its_target() {
    let entry = read(file(pb::FuseAttributes {
        file_mode: 1 << 27 | 0o777,
        symlink_target: "a/b".into(),
        file_size: 77,
        ..Default::default()
    }));
    assert_eq!((entry.kind, entry.size), (Kind::Symlink, 3));
}

#[test]
fn only_extended_attributes_with_the_prefix_are_shown() {
    let extended = [
        ("xattr-user.a", "1"),
        ("xattr-", "2"),
        ("Seaweed-Something", "3"),
        ("xattr-system.posix_acl_access", "4"),
    ];
    let extended = extended.map(|(k, v)| (k.to_owned(), Bytes::from_static(v.as_bytes())));
    let entry = read(pb::Entry {
        extended: extended.into(),
        ..sized(0)
    });
    let names: Vec<_> = entry.xattrs.keys().map(String::as_str).collect();
    assert_eq!(names, ["system.posix_acl_access", "user.a"]);
    assert_eq!(entry.xattrs["user.a"], "1");
}

#[test]
fn names_that_no_file_system_knows_are_refused() {
    let named = |name: &str| {
        let name = name.to_owned();
        Entry::from_pb("/dir", pb::Entry { name, ..sized(0) })
    };
    for name in [
        "",
        ".",
        "..",
        "a/b",
        "/",
        "a\0b",
        &"x".repeat(256),
        &"é".repeat(128),
    ] {
        let error = named(name).unwrap_err();
        assert!(matches!(error, EntryError::Name { .. }), "{name}: {error}");
    }
    for name in ["...", " ", "a\nb", "日本語", &"x".repeat(255)] {
        assert_eq!(named(name).unwrap().name, name);
    }
    let error = named("a/b").unwrap_err().to_string();
    assert_eq!(error, "name \"a/b\" in /dir: it contains a slash or a NUL");
}

#[test]
fn a_bad_chunk_names_the_file() {
    let entry = pb::Entry {
        chunks: vec![chunk(-1, 5)],
        ..sized(0)
    };
    let error = Entry::from_pb("/", entry).unwrap_err().to_string();
    assert!(
        error.starts_with("/file: chunk 3,01637037d6: offset -1 "),
        "{error}"
    );
}

#[test]
fn the_root_needs_no_name() {
    let root = pb::Entry {
        name: "/".into(),
        is_directory: true,
        ..sized(0)
    };
    let root = Entry::root_from_pb(root).unwrap();
    assert!(root.is_directory() && root.name.is_empty());
    assert_eq!(root.inode, inode::of_path("/", 0));
}

#[test]
fn changes_are_told_apart() {
    let base = || pb::Entry {
        chunks: vec![chunk(0, 5)],
        ..sized(5)
    };
    let original = read(base());
    let compare = |entry: pb::Entry| {
        let changed = read(entry);
        (
            original.same_content(&changed),
            original.same_attributes(&changed),
        )
    };
    assert_eq!(compare(base()), (true, true));
    let changed_mode = file(pb::FuseAttributes {
        file_mode: 0o600,
        ..base().attributes.unwrap()
    });
    let chunks = base().chunks;
    assert_eq!(
        compare(pb::Entry {
            chunks,
            ..changed_mode
        }),
        (true, false)
    );
    let mut rewritten = base();
    rewritten.chunks[0].file_id = "3,02637037d6".into();
    assert_eq!(compare(rewritten), (false, true));
    let mut grown = base();
    grown.chunks.push(chunk(5, 5));
    assert_eq!(compare(grown), (false, false));
    let mut inline = base();
    inline.content = Bytes::from_static(b"12345");
    assert_eq!(compare(inline), (false, true));
    let mut tagged = base();
    tagged.extended.insert("xattr-user.a".into(), Bytes::new());
    assert_eq!(compare(tagged), (true, false));

    let cloud = |e_tag: &str| {
        let mut entry = sized(5);
        entry.remote_entry = remote(5, 1);
        entry.remote_entry.as_mut().unwrap().remote_e_tag = e_tag.into();
        read(entry)
    };
    assert!(cloud("a").same_content(&cloud("a")));
    assert!(!cloud("a").same_content(&cloud("b")));
}
