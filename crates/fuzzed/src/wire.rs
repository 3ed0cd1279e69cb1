//! What arrives on sockets and on /dev/fuse.

use fabric::http::{Parsed, parse_head};

/// Heads of HTTP answers: where one ends does not depend on how much of it has arrived.
pub fn http_head(data: &[u8]) {
    let Ok(Parsed::Complete { head, len }) = parse_head(data) else {
        return;
    };
    assert!((1..=data.len()).contains(&len));
    assert_eq!(parse_head(&data[..len]), Ok(Parsed::Complete { head, len }));
    assert_eq!(parse_head(&data[..len - 1]), Ok(Parsed::NeedMore));
}

/// Requests of the kernel, as they are and with the length in their header put right, without
/// which little would get past the first check.
pub fn fuse_request(data: &[u8]) {
    check_request(data);
    if let (Some(rest), Ok(len)) = (data.get(4..), u32::try_from(data.len())) {
        check_request(&[&len.to_ne_bytes(), rest].concat());
    }
}

fn check_request(data: &[u8]) {
    match fuse::parse(data) {
        Ok(message) => {
            assert_eq!(message.header.len as usize, data.len());
            let _ = format!("{message:?}");
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}
