//! `riptide bench`: the workloads of the crate `bench` on a folder that the user names, or on a null
//! mount of its own.
//!
//! [`Place`] is the folder with the tree, [`workload`] what is done there, [`Table`] what is printed.

mod null;
mod place;
mod table;
mod workload;

use anyhow::{Context, bail};
use place::Place;
use table::Table;

use crate::options::{BenchOptions, BenchPlace};
use crate::run::dev::SignalWatch;
use crate::run::print;

/// Measures and prints, or serves.
pub(super) fn run(options: &BenchOptions) -> anyhow::Result<()> {
    match &options.place {
        BenchPlace::Folder(dir) => {
            // From now on Ctrl-C ends after the workload at hand, and what was made is removed.
            let mut watch = SignalWatch::start()?;
            let place = Place::make(dir, options, &mut || watch.has_seen_one())?;
            let measured = measure(&place, options, &mut watch);
            let removed = place.end(options.keep && measured.is_ok());
            let removed = removed.inspect_err(|error| eprintln!("riptide: {error:#}"));
            print(&told(&measured?, options)?)?;
            match removed {
                Ok(Some(kept)) => eprintln!("the tree is left in {}", kept.display()),
                Ok(None) => {}
                Err(_) => bail!("what was made is still there"),
            }
            Ok(())
        }
        BenchPlace::Null(transport) => {
            let mut watch = SignalWatch::start()?;
            let mount = null::Child::start(*transport, options)?;
            let place = Place::of_null(mount.dir(), options);
            let measured = measure(&place, options, &mut watch);
            mount.stop()?;
            print(&told(&measured?, options)?)
        }
        BenchPlace::Serve(dir, transport) => null::serve(dir, *transport, options),
    }
}

fn told(table: &Table, options: &BenchOptions) -> anyhow::Result<Vec<u8>> {
    Ok(match options.json {
        true => serde_json::to_vec_pretty(&table.json())
            .map(|mut text| {
                text.push(b'\n');
                text
            })
            .context("the table as JSON")?,
        false => table.text().into_bytes(),
    })
}

fn measure(
    place: &Place,
    options: &BenchOptions,
    watch: &mut SignalWatch,
) -> anyhow::Result<Table> {
    let mut table = Table::new(place, options);
    let workloads = || workload::all().filter(|it| options.write || !it.writes);
    for round in 0..options.rounds {
        for workload in workloads() {
            if watch.has_seen_one() {
                bail!("stopped");
            }
            let title = workload.rows[0].title;
            let sample = workload::Sample {
                place,
                operations: options.operations,
                round: round as u64,
            };
            let values = sample.run(workload).context(title)?;
            for (row, value) in workload.rows.iter().zip(values) {
                table.push(row, value);
            }
        }
    }
    Ok(table)
}
