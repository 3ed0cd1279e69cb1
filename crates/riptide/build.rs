//! Tells the program which commit it is built from, where there is a repository and git, and generates
//! the service for `weed shell`; protox reads its schema, so no protoc has to be installed.

use std::process::Command;

fn main() {
    tell_commit();
    generate_service();
}

fn generate_service() {
    let schema = "proto/mount.proto";
    println!("cargo:rerun-if-changed={schema}");
    let descriptors = protox::compile([schema], ["proto"]).expect("mount.proto parses");
    tonic_prost_build::configure()
        .build_client(false)
        .build_transport(false)
        .compile_fds(descriptors)
        .expect("the service is generated");
}

fn tell_commit() {
    println!("cargo:rerun-if-changed=build.rs");
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
    // HEAD changes with the branch, its log with each commit.
    for file in [".git/HEAD", ".git/logs/HEAD"] {
        println!("cargo:rerun-if-changed={root}/{file}");
    }
    let git = Command::new("git")
        .args(["-C", root, "rev-parse", "--short=12", "HEAD"])
        .output();
    if let Ok(output) = git
        && output.status.success()
    {
        let commit = String::from_utf8_lossy(&output.stdout);
        println!("cargo:rustc-env=RIPTIDE_COMMIT={}", commit.trim());
    }
}
