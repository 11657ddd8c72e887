//! `check run` against canned looks.

use super::*;
use v1::run_check_response::Part;

fn part(part: Part) -> Result<v1::RunCheckResponse, Status> {
    Ok(v1::RunCheckResponse { part: Some(part) })
}

fn asked(looks: u32, steps: &[&str]) -> Result<v1::RunCheckResponse, Status> {
    let within = Some(prost_types::Duration { seconds: 7, nanos: 0 });
    let steps = steps.iter().map(|&step| step.to_owned()).collect();
    part(Part::Asked(v1::RunAsked { looks, within, steps, revision: 42 }))
}

fn ms(count: i64) -> i64 {
    count * 1_000_000
}

/// A look that was carried out, with these phases of a step.
fn look(region: &str, outcome: v1::Outcome, phases: &[(u32, v1::Phase, i64)]) -> v1::Look {
    let total: i64 = phases.iter().map(|(.., length)| ms(*length)).sum();
    let phase = |&(step, phase, length): &(u32, v1::Phase, i64)| v1::PhaseDuration {
        step,
        phase: phase.into(),
        duration_ns: ms(length),
    };
    v1::Look {
        region: region.to_owned(),
        probe: "p1".to_owned(),
        ending: v1::LookEnding::Seen.into(),
        outcome: outcome.into(),
        total: Some(prost_types::Duration { seconds: 0, nanos: i32::try_from(total).unwrap() }),
        phases: phases.iter().map(phase).collect(),
        remote_address: "192.0.2.1:443".to_owned(),
        ..v1::Look::default()
    }
}

fn failing() -> v1::Look {
    v1::Look {
        reason: v1::Reason::HttpStatus.into(),
        evidence: "status 503\u{1b}[31m".to_owned(),
        ..look(
            "us-east",
            v1::Outcome::Fail,
            &[(0, v1::Phase::Connect, 10), (0, v1::Phase::FirstByte, 190)],
        )
    }
}

fn silent() -> v1::Look {
    v1::Look {
        region: "ap-south".to_owned(),
        probe: "p1".to_owned(),
        ending: v1::LookEnding::NoAnswer.into(),
        detail: "no answer in time".to_owned(),
        ..v1::Look::default()
    }
}

fn good() -> v1::Look {
    use v1::Phase::{Connect, Dns, FirstByte};
    look("eu-west", v1::Outcome::Pass, &[(0, Dns, 10), (0, Connect, 20), (0, FirstByte, 70)])
}

#[tokio::test]
async fn what_regions_saw_stands_side_by_side_to_one_scale() {
    let bench = Bench::start().await;
    let looks = [silent(), failing(), good()].map(|look| part(Part::Look(look)));
    bench.fake.0.lock().ran = std::iter::once(asked(3, &[""])).chain(looks).collect();
    let ran = bench.run("check run checkout").await;
    assert_eq!(ran.exit, Exit::Refused, "{}", ran.err);
    let bars = ["░░▒▒▒▒", "▒▒"].map(str::to_owned);
    let wanted = format!(
        "REGION    PROBE  OUTCOME      DNS   CONNECT  FIRST_BYTE  TOTAL  PHASES\n\
         ap-south  p1     · no_answer  -     -        -           -\n\
         eu-west   p1     ✓ pass       10ms  20ms     70ms        100ms  {}{}\n\
         us-east   p1     ✗ fail       -     10ms     190ms       200ms  {}{}\n\
         ░ dns  ▒ connect  █ first_byte\n\
         ap-south/p1: no answer in time\n\
         us-east/p1: http_status: status 503 [31m\n",
        bars[0],
        "█".repeat(14),
        bars[1],
        "█".repeat(38),
    );
    assert_eq!(ran.out, wanted);
    assert!(ran.err.contains("3 looks asked for; answers are awaited for 7s"), "{}", ran.err);
    assert!(ran.err.contains("1 of 3 looks pass"), "{}", ran.err);
    let runs = bench.fake.0.lock().runs.clone();
    assert_eq!((runs.len(), runs[0].name.as_str(), runs[0].regions.len()), (1, "checkout", 0));
    assert!(runs[0].request_id.is_some());
}

#[tokio::test]
async fn bars_take_the_room_that_the_terminal_has_left() {
    for (width, bar) in [(200, 60), (90, 24), (60, 0)] {
        let mut bench = Bench::start().await;
        bench.width = Some(width);
        bench.fake.0.lock().ran = vec![asked(1, &[""]), part(Part::Look(good()))];
        let ran = bench.run("check run checkout").await;
        assert_eq!(ran.exit, Exit::Ok, "{}", ran.err);
        let row = ran.out.lines().nth(1).unwrap();
        let drawn = row.chars().filter(|c| "░▒█".contains(*c)).count();
        assert!(row.chars().count() <= width, "{row}");
        if bar == 0 {
            assert_eq!((drawn, ran.out.contains("PHASES")), (0, false), "{}", ran.out);
        } else {
            assert!(drawn >= bar && drawn <= 60, "{width}: {drawn}\n{}", ran.out);
        }
    }
}

#[tokio::test]
async fn regions_are_asked_for_by_name_and_a_warning_holds() {
    let bench = Bench::start().await;
    let warned = v1::Look {
        reason: v1::Reason::Warning.into(),
        step: 1,
        ..look("eu-west", v1::Outcome::Warn, &[(0, v1::Phase::Dns, 1), (1, v1::Phase::Tls, 2)])
    };
    bench.fake.0.lock().ran = vec![asked(1, &["login", ""]), part(Part::Look(warned))];
    let ran = bench.run("check run checkout --region eu-west --region lab -o json").await;
    assert_eq!(ran.exit, Exit::Ok, "{}", ran.err);
    assert_eq!(bench.fake.0.lock().runs[0].regions, ["eu-west", "lab"]);
    let shown: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    let look = &shown["looks"][0];
    assert_eq!((&look["outcome"], &look["step"]), (&"warn".into(), &"2".into()), "{shown}");
    assert_eq!(look["phases"][0]["step"], "login", "{shown}");
    assert_eq!(look["phases"][1]["length"], "2ms", "{shown}");
}

#[tokio::test]
async fn an_answer_that_is_cut_short_or_refused_is_an_error_and_no_result() {
    // What the coordinator says; what is printed, the exit.
    let full = Status::resource_exhausted("16 checks are being run on demand");
    let table = [
        (
            vec![asked(2, &[""]), part(Part::Look(good()))],
            "looks of all who were asked",
            Exit::Refused,
        ),
        (vec![], "count of looks", Exit::Refused),
        (vec![asked(1, &[""]), Err(full)], "16 checks are being run", Exit::Refused),
    ];
    for (ran, said, exit) in table {
        let bench = Bench::start().await;
        bench.fake.0.lock().ran = ran;
        let ran = bench.run("check run checkout").await;
        assert_eq!((ran.exit, ran.out.as_str()), (exit, ""), "{said}");
        assert!(ran.err.contains(said), "{}", ran.err);
    }
    let bench = Bench::start().await;
    bench.fake.0.lock().refuse = Some(Status::unimplemented("what is that"));
    let ran = bench.run("check run checkout").await;
    assert_eq!(ran.exit, Exit::Refused);
    assert!(ran.err.contains("too old"), "{}", ran.err);
}
