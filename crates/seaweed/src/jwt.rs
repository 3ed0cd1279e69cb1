//! The tokens that guard needles: JSON Web Tokens (RFC 7519) under HMAC-SHA256.
//!
//! A volume server with a key refuses requests without a token for exactly the
//! needle they ask for. Write tokens come with an assignment; read tokens are
//! minted by the client itself, which holds the same key in its security.toml.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use serde_json::{Value, json};

use crate::FileId;

/// A key, and how long the tokens made with it are good. The key never reaches a log.
#[derive(Clone)]
pub struct SigningKey {
    key: hmac::Key,
    lifetime: Option<Duration>,
}

impl SigningKey {
    /// A key of these bytes; tokens without a lifetime are good for ever.
    pub fn new(secret: &[u8], lifetime: Option<Duration>) -> Self {
        Self {
            key: hmac::Key::new(hmac::HMAC_SHA256, secret),
            lifetime,
        }
    }

    /// How long a token is good.
    pub fn lifetime(&self) -> Option<Duration> {
        self.lifetime
    }

    /// Makes a token for one needle.
    pub fn mint(&self, file_id: FileId, now: SystemTime) -> String {
        let mut claims = json!({ "fid": file_id.to_string() });
        if let Some(lifetime) = self.lifetime {
            claims["exp"] = (seconds(now) + lifetime.as_secs()).into();
        }
        let mut token = BASE64.encode(HEADER);
        token.push('.');
        BASE64.encode_string(claims.to_string(), &mut token);
        let signature = hmac::sign(&self.key, token.as_bytes());
        token.push('.');
        BASE64.encode_string(signature, &mut token);
        token
    }

    /// The bare code (HMAC-SHA256) of a message that is no token.
    pub fn mac(&self, message: &[u8]) -> [u8; 32] {
        let mut mac = [0; 32];
        // SHA-256 gives exactly as many bytes.
        mac.copy_from_slice(hmac::sign(&self.key, message).as_ref());
        mac
    }

    /// Whether `mac` is the code of `message`, in a time that does not tell how nearly.
    pub fn is_mac(&self, message: &[u8], mac: &[u8; 32]) -> bool {
        hmac::verify(&self.key, message, mac).is_ok()
    }

    /// Checks a token for one needle.
    ///
    /// # Errors
    /// When it does not allow the needle now.
    pub fn verify(&self, token: &str, file_id: FileId, now: SystemTime) -> Result<(), JwtError> {
        let claimed = self.claim(token, now)?;
        if claimed == file_id.to_string() {
            return Ok(());
        }
        Err(JwtError::OtherNeedle {
            claimed: claimed.chars().take(EXCERPT).collect(),
        })
    }

    /// The file id a token was made for, letter by letter, if it is good now.
    ///
    /// # Errors
    /// When it is not.
    pub fn claim(&self, token: &str, now: SystemTime) -> Result<String, JwtError> {
        if token.len() > MAX_TOKEN {
            return Err(JwtError::Malformed);
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(JwtError::Malformed)?;
        let (header, claims) = signed.split_once('.').ok_or(JwtError::Malformed)?;
        // What the header says is believed only if it is what is checked below.
        if decode(header)?["alg"] != "HS256" {
            return Err(JwtError::Algorithm);
        }
        let signature = BASE64.decode(signature).map_err(|_| JwtError::Malformed)?;
        hmac::verify(&self.key, signed.as_bytes(), &signature).map_err(|_| JwtError::Signature)?;

        let claims = decode(claims)?;
        // Not exact for times in a thousand million years.
        let now = seconds(now) as f64;
        let moment = |name: &str| match &claims[name] {
            Value::Null => Ok(None),
            time => time.as_f64().map(Some).ok_or(JwtError::Malformed),
        };
        if moment("exp")?.is_some_and(|until| now >= until) {
            return Err(JwtError::Expired);
        }
        if moment("nbf")?.is_some_and(|from| now < from) {
            return Err(JwtError::TooEarly);
        }
        let claimed = claims["fid"].as_str().ok_or(JwtError::Malformed)?;
        Ok(claimed.to_owned())
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lifetime = self.lifetime;
        f.debug_struct("SigningKey")
            .field("lifetime", &lifetime)
            .finish_non_exhaustive()
    }
}

/// Why a token does not open a needle.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JwtError {
    /// It is no token.
    #[error("no JSON web token with a fid claim")]
    Malformed,
    /// It is signed in another way.
    #[error("token is not signed with HS256")]
    Algorithm,
    /// It was made with another key, or changed.
    #[error("token has a wrong signature")]
    Signature,
    /// Its time is over.
    #[error("token has expired")]
    Expired,
    /// Its time has not come.
    #[error("token is not good yet")]
    TooEarly,
    /// It is for something else.
    #[error("token is for needle {claimed}")]
    OtherNeedle {
        /// The file id it is for.
        claimed: String,
    },
}

const HEADER: &str = r#"{"alg":"HS256","typ":"JWT"}"#;
/// Longest token looked at; ours have 150 bytes.
const MAX_TOKEN: usize = 4096;
/// Longest piece of a foreign claim that an error repeats.
const EXCERPT: usize = 80;

fn decode(part: &str) -> Result<Value, JwtError> {
    let json = BASE64.decode(part).map_err(|_| JwtError::Malformed)?;
    serde_json::from_slice(&json).map_err(|_| JwtError::Malformed)
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(1_700_000_000);

    fn needle() -> FileId {
        "3,01637037d6".parse().unwrap()
    }

    fn key() -> SigningKey {
        SigningKey::new(b"secret", Some(Duration::from_secs(60)))
    }

    fn sign(header: &str, claims: &str) -> String {
        let signed = format!("{}.{}", BASE64.encode(header), BASE64.encode(claims));
        let signature = hmac::sign(&key().key, signed.as_bytes());
        format!("{signed}.{}", BASE64.encode(signature))
    }

    #[test]
    fn a_token_is_what_others_would_make_of_it() {
        // printf '%s' "$header.$claims" | openssl dgst -sha256 -hmac secret -binary | base64
        let token = key().mint(needle(), UNIX_EPOCH + NOW);
        let expected = [
            "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9",
            "eyJleHAiOjE3MDAwMDAwNjAsImZpZCI6IjMsMDE2MzcwMzdkNiJ9",
            "ZYsT3d3aLTj_yoqx5P9ri83bGrDTdJH-BQtKqf-ifLg",
        ]
        .join(".");
        assert_eq!(token, expected);
    }

    #[test]
    fn a_token_is_good_for_its_needle_until_it_expires() {
        let start = UNIX_EPOCH + NOW;
        let token = key().mint(needle(), start);
        let at = |seconds| key().verify(&token, needle(), start + Duration::from_secs(seconds));
        assert_eq!((at(0), at(59)), (Ok(()), Ok(())));
        assert_eq!(at(60), Err(JwtError::Expired));
        let other = "3,02637037d6".parse().unwrap();
        let refused = key().verify(&token, other, start).unwrap_err();
        assert_eq!(refused.to_string(), "token is for needle 3,01637037d6");
    }

    #[test]
    fn a_token_is_not_good_before_its_time() {
        let now = UNIX_EPOCH + NOW;
        let claims = r#"{"fid":"3,01637037d6","nbf":1700000001}"#;
        let token = sign(HEADER, claims);
        assert_eq!(key().claim(&token, now), Err(JwtError::TooEarly));
        let later = now + Duration::from_secs(1);
        assert_eq!(key().claim(&token, later).as_deref(), Ok("3,01637037d6"));
    }

    #[test]
    fn a_key_without_lifetime_mints_for_ever() {
        let key = SigningKey::new(b"secret", None);
        let token = key.mint(needle(), UNIX_EPOCH);
        let late = UNIX_EPOCH + Duration::from_secs(u64::from(u32::MAX));
        assert_eq!(key.verify(&token, needle(), late), Ok(()));
    }

    #[test]
    fn forgeries_are_refused() {
        let now = UNIX_EPOCH + NOW;
        let verify = |token: &str| key().verify(token, needle(), now);
        let token = key().mint(needle(), now);
        let stranger = SigningKey::new(b"other", None).mint(needle(), now);
        assert_eq!(verify(&stranger), Err(JwtError::Signature));
        assert_eq!(verify(&token[..token.len() - 1]), Err(JwtError::Malformed));
        let none = sign(r#"{"alg":"none"}"#, r#"{"fid":"3,01637037d6"}"#);
        assert_eq!(verify(&none), Err(JwtError::Algorithm));
        for claims in ["{}", "[]", "text", r#"{"fid":"3,01637037d6","exp":"soon"}"#] {
            assert_eq!(
                verify(&sign(HEADER, claims)),
                Err(JwtError::Malformed),
                "{claims}"
            );
        }
        for text in ["", ".", "..", "a.b.c", &"x".repeat(MAX_TOKEN + 1)] {
            assert_eq!(verify(text), Err(JwtError::Malformed), "{text}");
        }
    }

    #[test]
    fn a_bare_code_is_what_others_would_make_of_it() {
        // printf message | openssl dgst -sha256 -hmac secret
        let mac = key().mac(b"message");
        let hex: String = mac.iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(
            hex,
            "8b5f48702995c1598c573db1e21866a9b825d4a794d169d7060a03605796360b"
        );
        assert!(key().is_mac(b"message", &mac));
        assert!(!key().is_mac(b"massage", &mac));
        assert!(!SigningKey::new(b"other", None).is_mac(b"message", &mac));
    }

    #[test]
    fn the_secret_is_not_shown() {
        assert_eq!(
            format!("{:?}", key()),
            "SigningKey { lifetime: Some(60s), .. }"
        );
    }
}
