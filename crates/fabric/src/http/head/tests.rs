use proptest::prelude::*;

use super::*;

/// What SeaweedFS 4.48 sends for a range.
const RANGE: &str = "HTTP/1.1 206 Partial Content\r\nAccept-Ranges: bytes\r\n\
    Content-Disposition: inline; filename=x\r\nContent-Length: 4096\r\n\
    Content-Range: bytes 0-4095/300000\r\nEtag: \"cea8cebe\"\r\n\
    Last-Modified: Tue, 24 Nov 2026 03:39:29 GMT\r\nServer: SeaweedFS Volume 8000GB 4.48\r\n\
    Content-Type: application/octet-stream\r\n\r\n";

fn complete(text: &str) -> Head {
    match parse_head(text.as_bytes()) {
        Ok(Parsed::Complete { head, len }) => {
            assert_eq!(len, text.len(), "{text}");
            head
        }
        other => panic!("{text}: {other:?}"),
    }
}

fn refused(text: &str) -> &'static str {
    match parse_head(text.as_bytes()) {
        Err(HeadError(why)) => why,
        Ok(other) => panic!("{text}: {other:?}"),
    }
}

#[test]
fn a_volume_servers_range_answer_is_read_in_full() {
    let head = complete(RANGE);
    assert_eq!(
        head,
        Head {
            status: 206,
            framing: Framing::Length(4096),
            keep_alive: true,
            content_range: Some(ContentRange {
                first: 0,
                last: 4095,
                total: Some(300_000),
            }),
            crc: Some(0xcea8_cebe),
            gzip: false,
            location: None,
        }
    );
}

#[test]
fn every_proper_prefix_of_a_head_needs_more() {
    for end in 0..RANGE.len() {
        assert_eq!(
            parse_head(&RANGE.as_bytes()[..end]),
            Ok(Parsed::NeedMore),
            "{end}"
        );
    }
}

#[test]
fn an_unclear_end_of_the_body_is_refused() {
    for fields in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Content-Length: +5\r\n",
        "Content-Length: 99999999999999999999\r\n",
        "Content-Length: \r\n",
        "Transfer-Encoding: gzip, chunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Content-Encoding: br\r\nContent-Length: 5\r\n",
    ] {
        refused(&format!("HTTP/1.1 200 OK\r\n{fields}\r\n"));
    }
}

#[test]
fn content_ranges_that_make_no_sense_are_refused() {
    for range in [
        "bytes 5-4/10",
        "bytes 0-10/10",
        "bytes 0-9",
        "bytes -9/10",
        "0-9/10",
        "bytes a-b/c",
    ] {
        refused(&format!("HTTP/1.1 206 x\r\nContent-Range: {range}\r\n\r\n"));
    }
}

#[test]
fn only_eight_hex_digits_are_a_checksum() {
    for (tag, crc) in [
        ("\"0000002a\"", Some(42)),
        ("\"0000002A\"", Some(42)),
        ("W/\"0000002a\"", None),
        ("\"+000002a\"", None),
        ("\"d41d8cd98f00b204e9800998ecf8427e\"", None),
    ] {
        let head = complete(&format!(
            "HTTP/1.1 200 OK\r\nETag: {tag}\r\nContent-Length: 0\r\n\r\n"
        ));
        assert_eq!(head.crc, crc, "{tag}");
    }
}

#[test]
fn connections_are_kept_only_when_both_sides_can_know_where_they_are() {
    for (text, keep) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", true),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            false,
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: keep-alive, Close\r\n\r\n",
            false,
        ),
        ("HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", false),
        (
            "HTTP/1.0 200 OK\r\nContent-Length: 0\r\nConnection: Keep-Alive\r\n\r\n",
            true,
        ),
        ("HTTP/1.1 200 OK\r\n\r\n", false),
        ("HTTP/1.1 204 No Content\r\n\r\n", true),
    ] {
        assert_eq!(complete(text).keep_alive, keep, "{text}");
    }
}

#[test]
fn an_endless_head_is_given_up() {
    let endless = format!("HTTP/1.1 200 OK\r\nX: {}", "y".repeat(MAX_HEAD));
    assert_eq!(refused(&endless), "its head is too long");
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "A: b\r\n".repeat(100));
    assert_eq!(refused(&many), "its head is too long");
}

proptest! {
    #[test]
    fn no_bytes_make_the_parser_panic(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let _ = parse_head(&bytes);
    }

    #[test]
    fn no_damage_to_a_real_head_makes_the_parser_panic(
        hits in prop::collection::vec((0..RANGE.len(), any::<u8>()), 1..6),
        more in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        let mut bytes = RANGE.as_bytes().to_vec();
        for (at, byte) in hits {
            bytes[at] = byte;
        }
        bytes.extend(more);
        if let Ok(Parsed::Complete { len, .. }) = parse_head(&bytes) {
            prop_assert!(len <= bytes.len());
        }
    }

    #[test]
    fn what_follows_a_head_does_not_change_it(body in prop::collection::vec(any::<u8>(), 0..300)) {
        let mut bytes = RANGE.as_bytes().to_vec();
        bytes.extend(body);
        let expected = Parsed::Complete { head: complete(RANGE), len: RANGE.len() };
        prop_assert_eq!(parse_head(&bytes), Ok(expected));
    }

    #[test]
    fn ranges_come_back_as_they_were_written(first in 0u64..1 << 40, len in 1u64..1 << 30, after in 0u64..1 << 30) {
        let last = first + len - 1;
        let total = last + 1 + after;
        let head = complete(&format!(
            "HTTP/1.1 206 x\r\ncontent-length: {len}\r\ncontent-range: bytes {first}-{last}/{total}\r\n\r\n"
        ));
        prop_assert_eq!(head.content_range, Some(ContentRange { first, last, total: Some(total) }));
        prop_assert_eq!(head.framing, Framing::Length(len));
    }
}
