//! What a sidecar is asked for.

use sidecar::query::ReadQuery;

use crate::bytes_of::text;

/// Queries of `/read`: what is accepted can be written in the other form and means the same.
pub fn sidecar_query(data: &[u8]) {
    let Ok(query) = ReadQuery::parse(&text(data)) else {
        return;
    };
    let id = query.needle;
    let written = format!(
        "volume={}&needle={}&cookie={}&offset={}&size={}",
        id.volume,
        id.key,
        id.cookie,
        query.offset,
        query.size.unwrap_or(0)
    );
    let again = ReadQuery::parse(&written);
    let again = again.unwrap_or_else(|error| panic!("{written}: {error}"));
    assert_eq!(
        (again.needle, again.offset, again.size),
        (id, query.offset, query.size)
    );
    assert_eq!(again.base, id.to_string());
    assert_ne!(query.size, Some(0));
}
