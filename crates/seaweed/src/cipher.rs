//! Encryption of chunks: AES-256-GCM, one random key for each chunk.
//!
//! The needle holds nonce (12 bytes), cipher text and tag (16 bytes), and no
//! additional data. The key lies in the entry, so whoever may read the filer's
//! metadata may read the file, and a volume server may not.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};

use crate::CipherKey;

/// By how much stored data is longer than clear data.
pub const OVERHEAD: usize = NONCE_LEN + TAG_LEN;

/// Decrypts the stored bytes of a chunk.
///
/// # Errors
/// When they are not what was written with this key.
pub fn open(key: &CipherKey, stored: &[u8]) -> Result<Vec<u8>, CipherError> {
    let short = CipherError::Short { len: stored.len() };
    let (nonce, sealed) = stored.split_at_checked(NONCE_LEN).ok_or(short.clone())?;
    let text_len = sealed.len().checked_sub(TAG_LEN).ok_or(short)?;
    let (text, tag) = sealed.split_at(text_len);

    let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| CipherError::Forged)?;
    let mut clear = vec![0; text_len];
    keyed(key)?
        .open_separate_gather(nonce, Aad::empty(), text, tag, &mut clear)
        .map_err(|_| CipherError::Forged)?;
    Ok(clear)
}

/// Encrypts the clear bytes of a chunk, under a key that is used for this chunk only.
///
/// # Errors
/// When the system has no random numbers.
pub fn seal(key: &CipherKey, clear: &[u8]) -> Result<Vec<u8>, CipherError> {
    let mut nonce = [0; NONCE_LEN];
    aws_lc_rs::rand::fill(&mut nonce).map_err(|_| CipherError::Unavailable)?;
    let mut stored = Vec::with_capacity(clear.len() + OVERHEAD);
    stored.extend_from_slice(&nonce);
    stored.extend_from_slice(clear);
    let nonce = Nonce::assume_unique_for_key(nonce);
    let tag = keyed(key)?
        .seal_in_place_separate_tag(nonce, Aad::empty(), &mut stored[NONCE_LEN..])
        .map_err(|_| CipherError::Unavailable)?;
    stored.extend_from_slice(tag.as_ref());
    debug_assert_eq!(stored.len(), clear.len() + OVERHEAD);
    Ok(stored)
}

impl CipherKey {
    /// A new key.
    ///
    /// # Errors
    /// When the system has no random numbers.
    pub fn random() -> Result<Self, CipherError> {
        let mut bytes = [0; Self::LEN];
        aws_lc_rs::rand::fill(&mut bytes).map_err(|_| CipherError::Unavailable)?;
        Ok(Self::new(bytes))
    }
}

/// Why data could not be decrypted or encrypted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CipherError {
    /// There is no room for a nonce and a tag.
    #[error("{len} encrypted bytes are fewer than the {OVERHEAD} of any encryption")]
    Short {
        /// Bytes there are.
        len: usize,
    },
    /// The tag does not match: another key, or changed bytes.
    #[error("encrypted bytes were changed, or belong to another key")]
    Forged,
    /// The cryptographic library refuses to work.
    #[error("encryption is not available")]
    Unavailable,
}

/// Bytes of the tag.
const TAG_LEN: usize = 16;

fn keyed(key: &CipherKey) -> Result<LessSafeKey, CipherError> {
    let key = UnboundKey::new(&AES_256_GCM, key.as_bytes());
    Ok(LessSafeKey::new(key.map_err(|_| CipherError::Unavailable)?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Test case 14 of the GCM specification: key, nonce and 16 bytes of zeros.
    #[test]
    fn a_published_vector_opens() {
        let text = 0xcea7_403d_4d60_6b6e_074e_c5d3_baf3_9d18_u128.to_be_bytes();
        let tag = 0xd0d1_c8a7_9999_6bf0_265b_98b5_d48a_b919_u128.to_be_bytes();
        let stored = [&[0; NONCE_LEN][..], &text, &tag].concat();
        assert_eq!(open(&CipherKey::new([0; 32]), &stored), Ok(vec![0; 16]));
    }

    #[test]
    fn too_short_is_told_from_forged() {
        let key = CipherKey::new([7; 32]);
        for len in 0..OVERHEAD {
            assert_eq!(open(&key, &vec![0; len]), Err(CipherError::Short { len }));
        }
        assert_eq!(open(&key, &[0; OVERHEAD]), Err(CipherError::Forged));
        assert_eq!(open(&key, &seal(&key, b"").unwrap()), Ok(vec![]));
    }

    #[test]
    fn no_two_encryptions_are_alike() {
        let key = CipherKey::new([7; 32]);
        assert_ne!(seal(&key, b"text"), seal(&key, b"text"));
    }

    proptest! {
        #[test]
        fn what_is_sealed_opens_and_any_change_shows(
            key: [u8; 32],
            clear in proptest::collection::vec(any::<u8>(), 0..500),
            at: prop::sample::Index,
            bit in 0u32..8,
        ) {
            let key = CipherKey::new(key);
            let mut stored = seal(&key, &clear).unwrap();
            prop_assert_eq!(open(&key, &stored), Ok(clear));
            let at = at.index(stored.len());
            stored[at] ^= 1 << bit;
            prop_assert_eq!(open(&key, &stored), Err(CipherError::Forged));
        }
    }
}
