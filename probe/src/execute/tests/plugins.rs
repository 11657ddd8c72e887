//! What becomes of plugins that do as they should and of those that do not: small scripts, each row one.

use std::collections::BTreeMap;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use parallax_common::check::PluginStep;
use parallax_common::limits::{PLUGIN_OUTPUT_BYTES_MAX, PLUGINS_AT_ONCE_MAX};
use tempfile::TempDir;

use super::super::plugin::Plugins;
use super::*;

fn script(dir: &Path, name: &str, text: &str, mode: u32) {
    let path = dir.join(name);
    std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// A directory with this one plugin, `check_it`.
pub(super) fn plugin(text: &str) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    script(dir.path(), "check_it", text, 0o755);
    dir
}

pub(super) fn starting(dir: &Path, env: &[&str]) -> Executor {
    let env: Vec<String> = env.iter().map(|name| (*name).to_owned()).collect();
    let secrets = Secrets::new(vec![], vec![dir.to_owned()]);
    Executor::new(secrets, None, None).with_plugins(Plugins::new(vec![dir.to_owned()], env))
}

pub(super) fn step_of(command: &str) -> PluginStep {
    PluginStep { command: command.to_owned(), args: vec![], env: vec![], series: vec![] }
}

fn run_it() -> Run {
    Run { timeout: Duration::from_secs(20), ..run_of(StepKind::Plugin(step_of("check_it"))) }
}

fn with(change: impl FnOnce(&mut PluginStep)) -> Run {
    let mut step = step_of("check_it");
    change(&mut step);
    Run { timeout: Duration::from_secs(20), ..run_of(StepKind::Plugin(step)) }
}

async fn finding_of(text: &str, run: &Run) -> Finding {
    let dir = plugin(text);
    starting(dir.path(), &[]).run(run).await.finding
}

#[tokio::test]
async fn each_ending_has_its_outcome_and_its_reason() {
    use Outcome::{Fail, Missed, Pass, Warn};
    for (text, outcome, reason, evidence) in [
        ("echo 'OK - all well|t=1s'", Pass, None, ""),
        ("echo 'WARNING - slow'; exit 1", Warn, Some(Reason::Warning), "WARNING - slow"),
        (
            "echo 'CRITICAL - gone|t=1s'; exit 2",
            Fail,
            Some(Reason::PluginCritical),
            "CRITICAL - gone",
        ),
        ("echo 'UNKNOWN - usage'; exit 3", Missed, Some(Reason::PluginUnknown), "UNKNOWN - usage"),
        ("echo no; exit 4", Fail, Some(Reason::PluginFailed), "exit code 4; no"),
        ("exit 127", Fail, Some(Reason::PluginFailed), "exit code 127; it said nothing"),
        (
            "echo dying; kill -SEGV $$",
            Fail,
            Some(Reason::PluginFailed),
            "ended by signal 11; dying",
        ),
        // What stands beside the output is shown when there is none.
        ("echo 'no such host' >&2; exit 2", Fail, Some(Reason::PluginCritical), "no such host"),
        ("exit 2", Fail, Some(Reason::PluginCritical), "it said nothing"),
        ("exec 1>&- 2>&-; exit 0", Pass, None, ""),
        ("exec 1>&- 2>&-; exit 2", Fail, Some(Reason::PluginCritical), "it said nothing"),
        // Not text, and with what a terminal would obey.
        (
            "printf 'a\\377b\\033[2Jc\\n'; exit 2",
            Fail,
            Some(Reason::PluginCritical),
            "a\u{fffd}b [2Jc",
        ),
        ("cat; exit $?", Pass, None, ""),
    ] {
        let finding = finding_of(text, &run_it()).await;
        assert_eq!((finding.outcome, finding.reason), (outcome, reason), "{text}: {finding:?}");
        assert_eq!(finding.evidence, evidence, "{text}");
        assert_eq!(
            (finding.step, finding.remote, &finding.phases[..]),
            (0, None, &[][..]),
            "{text}"
        );
        let inverted = finding_of(text, &Run { invert: true, ..run_it() }).await;
        let wanted = match outcome {
            Fail => (Pass, None),
            Missed => (Missed, reason),
            Pass | Warn => (Fail, Some(Reason::InvertedPass)),
        };
        assert_eq!((inverted.outcome, inverted.reason), wanted, "{text} inverted");
    }
}

/// Whether any process runs with this text in its command line.
fn is_running(mark: &str) -> bool {
    std::fs::read_dir("/proc").unwrap().flatten().any(|entry| {
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(mark)
    })
}

/// Waits until no process has it: what was killed is gone a moment later.
fn is_gone(mark: &str) -> bool {
    let begun = clock::instant();
    while is_running(mark) {
        if clock::instant().saturating_duration_since(begun) > Duration::from_secs(20) {
            return false;
        }
        thread::sleep(ms(10));
    }
    true
}

#[tokio::test]
async fn a_plugin_that_does_not_end_is_ended_with_all_that_it_started() {
    // Lengths of sleep that nobody else has: how its processes are found.
    for (text, mark, evidence) in [
        (
            "echo started; sleep 71001",
            "71001",
            "no end within 540 ms, so it was asked to end; started",
        ),
        (
            "trap '' TERM; echo stays; sleep 71002",
            "71002",
            "no end within 540 ms, so it was killed; stays",
        ),
        (
            "trap '' TERM; (trap '' TERM; sleep 71003) & while :; do sleep 71003; done",
            "71003",
            "no end within 540 ms, so it was killed; it said nothing",
        ),
        (
            "exec 1>&- 2>&-; sleep 71004",
            "71004",
            "no end within 540 ms, so it was asked to end; it said nothing",
        ),
        // One that tells what it was asked: its time is over all the same.
        (
            "trap 'echo OK; exit 0' TERM; sleep 71005 & wait",
            "71005",
            "no end within 540 ms, so it was asked to end; OK",
        ),
    ] {
        let run = Run { timeout: ms(600), ..run_it() };
        let finding = finding_of(text, &run).await;
        assert_eq!(
            (finding.outcome, finding.reason),
            (Outcome::Fail, Some(Reason::Timeout)),
            "{text}"
        );
        assert_eq!(finding.evidence, evidence, "{text}");
        assert!(is_gone(mark), "{text}");
    }
}

#[tokio::test]
async fn what_a_plugin_leaves_behind_goes_with_it_and_holds_nobody_up() {
    for (text, mark) in [
        ("echo OK; sleep 72001 &", "72001"),
        ("echo OK; (trap '' TERM HUP; sleep 72002) & exit 0", "72002"),
    ] {
        let begun = clock::instant();
        let finding = finding_of(text, &run_it()).await;
        assert_eq!(finding.outcome, Outcome::Pass, "{text}: {finding:?}");
        assert!(clock::instant().saturating_duration_since(begun) < Duration::from_secs(15));
        assert!(is_gone(mark), "{text}");
    }
    // One that left the group holds the output open: it is not waited for, and cannot be ended.
    let finding = finding_of("echo OK; setsid sleep 5 &\nsleep 0.2", &run_it()).await;
    assert_eq!(finding.outcome, Outcome::Pass, "{finding:?}");
}

#[tokio::test]
async fn a_run_that_is_given_up_takes_its_plugin_with_it() {
    let dir = plugin("sleep 73001");
    let executor = starting(dir.path(), &[]);
    let run = run_it();
    let given_up = tokio::time::timeout(ms(300), executor.run(&run)).await;
    assert!(given_up.is_err());
    assert!(is_gone("73001"));
}

#[tokio::test]
async fn output_is_cut_and_a_flood_is_ended() {
    let long = "head -c 200000 /dev/zero | tr '\\0' x; exit 2";
    let finding = finding_of(long, &run_it()).await;
    assert_eq!(finding.reason, Some(Reason::PluginCritical));
    assert!(finding.evidence.starts_with("xxxx") && finding.evidence.len() <= EVIDENCE_BYTES_MAX);
    let behind = format!("echo first; head -c {PLUGIN_OUTPUT_BYTES_MAX} /dev/zero; exit 2");
    let finding = finding_of(&behind, &run_it()).await;
    assert_eq!(finding.evidence, "first (its output was cut after 65536 bytes)");
    for text in ["echo OK; exec yes", "echo OK; yes >&2", "echo OK; yes & wait"] {
        let finding = finding_of(text, &run_it()).await;
        assert_eq!(finding.reason, Some(Reason::PluginFailed), "{text}: {finding:?}");
        assert!(
            finding.evidence.starts_with("it wrote more than 4194304 bytes; OK"),
            "{finding:?}"
        );
    }
}

#[tokio::test]
async fn a_plugin_gets_what_it_is_given_and_nothing_else() {
    let dir = plugin("env | sort | tr '\\n' ' '; pwd; echo \"$#:$1:$2\"");
    std::fs::write(dir.path().join("secret"), "hunter2\n").unwrap();
    let run = with(|plugin| {
        plugin.args = vec!["a b".to_owned(), "$HOME *".to_owned()];
        let secret = format!("${{file:{}}}", dir.path().join("secret").display());
        plugin.env = vec![("TOKEN".to_owned(), secret), ("MODE".to_owned(), "x".to_owned())];
    });
    let mut run = Run { expect: vec!["output == ''".to_owned()], ..run };
    let executor = starting(dir.path(), &["TOKEN", "MODE"]);
    let seen = |expression: &str| Run { expect: vec![expression.to_owned()], ..run.clone() };
    let path = "PATH=/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin";
    // PWD is the shell's own.
    let all = format!("LANG=C LC_ALL=C MODE=x {path} PWD=/ TOKEN=hunter2 /");
    let finding = executor.run(&seen(&format!("output == '{all}'"))).await.finding;
    assert_eq!(finding.outcome, Outcome::Pass, "{finding:?}");
    // Arguments are no shell's business.
    script(dir.path(), "check_it", "echo \"$#:$1:$2:$TOKEN\"; exit 2", 0o755);
    run.expect.clear();
    let finding = executor.run(&run).await.finding;
    assert_eq!(finding.evidence, "2:a b:$HOME *:***");
    // A variable that this probe does not hand over, and a reference that it does not resolve.
    for (executor, env, evidence) in [
        (
            starting(dir.path(), &[]),
            ("LD_PRELOAD", "/x.so"),
            "the variable LD_PRELOAD is not handed to plugins on this probe (--plugin-env)",
        ),
        (
            starting(dir.path(), &["A"]),
            ("A", "${env:HOME}"),
            "${env:HOME} is not allowed on this probe (--allow-env)",
        ),
    ] {
        let run = with(|plugin| plugin.env = vec![(env.0.to_owned(), env.1.to_owned())]);
        let finding = executor.run(&run).await.finding;
        assert_eq!((finding.outcome, finding.reason), (Outcome::Missed, Some(Reason::ConfigError)));
        assert_eq!(finding.evidence, evidence);
    }
}

#[tokio::test]
async fn only_what_lies_in_the_directories_and_nobody_else_may_write_is_started() {
    let (dir, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (at, out) = (dir.path(), outside.path());
    script(at, "good", "exit 0", 0o755);
    script(at, "plain", "exit 0", 0o644);
    script(at, "open", "exit 0", 0o757);
    script(out, "outside", "exit 0", 0o755);
    std::fs::create_dir(at.join("directory")).unwrap();
    std::fs::create_dir(at.join("shared")).unwrap();
    script(&at.join("shared"), "inner", "exit 0", 0o755);
    std::fs::set_permissions(at.join("shared"), PermissionsExt::from_mode(0o777)).unwrap();
    // Root may write everywhere; any other group's members may not.
    script(at, "roots", "exit 0", 0o775);
    script(at, "groups", "exit 0", 0o775);
    std::fs::create_dir(at.join("groups_own")).unwrap();
    script(&at.join("groups_own"), "inner", "exit 0", 0o755);
    std::fs::set_permissions(at.join("groups_own"), PermissionsExt::from_mode(0o770)).unwrap();
    let root = rustix::process::geteuid().is_root();
    if root {
        std::os::unix::fs::chown(at.join("roots"), None, Some(0)).unwrap();
        std::os::unix::fs::chown(at.join("groups"), None, Some(54_321)).unwrap();
        std::os::unix::fs::chown(at.join("groups_own"), None, Some(54_321)).unwrap();
    }
    let group = std::os::unix::fs::MetadataExt::gid(&at.join("groups").metadata().unwrap());
    std::fs::write(at.join("no_interpreter"), "#!/nowhere/sh\n").unwrap();
    std::fs::write(at.join("no_program"), "\u{7f}ELF and no more").unwrap();
    for name in ["no_interpreter", "no_program"] {
        std::fs::set_permissions(at.join(name), PermissionsExt::from_mode(0o755)).unwrap();
    }
    symlink(out.join("outside"), at.join("leads_out")).unwrap();
    symlink("/bin/sh", at.join("shell")).unwrap();
    symlink(at.join("good"), at.join("link")).unwrap();
    symlink(at.join("shared/inner"), at.join("from_shared")).unwrap();
    symlink(at.join("groups_own/inner"), at.join("from_groups_own")).unwrap();
    symlink(at.join("none"), at.join("dangling")).unwrap();
    let executor = starting(at, &[]);
    let shared = format!("{} can be written", at.join("shared").canonicalize().unwrap().display());
    let groups = format!("`groups` can be written by the group {group} on this probe's machine");
    let inner = at.join("groups_own").canonicalize().unwrap();
    let groups_own = format!("{} can be written by the group {group}", inner.display());
    // The files of whoever runs the test are of a group of its own, unless that is root.
    let of_roots = (!root).then(|| groups.replace("`groups`", "`roots`"));
    for (command, refused) in [
        ("roots", of_roots.as_deref()),
        ("groups", Some(groups.as_str())),
        ("from_groups_own", Some(groups_own.as_str())),
        ("good", None),
        ("link", None),
        ("none", Some("`none` is in no directory for plugins of this probe (--plugin-dir)")),
        ("plain", Some("`plain` cannot be executed by this probe")),
        ("open", Some("`open` can be written by everybody on this probe's machine")),
        ("from_shared", Some(shared.as_str())),
        ("directory", Some("`directory` is not a file")),
        ("dangling", Some("`dangling` cannot be read on this probe")),
        ("leads_out", Some("`leads_out` leads out of the directories for plugins of this probe")),
        ("shell", Some("`shell` leads out of the directories for plugins of this probe")),
        (
            "no_interpreter",
            Some("`no_interpreter` does not start: the program that its first line"),
        ),
        ("no_program", Some("`no_program` does not start: exec format error")),
        // Whatever was stored by another build.
        ("../outside", Some("`../outside` is not the name of a file")),
        ("..", Some("`..` is not the name of a file")),
        ("", Some("`` is not the name of a file")),
    ] {
        let finding = executor.run(&run_of(StepKind::Plugin(step_of(command)))).await.finding;
        match refused {
            None => assert_eq!(finding.outcome, Outcome::Pass, "{command}: {finding:?}"),
            Some(evidence) => {
                let ended = (finding.outcome, finding.reason);
                assert_eq!(ended, (Outcome::Missed, Some(Reason::ConfigError)), "{command}");
                assert!(finding.evidence.starts_with(evidence), "{command}: {finding:?}");
            }
        }
    }
    // A second directory, which the link may lead to; and none at all.
    let both = Plugins::new(vec![at.to_owned(), out.to_owned()], vec![]);
    let both = executor.with_plugins(both);
    for command in ["leads_out", "outside", "good"] {
        let finding = both.run(&run_of(StepKind::Plugin(step_of(command)))).await.finding;
        assert_eq!(finding.outcome, Outcome::Pass, "{command}: {finding:?}");
    }
    let finding = found(&run_it()).await;
    assert_eq!((finding.outcome, finding.reason), (Outcome::Missed, Some(Reason::ConfigError)));
    assert_eq!(finding.evidence, "this probe starts no plugins (--plugin-dir)");
}

#[tokio::test]
async fn performance_data_is_for_expressions_and_times_have_series() {
    let text = "echo \"OK|time=12ms;1;2 size=615B 'rt a'=3us off=-1s load=0.5\"; exit ${CODE:-0}";
    let dir = plugin(text);
    let executor = starting(dir.path(), &["CODE"]);
    let labels = ["time", "size", "rt a", "off", "none"].map(str::to_owned);
    let mut run = with(|plugin| plugin.series = labels.to_vec());
    run.expect = [
        "perf.time == duration('12ms') && perf['rt a'] < duration('4us')",
        "perf['size'] == 615.0 && perf.load < 1.0 && perf.off < duration('0s')",
        "output == 'OK' && exit_code == 0 && 'none' in perf == false && size(perf) == 5",
        "phases.total < duration('20s') && latency == phases.total",
    ]
    .map(str::to_owned)
    .to_vec();
    let finding = executor.run(&run).await.finding;
    assert_eq!(finding.outcome, Outcome::Pass, "{finding:?}");
    // Numbered behind the step; what is no time, or none that can be measured, has no sample.
    let micros = Duration::from_micros;
    assert_eq!(
        finding.phases,
        [(1, Phase::Transfer, micros(12_000)), (3, Phase::Transfer, micros(3))]
    );
    // Who speaks of the exit code judges it.
    for (code, expect, outcome) in [
        ("0", "exit_code == 0", Outcome::Pass),
        ("1", "exit_code <= 1", Outcome::Pass),
        ("2", "exit_code == 2", Outcome::Pass),
        ("2", "exit_code < 2", Outcome::Fail),
        ("3", "exit_code < 3", Outcome::Fail),
        ("1", "perf.load > 1.0", Outcome::Fail),
        ("1", "perf.load < 1.0", Outcome::Warn),
        ("2", "perf.load < 1.0", Outcome::Fail),
        ("3", "perf.load < 1.0", Outcome::Missed),
        ("0", "perf.none < 1.0", Outcome::Fail),
        ("0", "perf.time < 1.0", Outcome::Fail),
    ] {
        let mut run = with(|plugin| plugin.env = vec![("CODE".to_owned(), code.to_owned())]);
        run.expect = vec![expect.to_owned()];
        let finding = executor.run(&run).await.finding;
        assert_eq!(finding.outcome, outcome, "{code} and {expect}: {finding:?}");
    }
}

#[tokio::test]
async fn among_several_steps_each_plugin_tells_its_own_step() {
    let dir = plugin("echo WARNING - first; exit 1");
    script(dir.path(), "check_second", "echo \"$1|t=1ms\"; exit ${1:-0}", 0o755);
    let executor = starting(dir.path(), &[]);
    let second = |args: &[&str]| PluginStep {
        args: args.iter().map(|arg| (*arg).to_owned()).collect(),
        series: vec!["t".to_owned()],
        ..step_of("check_second")
    };
    let run = |args: &[&str]| {
        let first =
            PluginStep { series: vec!["a".to_owned(), "b".to_owned()], ..step_of("check_it") };
        let mut run = run_of(StepKind::Plugin(first));
        run.steps[0].name = "first".to_owned();
        let kind = StepKind::Plugin(second(args));
        run.steps.push(Step { name: "second".to_owned(), kind, captures: vec![] });
        run.timeout = Duration::from_secs(20);
        run
    };
    let finding = executor.run(&run(&[])).await.finding;
    assert_eq!((finding.outcome, finding.step), (Outcome::Warn, 0), "{finding:?}");
    assert_eq!(finding.evidence, "WARNING - first");
    // Two steps, and two series of the first.
    assert_eq!(finding.phases, [(4, Phase::Transfer, ms(1))]);
    let finding = executor.run(&run(&["2"])).await.finding;
    assert_eq!((finding.reason, finding.step), (Some(Reason::PluginCritical), 1), "{finding:?}");
}

#[tokio::test]
async fn a_plugin_that_gets_no_turn_is_missed_and_one_that_ends_makes_room() {
    let dir = plugin("read line < \"$GATE\"; exit 0");
    let gate = dir.path().join("gate");
    let made = std::process::Command::new("mkfifo").arg(&gate).status().unwrap();
    assert!(made.success());
    let executor = Arc::new(starting(dir.path(), &["GATE"]));
    let mut run = with(|plugin| {
        plugin.env = vec![("GATE".to_owned(), gate.display().to_string())];
    });
    run.timeout = Duration::from_secs(60);
    let runs: Vec<_> = (0..PLUGINS_AT_ONCE_MAX).map(|_| Box::pin(executor.run(&run))).collect();
    let mut all = Box::pin(async {
        let mut outcomes = BTreeMap::new();
        let mut runs = runs;
        while !runs.is_empty() {
            // Polled together until one has ended.
            let done = std::future::poll_fn(|context| {
                let ended = runs.iter_mut().enumerate().find_map(|(place, run)| {
                    match run.as_mut().poll(context) {
                        std::task::Poll::Ready(execution) => Some((place, execution)),
                        std::task::Poll::Pending => None,
                    }
                });
                ended.map_or(std::task::Poll::Pending, std::task::Poll::Ready)
            });
            let (place, execution) = done.await;
            drop(runs.swap_remove(place));
            *outcomes.entry(execution.finding.outcome).or_insert(0) += 1;
        }
        outcomes
    });
    // All of them have their turn before the next one asks.
    let executor_of_next = Arc::clone(&executor);
    let next = async {
        let short = Run { timeout: ms(400), ..run.clone() };
        executor_of_next.run(&short).await.finding
    };
    let finding = tokio::select! {
        biased;
        outcomes = &mut all => panic!("nobody opened the gate: {outcomes:?}"),
        finding = next => finding,
    };
    assert_eq!((finding.outcome, finding.reason), (Outcome::Missed, Some(Reason::MissedOverload)));
    assert!(finding.evidence.starts_with("64 plugins run on this probe already"), "{finding:?}");
    // Each reader of the gate gets its line, or its end.
    let opener = thread::spawn(move || {
        let mut gate = std::fs::OpenOptions::new().read(true).write(true).open(gate).unwrap();
        for _ in 0..PLUGINS_AT_ONCE_MAX {
            gate.write_all(b"go\n").unwrap();
        }
        gate
    });
    let outcomes = tokio::time::timeout(Duration::from_secs(50), all).await.unwrap();
    assert_eq!(outcomes, BTreeMap::from([(Outcome::Pass, PLUGINS_AT_ONCE_MAX)]));
    drop(opener.join());
    let finding = finding_of("exit 0", &run_it()).await;
    assert_eq!(finding.outcome, Outcome::Pass);
}

/// The plugins that people have: Debian's, against small servers.
#[tokio::test]
#[ignore = "needs monitoring-plugins-basic: .ci/run runs it"]
async fn debians_plugins_say_what_they_see_of_a_server() {
    use Outcome::{Fail, Missed, Pass, Warn};
    let dir = Path::new("/usr/lib/nagios/plugins");
    let good = answering(OK).port().to_string();
    let bad = answering(b"HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n").port().to_string();
    let odd = answering(b"HTTP/1.1 404 No\r\ncontent-length: 0\r\n\r\n").port().to_string();
    let nobody_there = Nobody::new();
    let gone = nobody_there.at.port().to_string();
    let here = ["-H", "127.0.0.1"];
    for (command, args, outcome, reason, said, series) in [
        ("check_tcp", vec!["-p", &good], Pass, None, "", &["time"][..]),
        (
            "check_tcp",
            vec!["-p", &gone],
            Fail,
            Some(Reason::PluginCritical),
            "Connection refused",
            &[],
        ),
        ("check_http", vec!["-p", &good, "-u", "/"], Pass, None, "", &["time"]),
        (
            "check_http",
            vec!["-p", &bad, "-u", "/"],
            Fail,
            Some(Reason::PluginCritical),
            "503",
            &["time"],
        ),
        ("check_http", vec!["-p", &odd, "-u", "/"], Warn, Some(Reason::Warning), "404", &["time"]),
        ("check_http", vec!["--nonsense"], Missed, Some(Reason::PluginUnknown), "", &[]),
        (
            "check_ping",
            vec!["-4", "-w", "500,50%", "-c", "900,90%", "-p", "1"],
            Pass,
            None,
            "",
            &["rta"],
        ),
    ] {
        let step = PluginStep {
            args: here.iter().copied().chain(args).map(str::to_owned).collect(),
            series: series.iter().map(|label| (*label).to_owned()).collect(),
            ..step_of(command)
        };
        let what = format!("{command} {:?}", step.args);
        let run = Run { timeout: Duration::from_secs(20), ..run_of(StepKind::Plugin(step)) };
        let finding = starting(dir, &[]).run(&run).await.finding;
        assert_eq!((finding.outcome, finding.reason), (outcome, reason), "{what}: {finding:?}");
        assert!(finding.evidence.contains(said), "{what}: {finding:?}");
        // Its own time is a series.
        let own = finding.phases.iter().filter(|(_, phase, _)| *phase == Phase::Transfer);
        assert_eq!(own.count(), series.len(), "{what}: {finding:?}");
    }
}
