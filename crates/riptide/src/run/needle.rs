//! `riptide needle`: looks into volume files, without any server.
//!
//! Works on the folder of a server that runs as well as on a copy or a backup; nothing is written.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use anyhow::{Context as _, bail};
use indicatif::{ProgressBar, ProgressStyle};
use seaweed::compress::{self, Format};
use seaweed::{FileId, MAX_CLEAR};
use serde_json::{Value, json};
use volume::inspect::{Found, Inspection, Report, volumes};
use volume::{DataDir, Needle};

use crate::run::print;

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NeedleAction {
    /// Write its bytes out.
    Get,
    /// Say what is known of it.
    Stat,
    /// Read and check it.
    Verify,
}

/// What is asked for.
#[derive(Debug)]
pub struct NeedleOptions {
    /// What to do.
    pub action: NeedleAction,
    /// A file id, or a folder.
    pub target: PathBuf,
    /// `-dir`: where to look for a file id.
    pub dirs: Vec<PathBuf>,
    /// `-dir.idx`.
    pub idx_dir: Option<PathBuf>,
    /// `-output`; standard output when there is none.
    pub output: Option<PathBuf>,
    /// `-raw`: as it is stored.
    pub raw: bool,
    /// `-json`.
    pub json: bool,
}

/// Names at most this many damaged needles of each kind.
const NAMED: usize = 20;

/// Does it.
pub(super) fn run(options: &NeedleOptions) -> anyhow::Result<()> {
    let target = options.target.to_string_lossy();
    // `3/01637037d6` may be either; what exists is meant.
    if options.target.is_dir() {
        let dir = options.dir(&options.target);
        return match options.action {
            NeedleAction::Get => bail!("{target} is a folder; needle get wants a file id"),
            NeedleAction::Stat => stat_folder(options, &dir),
            NeedleAction::Verify => verify_folder(options, &dir),
        };
    }
    let id: FileId = target
        .parse()
        .with_context(|| format!("{target} is no folder and no file id"))?;
    let (needle, place) = options.find(id)?;
    match options.action {
        NeedleAction::Get => get(options, &needle),
        NeedleAction::Stat => stat(options, &needle, &place),
        NeedleAction::Verify => {
            let crc = needle.verify_all()?;
            let len = needle.len();
            print(format!("{id}: {len} bytes, checksum {crc:08x}, as written\n").as_bytes())
        }
    }
}

impl NeedleOptions {
    fn dir(&self, data: &Path) -> DataDir {
        DataDir {
            data: data.to_owned(),
            index: self.idx_dir.clone(),
        }
    }

    /// The needle in the first of the folders that has it.
    fn find(&self, id: FileId) -> anyhow::Result<(Needle, PathBuf)> {
        let mut why = Vec::new();
        for data in &self.dirs {
            let dir = self.dir(data);
            let listed = volumes(&dir).with_context(|| format!("flag -dir: {}", data.display()))?;
            for volume in listed.iter().filter(|volume| volume.id == id.volume) {
                let found = match Inspection::open(&dir, volume) {
                    Ok(inspection) => inspection.find(id).map_err(|miss| miss.to_string()),
                    Err(reason) => Err(reason.to_string()),
                };
                match found {
                    Ok(needle) => return Ok((needle, data.clone())),
                    Err(text) => why.push(format!("{}: {text}", data.display())),
                }
            }
        }
        if why.is_empty() {
            let dirs: Vec<_> = self
                .dirs
                .iter()
                .map(|dir| dir.display().to_string())
                .collect();
            bail!(
                "volume {} is not in {}; -dir names other folders",
                id.volume,
                dirs.join(", ")
            );
        }
        bail!("{id}: {}", why.join("; "))
    }
}

fn get(options: &NeedleOptions, needle: &Needle) -> anyhow::Result<()> {
    let mut bytes = Vec::new();
    needle.read_whole(&mut bytes)?;
    // A mark without a gzip stream behind it is ignored, as the volume server does.
    if needle.is_gzip() && !options.raw && Format::detect(&bytes) == Some(Format::Gzip) {
        bytes = compress::decompress(&bytes, u64::MAX, MAX_CLEAR)?;
    }
    let Some(path) = &options.output else {
        return print(&bytes);
    };
    let told = || format!("flag -output: {}", path.display());
    File::create(path)
        .and_then(|mut file| file.write_all(&bytes))
        .with_context(told)
}

fn stat(options: &NeedleOptions, needle: &Needle, dir: &Path) -> anyhow::Result<()> {
    let crc = needle.verify_all();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let time = |since: Duration| humantime::format_rfc3339_seconds(UNIX_EPOCH + since).to_string();
    let modified = needle.last_modified().map(Duration::from_secs);
    let appended = needle.append_at_ns().map(Duration::from_nanos);
    let fields = [
        ("file_id", json!(needle.file_id().to_string())),
        ("dir", json!(dir)),
        ("record_offset", json!(needle.record_offset())),
        ("stored_bytes", json!(needle.len())),
        ("gzip", json!(needle.is_gzip())),
        ("chunk_manifest", json!(needle.is_chunk_manifest())),
        (
            "stored_checksum",
            json!(format!("{:08x}", needle.stored_crc())),
        ),
        (
            "etag",
            json!(crc.as_ref().ok().map(|crc| format!("{crc:08x}"))),
        ),
        ("damage", json!(crc.as_ref().err().map(ToString::to_string))),
        ("last_modified", json!(modified.map(time))),
        ("written", json!(appended.map(time))),
        (
            "ttl_seconds",
            json!(needle.ttl().map(|ttl| ttl.duration().as_secs())),
        ),
        ("name", json!(text(needle.name()))),
        ("mime", json!(text(needle.mime()))),
        ("pairs", json!(text(needle.pairs()))),
    ];
    show(options, fields.to_vec())
}

fn stat_folder(options: &NeedleOptions, dir: &DataDir) -> anyhow::Result<()> {
    for found in list(dir)? {
        let mut fields = head(&found);
        match Inspection::open(dir, &found) {
            Ok(inspection) => fields.push(("needles", json!(inspection.needles().len()))),
            Err(reason) => fields.push(("not_readable", json!(reason.to_string()))),
        }
        show(options, fields)?;
    }
    Ok(())
}

fn verify_folder(options: &NeedleOptions, dir: &DataDir) -> anyhow::Result<()> {
    let mut unclean = Vec::new();
    for found in list(dir)? {
        let mut fields = head(&found);
        match Inspection::open(dir, &found) {
            Ok(inspection) => {
                let report = verify(&found, &inspection)?;
                if !report.is_clean() {
                    unclean.push(found.id.to_string());
                }
                fields.extend(findings(&report));
            }
            Err(reason) => {
                unclean.push(found.id.to_string());
                fields.push(("not_readable", json!(reason.to_string())));
            }
        }
        show(options, fields)?;
    }
    if !unclean.is_empty() {
        bail!(
            "not as written, or not readable: volumes {}",
            unclean.join(", ")
        );
    }
    Ok(())
}

fn verify(found: &Found, inspection: &Inspection) -> anyhow::Result<Report> {
    let total = inspection.needles().len() as u64;
    // Hidden by itself where standard error is no terminal.
    let bar = ProgressBar::new(total).with_style(style()?);
    bar.set_message(format!("volume {}", found.id));
    let report = inspection.verify(|progress| {
        bar.set_position(progress.needles);
        bar.set_prefix(format!("{} MiB", progress.bytes >> 20));
        true
    });
    bar.finish_and_clear();
    report.with_context(|| format!("volume {}", found.id))
}

fn style() -> anyhow::Result<ProgressStyle> {
    let template = "{msg} [{bar:30}] {pos}/{len} needles, {prefix}, {eta} left";
    Ok(ProgressStyle::with_template(template)?.progress_chars("=> "))
}

fn list(dir: &DataDir) -> anyhow::Result<Vec<Found>> {
    let found = volumes(dir).with_context(|| dir.data.display().to_string())?;
    if found.is_empty() {
        bail!("{} has no volume files", dir.data.display());
    }
    Ok(found)
}

fn head(found: &Found) -> Vec<(&'static str, Value)> {
    vec![
        ("volume", json!(found.id)),
        ("collection", json!(found.collection)),
    ]
}

fn findings(report: &Report) -> Vec<(&'static str, Value)> {
    let mut fields = vec![
        ("good_needles", json!(report.ok)),
        ("good_bytes", json!(report.ok_bytes)),
        ("deleted", json!(report.deleted)),
        ("unreadable", json!(report.unreadable)),
        ("unindexed_bytes", json!(report.unindexed_bytes)),
        ("torn_index_bytes", json!(report.torn_index_bytes)),
    ];
    for (name, bad) in [
        ("corrupt", &report.corrupt),
        ("orphaned", &report.orphaned),
        ("truncated", &report.truncated),
    ] {
        let named = bad.first.iter().take(NAMED).map(|(live, damage)| {
            json!({"key": format!("{:x}", live.key), "offset": live.offset, "what": damage.to_string()})
        });
        fields.push((name, json!(bad.count)));
        if bad.count > 0 {
            let key = match name {
                "corrupt" => "corrupt_needles",
                "orphaned" => "orphaned_entries",
                _ => "truncated_needles",
            };
            fields.push((key, named.collect()));
        }
    }
    fields
}

/// One line each for people, one line in all for programs.
fn show(options: &NeedleOptions, fields: Vec<(&'static str, Value)>) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    if options.json {
        let object: serde_json::Map<_, _> = fields
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect();
        writeln!(out, "{}", Value::Object(object))?;
        return Ok(());
    }
    for (name, value) in fields {
        match value {
            Value::Null => {}
            Value::String(text) if text.is_empty() => {}
            Value::String(text) => writeln!(out, "{name:<18} {}", text.escape_debug())?,
            other => writeln!(out, "{name:<18} {other}")?,
        }
    }
    writeln!(out)?;
    out.flush()?;
    Ok(())
}
