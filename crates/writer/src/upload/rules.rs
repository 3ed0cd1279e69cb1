//! Whether a rule of the filer tells the names in a directory apart.
//!
//! filer.conf binds collection, replication and the like to prefixes of paths,
//! and a prefix need not end at a slash. Ids may be shared by the files of a
//! directory unless a prefix reaches beyond it. The file is read now and then;
//! while it cannot be, no ids are shared.

use std::time::{Duration, Instant};

use filer::{Filer, FilerError};
use tokio::sync::Mutex;

/// Where the filer keeps it.
const DIRECTORY: &str = "/etc/seaweedfs";
const NAME: &str = "filer.conf";
/// How long it is believed; a filer takes as long to hear of its own changes.
const FRESH: Duration = Duration::from_secs(10);

/// The prefixes of a filer's rules.
pub(super) struct Rules {
    filer: Filer,
    known: Mutex<Option<(Instant, Option<Vec<String>>)>>,
}

impl Rules {
    pub(super) fn new(filer: Filer) -> Self {
        Self {
            filer,
            known: Mutex::default(),
        }
    }

    /// Whether all files in `directory`, which ends with a slash, fall under the same rule.
    pub(super) async fn are_alike(&self, directory: &str) -> bool {
        let mut known = self.known.lock().await;
        let prefixes = match &*known {
            Some((at, prefixes)) if at.elapsed() < FRESH => prefixes,
            _ => &known.insert((Instant::now(), self.read().await)).1,
        };
        prefixes
            .as_ref()
            .is_some_and(|all| !all.iter().any(|prefix| reaches_into(prefix, directory)))
    }

    async fn read(&self) -> Option<Vec<String>> {
        match self.filer.lookup(DIRECTORY, NAME).await {
            Ok(found) if found.value.chunks.is_empty() => prefixes(&found.value.content),
            // Too large to lie in its entry.
            Ok(_) => None,
            Err(FilerError::NotFound { .. }) => Some(Vec::new()),
            Err(error) => {
                tracing::debug!(%error, "the filer's rules are not known");
                None
            }
        }
    }
}

/// Whether `prefix` tells names in `directory` apart.
fn reaches_into(prefix: &str, directory: &str) -> bool {
    prefix.len() > directory.len() && prefix.starts_with(directory)
}

/// The prefixes in the text of a filer.conf.
fn prefixes(text: &[u8]) -> Option<Vec<String>> {
    if text.is_empty() {
        return Some(Vec::new());
    }
    let document: serde_json::Value = serde_json::from_slice(text).ok()?;
    let Some(locations) = document.get("locations") else {
        return Some(Vec::new());
    };
    let prefix = |rule: &serde_json::Value| {
        let prefix = rule.get("locationPrefix").or(rule.get("location_prefix"))?;
        prefix.as_str().map(str::to_owned)
    };
    locations.as_array()?.iter().map(prefix).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_that_ends_within_a_name_tells_names_apart() {
        assert!(reaches_into("/buckets/b/hot", "/buckets/b/"));
        assert!(reaches_into("/buckets/b/hot", "/buckets/"));
        assert!(!reaches_into("/buckets/b/", "/buckets/b/"));
        assert!(!reaches_into("/buckets/", "/buckets/b/"));
        assert!(!reaches_into("/other/b/hot", "/buckets/b/"));
    }

    #[test]
    fn what_cannot_be_read_is_not_taken_for_no_rules() {
        let text = br#"{"version":1,"locations":[{"locationPrefix":"/a/b","fsync":true}]}"#;
        assert_eq!(prefixes(text), Some(vec!["/a/b".to_owned()]));
        assert_eq!(prefixes(b""), Some(vec![]));
        assert_eq!(prefixes(br#"{"version":1}"#), Some(vec![]));
        assert_eq!(prefixes(b"nonsense"), None);
        assert_eq!(prefixes(br#"{"locations":[{}]}"#), None);
    }
}
