//! Generates the service client from the schema in `seaweed`, which owns the
//! messages; protox reads the schema, so no protoc has to be installed.

fn main() {
    let schema = "../seaweed/proto/filer.proto";
    println!("cargo::rerun-if-changed={schema}");
    let descriptors = protox::compile([schema], ["../seaweed/proto"]).expect("filer.proto parses");
    tonic_prost_build::configure()
        .build_server(false)
        .build_transport(false)
        .extern_path(".filer_pb", "::seaweed::pb")
        .compile_fds(descriptors)
        .expect("the filer client is generated");
}
