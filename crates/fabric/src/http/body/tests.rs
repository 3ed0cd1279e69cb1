//! Bodies over a socket pair, cut into segments at random.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use context::Context;
use proptest::prelude::*;

use super::*;
use crate::http::wire::Wire;

const PATIENCE: Duration = Duration::from_secs(20);

/// What a server sends for `data`: a head, and the body in chunks of these sizes or in one piece.
fn answer(data: &[u8], chunks: Option<&[usize]>) -> Vec<u8> {
    let Some(sizes) = chunks else {
        let mut bytes =
            format!("HTTP/1.1 200 x\r\nContent-Length: {}\r\n\r\n", data.len()).into_bytes();
        bytes.extend(data);
        return bytes;
    };
    let mut bytes = b"HTTP/1.1 200 x\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    let mut rest = data;
    for size in sizes.iter().cycle() {
        let (chunk, after) = rest.split_at((*size).min(rest.len()));
        bytes.extend(format!("{:x}\r\n", chunk.len()).bytes());
        if chunk.is_empty() {
            break;
        }
        bytes.extend(chunk);
        bytes.extend(b"\r\n");
        rest = after;
    }
    bytes.extend(b"\r\n");
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_body_arrives_whole_however_it_is_cut(
        data in prop::collection::vec(any::<u8>(), 0..40_000),
        chunks in prop::option::of(prop::collection::vec(1..9_000usize, 1..5)),
        segments in prop::collection::vec(1..5_000usize, 1..6),
        pieces in prop::collection::vec(1..9_000usize, 1..6),
    ) {
        let bytes = answer(&data, chunks.as_deref());
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let server = std::thread::spawn(move || {
            let mut rest = &bytes[..];
            for size in segments.iter().cycle() {
                let (segment, after) = rest.split_at((*size).min(rest.len()));
                if segment.is_empty() {
                    break;
                }
                theirs.write_all(segment).unwrap();
                rest = after;
            }
            // Kept open: the client must know where the body ends.
            theirs
        });
        let watch = Watch { ctx: Context::background(PATIENCE), patience: PATIENCE };
        let mut connection = Connection::new(Wire::over(ours.into()));
        let head = connection.exchange(&[b"GET / HTTP/1.1\r\n\r\n"], 100, &watch, None).unwrap();
        let mut body = Body::new(&mut connection, head.framing, watch);
        let mut got = Vec::new();
        for size in pieces.iter().cycle() {
            let size = (*size).min(data.len() - got.len());
            if size == 0 {
                break;
            }
            let mut piece = vec![0; size];
            prop_assert!(body.read_exact(&mut piece).unwrap());
            got.extend(piece);
        }
        prop_assert!(got == data);
        prop_assert!(!body.read_exact(&mut [0]).unwrap());
        prop_assert!(body.finish(PATIENCE).unwrap());
        prop_assert!(connection.is_clean());
        drop(server.join().unwrap());
    }
}
