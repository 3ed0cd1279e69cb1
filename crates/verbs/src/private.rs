//! The few bytes that travel with a connection request and its answer.
//!
//! The connection manager pads private data with zeros to the size of its message, so the receiver
//! cannot see how long it was. A length byte in front says it.

/// Bytes that may accompany a request, an answer or a refusal: rdma_cm leaves 56 of them in
/// a request (rdma_connect(3)), of which one is the length.
pub const MAX_PRIVATE: usize = 55;

/// `data` behind its length; `None` when it is too long.
pub(crate) fn pack(data: &[u8]) -> Option<Vec<u8>> {
    if data.len() > MAX_PRIVATE {
        return None;
    }
    let mut packed = Vec::with_capacity(1 + data.len());
    packed.push(data.len() as u8);
    packed.extend_from_slice(data);
    Some(packed)
}

/// What was packed, or `None` when the peer packs otherwise.
pub(crate) fn unpack(padded: &[u8]) -> Option<Vec<u8>> {
    let (&len, rest) = padded.split_first()?;
    if usize::from(len) > MAX_PRIVATE {
        return None;
    }
    rest.get(..usize::from(len)).map(<[u8]>::to_vec)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_packed_comes_out_of_the_padding() {
        for len in 0..=MAX_PRIVATE {
            let data: Vec<u8> = (0..len as u8).collect();
            let mut padded = pack(&data).unwrap();
            assert!(padded.len() <= 56);
            padded.resize(196, 0);
            assert_eq!(unpack(&padded), Some(data));
        }
    }

    proptest! {
        #[test]
        fn whatever_a_peer_sends_is_taken_apart_or_refused(bytes: Vec<u8>) {
            if let Some(data) = unpack(&bytes) {
                let packed = pack(&data).unwrap();
                prop_assert_eq!(&bytes[..packed.len()], packed);
            }
        }
    }

    #[test]
    fn too_much_is_refused_and_nonsense_is_not_believed() {
        assert_eq!(pack(&[0; MAX_PRIVATE + 1]), None);
        assert_eq!(unpack(&[]), None);
        assert_eq!(unpack(&[3, 1, 2]), None);
        assert_eq!(unpack(&[255; 256]), None);
    }
}
