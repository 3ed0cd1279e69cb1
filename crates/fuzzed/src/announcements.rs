//! What sidecars say of themselves.

use fabric::announce::Announcement;

/// A document of `/health`, or of an entry at the filer.
pub fn announcement(data: &[u8]) {
    if let Ok(announced) = Announcement::parse(data) {
        let again = serde_json::to_vec(&announced).unwrap_or_default();
        assert_eq!(Announcement::parse(&again), Ok(announced));
    }
}
