//! Where a peer lets us write, or read.

use crate::Error;

/// Memory of a peer that may be written to or read, as the peer announced it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RemoteMemory {
    /// Address in the peer's process.
    pub addr: u64,
    /// Its remote key.
    pub rkey: u32,
    /// How many bytes there are.
    pub len: u64,
}

impl RemoteMemory {
    /// The part from `offset` on.
    ///
    /// # Errors
    /// [`Error::Bounds`] when it is not inside.
    pub fn part(self, offset: u64, len: u64) -> Result<Self, Error> {
        let inside = offset.checked_add(len).is_some_and(|end| end <= self.len);
        let addr = self.addr.checked_add(offset);
        match addr {
            Some(addr) if inside => Ok(Self { addr, len, ..self }),
            _ => Err(Error::Bounds {
                offset,
                len,
                size: self.len,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_remote_memory_is_inside_or_refused() {
        let all = RemoteMemory {
            addr: 4096,
            rkey: 7,
            len: 100,
        };
        let part = all.part(10, 90).unwrap();
        assert_eq!(
            part,
            RemoteMemory {
                addr: 4106,
                rkey: 7,
                len: 90
            }
        );
        assert!(all.part(10, 91).is_err());
        assert!(all.part(u64::MAX, 2).is_err());
        let edge = RemoteMemory {
            addr: u64::MAX,
            rkey: 7,
            len: 100,
        };
        assert!(edge.part(1, 1).is_err());
    }
}
