//! Real processes, a target and a sink, driven from a test.
//!
//! Start at [`mesh::Mesh`], which owns everything else, or at [`group::Group`] for several coordinators. Nothing here waits for a fixed time: see
//! [`wait`].

pub mod client;
pub mod group;
pub mod hostile;
pub mod http;
pub mod http2;
pub mod mesh;
pub mod namespaces;
pub mod process;
pub mod receiver;
pub mod recorder;
pub mod roaming;
pub mod rogue;
pub mod sink;
pub mod site;
pub mod switches;
pub mod target;
pub mod until;
pub mod wait;
pub mod yaml;

/// Paths of the binaries under test. Made by [`binaries!`](crate::binaries).
#[derive(Debug, Clone, Copy)]
pub struct Binaries {
    /// The command line.
    pub px: &'static str,
    /// The coordinator.
    pub coordinator: &'static str,
    /// The probe.
    pub probe: &'static str,
}

/// The binaries of this package. A macro, since cargo tells only integration tests where they are.
#[macro_export]
macro_rules! binaries {
    () => {
        $crate::harness::Binaries {
            px: env!("CARGO_BIN_EXE_px"),
            coordinator: env!("CARGO_BIN_EXE_px-coordinator"),
            probe: env!("CARGO_BIN_EXE_px-probe"),
        }
    };
}
