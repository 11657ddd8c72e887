//! What a probe remembers over a restart, when it has a data directory: its mesh, the coordinators
//! it has met, and the clock's offset of this boot.

use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// The remembered facts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    /// Name of the mesh, empty until one was met.
    pub mesh: String,
    /// Addresses of coordinators.
    pub members: Vec<String>,
    /// The boot in which the offset was measured.
    pub boot_id: String,
    /// mesh = boottime + this.
    pub offset_ns: Option<i64>,
}

/// The state file could not be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot use {path}")]
pub struct StateError {
    /// The file.
    pub path: PathBuf,
    /// Why.
    #[source]
    pub source: std::io::Error,
}

fn file(dir: &Path) -> PathBuf {
    dir.join("probe.json")
}

/// What the bytes of the file say.
///
/// # Errors
/// They are none that were written.
pub fn parse(bytes: &[u8]) -> serde_json::Result<State> {
    serde_json::from_slice(bytes)
}

/// Reads the state; an empty one when there is none yet. A file that cannot be read as such is an
/// error: it may belong to something else.
pub fn load(dir: &Path) -> Result<State, StateError> {
    let path = file(dir);
    match std::fs::read(&path) {
        Ok(bytes) => {
            parse(&bytes).map_err(|error| StateError { path, source: std::io::Error::other(error) })
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(State::default()),
        Err(source) => Err(StateError { path, source }),
    }
}

/// Writes the state, whole or not at all.
pub fn save(dir: &Path, state: &State) -> Result<(), StateError> {
    let bytes = serde_json::to_vec_pretty(state)
        .map_err(|error| StateError { path: file(dir), source: error.into() })?;
    replace(dir, "probe.json", &bytes)
}

/// Writes a file of the data directory, whole or not at all.
pub fn replace(dir: &Path, name: &str, bytes: &[u8]) -> Result<(), StateError> {
    let path = dir.join(name);
    let write = || {
        std::fs::create_dir_all(dir)?;
        let new = dir.join(format!("{name}.new"));
        let mut file = std::fs::File::create(&new)?;
        file.write_all(bytes)?;
        file.sync_data()?;
        std::fs::rename(&new, &path)?;
        std::fs::File::open(dir)?.sync_all()
    };
    write().map_err(|source| StateError { path: path.clone(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_saved_is_loaded_and_a_broken_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("deep");
        assert_eq!(load(&dir).unwrap(), State::default());
        let state = State {
            mesh: "m1".into(),
            members: vec!["c1:7401".into()],
            boot_id: "b".into(),
            offset_ns: Some(-5),
        };
        save(&dir, &state).unwrap();
        assert_eq!(load(&dir).unwrap(), state);
        std::fs::write(dir.join("probe.json"), "{").unwrap();
        assert!(load(&dir).is_err());
    }

    /// Those that the fuzz target begins from, cut and changed anywhere.
    #[test]
    fn what_a_seed_says_is_said_again_once_it_is_taken() {
        let seeds = concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz/seeds/state");
        let mut taken = 0;
        for entry in std::fs::read_dir(seeds).unwrap() {
            let seed = std::fs::read(entry.unwrap().path()).unwrap();
            let cut = (0..=seed.len()).map(|end| seed[..end].to_vec());
            let changed = (0..seed.len()).map(|at| {
                let mut seed = seed.clone();
                seed[at] ^= 1;
                seed
            });
            for bytes in cut.chain(changed) {
                let Ok(state) = parse(&bytes) else { continue };
                let again = serde_json::to_vec(&state).unwrap();
                assert_eq!(parse(&again).unwrap(), state);
                taken += 1;
            }
        }
        assert!(taken > 2, "{taken}");
    }
}
