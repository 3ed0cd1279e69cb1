//! What changes the tree.
//!
//! Each method is one unary call. The stream that the filer offers for
//! mutations (StreamMutateEntry) loses what they need: its errors have no code,
//! its answers no fence. Order per name is the caller's: it waits for one
//! answer before it asks for the next change of a name.
//!
//! A call whose answer was lost is repeated, like any other, and may then meet
//! its own work: a name that it has made itself, or has removed already. The
//! methods say so where it matters, and the caller, who knows what it wanted,
//! looks whether that is what is there.

use seaweed::pb::{self, FilerError as Code, WriteCondition};
use tonic::Status;

use crate::attempt::Attempt;
use crate::calls::Stamped;
use crate::error::FilerError;
use crate::quiet::Echo;
use crate::{Filer, RawClient};

/// Under which condition a change is made.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Condition<'a> {
    /// Under any.
    None,
    /// The chunks are still these, in whatever order.
    ChunksEqual(&'a [pb::FileChunk]),
    /// The whole entry is still this one. Filers before 4.48 do not know it: to them it never holds.
    EntryEqual(&'a pb::Entry),
}

/// How a creation ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Created {
    /// The name is there now, with this entry.
    Done(Box<Stamped<pb::Entry>>),
    /// The name was there already.
    Exists,
    /// The filer refuses names of this length.
    NameTooLong,
    /// The parent is a file, or the name is another kind of entry.
    OtherKind,
}

/// How an update ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Updated {
    /// The entry is stored, like this: the filer may have folded its chunks.
    Done(Box<Stamped<pb::Entry>>),
    /// The condition does not hold.
    Conflict,
}

/// How a removal ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Deleted {
    /// The name is gone.
    Done(Stamped<()>),
    /// There was no such name.
    Absent,
    /// It is a directory with entries.
    NotEmpty,
}

/// How a rename ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Renamed {
    /// It is done.
    Done,
    /// The old name does not exist.
    Absent,
    /// The new name is a directory with entries.
    NotEmpty,
    /// The new name is a directory, the old one is none.
    IsDirectory,
    /// The old name is a directory, the new one is none.
    NotDirectory,
    /// A directory would be moved below itself.
    BelowItself,
    /// It is a bucket.
    Forbidden,
    /// The names are in different buckets.
    OtherCollection,
}

impl Filer {
    /// Makes a new name. Never overwrites: an entry that is there is [`Created::Exists`].
    ///
    /// # Errors
    /// When no filer could answer, or one refused.
    pub async fn create(
        &self,
        directory: &str,
        entry: &pb::Entry,
        signature: i32,
        echo: Echo,
    ) -> Result<Created, FilerError> {
        const WHAT: &str = "CreateEntry";
        let asking = self.quiet().asking(echo);
        let sent = &asking;
        let answer = self
            .call(WHAT, |attempt: Attempt| async move {
                sent.sent();
                let request = pb::CreateEntryRequest {
                    directory: directory.to_owned(),
                    entry: Some(entry.clone()),
                    o_excl: true,
                    signatures: self.quiet().signatures(signature, echo),
                    // The caller knows the parent. The filer would make one that was removed.
                    skip_check_parent_directory: true,
                    condition: None,
                };
                attempt.change(request).await
            })
            .await;
        asking.answered(match &answer {
            Ok(answer) => !answer.error.is_empty() || self.is_followed(answer.log_signature),
            Err(error) => !error.is_transient(),
        });
        let answer = answer?;
        match answer.error_code() {
            Code::Ok if answer.error.is_empty() => Ok(Created::Done(Box::new(stored(
                entry,
                answer.metadata_event,
                answer.log_ts_ns,
                answer.log_signature,
            )))),
            Code::EntryAlreadyExists => Ok(Created::Exists),
            Code::EntryNameTooLong => Ok(Created::NameTooLong),
            Code::ParentIsFile | Code::ExistingIsDirectory | Code::ExistingIsFile => {
                Ok(Created::OtherKind)
            }
            _ if answer.error.contains(EXISTS) => Ok(Created::Exists),
            _ => Err(self.refusal(WHAT, answer.error)),
        }
    }

    /// Stores another version of an entry that exists. Chunks of the old version that the new
    /// one lacks are deleted by the filer.
    ///
    /// # Errors
    /// [`FilerError::NotFound`] when there is no such entry.
    pub async fn update(
        &self,
        directory: &str,
        entry: &pb::Entry,
        condition: Condition<'_>,
        signature: i32,
        echo: Echo,
    ) -> Result<Updated, FilerError> {
        const WHAT: &str = "UpdateEntry";
        let condition = &condition.to_pb();
        let asking = self.quiet().asking(echo);
        let sent = &asking;
        let ask = |attempt: Attempt| async move {
            sent.sent();
            let request = pb::UpdateEntryRequest {
                directory: directory.to_owned(),
                entry: Some(entry.clone()),
                signatures: self.quiet().signatures(signature, echo),
                condition: condition.clone(),
            };
            match attempt.change(request).await {
                Ok(answer) => Ok(Some(Updated::Done(Box::new(stored(
                    entry,
                    answer.metadata_event,
                    answer.log_ts_ns,
                    answer.log_signature,
                ))))),
                Err(status) if status.code() == tonic::Code::FailedPrecondition => {
                    Ok(Some(Updated::Conflict))
                }
                Err(status) if crate::error::is_not_found(&status) => Ok(None),
                Err(status) => Err(status),
            }
        };
        let answer = self.call(WHAT, ask).await;
        asking.answered(match &answer {
            Ok(Some(Updated::Done(stored))) => self.is_followed(stored.log_signature),
            Ok(Some(Updated::Conflict) | None) => true,
            Err(error) => !error.is_transient(),
        });
        answer?.ok_or_else(|| FilerError::NotFound {
            directory: directory.trim_end_matches('/').to_owned(),
            name: entry.name.clone(),
        })
    }

    /// Whether it is this filer whose events are followed.
    fn is_followed(&self, signature: i32) -> bool {
        self.configuration().signature == signature
    }

    /// Removes a name: a file, or an empty directory. With `data`, the filer deletes the chunks
    /// unless another name of the file has them.
    ///
    /// # Errors
    /// When no filer could answer, or one refused.
    pub async fn delete(
        &self,
        directory: &str,
        name: &str,
        data: bool,
        signature: i32,
    ) -> Result<Deleted, FilerError> {
        const WHAT: &str = "DeleteEntry";
        let answer = self
            .call(WHAT, |attempt: Attempt| async move {
                let request = pb::DeleteEntryRequest {
                    directory: directory.to_owned(),
                    name: name.to_owned(),
                    is_delete_data: data,
                    signatures: vec![signature],
                    ..pb::DeleteEntryRequest::default()
                };
                attempt.change(request).await
            })
            .await?;
        if answer.error.contains(NOT_EMPTY) {
            return Ok(Deleted::NotEmpty);
        }
        if !answer.error.is_empty() {
            return Err(self.refusal(WHAT, answer.error));
        }
        // Without an event there was nothing to remove.
        let Some(event) = answer.metadata_event else {
            return Ok(Deleted::Absent);
        };
        // The answer names no filer; it is the current one's, or the event is seen again.
        let signature = self.configuration().signature;
        Ok(Deleted::Done(Stamped {
            value: (),
            log_ts_ns: event.ts_ns,
            log_signature: signature,
        }))
    }

    /// Moves a name, over what is at the new one.
    ///
    /// # Errors
    /// When no filer could answer, or one refused.
    pub async fn rename(
        &self,
        from: (&str, &str),
        to: (&str, &str),
        signature: i32,
    ) -> Result<Renamed, FilerError> {
        self.call("StreamRenameEntry", |attempt: Attempt| async move {
            let request = pb::StreamRenameEntryRequest {
                old_directory: from.0.to_owned(),
                old_name: from.1.to_owned(),
                new_directory: to.0.to_owned(),
                new_name: to.1.to_owned(),
                signatures: vec![signature],
            };
            // The headers come with the first message, which follows the first move.
            let ask =
                |mut client: RawClient| async move { client.stream_rename_entry(request).await };
            match attempt.to_the_end(ask).await {
                Ok(()) => Ok(Renamed::Done),
                Err(status) => told(&status).ok_or(status),
            }
        })
        .await
    }

    /// File ids for new chunks.
    ///
    /// # Errors
    /// When no filer could answer, or one refused; a refusal may also be in the answer's `error`.
    pub async fn assign_volume(
        &self,
        request: pb::AssignVolumeRequest,
    ) -> Result<pb::AssignVolumeResponse, FilerError> {
        let request = &request;
        self.call("AssignVolume", |attempt: Attempt| async move {
            let request = request.clone();
            attempt
                .unary(|mut client| async move { client.assign_volume(request).await })
                .await
        })
        .await
    }

    /// One step of the locks that all mounts share.
    ///
    /// # Errors
    /// When no filer could answer.
    pub async fn posix_lock(
        &self,
        request: pb::PosixLockRequest,
    ) -> Result<pb::PosixLockResponse, FilerError> {
        let request = &request;
        self.call("PosixLock", |attempt: Attempt| async move {
            let request = request.clone();
            attempt
                .unary(|mut client| async move { client.posix_lock(request).await })
                .await
        })
        .await
    }

    /// Takes or renews a lease of a name; the filer that keeps it is asked by the one that is asked.
    ///
    /// # Errors
    /// When no filer could answer.
    pub async fn lock(&self, request: pb::LockRequest) -> Result<pb::LockResponse, FilerError> {
        let request = &request;
        self.call("DistributedLock", |attempt: Attempt| async move {
            let request = request.clone();
            attempt
                .unary(|mut client| async move { client.distributed_lock(request).await })
                .await
        })
        .await
    }

    /// Gives a lease back.
    ///
    /// # Errors
    /// When no filer could answer.
    pub async fn unlock(
        &self,
        request: pb::UnlockRequest,
    ) -> Result<pb::UnlockResponse, FilerError> {
        let request = &request;
        self.call("DistributedUnlock", |attempt: Attempt| async move {
            let request = request.clone();
            attempt
                .unary(|mut client| async move { client.distributed_unlock(request).await })
                .await
        })
        .await
    }

    fn refusal(&self, what: &'static str, message: String) -> FilerError {
        FilerError::Refused {
            filer: self.current(),
            what,
            code: tonic::Code::Unknown,
            message,
        }
    }
}

impl Condition<'_> {
    fn to_pb(self) -> Option<WriteCondition> {
        use pb::write_condition::{Clause, Kind};
        let clause = match self {
            Self::None => return None,
            Self::ChunksEqual(chunks) => Clause {
                kind: Kind::IfChunksEqual.into(),
                fids: chunks.iter().map(file_id).collect(),
                expected_entry: None,
            },
            Self::EntryEqual(entry) => Clause {
                kind: Kind::IfEntryEqual.into(),
                fids: Vec::new(),
                expected_entry: Some(as_found(entry)),
            },
        };
        Some(WriteCondition {
            clauses: vec![clause],
        })
    }
}

/// Whether a filer would find these equal.
pub fn same_entry(a: &pb::Entry, b: &pb::Entry) -> bool {
    as_found(a) == as_found(b)
}

/// An entry in the form in which a filer finds it in its store: events have the numbers of chunks only.
fn as_found(entry: &pb::Entry) -> pb::Entry {
    let mut entry = entry.clone();
    for chunk in &mut entry.chunks {
        chunk.file_id = file_id(chunk);
        if let Some(id) = &chunk.source_fid
            && chunk.source_file_id.is_empty()
        {
            chunk.source_file_id = seaweed::FileId::from(*id).to_string();
        }
    }
    entry
}

/// The text of a chunk's id; an event has only the numbers.
fn file_id(chunk: &pb::FileChunk) -> String {
    match &chunk.fid {
        _ if !chunk.file_id.is_empty() => chunk.file_id.clone(),
        Some(id) => seaweed::FileId::from(*id).to_string(),
        None => String::new(),
    }
}

/// What was stored and up to where the log is contained in that: the fence taken before the
/// change, or the event of the change itself. There is no event when nothing changed.
fn stored(
    sent: &pb::Entry,
    event: Option<pb::SubscribeMetadataResponse>,
    log_ts_ns: i64,
    log_signature: i32,
) -> Stamped<pb::Entry> {
    let ts_ns = event.as_ref().map_or(0, |event| event.ts_ns);
    let told = event.and_then(|event| event.event_notification?.new_entry);
    Stamped {
        value: told.unwrap_or_else(|| sent.clone()),
        log_ts_ns: ts_ns.max(log_ts_ns),
        log_signature,
    }
}

/// What a filer's words about a rename mean.
fn told(status: &Status) -> Option<Renamed> {
    if crate::error::is_transport(status) {
        return None;
    }
    let text = status.message();
    let says = |phrase: &str| text.contains(phrase);
    let known = [
        ("is not empty", Renamed::NotEmpty),
        (NOT_EMPTY, Renamed::NotEmpty),
        ("is not directory", Renamed::NotDirectory),
        ("existing entry is a directory", Renamed::IsDirectory),
        ("existing entry is a file", Renamed::NotDirectory),
        ("subdirectory of itself", Renamed::BelowItself),
        ("bucket renaming is not allowed", Renamed::Forbidden),
        ("can not move across collection", Renamed::OtherCollection),
    ];
    if let Some((_, meaning)) = known.into_iter().find(|(phrase, _)| says(phrase)) {
        return Some(meaning);
    }
    (crate::error::is_not_found(status) || says("not found")).then_some(Renamed::Absent)
}

const NOT_EMPTY: &str = "fail to delete non-empty folder";
const EXISTS: &str = "entry already exists";
