//! Files that may not change any more: the WORM rules of the filer (write once, read many).
//!
//! A rule of filer.conf puts all files below a prefix under protection. A file is protected from when all
//! its write permissions are taken away, for the rule's retention time or for ever. The filer keeps since when
//! in the entry, looks at it where HTTP changes files, and leaves mounts to look at it themselves. So
//! whoever opens such a file for writing, changes its attributes, or moves, links or removes it is told EPERM, as by
//! `weed mount`.
//!
//! The rules are read again before a change when they are older than a few seconds. What an entry says is asked of
//! the filer each time, but only where a rule holds.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use context::Context;
use fuse::{Errno, NodeId};
use parking_lot::Mutex;
use seaweed::pb;
use serde_json::Value;

use crate::state::Core;
use crate::tree::split_path;

/// Where the filer keeps its rules.
const DIRECTORY: &str = "/etc/seaweedfs";
const NAME: &str = "filer.conf";
/// How long they are believed; a filer takes as long to hear of its own changes.
const FRESH: Duration = Duration::from_secs(10);

/// What is known of the rules.
#[derive(Debug, Default)]
pub(crate) struct Worm(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    read: Option<Instant>,
    rules: Arc<Vec<Rule>>,
}

/// What a rule says of protection.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Rule {
    prefix: String,
    protects: Option<bool>,
    /// For how long; `None` where another rule says so.
    retention: Option<Duration>,
}

impl Core {
    /// Whether the inode may be changed.
    ///
    /// # Errors
    /// EPERM when it is protected; and what keeps us from finding out.
    pub(crate) fn may_alter(&self, ctx: &Context<'_>, node: NodeId) -> Result<(), Errno> {
        let rules = self.rules(ctx)?;
        if rules.is_empty() || node == NodeId::ROOT {
            return Ok(());
        }
        // One without a name is nobody's any more.
        let Some(path) = self.tree.read().path(node) else {
            return Ok(());
        };
        let (directory, name) = split_path(&path);
        self.look(ctx, &rules, directory, name)
    }

    /// The same of the inode that `name` is the name of, in `directory`. One that is not there may be.
    pub(crate) fn may_alter_name(
        &self,
        ctx: &Context<'_>,
        directory: &str,
        name: &str,
    ) -> Result<(), Errno> {
        let rules = self.rules(ctx)?;
        self.look(ctx, &rules, directory, name)
    }

    /// Whether the inode is protected from now on, as its write permissions go.
    pub(crate) fn begins_protection(&self, ctx: &Context<'_>, node: NodeId) -> Result<bool, Errno> {
        let rules = self.rules(ctx)?;
        if rules.is_empty() {
            return Ok(false);
        }
        let path = self.tree.read().path(node);
        Ok(path.is_some_and(|path| retention(&rules, &path).is_some()))
    }

    fn look(
        &self,
        ctx: &Context<'_>,
        rules: &[Rule],
        directory: &str,
        name: &str,
    ) -> Result<(), Errno> {
        if rules.is_empty() {
            return Ok(());
        }
        let path = format!("{}/{name}", directory.trim_end_matches('/'));
        let Some(retention) = retention(rules, &path) else {
            return Ok(());
        };
        match self.raw(ctx, directory, name) {
            Ok(entry) if is_protected(&entry, retention, SystemTime::now()) => {
                tracing::debug!(path, "protected by a rule of the filer (WORM)");
                Err(Errno::EPERM)
            }
            Ok(_) => Ok(()),
            Err(error) if error.is_not_found() => Ok(()),
            Err(error) => Err(self.remote.fail("asking for protection", name, &error)),
        }
    }

    fn rules(&self, ctx: &Context<'_>) -> Result<Arc<Vec<Rule>>, Errno> {
        {
            let known = self.worm.0.lock();
            if known.read.is_some_and(|read| read.elapsed() < FRESH) {
                return Ok(Arc::clone(&known.rules));
            }
        }
        let read = Instant::now();
        let rules = match self.raw(ctx, DIRECTORY, NAME) {
            Ok(entry) if entry.chunks.is_empty() => parse(&entry.content),
            // The filer writes it into its entry, whatever its size.
            Ok(_) => None,
            Err(error) if error.is_not_found() => Some(Vec::new()),
            Err(error) => return Err(self.remote.fail("reading the rules of", NAME, &error)),
        };
        let mut known = self.worm.0.lock();
        known.read = Some(read);
        match rules {
            Some(rules) => known.rules = Arc::new(rules),
            // Nor does a filer find rules in it.
            None => tracing::warn!("{DIRECTORY}/{NAME} cannot be read: the rules of before hold"),
        }
        Ok(Arc::clone(&known.rules))
    }
}

/// An entry is protected from now on, unless it is already.
pub(crate) fn protect(entry: &mut pb::Entry, now: SystemTime) {
    if entry.worm_enforced_at_ts_ns == 0 {
        let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        entry.worm_enforced_at_ts_ns = i64::try_from(since.as_nanos()).unwrap_or(i64::MAX);
    }
}

/// For how long files are protected at `path`; zero is for ever, `None` not at all. Of several rules the longest
/// prefix has the last word, on each question.
fn retention(rules: &[Rule], path: &str) -> Option<Duration> {
    let mut matching: Vec<_> = rules
        .iter()
        .filter(|rule| path.starts_with(&rule.prefix))
        .collect();
    matching.sort_by_key(|rule| rule.prefix.len());
    let protects = matching.iter().rev().find_map(|rule| rule.protects);
    let retention = matching.iter().rev().find_map(|rule| rule.retention);
    protects?.then(|| retention.unwrap_or_default())
}

fn is_protected(entry: &pb::Entry, retention: Duration, now: SystemTime) -> bool {
    match u64::try_from(entry.worm_enforced_at_ts_ns) {
        Ok(since) if since > 0 => {
            let until = UNIX_EPOCH + Duration::from_nanos(since);
            let until = until.checked_add(retention);
            retention.is_zero() || until.is_none_or(|until| now < until)
        }
        _ => false,
    }
}

/// The rules of a filer.conf that say something of protection.
fn parse(text: &[u8]) -> Option<Vec<Rule>> {
    if text.is_empty() {
        return Some(Vec::new());
    }
    let document: Value = serde_json::from_slice(text).ok()?;
    let Some(locations) = document.get("locations") else {
        return Some(Vec::new());
    };
    let rules = locations.as_array()?.iter().map(|rule| {
        let field = |json: &str, proto: &str| rule.get(json).or(rule.get(proto));
        let seconds = match field("wormRetentionTimeSeconds", "worm_retention_time_seconds") {
            // JSON of protobuf has numbers of 64 bits as texts.
            Some(Value::String(text)) => Some(text.parse().ok()?),
            Some(number) => Some(number.as_u64()?),
            None => None,
        };
        // JSON of protobuf leaves out what is empty.
        let prefix = field("locationPrefix", "location_prefix");
        Some(Rule {
            prefix: prefix.map_or(Some(""), Value::as_str)?.to_owned(),
            protects: match field("worm", "worm") {
                Some(worm) => Some(worm.as_bool()?),
                None => None,
            },
            retention: seconds
                .filter(|seconds| *seconds > 0)
                .map(Duration::from_secs),
        })
    });
    let rules: Option<Vec<Rule>> = rules.collect();
    let says = |rule: &Rule| rule.protects.is_some() || rule.retention.is_some();
    rules.map(|rules| rules.into_iter().filter(says).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &[u8] = br#"{"version": 1, "locations": [
        {"locationPrefix": "/a/", "worm": true, "wormRetentionTimeSeconds": "60"},
        {"locationPrefix": "/a/free/", "worm": false},
        {"locationPrefix": "/a/long/", "wormRetentionTimeSeconds": 3600},
        {"locationPrefix": "/b", "worm": true, "wormGracePeriodSeconds": "5"},
        {"locationPrefix": "/", "collection": "c"}]}"#;

    #[test]
    fn the_longest_prefix_that_says_something_decides() {
        let rules = parse(TEXT).unwrap();
        assert_eq!(rules.len(), 4, "the others say nothing of protection");
        let at = |path| retention(&rules, path).map(|time| time.as_secs());
        assert_eq!(at("/a/x"), Some(60));
        assert_eq!(at("/a/free/x"), None);
        assert_eq!(at("/a/long/x"), Some(3600));
        assert_eq!(at("/bx"), Some(0), "for ever");
        assert_eq!(at("/x"), None);
    }

    #[test]
    fn what_cannot_be_read_is_not_taken_for_no_rules() {
        assert_eq!(parse(b""), Some(vec![]));
        let everywhere = parse(br#"{"locations": [{"worm": true}]}"#).unwrap();
        assert_eq!(retention(&everywhere, "/x"), Some(Duration::ZERO));
        assert_eq!(parse(br#"{"version": 1}"#), Some(vec![]));
        for bad in [
            &b"nonsense"[..],
            br#"{"locations": {}}"#,
            br#"{"locations": [{"locationPrefix": 1, "worm": true}]}"#,
            br#"{"locations": [{"locationPrefix": "/", "worm": 1}]}"#,
            br#"{"locations": [{"locationPrefix": "/", "wormRetentionTimeSeconds": "soon"}]}"#,
        ] {
            assert_eq!(parse(bad), None, "{}", bad.escape_ascii());
        }
    }

    #[test]
    fn protection_begins_once_and_lasts_as_long_as_the_rule_says() {
        let mut entry = pb::Entry::default();
        let minute = Duration::from_secs(60);
        let now = UNIX_EPOCH + Duration::from_secs(1_000_000);
        assert!(!is_protected(&entry, Duration::ZERO, now));
        protect(&mut entry, now);
        protect(&mut entry, now + minute);
        assert!(is_protected(&entry, minute, now + minute / 2));
        assert!(!is_protected(&entry, minute, now + minute));
        assert!(is_protected(&entry, Duration::ZERO, now + 1000 * minute));
        entry.worm_enforced_at_ts_ns = -1;
        assert!(!is_protected(&entry, Duration::ZERO, now), "nonsense");
        entry.worm_enforced_at_ts_ns = i64::MAX;
        assert!(is_protected(&entry, Duration::MAX, now));
    }
}
