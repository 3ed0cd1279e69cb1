//! Whether an answer is about what was asked, and the bytes it delivers.

use seaweed::FileId;

use super::body::Body;
use super::head::{Framing, Head};
use super::pool::Server;
use super::request::{Ask, Extent};
use super::wait::Halt;
use crate::gzip::{self, Inflated, MAX_UNPLANNED};
use crate::{Destination, RouteError, Stored, Way, Whole, checksum};

/// What to do with the bytes.
pub(crate) enum Job<'d> {
    /// Fill `dst` with the needle's bytes from `offset` on.
    Range { offset: u64, dst: &'d mut [u8] },
    /// Deliver everything, verified.
    Whole {
        form: Stored,
        to: &'d mut dyn Destination,
    },
}

/// How an exchange ended short of data.
pub(crate) enum Miss {
    Halt(Halt),
    Answer(RouteError),
    Redirect(String),
}

impl From<Halt> for Miss {
    fn from(halt: Halt) -> Self {
        Self::Halt(halt)
    }
}

/// Takes the body where the head promises what was asked for.
pub(crate) fn accept(
    server: &Server,
    ask: &Ask,
    job: &mut Job<'_>,
    head: &Head,
    body: &mut Body<'_, '_>,
) -> Result<Whole, Miss> {
    let needle = ask.needle;
    let address = || server.address.clone();
    let past_end = |offset: u64, len: usize| {
        Miss::Answer(RouteError::PastEnd {
            needle,
            server: address(),
            offset,
            len: len as u64,
        })
    };
    match (head.status, job) {
        (200 | 206, _) if head.gzip && matches!(ask.extent, Extent::Range { .. }) => {
            Err(Halt::Malformed("it cuts a range out of a gzip stream").into())
        }
        (206, Job::Range { offset, dst }) => {
            let got = head
                .content_range
                .ok_or(Halt::Malformed("it does not say which range it sends"))?;
            let last = offset.saturating_add(dst.len() as u64 - 1);
            let len = got.last - got.first + 1;
            if got.first != *offset || got.last > last {
                return Err(Halt::Malformed("it sends another range").into());
            }
            if got.last < last {
                return Err(past_end(*offset, dst.len()));
            }
            if matches!(head.framing, Framing::Length(framed) if framed != len) {
                return Err(Halt::Malformed("its range and its length differ").into());
            }
            fill(body, dst)
        }
        (200, Job::Range { offset, dst }) => {
            let wanted = offset.saturating_add(dst.len() as u64);
            let short = matches!(head.framing, Framing::Length(len) if len < wanted);
            if short || !body.skip(*offset)? {
                return Err(past_end(*offset, dst.len()));
            }
            fill(body, dst)
        }
        (200, Job::Whole { form, to }) => whole(server, needle, *form, *to, head, body),
        (416, Job::Range { offset, dst }) => Err(past_end(*offset, dst.len())),
        (301 | 302 | 303 | 307 | 308, _) => match &head.location {
            Some(url) => Err(Miss::Redirect(url.clone())),
            None => Err(Halt::Malformed("it redirects without saying where").into()),
        },
        (404 | 410, _) => Err(Miss::Answer(RouteError::NotFound { needle })),
        (status @ (401 | 403), _) => Err(Miss::Answer(RouteError::Denied {
            needle,
            server: address(),
            status,
        })),
        (status, _) => Err(Miss::Answer(RouteError::Status {
            needle,
            server: address(),
            status,
        })),
    }
}

fn fill(body: &mut Body<'_, '_>, dst: &mut [u8]) -> Result<Whole, Miss> {
    if !body.read_exact(dst)? {
        return Err(Halt::Malformed("its body is shorter than its range").into());
    }
    Ok(Whole {
        len: dst.len(),
        verified: false,
        way: Way::Http,
        near: false,
    })
}

fn whole(
    server: &Server,
    needle: FileId,
    form: Stored,
    to: &mut dyn Destination,
    head: &Head,
    body: &mut Body<'_, '_>,
) -> Result<Whole, Miss> {
    let refused = |len| Miss::Answer(RouteError::Refused { needle, len });
    let inflate = head.gzip && form == Stored::Plain;
    if let (Framing::Length(len), false) = (head.framing, inflate) {
        let memory = to.memory(len).map_err(|_| refused(len))?;
        if !body.read_exact(memory)? {
            return Err(Halt::Malformed("its body is shorter than its length").into());
        }
        return Ok(Whole {
            len: memory.len(),
            verified: verify(server, needle, head, memory)?,
            way: Way::Http,
            near: false,
        });
    }
    let Some(stored) = body.read_to_end(MAX_UNPLANNED)? else {
        return Err(refused(MAX_UNPLANNED as u64 + 1));
    };
    let verified = verify(server, needle, head, &stored)?;
    let len = match inflate {
        true => gzip::inflate(&stored, to).map_err(|failed| match failed {
            Inflated::Damaged => Halt::Malformed("its gzip stream is damaged").into(),
            Inflated::Refused(len) => refused(len),
        })?,
        false => {
            let len = stored.len() as u64;
            let memory = to.memory(len).map_err(|_| refused(len))?;
            memory.copy_from_slice(&stored);
            memory.len()
        }
    };
    Ok(Whole {
        len,
        verified,
        way: Way::Http,
        near: false,
    })
}

/// Compares `stored` with the checksum in the head; whether there was one.
fn verify(server: &Server, needle: FileId, head: &Head, stored: &[u8]) -> Result<bool, Miss> {
    let Some(expected) = head.crc else {
        return Ok(false);
    };
    let got = seaweed::crc::crc32c(stored);
    if !checksum::agrees(expected, got) {
        return Err(Miss::Answer(RouteError::Corrupt {
            needle,
            server: server.address.clone(),
            expected,
            got,
        }));
    }
    Ok(true)
}
