//! File ids, several at a time.
//!
//! One call to the filer gives a row of ids in one volume. How many to ask for is
//! learnt: a row that is used up before it is old is followed by one twice as
//! long. Rows belong to a directory, because which volume is right depends on the
//! path (filer.conf) but, where no rule tells the names in a directory apart, not
//! on the name; so that a thousand small files do not cost a thousand calls. One
//! asks at a time for each directory, the others wait for what comes.
//!
//! One id of each row is kept back, for [`sync`](super::Upload::sync).

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use context::Context;
use fabric::Location;
use filer::Filer;
use parking_lot::Mutex;
use seaweed::FileId;
use seaweed::pb::{AssignVolumeRequest, AssignVolumeResponse};

use super::Placement;
use super::full::{self, Doubt, Fullness};
use super::rules::Rules;
use crate::WriteError;

/// Longest row: in a large file, the following bytes go to another volume then.
const ROW_MAX: u32 = 32;
/// How long a row is used. Tokens are valid for 10 s, and a volume that has become full should
/// not be found out one upload after the other.
const FRESH: Duration = Duration::from_secs(5);
/// Directories whose rows are kept.
const ROWS_MAX: usize = 1024;
/// How often a waiter looks whether its caller has given up.
const LOOK: Duration = Duration::from_millis(20);

/// Hands out ids.
pub(super) struct Assigner {
    filer: Filer,
    runtime: tokio::runtime::Handle,
    placement: Placement,
    rules: Rules,
    full: Arc<Fullness>,
    rows: Mutex<HashMap<String, Arc<Mutex<Row>>>>,
}

/// What the filer said.
#[derive(Debug)]
pub(super) struct Assignment {
    pub(super) base: FileId,
    pub(super) location: Location,
    pub(super) auth: String,
    /// How many servers have the volume.
    pub(super) copies: usize,
    /// The rules of the path want everything synced.
    pub(super) fsync: bool,
    /// The id that is kept back.
    pub(super) spare: u32,
    since: Instant,
}

/// One id.
#[derive(Debug)]
pub(super) struct Ticket {
    pub(super) assignment: Arc<Assignment>,
    pub(super) delta: u32,
    row: Arc<Mutex<Row>>,
}

#[derive(Debug, Default)]
struct Row {
    current: Option<Arc<Assignment>>,
    next: u32,
    /// How long the last one was.
    len: u32,
}

impl Ticket {
    pub(super) fn id(&self) -> FileId {
        let base = self.assignment.base;
        FileId {
            key: base.key.wrapping_add(u64::from(self.delta)),
            ..base
        }
    }
}

impl Row {
    fn next(&mut self) -> Option<(Arc<Assignment>, u32)> {
        let current = self.current.as_ref()?;
        if self.next >= current.spare || current.since.elapsed() >= FRESH {
            return None;
        }
        self.next += 1;
        Some((Arc::clone(current), self.next - 1))
    }

    /// How many to ask for.
    fn wanted(&self) -> u32 {
        match &self.current {
            Some(current) if current.since.elapsed() < FRESH => (self.len * 2).min(ROW_MAX),
            _ => 1,
        }
    }
}

impl Assigner {
    pub(super) fn new(
        filer: Filer,
        runtime: tokio::runtime::Handle,
        placement: Placement,
        full: Arc<Fullness>,
    ) -> Self {
        Self {
            rules: Rules::new(filer.clone()),
            full,
            filer,
            runtime,
            placement,
            rows: Mutex::default(),
        }
    }

    /// An id for `len` bytes of the file at `path`.
    pub(super) fn take(
        &self,
        ctx: &Context<'_>,
        path: &str,
        len: usize,
    ) -> Result<Ticket, WriteError> {
        let row = self.row(ctx, path)?;
        let mut held = loop {
            if let Some(held) = row.try_lock_for(LOOK) {
                break held;
            }
            ctx.check()?;
        };
        if let Some((assignment, delta)) = held.next() {
            drop(held);
            return Ok(Ticket {
                assignment,
                delta,
                row,
            });
        }
        let count = held.wanted();
        let assigned = self.ask(ctx, path, count, len);
        let assignment = match assigned {
            Ok(assignment) => Arc::new(assignment),
            Err(error) => {
                held.current = None;
                return Err(error);
            }
        };
        self.full.assigned(&assignment);
        held.current = Some(Arc::clone(&assignment));
        held.next = 1;
        held.len = count;
        drop(held);
        Ok(Ticket {
            assignment,
            delta: 0,
            row,
        })
    }

    /// The row of a ticket is of no use any more.
    pub(super) fn drop_batch(&self, ticket: &Ticket) {
        let mut row = ticket.row.lock();
        let current = row.current.as_ref();
        if current.is_some_and(|current| Arc::ptr_eq(current, &ticket.assignment)) {
            row.current = None;
        }
    }

    fn row(&self, ctx: &Context<'_>, path: &str) -> Result<Arc<Mutex<Row>>, WriteError> {
        let directory = path.rfind('/').map_or(path, |slash| &path[..=slash]);
        let alike = self
            .runtime
            .block_on(ctx.run(self.rules.are_alike(directory)))?;
        let key = if alike { directory } else { path };
        let mut rows = self.rows.lock();
        if let Some(row) = rows.get(key) {
            return Ok(Arc::clone(row));
        }
        if rows.len() >= ROWS_MAX {
            rows.retain(|_, row| {
                let row = row.try_lock();
                row.is_none_or(|row| {
                    let current = row.current.as_ref();
                    current.is_some_and(|current| current.since.elapsed() < FRESH)
                })
            });
        }
        let row: Arc<Mutex<Row>> = Arc::default();
        rows.insert(key.to_owned(), Arc::clone(&row));
        Ok(row)
    }

    fn ask(
        &self,
        ctx: &Context<'_>,
        path: &str,
        count: u32,
        len: usize,
    ) -> Result<Assignment, WriteError> {
        let placement = &self.placement;
        let ids = count + 1;
        let request = AssignVolumeRequest {
            count: ids.cast_signed(),
            collection: placement.collection.clone(),
            replication: placement.replication.clone(),
            ttl_sec: placement.ttl_sec,
            data_center: placement.data_center.clone(),
            path: path.to_owned(),
            disk_type: placement.disk_type.clone(),
            expected_data_size: len as u64 * u64::from(count),
            ..AssignVolumeRequest::default()
        };
        let asked = ctx.run(self.unless_full(self.filer.assign_volume(request)));
        let answer = self.runtime.block_on(asked)??;
        let answer = answer.map_err(|error| unassigned(&error.to_string()))?;
        if !answer.error.is_empty() {
            return Err(unassigned(&answer.error));
        }
        Assignment::new(answer, ids)
    }

    /// Waits for the filer, but not for what a full cluster will not give.
    async fn unless_full<T>(&self, asked: impl Future<Output = T>) -> Result<T, WriteError> {
        let full = async {
            let mut doubt = Doubt::default();
            loop {
                tokio::time::sleep(full::LOOK).await;
                if self.full.no_room(&mut doubt).await {
                    break;
                }
            }
        };
        tokio::select! {
            answer = asked => Ok(answer),
            () = full => {
                let text = "no volume can be written to, and no server is away";
                Err(WriteError::NoSpace(text.to_owned()))
            }
        }
    }
}

impl Assignment {
    fn new(answer: AssignVolumeResponse, asked: u32) -> Result<Self, WriteError> {
        let wrong = |what: String| WriteError::Upload(format!("the filer's assignment: {what}"));
        let base = answer.file_id.parse();
        let base: FileId = base.map_err(|error| wrong(format!("{error}")))?;
        let location = answer.location.unwrap_or_default();
        if location.url.is_empty() {
            return Err(wrong(format!("no server for {base}")));
        }
        // Goes into a request as it is.
        if !answer.auth.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(wrong("a token that is none".to_owned()));
        }
        // Older servers do not say how many there are when there is one.
        let given = u32::try_from(answer.count).unwrap_or(0).max(1);
        if given < asked.min(2) {
            return Err(wrong(format!("{given} ids instead of {asked}")));
        }
        Ok(Self {
            base,
            location: Location {
                url: location.url,
                public_url: location.public_url,
                data_center: location.data_center,
            },
            copies: full::copies(&answer.replication).max(1 + answer.replicas.len()),
            auth: answer.auth,
            fsync: answer.fsync,
            spare: given.min(asked) - 1,
            since: Instant::now(),
        })
    }
}

/// What the filer says when it gives no id.
fn unassigned(text: &str) -> WriteError {
    let says = |phrases: &[&str]| {
        let lower = text.to_lowercase();
        phrases.iter().any(|phrase| lower.contains(phrase))
    };
    if says(&[
        "no writable volumes",
        "no free volumes",
        "no more writable",
        "not enough",
    ]) {
        WriteError::NoSpace(text.to_owned())
    } else if says(&["read only", "read-only"]) {
        WriteError::Refused(text.to_owned())
    } else {
        WriteError::Upload(text.to_owned())
    }
}
