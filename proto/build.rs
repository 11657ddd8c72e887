//! Compiles the `.proto` files without a `protoc`: protox parses them, tonic-prost-build writes
//! the code, and the descriptor set is kept for gRPC reflection.

use std::error::Error;
use std::path::{Path, PathBuf};

use prost::Message as _;

/// Every `.proto` file under `dir`, in order.
fn files_under(dir: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut entries = std::fs::read_dir(dir)?
        .map(|entry| Ok(entry?.path()))
        .collect::<std::io::Result<Vec<_>>>()?;
    entries.sort();
    let mut files = Vec::new();
    for path in entries {
        if path.is_dir() {
            files.append(&mut files_under(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "proto") {
            files.push(path);
        }
    }
    Ok(files)
}

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=parallax");
    let files = protox::compile(files_under(Path::new("parallax"))?, ["."])?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("descriptors.bin"), files.encode_to_vec())?;
    tonic_prost_build::configure().bytes(".").btree_map(".").compile_fds(files)?;
    Ok(())
}
