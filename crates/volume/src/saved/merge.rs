//! Several sorted sources as one: of equal keys the one in the newest source counts.

use super::file::Stream;
use super::{Refused, Saved};
use crate::index::{Packed, Run};

/// Why not all was seen.
#[derive(Debug)]
pub(crate) enum Stopped<E> {
    /// The saved index is damaged.
    Refused(Refused),
    /// As the caller said.
    Told(E),
}

/// Hands on all keys of runs, newest first, over a saved index, in ascending order.
pub(crate) fn merge<E>(
    runs: &[&Run],
    saved: Option<&Saved>,
    mut each: impl FnMut(u64, Packed) -> Result<(), E>,
) -> Result<(), Stopped<E>> {
    let mut newer: Vec<_> = runs.iter().map(|run| run.iter().peekable()).collect();
    let mut oldest = Oldest::new(saved).map_err(Stopped::Refused)?;
    loop {
        let heads = newer.iter_mut().filter_map(|run| run.peek());
        let keys = heads
            .map(|(key, _)| *key)
            .chain(oldest.head.map(|(key, _)| key));
        let Some(key) = keys.min() else {
            return Ok(());
        };
        let mut winner = None;
        for run in &mut newer {
            if let Some((_, place)) = run.next_if(|(head, _)| *head == key) {
                winner = winner.or(Some(place));
            }
        }
        if let Some((head, place)) = oldest.head
            && head == key
        {
            winner = winner.or(Some(place));
            oldest.advance().map_err(Stopped::Refused)?;
        }
        if let Some(place) = winner {
            each(key, place).map_err(Stopped::Told)?;
        }
    }
}

/// The saved index, with its next key.
struct Oldest<'a> {
    stream: Option<Stream<'a>>,
    head: Option<(u64, Packed)>,
}

impl<'a> Oldest<'a> {
    fn new(saved: Option<&'a Saved>) -> Result<Self, Refused> {
        let mut oldest = Self {
            stream: saved.map(Saved::stream),
            head: None,
        };
        oldest.advance()?;
        Ok(oldest)
    }

    fn advance(&mut self) -> Result<(), Refused> {
        self.head = match &mut self.stream {
            Some(stream) => stream.next()?,
            None => None,
        };
        Ok(())
    }
}
