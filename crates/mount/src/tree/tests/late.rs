//! What is late, or amid a change: events of what is long over, answers about what is being moved.

use super::*;

/// Our rename of `new` over `target`, as another filer's log tells of it long afterwards.
fn late_rename(inode: u64, ts_ns: i64, ours: bool) -> Moved {
    let to = (at("/", "target"), numbered("target", 1, inode));
    Moved {
        same_clock: false,
        was: Some(inode),
        ours,
        ..event(Some(at("/", "new")), Some(to), ts_ns)
    }
}

#[test]
fn a_late_event_of_a_rename_does_not_move_a_newer_file_of_the_old_name() {
    for ours in [true, false] {
        let mut tree = tree();
        let asked = question(&tree, ROOT);
        let made = tree.made(ROOT, "new", &asked, numbered("new", 0, 9), 30);
        let made = made.unwrap().node;
        let target = learn(&mut tree, ROOT, numbered("target", 1, 8), 31).node;
        for (inode, ts_ns) in [(7, 10), (8, 20)] {
            tree.apply(late_rename(inode, ts_ns, ours));
            assert_eq!(tree.path(made).as_deref(), Some("/new"), "ours: {ours}");
            assert_eq!(tree.path(target).as_deref(), Some("/target"));
        }
        assert!(matches!(tree.find(ROOT, "new"), Found::Unknown(_)));
        assert!(matches!(tree.find(ROOT, "target"), Found::Unknown(_)));
    }
}

#[test]
fn an_inode_whose_name_another_filer_took_away_is_doomed_until_it_is_seen_again() {
    let mut tree = tree();
    let removed = learn(&mut tree, ROOT, numbered("a", 1, 7), 10).node;
    let replaced = learn(&mut tree, ROOT, numbered("target", 1, 8), 10).node;
    tree.apply(Moved {
        same_clock: false,
        ..event(Some(at("/", "a")), None, 20)
    });
    tree.apply(late_rename(9, 20, false));
    for (node, name) in [(removed, "a"), (replaced, "target")] {
        assert!(tree.node(node).unwrap().doomed, "{name}");
        assert!(tree.path(node).is_some(), "it may be there all the same");
    }
    tree.refreshed(removed, numbered("a", 1, 7), 30, tree.seq());
    assert!(!tree.node(removed).unwrap().doomed);
}

#[test]
fn an_inode_that_another_filer_moved_is_found_at_its_new_name() {
    let mut tree = tree();
    let moved = learn(&mut tree, ROOT, numbered("new", 1, 7), 10).node;
    let replaced = learn(&mut tree, ROOT, numbered("target", 2, 8), 10).node;
    tree.apply(late_rename(7, 20, false));
    assert_eq!(tree.path(moved).as_deref(), Some("/target"));
    assert_eq!(tree.path(replaced), None);
    assert!(tree.node(moved).unwrap().stale);
    assert!(matches!(tree.find(ROOT, "new"), Found::Unknown(_)));
    // Without a number in the entry it comes from the path, which differs.
    let by_path = learn(&mut tree, ROOT, numbered("new", 3, 70), 30).node;
    tree.apply(Moved {
        was: Some(70),
        ..late_rename(71, 40, false)
    });
    assert_eq!(tree.path(by_path).as_deref(), Some("/target"));
}

#[test]
fn a_moved_inode_whose_new_name_is_known_to_be_a_later_file_is_gone() {
    for same_clock in [true, false] {
        let mut tree = tree();
        let moved = learn(&mut tree, ROOT, numbered("new", 1, 7), 10).node;
        let later = learn(&mut tree, ROOT, numbered("target", 2, 8), 30).node;
        tree.apply(Moved {
            same_clock,
            ..late_rename(7, 20, false)
        });
        assert_eq!(tree.path(moved), None, "{same_clock}");
        assert_eq!(tree.path(later).as_deref(), Some("/target"), "{same_clock}");
    }
}

#[test]
fn a_name_that_was_asked_for_after_a_rename_is_another_file() {
    let mut tree = tree();
    let newer = learn(&mut tree, ROOT, numbered("new", 1, 9), 30).node;
    tree.apply(Moved {
        same_clock: true,
        ..late_rename(7, 20, false)
    });
    assert_eq!(tree.path(newer).as_deref(), Some("/new"));
    assert_eq!(known(tree.find(ROOT, "new")).node, newer);
}

#[test]
fn a_listing_leaves_what_is_known_of_our_own_changes() {
    let mut tree = tree();
    let asked = question(&tree, ROOT);
    let seq = tree.seq();
    let made = tree.made(ROOT, "new", &asked, numbered("new", 0, 9), 30);
    let made = made.unwrap().node;
    let all = [Listed {
        name: "new".into(),
        entry: numbered("new", 0, 9),
    }];
    for (seq, fence) in [(seq, 25), (tree.seq(), 35)] {
        assert!(tree.listed(ROOT, "/", &all, fence, seq));
        tree.apply(event(Some(at("/", "new")), None, 28));
        tree.apply(Moved {
            same_clock: true,
            ..late_rename(7, 29, true)
        });
        assert_eq!(tree.path(made).as_deref(), Some("/new"), "{fence}");
    }
}

#[test]
fn a_name_that_is_another_kind_now_is_another_inode() {
    for how in ["listed", "refreshed", "learned"] {
        let mut tree = tree();
        let dir = learn(&mut tree, ROOT, directory("a"), 10).node;
        let below = learn(&mut tree, dir, directory("b"), 10).node;
        let (asked, now) = (question(&tree, ROOT), entry("a", 1));
        match how {
            "listed" => {
                let all = [Listed::from(Entry::clone(&now))];
                assert!(tree.listed(ROOT, "/", &all, 20, tree.seq()));
            }
            "refreshed" => tree.refreshed(dir, now, 20, asked.seq),
            _ => tree.learned(ROOT, "a", &asked, Some((now, 20))),
        }
        assert_eq!((tree.path(dir), tree.path(below)), (None, None), "{how}");
        assert!(tree.content(dir).unwrap().entry.is_directory(), "{how}");
        assert_ne!(learn(&mut tree, ROOT, entry("a", 1), 30).node, dir, "{how}");
    }
}

#[test]
fn an_answer_about_where_something_was_says_nothing_of_where_it_is() {
    let mut tree = tree();
    let dir = learn(&mut tree, ROOT, directory("d"), 10).node;
    let (in_root, in_dir) = (question(&tree, ROOT), question(&tree, dir));
    assert!(tree.is_at(dir, "/", "d") && !tree.was_elsewhere(dir, "f", &in_dir));
    tree.set_moving(Some("/d".to_owned()));
    assert!(tree.was_elsewhere(ROOT, "d", &in_root) && tree.was_elsewhere(dir, "f", &in_dir));
    tree.moved(Some(dir), (ROOT, "d"), (ROOT, "e"), directory("e"), 12);
    tree.set_moving(None);
    assert!(!tree.is_at(dir, "/", "d") && tree.was_elsewhere(dir, "f", &in_dir));
    assert!(!tree.was_elsewhere(ROOT, "d", &in_root), "it has gone");
}

#[test]
fn while_a_directory_is_moved_its_names_are_not_known_to_be_missing() {
    let mut tree = tree();
    let dir = learn(&mut tree, ROOT, directory("d"), 10).node;
    let file = learn(&mut tree, dir, entry("f", 1), 10).node;
    let (in_root, in_dir) = (question(&tree, ROOT), question(&tree, dir));
    tree.set_moving(Some("/d".to_owned()));
    assert!(!tree.absent(ROOT, "d", &in_root));
    assert!(!tree.absent(dir, "f", &in_dir));
    assert!(!tree.listed(ROOT, "/", &[], 11, tree.seq()));
    assert!(!tree.listed(dir, "/d", &[], 11, tree.seq()));
    assert_eq!(tree.path(file).as_deref(), Some("/d/f"));
    assert!(tree.absent(ROOT, "dd", &in_root), "that is another name");
    tree.moved(Some(dir), (ROOT, "d"), (ROOT, "e"), directory("e"), 12);
    tree.set_moving(None);
    assert_eq!(tree.path(file).as_deref(), Some("/e/f"));
    assert!(tree.absent(dir, "g", &question(&tree, dir)));
}
