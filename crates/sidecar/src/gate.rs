//! Who may read which needle: the rule of the volume server, letter by letter.
//!
//! A cluster with `jwt.signing.read.key` in its security.toml gives needles only to those who
//! bring a token for exactly the needle they ask for. A sidecar that forgot to ask would be a hole
//! in such a cluster, so every way to a needle passes through here. The token is
//! looked for where the volume server looks: the parameter `jwt`, then the header
//! `Authorization: Bearer`, then the cookie `AT`; the first that is there counts.

use std::time::SystemTime;

use axum::http::{HeaderMap, header};
use seaweed::jwt::{JwtError, SigningKey};

use crate::query::ReadQuery;

/// Checks tokens, where the cluster wants them.
#[derive(Debug, Clone, Default)]
pub struct Gate {
    key: Option<SigningKey>,
}

/// Why a request is not let through.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It has no token.
    #[error("this cluster gives needles to those with a token only")]
    NoToken,
    /// Its token does not allow the needle now.
    #[error(transparent)]
    Token(#[from] JwtError),
}

impl Gate {
    /// A gate for clusters with this read key; an open one where there is none.
    pub fn new(key: Option<SigningKey>) -> Self {
        Self { key }
    }

    /// Whether tokens are wanted.
    pub fn is_guarded(&self) -> bool {
        self.key.is_some()
    }

    /// Lets a request through or not.
    ///
    /// # Errors
    /// [`Refused`] says why not.
    pub fn check(
        &self,
        query: &ReadQuery,
        headers: &HeaderMap,
        now: SystemTime,
    ) -> Result<(), Refused> {
        let Some(key) = &self.key else {
            return Ok(());
        };
        let token = token(query, headers).ok_or(Refused::NoToken)?;
        let claimed = key.claim(token, now)?;
        // A token for the first of several ids assigned at once is good for all of them.
        if claimed == query.base || claimed == query.needle.to_string() {
            return Ok(());
        }
        Err(Refused::Token(JwtError::OtherNeedle {
            claimed: claimed.chars().take(EXCERPT).collect(),
        }))
    }
}

/// Longest piece of a foreign claim that an error repeats.
const EXCERPT: usize = 80;

/// The token of a request.
pub(crate) fn token<'r>(query: &'r ReadQuery, headers: &'r HeaderMap) -> Option<&'r str> {
    let parameter = query.jwt.as_deref();
    parameter
        .or_else(|| bearer(headers))
        .or_else(|| cookie(headers))
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_at_checked(6)?;
    let token = scheme
        .eq_ignore_ascii_case("bearer")
        .then(|| token.get(1..))??;
    (!token.is_empty()).then_some(token)
}

fn cookie(headers: &HeaderMap) -> Option<&str> {
    let lines = headers.get_all(header::COOKIE);
    let pairs = lines.iter().filter_map(|line| line.to_str().ok());
    pairs
        .flat_map(|line| line.split(';'))
        .find_map(|pair| pair.trim().strip_prefix("AT="))
        .filter(|token| !token.is_empty())
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    const NOW: SystemTime = UNIX_EPOCH;

    fn key() -> SigningKey {
        SigningKey::new(b"secret", Some(Duration::from_secs(60)))
    }

    fn query(text: &str) -> ReadQuery {
        ReadQuery::parse(text).unwrap()
    }

    fn headers(name: header::HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, value.parse().unwrap())])
    }

    #[test]
    fn an_open_cluster_asks_nobody() {
        let gate = Gate::default();
        let open = gate.check(&query("file_id=3,01637037d6"), &HeaderMap::new(), NOW);
        assert_eq!((gate.is_guarded(), open), (false, Ok(())));
    }

    #[test]
    fn a_token_is_found_in_each_of_its_three_places() {
        let gate = Gate::new(Some(key()));
        let plain = query("file_id=3,01637037d6");
        let token = key().mint(plain.needle, NOW);
        let in_query = query(&format!("file_id=3,01637037d6&jwt={token}"));
        assert_eq!(gate.check(&in_query, &HeaderMap::new(), NOW), Ok(()));
        for (name, value) in [
            (header::AUTHORIZATION, format!("Bearer {token}")),
            (header::AUTHORIZATION, format!("BEARER {token}")),
            (header::COOKIE, format!("a=b; AT={token}")),
        ] {
            assert_eq!(
                gate.check(&plain, &headers(name, &value), NOW),
                Ok(()),
                "{value}"
            );
        }
        // The parameter counts before the header, also when it is the worse one.
        let bad = query("file_id=3,01637037d6&jwt=a.b.c");
        let good = headers(header::AUTHORIZATION, &format!("Bearer {token}"));
        assert!(gate.check(&bad, &good, NOW).is_err());
    }

    #[test]
    fn a_token_opens_its_needle_and_those_assigned_with_it() {
        let gate = Gate::new(Some(key()));
        let first = query("file_id=3,01637037d6");
        let auth = headers(
            header::AUTHORIZATION,
            &format!("Bearer {}", key().mint(first.needle, NOW)),
        );
        let check = |text: &str| gate.check(&query(text), &auth, NOW);
        assert_eq!(check("file_id=3,01637037d6_1"), Ok(()));
        assert_eq!(check("volume=3&needle=1&cookie=1668298710"), Ok(()));
        let other = check("file_id=3,02637037d6").unwrap_err().to_string();
        assert_eq!(other, "token is for needle 3,01637037d6");
        assert!(check("volume=4&needle=1&cookie=1668298710").is_err());
        let late = gate.check(&first, &auth, NOW + Duration::from_secs(60));
        assert_eq!(late, Err(Refused::Token(JwtError::Expired)));
    }

    #[test]
    fn without_a_token_nothing_is_given() {
        let gate = Gate::new(Some(key()));
        let plain = query("file_id=3,01637037d6");
        for (name, value) in [
            (header::AUTHORIZATION, ""),
            (header::AUTHORIZATION, "Bearer"),
            (header::AUTHORIZATION, "Bearer "),
            (header::AUTHORIZATION, "Basic abc"),
            (header::COOKIE, "AT="),
            (header::COOKIE, "XAT=abc"),
        ] {
            let refused = gate.check(&plain, &headers(name, value), NOW);
            assert_eq!(refused, Err(Refused::NoToken), "{value}");
        }
    }
}
