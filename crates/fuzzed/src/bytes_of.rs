//! Numbers and texts out of a fuzzer's bytes.

use std::borrow::Cow;

/// The bytes as text; what is no UTF-8 is replaced, so that no input is wasted.
pub(crate) fn text(data: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(data)
}

/// A byte off the front, 0 at the end.
pub(crate) fn byte(data: &mut &[u8]) -> u8 {
    let byte = data.split_off_first();
    byte.copied().unwrap_or(0)
}
