//! What a crash leaves: the files of one moment of a recording, for a given fate of what was not
//! synced.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::Op;

/// What becomes of everything that was not synced when the machine stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// All of it reached the disk.
    Kept,
    /// None of it did: nor new files, and deleted ones are there again.
    Lost,
    /// Lengths reached the disk and bytes did not: there are zeros in their place.
    Zeros,
    /// All of it did but the last write, of which only so many sixteenths came.
    Torn(usize),
    /// The same, within room that was taken before: zeros follow.
    TornInRoom(usize),
    /// What was written did, and deletions did not.
    DeletionsLost,
    /// What was written to the file with this number in order of names did, and nothing else.
    OnlyFile(usize),
}

/// Every fate there is, for a disk of about `files` files.
pub fn fates(files: usize) -> Vec<Fate> {
    let mut fates = vec![Fate::Kept, Fate::Lost, Fate::Zeros, Fate::DeletionsLost];
    fates.extend([1, 8, 15].map(Fate::Torn));
    fates.extend([1, 8, 15].map(Fate::TornInRoom));
    fates.extend((0..files).map(Fate::OnlyFile));
    fates
}

/// A file on a disk that may crash.
#[derive(Debug, Clone, Default)]
struct File {
    /// What is there after any crash.
    synced: Vec<u8>,
    /// What was done since.
    pending: Vec<Op>,
}

/// The disk at one moment.
#[derive(Debug, Clone, Default)]
pub struct Disk {
    /// By the names that programs see.
    files: BTreeMap<PathBuf, File>,
    /// Names that are there after any crash.
    durable: BTreeSet<PathBuf>,
    /// Files that were deleted, and whose names may come back.
    deleted: BTreeMap<PathBuf, File>,
    /// The file that was written to last.
    last: Option<PathBuf>,
}

impl Disk {
    /// Carries out one recorded thing.
    pub fn play(&mut self, op: &Op) {
        match op {
            Op::Create(path) => {
                self.files.entry(path.clone()).or_default();
            }
            Op::Write(path, ..) | Op::Allocate(path, _) | Op::Truncate(path, _) => {
                self.files.entry(path.clone()).or_default().pending.push(op.clone());
                self.last = Some(path.clone());
            }
            Op::Sync(path) => {
                let file = self.files.entry(path.clone()).or_default();
                for op in std::mem::take(&mut file.pending) {
                    carry_out(&mut file.synced, &op);
                }
            }
            Op::Delete(path) => {
                if let Some(file) = self.files.remove(path)
                    && self.durable.contains(path)
                {
                    self.deleted.insert(path.clone(), file);
                }
            }
            Op::SyncDir => {
                self.durable = self.files.keys().cloned().collect();
                self.deleted.clear();
            }
            Op::Done(_) => {}
        }
    }

    /// How many files there are.
    pub fn len(&self) -> usize {
        self.files.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// The files that a crash now leaves, by name.
    pub fn crash(&self, fate: Fate) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut left = BTreeMap::new();
        for (number, (path, file)) in self.files.iter().enumerate() {
            let named = self.durable.contains(path);
            let kept = match fate {
                Fate::Lost => false,
                Fate::OnlyFile(only) => number == only,
                _ => true,
            };
            if kept || named {
                left.insert(path.clone(), self.content(path, file, kept, fate));
            }
        }
        if matches!(fate, Fate::Lost | Fate::DeletionsLost | Fate::OnlyFile(_)) {
            for (path, file) in &self.deleted {
                left.insert(path.clone(), self.content(path, file, fate != Fate::Lost, fate));
            }
        }
        left
    }

    fn content(&self, path: &Path, file: &File, kept: bool, fate: Fate) -> Vec<u8> {
        let mut bytes = file.synced.clone();
        if !kept {
            return bytes;
        }
        let last_write = file.pending.iter().rposition(|op| matches!(op, Op::Write(..)));
        for (number, op) in file.pending.iter().enumerate() {
            let last = self.last.as_deref() == Some(path) && Some(number) == last_write;
            match (op, fate) {
                (Op::Write(_, at, written), Fate::Zeros) => {
                    let end = at + written.len();
                    if bytes.len() < end {
                        bytes.resize(end, 0);
                    }
                }
                (Op::Write(path, at, written), Fate::Torn(part)) if last => {
                    let part = written[..written.len() * part / 16].to_vec();
                    let end = at + part.len();
                    carry_out(&mut bytes, &Op::Write(path.clone(), *at, part));
                    // Of the room behind it nothing came either.
                    bytes.truncate(end);
                }
                (Op::Write(path, at, written), Fate::TornInRoom(part)) if last => {
                    let mut part = written[..written.len() * part / 16].to_vec();
                    part.resize(written.len(), 0);
                    carry_out(&mut bytes, &Op::Write(path.clone(), *at, part));
                }
                _ => carry_out(&mut bytes, op),
            }
        }
        bytes
    }
}

fn carry_out(bytes: &mut Vec<u8>, op: &Op) {
    match op {
        Op::Write(_, at, written) => {
            let end = at + written.len();
            if bytes.len() < end {
                bytes.resize(end, 0);
            }
            bytes[*at..end].copy_from_slice(written);
        }
        Op::Allocate(_, length) => {
            let length = bytes.len().max(*length);
            bytes.resize(length, 0);
        }
        Op::Truncate(_, length) => bytes.resize(*length, 0),
        _ => {}
    }
}

/// A recording with what the engine does past its file system: after the first sync of a file that
/// it made when it ran, it syncs their directory.
pub fn with_directory_syncs(ops: Vec<Op>) -> Vec<Op> {
    let mut fresh = BTreeSet::new();
    let mut all = Vec::with_capacity(ops.len());
    for op in ops {
        let follows = match &op {
            Op::Create(path) => {
                fresh.insert(path.clone());
                false
            }
            Op::Sync(path) => fresh.remove(path),
            Op::SyncDir => {
                fresh.clear();
                false
            }
            _ => false,
        };
        all.push(op);
        if follows {
            all.push(Op::SyncDir);
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(name: &str) -> PathBuf {
        PathBuf::from(name)
    }

    #[test]
    fn a_crash_loses_keeps_or_tears_what_was_not_synced() {
        let mut disk = Disk::default();
        let write = |at: usize, bytes: &[u8]| Op::Write(path("a"), at, bytes.to_vec());
        let synced = [Op::Create(path("a")), write(0, b"one"), Op::Sync(path("a")), Op::SyncDir];
        let rest = [Op::Allocate(path("a"), 30), write(3, &[7; 16]), Op::Create(path("b"))];
        synced.iter().chain(&rest).for_each(|op| disk.play(op));
        let left = |fate| disk.crash(fate);
        assert_eq!(left(Fate::Lost), [(path("a"), b"one".to_vec())].into());
        assert_eq!(left(Fate::Kept)[&path("a")][..20], *[&b"one"[..], &[7; 16], &[0]].concat());
        assert_eq!(left(Fate::Kept)[&path("a")].len(), 30);
        assert!(left(Fate::Kept).contains_key(&path("b")));
        assert_eq!(left(Fate::Torn(8))[&path("a")], [&b"one"[..], &[7; 8]].concat());
        let in_room = &left(Fate::TornInRoom(8))[&path("a")];
        assert_eq!(in_room[..], [&b"one"[..], &[7; 8], &[0; 19]].concat());
        assert_eq!(left(Fate::Zeros)[&path("a")][..], [&b"one"[..], &[0; 27]].concat());
        assert_eq!(left(Fate::OnlyFile(1)).len(), 2);
    }

    #[test]
    fn a_deleted_file_may_come_back_until_its_directory_is_synced() {
        let mut disk = Disk::default();
        for op in [Op::Create(path("a")), Op::SyncDir, Op::Delete(path("a"))] {
            disk.play(&op);
        }
        assert!(disk.crash(Fate::Kept).is_empty());
        assert_eq!(disk.crash(Fate::DeletionsLost).len(), 1);
        disk.play(&Op::SyncDir);
        assert!(disk.crash(Fate::Lost).is_empty());
    }
}
