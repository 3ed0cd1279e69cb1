//! The items of a read, one after the other.
//!
//! An exchange can stop between two pieces and go on later, on another thread: when the client is
//! slower than the disk, or when the disk would make a thread wait that must not.

use std::ops::Range;

use super::serve_item::{
    Delivered, Filled, Output, Placing, Serving, Taken, Torn, fetch_ahead, fill_unchecked,
    is_cached, pieces,
};
use crate::serve::{Held, Miss, ReadFault, Shelf};
use crate::wire::{Answer, Item, Status};

/// Answers the items of a read in their order. `before_last` is called before the last answer is
/// sent; `done` is told every answer that was sent. The output never wants a pause, and may wait.
///
/// # Errors
/// [`Torn`]; the lane has to be closed.
pub fn serve<S: Shelf, O: Output>(
    shelf: &S,
    items: &[Item],
    out: &mut O,
    mut before_last: impl FnMut(),
    mut done: impl FnMut(&Answer),
) -> Result<(), Torn<O::Broken>> {
    let mut exchange = Exchange::begin(shelf, items.to_vec());
    exchange.look_up(shelf);
    while exchange.proceed(out, &mut before_last, &mut done)? != Progress::Done {}
    Ok(())
}

/// A read that is being answered.
#[derive(Debug)]
pub struct Exchange<N> {
    items: Vec<Item>,
    /// `None` where the look-up has to wait for a disk.
    found: Vec<Option<Result<N, Miss>>>,
    /// All were looked up, and the disk was told of what comes later.
    is_looked_up: bool,
    /// The item that is next.
    at: usize,
    /// What of it is still to be done.
    rest: Option<Rest>,
}

/// What is left of an item after a pause.
#[derive(Debug)]
enum Rest {
    /// Inline data, behind an answer that was sent.
    Inline(Answer, Range<u64>),
    /// Pieces, before the answer.
    Placing(Placing),
}

/// Sends what follows an answer, up to where it returns: out of the file where that can be, else a piece.
fn send<O: Output>(
    out: &mut O,
    needle: &impl Held,
    rest: &Range<u64>,
    piece: &Range<u64>,
) -> Result<u64, Torn<O::Broken>> {
    let of_file = match out.sends_files() {
        true => needle.file(rest.start),
        false => None,
    };
    let Some((file, at)) = of_file else {
        let filled = fill_unchecked(out, needle, piece)?;
        let Filled { len, .. } = filled.map_err(Torn::Disk)?;
        out.more(len).map_err(Torn::Lane)?;
        return Ok(piece.end);
    };
    let len = (piece.end - piece.start) as usize;
    match out.more_of_file(file, at, len).map_err(Torn::Lane)? {
        Taken::Bytes(count) => Ok(rest.start + count as u64),
        // It was cut short after the needle was found.
        Taken::End => Err(Torn::Disk(ReadFault::Failed)),
    }
}

/// How far an exchange has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Everything was sent.
    Done,
    /// The output wants a pause.
    Paused,
    /// What comes next has to be waited for, and this thread may not.
    Disk,
}

impl<N: Held> Exchange<N> {
    /// Looks up what can be without waiting for a disk.
    pub fn begin<S: Shelf<Needle = N>>(shelf: &S, items: Vec<Item>) -> Self {
        let found = items.iter().map(|item| shelf.try_find(item.needle));
        Self {
            found: found.collect(),
            items,
            is_looked_up: false,
            at: 0,
            rest: None,
        }
    }

    /// Looks up the others, and has the disk fetch what comes later meanwhile. To be called by a thread
    /// that may wait, before it goes on. Gives whether there were others.
    pub fn look_up<S: Shelf<Needle = N>>(&mut self, shelf: &S) -> bool {
        if std::mem::replace(&mut self.is_looked_up, true) {
            return false;
        }
        let mut were_others = false;
        let alone = self.items.len() == 1;
        let rest = self.items.iter().zip(&mut self.found).skip(self.at);
        for (item, found) in rest {
            let found = found.get_or_insert_with(|| {
                were_others = true;
                shelf.find(item.needle)
            });
            if let Ok(needle) = found {
                fetch_ahead(item, needle, alone);
            }
        }
        were_others
    }

    /// Bytes that are still to be delivered, at most, of what was found.
    pub fn len(&self) -> u64 {
        let open = self.items.iter().zip(&self.found).skip(self.at);
        let found = open.filter_map(|(item, needle)| Some((item, needle.as_ref()?.as_ref().ok()?)));
        found
            .map(|(item, needle)| needle.stored_len().min(item.extent.room().into()))
            .sum()
    }

    /// Whether nothing is to be delivered.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Answers what is left with `status`. Nothing of the item that is next was sent yet.
    ///
    /// # Errors
    /// [`Torn`]; the lane has to be closed.
    pub fn decline<O: Output>(
        &mut self,
        out: &mut O,
        status: Status,
        mut done: impl FnMut(&Answer),
    ) -> Result<(), Torn<O::Broken>> {
        debug_assert!(self.rest.is_none(), "in the middle of an item");
        while let Some(item) = self.items.get(self.at) {
            done(&Serving::new(self.at, item, out).decline(status)?);
            self.at += 1;
        }
        Ok(())
    }

    /// Whether nothing of the item that is next was sent yet.
    pub fn is_between_items(&self) -> bool {
        self.rest.is_none()
    }

    /// Goes on until all is sent or the output wants it otherwise. `before_last` is called before
    /// the last answer is sent; `done` is told every answer that was sent with all its bytes.
    ///
    /// # Errors
    /// [`Torn`]; the lane has to be closed.
    pub fn proceed<O: Output>(
        &mut self,
        out: &mut O,
        mut before_last: impl FnMut(),
        mut done: impl FnMut(&Answer),
    ) -> Result<Progress, Torn<O::Broken>> {
        while let (Some(item), Some(found)) = (self.items.get(self.at), self.found.get(self.at)) {
            if out.wants_pause() {
                return Ok(Progress::Paused);
            }
            let Some(found) = found else {
                return Ok(Progress::Disk);
            };
            let delivered = match (self.rest.take(), found) {
                (Some(Rest::Inline(answer, rest)), _) => Delivered::Answered(answer, rest),
                (Some(Rest::Placing(placing)), Ok(needle)) => {
                    Serving::new(self.at, item, out).resume(needle, placing)?
                }
                (None, Ok(needle)) if !out.may_wait() && !is_cached(item, needle) => {
                    return Ok(Progress::Disk);
                }
                (_, found) => {
                    if self.at + 1 == self.items.len() {
                        before_last();
                    }
                    let serving = Serving::new(self.at, item, out);
                    match found {
                        Ok(needle) => serving.deliver(needle)?,
                        Err(miss) => {
                            let answer = serving.decline(Status::from(*miss))?;
                            Delivered::Answered(answer, 0..0)
                        }
                    }
                }
            };
            let (answer, rest) = match delivered {
                Delivered::Answered(answer, rest) => (answer, rest),
                Delivered::Placing(placing) => {
                    self.rest = Some(Rest::Placing(placing));
                    return Ok(Progress::Paused);
                }
            };
            if let Some(piece) = pieces(&rest).next()
                && let Ok(needle) = found
            {
                let len = (piece.end - piece.start) as usize;
                if out.wants_pause() {
                    self.rest = Some(Rest::Inline(answer, rest));
                    return Ok(Progress::Paused);
                }
                if !out.may_wait() && !needle.is_cached(piece.start, len) {
                    self.rest = Some(Rest::Inline(answer, rest));
                    return Ok(Progress::Disk);
                }
                let sent = send(out, needle, &rest, &piece)?;
                if sent < rest.end {
                    self.rest = Some(Rest::Inline(answer, sent..rest.end));
                    continue;
                }
            }
            done(&answer);
            self.at += 1;
        }
        Ok(Progress::Done)
    }
}
