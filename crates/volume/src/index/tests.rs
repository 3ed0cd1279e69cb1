use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

fn entry(key: u64, units: u64, size: i32) -> IndexEntry {
    IndexEntry { key, units, size }
}

/// Of an index without anything saved.
fn lookup(index: &Index, key: u64) -> Lookup {
    match index.lookup(key) {
        Found::Here(lookup) => lookup,
        Found::Below(saved) => panic!("{saved:?}"),
    }
}

fn merge_all(index: &mut Index, when: When) {
    while let Some(merge) = index.merge_wanted(when) {
        index.replace(merge.run());
    }
}

#[test]
fn a_place_is_packed_into_a_word() {
    let lookup = |units, size| Packed::of(&entry(1, units, size)).lookup();
    let at = |offset, size| Lookup::At { offset, size };
    assert_eq!(lookup(1, 25), at(8, Size::Exactly(25)));
    assert_eq!(lookup(1, 0), at(8, Size::Exactly(0)));
    let last = (1 << 40) - 1;
    assert_eq!(
        lookup(last, 0xff_fffe),
        at(last * 8, Size::Exactly(0xff_fffe))
    );
    assert_eq!(lookup(last, 0xff_ffff), at(last * 8, Size::Large));
    assert_eq!(lookup(last, i32::MAX), at(last * 8, Size::Large));
    assert_eq!(lookup(3, -1), Lookup::Deleted);
    assert!(Size::Large.admits(1 << 24) && !Size::Large.admits(100));
    assert!(Size::Exactly(9).admits(9) && !Size::Exactly(9).admits(8));
}

#[test]
fn ten_thousand_overwrites_take_the_place_of_few_entries() {
    let mut index = Index::default();
    index.finish_loading(None).unwrap();
    for round in 1..=100u64 {
        for key in 0..100 {
            index.push(&entry(key, round, 1));
        }
    }
    assert_eq!(index.held(), 100);
    assert_eq!(
        index.counts(),
        Some(Counts {
            live: 100,
            deleted: 0
        })
    );
}

#[test]
fn runs_stay_few_and_small() {
    let mut index = Index::default();
    index.finish_loading(None).unwrap();
    for key in 0..200_000u64 {
        index.push(&entry(key, key + 1, 1));
        merge_all(&mut index, When::Growing);
    }
    assert!(index.runs.len() <= 8, "{} runs", index.runs.len());
    assert_eq!(index.held(), 200_000);
    let at = |key: u64| Lookup::At {
        offset: (key + 1) * 8,
        size: Size::Exactly(1),
    };
    for key in [0, 1, 4095, 4096, 100_000, 199_999] {
        assert_eq!(lookup(&index, key), at(key));
    }
    assert_eq!(lookup(&index, 200_000), Lookup::Unknown);
}

proptest! {
    /// A file that existed is loaded backwards in blocks, while its end grows and merges happen
    /// at any time. What is found is right at any time, and in the end all is.
    #[test]
    fn it_is_the_map_of_last_entries(
        file in prop::collection::vec((0u64..40, 1u64..1000, -1i32..3), 0..200),
        grown in prop::collection::vec((0u64..40, 1u64..1000, -1i32..3), 0..50),
        block in 1usize..50,
        merges: u64,
    ) {
        let entries = |list: &[(u64, u64, i32)]| -> Vec<_> {
            list.iter().map(|&(key, units, size)| entry(key, units, size)).collect()
        };
        let (file, grown) = (entries(&file), entries(&grown));
        let mut truth = HashMap::new();
        for entry in file.iter().chain(&grown) {
            truth.insert(entry.key, Packed::of(entry).lookup());
        }
        let mut index = Index::default();
        for entry in &grown {
            index.push(entry);
        }
        for (round, block) in file.rchunks(block).enumerate() {
            index.push_older(Block::of(block.iter().copied()));
            if merges >> (round % 64) & 1 == 1 {
                merge_all(&mut index, When::Loading);
            }
            for key in 0..40 {
                let found = lookup(&index, key);
                prop_assert!(found == Lookup::Unknown || Some(&found) == truth.get(&key));
            }
        }
        if merges & 1 == 1 {
            merge_all(&mut index, When::Loaded);
            prop_assert!(index.runs.len() <= 1);
        }
        index.finish_loading(None).unwrap();
        for key in 0..41 {
            let expected = truth.get(&key).copied().unwrap_or(Lookup::Unknown);
            prop_assert_eq!(lookup(&index, key), expected);
        }
        let deleted = truth.values().filter(|found| **found == Lookup::Deleted).count() as u64;
        let counts = Counts { live: truth.len() as u64 - deleted, deleted };
        prop_assert_eq!(index.counts(), Some(counts));

        index.push(&entry(7, 5, 5));
        index.push(&entry(8, 0, 0));
        let live: HashMap<_, _> = truth
            .into_iter()
            .filter(|(key, found)| *key != 8 && *found != Lookup::Deleted)
            .chain([(7, Packed::of(&entry(7, 5, 5)).lookup())])
            .collect();
        prop_assert_eq!(index.counts().map(|counts| counts.live), Some(live.len() as u64));
        let mut listed = HashMap::new();
        index.for_each_live(|key, lookup| {
            listed.insert(key, lookup);
        });
        prop_assert_eq!(listed, live);
    }
}
