//! What `make` does beyond cargo: `cargo xtask demo`, `cargo xtask bench`, and a page of
//! a run that was kept.

mod bench;
mod demo;

use std::env;

use anyhow::{Result, bail};

fn main() -> Result<()> {
    let mut words = env::args_os().skip(1);
    let task = words.next().unwrap_or_default();
    match task.to_str() {
        Some("demo") => demo::run(words),
        Some("bench") => bench::run(words),
        Some("page") => bench::page(words),
        _ => bail!("usage: cargo xtask demo [--keep] | bench [--help] | page RUN.json"),
    }
}
