//! Compiles the `.proto` files without a `protoc`: protox parses them, tonic-prost-build writes
//! the code, and the descriptor set is kept for gRPC reflection.

use std::error::Error;
use std::path::PathBuf;

use prost::Message as _;

const FILES: &[&str] = &[
    "parallax/v1/types.proto",
    "parallax/v1/resources.proto",
    "parallax/v1/incident.proto",
    "parallax/v1/session.proto",
    "parallax/v1/api.proto",
    "parallax/store/v1/entry.proto",
    "parallax/store/v1/state.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=parallax");
    let files = protox::compile(FILES, ["."])?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("descriptors.bin"), files.encode_to_vec())?;
    tonic_prost_build::configure().bytes(".").btree_map(".").compile_fds(files)?;
    Ok(())
}
