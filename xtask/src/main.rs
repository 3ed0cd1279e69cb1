//! What `make` does beyond cargo: `cargo xtask bench`.

mod bench;

use std::env;

use anyhow::{Result, bail};

fn main() -> Result<()> {
    let mut words = env::args_os().skip(1);
    let task = words.next().unwrap_or_default();
    match task.to_str() {
        Some("bench") => bench::run(words),
        _ => bail!("usage: cargo xtask bench [--help]"),
    }
}
