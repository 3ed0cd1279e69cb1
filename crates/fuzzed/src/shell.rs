//! What `weed shell` says to a mount.

use riptide::server::Rewriter;

/// A client's side of HTTP/2: what is passed on does not depend on how the bytes come, and few of them do not
/// become many.
pub fn http2_authority(data: &[u8]) {
    let (mut whole, mut parts) = (Vec::new(), Vec::new());
    let at_once = Rewriter::new().push(data, &mut whole);
    let mut rewriter = Rewriter::new();
    let pieces = data
        .chunks(7)
        .try_for_each(|piece| rewriter.push(piece, &mut parts));
    assert_eq!(at_once, pieces);
    assert_eq!(whole, parts);
    // A frame of nine bytes and more becomes one of 8 KiB at most.
    assert!(whole.len() <= data.len() + data.len() / 9 * (8 << 10));
}
