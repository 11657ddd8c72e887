//! The examples of `docs/checks/icmp.md`, run against this machine. It must be one that may send
//! echoes.

use parallax_common::check::StepKind;
use parallax_common::outcome::Outcome;
use parallax_probe::execute::Executor;
use parallax_probe::execute::secrets::Secrets;

use super::{examples, judged};

#[tokio::test]
async fn every_example_of_icmp_does_what_the_page_says() {
    let examples = examples("docs/checks/icmp.md");
    assert!(examples.len() >= 6, "{} examples", examples.len());
    for (line, check) in examples {
        let mut run = check.run;
        let StepKind::Icmp(step) = &mut run.steps[0].kind else { panic!("line {line}: icmp") };
        // The page's hosts are this one; where none answers, one that nobody can have.
        step.host = if run.invert { "240.0.0.1" } else { "127.0.0.1" }.to_owned();
        let executor = Executor::new(Secrets::default(), None, None);
        let finding = judged(&executor, &run).await;
        assert_eq!(finding.outcome, Outcome::Pass, "{} (line {line}): {finding:?}", check.name);
        // Each of its expressions can fail: the contrary does.
        for expression in run.expect.iter().chain(&run.warn) {
            let mut contrary = run.clone();
            contrary.warn.clear();
            contrary.expect = vec![format!("!({expression})")];
            let finding = judged(&executor, &contrary).await;
            assert_eq!(finding.outcome, Outcome::Fail, "{expression}: {finding:?}");
        }
    }
}
