//! Several runs a slot, and the one outcome that they give.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

/// A server whose answers go round this text: `.` is a good one, anything else none at all.
fn in_turn(answers: &'static str) -> SocketAddr {
    let turn = AtomicUsize::new(0);
    server(move |mut stream| {
        let turn = turn.fetch_add(1, Ordering::Relaxed) % answers.len();
        request(&mut stream);
        if answers.as_bytes()[turn] == b'.' {
            let _ = stream.write_all(OK);
        }
    })
}

fn count(finding: &Finding, phase: Phase) -> usize {
    finding.phases.iter().filter(|(_, of, _)| *of == phase).count()
}

const HOUR: Duration = Duration::from_secs(3_600);

#[tokio::test]
async fn the_samples_of_a_slot_are_runs_of_their_own_and_give_one_outcome() {
    for (answers, invert, outcome, reason, evidence) in [
        (".....", false, Outcome::Pass, None, ""),
        ("x.x..", false, Outcome::Warn, Some(Reason::Warning), "2 of 5 samples failed; the last:"),
        ("xxx..", false, Outcome::Fail, Some(Reason::HttpTruncated), "3 of 5 samples failed; "),
        // Each is turned round by itself.
        ("xxx..", true, Outcome::Warn, Some(Reason::Warning), "2 of 5 samples failed; the last: "),
        ("..x..", true, Outcome::Fail, Some(Reason::InvertedPass), "4 of 5 samples failed; "),
    ] {
        let mut run = plain_http(in_turn(answers));
        (run.samples, run.invert) = (5, invert);
        let Execution { started, ended, finding, .. } = executor().slot(&run, HOUR).await;
        assert_eq!((finding.outcome, finding.reason), (outcome, reason), "{answers}: {finding:?}");
        assert!(finding.evidence.starts_with(evidence), "{answers}: {finding:?}");
        assert_eq!(count(&finding, Phase::Connect), 5, "{answers}");
        assert_eq!(count(&finding, Phase::Total), 5, "{answers}");
        let whole = ended.since(started);
        let lengths = finding.phases.iter().filter(|(_, phase, _)| *phase == Phase::Total);
        let sum: Duration = lengths.map(|(.., length)| *length).sum();
        assert!(sum <= whole, "they run one after the other: {sum:?} of {whole:?}");
    }
}

#[tokio::test]
async fn no_sample_starts_when_the_next_slot_has_come() {
    let mut run = plain_http(in_turn("x"));
    run.samples = 20;
    let finding = executor().slot(&run, Duration::ZERO).await.finding;
    assert_eq!(finding.reason, Some(Reason::HttpTruncated), "{finding:?}");
    assert_eq!(count(&finding, Phase::Total), 1);
    let said = "1 of 1 samples failed (19 more had no time left to start); the last: ";
    assert!(finding.evidence.starts_with(said), "{}", finding.evidence);
}

#[tokio::test]
async fn each_sample_has_the_whole_timeout() {
    let mut run = plain_http(server(hang));
    (run.samples, run.timeout) = (3, ms(100));
    let Execution { started, ended, finding, .. } = executor().slot(&run, HOUR).await;
    assert_eq!((finding.outcome, finding.reason), (Outcome::Fail, Some(Reason::Timeout)));
    assert!(finding.evidence.starts_with("3 of 3 samples failed; "), "{}", finding.evidence);
    assert!(ended.since(started) >= ms(300));
}

#[tokio::test]
async fn who_watches_a_slot_sees_all_its_samples_and_the_facts_of_the_last() {
    for (answers, status, said) in [("..x", None, 0), ("xx.", Some(200), 1)] {
        let mut run = plain_http(in_turn(answers));
        (run.samples, run.expect) = (3, vec!["status == 200".to_owned()]);
        let (Execution { finding, .. }, looked) = executor().look(&run, HOUR).await;
        assert_eq!(count(&finding, Phase::Total), 3, "{finding:?}");
        assert!(finding.evidence.contains(" of 3 samples failed; "), "{finding:?}");
        assert_eq!((looked.samples, looked.status, looked.said.len()), (3, status, said));
        let (_, looked) = executor().look(&run, Duration::ZERO).await;
        assert_eq!(looked.samples, 1, "the next slot has come");
    }
}

#[tokio::test]
async fn one_sample_is_a_run_as_it_always_was() {
    let run = plain_http(in_turn("x"));
    let finding = executor().slot(&run, HOUR).await.finding;
    assert_eq!(count(&finding, Phase::Total), 0, "that is the recorder's");
    assert!(!finding.evidence.contains("samples"), "{}", finding.evidence);
}
