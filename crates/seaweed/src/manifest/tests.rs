use super::*;

fn data(key: u64, offset: i64, size: u64) -> pb::FileChunk {
    pb::FileChunk {
        fid: Some(pb::FileId {
            volume_id: 3,
            file_key: key,
            cookie: 0,
        }),
        offset,
        size,
        ..Default::default()
    }
}

fn manifest(key: u64, offset: i64, size: u64) -> pb::FileChunk {
    pb::FileChunk {
        is_chunk_manifest: true,
        ..data(key, offset, size)
    }
}

fn list(chunks: &[pb::FileChunk]) -> Vec<u8> {
    let message = pb::FileChunkManifest {
        chunks: chunks.to_vec(),
    };
    message.encode_to_vec()
}

fn start(chunks: &[pb::FileChunk]) -> Resolver {
    let chunks: Result<Vec<_>, _> = chunks.iter().map(Chunk::try_from).collect();
    Resolver::new(chunks.unwrap())
}

fn wanted(resolver: &Resolver) -> Option<u64> {
    resolver.wanted().map(|chunk| chunk.file_id.key)
}

fn keys(chunks: &[Chunk]) -> Vec<u64> {
    chunks.iter().map(|chunk| chunk.file_id.key).collect()
}

#[test]
fn chunks_without_manifests_are_done_at_once() {
    let resolver = start(&[data(1, 0, 5), data(2, 5, 5)]);
    assert_eq!(wanted(&resolver), None);
    assert_eq!(keys(&resolver.finish()), [1, 2]);
    assert_eq!(keys(&start(&[]).finish()), Vec::<u64>::new());
}

#[test]
fn children_take_the_place_of_their_manifest_however_deep() {
    let top = [
        data(1, 0, 1),
        manifest(10, 0, 100),
        data(9, 0, 1),
        manifest(30, 0, 9),
    ];
    let mut resolver = start(&top);
    assert_eq!(wanted(&resolver), Some(10));
    resolver
        .supply(&list(&[data(2, 0, 1), manifest(20, 0, 50), data(5, 0, 1)]))
        .unwrap();
    assert_eq!(wanted(&resolver), Some(20));
    resolver
        .supply(&list(&[data(3, 0, 1), data(4, 0, 1)]))
        .unwrap();
    assert_eq!(wanted(&resolver), Some(30));
    resolver.supply(&list(&[])).unwrap();
    assert_eq!(wanted(&resolver), None);
    assert_eq!(keys(&resolver.finish()), [1, 2, 3, 4, 5, 9]);
}

#[test]
fn children_end_where_their_manifest_was_truncated() {
    let mut resolver = start(&[manifest(10, 0, 15)]);
    let children = [
        data(1, 0, 10),
        data(2, 10, 10),
        data(3, 15, 5),
        manifest(4, 20, 5),
    ];
    resolver.supply(&list(&children)).unwrap();
    assert_eq!(wanted(&resolver), None);
    let chunks = resolver.finish();
    assert_eq!(keys(&chunks), [1, 2]);
    assert_eq!(chunks[1].size, 5);
}

#[test]
fn a_manifest_of_itself_ends_by_depth() {
    let mut resolver = start(&[manifest(10, 0, 5)]);
    let itself = list(&[manifest(10, 0, 5)]);
    let mut depth = 0;
    let error = loop {
        match resolver.supply(&itself) {
            Ok(()) => depth += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(depth, MAX_DEPTH);
    assert_eq!(error.reason, FormatError::TooDeep);
    assert!(
        error.to_string().starts_with("manifest 3,0a00000000: "),
        "{error}"
    );
}

#[test]
fn manifests_that_multiply_end_by_number() {
    let mut resolver = start(&[manifest(10, 0, 5)]);
    let twenty = list(&vec![manifest(10, 0, 5); 20]);
    let mut fetched = 0;
    let error = loop {
        // Down to the last level but one, whose lists are empty.
        let deep = resolver.open.len() >= MAX_DEPTH;
        match resolver.supply(if deep { &[] } else { &twenty }) {
            Ok(()) => fetched += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(fetched, MAX_MANIFESTS);
    assert_eq!(error.reason, FormatError::TooManyManifests);
}

#[test]
fn the_number_of_chunks_is_limited_before_they_are_decoded() {
    let three = list(&[data(1, 0, 1), data(2, 0, 1), data(3, 0, 1)]);
    assert_eq!(decode(&three, 3).unwrap().len(), 3);
    assert_eq!(decode(&three, 2), Err(FormatError::TooMany { limit: 2 }));

    let mut resolver = start(&[manifest(10, 0, 5)]);
    resolver.members = MAX_CHUNKS - 2;
    assert!(matches!(
        resolver.supply(&three).unwrap_err().reason,
        FormatError::TooMany { limit: 2 }
    ));
}

#[test]
fn damaged_lists_are_refused() {
    let good = list(&[data(1, 0, 10), data(2, 10, 10)]);
    let first = list(&[data(1, 0, 10)]).len();
    for len in 1..good.len() {
        let cut = decode(&good[..len], 10);
        assert_eq!(cut.is_ok(), len == first, "{len}: {cut:?}");
    }
    assert!(matches!(
        decode(&[0x0a, 0xff], 10),
        Err(FormatError::Decode(_))
    ));
    assert!(matches!(
        decode(&[0x0a, 0x05], 10),
        Err(FormatError::BreaksOff)
    ));
    assert!(matches!(
        decode(&[0x0a, 0x00], 10),
        Err(FormatError::Chunk(_))
    ));
    let huge = vec![0; MAX_BYTES + 1];
    assert!(matches!(
        decode(&huge, 10),
        Err(FormatError::TooLong { .. })
    ));
}

#[test]
fn fields_of_later_versions_are_skipped() {
    let mut data = list(&[data(1, 0, 10)]);
    data.extend([0x12, 0x02, 0xaa, 0xbb, 0x18, 0x07]);
    assert_eq!(decode(&data, 10).unwrap().len(), 1);
}
