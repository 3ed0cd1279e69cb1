//! One file of every kind that SeaweedFS can hold, planted with known bytes.

use crate::{Random, Scene, noise, text};

/// A planted file and what must be read from it.
#[derive(Debug, Clone)]
pub struct Sample {
    /// Its path on the filer.
    pub path: String,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// A file whose manifest lists manifests, which the stock mount cannot read.
pub const NESTED_MANIFEST: &str = "/kinds/nested-manifest";

/// Plants files of every kind below `/kinds`.
///
/// # Panics
/// When the filer refuses one.
#[must_use]
pub fn plant(scene: &Scene) -> Vec<Sample> {
    let mut samples = Vec::new();
    plain(scene, &mut samples);
    compressed(scene, &mut samples);
    overlapping(scene, &mut samples);
    sparse(scene, &mut samples);
    manifests(scene, &mut samples);
    sealed(scene, &mut samples);
    inline(scene, &mut samples);
    named(scene, &mut samples);
    samples
}

/// Uploads of all the sizes at which something changes.
fn plain(scene: &Scene, samples: &mut Vec<Sample>) {
    const SIZES: [usize; 12] = [
        0,
        1,
        4095,
        4096,
        4097,
        65_536,
        131_073,
        1 << 20,
        (4 << 20) - 1,
        4 << 20,
        (4 << 20) + 1,
        (8 << 20) + 1,
    ];
    for size in SIZES {
        let bytes = noise(size as u64, size);
        let path = format!("/kinds/plain/{size}.bin");
        scene.put(&path, &bytes);
        samples.push(Sample { path, bytes });
    }
    let bytes = noise(30, 30 << 20);
    let path = "/kinds/chunked.bin".to_owned();
    let put = scene.cluster.put_with(&path, "maxMB=1", &[], &bytes);
    put.unwrap_or_else(|e| panic!("{e:#}"));
    samples.push(Sample { path, bytes });
}

/// Text, which the filer compresses by itself, and a crafted chunk between plain ones.
fn compressed(scene: &Scene, samples: &mut Vec<Sample>) {
    for size in [100, 50_000, 5 << 20] {
        let bytes = text(size as u64, size);
        let path = format!("/kinds/compressed/{size}.txt");
        scene.put(&path, &bytes);
        samples.push(Sample { path, bytes });
    }
    let entry = scene
        .craft()
        .lookup("/kinds/compressed/50000.txt")
        .expect("just uploaded");
    let stored_small = entry.chunks.iter().all(|c| c.is_compressed);
    assert!(
        stored_small,
        "the filer compresses text: {:?}",
        entry.chunks
    );

    let craft = scene.craft();
    let bytes = [noise(1, 10_000), text(2, 70_000), noise(3, 333)].concat();
    let chunks = vec![
        craft.chunk(0, &bytes[..10_000]),
        craft.gzipped(10_000, &bytes[10_000..80_000]),
        craft.chunk(80_000, &bytes[80_000..]),
    ];
    let path = "/kinds/compressed/mixed".to_owned();
    craft.file(&path, bytes.len() as u64, chunks);
    samples.push(Sample { path, bytes });
}

/// Chunks written over others: the newest shows.
fn overlapping(scene: &Scene, samples: &mut Vec<Sample>) {
    let craft = scene.craft();
    let mut random = Random::new(7);
    let size = 600_000;
    let mut bytes = vec![0; size];
    let mut chunks = Vec::new();
    for n in 0..40_u64 {
        let offset = random.below(size as u64 - 1) as usize;
        let len = (1 + random.below(120_000) as usize).min(size - offset);
        let content = noise(1000 + n, len);
        let mut chunk = craft.chunk(offset as u64, &content);
        chunk.modified_ts_ns = 1_700_000_000_000_000_000 + n as i64;
        chunks.push(chunk);
        bytes[offset..offset + len].copy_from_slice(&content);
    }
    // The order in the list says nothing; the stamps do.
    chunks.reverse();
    chunks.swap(3, 17);
    let path = "/kinds/overlapping".to_owned();
    craft.file(&path, size as u64, chunks);
    samples.push(Sample { path, bytes });

    // Shortened: the needle holds more than the chunk shows, and newer chunks more than the file.
    let content = noise(70, 200_000);
    let mut chunk = craft.chunk(0, &content);
    chunk.size = 123_457;
    let path = "/kinds/truncated".to_owned();
    craft.file(&path, 123_457, vec![chunk]);
    samples.push(Sample {
        path,
        bytes: content[..123_457].to_vec(),
    });
}

/// Holes before, between and behind chunks.
fn sparse(scene: &Scene, samples: &mut Vec<Sample>) {
    let craft = scene.craft();
    let mut bytes = vec![0; 3 << 20];
    let mut chunks = Vec::new();
    for (n, offset) in [5_000_u64, 700_000, 2_000_001].into_iter().enumerate() {
        let content = noise(80 + n as u64, 99_999);
        chunks.push(craft.chunk(offset, &content));
        bytes[offset as usize..][..content.len()].copy_from_slice(&content);
    }
    let path = "/kinds/sparse".to_owned();
    craft.file(&path, bytes.len() as u64, chunks);
    samples.push(Sample { path, bytes });

    let path = "/kinds/hole".to_owned();
    craft.file(&path, 1_000_000, Vec::new());
    samples.push(Sample {
        path,
        bytes: vec![0; 1_000_000],
    });
}

/// Lists of chunks inside chunks, plain and nested, with newer chunks over them.
fn manifests(scene: &Scene, samples: &mut Vec<Sample>) {
    const PART: usize = 10_000;
    let craft = scene.craft();
    let mut bytes = noise(90, 60 * PART + 5_000);
    let part = |n: usize| craft.chunk((n * PART) as u64, &bytes[n * PART..(n + 1) * PART]);
    let first = craft.manifest((0..20).map(part).collect());
    let second = craft.manifest((20..40).map(part).collect());
    let both = craft.manifest(vec![first.clone(), second.clone()]);
    let mut behind: Vec<_> = (40..60).map(part).collect();
    behind.push(craft.chunk(60 * PART as u64, &bytes[60 * PART..]));
    let patch = noise(91, 25_000);
    behind.push(craft.chunk(15_000, &patch));
    bytes[15_000..40_000].copy_from_slice(&patch);
    for (path, lists) in [
        ("/kinds/manifest", vec![first, second]),
        (NESTED_MANIFEST, vec![both]),
    ] {
        craft.file(path, bytes.len() as u64, [lists, behind.clone()].concat());
        samples.push(Sample {
            path: path.to_owned(),
            bytes: bytes.clone(),
        });
    }
}

/// Encrypted chunks in a cluster that does not encrypt by itself.
fn sealed(scene: &Scene, samples: &mut Vec<Sample>) {
    let craft = scene.craft();
    let bytes = [noise(95, 100_000), text(96, 300_000)].concat();
    let chunks = vec![
        craft.sealed(0, &bytes[..100_000], false),
        craft.sealed(100_000, &bytes[100_000..], true),
    ];
    let path = "/kinds/sealed".to_owned();
    craft.file(&path, bytes.len() as u64, chunks);
    samples.push(Sample { path, bytes });
}

/// Bytes inside the entry.
fn inline(scene: &Scene, samples: &mut Vec<Sample>) {
    for (name, size) in [("tiny", 11), ("page", 4096), ("more", 20_000)] {
        let bytes = noise(size, size as usize);
        let path = format!("/kinds/inline/{name}");
        scene.craft().inline(&path, size, &bytes);
        samples.push(Sample { path, bytes });
    }
}

/// Names of every alphabet and of the greatest length, and many small files.
fn named(scene: &Scene, samples: &mut Vec<Sample>) {
    let long = "n".repeat(255);
    let wide = "潮".repeat(85);
    let names = [
        "with space",
        "Ärger.txt",
        "日本語",
        "👩‍👩‍👧",
        "%41+&?#;",
        "quo'te\"",
        &long,
        &wide,
    ];
    for (n, name) in names.into_iter().enumerate() {
        let bytes = noise(200 + n as u64, 100 + n);
        let path = format!("/kinds/names/{name}");
        scene.put(&path, &bytes);
        samples.push(Sample { path, bytes });
    }
    for n in 0..300 {
        let bytes = noise(300 + n, (n * n % 9000) as usize);
        let path = format!("/kinds/small/{n:03}");
        scene.put(&path, &bytes);
        samples.push(Sample { path, bytes });
    }
}
