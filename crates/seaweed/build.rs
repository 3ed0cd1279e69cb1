//! Generates the messages of `proto/filer.proto`; protox reads the schema, so
//! no protoc has to be installed. The service client is made by the `filer`
//! crate, which does the talking.

fn main() {
    let schema = "proto/filer.proto";
    println!("cargo::rerun-if-changed={schema}");
    let descriptors = protox::compile([schema], ["proto"]).expect("filer.proto parses");
    prost_build::Config::new()
        .bytes(["."])
        .compile_fds(descriptors)
        .expect("the filer's messages are generated");
}
