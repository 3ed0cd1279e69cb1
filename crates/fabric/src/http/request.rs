//! What is written to a server.

use std::io::Write;

use seaweed::FileId;

/// Which bytes of which needle.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ask {
    pub(crate) needle: FileId,
    pub(crate) extent: Extent,
    /// Also if it is marked as deleted and not yet vacuumed away.
    pub(crate) deleted: bool,
}

/// How much of a needle.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Extent {
    /// `len` clear bytes, at least one, from `offset` on.
    Range { offset: u64, len: u64 },
    /// All of it, compressed where it is stored so.
    Whole,
}

/// Where a request goes.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Target<'a> {
    /// A volume server, which knows needles by path.
    Volume,
    /// A filer that passes the question on.
    Filer,
    /// Path and query of a redirection.
    Redirected(&'a str),
}

/// Formats a GET.
pub(crate) fn format(target: Target<'_>, host: &str, ask: &Ask, token: Option<&str>) -> Vec<u8> {
    let mut text = Vec::with_capacity(512);
    // Writing to a vector does not fail.
    let _ = write_request(&mut text, target, host, ask, token);
    text
}

fn write_request(
    text: &mut Vec<u8>,
    target: Target<'_>,
    host: &str,
    ask: &Ask,
    token: Option<&str>,
) -> std::io::Result<()> {
    let needle = ask.needle;
    let query = |first| match (ask.deleted, first) {
        (false, _) => "",
        (true, true) => "?readDeleted=true",
        (true, false) => "&readDeleted=true",
    };
    match target {
        Target::Volume => write!(text, "GET /{needle}{}", query(true))?,
        Target::Filer => write!(text, "GET /?proxyChunkId={needle}{}", query(false))?,
        Target::Redirected(path) => write!(text, "GET {path}")?,
    }
    write!(text, " HTTP/1.1\r\nHost: {host}\r\n")?;
    match ask.extent {
        // Never with Accept-Encoding: the server would cut the range out of the gzip stream.
        Extent::Range { offset, len } => {
            let last = offset.saturating_add(len - 1);
            write!(text, "Range: bytes={offset}-{last}\r\n")?;
        }
        // The checksum is that of the stored bytes, so these are the ones to have.
        Extent::Whole => text.extend_from_slice(b"Accept-Encoding: gzip\r\n"),
    }
    if let Some(token) = token {
        write!(text, "Authorization: Bearer {token}\r\n")?;
    }
    text.extend_from_slice(
        concat!(
            "User-Agent: riptide/",
            env!("CARGO_PKG_VERSION"),
            "\r\n\r\n"
        )
        .as_bytes(),
    );
    Ok(())
}

/// The `host:port` and the path with query of an absolute http(s) URL.
pub(crate) fn split_url(url: &str) -> Option<(&str, &str)> {
    let rest = url
        .strip_prefix("http://")
        .or_else(|| url.strip_prefix("https://"))?;
    let slash = rest.find('/')?;
    let (host, path) = rest.split_at(slash);
    // What follows is put into a request line as it is.
    let clean = |byte: u8| byte.is_ascii_graphic();
    let plain = !host.is_empty() && host.bytes().all(clean) && path.bytes().all(clean);
    (plain && !host.contains('@')).then_some((host, path))
}
