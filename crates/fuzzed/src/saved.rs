//! Saved indexes.

use seaweed::crc::crc32c;
use volume::saved::{Header, Page};

/// Headers and pages: what is accepted is what is written back, and nothing is looked for outside of it.
pub fn saved_index(data: &[u8]) {
    header(data);
    // With the checksum that it should have, or no damage but to that would ever be seen.
    if let Some(start) = data.get(..Header::LEN) {
        let mut sealed = start.to_vec();
        sealed[12..16].fill(0);
        let sum = crc32c(&sealed);
        sealed[12..16].copy_from_slice(&sum.to_le_bytes());
        header(&sealed);
    }
    let Some(bytes) = data.first_chunk::<{ Page::LEN }>() else {
        return;
    };
    let sound = Page::verify(bytes).is_ok();
    let Ok(page) = Page::parse(bytes) else {
        return;
    };
    let entries: Vec<_> = page.entries().collect();
    assert!((1..=Page::MOST).contains(&entries.len()));
    let mut first = [0; 8];
    first.copy_from_slice(&bytes[8..16]);
    let first = u64::from_le_bytes(first);
    let ascending = entries.is_sorted_by_key(|(key, _)| key.wrapping_sub(first))
        && entries.windows(2).all(|pair| pair[0].0 != pair[1].0);
    for (key, place) in &entries {
        let found = page.find(*key);
        if ascending {
            assert_eq!(found, Some(*place), "sound: {sound}");
        }
        let next = key.wrapping_add(1);
        if let Some(found) = page.find(next) {
            assert!(entries.contains(&(next, found)));
        }
    }
}

fn header(data: &[u8]) {
    let Ok(header) = Header::parse(data) else {
        return;
    };
    assert_eq!(Header::parse(&header.to_bytes()).ok(), Some(header.clone()));
    let pages = header.pages * Page::LEN as u64;
    assert!(header.file_len().is_some_and(|len| len > pages));
    assert!(header.live <= header.entries && header.entries <= header.covered);
    assert!(header.origin.path.as_os_str().len() <= Header::MAX_PATH);
}
