//! What the spool relies on, of the system's files and of the twin alike.

use std::io::ErrorKind;

use super::twin::Twin;
use super::{Files, System, read_all};

fn whole(files: &dyn Files) {
    let mut file = files.create("a").unwrap();
    file.add(b"one two").unwrap();
    file.sync().unwrap();
    files.sync_names().unwrap();
    assert_eq!(read_all(files, "a").unwrap(), b"one two");
    assert_eq!(files.length("a").unwrap(), 7);

    // A part, and no more than there is.
    let mut bytes = [0; 3];
    assert_eq!(files.read("a", 4, &mut bytes).unwrap(), 3);
    assert_eq!(&bytes, b"two");
    let mut more = [0; 9];
    assert_eq!(files.read("a", 4, &mut more).unwrap(), 3);
    assert_eq!(files.read("a", 70, &mut more).unwrap(), 0);

    // What is added after a cut begins there.
    file.cut(3).unwrap();
    file.add(b"!").unwrap();
    assert_eq!(read_all(files, "a").unwrap(), b"one!");
    drop(file);
    files.cut("a", 2).unwrap();
    assert_eq!(read_all(files, "a").unwrap(), b"on");

    // A name that is given again takes the place of what had it; a new file is empty.
    files.create("b").unwrap().add(b"other").unwrap();
    files.rename("b", "a").unwrap();
    assert_eq!(read_all(files, "a").unwrap(), b"other");
    assert_eq!(files.length("b").unwrap_err().kind(), ErrorKind::NotFound);
    files.create("a").unwrap();
    assert_eq!(files.length("a").unwrap(), 0);
    let mut names = files.list().unwrap();
    names.retain(|name| name != "lock");
    assert_eq!(names, ["a"]);
    files.remove("a").unwrap();
    for missing in [
        files.remove("a").unwrap_err(),
        files.rename("a", "b").unwrap_err(),
        files.cut("a", 0).unwrap_err(),
        files.read("a", 0, &mut more).unwrap_err(),
    ] {
        assert_eq!(missing.kind(), ErrorKind::NotFound);
    }
}

#[test]
fn the_system_and_the_twin_keep_one_contract() {
    let dir = tempfile::tempdir().unwrap();
    whole(&System::open(&dir.path().join("deep/spool")).unwrap());
    whole(&Twin::default());
}

#[test]
fn a_directory_belongs_to_one_process() {
    let dir = tempfile::tempdir().unwrap();
    let first = System::open(dir.path()).unwrap();
    assert_eq!(System::open(dir.path()).unwrap_err().kind(), ErrorKind::WouldBlock);
    drop(first);
    System::open(dir.path()).unwrap();
}
