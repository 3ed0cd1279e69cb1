//! From an entry's list of chunks to a view of the file.

use std::collections::BTreeSet;
use std::sync::Arc;

use context::Context;
use seaweed::manifest::{self, Resolver};
use seaweed::{Chunk, FileView};

use crate::ReadError;
use crate::core::{Core, Urgency};
use crate::piece::{Cut, Part, PieceKey};

impl Core {
    /// The view of a file of `size` bytes with these chunks. Manifests among them are fetched,
    /// or found in the caches: the same entry is resolved again for each handle.
    pub(crate) fn resolve(
        &self,
        ctx: &Context<'_>,
        chunks: &[Chunk],
        size: u64,
    ) -> Result<Arc<FileView>, ReadError> {
        if !Resolver::is_needed(chunks) {
            check_count(chunks.len())?;
            self.expect_volumes(chunks);
            return Ok(Arc::new(FileView::resolve(chunks, size)));
        }
        self.expect_volumes(chunks);
        let mut resolver = Resolver::new(chunks);
        while let Some(manifest) = resolver.wanted() {
            let cut = Cut {
                key: PieceKey {
                    needle: manifest.file_id,
                    part: Part::Manifest,
                },
                start: 0,
                piece_len: 0,
                at: 0,
                len: 0,
            };
            let cached = self.memory.cached(&cut.key, true);
            let list = match cached {
                Some(list) => list,
                None => match self.piece(ctx, manifest, &cut, Urgency::Demand)? {
                    Some(fetched) => fetched.piece,
                    None => {
                        return Err(ReadError::TooLarge {
                            needle: manifest.file_id,
                            len: manifest.size,
                            limit: manifest::MAX_BYTES as u64,
                        });
                    }
                },
            };
            resolver
                .supply(&list.bytes)
                .map_err(|error| ReadError::Manifest {
                    reason: error.to_string().into(),
                })?;
            self.stats.manifests.inc();
        }
        let chunks = resolver.finish();
        check_count(chunks.len())?;
        self.expect_volumes(&chunks);
        Ok(Arc::new(FileView::resolve(chunks, size)))
    }

    /// A file's volumes are looked up when it is opened, and those behind manifests when it is
    /// read first, all at once: later reads need no look-up, which nobody may be there to answer
    /// any more.
    pub(crate) fn expect_volumes(&self, chunks: &[Chunk]) {
        match chunks {
            [] => {}
            [chunk] => self.route.expect(&[chunk.file_id.volume]),
            _ => {
                let volumes: BTreeSet<u32> = chunks.iter().map(|c| c.file_id.volume).collect();
                let volumes: Vec<u32> = volumes.into_iter().collect();
                self.route.expect(&volumes);
            }
        }
    }
}

/// A view counts chunks in 32 bits, and nobody needs as many.
fn check_count(count: usize) -> Result<(), ReadError> {
    if count > manifest::MAX_CHUNKS {
        return Err(ReadError::Manifest {
            reason: format!("{count} chunks, more than {}", manifest::MAX_CHUNKS).into(),
        });
    }
    Ok(())
}
