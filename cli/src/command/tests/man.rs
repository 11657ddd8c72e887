//! Manual pages.

use super::*;

#[tokio::test]
async fn each_command_has_a_manual_page_and_nobody_is_asked_for_it() {
    let bench = Bench::start().await;
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().join("deep/man1");
    let ran = bench.run_at(&format!("man {}", at.display()), vec![]).await;
    assert_eq!((ran.exit, ran.out.as_str()), (Exit::Ok, ""), "{}", ran.err);
    for (page, word) in [
        ("parallax.1", "Exit codes:"),
        ("parallax-export.1", "all\\-sets"),
        ("parallax-check-pause.1", "silence add"),
        ("parallax-incident-resolve.1", "force"),
    ] {
        let text = std::fs::read_to_string(at.join(page)).unwrap();
        assert!(text.contains(word), "{page}: {text}");
    }
    // A file stands where the directory is to be.
    let ran = bench.run_at(&format!("man {}/parallax.1", at.display()), vec![]).await;
    assert_eq!(ran.exit, Exit::Usage);
    assert!(ran.err.contains("cannot write to"), "{}", ran.err);
}
