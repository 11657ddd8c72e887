//! The examples of `docs/checks/plugin.md`, run with small scripts in the place of the plugins that they name.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use parallax_common::check::StepKind;
use parallax_common::outcome::Outcome;
use parallax_probe::execute::Executor;
use parallax_probe::execute::plugin::Plugins;
use parallax_probe::execute::secrets::Secrets;

use super::{examples, judged};

fn write(dir: &Path, name: &str, text: &str) {
    let path = dir.join(name);
    std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
}

#[tokio::test]
async fn every_example_of_plugins_does_what_the_page_says() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    write(at, "check_http", "echo 'HTTP OK|time=0.001254s;;;0;10 size=615B;;;0'");
    write(at, "check_pgsql", "[ \"$PGPASSWORD\" = sesame ] && echo \"OK $PGPASSWORD\" || exit 2");
    write(at, "check_load", "echo 'WARNING|load1=4.100;4.000;8.000;0;'; exit 1");
    write(at, "check_tcp", "echo 'connect refused'; exit 2");
    write(at, "check_ping", "echo 'PING OK|rta=0.054ms;100;500;0 pl=0%;20;60;0'");
    std::fs::write(at.join("pgpassword"), "sesame\n").unwrap();
    let examples = examples("docs/checks/plugin.md");
    assert!(examples.len() >= 5, "{} examples", examples.len());
    for (line, check) in examples {
        let mut run = check.run;
        run.timeout = Duration::from_secs(20);
        let StepKind::Plugin(step) = &mut run.steps[0].kind else { panic!("line {line}: plugin") };
        for (_, value) in &mut step.env {
            *value = value.replace("/etc/parallax", &at.display().to_string());
        }
        let series = step.series.len();
        let plugins = Plugins::new(vec![at.to_owned()], vec!["PGPASSWORD".to_owned()]);
        let secrets = Secrets::new(vec![], vec![at.to_owned()]);
        let executor = Executor::new(secrets, None, None).with_plugins(plugins);
        let finding = judged(&executor, &run).await;
        assert_eq!(finding.outcome, Outcome::Pass, "{} (line {line}): {finding:?}", check.name);
        assert_eq!(finding.phases.len(), series, "{}: {finding:?}", check.name);
        assert!(!finding.evidence.contains("sesame"));
        // Each of its expressions can fail: the contrary does.
        for expression in run.expect.iter().chain(&run.warn) {
            let mut contrary = run.clone();
            contrary.warn.clear();
            contrary.expect = vec![format!("!({expression})")];
            if run.expect.iter().any(|of| of.contains("exit_code")) {
                contrary.expect.push("exit_code < 4".to_owned());
            }
            let finding = judged(&executor, &contrary).await;
            assert_eq!(finding.outcome, Outcome::Fail, "{expression}: {finding:?}");
        }
    }
}
