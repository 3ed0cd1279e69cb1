//! Every kind of file is read byte for byte, in every way (docs/SEMANTICS.md, section 1).

use std::fs;

use cluster::Cluster;
use e2e::{Sample, Scene, assert_reads, needs_fuse, noise, plant, text};

#[test]
fn every_kind_reads_as_planted() {
    needs_fuse!();
    let scene = Scene::start();
    let samples = plant(&scene);
    let mount = scene.mount(&[]);
    for Sample { path, bytes } in &samples {
        assert_reads(&mount.path(path), bytes);
    }
    // The oracle is not ours alone: the filer gives the same bytes, where it can.
    for Sample { path, bytes } in samples.iter().filter(|s| !FILER_FAILS.contains(&&*s.path)) {
        assert!(
            scene.cluster.get(path).unwrap() == *bytes,
            "the filer's {path}"
        );
    }
}

/// It sends as many bytes as the needle has, not as the chunk shows, and breaks off.
const FILER_FAILS: &[&str] = &["/kinds/truncated"];

#[test]
fn an_encrypted_cluster_reads_as_uploaded() {
    needs_fuse!();
    let scene = Scene::of(Cluster::builder().encrypted(true).max_mb(1));
    let files = [
        ("/a.bin", noise(1, 5_000_001)),
        ("/b.txt", text(2, 3_000_000)),
        ("/c", noise(3, 10)),
    ];
    for (path, bytes) in &files {
        scene.put(path, bytes);
        let entry = scene.craft().lookup(path).unwrap();
        assert!(
            entry.chunks.iter().all(|c| c.cipher_key.len() == 32),
            "{path} is encrypted"
        );
    }
    let mount = scene.mount(&[]);
    for (path, bytes) in &files {
        assert_reads(&mount.path(path), bytes);
    }
}

#[test]
fn contents_kept_in_the_filer_read_as_uploaded() {
    needs_fuse!();
    let scene = Scene::of(Cluster::builder().save_to_filer_limit(10_000));
    let files = [
        ("/in.bin", noise(1, 9_999)),
        ("/out.bin", noise(2, 10_001)),
        ("/one", vec![7]),
    ];
    for (path, bytes) in &files {
        scene.put(path, bytes);
    }
    assert!(!scene.craft().lookup("/in.bin").unwrap().content.is_empty());
    // An entry whose size attribute was never set: the stock mount shows nothing.
    scene.craft().inline("/unset", 0, b"content without a size");
    assert_eq!(
        scene.craft().lookup("/unset").unwrap().content.len(),
        22,
        "the filer keeps it"
    );
    // The stock mount truncates by the attribute alone; the content stays in the entry.
    scene.put("/emptied", b"truncated away");
    {
        let stock = scene.stock(&[]);
        fs::write(stock.dir().join("emptied"), b"").unwrap();
    }
    assert!(!scene.craft().lookup("/emptied").unwrap().content.is_empty());
    let mount = scene.mount(&[]);
    for (path, bytes) in &files {
        assert_reads(&mount.path(path), bytes);
    }
    assert_reads(&mount.path("/unset"), b"content without a size");
    assert_reads(&mount.path("/emptied"), b"");
}

#[test]
fn a_file_overwritten_in_places_through_the_stock_mount_reads_the_same() {
    use std::os::unix::fs::FileExt;
    needs_fuse!();
    let scene = Scene::start();
    let stock = scene.stock(&["-chunkSizeLimitMB=1"]);
    let path = stock.dir().join("patched");
    let mut bytes = noise(1, 4_000_000);
    fs::write(&path, &bytes).unwrap();
    for n in 0..20_u64 {
        let (offset, patch) = (n * 190_001, noise(50 + n, 70_000));
        let file = fs::File::options().write(true).open(&path).unwrap();
        file.write_all_at(&patch, offset).unwrap();
        file.sync_all().unwrap();
        bytes[offset as usize..][..patch.len()].copy_from_slice(&patch);
    }
    let file = fs::File::options().write(true).open(&path).unwrap();
    file.set_len(3_333_333).unwrap();
    file.sync_all().unwrap();
    bytes.truncate(3_333_333);
    file.set_len(3_500_000).unwrap();
    file.sync_all().unwrap();
    bytes.resize(3_500_000, 0);
    drop(file);

    let mount = scene.mount(&[]);
    assert_reads(&mount.path("/patched"), &bytes);
}

#[test]
fn a_file_of_a_thousand_chunks_reads_as_written() {
    needs_fuse!();
    let scene = Scene::start();
    let craft = scene.craft();
    let bytes = noise(5, 1000 * 5_003);
    let chunks = bytes.chunks(5_003).enumerate();
    let chunks: Vec<_> = chunks
        .map(|(n, part)| craft.chunk(n as u64 * 5_003, part))
        .collect();
    let folded = chunks
        .chunks(100)
        .map(|part| craft.manifest(part.to_vec()))
        .collect();
    craft.file("/many", bytes.len() as u64, chunks);
    craft.file("/folded", bytes.len() as u64, vec![craft.manifest(folded)]);
    let mount = scene.mount(&[]);
    assert_reads(&mount.path("/many"), &bytes);
    assert_reads(&mount.path("/folded"), &bytes);
}

#[test]
fn reads_hold_with_the_smallest_caches() {
    needs_fuse!();
    let scene = Scene::start();
    let samples = plant(&scene);
    let mount = scene.mount(&[
        "-readerCacheSizeMB=1",
        "-cacheCapacityMB=0",
        "-concurrentReaders=1",
    ]);
    for Sample { path, bytes } in samples.iter().filter(|s| s.bytes.len() > 4096) {
        assert_reads(&mount.path(path), bytes);
    }
}

#[test]
fn sse_is_refused() {
    needs_fuse!();
    let scene = Scene::start();
    let mut chunk = scene.craft().chunk(0, b"ciphertext of the gateway");
    chunk.sse_type = seaweed::pb::SseType::SseS3 as i32;
    scene.craft().file("/secret", 25, vec![chunk]);
    let mount = scene.mount(&[]);
    let error = fs::read(mount.path("/secret")).unwrap_err();
    assert_eq!(
        error.raw_os_error(),
        Some(rustix::io::Errno::OPNOTSUPP.raw_os_error())
    );
    assert_eq!(
        fs::metadata(mount.path("/secret")).unwrap().len(),
        25,
        "it is still listed"
    );
}
