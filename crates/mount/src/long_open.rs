//! Files that stay open for long (`-metadataFlushSeconds`).
//!
//! Chunks are uploaded while a file is written, but its entry names them only
//! when it is closed or synced. Until then `volume.fsck` takes them for garbage
//! and may purge them. So what is written is saved now and then, as `close`
//! would, however long the file stays open. A save that fails is not an error of
//! anybody's call; what was to be saved is kept, and the next `fsync` or `close`
//! tries it again.

use std::sync::Arc;
use std::time::Duration;

use context::Context;

use crate::files::File;
use crate::state::Core;

/// What one save may take.
const BUDGET: Duration = Duration::from_secs(120);

/// Saves what is open and not saved, for as long as the mount is there.
pub(crate) async fn keep(core: Arc<Core>) {
    let every = core.config.flush_every;
    if every.is_zero() {
        return;
    }
    loop {
        tokio::time::sleep(every).await;
        for file in core.files.all() {
            if file.is_saved() {
                continue;
            }
            let core = Arc::clone(&core);
            // Uploads and questions to the filer block.
            let _ = tokio::task::spawn_blocking(move || save(&core, &file)).await;
        }
    }
}

fn save(core: &Core, file: &File) {
    let ctx = Context::background(BUDGET);
    match core.save(&ctx, file.node, Some(file), false, None) {
        Ok(()) => core.stats.open_saves.inc(),
        Err(error) => {
            tracing::warn!(inode = file.node.0, %error, "a file that is open could not be saved yet");
        }
    }
}
