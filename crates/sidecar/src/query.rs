//! What `/read` is asked for.
//!
//! There are two forms. Tools name a needle by numbers, all decimal:
//! `volume=3&needle=1&cookie=1668298710&offset=0&size=4096`. A stock mount writes
//! `file_id=3,01637037d6&offset=0&size=4096&volume_server=http://host:8080`, and does not
//! escape what it writes, so both spellings of `,`, `:` and `/` are taken. `size` may be
//! missing or 0, which means to the end.
//!
//! A parameter that is not known is ignored, one that is given twice is refused: it would be a
//! matter of taste which one counts, and the token was made for one of them.

use std::borrow::Cow;

use seaweed::{FileId, ServerAddress};

/// The longest query that is looked at. The longest sensible one has a token of some 200 bytes.
pub const MAX_QUERY: usize = 8 << 10;

/// A request for bytes of a needle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadQuery {
    /// Which needle.
    pub needle: FileId,
    /// The file id as it was written, without what a `_` adds to it: a token may be for that.
    pub base: String,
    /// The first clear byte.
    pub offset: u64,
    /// How many bytes; none for all that are left.
    pub size: Option<u64>,
    /// The volume server that the client would ask.
    pub volume_server: Option<ServerAddress>,
    /// A token, where it is not in a header.
    pub jwt: Option<String>,
}

/// Why a query makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// Nobody needs that many bytes.
    #[error("the query is longer than {MAX_QUERY} bytes")]
    TooLong,
    /// It is ambiguous.
    #[error("{name} is given twice")]
    Twice {
        /// The parameter.
        name: &'static str,
    },
    /// It does not say which needle.
    #[error("{name} is missing; expected file_id=, or volume=, needle= and cookie=")]
    Missing {
        /// The parameter.
        name: &'static str,
    },
    /// It names a needle in both ways.
    #[error("file_id and {name} exclude each other")]
    BothForms {
        /// The parameter.
        name: &'static str,
    },
    /// A value is of the wrong kind.
    #[error("{name}={value:?} is not allowed: expected {expected}")]
    Value {
        /// The parameter.
        name: &'static str,
        /// The start of its value.
        value: String,
        /// What is allowed.
        expected: &'static str,
    },
}

impl ReadQuery {
    /// Reads what stands behind the `?`.
    ///
    /// # Errors
    /// [`QueryError`], which names the parameter.
    pub fn parse(query: &str) -> Result<Self, QueryError> {
        if query.len() > MAX_QUERY {
            return Err(QueryError::TooLong);
        }
        let fields = Fields::split(query)?;
        let (needle, base) = fields.needle()?;
        Ok(Self {
            needle,
            base,
            offset: fields.number(OFFSET)?.unwrap_or(0),
            size: fields.number(SIZE)?.filter(|size| *size > 0),
            volume_server: fields.volume_server()?,
            jwt: fields.text(JWT).map(str::to_owned),
        })
    }
}

const FILE_ID: &str = "file_id";
const VOLUME: &str = "volume";
const NEEDLE: &str = "needle";
const COOKIE: &str = "cookie";
const OFFSET: &str = "offset";
const SIZE: &str = "size";
const VOLUME_SERVER: &str = "volume_server";
const JWT: &str = "jwt";
const KNOWN: [&str; 8] = [
    FILE_ID,
    VOLUME,
    NEEDLE,
    COOKIE,
    OFFSET,
    SIZE,
    VOLUME_SERVER,
    JWT,
];
/// Longest piece of a bad value that an error repeats.
const EXCERPT: usize = 80;

/// The values of the known parameters, in the order of [`KNOWN`].
struct Fields<'q>([Option<Cow<'q, str>>; KNOWN.len()]);

impl<'q> Fields<'q> {
    fn split(query: &'q str) -> Result<Self, QueryError> {
        let mut values = [const { None }; KNOWN.len()];
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let Some(at) = KNOWN.iter().position(|known| *known == name) else {
                continue;
            };
            if values[at].replace(value).is_some() {
                return Err(QueryError::Twice { name: KNOWN[at] });
            }
        }
        Ok(Self(values))
    }

    /// A value that is not empty.
    fn text(&self, name: &str) -> Option<&str> {
        let at = KNOWN.iter().position(|known| *known == name)?;
        self.0[at].as_deref().filter(|value| !value.is_empty())
    }

    fn needle(&self) -> Result<(FileId, String), QueryError> {
        let Some(text) = self.text(FILE_ID) else {
            let id = FileId {
                volume: self.wanted(VOLUME)?,
                key: self.wanted(NEEDLE)?,
                cookie: self.wanted(COOKIE)?,
            };
            return Ok((id, id.to_string()));
        };
        for name in [VOLUME, NEEDLE, COOKIE] {
            if self.text(name).is_some() {
                return Err(QueryError::BothForms { name });
            }
        }
        let id = text
            .parse()
            .map_err(|_| bad(FILE_ID, text, "a file id such as 3,01637037d6"))?;
        let base = text.rsplit_once('_').map_or(text, |(base, _delta)| base);
        Ok((id, base.to_owned()))
    }

    fn wanted<N: TryFrom<u64>>(&self, name: &'static str) -> Result<N, QueryError> {
        let number = self.number(name)?.ok_or(QueryError::Missing { name })?;
        let bits = match size_of::<N>() {
            4 => "a decimal number of 32 bits",
            _ => "a decimal number of 64 bits",
        };
        N::try_from(number).map_err(|_| bad(name, &number.to_string(), bits))
    }

    fn number(&self, name: &'static str) -> Result<Option<u64>, QueryError> {
        let Some(text) = self.text(name) else {
            return Ok(None);
        };
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        let number = digits.then(|| text.parse().ok()).flatten();
        let expected = "a decimal number of 64 bits";
        number.map(Some).ok_or_else(|| bad(name, text, expected))
    }

    fn volume_server(&self) -> Result<Option<ServerAddress>, QueryError> {
        let Some(text) = self.text(VOLUME_SERVER) else {
            return Ok(None);
        };
        let bare = ["http://", "https://"]
            .iter()
            .find_map(|scheme| text.strip_prefix(scheme))
            .unwrap_or(text);
        let address = bare.trim_end_matches('/').parse();
        let expected = "host:port, with or without http://";
        address
            .map(Some)
            .map_err(|_| bad(VOLUME_SERVER, text, expected))
    }
}

fn bad(name: &'static str, value: &str, expected: &'static str) -> QueryError {
    QueryError::Value {
        name,
        value: value.chars().take(EXCERPT).collect(),
        expected,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(query: &str) -> ReadQuery {
        ReadQuery::parse(query).unwrap()
    }

    #[test]
    fn both_forms_name_the_same_needle() {
        let numbers = "volume=3&needle=1&cookie=1668298710&offset=7&size=9";
        let stock = "file_id=3,01637037d6&offset=7&size=9&volume_server=http://10.0.0.1:8080";
        let escaped =
            "file_id=3%2C01637037d6&offset=7&size=9&volume_server=http%3A%2F%2F10.0.0.1%3A8080";
        assert_eq!(parse(stock), parse(escaped));
        let (a, b) = (parse(numbers), parse(stock));
        assert_eq!((a.needle, a.offset, a.size), (b.needle, 7, Some(9)));
        assert_eq!(a.base, b.base);
        assert_eq!(b.volume_server, Some("10.0.0.1:8080".parse().unwrap()));
    }

    #[test]
    fn what_is_left_out_means_everything() {
        let query = parse("file_id=3,01637037d6");
        assert_eq!((query.offset, query.size), (0, None));
        assert_eq!(parse("file_id=3,01637037d6&size=0").size, None);
        assert_eq!(parse("file_id=3,01637037d6&size=").size, None);
        assert_eq!(parse("file_id=3,01637037d6&new_thing=1").size, None);
    }

    #[test]
    fn a_delta_is_added_to_the_key_and_not_to_what_the_token_is_for() {
        let query = parse("file_id=3,01637037d6_2&jwt=a.b.c");
        assert_eq!(query.needle.key, 3);
        assert_eq!(query.base, "3,01637037d6");
        assert_eq!(query.jwt.as_deref(), Some("a.b.c"));
    }

    #[test]
    fn nonsense_is_refused_by_name() {
        for (query, error) in [
            (
                "",
                "volume is missing; expected file_id=, or volume=, needle= and cookie=",
            ),
            (
                "volume=1&needle=2",
                "cookie is missing; expected file_id=, or volume=, needle= and cookie=",
            ),
            (
                "volume=4294967296&needle=2&cookie=3",
                "volume=\"4294967296\" is not allowed: expected a decimal number of 32 bits",
            ),
            (
                "volume=1&needle=0x2&cookie=3",
                "needle=\"0x2\" is not allowed: expected a decimal number of 64 bits",
            ),
            (
                "file_id=3",
                "file_id=\"3\" is not allowed: expected a file id such as 3,01637037d6",
            ),
            (
                "file_id=3,01637037d6&cookie=1",
                "file_id and cookie exclude each other",
            ),
            (
                "file_id=3,01637037d6&file_id=3,02637037d6",
                "file_id is given twice",
            ),
            (
                "file_id=3,01637037d6&offset=-1",
                "offset=\"-1\" is not allowed: expected a decimal number of 64 bits",
            ),
            (
                "file_id=3,01637037d6&size=18446744073709551616",
                "size=\"18446744073709551616\" is not allowed: expected a decimal number of 64 bits",
            ),
            (
                "file_id=3,01637037d6&volume_server=ftp://x",
                "volume_server=\"ftp://x\" is not allowed: expected host:port, with or without http://",
            ),
        ] {
            assert_eq!(
                ReadQuery::parse(query).unwrap_err().to_string(),
                error,
                "{query}"
            );
        }
        let long = format!("file_id=3,01637037d6&x={}", "y".repeat(MAX_QUERY));
        assert_eq!(ReadQuery::parse(&long), Err(QueryError::TooLong));
    }

    proptest! {
        #[test]
        fn no_query_makes_it_panic(query in "([a-z_]{0,8}[=&%]?[ -~\\PC]{0,12}){0,8}") {
            let _ = ReadQuery::parse(&query);
        }

        #[test]
        fn every_needle_is_read_back_in_both_forms(volume: u32, key: u64, cookie: u32, offset: u64, size in 1u64..) {
            let id = FileId { volume, key, cookie };
            let numbers = format!("volume={volume}&needle={key}&cookie={cookie}&offset={offset}&size={size}");
            let stock = format!("file_id={id}&offset={offset}&size={size}");
            prop_assert_eq!(ReadQuery::parse(&numbers), ReadQuery::parse(&stock));
            prop_assert_eq!(parse(&stock).needle, id);
        }
    }
}
