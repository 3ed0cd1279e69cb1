//! The program `riptide`; see the library of the same name.

use std::ffi::OsString;
use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().skip(1).collect();
    riptide::run::main(&args)
}
