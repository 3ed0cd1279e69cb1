//! What arrives on sockets and on /dev/fuse.

use fabric::http::{Parsed, parse_head};
use fabric::wire::{Frame, FrameReader, Next, VERSION, encode};

/// Heads of HTTP answers: where one ends does not depend on how much of it has arrived.
pub fn http_head(data: &[u8]) {
    let Ok(Parsed::Complete { head, len }) = parse_head(data) else {
        return;
    };
    assert!((1..=data.len()).contains(&len));
    assert_eq!(parse_head(&data[..len]), Ok(Parsed::Complete { head, len }));
    assert_eq!(parse_head(&data[..len - 1]), Ok(Parsed::NeedMore));
}

/// Frames of the fabric, as they are and as one frame whose header is put right, without which
/// few bodies would be looked at.
pub fn fabric_frame(data: &[u8]) {
    check_frames(data);
    let Some((kind, body)) = data.split_first() else {
        return;
    };
    let mut frame = [b"RT", &[VERSION, *kind][..]].concat();
    // A body longer than u32 is longer than any frame.
    frame.extend((body.len() as u32).to_le_bytes());
    frame.extend([7; 8]);
    // What an answer or a write says about its data is what the header has to say.
    let data = match (kind, body) {
        (7, [_, _, 0, flags, a, b, c, d, ..]) if flags & 1 == 1 => [*a, *b, *c, *d],
        (11, body) if body.get(21) == Some(&0) => {
            let len = body.get(24..28).and_then(|len| len.try_into().ok());
            len.unwrap_or_default()
        }
        _ => [0; 4],
    };
    frame.extend(data);
    let checksum = seaweed::crc::crc32c(&[&frame[..], &[0; 4], body].concat());
    frame.extend(checksum.to_le_bytes());
    frame.extend(body);
    check_frames(&frame);
}

/// However a stream is split, the same is heard, and it encodes to the bytes it came from.
fn check_frames(stream: &[u8]) {
    let (frames, used) = hear(stream, stream.len().max(1));
    assert_eq!(hear(stream, 7), (frames.clone(), used));
    let mut again = Vec::new();
    let mut rest = stream;
    for (frame, data) in frames {
        again.clear();
        assert_eq!(encode(frame.id, &frame.message, &mut again), Ok(()));
        assert_eq!(again, &rest[..again.len()]);
        rest = &rest[again.len()..];
        assert!(rest.starts_with(&data));
        rest = &rest[data.len()..];
    }
    assert_eq!(rest.len(), stream.len() - used);
}

/// The frames with their data as far as it is there, and how many bytes they have.
fn hear(stream: &[u8], run: usize) -> (Vec<(Frame, Vec<u8>)>, usize) {
    let mut reader = FrameReader::new();
    let mut frames: Vec<(Frame, Vec<u8>)> = Vec::new();
    let mut rest = stream;
    let mut used = 0;
    loop {
        match reader.next() {
            Err(error) => {
                assert!(!error.to_string().is_empty());
                return (frames, used);
            }
            Ok(Next::Frame(frame)) => {
                let mut bytes = Vec::new();
                assert_eq!(encode(frame.id, &frame.message, &mut bytes), Ok(()));
                used += bytes.len();
                frames.push((frame, Vec::new()));
            }
            Ok(next) => {
                if let (Next::Data(_), Some((_, data))) = (next, frames.last_mut()) {
                    let mut part = [0; 300];
                    let len = reader.take_data(&mut part);
                    data.extend(&part[..len]);
                    used += len;
                    if len > 0 {
                        continue;
                    }
                }
                let space = reader.space();
                let len = rest.len().min(run).min(space.len());
                if len == 0 {
                    return (frames, used);
                }
                space[..len].copy_from_slice(&rest[..len]);
                reader.filled(len);
                rest = &rest[len..];
            }
        }
    }
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
