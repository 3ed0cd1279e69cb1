//! `riptide cache`: what a mount keeps on the local disk.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::bail;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use super::below::{Below, files};
use super::print;

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CacheAction {
    /// Show what is there.
    List,
    /// Remove it.
    Evict,
    /// Check it.
    Verify,
}

/// What is asked for.
#[derive(Debug)]
pub struct CacheOptions {
    /// What to do.
    pub action: CacheAction,
    /// A mount point, or a path below one.
    pub target: PathBuf,
    /// `-json`.
    pub json: bool,
}

/// Does it.
pub(super) fn run(options: &CacheOptions) -> anyhow::Result<()> {
    let below = Below::find(&options.target)?;
    match options.action {
        CacheAction::List => list(&below, options.json),
        CacheAction::Evict => evict(&below, options.json),
        CacheAction::Verify => verify(&below, options.json),
    }
}

fn list(below: &Below, json: bool) -> anyhow::Result<()> {
    let name = below.name(&below.path)?;
    let mut answer = below.get("/cache", &[("path", &name)])?;
    if below.path != below.dir {
        answer["chunks"] = chunks_of_files(below)?;
    }
    if json {
        return print(format!("{answer:#}\n").as_bytes());
    }
    let mut out = String::new();
    for file in answer["files"].as_array().into_iter().flatten() {
        let _ = writeln!(
            out,
            "{:>12} {:<9} {:<16} {}",
            bytes(&file["size"]),
            standing(file),
            ago(&file["used_ms"]),
            file["name"].as_str().unwrap_or_default()
        );
    }
    match answer["chunks"].as_array() {
        Some(each) => {
            for file in each {
                let _ = writeln!(
                    out,
                    "{:>12} {:<9} {:<16} {}",
                    bytes(&file["here"]),
                    "chunks",
                    format!("of {}", bytes(&file["size"])),
                    file["name"].as_str().unwrap_or_default()
                );
            }
        }
        None => {
            let chunks = &answer["chunks"];
            let _ = writeln!(
                out,
                "{:>12} in {} chunks of the disk cache",
                bytes(&chunks["bytes"]),
                chunks["chunks"]
            );
        }
    }
    match answer["whole"]["reason"].as_str() {
        Some(reason) if answer["whole"]["kept"] == true => {
            let _ = writeln!(
                out,
                "whole files are read by the mount, not by the kernel: {reason}"
            );
        }
        Some(reason) => {
            let _ = writeln!(out, "no files are kept whole: {reason}");
        }
        None => {}
    }
    print(out.as_bytes())
}

/// What the disk cache has of each file below a path.
fn chunks_of_files(below: &Below) -> anyhow::Result<Value> {
    let mut all = Vec::new();
    files(&below.path, &mut |path, size| {
        let name = below.name(&path)?;
        let file = below.get("/cache/file", &[("path", &name)])?;
        if file["chunk_bytes"].as_u64().unwrap_or(0) > 0 {
            all.push(json!({ "name": name, "size": size, "here": file["chunk_bytes"] }));
        }
        Ok(())
    })?;
    Ok(Value::Array(all))
}

fn evict(below: &Below, json: bool) -> anyhow::Result<()> {
    let name = below.name(&below.path)?;
    let whole_mount = below.path == below.dir;
    let chunks = if whole_mount { "true" } else { "false" };
    let mut done = below.post("/cache/evict", &[("path", &name), ("chunks", chunks)], true)?;
    if !whole_mount {
        let (mut count, mut size) = (0, 0);
        files(&below.path, &mut |path, _| {
            let name = below.name(&path)?;
            let parts = [("path", name.as_str()), ("whole", "false")];
            let evicted = below.post("/cache/evict", &parts, true)?;
            count += evicted["chunks"]["chunks"].as_u64().unwrap_or(0);
            size += evicted["chunks"]["bytes"].as_u64().unwrap_or(0);
            Ok(())
        })?;
        done["chunks"] = json!({ "chunks": count, "bytes": size });
    }
    if json {
        return print(format!("{done:#}\n").as_bytes());
    }
    let mut out = format!(
        "removed {} whole files of {}, and {} chunks of {}\n",
        done["files"],
        bytes(&done["bytes"]),
        done["chunks"]["chunks"],
        bytes(&done["chunks"]["bytes"])
    );
    if done["kept"].as_u64().unwrap_or(0) > 0 {
        let _ = writeln!(out, "{} files stay, as they are open", done["kept"]);
    }
    print(out.as_bytes())
}

fn verify(below: &Below, json: bool) -> anyhow::Result<()> {
    let name = below.name(&below.path)?;
    let answer = below.get("/cache", &[("path", &name)])?;
    let whole: Vec<&Value> = answer["files"].as_array().into_iter().flatten().collect();
    let total = whole.iter().filter_map(|file| file["size"].as_u64()).sum();
    // Hidden by itself where standard error is no terminal.
    let bar = ProgressBar::new(total).with_style(style()?);
    let (mut good, mut bad) = (0, Vec::new());
    for file in whole {
        // One that is still on its way has no key.
        let Some(key) = file["key"].as_str() else {
            continue;
        };
        let shown = file["name"].as_str().unwrap_or_default();
        bar.set_message(shown.to_owned());
        let answer = below.post("/cache/verify", &[("key", key)], true)?;
        match answer["verdict"].as_str() {
            Some("good") => good += 1,
            // Evicted, or changed elsewhere, meanwhile.
            Some("absent") => {}
            verdict => bad.push(json!({
                "name": shown, "verdict": verdict, "reason": answer["reason"],
            })),
        }
        bar.inc(file["size"].as_u64().unwrap_or(0));
    }
    bar.finish_and_clear();
    // The disk cache knows no names: it is checked as a whole.
    let chunks = below.post("/cache/verify", &[], true)?;
    let damaged = chunks["damaged"].as_u64().unwrap_or(0);
    if json {
        let shown = json!({ "good": good, "bad": bad, "chunks": chunks["chunks"], "damaged_chunks": damaged });
        print(format!("{shown:#}\n").as_bytes())?;
    } else {
        let mut out = String::new();
        for file in &bad {
            let reason = file["reason"]
                .as_str()
                .map_or(String::new(), |reason| format!(": {reason}"));
            let _ = writeln!(
                out,
                "{} {}{reason}",
                file["verdict"].as_str().unwrap_or("strange"),
                file["name"].as_str().unwrap_or_default()
            );
        }
        let _ = writeln!(
            out,
            "{good} whole files and {} chunks are right, {} and {damaged} are not",
            chunks["chunks"]["chunks"],
            bad.len()
        );
        print(out.as_bytes())?;
    }
    if !bad.is_empty() || damaged > 0 {
        bail!("what was damaged is removed, and fetched anew when it is read");
    }
    Ok(())
}

pub(super) fn style() -> anyhow::Result<ProgressStyle> {
    let template = "[{bar:30}] {bytes}/{total_bytes}, {bytes_per_sec}, {eta} left {wide_msg}";
    Ok(ProgressStyle::with_template(template)?.progress_chars("=> "))
}

/// How a whole file stands, in a word.
fn standing(file: &Value) -> String {
    match (file["complete"] == true, file["open"] == true) {
        (true, true) => "open".to_owned(),
        (true, false) => "complete".to_owned(),
        _ => {
            let here = file["here"].as_u64().unwrap_or(0);
            let data = file["data"].as_u64().unwrap_or(0).max(1);
            format!("{} %", here * 100 / data)
        }
    }
}

fn bytes(number: &Value) -> String {
    indicatif::BinaryBytes(number.as_u64().unwrap_or(0)).to_string()
}

/// How long ago a moment was.
fn ago(used_ms: &Value) -> String {
    let used = used_ms.as_u64().unwrap_or(0);
    if used == 0 {
        return String::new();
    }
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let since = (now.as_millis() as u64).saturating_sub(used) / 1000;
    let shown = humantime::format_duration(std::time::Duration::from_secs(rounded(since)));
    format!("{shown} ago")
}

/// Seconds as exact as a reader wants them: in whole minutes, hours, days where they are many.
fn rounded(seconds: u64) -> u64 {
    let unit = match seconds {
        0..120 => 1,
        120..7200 => 60,
        7200..172_800 => 3600,
        _ => 86_400,
    };
    seconds / unit * unit
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_stands_open_complete_or_with_a_part() {
        let shown = |value: Value| standing(&value);
        assert_eq!(shown(json!({ "complete": true, "open": true })), "open");
        assert_eq!(shown(json!({ "complete": true })), "complete");
        assert_eq!(
            shown(json!({ "complete": false, "here": 50, "data": 200 })),
            "25 %"
        );
        assert_eq!(
            shown(json!({ "complete": false, "here": 0, "data": 0 })),
            "0 %"
        );
    }

    #[test]
    fn times_are_rounded_and_none_is_nothing() {
        assert_eq!(
            (rounded(119), rounded(130), rounded(7300), rounded(200_000)),
            (119, 120, 7200, 172_800)
        );
        assert_eq!(ago(&json!(0)), "");
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let minute_ago = now.as_millis() as u64 - 61_000;
        assert!(ago(&json!(minute_ago)).starts_with("1m 1s"));
    }
}
