//! The questions that mounts and sidecars ask.

use std::collections::HashMap;

use seaweed::pb;
use tonic::Status;

use crate::attempt::Attempt;
use crate::error::FilerError;
use crate::{Filer, RawClient};

/// A value and the moment of the filer's log at which it was true.
///
/// An event of the subscription that carries the same signature and a stamp
/// not above `log_ts_ns` is already contained in `value`; a later one is not.
#[derive(Debug, Clone, PartialEq)]
pub struct Stamped<T> {
    /// The answer.
    pub value: T,
    /// Position in the answering filer's log, in ns since the epoch.
    pub log_ts_ns: i64,
    /// The answering filer.
    pub log_signature: i32,
}

/// A part of a directory.
#[derive(Debug, Clone, PartialEq)]
pub struct Page {
    /// Entries in the order of their names' bytes.
    pub entries: Vec<pb::Entry>,
    /// Moment of the filer's log at which the listing started, in ns since the
    /// epoch; 0 when the filer sent none.
    pub snapshot_ts_ns: i64,
}

impl Filer {
    /// The entry `name` of `directory` (an absolute path; `/` and an empty
    /// name mean the root).
    ///
    /// # Errors
    /// [`FilerError::NotFound`] when there is none.
    pub async fn lookup(
        &self,
        directory: &str,
        name: &str,
    ) -> Result<Stamped<pb::Entry>, FilerError> {
        const WHAT: &str = "LookupDirectoryEntry";
        let ask = |attempt: Attempt| async move {
            let request = pb::LookupDirectoryEntryRequest {
                directory: directory.to_owned(),
                name: name.to_owned(),
            };
            let answer = attempt
                .unary(|mut client| async move { client.lookup_directory_entry(request).await })
                .await;
            absent_as_none(answer)
        };
        let Some(answer) = self.call(WHAT, ask).await? else {
            return Err(not_found(directory, name));
        };
        let Some(value) = answer.entry else {
            return Err(self.malformed(WHAT, "no entry in the answer"));
        };
        Ok(Stamped {
            value,
            log_ts_ns: answer.log_ts_ns,
            log_signature: answer.log_signature,
        })
    }

    /// At most `limit` entries of `directory` whose names start with `prefix`,
    /// from `start_from` on (`inclusive` or after it). A directory that does
    /// not exist is an empty one to the filer.
    ///
    /// # Errors
    /// When no filer could answer.
    pub async fn list_page(
        &self,
        directory: &str,
        start_from: &str,
        inclusive: bool,
        prefix: &str,
        limit: u32,
    ) -> Result<Page, FilerError> {
        self.call("ListEntries", |attempt: Attempt| async move {
            let request = pb::ListEntriesRequest {
                directory: directory.to_owned(),
                prefix: prefix.to_owned(),
                start_from_file_name: start_from.to_owned(),
                inclusive_start_from: inclusive,
                limit,
                snapshot_ts_ns: 0,
            };
            let page = Page {
                entries: Vec::new(),
                snapshot_ts_ns: 0,
            };
            let ask = |mut client: RawClient| async move { client.list_entries(request).await };
            let add = |page: &mut Page, item: pb::ListEntriesResponse| {
                if item.snapshot_ts_ns != 0 {
                    page.snapshot_ts_ns = item.snapshot_ts_ns;
                }
                page.entries.extend(item.entry);
            };
            attempt.fold(ask, page, add).await
        })
        .await
    }

    /// Writes an entry, over one of the same name where there is one; parents are made. The
    /// filer keeps the creation time of an entry that it overwrites.
    ///
    /// # Errors
    /// When the filer refuses it, or none could answer.
    pub async fn create_entry(&self, directory: &str, entry: pb::Entry) -> Result<(), FilerError> {
        const WHAT: &str = "CreateEntry";
        let entry = &entry;
        let answer = self.call(WHAT, |attempt: Attempt| async move {
            let request = pb::CreateEntryRequest {
                directory: directory.to_owned(),
                entry: Some(entry.clone()),
                ..Default::default()
            };
            attempt
                .unary(|mut client| async move { client.create_entry(request).await })
                .await
        });
        let answer = answer.await?;
        self.accepted(WHAT, answer.error)
    }

    /// Removes the entry `name` of `directory`, which must not be a folder with anything in it.
    /// One that does not exist is fine.
    ///
    /// # Errors
    /// When the filer refuses, or none could answer.
    pub async fn delete_entry(&self, directory: &str, name: &str) -> Result<(), FilerError> {
        const WHAT: &str = "DeleteEntry";
        let answer = self.call(WHAT, |attempt: Attempt| async move {
            let request = pb::DeleteEntryRequest {
                directory: directory.to_owned(),
                name: name.to_owned(),
                is_delete_data: true,
                ..Default::default()
            };
            attempt
                .unary(|mut client| async move { client.delete_entry(request).await })
                .await
        });
        let answer = answer.await?;
        self.accepted(WHAT, answer.error)
    }

    /// Sizes of the cluster, or of the part selected by the arguments (empty
    /// ones select everything).
    ///
    /// # Errors
    /// When no filer could answer.
    pub async fn statistics(
        &self,
        collection: &str,
        replication: &str,
        ttl: &str,
        disk_type: &str,
    ) -> Result<pb::StatisticsResponse, FilerError> {
        self.call("Statistics", |attempt: Attempt| async move {
            let request = pb::StatisticsRequest {
                replication: replication.to_owned(),
                collection: collection.to_owned(),
                ttl: ttl.to_owned(),
                disk_type: disk_type.to_owned(),
            };
            attempt
                .unary(|mut client| async move { client.statistics(request).await })
                .await
        })
        .await
    }

    /// Where several volumes are, by one question. What is absent from the answer must be asked
    /// for by itself: the filer answers with nothing but an error when nobody has one of them.
    pub(crate) async fn locations_of(
        &self,
        volumes: &[u32],
    ) -> Result<HashMap<u32, Vec<pb::Location>>, FilerError> {
        self.call("LookupVolume", |attempt: Attempt| async move {
            let request = pb::LookupVolumeRequest {
                volume_ids: volumes.iter().map(u32::to_string).collect(),
            };
            let answer = match attempt
                .unary(|mut client| async move { client.lookup_volume(request).await })
                .await
            {
                Err(status) if !crate::error::is_transport(&status) => return Ok(HashMap::new()),
                answer => answer?,
            };
            let found = answer.locations_map.into_iter();
            let found = found.filter_map(|(id, at)| Some((id.parse().ok()?, at.locations)));
            Ok(found.collect())
        })
        .await
    }

    /// How many servers have a volume, as far as the filer knows now.
    ///
    /// # Errors
    /// When no filer could answer.
    pub async fn copies(&self, volume: u32) -> Result<usize, FilerError> {
        Ok(self.locations(volume).await?.len())
    }

    /// Where one volume is; nowhere when nobody has it.
    pub(crate) async fn locations(&self, volume: u32) -> Result<Vec<pb::Location>, FilerError> {
        let absent = format!("volume {volume} not found");
        let absent_id = format!("volume id {volume} not found");
        let (absent, absent_id) = (&absent, &absent_id);
        self.call("LookupVolume", |attempt: Attempt| async move {
            let request = pb::LookupVolumeRequest {
                volume_ids: vec![volume.to_string()],
            };
            match attempt
                .unary(|mut client| async move { client.lookup_volume(request).await })
                .await
            {
                Ok(mut answer) => {
                    let found = answer.locations_map.remove(&volume.to_string());
                    Ok(found.map(|l| l.locations).unwrap_or_default())
                }
                Err(status) if !crate::error::is_transport(&status) => {
                    let text = status.message();
                    let says_so = text.contains(absent) || text.contains(absent_id);
                    if says_so { Ok(Vec::new()) } else { Err(status) }
                }
                Err(status) => Err(status),
            }
        })
        .await
    }

    /// Has the filer copy a file that lives only in cloud storage into the
    /// cluster, and returns its entry, which has chunks then.
    ///
    /// # Errors
    /// [`FilerError::NotFound`] when there is no such entry.
    pub async fn cache_remote(
        &self,
        directory: &str,
        name: &str,
    ) -> Result<Stamped<pb::Entry>, FilerError> {
        const WHAT: &str = "CacheRemoteObjectToLocalCluster";
        let ask = |attempt: Attempt| async move {
            let request = pb::CacheRemoteObjectToLocalClusterRequest {
                directory: directory.to_owned(),
                name: name.to_owned(),
                chunk_concurrency: 0,
                download_concurrency: 0,
            };
            let mut client = attempt.client();
            // A download takes as long as it takes; the caller's deadline and
            // the connection's own checks bound it.
            let answer = client.cache_remote_object_to_local_cluster(request).await;
            absent_as_none(answer.map(tonic::Response::into_inner))
        };
        let Some(answer) = self.call(WHAT, ask).await? else {
            return Err(not_found(directory, name));
        };
        let Some(value) = answer.entry else {
            return Err(self.malformed(WHAT, "no entry in the answer"));
        };
        Ok(Stamped {
            value,
            log_ts_ns: answer.log_ts_ns,
            log_signature: answer.log_signature,
        })
    }

    /// Some refusals come as a text in an answer that says success.
    fn accepted(&self, what: &'static str, message: String) -> Result<(), FilerError> {
        if message.is_empty() {
            return Ok(());
        }
        Err(FilerError::Refused {
            filer: self.current(),
            what,
            code: tonic::Code::Unknown,
            message,
        })
    }

    fn malformed(&self, what: &'static str, problem: &'static str) -> FilerError {
        FilerError::Malformed {
            filer: self.current(),
            what,
            problem,
        }
    }
}

fn absent_as_none<T>(answer: Result<T, Status>) -> Result<Option<T>, Status> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(status) if crate::error::is_not_found(&status) => Ok(None),
        Err(status) => Err(status),
    }
}

fn not_found(directory: &str, name: &str) -> FilerError {
    FilerError::NotFound {
        directory: directory.trim_end_matches('/').to_owned(),
        name: name.to_owned(),
    }
}
