//! Bodies of every framing and form.

use std::time::Duration;

use fabric::{RouteError, Stored};

use crate::puppet::*;
use crate::{fetch, read};

#[test]
fn an_answer_that_comes_byte_by_byte_is_put_together() {
    let data = pattern(300);
    let bytes = part(&data, 7, 200);
    let puppet = Puppet::new(move |_| vec![Step::Dribble(bytes.clone())]);
    let route = route_to(quick(), &[&puppet]);
    assert_eq!(read(&route, 7, 200).unwrap(), data[7..207]);
}

#[test]
fn a_large_body_in_uneven_pieces_arrives_complete() {
    let data = pattern(1_000_003);
    let bytes = part(&data, 0, data.len());
    let puppet = Puppet::new(move |_| {
        let piece = |piece: &[u8]| {
            [
                Step::Send(piece.to_vec()),
                Step::Pause(Duration::from_millis(2)),
            ]
        };
        bytes.chunks(190_001).flat_map(piece).collect()
    });
    let route = route_to(quick(), &[&puppet]);
    for _ in 0..3 {
        assert_eq!(read(&route, 0, data.len()).unwrap(), data);
    }
    assert_eq!(route.stats().opened.get(), 1);
}

#[test]
fn chunks_are_put_together_whatever_their_size() {
    let data = pattern(70_000);
    for size in [1, 7, 511, 512, 4096, 32 * 1024, 70_000] {
        let mut body = Vec::new();
        for chunk in data.chunks(size.max(data.len() / 3_000)) {
            body.extend(format!("{:X};ext=1\r\n", chunk.len()).bytes());
            body.extend(chunk);
            body.extend(b"\r\n");
        }
        body.extend(b"0\r\nTrailer: x\r\n\r\n");
        let etag = format!("ETag: \"{:08x}\"\r\n", seaweed::crc::crc32c(&data));
        let mut whole =
            format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n{etag}\r\n").into_bytes();
        whole.extend(&body);
        let puppet = Puppet::new(move |_| {
            whole
                .chunks(9_001)
                .map(|piece| Step::Send(piece.to_vec()))
                .collect()
        });
        let route = route_to(quick(), &[&puppet]);
        assert_eq!(
            fetch(&route, Stored::Plain).unwrap(),
            (data.clone(), true),
            "{size}"
        );
        assert_eq!(
            read(&route, 60_000, 10_000).unwrap(),
            data[60_000..],
            "{size}"
        );
        assert_eq!(route.stats().chunked.get(), 2);
        assert_eq!(route.stats().opened.get(), 1, "{size}");
    }
}

#[test]
fn broken_chunks_are_refused() {
    for body in [
        "zz\r\nabc\r\n0\r\n\r\n",
        "3\r\nabcd\r\n0\r\n\r\n",
        "3\r\nabcXY0\r\n\r\n",
        "fffffffffffffffff\r\nabc\r\n0\r\n\r\n",
        "2\r\nab\r\n0\r\n\r\n",
    ] {
        let bytes = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{body}");
        let puppet =
            Puppet::new(move |_| vec![Step::Send(bytes.clone().into_bytes()), Step::Close]);
        let route = route_to(quick(), &[&puppet]);
        // A wrong size can only show at the end of the chunk, so more than its data is asked for.
        let failure = read(&route, 0, 4).unwrap_err();
        let expected = matches!(
            failure,
            RouteError::Malformed { .. }
                | RouteError::PastEnd { .. }
                | RouteError::Unreachable { .. }
        );
        assert!(expected, "{body:?}: {failure}");
        assert_eq!(route.idle_connections(), 0, "{body:?}");
    }
}

#[test]
fn gzip_is_inflated_where_clear_data_is_wanted_and_kept_where_stored_data_is() {
    let clear = pattern(100).repeat(50);
    let mut packer = libdeflater::Compressor::new(libdeflater::CompressionLvl::default());
    let mut stored = vec![0; packer.gzip_compress_bound(clear.len())];
    let len = packer.gzip_compress(&clear, &mut stored).unwrap();
    stored.truncate(len);
    let etag = format!("ETag: \"{:08x}\"\r\n", seaweed::crc::crc32c(&stored));
    let fields = format!("{etag}Content-Encoding: gzip\r\n");
    let puppet = Puppet::repeating(answer("200 OK", &fields, &stored));
    let route = route_to(quick(), &[&puppet]);
    assert_eq!(fetch(&route, Stored::Plain).unwrap(), (clear, true));
    assert_eq!(fetch(&route, Stored::Gzip).unwrap(), (stored.clone(), true));
    assert!(puppet.heads()[0].contains("Accept-Encoding: gzip"));

    // Damaged inside, so that the checksum is right and the stream is not.
    for damage in [vec![], vec![1; 3], vec![0; 40], stored[..len - 3].to_vec()] {
        let etag = format!("ETag: \"{:08x}\"\r\n", seaweed::crc::crc32c(&damage));
        let fields = format!("{etag}Content-Encoding: gzip\r\n");
        let puppet = Puppet::repeating(answer("200 OK", &fields, &damage));
        let failure = fetch(&route_to(quick(), &[&puppet]), Stored::Plain).unwrap_err();
        let expected = matches!(
            failure,
            RouteError::Malformed { .. } | RouteError::Refused { .. }
        );
        assert!(expected, "{failure}");
    }
}

#[test]
fn a_body_larger_than_the_destination_is_refused_unread() {
    let puppet =
        Puppet::repeating(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n".to_vec());
    let route = route_to(quick(), &[&puppet]);
    let failure = fetch(&route, Stored::Plain).unwrap_err();
    assert!(
        matches!(
            failure,
            RouteError::Refused {
                len: 99_999_999_999,
                ..
            }
        ),
        "{failure}"
    );
    assert_eq!(route.idle_connections(), 0);
}

#[test]
fn without_a_checksum_the_bytes_are_called_unverified() {
    let puppet = Puppet::repeating(answer("200 OK", "", b"abc"));
    let route = route_to(quick(), &[&puppet]);
    assert_eq!(
        fetch(&route, Stored::Plain).unwrap(),
        (b"abc".to_vec(), false)
    );
}

#[test]
fn a_checksum_in_its_old_masked_form_is_understood() {
    let data = pattern(2_000);
    let crc = seaweed::crc::crc32c(&data);
    let masked = crc.rotate_right(15).wrapping_add(0xa282_ead8);
    let etag = format!("ETag: \"{masked:08x}\"\r\n");
    let puppet = Puppet::repeating(answer("200 OK", &etag, &data));
    let route = route_to(quick(), &[&puppet]);
    assert_eq!(fetch(&route, Stored::Plain).unwrap(), (data, true));
}

#[test]
fn nothing_is_asked_for_an_empty_range() {
    let puppet = Puppet::repeating(Vec::new());
    let route = route_to(quick(), &[&puppet]);
    assert_eq!(read(&route, 5, 0).unwrap(), b"");
    assert!(puppet.heads().is_empty());
}
