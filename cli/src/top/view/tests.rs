//! Screens as text, at several sizes.

use std::time::Duration;

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::*;
use crate::top::model::{Board, Detail, Event};

fn ago(seconds: i64) -> Option<prost_types::Timestamp> {
    Some(prost_types::Timestamp { seconds: 1_000_000 - seconds, nanos: 0 })
}

fn ms(ms: i32) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds: 0, nanos: ms * 1_000_000 })
}

fn ballot(region: &str, state: v1::BallotState, last_ms: i32) -> v1::Ballot {
    let failed = state == v1::BallotState::Fail;
    v1::Ballot {
        region: region.to_owned(),
        state: state.into(),
        since: ago(90),
        in_a_row: 4,
        last_outcome: if failed { v1::Outcome::Fail } else { v1::Outcome::Pass }.into(),
        reason: if failed { v1::Reason::ConnectRefused.into() } else { 0 },
        last_total: ms(last_ms),
        ..v1::Ballot::default()
    }
}

fn row(name: &str, verdict: v1::Verdict, ballots: [v1::BallotState; 3]) -> v1::StatusRow {
    let regions = ["eu-west", "us-east", "ap-south"];
    v1::StatusRow {
        check_uid: format!("uid-{name}"),
        name: name.to_owned(),
        enabled: true,
        verdict: verdict.into(),
        since: ago(125),
        target: format!("https://{name}.example/"),
        ballots: regions.iter().zip(ballots).map(|(it, state)| ballot(it, state, 20)).collect(),
        ..v1::StatusRow::default()
    }
}

fn model(now: Instant) -> Model {
    use v1::BallotState::{Fail, Pass};
    let mut model = Model::default();
    let board = Board {
        rows: vec![
            row("blog", v1::Verdict::Up, [Pass; 3]),
            row("checkout", v1::Verdict::Down, [Fail, Fail, Pass]),
        ],
        regions: ["eu-west", "us-east", "ap-south"].map(str::to_owned).to_vec(),
        mesh: Some(v1::MeshStatus {
            mesh: "demo".to_owned(),
            node_id: 2,
            leader_id: 1,
            applied: 42,
            probes_live: 3,
            probes_known: 3,
            incidents_open: 1,
            ..v1::MeshStatus::default()
        }),
        incidents: vec![v1::Incident {
            uid: "0190b2a4-aaaa".to_owned(),
            kind: v1::IncidentKind::Down.into(),
            check_uid: "uid-checkout".to_owned(),
            check_name: "checkout".to_owned(),
            opened_at: ago(125),
            ..v1::Incident::default()
        }],
        cut: false,
        incidents_cut: false,
    };
    model.step(Event::Board(Box::new(board), now));
    let member = |name: &str, leader, reached| v1::ClusterMember {
        name: name.to_owned(),
        leader,
        reached,
        lag: Some(if leader { 0 } else { 7 }),
        ..v1::ClusterMember::default()
    };
    let members =
        vec![member("c1", true, true), member("c2", false, true), member("c3", false, false)];
    model.step(Event::Cluster(v1::GetClusterResponse { members, ..Default::default() }));
    model
}

fn press(model: &mut Model, code: KeyCode) {
    model.step(Event::Key(KeyEvent::new(code, KeyModifiers::NONE)));
}

fn look(now: Instant) -> Look {
    let utc = UtcTime::from_ns(1_000_000_000_000_000);
    Look { color: false, ascii: false, now, utc }
}

/// The screen's lines, without what is blank at their ends.
fn screen(model: &Model, look: Look, (width, height): (u16, u16)) -> Vec<String> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    let paint = |frame: &mut ratatui::Frame| {
        draw(model, &look, frame.area(), frame.buffer_mut());
    };
    terminal.draw(paint).unwrap();
    let buffer = terminal.backend().buffer();
    let line = |y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>();
    (0..height).map(|y| line(y).trim_end().to_owned()).collect()
}

#[test]
fn eighty_columns_hold_words_for_three_regions() {
    let now = parallax_runtime::clock::instant();
    let lines = screen(&model(now), look(now), (80, 24));
    assert_eq!(lines[0], "demo  3/3 probes  1 open  leader 1  by 2  rev 42");
    assert_eq!(lines[1], "members c1*  c2 lag 7  c3 (not reached)");
    assert_eq!(lines[2], "  CHECK    VERDICT     FOR     LAST    EU-WEST    US-EAST    AP-SOUTH");
    assert_eq!(lines[3], "> checkout ✗ down      2m5s    20ms    ✗ fail     ✗ fail     ✓ pass");
    assert_eq!(lines[4], "  blog     ✓ up        2m5s    20ms    ✓ pass     ✓ pass     ✓ pass");
    let title = lines.iter().position(|it| it == "OPEN INCIDENTS (1)").unwrap();
    assert_eq!(lines[title + 1], "  0190b2a4-aaaa  2m5s    checkout is down, open");
    assert_eq!(lines[23], "sort: verdict  ?: help  Enter: more  /: filter  q: quit");
}

#[test]
fn forty_columns_hold_marks_and_say_how_many_regions_are_left_out() {
    let now = parallax_runtime::clock::instant();
    let lines = screen(&model(now), look(now), (40, 12));
    assert_eq!(lines[2], "  CHECK    VERDICT     EU-> US-> AP->");
    assert_eq!(lines[3], "> checkout ✗ down      ✗    ✗    ✓");
    let lines = screen(&model(now), look(now), (31, 12));
    assert_eq!(lines[2], "  CHECK    VERDICT     EU-> +2");
    // As wide as three of four regions: the third goes for the sake of the number.
    let mut four = model(now);
    four.board.regions.push("sa-east".to_owned());
    let lines = screen(&four, look(now), (38, 12));
    assert_eq!(lines[2], "  CHECK    VERDICT     EU-> US-> +2");
}

#[test]
fn every_size_and_every_page_can_be_drawn() {
    let now = parallax_runtime::clock::instant();
    for key in [None, Some(KeyCode::Enter), Some(KeyCode::Char('?')), Some(KeyCode::Char('a'))] {
        let mut model = model(now);
        key.into_iter().for_each(|key| press(&mut model, key));
        for width in [1, 2, 7, 20, 40, 80, 200] {
            for height in [1, 2, 3, 5, 12, 24, 50] {
                let lines = screen(&model, look(now), (width, height));
                assert_eq!(lines.len(), usize::from(height));
            }
        }
    }
}

#[test]
fn two_hundred_columns_show_long_names_whole() {
    let now = parallax_runtime::clock::instant();
    let mut model = model(now);
    model.board.rows[0].name = "a-name-of-no-less-than-thirty-characters".to_owned();
    let all = |size| screen(&model, look(now), size).join("\n");
    assert!(all((200, 50)).contains("a-name-of-no-less-than-thirty-characters "));
    assert!(all((80, 24)).contains("a-name-of-no-less>"));
}

#[test]
fn ascii_has_marks_of_its_own_and_colours_are_only_there_when_wanted() {
    let now = parallax_runtime::clock::instant();
    let model = model(now);
    let plain = Look { ascii: true, ..look(now) };
    let lines = screen(&model, plain, (80, 24));
    assert!(lines[3].contains("X down") && lines[3].contains("+ pass"));
    assert!(lines.iter().all(|it| it.is_ascii()));
    for color in [false, true] {
        let area = Rect::new(0, 0, 80, 24);
        let mut buffer = Buffer::empty(area);
        draw(&model, &Look { color, ..look(now) }, area, &mut buffer);
        let red = buffer.content().iter().any(|cell| cell.fg == Color::Red);
        assert_eq!(red, color);
    }
}

#[test]
fn without_an_answer_it_says_for_how_long_and_why_and_keeps_what_it_has() {
    let now = parallax_runtime::clock::instant();
    let mut model = model(now);
    model.step(Event::Lost("connection refused".to_owned()));
    let lines = screen(&model, look(now + Duration::from_secs(12)), (80, 24));
    assert_eq!(lines[2], "no answer for 12 s: connection refused");
    assert!(lines[4].starts_with("> checkout"));
    let mut fresh = Model::default();
    fresh.step(Event::Lost("connection refused".to_owned()));
    assert_eq!(screen(&fresh, look(now), (80, 24))[1], "no answer yet: connection refused");
}

#[test]
fn one_check_is_shown_with_reasons_bars_sentences_and_its_incident() {
    let now = parallax_runtime::clock::instant();
    let mut model = model(now);
    press(&mut model, KeyCode::Enter);
    let waiting = screen(&model, look(now), (80, 24));
    assert!(waiting.contains(&"asking for more".to_owned()));
    let series = |phase: v1::Phase, p50| v1::HistorySeries {
        phase: phase.into(),
        quantiles: [p50, 40, 60].map(|it| ms(it).unwrap()).to_vec(),
        ..v1::HistorySeries::default()
    };
    let latency = v1::QueryHistoryResponse {
        rows: vec![v1::HistoryRow {
            series: vec![series(v1::Phase::Dns, 5), series(v1::Phase::Connect, 20)],
            ..v1::HistoryRow::default()
        }],
        ..v1::QueryHistoryResponse::default()
    };
    let explained = v1::ExplainCheckResponse {
        sentences: vec!["two of three regions fail".to_owned()],
        incident: model.board.incidents.first().cloned(),
        ..v1::ExplainCheckResponse::default()
    };
    let detail = Detail { check: "checkout".to_owned(), explained, latency: Some(latency) };
    model.step(Event::Detail(Box::new(detail)));
    let lines = screen(&model, look(now), (100, 24));
    for line in [
        "checkout  ✗ down for 2m5s",
        "  ✗ eu-west: fail for 1m30s, last fail (connect_refused) in 20ms, 4 in a row",
        "  ✓ ap-south: pass for 1m30s, last pass in 20ms, 4 in a row",
        "  dns        █████                5ms 40ms 60ms",
        "  connect    ████████████████████ 20ms 40ms 60ms",
        "  two of three regions fail",
        "  0190b2a4-aaaa: checkout is down open",
    ] {
        assert!(lines.iter().any(|it| it == line), "{line}: {lines:#?}");
    }
    press(&mut model, KeyCode::End);
    let area = Rect::new(0, 0, 100, 8);
    let hidden = draw(&model, &look(now), area, &mut Buffer::empty(area));
    assert!((1..20).contains(&hidden));
    model.scrolled(hidden);
    assert_eq!(model.mode, Mode::Detail(hidden));
    let lines = screen(&model, look(now), (100, 8));
    assert!(lines[6].starts_with("  0190b2a4-aaaa"), "{lines:#?}");
}

#[test]
fn what_others_wrote_cannot_steer_the_terminal() {
    let now = parallax_runtime::clock::instant();
    let mut model = model(now);
    model.board.rows[0].name = "x\u{1b}[2Jy".to_owned();
    assert!(screen(&model, look(now), (80, 24)).iter().all(|it| !it.contains('\u{1b}')));
}
