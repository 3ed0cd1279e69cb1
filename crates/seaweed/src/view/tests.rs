use proptest::prelude::*;

use super::*;

fn chunk(offset: u64, size: u64, modified_ts_ns: i64) -> Chunk {
    Chunk {
        file_id: "3,01637037d6".parse().unwrap(),
        offset,
        size,
        modified_ts_ns,
        cipher_key: None,
        is_compressed: false,
        is_manifest: false,
        sse: false,
        e_tag: "".into(),
    }
}

/// `(start, len, chunk, chunk_offset)` of each view.
fn views(view: &FileView) -> Vec<(u64, u64, u32, u64)> {
    let views = view.views.iter();
    views
        .map(|v| (v.start, v.len, v.chunk, v.chunk_offset))
        .collect()
}

fn resolve(chunks: &[Chunk], size: u64) -> FileView {
    FileView::resolve(chunks, size)
}

#[test]
fn a_newer_chunk_splits_an_older_one() {
    let view = resolve(&[chunk(0, 30, 1), chunk(10, 10, 2)], 30);
    assert_eq!(
        views(&view),
        [(0, 10, 0, 0), (10, 10, 1, 0), (20, 10, 0, 20)]
    );
}

#[test]
fn an_older_chunk_shows_only_around_a_newer_one() {
    let view = resolve(&[chunk(10, 10, 2), chunk(0, 30, 1)], 30);
    assert_eq!(
        views(&view),
        [(0, 10, 1, 0), (10, 10, 0, 0), (20, 10, 1, 20)]
    );
}

#[test]
fn a_hidden_chunk_does_not_split_the_one_above() {
    let view = resolve(&[chunk(0, 30, 2), chunk(5, 5, 1), chunk(10, 10, 1)], 30);
    assert_eq!(views(&view), [(0, 30, 0, 0)]);
}

#[test]
fn of_equal_stamps_the_later_in_the_list_shows() {
    let one_way = resolve(&[chunk(0, 10, 5), chunk(5, 10, 5)], 15);
    assert_eq!(views(&one_way), [(0, 5, 0, 0), (5, 10, 1, 0)]);
    let other_way = resolve(&[chunk(5, 10, 5), chunk(0, 10, 5)], 15);
    assert_eq!(views(&other_way), [(0, 10, 1, 0), (10, 5, 0, 5)]);
}

#[test]
fn nothing_shows_behind_the_end() {
    let view = resolve(&[chunk(0, 30, 1), chunk(40, 5, 1), chunk(3, 0, 9)], 12);
    assert_eq!(views(&view), [(0, 12, 0, 0)]);
    assert_eq!(views(&resolve(&[chunk(0, 30, 1)], 0)), []);
}

#[test]
fn the_end_of_the_largest_file_is_reached() {
    let last = i64::MAX as u64;
    let view = resolve(&[chunk(last - 4, 4, 1)], last);
    let pieces: Vec<_> = view.pieces(last - 5, u64::MAX).map(|p| p.len()).collect();
    assert_eq!(pieces, [1, 4]);
}

#[test]
fn pieces_fill_holes() {
    let view = resolve(&[chunk(10, 10, 1)], 40);
    let chunk = &view.chunks[0];
    let data = |chunk_offset, len| Piece::Data {
        chunk,
        chunk_index: 0,
        chunk_offset,
        len,
    };
    let hole = |len| Piece::Hole { len };
    let pieces = |offset, len| view.pieces(offset, len).collect::<Vec<_>>();
    assert_eq!(pieces(0, 100), [hole(10), data(0, 10), hole(20)]);
    assert_eq!(pieces(5, 6), [hole(5), data(0, 1)]);
    assert_eq!(pieces(15, 3), [data(5, 3)]);
    assert_eq!(pieces(19, 3), [data(9, 1), hole(2)]);
    assert_eq!(pieces(39, 5), [hole(1)]);
    for (offset, len) in [(40, 1), (100, 1), (5, 0), (u64::MAX, 1)] {
        assert_eq!(pieces(offset, len), []);
    }
}

#[test]
fn many_chunks_take_little_time() {
    // Each chunk overlaps hundreds of others, in an order that is neither that of their places
    // nor that of their age.
    let count = 200_000u64;
    let at = |n: u64| n.wrapping_mul(7_919) % count;
    let chunks: Vec<_> = (0..count)
        .map(|n| chunk(at(n) * 10, 5_000, at(n * 3) as i64))
        .collect();
    let start = std::time::Instant::now();
    let view = FileView::resolve(chunks, u64::MAX);
    println!(
        "{} views of {count} chunks in {:?}",
        view.views.len(),
        start.elapsed()
    );
    assert!(view.views.len() <= 2 * count as usize);
}

/// Which chunk shows at each byte, by trying all of them.
fn model(chunks: &[Chunk], size: u64) -> Vec<Option<(u32, u64)>> {
    let shown = |at: u64| {
        let covering = (0u32..)
            .zip(chunks)
            .filter(|(_, c)| (c.offset..c.end()).contains(&at));
        let newest = covering.max_by_key(|(index, c)| (c.modified_ts_ns, *index));
        newest.map(|(index, c)| (index, at - c.offset))
    };
    (0..size).map(shown).collect()
}

fn any_chunks() -> impl Strategy<Value = Vec<Chunk>> {
    let any_chunk = (0u64..100, 0u64..40, -3i64..6);
    let any_chunk = any_chunk.prop_map(|(offset, size, ts)| chunk(offset, size, ts));
    proptest::collection::vec(any_chunk, 0..25)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn views_show_what_the_model_shows(chunks in any_chunks(), size in 0u64..150) {
        let view = resolve(&chunks, size);
        let model = model(&chunks, size);
        let mut shown = vec![None; size as usize];
        for v in &view.views {
            prop_assert!(v.len > 0 && v.end() <= size);
            for at in 0..v.len {
                let byte = &mut shown[(v.start + at) as usize];
                prop_assert_eq!(*byte, None);
                *byte = Some((v.chunk, v.chunk_offset + at));
            }
        }
        prop_assert_eq!(shown, model);
        for pair in view.views.windows(2) {
            let goes_on = pair[0].end() == pair[1].start && pair[0].chunk == pair[1].chunk;
            prop_assert!(!goes_on, "two views of one piece");
        }
    }

    #[test]
    fn pieces_and_seeks_agree_with_the_model(
        chunks in any_chunks(),
        size in 0u64..150,
        offset in 0u64..160,
        len in 0u64..160,
    ) {
        let view = resolve(&chunks, size);
        let model = model(&chunks, size);
        let expected: Vec<_> = model.iter().skip(offset as usize).take(len as usize).collect();
        let mut got = Vec::new();
        for piece in view.pieces(offset, len) {
            match piece {
                Piece::Hole { len } => got.extend((0..len).map(|_| None)),
                Piece::Data { chunk, chunk_index, chunk_offset, len } => {
                    prop_assert_eq!(chunk, &view.chunks[chunk_index as usize]);
                    got.extend((0..len).map(|at| Some((chunk_index, chunk_offset + at))));
                }
            }
        }
        prop_assert_eq!(got.iter().collect::<Vec<_>>(), expected);

        let rest = || (offset..size).zip(model.iter().skip(offset as usize));
        let data = rest().find(|(_, byte)| byte.is_some()).map(|(at, _)| at);
        prop_assert_eq!(view.next_data(offset), data);
        let hole = rest().find(|(_, byte)| byte.is_none()).map(|(at, _)| at);
        let hole = hole.or((offset < size).then_some(size));
        prop_assert_eq!(view.next_hole(offset), hole);
    }
}
