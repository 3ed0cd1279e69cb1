//! Files that the mount brings in whole by itself.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::Duration;

use super::Warming;

/// Files the mount is told of ahead: enough to keep its threads busy, and few enough to be asked
/// about one by one.
const AHEAD: usize = 64;
/// Between two looks at the file that is waited for.
const LOOK: Duration = Duration::from_millis(20);

/// How often the mount is told again of a file that changes while it comes.
const TOLD_AGAIN: u32 = 3;

/// A file that is on its way.
struct Coming {
    path: PathBuf,
    name: String,
    size: u64,
    /// Bytes of it that the bar shows.
    shown: u64,
}

pub(super) fn warm(warming: &Warming, paths: &[PathBuf]) -> anyhow::Result<()> {
    let mut coming: VecDeque<Coming> = VecDeque::new();
    warming.each_file(paths, &mut |path, size| {
        while coming.len() >= AHEAD {
            await_first(warming, &mut coming)?;
        }
        if size == 0 {
            warming.is_warm(0);
            return Ok(());
        }
        let name = warming.below.name(&path)?;
        loop {
            let told = warming.below.post("/cache/warm", &[("path", &name)], false);
            let told = match told {
                Ok(told) => told,
                // Removed meanwhile, or renamed.
                Err(error) => {
                    warming.bar.inc(size);
                    warming.is_not_warm(&path, &error.to_string());
                    return Ok(());
                }
            };
            match told["state"].as_str() {
                Some("busy") if coming.is_empty() => sleep(LOOK),
                Some("busy") => await_first(warming, &mut coming)?,
                Some("unfit") => {
                    warming.bar.inc(size);
                    let reason = told["reason"].as_str().unwrap_or("it is not kept whole");
                    warming.is_not_warm(&path, reason);
                    return Ok(());
                }
                _ => break,
            }
        }
        coming.push_back(Coming {
            path,
            name,
            size,
            shown: 0,
        });
        Ok(())
    })?;
    while !coming.is_empty() {
        await_first(warming, &mut coming)?;
    }
    Ok(())
}

/// Waits until the first file is here, or will not come.
fn await_first(warming: &Warming, coming: &mut VecDeque<Coming>) -> anyhow::Result<()> {
    let Some(mut file) = coming.pop_front() else {
        return Ok(());
    };
    warming.bar.set_message(file.name.clone());
    let mut told_again = 0;
    let ended = loop {
        let now = match warming.below.get("/cache/file", &[("path", &file.name)]) {
            Ok(now) => now,
            Err(error) => break Err(error.to_string()),
        };
        match now["state"].as_str() {
            Some("complete") => break Ok(()),
            Some("failed") => break Err(now["reason"].as_str().unwrap_or("it failed").to_owned()),
            // Changed, or evicted for others.
            Some("absent") if told_again < TOLD_AGAIN => {
                told_again += 1;
                let told = warming
                    .below
                    .post("/cache/warm", &[("path", &file.name)], false);
                if let Err(error) = told {
                    break Err(error.to_string());
                }
            }
            Some("absent") => break Err("it was changed or evicted meanwhile".to_owned()),
            _ => {}
        }
        let here = now["here"]
            .as_u64()
            .unwrap_or(0)
            .clamp(file.shown, file.size);
        warming.bar.inc(here - file.shown);
        file.shown = here;
        sleep(LOOK);
    };
    warming.bar.inc(file.size - file.shown);
    match ended {
        Ok(()) => warming.is_warm(file.size),
        Err(reason) => warming.is_not_warm(&file.path, &reason),
    }
    Ok(())
}
