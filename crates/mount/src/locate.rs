//! Where the reader's route finds volumes: the filer's answers.

use std::collections::HashMap;
use std::sync::Arc;

use context::Context;
use fabric::{Locate, LocateError, Location};
use filer::VolumeMap;
use parking_lot::RwLock;

/// More volumes than this are looked up in the filer's memory and translated each time.
const TRANSLATED_MAX: usize = 65_536;

/// Volume locations from the filer, as the fabric asks for them.
pub struct FilerLocator {
    volumes: VolumeMap,
    runtime: tokio::runtime::Handle,
    /// The filer's answers in the fabric's form, so that a read allocates nothing.
    translated: RwLock<HashMap<u32, Translated>>,
}

struct Translated {
    from: Arc<[filer::Location]>,
    to: Arc<[Location]>,
}

impl FilerLocator {
    /// Answers from `volumes`; what is not known is asked for on `runtime`.
    pub fn new(volumes: VolumeMap, runtime: tokio::runtime::Handle) -> Self {
        Self {
            volumes,
            runtime,
            translated: RwLock::default(),
        }
    }

    fn translate(&self, volume: u32, from: Arc<[filer::Location]>) -> Arc<[Location]> {
        if let Some(known) = self.translated.read().get(&volume)
            && Arc::ptr_eq(&known.from, &from)
        {
            return Arc::clone(&known.to);
        }
        let to: Arc<[Location]> = from
            .iter()
            .map(|location| Location {
                url: location.url.clone(),
                public_url: location.public_url.clone(),
                data_center: location.data_center.clone(),
            })
            .collect();
        let mut translated = self.translated.write();
        if translated.len() >= TRANSLATED_MAX {
            translated.clear();
        }
        let answer = Arc::clone(&to);
        translated.insert(volume, Translated { from, to });
        answer
    }
}

impl Locate for FilerLocator {
    fn locate(&self, ctx: &Context<'_>, volume: u32) -> Result<Arc<[Location]>, LocateError> {
        let found = match self.volumes.cached(volume) {
            Some(found) => found,
            None => {
                let asked = ctx.run(self.volumes.locate(volume));
                self.runtime.block_on(asked)?.map_err(|error| match error {
                    filer::LocateError::Nowhere(volume) => LocateError::Unknown { volume },
                    error @ filer::LocateError::Filer { .. } => LocateError::Unavailable {
                        volume,
                        reason: error.to_string(),
                    },
                })?
            }
        };
        Ok(self.translate(volume, found))
    }

    fn expect(&self, volumes: &[u32]) {
        let _inside = self.runtime.enter();
        self.volumes.expect(volumes);
    }

    fn forget(&self, volume: u32) {
        self.volumes.forget(volume);
    }
}
