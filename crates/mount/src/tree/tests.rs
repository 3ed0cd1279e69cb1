//! The tree against sequences of answers and events in every order that matters.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use fuse::NodeId;
use seaweed::{Entry, pb};

use super::{Found, Invalidation, Known, Listed, Moved, Place, Placed, Question, Tree, in_order};

mod late;

const ROOT: NodeId = NodeId::ROOT;

fn entry(name: &str, size: u64) -> Arc<Entry> {
    raw(name, size, 0)
}

fn directory(name: &str) -> Arc<Entry> {
    raw(name, 0, 1 << 31)
}

fn raw(name: &str, size: u64, type_bits: u32) -> Arc<Entry> {
    let entry = pb::Entry {
        name: name.to_owned(),
        is_directory: type_bits != 0,
        attributes: Some(pb::FuseAttributes {
            file_size: size,
            file_mode: type_bits | 0o644,
            mtime: 1,
            crtime: 1,
            ..pb::FuseAttributes::default()
        }),
        ..pb::Entry::default()
    };
    Arc::new(Entry::from_pb("/", entry).unwrap())
}

fn linked(name: &str, group: &'static [u8], counter: i32) -> Arc<Entry> {
    let entry = pb::Entry {
        name: name.to_owned(),
        hard_link_id: bytes::Bytes::from_static(group),
        hard_link_counter: counter,
        attributes: Some(pb::FuseAttributes {
            file_mode: 0o644,
            ..pb::FuseAttributes::default()
        }),
        ..pb::Entry::default()
    };
    Arc::new(Entry::from_pb("/", entry).unwrap())
}

fn tree() -> Tree {
    let mut tree = Tree::new(
        "/".to_owned(),
        directory("root"),
        1000,
        ledger::Account::unlimited(),
    );
    tree.trust(true);
    tree
}

fn question(tree: &Tree, parent: NodeId) -> Question {
    Question {
        directory: tree.path(parent).unwrap(),
        seq: tree.seq(),
    }
}

/// The filer answers a look-up at time `fence`, and nothing happened meanwhile.
fn learn(tree: &mut Tree, parent: NodeId, entry: Arc<Entry>, fence: i64) -> Known {
    let name = entry.name.clone();
    let question = question(tree, parent);
    tree.found(parent, &name, &question, entry, fence).unwrap()
}

fn at(directory: &str, name: &str) -> Placed {
    Placed {
        directory: directory.to_owned(),
        name: name.into(),
    }
}

fn event(old: Option<Placed>, new: Option<(Placed, Arc<Entry>)>, ts_ns: i64) -> Moved {
    Moved {
        old,
        new,
        ts_ns,
        same_clock: true,
        was: None,
        unlinked: None,
        ours: false,
    }
}

fn put(directory: &str, entry: &Arc<Entry>, ts_ns: i64) -> Moved {
    let placed = at(directory, &entry.name);
    event(None, Some((placed, Arc::clone(entry))), ts_ns)
}

fn rewritten(directory: &str, entry: &Arc<Entry>, ts_ns: i64) -> Moved {
    let placed = at(directory, &entry.name);
    event(
        Some(placed.clone()),
        Some((placed, Arc::clone(entry))),
        ts_ns,
    )
}

fn size_of(tree: &Tree, node: NodeId) -> u64 {
    tree.content(node).unwrap().entry.size
}

fn known(found: Found) -> Known {
    match found {
        Found::Known(known) => known,
        other => panic!("not known: {other:?}"),
    }
}

#[test]
fn an_answer_is_kept_and_given_again() {
    let mut tree = tree();
    let first = learn(&mut tree, ROOT, entry("a", 1), 10);
    assert!(first.fresh);
    assert_eq!(known(tree.find(ROOT, "a")).node, first.node);
    assert!(matches!(tree.find(ROOT, "b"), Found::Unknown(_)));
}

#[test]
fn nothing_is_believed_without_trust() {
    let mut tree = tree();
    learn(&mut tree, ROOT, entry("a", 1), 10);
    tree.trust(false);
    assert!(matches!(tree.find(ROOT, "a"), Found::Unknown(_)));
    assert!(!learn(&mut tree, ROOT, entry("a", 1), 11).fresh);
}

#[test]
fn an_event_updates_what_the_kernel_knows() {
    let mut tree = tree();
    let node = learn(&mut tree, ROOT, entry("a", 1), 10).node;
    let _ = tree.take_told();
    tree.apply(rewritten("/", &entry("a", 2), 11));
    assert_eq!(size_of(&tree, node), 2);
    assert_eq!(tree.take_told(), [Invalidation::Data(node)]);
}

#[test]
fn an_event_older_than_the_answer_changes_nothing() {
    let mut tree = tree();
    let node = learn(&mut tree, ROOT, entry("a", 2), 11).node;
    let _ = tree.take_told();
    tree.apply(rewritten("/", &entry("a", 1), 11));
    tree.apply(event(Some(at("/", "a")), None, 9));
    assert_eq!(size_of(&tree, node), 2);
    assert_eq!(tree.take_told(), []);
    assert_eq!(known(tree.find(ROOT, "a")).node, node);
}

#[test]
fn an_event_by_another_clock_makes_the_name_doubtful() {
    let mut tree = tree();
    let node = learn(&mut tree, ROOT, entry("a", 2), 11).node;
    let mut other = put("/", &entry("a", 1), 5);
    other.same_clock = false;
    tree.apply(other);
    assert_eq!(size_of(&tree, node), 2);
    assert!(matches!(tree.find(ROOT, "a"), Found::Unknown(_)));
}

#[test]
fn an_answer_that_an_event_overtook_is_used_once() {
    let mut tree = tree();
    let asked = question(&tree, ROOT);
    tree.apply(event(Some(at("/", "a")), None, 20));
    let late = tree.found(ROOT, "a", &asked, entry("a", 1), 19).unwrap();
    assert!(!late.fresh);
    assert!(matches!(tree.find(ROOT, "a"), Found::Unknown(_)));

    let asked = question(&tree, ROOT);
    tree.apply(put("/", &entry("b", 1), 21));
    assert!(!tree.absent(ROOT, "b", &asked));
}

#[test]
fn a_creation_ends_the_belief_that_the_name_is_free() {
    let mut tree = tree();
    let asked = question(&tree, ROOT);
    assert!(tree.absent(ROOT, "a", &asked));
    tree.apply(put("/", &entry("a", 1), 20));
    let told = tree.take_told();
    assert!(
        told.contains(&Invalidation::Name(ROOT, "a".into())),
        "{told:?}"
    );
    assert!(told.contains(&Invalidation::Data(ROOT)), "{told:?}");
}

#[test]
fn a_removed_file_keeps_its_node_but_not_its_place() {
    let mut tree = tree();
    let node = learn(&mut tree, ROOT, entry("a", 1), 10).node;
    tree.apply(event(Some(at("/", "a")), None, 11));
    assert_eq!(tree.node(node).unwrap().place, Place::Gone);
    assert_eq!(size_of(&tree, node), 1);
    assert!(matches!(tree.find(ROOT, "a"), Found::Unknown(_)));
    tree.forget(node, 1);
    assert!(tree.node(node).is_none());
}

#[test]
fn a_renamed_directory_takes_its_subtree_along() {
    let mut tree = tree();
    let dir = learn(&mut tree, ROOT, directory("d"), 10).node;
    let file = learn(&mut tree, dir, entry("f", 1), 10).node;
    let moved = directory("e");
    tree.apply(event(Some(at("/", "d")), Some((at("/", "e"), moved)), 11));
    assert_eq!(tree.path(file).as_deref(), Some("/e/f"));
    assert_eq!(known(tree.find(ROOT, "e")).node, dir);
    let told = tree.take_told();
    for name in ["d", "e"] {
        assert!(
            told.contains(&Invalidation::Name(ROOT, name.into())),
            "{told:?}"
        );
    }
    // The filer then tells of each file that moved with it.
    let each = event(
        Some(at("/d", "f")),
        Some((at("/e", "f"), entry("f", 2))),
        12,
    );
    tree.apply(each);
    assert_eq!(size_of(&tree, file), 2);
    assert_eq!(tree.path(file).as_deref(), Some("/e/f"));
}

#[test]
fn a_file_renamed_to_an_unknown_place_is_still_found() {
    let mut tree = tree();
    let node = learn(&mut tree, ROOT, entry("a", 1), 10).node;
    let away = at("/far/away", "b");
    tree.apply(event(Some(at("/", "a")), Some((away, entry("b", 1))), 11));
    let (directory, name, _) = tree.locate(node).unwrap();
    assert_eq!((directory.as_str(), name.as_str()), ("/far/away", "b"));
    assert!(tree.node(node).unwrap().stale);
}

#[test]
fn a_rename_over_a_file_replaces_it() {
    let mut tree = tree();
    let old = learn(&mut tree, ROOT, entry("target", 1), 10).node;
    let new = learn(&mut tree, ROOT, entry("temp", 2), 10).node;
    let to = (at("/", "target"), entry("target", 2));
    tree.apply(event(Some(at("/", "temp")), Some(to), 11));
    assert_eq!(known(tree.find(ROOT, "target")).node, new);
    assert_eq!(tree.node(old).unwrap().place, Place::Gone);
    assert_eq!(size_of(&tree, old), 1, "an open handle reads what it had");
}

#[test]
fn a_listing_makes_missing_names_known_to_be_missing() {
    let mut tree = tree();
    let gone = learn(&mut tree, ROOT, entry("gone", 1), 5).node;
    let all = in_order(vec![listed(&entry("b", 2)), listed(&entry("a", 1))]);
    assert!(tree.listed(ROOT, "/", &all, 10, tree.seq()));
    assert!(matches!(tree.find(ROOT, "x"), Found::Absent));
    assert!(matches!(tree.find(ROOT, "gone"), Found::Absent));
    assert_eq!(tree.node(gone).unwrap().place, Place::Gone);
    assert!(matches!(tree.find(ROOT, "a"), Found::Unnamed));
    let node = tree.adopt(ROOT, "a").unwrap().node;
    assert_eq!(size_of(&tree, node), 1);
    let names: Vec<String> = names(&tree.listing(ROOT).unwrap());
    assert_eq!(names, ["a", "b"]);
}

#[test]
fn a_listing_keeps_up_with_events() {
    let mut tree = tree();
    assert!(tree.listed(ROOT, "/", &[listed(&entry("a", 1))], 10, tree.seq()));
    tree.apply(put("/", &entry("b", 2), 11));
    tree.apply(event(Some(at("/", "a")), None, 12));
    assert_eq!(names(&tree.listing(ROOT).unwrap()), ["b"]);
    assert!(matches!(tree.find(ROOT, "a"), Found::Absent));
}

#[test]
fn names_touched_while_listing_are_asked_for() {
    let mut tree = tree();
    let seq = tree.seq();
    tree.apply(put("/", &entry("new", 1), 11));
    tree.apply(event(Some(at("/", "old")), None, 12));
    let all = [listed(&entry("old", 1)), listed(&entry("stays", 1))];
    assert!(tree.listed(ROOT, "/", &all, 10, seq));
    assert!(tree.listing(ROOT).is_none(), "two names are in doubt");
    assert_eq!(tree.doubtful_names(ROOT).len(), 2);
    let asked = question(&tree, ROOT);
    tree.learned(ROOT, "old", &asked, None);
    tree.learned(ROOT, "new", &asked, Some((entry("new", 1), 13)));
    assert_eq!(names(&tree.listing(ROOT).unwrap()), ["new", "stays"]);
}

#[test]
fn a_listed_name_that_the_kernel_believed_free_is_told() {
    let mut tree = tree();
    let asked = question(&tree, ROOT);
    assert!(tree.absent(ROOT, "a", &asked));
    // The listing already has it when its event arrives.
    assert!(tree.listed(ROOT, "/", &[listed(&entry("a", 1))], 20, tree.seq()));
    let _ = tree.take_told();
    tree.apply(put("/", &entry("a", 1), 15));
    let told = tree.take_told();
    assert!(
        told.contains(&Invalidation::Name(ROOT, "a".into())),
        "{told:?}"
    );
}

#[test]
fn the_kernel_keeps_its_listing_until_a_name_comes_or_goes() {
    let mut tree = tree();
    assert!(!tree.keep_listing(ROOT), "it has none yet");
    assert!(tree.listed(ROOT, "/", &[listed(&entry("a", 1))], 10, tree.seq()));
    learn(&mut tree, ROOT, entry("a", 1), 11);
    tree.apply(rewritten("/", &entry("a", 2), 12));
    assert!(tree.keep_listing(ROOT));
    // A look-up sees the new name before its event says so.
    learn(&mut tree, ROOT, entry("b", 1), 20);
    tree.apply(put("/", &entry("b", 1), 15));
    assert!(tree.take_told().contains(&Invalidation::Data(ROOT)));
    assert!(!tree.keep_listing(ROOT));
    assert!(tree.keep_listing(ROOT));
}

#[test]
fn directories_above_the_bound_are_not_kept() {
    let mut tree = Tree::new(
        "/".to_owned(),
        directory("root"),
        2,
        ledger::Account::unlimited(),
    );
    tree.trust(true);
    let all: Vec<Listed> = ["a", "b"].map(|name| listed(&entry(name, 1))).into();
    assert!(tree.listed(ROOT, "/", &all, 10, tree.seq()));
    tree.apply(put("/", &entry("c", 1), 11));
    assert!(tree.listing(ROOT).is_none());
    assert!(matches!(tree.find(ROOT, "x"), Found::Unknown(_)));
    assert!(!tree.wants_listing(ROOT, 0), "known to be too large");
}

#[test]
fn a_name_that_becomes_a_link_elsewhere_shares_its_node_with_the_new_one() {
    let mut tree = tree();
    let a = learn(&mut tree, ROOT, entry("a", 1), 10);
    // Told by two events: the old name is a link now, and there is a new one.
    tree.apply(put("/", &linked("a", b"group", 2), 11));
    assert_eq!(tree.content(a.node).unwrap().entry.nlink, 2);
    tree.apply(put("/", &linked("b", b"group", 2), 12));
    let b = learn(&mut tree, ROOT, linked("b", b"group", 2), 12);
    assert_eq!(a.node, b.node);
    let _ = tree.take_told();
    tree.apply(put("/", &linked("b", b"group", 2), 13));
    assert!(tree.take_told().contains(&Invalidation::Data(a.node)));

    // The new name was asked for before the event of the old one came.
    let c = learn(&mut tree, ROOT, entry("c", 1), 20);
    let d = learn(&mut tree, ROOT, linked("d", b"other", 2), 22);
    assert_ne!(c.node, d.node);
    let _ = tree.take_told();
    tree.apply(put("/", &linked("c", b"other", 2), 21));
    let told = tree.take_told();
    assert!(
        told.contains(&Invalidation::Name(ROOT, "c".into())),
        "{told:?}"
    );
    let c = learn(&mut tree, ROOT, linked("c", b"other", 2), 22);
    assert_eq!(c.node, d.node);
}

#[test]
fn hard_links_share_a_node_and_change_together() {
    let mut tree = tree();
    let a = learn(&mut tree, ROOT, linked("a", b"group", 2), 10);
    let b = learn(&mut tree, ROOT, linked("b", b"group", 2), 10);
    assert_eq!(a.node, b.node);
    tree.apply(put("/", &linked("a", b"group", 3), 11));
    assert!(matches!(tree.find(ROOT, "b"), Found::Unknown(_)));
    assert!(tree.node(a.node).unwrap().stale);
    tree.apply(event(Some(at("/", "b")), None, 12));
    assert_eq!(tree.path(a.node).as_deref(), Some("/a"));
}

#[test]
fn a_name_that_was_never_looked_for_is_missed_by_its_group_when_it_goes() {
    let mut tree = tree();
    let a = learn(&mut tree, ROOT, linked("a", b"group", 2), 10);
    assert!(!tree.node(a.node).unwrap().stale);
    tree.apply(Moved {
        unlinked: Some(bytes::Bytes::from_static(b"group")),
        ..event(Some(at("/elsewhere", "b")), None, 11)
    });
    assert!(tree.node(a.node).unwrap().stale);
    assert!(!tree.take_told().is_empty(), "the kernel has the old count");
}

/// A moment of the filer's clock after all times of entries here.
const LATER: i64 = 1_000_000_000_000_000;

#[test]
fn a_time_that_somebody_sets_is_newer_than_the_names_before() {
    let mut tree = tree();
    let dir = learn(&mut tree, ROOT, directory("d"), LATER).node;
    tree.apply(put("/d", &entry("f", 1), LATER + 20));
    assert!(tree.touched(dir).is_some());
    let chmod = Arc::new(Entry {
        perm: 0o700,
        ..Entry::clone(&directory("d"))
    });
    tree.apply(rewritten("/", &chmod, LATER + 21));
    assert!(tree.touched(dir).is_some(), "the mode, not the time");
    let set = Arc::new(Entry {
        mtime: UNIX_EPOCH + Duration::from_secs(7),
        ..Entry::clone(&chmod)
    });
    tree.apply(rewritten("/", &set, LATER + 22));
    assert_eq!(tree.touched(dir), None);
    tree.apply(put("/d", &entry("g", 1), LATER + 23));
    assert!(tree.touched(dir).is_some());
    let again = Arc::new(Entry {
        ctime: UNIX_EPOCH + Duration::from_nanos(LATER as u64 + 24),
        ..Entry::clone(&set)
    });
    tree.apply(rewritten("/", &again, LATER + 24));
    assert_eq!(tree.touched(dir), None, "to what it was");
    tree.apply(put("/d", &entry("h", 1), LATER + 23));
    assert_eq!(tree.touched(dir), None, "what is told late is in the entry");
}

#[test]
fn a_late_event_of_our_own_does_not_cover_a_time_that_was_set() {
    let mut tree = tree();
    let dir = learn(&mut tree, ROOT, directory("d"), LATER).node;
    tree.touch_dir(dir, UNIX_EPOCH + Duration::from_nanos(LATER as u64 + 20));
    assert!(tree.untouch(dir).is_some());
    tree.apply(Moved {
        ours: true,
        ..put("/d", &entry("f", 1), LATER + 20)
    });
    assert_eq!(tree.touched(dir), None);
    tree.apply(put("/d", &entry("g", 1), LATER + 21));
    assert!(tree.touched(dir).is_some(), "somebody else's");
}

#[test]
fn after_a_gap_everything_is_asked_again() {
    let mut tree = tree();
    let dir = learn(&mut tree, ROOT, directory("d"), 10).node;
    let file = learn(&mut tree, dir, entry("f", 1), 10).node;
    assert!(tree.listed(ROOT, "/", &[listed(&directory("d"))], 10, tree.seq()));
    let asked = question(&tree, dir);
    tree.doubt_everything();
    assert!(matches!(tree.find(ROOT, "d"), Found::Unknown(_)));
    assert!(matches!(tree.find(ROOT, "x"), Found::Unknown(_)));
    assert_eq!(tree.path(file).as_deref(), Some("/d/f"));
    // What was asked before the gap is not believed after it.
    let late = tree.found(dir, "f", &asked, entry("f", 1), 10).unwrap();
    assert_eq!(late.node, file);
    assert!(!late.fresh, "asked before the gap");
}

#[test]
fn a_subtree_root_follows_its_own_entry() {
    let mut tree = Tree::new(
        "/buckets/b".to_owned(),
        directory("b"),
        10,
        ledger::Account::unlimited(),
    );
    tree.trust(true);
    let node = learn(&mut tree, ROOT, entry("f", 1), 10).node;
    assert_eq!(tree.path(node).as_deref(), Some("/buckets/b/f"));
    tree.apply(put("/buckets/b", &entry("f", 9), 11));
    assert_eq!(size_of(&tree, node), 9);
    let _ = tree.take_told();
    tree.apply(put("/buckets/bb", &entry("f", 5), 12));
    assert_eq!(tree.take_told(), []);
}

fn listed(entry: &Arc<Entry>) -> Listed {
    Listed {
        name: entry.name.as_str().into(),
        entry: Arc::clone(entry),
    }
}

fn names(all: &[Listed]) -> Vec<String> {
    all.iter().map(|listed| listed.name.to_string()).collect()
}

#[test]
fn an_unknown_file_moved_over_a_known_one_is_another_inode() {
    let mut tree = tree();
    let held = learn(&mut tree, ROOT, numbered("name", 1, 7), 10);
    let new = numbered("name", 9, 8);
    // The removal of what was there is held back, so that the rename is all there is.
    tree.apply(event(
        Some(at("/", "new")),
        Some((at("/", "name"), new)),
        11,
    ));
    assert_eq!(
        size_of(&tree, held.node),
        1,
        "its handles keep what they have"
    );
    assert_eq!(tree.path(held.node), None);
}

#[test]
fn our_own_name_is_not_told_to_the_kernel_nor_are_its_events() {
    let mut tree = tree();
    let asked = question(&tree, ROOT);
    let made = tree.made(ROOT, "a", &asked, entry("a", 1), 20).unwrap();
    assert!(made.fresh);
    tree.apply(Moved {
        ours: true,
        ..put("/", &entry("a", 1), 20)
    });
    // What others did to the name before is no news any more.
    tree.apply(put("/", &entry("a", 5), 15));
    tree.apply(event(Some(at("/", "a")), None, 16));
    assert_eq!(tree.take_told(), []);
    assert_eq!(known(tree.find(ROOT, "a")).node, made.node);
    assert_eq!(size_of(&tree, made.node), 1);
    // What they do to it afterwards is.
    tree.apply(event(Some(at("/", "a")), None, 21));
    assert!(!tree.take_told().is_empty());
    assert_eq!(tree.path(made.node), None);
}

#[test]
fn a_name_we_removed_stays_removed_until_it_is_made_anew() {
    let mut tree = tree();
    learn(&mut tree, ROOT, entry("a", 1), 10);
    tree.unmade(ROOT, "a", 30);
    assert_eq!(tree.take_told(), []);
    tree.apply(put("/", &entry("a", 1), 25));
    assert!(matches!(tree.find(ROOT, "a"), Found::Unknown(_)));
    assert_eq!(tree.take_told(), []);
    tree.apply(put("/", &entry("a", 2), 31));
    assert!(!tree.take_told().is_empty());
}

#[test]
fn our_rename_is_the_same_whichever_comes_first_answer_or_event() {
    for event_first in [false, true] {
        let mut tree = tree();
        let node = learn(&mut tree, ROOT, numbered("a", 3, 7), 10).node;
        let over = learn(&mut tree, ROOT, numbered("b", 4, 8), 10).node;
        let seen = Moved {
            ours: true,
            ..event(
                Some(at("/", "a")),
                Some((at("/", "b"), numbered("b", 3, 7))),
                11,
            )
        };
        if event_first {
            tree.apply(seen.clone());
        }
        tree.moved(
            Some(node),
            (ROOT, "a"),
            (ROOT, "b"),
            numbered("b", 3, 7),
            12,
        );
        if !event_first {
            tree.apply(seen);
        }
        assert_eq!(tree.path(node).as_deref(), Some("/b"), "{event_first}");
        assert_eq!(tree.path(over), None, "{event_first}");
        assert_eq!(tree.take_told(), [], "{event_first}");
    }
}

#[test]
fn a_change_that_may_have_been_made_is_told_when_its_event_comes() {
    let mut tree = tree();
    tree.in_doubt(ROOT, "a");
    let _ = tree.take_told();
    tree.apply(Moved {
        ours: true,
        ..put("/", &entry("a", 1), 11)
    });
    assert!(!tree.take_told().is_empty(), "the kernel had no answer");
}

fn numbered(name: &str, size: u64, inode: u64) -> Arc<Entry> {
    let plain = entry(name, size);
    Arc::new(Entry {
        inode,
        ..Entry::clone(&plain)
    })
}

/// The kernel reads the node's bytes without asking.
fn past_us(tree: &Tree, node: NodeId) {
    tree.node(node).unwrap().open();
    tree.node(node).unwrap().set_past_us(true);
}

#[test]
fn a_name_whose_bytes_change_parts_from_an_inode_that_is_read_past_us() {
    let mut tree = tree();
    let old = learn(&mut tree, ROOT, entry("a", 5), 10).node;
    past_us(&tree, old);
    // Attributes alone change where they are.
    let mut touched = Entry::clone(&entry("a", 5));
    touched.perm = 0o600;
    tree.apply(rewritten("/", &Arc::new(touched), 15));
    assert_eq!(known(tree.find(ROOT, "a")).node, old);
    let _ = tree.take_told();

    tree.apply(rewritten("/", &entry("a", 6), 20));
    let told = tree.take_told();
    assert!(
        told.contains(&Invalidation::Name(ROOT, "a".into())),
        "{told:?}"
    );
    assert!(
        !told.contains(&Invalidation::Data(old)),
        "its pages are right"
    );
    assert!(matches!(tree.find(ROOT, "a"), Found::Unnamed));
    let new = tree.adopt(ROOT, "a").unwrap();
    assert_ne!(new.node, old);
    assert_eq!((size_of(&tree, new.node), size_of(&tree, old)), (6, 5));
    assert_eq!(tree.node(old).unwrap().place, Place::Gone);
    assert_eq!(tree.locate(old), None);
    // Later versions are the new one's, until it is read past us as well.
    tree.apply(rewritten("/", &entry("a", 7), 30));
    assert_eq!((size_of(&tree, new.node), size_of(&tree, old)), (7, 5));
}

#[test]
fn an_answer_about_a_name_read_past_us_makes_another_inode_too() {
    let mut tree = tree();
    let old = learn(&mut tree, ROOT, entry("a", 5), 10).node;
    past_us(&tree, old);
    tree.doubt_everything();
    let new = learn(&mut tree, ROOT, entry("a", 6), 20).node;
    assert_ne!(new, old);
    assert_eq!(known(tree.find(ROOT, "a")).node, new);
    // Asked for again as a node, as after a gap.
    past_us(&tree, new);
    let (directory, name, seq) = tree.locate(new).unwrap();
    assert_eq!((directory.as_str(), name.as_str()), ("/", "a"));
    tree.refreshed(new, entry("a", 8), 30, seq);
    assert_eq!(size_of(&tree, new), 6);
    match tree.find(ROOT, "a") {
        Found::Unnamed => assert_eq!(size_of(&tree, tree.node_of(ROOT, "a").unwrap_or(new)), 6),
        Found::Unknown(_) => {}
        other => panic!("{other:?}"),
    }
    let newest = learn(&mut tree, ROOT, entry("a", 8), 40).node;
    assert_eq!(size_of(&tree, newest), 8);
    // Unchanged, it is the same inode.
    let same = learn(&mut tree, ROOT, entry("b", 1), 50).node;
    past_us(&tree, same);
    tree.doubt_everything();
    assert_eq!(learn(&mut tree, ROOT, entry("b", 1), 60).node, same);
}

#[test]
fn all_names_of_a_hard_link_part_from_an_inode_that_is_read_past_us() {
    let mut tree = tree();
    let group = |name: &str, size: u64| {
        let mut entry = Entry::clone(&linked(name, b"g", 2));
        entry.size = size;
        Arc::new(entry)
    };
    let old = learn(&mut tree, ROOT, group("a", 5), 10).node;
    assert_eq!(learn(&mut tree, ROOT, group("b", 5), 11).node, old);
    past_us(&tree, old);
    let new = learn(&mut tree, ROOT, group("b", 6), 20).node;
    assert_ne!(new, old);
    assert!(matches!(tree.find(ROOT, "a"), Found::Unknown(_)));
    assert_eq!(learn(&mut tree, ROOT, group("a", 6), 21).node, new);
    let told = tree.take_told();
    assert!(
        told.contains(&Invalidation::Name(ROOT, "a".into())),
        "{told:?}"
    );
}
