//! Where a dev mesh lives: its regions with their addresses, and its directory.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The regions of a dev mesh, in the order of their ranks.
pub const REGIONS: [&str; 5] = ["eu-west", "us-east", "us-west", "ap-south", "sa-east"];

/// Held while a mesh runs in the directory; the mark by which one of ours is known.
const LOCK: &str = "parallax-dev.lock";

/// Why a directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    /// The file system said no.
    #[error("cannot use {}", path.display())]
    File {
        /// Which file or directory.
        path: PathBuf,
        /// What it said.
        #[source]
        source: io::Error,
    },
    /// It belongs to somebody else, or others may write to it.
    #[error("{} is not a directory of yours alone: not used", .0.display())]
    Foreign(PathBuf),
    /// It holds something else.
    #[error("{} is not empty and holds no dev mesh: not used", .0.display())]
    NotOurs(PathBuf),
    /// A mesh runs there.
    #[error("a dev mesh runs in {} already: stop it, or give another --data-dir", .0.display())]
    Taken(PathBuf),
}

/// A directory that this process alone runs a mesh in.
#[derive(Debug)]
pub struct Place {
    dir: PathBuf,
    _lock: File,
}

impl Place {
    /// Takes `dir`, made when missing. Without `keep`, what an earlier mesh left there is removed,
    /// and nothing but that: a directory without our mark is only used when it is empty.
    pub fn take(dir: &Path, keep: bool) -> Result<Self, PlaceError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| PlaceError::File { path, source }
        };
        DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(failed(dir))?;
        let found = fs::symlink_metadata(dir).map_err(failed(dir))?;
        let ours = fs::metadata("/proc/self").map_err(failed(Path::new("/proc/self")))?.uid();
        if !found.is_dir() || found.uid() != ours || found.mode() & 0o022 != 0 {
            return Err(PlaceError::Foreign(dir.to_owned()));
        }
        let mark = dir.join(LOCK);
        let empty = fs::read_dir(dir).map_err(failed(dir))?.next().is_none();
        if !empty && !mark.exists() {
            return Err(PlaceError::NotOurs(dir.to_owned()));
        }
        let mut options = OpenOptions::new();
        let lock = options.create(true).truncate(false).write(true).mode(0o600);
        let lock = lock.open(&mark).map_err(failed(&mark))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(PlaceError::Taken(dir.to_owned())),
            Err(TryLockError::Error(error)) => return Err(failed(&mark)(error)),
        }
        if !keep {
            for entry in fs::read_dir(dir).map_err(failed(dir))? {
                let path = entry.map_err(failed(dir))?.path();
                if path == mark {
                    continue;
                }
                let is_dir = fs::symlink_metadata(&path).map_err(failed(&path))?.is_dir();
                let removed =
                    if is_dir { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
                removed.map_err(failed(&path))?;
            }
        }
        Ok(Self { dir: dir.to_owned(), _lock: lock })
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The authority of the mesh.
    pub fn pki(&self) -> PathBuf {
        self.dir.join("pki")
    }

    /// The certificate of one of its members.
    pub fn tls(&self, member: &str) -> PathBuf {
        self.dir.join("tls").join(member)
    }

    /// What one of its members stores.
    pub fn data(&self, member: &str) -> PathBuf {
        self.dir.join("data").join(member)
    }

    /// The sample checks, to be edited and applied.
    pub fn samples(&self) -> PathBuf {
        self.dir.join("samples.yaml")
    }

    /// Where everything is logged.
    pub fn log(&self) -> PathBuf {
        self.dir.join("dev.log")
    }
}

/// How the demo target knows which region it is looked at from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sources {
    /// Each probe dials from a loopback address of its own.
    Addresses(BTreeMap<IpAddr, &'static str>),
    /// This system has but one loopback address: probes send [`REGION_HEADER`].
    Header,
}

/// Names the region of a probe that cannot have an address of its own.
pub const REGION_HEADER: &str = "x-parallax-region";

impl Sources {
    /// Addresses, where all of them can be bound.
    pub fn of_system() -> Self {
        let addresses: BTreeMap<IpAddr, &'static str> = (1u8..)
            .zip(REGIONS)
            .map(|(rank, region)| (Ipv4Addr::new(127, 0, 10 * rank, 1).into(), region))
            .collect();
        let free = |&address: &IpAddr| TcpListener::bind(SocketAddr::new(address, 0)).is_ok();
        if addresses.keys().all(free) { Self::Addresses(addresses) } else { Self::Header }
    }

    /// The address that the probe of `region` dials from.
    pub fn address(&self, region: &str) -> Option<IpAddr> {
        match self {
            Self::Addresses(known) => {
                known.iter().find(|(_, name)| **name == region).map(|(address, _)| *address)
            }
            Self::Header => None,
        }
    }

    /// The header that the probe of `region` sends.
    pub fn header(&self, region: &str) -> Option<(String, String)> {
        match self {
            Self::Addresses(_) => None,
            Self::Header => Some((REGION_HEADER.to_owned(), region.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_taken_once_and_emptied_unless_it_is_kept() {
        let parent = tempfile::tempdir().unwrap();
        let dir = parent.path().join("dev");
        let place = Place::take(&dir, false).unwrap();
        fs::create_dir_all(place.tls("c1")).unwrap();
        fs::write(place.samples(), "checks: []").unwrap();
        assert!(matches!(Place::take(&dir, true), Err(PlaceError::Taken(_))));
        drop(place);

        let kept = Place::take(&dir, true).unwrap();
        assert!(kept.samples().exists());
        drop(kept);
        let fresh = Place::take(&dir, false).unwrap();
        assert!(!fresh.samples().exists() && !fresh.dir().join("tls").exists());
    }

    #[test]
    fn what_is_not_ours_is_left_alone() {
        let parent = tempfile::tempdir().unwrap();
        let dir = parent.path().join("home");
        fs::create_dir(&dir).unwrap();
        fs::write(dir.join("thesis.tex"), "years of work").unwrap();
        for keep in [false, true] {
            assert!(matches!(Place::take(&dir, keep), Err(PlaceError::NotOurs(_))));
        }
        assert!(dir.join("thesis.tex").exists());

        let place = parent.path().join("dev");
        drop(Place::take(&place, false).unwrap());
        let link = parent.path().join("link");
        std::os::unix::fs::symlink(&place, &link).unwrap();
        assert!(matches!(Place::take(&link, false), Err(PlaceError::Foreign(_))));
        let open = parent.path().join("open");
        DirBuilder::new().create(&open).unwrap();
        let anybody = std::os::unix::fs::PermissionsExt::from_mode(0o777);
        fs::set_permissions(&open, anybody).unwrap();
        assert!(matches!(Place::take(&open, false), Err(PlaceError::Foreign(_))));
    }

    #[test]
    fn every_region_has_an_address_or_a_header() {
        let sources = Sources::of_system();
        for region in REGIONS {
            assert!(sources.address(region).is_some() != sources.header(region).is_some());
        }
    }
}
