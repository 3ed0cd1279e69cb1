//! copy_file_range(2).
//!
//! A needle belongs to one entry: who deletes the entry deletes the needle, whoever else may name it. So two
//! files cannot share chunks, and a copy has bytes of its own. What is saved is the way through the kernel and
//! the program: the bytes go from the reader's memory into the writer's, in this process. docs/adr/0005 says why
//! the filer is not asked to copy.

use context::Context;
use fuse::{CopyPlace, Errno, ReadReply, Request, Segments};

use super::Mount;

/// Bytes read and written at a time.
const PIECE: usize = 1 << 20;
/// More than this is not copied by one request: callers go on where it ended, and can be interrupted between.
const MOST: u64 = 64 << 20;

impl Mount {
    pub(super) fn copy(
        &self,
        req: Request<'_>,
        from: CopyPlace,
        to: CopyPlace,
        length: u64,
    ) -> Result<u64, Errno> {
        let end = |place: &CopyPlace| place.offset.checked_add(length);
        if end(&from).is_none() || end(&to).is_none() {
            return Err(Errno::EINVAL);
        }
        let length = length.min(MOST);
        let mut memory = vec![0; PIECE];
        let mut segments = Segments::default();
        let mut done = 0;
        while done < length {
            let ctx = self.core.context(req);
            let wanted = (length - done).min(PIECE as u64) as usize;
            let reply = ReadReply::new(&mut memory[..wanted], &mut segments);
            let piece = self.copy_piece(&ctx, from, to, done, reply);
            match piece {
                // The source ends here.
                Ok(0) => break,
                Ok(copied) => done += copied,
                Err(errno) if done == 0 => return Err(errno),
                // What was copied is there; the next call meets the error again.
                Err(_) => break,
            }
        }
        Ok(done)
    }

    fn copy_piece(
        &self,
        ctx: &Context<'_>,
        from: CopyPlace,
        to: CopyPlace,
        done: u64,
        mut reply: ReadReply<'_>,
    ) -> Result<u64, Errno> {
        let wanted = u32::try_from(reply.remaining()).unwrap_or(u32::MAX);
        self.read_file(ctx, from.handle, from.offset + done, wanted, &mut reply)?;
        let bytes = reply.flatten().map_err(|_| Errno::EIO)?;
        if !bytes.is_empty() {
            let handle = self.files.find(to.handle)?;
            self.write_copied(ctx, &handle.file, to.offset + done, bytes)?;
        }
        Ok(bytes.len() as u64)
    }
}
