//! A write on its way in.
//!
//! Its bytes are collected here, or, when it will not be taken, skipped: a client that has sent the
//! frame sends all of the data behind it, and only then expects an answer. What is complete is
//! compared with its checksum before anybody sees it, over a copy that the client cannot change any
//! more.

use seaweed::crc::crc32c;

use crate::wire::{Outcome, Place, Write, Written};

/// A write whose bytes arrive.
#[derive(Debug)]
pub struct Intake {
    write: Write,
    bytes: Vec<u8>,
    /// Bytes that are brought here, and how many of them have arrived.
    expected: usize,
    got: usize,
    /// What has become of it already.
    settled: Option<Written>,
}

/// Bytes of a write that nobody wants are received in runs of this many.
const WASTE: usize = 16 << 10;

impl Intake {
    /// A write that will be taken; there is memory for it.
    pub fn accept(write: Write) -> Self {
        Self {
            bytes: vec![0; write.len as usize],
            expected: write.data(),
            write,
            got: 0,
            settled: None,
        }
    }

    /// One whose bytes are brought here in any case, also from a region.
    pub fn bring(write: Write) -> Self {
        Self {
            expected: write.len as usize,
            ..Self::accept(write)
        }
    }

    /// One that is answered with `written` once its bytes are skipped.
    pub fn decline(write: Write, written: Written) -> Self {
        Self {
            bytes: vec![0; write.data().min(WASTE)],
            expected: write.data(),
            write,
            got: 0,
            settled: Some(written),
        }
    }

    /// What it is about.
    pub fn write(&self) -> &Write {
        &self.write
    }

    /// Bytes that still have to arrive.
    pub fn missing(&self) -> usize {
        self.expected - self.got
    }

    /// Whether it is worth a thread that may wait: it will be taken, and all of it is here.
    pub fn is_ready(&self) -> bool {
        self.settled.is_none() && self.missing() == 0
    }

    /// Where the next bytes go; at most as many as are missing.
    pub fn space(&mut self) -> &mut [u8] {
        let missing = self.missing();
        match self.settled {
            Some(_) => {
                let len = missing.min(self.bytes.len());
                &mut self.bytes[..len]
            }
            None => &mut self.bytes[self.got..][..missing],
        }
    }

    /// The first `len` bytes of the space are there.
    pub fn filled(&mut self, len: usize) {
        debug_assert!(len <= self.missing(), "more than there was space");
        self.got += len;
    }

    /// All has arrived: the bytes, if they are those that were sent, or what there is to answer.
    /// Those in a region of the client that were not brought are copied by `fetch` (region, offset, to
    /// where).
    ///
    /// # Errors
    /// What to answer.
    pub fn complete<E: std::fmt::Display>(
        mut self,
        fetch: impl FnOnce(u16, u64, &mut [u8]) -> Result<(), E>,
    ) -> Result<(Write, Vec<u8>), Written> {
        debug_assert_eq!(self.missing(), 0, "bytes are still to come");
        if let Some(written) = self.settled {
            return Err(written);
        }
        if let Place::Region { region, offset } = self.write.place
            && self.expected == 0
            && let Err(error) = fetch(region, offset, &mut self.bytes)
        {
            let words = format!("the bytes cannot be read: {error}");
            return Err(Written::without(Outcome::Corrupt, words));
        }
        let (got, sent) = (crc32c(&self.bytes), self.write.crc);
        if got != sent {
            let words = format!("checksum {got:08x} came, {sent:08x} was sent");
            return Err(Written::without(Outcome::Corrupt, words));
        }
        Ok((self.write, self.bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(place: Place, bytes: &[u8]) -> Write {
        Write {
            base: "3,01637037d6".parse().unwrap(),
            delta: 0,
            gzip: false,
            fsync: false,
            place,
            len: bytes.len() as u32,
            crc: crc32c(bytes),
            patience: 1000,
            server: "a:8080".to_owned(),
            token: String::new(),
        }
    }

    fn feed(intake: &mut Intake, mut bytes: &[u8], run: usize) {
        while intake.missing() > 0 {
            let space = intake.space();
            let len = space.len().min(run);
            space[..len].copy_from_slice(&bytes[..len]);
            intake.filled(len);
            bytes = &bytes[len..];
        }
        assert!(bytes.is_empty());
    }

    fn nothing(_: u16, _: u64, _: &mut [u8]) -> Result<(), String> {
        panic!("its bytes are inline")
    }

    #[test]
    fn only_the_bytes_that_were_sent_come_out() {
        let bytes: Vec<u8> = (0..100_000u32).map(|n| (n * 7) as u8).collect();
        for run in [1, 999, usize::MAX] {
            let mut intake = Intake::accept(write(Place::Inline, &bytes));
            assert!(!intake.is_ready());
            feed(&mut intake, &bytes, run);
            assert!(intake.is_ready());
            assert_eq!(intake.complete(nothing).unwrap().1, bytes);
        }
        let mut other = bytes.clone();
        other[77_777] ^= 4;
        let mut intake = Intake::accept(write(Place::Inline, &bytes));
        feed(&mut intake, &other, usize::MAX);
        let written = intake.complete(nothing).unwrap_err();
        assert_eq!(written.outcome, Outcome::Corrupt);
    }

    #[test]
    fn what_is_declined_is_skipped_whole_without_memory_for_it() {
        let bytes = vec![1; 100_000];
        let busy = Written::without(Outcome::Busy, "later");
        let mut intake = Intake::decline(write(Place::Inline, &bytes), busy.clone());
        assert!(intake.space().len() <= WASTE);
        feed(&mut intake, &bytes, usize::MAX);
        assert!(!intake.is_ready());
        assert_eq!(intake.complete(nothing).unwrap_err(), busy);
    }

    #[test]
    fn bytes_in_a_region_are_copied_once_and_compared_then() {
        let place = Place::Region {
            region: 2,
            offset: 9,
        };
        let intake = || Intake::accept(write(place, b"bytes"));
        assert!(intake().is_ready());
        let copied = |bytes: &'static [u8]| {
            move |region, offset, to: &mut [u8]| {
                assert_eq!((region, offset), (2, 9));
                to.copy_from_slice(bytes);
                Ok::<_, String>(())
            }
        };
        assert_eq!(intake().complete(copied(b"bytes")).unwrap().1, b"bytes");
        let changed = intake().complete(copied(b"bytez")).unwrap_err();
        assert_eq!(changed.outcome, Outcome::Corrupt);
        let mut brought = Intake::bring(write(place, b"bytes"));
        feed(&mut brought, b"bytes", 2);
        assert_eq!(brought.complete(nothing).unwrap().1, b"bytes");
        let failed = intake().complete(|_, _, _| Err("gone")).unwrap_err();
        assert_eq!(failed.outcome, Outcome::Corrupt);
        assert!(failed.text.contains("gone"));
    }
}
