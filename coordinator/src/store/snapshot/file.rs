//! Snapshots as files, `snap-<index>-<term>.plx`: written under another name, synced, renamed.

use std::fs::{self, File};
use std::io::{BufReader, BufWriter, ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use tracing::info;

use super::{Header, ReadRows, SnapshotError, SnapshotId, SnapshotStore, Source, format};

const BEGIN: &str = "snap-";
const END: &str = ".plx";
const UNFINISHED: &str = ".unfinished";

/// Snapshots in a directory.
#[derive(Debug)]
pub struct FileSnapshots {
    dir: PathBuf,
}

impl FileSnapshots {
    /// Opens the directory, and deletes what was never finished.
    pub fn open(dir: &Path) -> Result<Self, SnapshotError> {
        fs::create_dir_all(dir).map_err(SnapshotError::io("create its directory"))?;
        for entry in fs::read_dir(dir).map_err(SnapshotError::io("list its directory"))? {
            let path = entry.map_err(SnapshotError::io("list its directory"))?.path();
            if path.to_string_lossy().ends_with(UNFINISHED) {
                fs::remove_file(path).map_err(SnapshotError::io("delete an unfinished file"))?;
            }
        }
        Ok(Self { dir: dir.to_owned() })
    }

    /// Where a snapshot is, for those who carry files elsewhere.
    pub fn path(&self, id: SnapshotId) -> PathBuf {
        self.dir.join(format!("{BEGIN}{:020}-{}{END}", id.index, id.term))
    }

    /// The same directory, without looking at what is in it.
    pub(crate) fn at(dir: &Path) -> Self {
        Self { dir: dir.to_owned() }
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(super) fn sync_dir(&self) -> Result<(), SnapshotError> {
        File::open(&self.dir)
            .and_then(|dir| dir.sync_all())
            .map_err(SnapshotError::io("sync its directory"))
    }
}

fn parse(name: &str) -> Option<SnapshotId> {
    let (index, term) = name.strip_prefix(BEGIN)?.strip_suffix(END)?.split_once('-')?;
    Some(SnapshotId { index: index.parse().ok()?, term: term.parse().ok()? })
}

impl SnapshotStore for FileSnapshots {
    fn list(&self) -> Result<Vec<SnapshotId>, SnapshotError> {
        let mut ids = Vec::new();
        for entry in fs::read_dir(&self.dir).map_err(SnapshotError::io("list its directory"))? {
            let entry = entry.map_err(SnapshotError::io("list its directory"))?;
            ids.extend(entry.file_name().to_str().and_then(parse));
        }
        ids.sort();
        Ok(ids)
    }

    fn write(&self, header: &Header, rows: &mut Source<'_>) -> Result<(), SnapshotError> {
        let path = self.path(header.id);
        let mut unfinished = path.clone().into_os_string();
        unfinished.push(UNFINISHED);
        let file = File::create(&unfinished).map_err(SnapshotError::io("create a file"))?;
        let mut out = BufWriter::with_capacity(256 * 1024, file);
        let written = format::write(&mut out, header, rows)
            .and_then(|rows| out.flush().map(|()| rows).map_err(SnapshotError::io("write")));
        let rows = match written {
            Ok(rows) => rows,
            Err(error) => {
                // A full disk must not be made fuller by what will never be finished.
                let removed = fs::remove_file(&unfinished);
                removed.map_err(SnapshotError::io("delete an unfinished file"))?;
                return Err(error);
            }
        };
        out.get_ref().sync_all().map_err(SnapshotError::io("sync a file"))?;
        fs::rename(&unfinished, &path).map_err(SnapshotError::io("rename a file"))?;
        self.sync_dir()?;
        info!(index = header.id.index, rows, "wrote a snapshot");
        Ok(())
    }

    fn remove(&self, id: SnapshotId) -> Result<(), SnapshotError> {
        match fs::remove_file(self.path(id)) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(SnapshotError::io("delete an old file")(error))
            }
            _ => Ok(()),
        }
    }

    fn read(&self, id: SnapshotId) -> Result<(Header, ReadRows), SnapshotError> {
        let file = File::open(self.path(id)).map_err(|error| match error.kind() {
            ErrorKind::NotFound => SnapshotError::Missing(id),
            _ => SnapshotError::io("open a file")(error),
        })?;
        let (header, rows) = format::read(BufReader::with_capacity(256 * 1024, file), id)?;
        Ok((header, Box::new(rows)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::contract::{self, header, read, rows};
    use super::super::rows_of;
    use parallax_common::limits;

    use super::*;
    use crate::store::rows::Row;

    #[test]
    fn snapshot_files_keep_the_contract() {
        contract::suite(|| {
            let dir = tempfile::tempdir().unwrap();
            move || FileSnapshots::open(dir.path()).unwrap()
        });
    }

    #[test]
    fn a_write_that_fails_leaves_no_file_behind() {
        let dir = tempfile::tempdir().unwrap();
        let store = FileSnapshots::open(dir.path()).unwrap();
        let large = Row { key: "k".into(), value: vec![0; limits::ROW_BYTES_MAX].into() };
        let error = store.write(&header(7, 1), &mut rows_of(&[large])).unwrap_err();
        assert!(matches!(error, SnapshotError::RowTooLarge { .. }), "{error}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_full_disk_is_excused_when_it_writes_and_never_when_it_syncs() {
        let full = |action| SnapshotError::io(action)(ErrorKind::StorageFull.into());
        assert!(!full("write").is_of_sync() && !full("create a file").is_of_sync());
        assert!(full("sync a file").is_of_sync() && full("sync its directory").is_of_sync());
    }

    #[test]
    fn every_flipped_bit_and_every_shorter_or_longer_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let store = FileSnapshots::open(dir.path()).unwrap();
        let header = header(7, 2);
        store.write(&header, &mut rows_of(&rows(5, 40))).unwrap();
        let path = store.path(header.id);
        let whole = fs::read(&path).unwrap();
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x10;
            fs::write(&path, &bytes).unwrap();
            assert!(store.verify(header.id).is_err(), "byte {at} of {}", whole.len());
            fs::write(&path, &whole[..at]).unwrap();
            assert!(store.verify(header.id).is_err(), "cut to {at} of {}", whole.len());
        }
        fs::write(&path, [&whole[..], b"x"].concat()).unwrap();
        let error = store.verify(header.id).unwrap_err();
        assert!(matches!(error, SnapshotError::Damaged { .. }), "{error}");
        fs::write(&path, &whole).unwrap();
        assert_eq!(read(&store, header.id).1, rows(5, 40));
    }

    #[test]
    fn a_file_under_a_wrong_name_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let store = FileSnapshots::open(dir.path()).unwrap();
        store.write(&header(7, 2), &mut rows_of(&rows(1, 1))).unwrap();
        let wrong = SnapshotId { index: 8, term: 2 };
        fs::rename(store.path(header(7, 2).id), store.path(wrong)).unwrap();
        assert!(matches!(store.read(wrong), Err(SnapshotError::Damaged { .. })));
    }

    #[test]
    fn an_unfinished_file_is_deleted_at_the_next_start() {
        let dir = tempfile::tempdir().unwrap();
        let half = dir.path().join("snap-00000000000000000009-1.plx.unfinished");
        fs::write(&half, b"half").unwrap();
        let store = FileSnapshots::open(dir.path()).unwrap();
        assert!(store.list().unwrap().is_empty());
        assert!(!half.exists());
    }
}
