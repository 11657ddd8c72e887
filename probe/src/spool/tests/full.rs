//! A disk that is really full: a small file system in memory, mounted in a namespace of its own. It needs
//! root and packages of Debian's, so that the gate runs it, after the tests that need nothing.

use std::path::Path;
use std::process::Command;

use parallax_common::limits::SPOOL_BYTES_MAX;

use super::*;

/// Where the small file system is, for the test that runs inside.
const INSIDE: &str = "PARALLAX_TEST_FULL_DISK";
const TEST: &str = "spool::tests::full::a_disk_that_is_really_full_ends_nothing_and_is_used_again";
const MOUNTED: &str = r#"set -eu
mount -t tmpfs -o size=4m tmpfs "$PARALLAX_TEST_FULL_DISK"
exec "$@""#;
/// A window of these tests.
const WINDOW_BYTES: usize = 400 * 1024;

fn holder() -> Holder {
    Holder { mesh: "m1".into(), region: "eu".into(), probe: "p1".into() }
}

fn open_in(dir: &Path, life: u64) -> (Spooler, Arc<Metrics>) {
    let metrics = Arc::new(Metrics::default());
    // Far more than the disk has: it is the disk that says no.
    let bounds = Bounds { bytes_max: 1 << 30, age_max: SPOOL_AGE_DEFAULT };
    let life = Incarnation(life);
    let spooler = Spooler::open(dir, bounds, &holder(), life, Arc::clone(&metrics)).unwrap();
    it_is(&spooler, Some(MeshTime::from_ns(NOW_NS)));
    spooler.turn();
    (spooler, metrics)
}

#[tokio::test]
#[ignore = "needs root and util-linux: .ci/run runs it"]
async fn a_disk_that_is_really_full_ends_nothing_and_is_used_again() {
    if std::env::var_os(INSIDE).is_none() {
        let dir = tempfile::tempdir().unwrap();
        let output = Command::new("unshare")
            .args(["--mount", "--", "sh", "-c", MOUNTED, "sh"])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", TEST, "--nocapture", "--include-ignored"])
            .env(INSIDE, dir.path())
            .output()
            .expect("unshare, of util-linux");
        let said =
            [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
        let passed = output.status.success() && said[0].contains("1 passed");
        assert!(passed, "as root, with util-linux:\n{}", said.join("\n"));
        return;
    }
    let disk = std::path::PathBuf::from(std::env::var_os(INSIDE).unwrap());
    // Somebody else has most of it.
    let ballast = disk.join("ballast");
    std::fs::write(&ballast, vec![1; 2 * 1024 * 1024]).unwrap();
    let dir = disk.join("spool");
    let (spooler, metrics) = open_in(&dir, 1);
    let _attached = spooler.attach(1);
    spooler.turn();
    let failing = |metrics: &Metrics| metrics.spool_failing.load(Relaxed);
    push(&spooler, 2, WINDOW_BYTES);
    spooler.turn();
    assert_eq!(failing(&metrics), 0, "there is room yet");

    // More than what is left of the disk, then more than what memory holds besides.
    let many = SPOOL_BYTES_MAX / WINDOW_BYTES;
    let mut pushed = 2;
    for _ in 0..many / 10 {
        push(&spooler, 10, WINDOW_BYTES);
        spooler.turn();
        pushed += 10;
    }
    assert_eq!(failing(&metrics), 1);
    assert!(self_health::told(&metrics).spool_failing, "and told");
    let refused = lock(&spooler.0.disk.as_ref().unwrap().refused).clone();
    assert!(refused.as_ref().is_some_and(|refused| refused.full), "{refused:?}");
    let gaps = spooler.look(BootTime::default(), Some(MeshTime::from_ns(NOW_NS)), Duration::MAX);
    assert_eq!((metrics.spool_dropped.load(Relaxed), &gaps[..]), (0, &[][..]), "all are there");
    push(&spooler, 40, WINDOW_BYTES);
    pushed += 40;
    spooler.turn();
    let gaps = spooler.look(BootTime::default(), Some(MeshTime::from_ns(NOW_NS)), Duration::MAX);
    let dropped = metrics.spool_dropped.load(Relaxed);
    assert!((1..=40).contains(&dropped), "{dropped} of {pushed}");

    // What is there is sent all the same, the newest among it, and nothing twice.
    let sent = all(&spooler, LIFE, MANY).await;
    assert_eq!(sent.len() as u64, pushed - dropped);
    assert_eq!(sent.last(), Some(&(pushed, WINDOW_BYTES)));
    let missing: Vec<u64> =
        (1..=pushed).filter(|of| sent.iter().all(|(sequence, _)| sequence != of)).collect();
    assert_eq!(missing.len() as u64, dropped);
    // A gap is told of the first window on that has left.
    if missing.first() == Some(&1) {
        let told: Vec<_> = gaps.iter().map(|gap| (gap.reader, gap.first, gap.last)).collect();
        assert_eq!(told, [(1, 1, dropped)]);
    }
    spooler.acknowledge(LIFE, 1, pushed - 2);
    spooler.turn();

    // Room is made: what is in memory goes to the disk, and the next life finds it there.
    std::fs::remove_file(&ballast).unwrap();
    push(&spooler, 2, WINDOW_BYTES);
    pushed += 2;
    spooler.turn();
    assert_eq!(failing(&metrics), 0);
    drop((_attached, spooler));
    let (next, _) = open_in(&dir, 2);
    let _attached = next.attach(1);
    next.turn();
    let sent: Vec<u64> = all(&next, LIFE, MANY).await.into_iter().map(|(of, _)| of).collect();
    assert_eq!(sent, [pushed - 3, pushed - 2, pushed - 1, pushed]);
}
