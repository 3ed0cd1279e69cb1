//! Values that a real SeaweedFS 4.48 made, written down once: what we compute must be the same.

#![allow(clippy::unwrap_used)]

use seaweed::{Chunk, CipherKey, Entry, FileId, Kind, crc, decode_chunk, pb};

fn bytes(hex: &str) -> Vec<u8> {
    let digits = hex.as_bytes().chunks(2);
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.map(byte).collect()
}

fn encrypted(file_id: &str, size: u64, key: &str, is_compressed: bool) -> Chunk {
    Chunk {
        file_id: file_id.parse().unwrap(),
        offset: 0,
        size,
        modified_ts_ns: 0,
        cipher_key: Some(CipherKey::try_from(&bytes(key)[..]).unwrap()),
        is_compressed,
        is_manifest: false,
        sse: false,
        e_tag: "".into(),
    }
}

/// Uploaded through a filer with `-encryptVolumeData`, fetched from its volume server.
#[test]
fn an_encrypted_chunk_is_read() {
    let stored = bytes(
        "a413e30371c4512db955ca851d34929cdca1527e2b29099882676a415b35a880f6b9bb9e3f5a3ece8db9\
         17731cc3",
    );
    let key = "4d680ed4707a55fbff44c21950c79b9da2205392b37b3871157d150cece2e4ed";
    assert_eq!(crc::etag_of(crc::crc32c(&stored)), "c30149ea");
    let chunk = encrypted("5,274aea86e33b", 18, key, false);
    assert_eq!(
        decode_chunk(&chunk, stored.into()).unwrap(),
        "an encrypted chunk"
    );
}

/// The same for text, which the filer compresses first.
#[test]
fn an_encrypted_and_compressed_chunk_is_read() {
    let stored = bytes(
        "e53b2aa59799d67df2fb817cff0aec4c2874e9582f35f481c496a4da66469b4d51669c7a11ee6e4f63fb\
         cbd99a44beaa547af696cf37188204b1e3154f697efc3027750a0a0f7be180917a9728100ea2579f97b1\
         67756f6da52917cd6051a5f0f114dc2b37e47a51502bc32bad81",
    );
    let key = "e54ed216840ef507e3f1e9dc7b188c50bd6a67fac1caecbdc5679c07b4419989";
    assert_eq!(crc::etag_of(crc::crc32c(&stored)), "369c99ba");
    let chunk = encrypted("3,2749a15cb753", 1720, key, true);
    let clear = "To be, or not to be, that is the question: ".repeat(40);
    assert_eq!(decode_chunk(&chunk, stored.into()).unwrap(), clear);
}

#[test]
fn file_ids_are_written_alike() {
    let id = FileId {
        volume: 3,
        key: 10057,
        cookie: 2_707_208_019,
    };
    assert_eq!(id.to_string(), "3,2749a15cb753");
}

/// Name, `Mode`, what `stat` said on the stock mount: kind, permissions.
#[test]
fn modes_mean_the_same() {
    let table = [
        ("chr", 2_097_572, Kind::CharDevice, 0o644),
        ("blk", 67_109_284, Kind::BlockDevice, 0o644),
        ("ff", 33_554_852, Kind::Fifo, 0o644),
        ("so", 16_777_709, Kind::Socket, 0o755),
        ("sl", 134_218_239, Kind::Symlink, 0o777),
        ("dd", 2_147_484_671, Kind::Directory, 0o1777),
        ("su", 3565, Kind::Regular, 0o6755),
        ("in.txt", 432, Kind::Regular, 0o660),
    ];
    for (name, file_mode, kind, perm) in table {
        let entry = entry(name, 0, file_mode);
        assert_eq!((entry.kind, entry.perm), (kind, perm), "{name}");
    }
}

/// Name, second of creation, `st_ino` on the stock mount.
#[test]
fn inode_numbers_are_computed_alike() {
    let table = [
        ("in.txt", 1_795_494_340, 6_713_490_587_198_435_026),
        ("in2.txt", 1_795_494_340, 12_272_892_507_459_439_534),
        ("chr", 1_795_494_341, 9_011_374_133_252_614_725),
        ("dd", 1_795_494_341, 12_138_277_092_908_384_937),
    ];
    for (name, crtime, inode) in table {
        assert_eq!(entry(name, crtime, 0).inode, inode, "{name}");
    }
}

fn entry(name: &str, crtime: i64, file_mode: u32) -> Entry {
    let entry = pb::Entry {
        name: name.to_owned(),
        attributes: Some(pb::FuseAttributes {
            crtime,
            file_mode,
            ..Default::default()
        }),
        ..Default::default()
    };
    Entry::from_pb("/t", entry).unwrap()
}
