//! The wire of Parallax.
//!
//! [`v1`] is what people, probes and coordinators say to each other, [`peer`] what coordinators say
//! among themselves; [`store`] is what the Raft log
//! and the state files hold. `convert` turns untrusted messages into the checked types of
//! `parallax-common`. No decision is made here.

#[allow(missing_docs, clippy::all, clippy::pedantic)]
mod parallax {
    pub mod v1 {
        tonic::include_proto!("parallax.v1");
    }
    pub mod peer {
        pub mod v1 {
            tonic::include_proto!("parallax.peer.v1");
        }
    }
    pub mod store {
        pub mod v1 {
            tonic::include_proto!("parallax.store.v1");
        }
    }
}

pub mod convert;

/// Messages and services of the package `parallax.peer.v1`: what coordinators say to each other.
pub use parallax::peer::v1 as peer;
/// Messages of the package `parallax.store.v1`: log entries, state rows, snapshot files.
pub use parallax::store::v1 as store;
/// Messages and services of the package `parallax.v1`.
pub use parallax::v1;

/// The encoded descriptor set of every file, for gRPC reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
