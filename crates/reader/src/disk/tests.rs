use std::fs;

use seaweed::FileId;

use super::*;

fn key(n: u64) -> DiskKey {
    DiskKey {
        needle: FileId {
            volume: 1,
            key: n,
            cookie: 9,
        },
        form: Form::Plain,
    }
}

fn shared(dir: &std::path::Path) -> Arc<Shared> {
    Arc::new(Shared {
        config: DiskConfig {
            dir: dir.to_owned(),
            capacity_bytes: 1 << 20,
            cluster: "c".into(),
        },
        store: RwLock::new(None),
        queued: AtomicUsize::new(0),
        stop: AtomicBool::new(false),
        stats: Arc::default(),
    })
}

/// The only place below `dir`.
fn place(dir: &std::path::Path) -> std::path::PathBuf {
    let mut clusters = fs::read_dir(dir.join("riptide-cache-1")).unwrap();
    clusters.next().unwrap().unwrap().path().join("0")
}

/// Lets the pause end, as thirty seconds would.
fn end_pause(writer: &mut Writer) {
    assert!(writer.paused_until.is_some());
    writer.paused_until = Some(Instant::now());
}

#[test]
fn writing_pauses_after_a_failure_and_starts_again_in_a_new_directory() {
    let dir = tempfile::tempdir().unwrap();
    let shared = shared(dir.path());
    let claimed = shared.claim();
    let mut writer = Writer::new(Arc::clone(&shared), claimed);
    writer.write(&key(1), b"one");
    assert_eq!(shared.stats.disk_writes.get(), 1);
    fs::remove_dir_all(dir.path()).unwrap();
    writer.write(&key(2), b"two");
    writer.write(&key(3), b"three");
    assert_eq!(shared.stats.disk_dropped.get(), 2);
    assert_eq!(
        shared.stats.disk_errors.get(),
        1,
        "not even tried during the pause"
    );
    end_pause(&mut writer);
    writer.write(&key(2), b"two");
    assert!(writer.paused_until.is_none());
    let store = shared.store.read().clone().unwrap();
    let mut two = [0; 3];
    assert!(store.read(&key(2), 0, &mut two));
    assert_eq!(&two, b"two");
    assert!(!store.contains(&key(1)), "gone with the old directory");
}

#[test]
fn a_directory_that_becomes_usable_is_used() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cache");
    fs::write(&path, b"in the way").unwrap();
    let shared = shared(&path);
    let claimed = shared.claim();
    let mut writer = Writer::new(Arc::clone(&shared), claimed);
    end_pause(&mut writer);
    writer.write(&key(1), b"one");
    assert!(shared.store.read().is_none());
    fs::remove_file(&path).unwrap();
    end_pause(&mut writer);
    writer.write(&key(1), b"one");
    assert!(shared.store.read().as_ref().unwrap().contains(&key(1)));
}

#[test]
fn what_is_kept_is_read_while_nothing_can_be_written() {
    let dir = tempfile::tempdir().unwrap();
    let shared = shared(dir.path());
    let claimed = shared.claim();
    let mut writer = Writer::new(Arc::clone(&shared), claimed);
    writer.write(&key(1), b"one");
    let temporary = place(dir.path()).join("tmp");
    fs::remove_dir(&temporary).unwrap();
    writer.write(&key(2), b"two");
    assert_eq!(
        shared.stats.disk_errors.get(),
        0,
        "an empty directory is made again"
    );
    fs::remove_dir(&temporary).unwrap();
    fs::write(&temporary, b"in the way").unwrap();
    writer.write(&key(3), b"three");
    end_pause(&mut writer);
    writer.write(&key(3), b"three");
    assert_eq!(shared.stats.disk_dropped.get(), 2);
    let store = shared.store.read().clone().unwrap();
    for (number, expected) in [(1, b"one"), (2, b"two")] {
        let mut kept = [0; 3];
        assert!(store.read(&key(number), 0, &mut kept));
        assert_eq!(&kept, expected);
    }
}

#[test]
fn unfinished_files_are_removed_and_strange_ones_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let shared = shared(dir.path());
    let store = shared.claim().unwrap();
    store.write(&key(0x17), b"data").unwrap();
    let file = dir.path().join("riptide-cache-1");
    let place = fs::read_dir(file)
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path()
        .join("0");
    fs::write(place.join("tmp/5"), b"half").unwrap();
    fs::write(place.join("17/notes"), b"mine").unwrap();
    drop(store);
    *shared.store.write() = None;
    let store = shared.claim().unwrap();
    store.load(&AtomicBool::new(false)).unwrap();
    assert!(store.contains(&key(0x17)));
    assert!(!place.join("tmp/5").exists());
    assert!(place.join("17/notes").exists());
}

#[test]
fn parts_that_cross_blocks_at_both_ends_are_exact() {
    let dir = tempfile::tempdir().unwrap();
    let store = shared(dir.path()).claim().unwrap();
    let data: Vec<u8> = (0..20_001u32).map(|at| (at * 31 % 256) as u8).collect();
    store.write(&key(1), &data).unwrap();
    for from in [0, 1, 4095, 4096, 4097, 12_288, 20_000] {
        for len in [0, 1, 2, 4095, 4096, 4097, 8192, 20_001] {
            let mut dst = vec![0; len];
            let found = store.read(&key(1), from as u64, &mut dst);
            let within = from + len <= data.len();
            assert_eq!(found, within, "{len} at {from}");
            assert!(!within || dst == data[from..from + len], "{len} at {from}");
        }
    }
    assert!(!store.read(&key(2), 0, &mut [0]));
}

#[test]
fn a_full_queue_drops_and_never_blocks() {
    let dir = tempfile::tempdir().unwrap();
    let stats = Arc::new(ReaderStats::default());
    let config = shared(dir.path()).config.clone();
    let disk = Disk::open(config, 1000, Arc::clone(&stats)).unwrap();
    disk.offer(key(1), Bytes::from(vec![1; 1001]));
    assert_eq!(stats.disk_dropped.get(), 1, "more than the queue may hold");
    disk.offer(key(2), Bytes::from(vec![1; 200_000]));
    assert_eq!(stats.disk_dropped.get(), 1, "too large a part of the cache");
    disk.offer(key(3), Bytes::from(vec![1; 999]));
    disk.close();
    disk.close();
    assert_eq!(stats.disk_writes.get(), 1);
    assert!(!disk.read(&key(3), 0, &mut [0]), "closed");
}
