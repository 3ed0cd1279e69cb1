//! Sidecars that registered at the filer: each keeps an entry there, which goes when it does.

use fabric::announce::{Announcement, FOLDER};
use filer::Filer;
use seaweed::pb;

use super::Seen;

/// Entries asked for at a time.
const PAGE: u32 = 256;
/// More sidecars than this are not looked at: clusters have as many as volume servers.
const MOST: usize = 4096;

/// All that are registered.
pub(super) async fn list(filer: &Filer) -> Result<Vec<Seen>, String> {
    let mut seen: Vec<Seen> = Vec::new();
    let mut after = String::new();
    loop {
        let page = filer.list_page(FOLDER, &after, false, "", PAGE).await;
        let page = page.map_err(|error| error.to_string())?;
        let Some(last) = page.entries.last() else {
            return Ok(seen);
        };
        after.clone_from(&last.name);
        let whole = page.entries.len() < PAGE as usize;
        let files = page.entries.into_iter().filter(|entry| !entry.is_directory);
        seen.extend(files.map(|entry| {
            let announced = read(&entry);
            (entry.name, announced)
        }));
        if whole || seen.len() >= MOST {
            return Ok(seen);
        }
    }
}

/// The name is that of the sidecar, so that none can speak for another by mistake.
fn read(entry: &pb::Entry) -> Result<Announcement, String> {
    let announced = Announcement::parse(&entry.content).map_err(|error| error.to_string())?;
    if announced.http != entry.name {
        return Err(format!("its entry is about {:?}", announced.http));
    }
    Ok(announced)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_speaks_for_the_sidecar_it_is_named_after() {
        let content = |http: &str| {
            format!(
                r#"{{"http": "{http}", "fabric": {{"version": 2, "host": "", "tcp": "a:2"}},
                "volume_servers": [], "volumes": [], "generation": 0}}"#
            )
        };
        let entry = |content: &str| pb::Entry {
            name: "a:1".to_owned(),
            content: content.as_bytes().to_vec().into(),
            ..pb::Entry::default()
        };
        assert_eq!(read(&entry(&content("a:1"))).unwrap().http, "a:1");
        let error = read(&entry(&content("b:1"))).unwrap_err();
        assert_eq!(error, "its entry is about \"b:1\"");
        let error = read(&entry("garbage")).unwrap_err();
        assert!(
            error.starts_with("this is not the announcement of a sidecar"),
            "{error}"
        );
    }
}
