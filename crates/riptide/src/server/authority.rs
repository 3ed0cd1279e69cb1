//! HTTP/2 from clients that call a socket's path its authority.
//!
//! `weed shell` (grpc-go) dials a Unix socket and says its path, slashes and all, in `:authority`. That is none, and
//! HTTP/2 servers that check what they read refuse such a request. [`Rewriter`] stands between the socket
//! and such a server: it passes the client's frames on as they are, except that header blocks get another
//! authority. They are decoded with the client's compression state, and encoded again without any, so that the
//! server's state stays empty. What the server says passes by it.

use std::io;

use loona_hpack::Decoder;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::net::UnixStream;

/// What every client says first (RFC 9113, section 3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Length, type, flags and stream of a frame.
const HEAD: usize = 9;
/// Largest frame: what a server allows that says nothing else.
const FRAME_MAX: usize = 16 << 10;
/// Largest block of headers, compressed; those of the shell have 200 bytes.
const BLOCK_MAX: usize = 2 << 10;
/// The same as it is passed on.
const CLEAR_MAX: usize = 8 << 10;
/// The table of a client that was not allowed another one.
const TABLE: usize = 4096;

const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;

/// What the server is told.
const AUTHORITY: &[u8] = b"localhost";

/// Passes bytes on in both directions, the client's rewritten, until one end is closed.
pub(super) async fn relay(client: UnixStream, server: DuplexStream) -> io::Result<()> {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = tokio::io::split(server);
    let up = async {
        let mut rewriter = Rewriter::new();
        let (mut bytes, mut out) = (vec![0; FRAME_MAX], Vec::new());
        loop {
            let read = from_client.read(&mut bytes).await?;
            if read == 0 {
                return to_server.shutdown().await;
            }
            out.clear();
            rewriter
                .push(&bytes[..read], &mut out)
                .map_err(|what| io::Error::new(io::ErrorKind::InvalidData, what))?;
            to_server.write_all(&out).await?;
        }
    };
    let down = async {
        tokio::io::copy(&mut from_server, &mut to_client).await?;
        Err::<(), _>(io::Error::from(io::ErrorKind::UnexpectedEof))
    };
    // The server closes when it has answered a client that has closed, or does not like what it reads.
    match tokio::try_join!(up, down) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(()),
        result => result.map(drop),
    }
}

/// One client's bytes on their way.
#[derive(Debug, Default)]
pub struct Rewriter {
    has_preface: bool,
    /// The start of a frame whose rest is still to come.
    held: Vec<u8>,
    block: Option<Block>,
    table: Table,
}

/// Headers of which not all frames are there.
#[derive(Debug)]
struct Block {
    stream: [u8; 4],
    ends_stream: bool,
    bytes: Vec<u8>,
}

struct Table(Decoder<'static>);

impl Default for Table {
    fn default() -> Self {
        let mut decoder = Decoder::new();
        decoder.set_max_allowed_table_size(TABLE);
        Self(decoder)
    }
}

impl std::fmt::Debug for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Table")
    }
}

impl Rewriter {
    /// For a new connection.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes what the client said, and appends to `out` what the server shall read.
    ///
    /// # Errors
    /// What makes no sense; the connection is of no use then.
    pub fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), &'static str> {
        self.held.extend_from_slice(bytes);
        let held = std::mem::take(&mut self.held);
        let mut rest = &held[..];
        if !self.has_preface {
            let known = rest.len().min(PREFACE.len());
            if rest[..known] != PREFACE[..known] {
                return Err("this is not HTTP/2");
            }
            if known < PREFACE.len() {
                self.held = held;
                return Ok(());
            }
            self.has_preface = true;
            out.extend_from_slice(PREFACE);
            rest = &rest[known..];
        }
        while let Some((head, after)) = rest.split_first_chunk::<HEAD>() {
            let [a, b, c, kind, flags, stream @ ..] = *head;
            let len = u32::from_be_bytes([0, a, b, c]) as usize;
            if len > FRAME_MAX {
                return Err("a frame is too large");
            }
            let Some((payload, after)) = after.split_at_checked(len) else {
                break;
            };
            match (kind, self.block.take()) {
                (HEADERS, None) => {
                    let block = Block {
                        stream,
                        ends_stream: flags & END_STREAM != 0,
                        bytes: fragment(flags, payload)?.to_vec(),
                    };
                    self.extended(block, flags, out)?;
                }
                (CONTINUATION, Some(mut block)) if block.stream == stream => {
                    block.bytes.extend_from_slice(payload);
                    self.extended(block, flags, out)?;
                }
                (CONTINUATION, _) | (_, Some(_)) => return Err("headers are interrupted"),
                (_, None) => out.extend_from_slice(&rest[..HEAD + len]),
            }
            rest = after;
        }
        self.held = rest.to_vec();
        Ok(())
    }

    /// A block has grown; passes it on when it is whole.
    fn extended(&mut self, block: Block, flags: u8, out: &mut Vec<u8>) -> Result<(), &'static str> {
        if block.bytes.len() > BLOCK_MAX {
            return Err("headers are too large");
        }
        if flags & END_HEADERS == 0 {
            self.block = Some(block);
            return Ok(());
        }
        let mut clear = Vec::new();
        let decoded = self.table.0.decode_with_cb(&block.bytes, |name, value| {
            // Few bytes may stand for many: no more is kept than is needed to know that it is too much.
            if clear.len() <= CLEAR_MAX {
                let is_authority = &*name == b":authority";
                literal(
                    &name,
                    if is_authority { AUTHORITY } else { &value },
                    &mut clear,
                );
            }
        });
        decoded.map_err(|_| "headers make no sense")?;
        if clear.len() > CLEAR_MAX {
            return Err("headers are too large");
        }
        let len = u32::try_from(clear.len()).map_err(|_| "headers are too large")?;
        out.extend_from_slice(&len.to_be_bytes()[1..]);
        let end_stream = if block.ends_stream { END_STREAM } else { 0 };
        out.extend_from_slice(&[HEADERS, END_HEADERS | end_stream]);
        out.extend_from_slice(&block.stream);
        out.append(&mut clear);
        Ok(())
    }
}

/// The part of a HEADERS frame that is headers (RFC 9113, section 6.2).
fn fragment(flags: u8, payload: &[u8]) -> Result<&[u8], &'static str> {
    const SHORT: &str = "a frame is too short";
    let mut rest = payload;
    let mut padding = 0;
    if flags & PADDED != 0 {
        let (len, after) = rest.split_first().ok_or(SHORT)?;
        (padding, rest) = (usize::from(*len), after);
    }
    if flags & PRIORITY != 0 {
        rest = rest.get(5..).ok_or(SHORT)?;
    }
    let len = rest.len().checked_sub(padding).ok_or(SHORT)?;
    Ok(&rest[..len])
}

/// A field as it is, which no table remembers (RFC 7541, section 6.2.2).
fn literal(name: &[u8], value: &[u8], out: &mut Vec<u8>) {
    out.push(0);
    for text in [name, value] {
        integer(text.len(), out);
        out.extend_from_slice(text);
    }
}

/// A number with a prefix of seven bits (RFC 7541, section 5.1).
fn integer(value: usize, out: &mut Vec<u8>) {
    const PREFIX: usize = 0x7f;
    if value < PREFIX {
        out.push(value as u8);
        return;
    }
    out.push(PREFIX as u8);
    let mut rest = value - PREFIX;
    while rest >= 0x80 {
        out.push((rest % 0x80) as u8 | 0x80);
        rest /= 0x80;
    }
    out.push(rest as u8);
}

#[cfg(test)]
mod tests {
    use super::*;
    use loona_hpack::Encoder;
    use proptest::prelude::*;

    fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
        frame.extend([kind, flags]);
        frame.extend(stream.to_be_bytes());
        frame.extend(payload);
        frame
    }

    const SAID: [(&[u8], &[u8]); 3] = [
        (b":path", b"/messaging_pb.SeaweedMount/Configure"),
        (b":authority", b"/tmp/seaweedfs-mount-1.sock"),
        (b"user-agent", &[b'x'; 300]),
    ];

    /// A request, the same again by the table, and data between.
    fn conversation(encoder: &mut Encoder<'_>) -> Vec<u8> {
        let mut all = PREFACE.to_vec();
        all.extend(frame(4, 0, 0, &[]));
        let block = encoder.encode(SAID);
        let (first, second) = block.split_at(block.len() / 2);
        let padded = [&[3][..], &[0; 5], first, &[0; 3]].concat();
        all.extend(frame(HEADERS, PADDED | PRIORITY, 1, &padded));
        all.extend(frame(CONTINUATION, END_HEADERS, 1, second));
        all.extend(frame(0, END_STREAM, 1, b"data"));
        let again = encoder.encode(SAID);
        all.extend(frame(HEADERS, END_HEADERS | END_STREAM, 3, &again));
        all
    }

    /// A frame: kind, flags and headers.
    type Heard = (u8, u8, Vec<(Vec<u8>, Vec<u8>)>);

    /// Frames behind the preface.
    fn heard(mut bytes: &[u8]) -> Vec<Heard> {
        let mut decoder = Decoder::new();
        bytes = bytes.strip_prefix(&PREFACE[..]).unwrap();
        let mut all = Vec::new();
        while !bytes.is_empty() {
            let len = u32::from_be_bytes([0, bytes[0], bytes[1], bytes[2]]) as usize;
            let (kind, flags) = (bytes[3], bytes[4]);
            let fields = match kind {
                HEADERS => decoder.decode(&bytes[HEAD..HEAD + len]).unwrap(),
                _ => Vec::new(),
            };
            all.push((kind, flags, fields));
            bytes = &bytes[HEAD + len..];
        }
        all
    }

    #[test]
    fn only_the_authority_is_another_one_however_the_bytes_come() {
        let said = conversation(&mut Encoder::new());
        let wanted: Vec<(Vec<u8>, Vec<u8>)> = SAID
            .iter()
            .map(|(name, value)| match *name {
                b":authority" => (name.to_vec(), AUTHORITY.to_vec()),
                _ => (name.to_vec(), value.to_vec()),
            })
            .collect();
        for step in [1, 7, 64, said.len()] {
            let (mut rewriter, mut out) = (Rewriter::new(), Vec::new());
            for part in said.chunks(step) {
                rewriter.push(part, &mut out).unwrap();
            }
            let heard = heard(&out);
            let kinds: Vec<_> = heard
                .iter()
                .map(|(kind, flags, _)| (*kind, *flags))
                .collect();
            let both = END_HEADERS | END_STREAM;
            assert_eq!(
                kinds,
                [(4, 0), (1, END_HEADERS), (0, END_STREAM), (1, both)]
            );
            assert_eq!(heard[1].2, wanted);
            assert_eq!(heard[3].2, wanted);
        }
    }

    #[test]
    fn what_is_no_http2_or_too_large_is_refused() {
        let refused = |frames: &[Vec<u8>]| {
            let said = [&PREFACE[..], &frames.concat()].concat();
            Rewriter::new().push(&said, &mut Vec::new()).unwrap_err()
        };
        let http1 = Rewriter::new().push(b"GET / HTTP/1.1\r\n", &mut Vec::new());
        assert_eq!(http1, Err("this is not HTTP/2"));
        assert_eq!(refused(&[vec![0xff; 9]]), "a frame is too large");
        let padded = frame(HEADERS, PADDED | END_HEADERS, 1, &[9, 1]);
        assert_eq!(refused(&[padded]), "a frame is too short");
        let open = frame(HEADERS, 0, 1, &[0x82]);
        let other = frame(CONTINUATION, END_HEADERS, 3, &[0x82]);
        assert_eq!(refused(&[open.clone(), other]), "headers are interrupted");
        let much = frame(CONTINUATION, 0, 1, &[0x82; BLOCK_MAX]);
        assert_eq!(refused(&[open, much]), "headers are too large");
        // One large field in the table, and a byte for each time it is meant.
        let mut block = Encoder::new().encode([(&b"a"[..], &[b'x'; 1900][..])]);
        block.extend([0xbe; 100]);
        let bomb = frame(HEADERS, END_HEADERS, 1, &block);
        assert_eq!(refused(&[bomb]), "headers are too large");
    }

    proptest! {
        #[test]
        fn any_bytes_are_taken_or_refused(frames in prop::collection::vec(
            (0u8..11, any::<u8>(), 0u32..3, prop::collection::vec(any::<u8>(), 0..60)), 0..20))
        {
            let mut said = PREFACE.to_vec();
            for (kind, flags, stream, payload) in &frames {
                said.extend(frame(*kind, *flags, *stream, payload));
            }
            let mut out = Vec::new();
            if Rewriter::new().push(&said, &mut out).is_ok() {
                let last = out.len();
                prop_assert!(last >= PREFACE.len());
                heard(&out);
            }
        }
    }
}
