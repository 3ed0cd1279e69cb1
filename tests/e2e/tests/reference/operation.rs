//! The operations, on few names, so that they meet.

use proptest::prelude::*;
use proptest::sample::select;

/// Times that are set lie before this second, times that are noted after it.
pub(super) const LONG_AGO: i64 = 1_000_000;

/// Below the directory of the case. Some lie below others that may be files or not there.
const NAMES: [&str; 8] = ["a", "b", "c", "d", "a/a", "a/b", "b/a", "a/a/a"];

/// Files that are kept open.
pub(super) const SLOTS: usize = 3;

/// One thing a program does.
#[derive(Debug, Clone)]
pub(super) enum Operation {
    Create {
        name: &'static str,
        mode: u32,
    },
    Write {
        name: &'static str,
        at: u64,
        len: usize,
        fill: u8,
    },
    Append {
        name: &'static str,
        len: usize,
        fill: u8,
    },
    Truncate {
        name: &'static str,
        len: u64,
    },
    Replace {
        name: &'static str,
        len: usize,
        fill: u8,
    },
    Read {
        name: &'static str,
    },
    Stat {
        name: &'static str,
    },
    List {
        name: &'static str,
    },
    Mkdir {
        name: &'static str,
        mode: u32,
    },
    Rmdir {
        name: &'static str,
    },
    Unlink {
        name: &'static str,
    },
    Rename {
        from: &'static str,
        to: &'static str,
        exclusive: bool,
    },
    Link {
        from: &'static str,
        to: &'static str,
    },
    Symlink {
        target: &'static str,
        name: &'static str,
    },
    Chmod {
        name: &'static str,
        mode: u32,
    },
    Chown {
        name: &'static str,
        owner: u32,
    },
    Times {
        name: &'static str,
        seconds: i64,
    },
    SetXattr {
        name: &'static str,
        key: &'static str,
        len: usize,
    },
    RemoveXattr {
        name: &'static str,
        key: &'static str,
    },
    Open {
        slot: usize,
        name: &'static str,
        create: bool,
        append: bool,
    },
    HandleWrite {
        slot: usize,
        at: u64,
        len: usize,
        fill: u8,
    },
    HandleRead {
        slot: usize,
        at: u64,
        len: usize,
    },
    HandleTruncate {
        slot: usize,
        len: u64,
    },
    HandleStat {
        slot: usize,
    },
    HandleSync {
        slot: usize,
    },
    Close {
        slot: usize,
    },
}

/// Any of them; with `handles`, those of open files too.
pub(super) fn operation(handles: bool) -> BoxedStrategy<Operation> {
    use Operation as O;
    let name = || select(&NAMES[..]);
    let len = || prop_oneof![4 => 0_usize..200, 1 => 0_usize..70_000];
    let at = || prop_oneof![4 => 0_u64..300, 1 => 0_u64..3_000_000];
    let mode = || select(&[0o644_u32, 0o600, 0o755, 0o4755, 0o2775, 0o1777, 0o000][..]);
    let key = || select(&["user.a", "user.b"][..]);
    let by_name = prop_oneof![
        6 => (name(), mode()).prop_map(|(name, mode)| O::Create { name, mode }),
        6 => (name(), at(), len(), any::<u8>()).prop_map(|(name, at, len, fill)| O::Write { name, at, len, fill }),
        4 => (name(), len(), any::<u8>()).prop_map(|(name, len, fill)| O::Append { name, len, fill }),
        3 => (name(), at()).prop_map(|(name, len)| O::Truncate { name, len }),
        4 => (name(), len(), any::<u8>()).prop_map(|(name, len, fill)| O::Replace { name, len, fill }),
        4 => name().prop_map(|name| O::Read { name }),
        4 => name().prop_map(|name| O::Stat { name }),
        2 => name().prop_map(|name| O::List { name }),
        8 => (name(), mode()).prop_map(|(name, mode)| O::Mkdir { name, mode }),
        3 => name().prop_map(|name| O::Rmdir { name }),
        4 => name().prop_map(|name| O::Unlink { name }),
        8 => (name(), name(), any::<bool>()).prop_map(|(from, to, exclusive)| O::Rename { from, to, exclusive }),
        5 => (name(), name()).prop_map(|(from, to)| O::Link { from, to }),
        3 => (name(), name()).prop_map(|(target, name)| O::Symlink { target, name }),
        2 => (name(), mode()).prop_map(|(name, mode)| O::Chmod { name, mode }),
        2 => (name(), 0_u32..3).prop_map(|(name, owner)| O::Chown { name, owner }),
        2 => (name(), 0..LONG_AGO).prop_map(|(name, seconds)| O::Times { name, seconds }),
        2 => (name(), key(), 0_usize..300).prop_map(|(name, key, len)| O::SetXattr { name, key, len }),
        1 => (name(), key()).prop_map(|(name, key)| O::RemoveXattr { name, key }),
    ];
    if !handles {
        return by_name.boxed();
    }
    let slot = || 0..SLOTS;
    let by_handle = prop_oneof![
        6 => (slot(), name(), any::<bool>(), any::<bool>())
            .prop_map(|(slot, name, create, append)| O::Open { slot, name, create, append }),
        6 => (slot(), at(), len(), any::<u8>()).prop_map(|(slot, at, len, fill)| O::HandleWrite { slot, at, len, fill }),
        4 => (slot(), at(), len()).prop_map(|(slot, at, len)| O::HandleRead { slot, at, len }),
        2 => (slot(), at()).prop_map(|(slot, len)| O::HandleTruncate { slot, len }),
        2 => slot().prop_map(|slot| O::HandleStat { slot }),
        1 => slot().prop_map(|slot| O::HandleSync { slot }),
        3 => slot().prop_map(|slot| O::Close { slot }),
    ];
    prop_oneof![3 => by_name, 2 => by_handle].boxed()
}
