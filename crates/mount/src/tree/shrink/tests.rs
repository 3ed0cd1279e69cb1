//! What is dropped, what is asked back, and that every byte is counted out again.

use std::sync::Arc;

use bytes::Bytes;
use fuse::NodeId;
use ledger::Account;
use proptest::prelude::*;
use seaweed::{Entry, pb};

use super::super::listing::{Listed, in_order};
use super::super::{Found, Known, Question, Tree};

fn entry(name: &str, is_directory: bool, group: &'static [u8]) -> Arc<Entry> {
    let entry = pb::Entry {
        name: name.to_owned(),
        is_directory,
        hard_link_id: Bytes::from_static(group),
        ..pb::Entry::default()
    };
    Arc::new(Entry::from_pb("/", entry).unwrap())
}

fn tree() -> (Tree, Account) {
    let account = Account::unlimited();
    let root = entry("root", true, b"");
    let mut tree = Tree::new("/".to_owned(), root, 1000, account.clone());
    tree.trust(true);
    (tree, account)
}

fn learn(tree: &mut Tree, parent: NodeId, entry: Arc<Entry>) -> Known {
    let question = Question {
        directory: tree.path(parent).unwrap(),
        seq: tree.seq(),
    };
    let name = entry.name.clone();
    tree.found(parent, &name, &question, entry, 1).unwrap()
}

fn list(tree: &mut Tree, parent: NodeId, names: &[&str]) {
    let all = names.iter().map(|name| Listed {
        name: (*name).into(),
        entry: entry(name, false, b""),
    });
    let all = in_order(all.collect());
    let (directory, seq) = (tree.path(parent).unwrap(), tree.seq());
    tree.listed(parent, &directory, &all, 1, seq);
}

/// Goes round once, and has the kernel forget what it is asked to.
fn round(tree: &mut Tree) -> Vec<NodeId> {
    let found = tree.shrink(usize::MAX);
    let asked: Vec<NodeId> = found.ask.iter().map(|asked| asked.node).collect();
    for node in &asked {
        tree.forget(*node, 1);
    }
    asked
}

#[test]
fn what_is_used_open_or_above_others_stays() {
    let (mut tree, account) = tree();
    tree.set_tight(true);
    let empty = account.held();
    let dir = learn(&mut tree, NodeId::ROOT, entry("dir", true, b"")).node;
    let [idle, used, open] =
        ["idle", "used", "open"].map(|name| learn(&mut tree, dir, entry(name, false, b"")).node);
    round(&mut tree);
    assert!(tree.node(idle).is_none() && tree.node(dir).is_some());

    let known = [used, open].map(|node| tree.node(node).is_some());
    assert_eq!(known, [false, false], "nobody used them either");
    let [used, open] =
        ["used", "open"].map(|name| learn(&mut tree, dir, entry(name, false, b"")).node);
    assert!(matches!(tree.find(dir, "used"), Found::Known(_)));
    tree.node(open).unwrap().open();
    let asked = round(&mut tree);
    assert!(asked.is_empty(), "{asked:?}");
    let asked = round(&mut tree);
    assert_eq!(asked, [used], "found once more, and open, the others stay");
    tree.forget(used, 1);
    assert!(tree.node(used).is_none());
    tree.closed(open);
    while !round(&mut tree).is_empty() {}
    assert!(tree.node(dir).is_none());
    assert_eq!(account.held(), empty);
}

#[test]
fn names_of_a_listing_go_first_and_are_not_believed_to_be_all() {
    let (mut tree, account) = tree();
    let empty = account.held();
    list(&mut tree, NodeId::ROOT, &["a", "b", "c"]);
    assert_eq!(tree.size(), (1, 3));
    assert!(account.held() > empty + 3 * 300);
    assert!(matches!(tree.find(NodeId::ROOT, "z"), Found::Absent));
    assert_eq!(tree.shrink(usize::MAX).dropped.len(), 0, "it was just used");
    assert_eq!(tree.shrink(usize::MAX).dropped.len(), 3);
    assert_eq!(account.held(), empty);
    assert!(matches!(tree.find(NodeId::ROOT, "z"), Found::Unknown(_)));
}

#[test]
fn what_the_kernel_forgets_stays_only_while_there_is_room() {
    let (mut tree, account) = tree();
    let node = learn(&mut tree, NodeId::ROOT, entry("a", false, b"")).node;
    tree.forget(node, 1);
    assert!(matches!(tree.find(NodeId::ROOT, "a"), Found::Unnamed));
    tree.set_tight(true);
    let node = learn(&mut tree, NodeId::ROOT, entry("b", false, b"")).node;
    let held = account.held();
    tree.forget(node, 1);
    assert!(account.held() < held);
    assert!(matches!(tree.find(NodeId::ROOT, "b"), Found::Unknown(_)));
    // Nor are listings kept.
    list(&mut tree, NodeId::ROOT, &["a", "b", "c"]);
    assert!(matches!(tree.find(NodeId::ROOT, "z"), Found::Unknown(_)));
}

#[derive(Debug, Clone)]
enum Step {
    Learn(usize, usize, bool, bool),
    Forget(usize),
    List(usize, usize),
    Shrink(usize),
    Tight(bool),
    Doubt,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0_usize..8, 0_usize..12, any::<bool>(), any::<bool>())
            .prop_map(|(dir, name, is_dir, linked)| Step::Learn(dir, name, is_dir, linked)),
        4 => (0_usize..64).prop_map(Step::Forget),
        2 => (0_usize..8, 0_usize..12).prop_map(|(dir, count)| Step::List(dir, count)),
        2 => (1_usize..20).prop_map(Step::Shrink),
        1 => any::<bool>().prop_map(Step::Tight),
        1 => Just(Step::Doubt),
    ]
}

proptest! {
    /// Whatever happens to a tree: when all is forgotten, all is counted out.
    #[test]
    fn what_was_counted_in_is_counted_out(steps in proptest::collection::vec(step(), 1..120)) {
        let (mut tree, account) = tree();
        let empty = account.held();
        // Lookups that the kernel holds, the directories among them first.
        let mut held: Vec<NodeId> = Vec::new();
        let dirs = |tree: &Tree, held: &[NodeId]| {
            let mut dirs = vec![NodeId::ROOT];
            dirs.extend(held.iter().filter(|node| tree.path(**node).is_some()
                && tree.content(**node).is_some_and(|content| content.entry.is_directory())));
            dirs
        };
        for step in steps {
            let all = dirs(&tree, &held);
            match step {
                Step::Learn(dir, name, is_dir, linked) => {
                    let group: &[u8] = if linked && !is_dir { b"group" } else { b"" };
                    let known = learn(&mut tree, all[dir % all.len()], entry(&format!("n{name}"), is_dir, group));
                    held.push(known.node);
                }
                Step::Forget(index) if !held.is_empty() => {
                    let node = held.swap_remove(index % held.len());
                    tree.forget(node, 1);
                }
                Step::Forget(_) => {}
                Step::List(dir, count) => {
                    let names: Vec<String> = (0..count).map(|n| format!("n{n}")).collect();
                    let names: Vec<&str> = names.iter().map(String::as_str).collect();
                    list(&mut tree, all[dir % all.len()], &names);
                }
                Step::Shrink(steps) => drop(tree.shrink(steps)),
                Step::Tight(tight) => tree.set_tight(tight),
                Step::Doubt => tree.doubt_everything(),
            }
        }
        for node in held {
            tree.forget(node, 1);
        }
        tree.shrink(usize::MAX);
        tree.shrink(usize::MAX);
        prop_assert_eq!(tree.size(), (1, 0));
        prop_assert_eq!(account.held(), empty);
        drop(tree);
        prop_assert_eq!(account.held(), 0);
    }
}
