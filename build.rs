//! Compiles `proto/` into messages, clients and services, without protoc.

use std::path::{Path, PathBuf};
use std::{env, fs, io};

const ROOT: &str = "proto";
const PACKAGES: [&str; 2] = ["proto/tipoff/v1", "proto/inference"];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Printed here because the generator prints none for a compiled set.
    println!("cargo::rerun-if-changed={ROOT}");

    let mut compiler = protox::Compiler::new([ROOT])?;
    compiler.include_source_info(true).include_imports(true);
    for package in PACKAGES {
        compiler.open_files(protos(Path::new(package))?)?;
    }

    // Reflection serves the set as compiled, comments included.
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("protos.bin"), compiler.encode_file_descriptor_set())?;

    tonic_prost_build::configure()
        .build_server(false)
        // Sorted maps: what the server says, it says in one order.
        .btree_map(".")
        // A request's matrices are not copied.
        .bytes(".inference.ModelInferRequest.raw_input_contents")
        .compile_fds(compiler.file_descriptor_set())?;

    // The services decode in a way of their own: see `rpc::wire`.
    let services = out.join("services");
    fs::create_dir_all(&services)?;
    tonic_prost_build::configure()
        .build_client(false)
        .extern_path(".tipoff.v1", "crate::proto::v1")
        .extern_path(".inference", "crate::proto::inference")
        .extern_path(".tipoff.v1.IngestRequest", "crate::rpc::wire::IngestRequest")
        .extern_path(".tipoff.v1.IngestStreamRequest", "crate::rpc::wire::IngestStreamRequest")
        .codec_path("crate::rpc::wire::Codec")
        .out_dir(services)
        .compile_fds(compiler.file_descriptor_set())?;
    Ok(())
}

fn protos(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "proto") {
            println!("cargo::rerun-if-changed={}", path.display());
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}
