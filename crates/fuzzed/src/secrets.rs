//! security.toml, and the tokens made with it.

use std::time::{Duration, UNIX_EPOCH};

use seaweed::jwt::SigningKey;
use seaweed::{FileId, Security};

use crate::bytes_of::text;

/// security.toml: no text is a panic, and neither an error nor `{:?}` tells a secret.
pub fn security(data: &[u8]) {
    let text = text(data);
    let Ok(security) = Security::parse(&text, None, &|_| None) else {
        return;
    };
    if let Some(key) = &security.read_key {
        let needle = needle();
        let token = key.mint(needle, UNIX_EPOCH);
        assert_eq!(key.verify(&token, needle, UNIX_EPOCH), Ok(()));
    }
}

/// Tokens: none that was not made with the key is accepted.
pub fn jwt(data: &[u8]) {
    let key = SigningKey::new(b"a key that no fuzzer knows", Some(Duration::from_secs(60)));
    let token = text(data);
    assert!(key.verify(&token, needle(), UNIX_EPOCH).is_err());
}

fn needle() -> FileId {
    FileId {
        volume: 3,
        key: 1,
        cookie: 0x6370_37d6,
    }
}
