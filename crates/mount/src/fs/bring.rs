//! Bringing files in whole, for those who open them next.

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use context::Context;
use reader::{Reader, Sink};
use seaweed::{Entry, FileView};
use whole::{Source, Want};

use super::Mount;

/// The bytes of one version of a file.
struct Version {
    reader: Reader,
    entry: Arc<Entry>,
    /// `-cache.decrypted`.
    decrypted: bool,
    view: OnceLock<Arc<FileView>>,
}

impl Mount {
    /// Has the file of an entry brought in, for somebody who has it open or will; or says why it is
    /// not kept whole.
    pub(crate) fn keep_whole(
        &self,
        entry: &Arc<Entry>,
        path: &str,
        opened: bool,
    ) -> Result<Want, String> {
        let fast = self.core.fast.as_ref().ok_or("-cache.aggressive is off")?;
        let key = fast.key_of(entry)?;
        let source = Version {
            reader: self.reader.clone(),
            entry: Arc::clone(entry),
            decrypted: self.core.config.keep_decrypted,
            view: OnceLock::new(),
        };
        Ok(fast
            .files
            .want(key, entry.size, path, Arc::new(source), opened))
    }
}

impl Source for Version {
    fn runs(&self, ctx: &Context<'_>) -> Result<Vec<Range<u64>>, String> {
        let Entry { content, size, .. } = &*self.entry;
        if !content.is_empty() {
            let all = 0..(content.len() as u64).min(*size);
            return Ok(std::iter::once(all).collect());
        }
        let view = self.reader.resolve(ctx, &self.entry.chunks, *size);
        let view = view.map_err(|error| error.to_string())?;
        // Those behind a manifest are seen only now.
        let sealed = view.chunks.iter().any(|chunk| chunk.cipher_key.is_some());
        if sealed && !self.decrypted {
            return Err(crate::fast::ENCRYPTED.to_owned());
        }
        let runs = self.reader.runs(&view);
        // Called once, by who begins the file.
        let _ = self.view.set(view);
        Ok(runs)
    }

    fn read(&self, ctx: &Context<'_>, run: Range<u64>, out: &mut dyn Sink) -> Result<(), String> {
        if let Some(view) = self.view.get() {
            let read = self.reader.read_once(ctx, view, run, out);
            return read.map_err(|error| error.to_string());
        }
        let inline = &self.entry.content;
        let end = inline.len().min(run.end as usize);
        out.share(inline.slice((run.start as usize).min(end)..end));
        Ok(())
    }
}
