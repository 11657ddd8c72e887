//! Stories about probes, told second by second, and the rows and incidents that come of them.

use std::collections::BTreeSet;

use parallax_common::limits::VOTERS_PER_CHECK_MAX;

use super::*;

const UTC: i64 = 1_800_000_000;

fn key(region: &str, probe: &str) -> ProbeKey {
    ProbeKey { region: region.into(), probe: probe.into() }
}

fn region_key(region: &str) -> RegionKey {
    RegionKey { namespace: "default".into(), region: region.into() }
}

/// A leader with its replicated rows: every proposal is applied at once, as a lone voter would.
struct Mesh {
    tracker: Tracker,
    rows: BTreeMap<ProbeKey, ProbeRow>,
    /// How the incident about silence stands, and that about what is outdated.
    alarms: BTreeMap<RegionKey, [Alarm; 2]>,
    needs: Needs,
    /// Probes that send watermarks every second.
    alive: BTreeSet<(ProbeKey, u64)>,
    now: i64,
    /// Id of the newest session.
    session: u64,
    log: Vec<String>,
}

impl Mesh {
    fn new(regions: &[&str]) -> Self {
        let tracker = Tracker::new(MeshTime::from_ns(0));
        let mut mesh = Self {
            tracker,
            rows: BTreeMap::new(),
            alarms: BTreeMap::new(),
            needs: Needs::new(),
            alive: BTreeSet::new(),
            now: 0,
            session: 0,
            log: vec![],
        };
        mesh.give(Input::Leadership(true));
        for region in regions {
            mesh.alarms.insert(region_key(region), Default::default());
            mesh.give_region(region);
        }
        mesh
    }

    fn mesh_now(&self) -> MeshTime {
        MeshTime::from_ns(self.now * 1_000_000_000)
    }

    fn utc(&self) -> UtcTime {
        UtcTime::from_ns((UTC + self.now) * 1_000_000_000)
    }

    fn give_region(&mut self, region: &str) {
        let key = region_key(region);
        let [silent, outdated] = self.alarms[&key].clone();
        let needs = self.needs.clone();
        self.give(Input::Region { key, checks: 1, needs, silent, outdated });
    }

    fn give(&mut self, input: Input) {
        let mut out = Vec::new();
        self.tracker.handle(input, self.mesh_now(), self.utc(), &mut out);
        for output in out {
            self.apply(output);
        }
    }

    fn apply(&mut self, output: Output) {
        let now = self.now;
        match output {
            Output::Change(_, change) => {
                let key = key(&change.region, &change.probe);
                let state = change.state().as_str_name().replace("PROBE_STATE_", "");
                let what = if change.forget { "forgotten" } else { &state.to_lowercase() };
                self.log.push(format!("{now} {} {what}", key.probe));
                match rows::apply(self.rows.remove(&key), &change, self.utc()) {
                    Some(row) => {
                        self.rows.insert(key, row.clone());
                        self.give(Input::Row(row));
                    }
                    None => self.give(Input::Forgotten(key)),
                }
            }
            Output::OpenRegion(_, key, trouble, record) => {
                let silent = record.ballots.iter().filter(|b| b.stale).count();
                let all = record.ballots.len();
                let said = match trouble {
                    Trouble::Silent => format!("open {silent}/{all}"),
                    Trouble::Outdated => {
                        let each = record.ballots.iter();
                        let each: Vec<_> =
                            each.map(|b| format!("{} {}", b.probe, b.evidence)).collect();
                        format!("outdated: {}", each.join(", "))
                    }
                };
                self.log.push(format!("{now} {} {said}", key.region));
                self.alarm(&key, trouble).incident = format!("incident-{now}");
                self.give_region(&key.region);
            }
            Output::ResolveRegion(_, key, trouble, incident, _) => {
                assert_eq!(self.alarm(&key, trouble).incident, incident);
                let what = if trouble == Trouble::Silent { "resolve" } else { "up to date" };
                self.log.push(format!("{now} {} {what}", key.region));
                self.alarm(&key, trouble).incident.clear();
                self.give_region(&key.region);
            }
            Output::UnlatchRegion(_, key, trouble, _) => {
                let alarm = self.alarm(&key, trouble);
                assert!(alarm.latched && alarm.incident.is_empty());
                alarm.latched = false;
                self.log.push(format!("{now} {} unlatch", key.region));
                self.give_region(&key.region);
            }
            Output::Supersede { key, old, new } => {
                self.log.push(format!("{now} {} {} superseded by {}", key.probe, old.0, new.0));
            }
        }
    }

    fn alarm(&mut self, key: &RegionKey, trouble: Trouble) -> &mut Alarm {
        let [silent, outdated] = self.alarms.get_mut(key).unwrap();
        if trouble == Trouble::Silent { silent } else { outdated }
    }

    fn start(&mut self, region: &str, probe: &str, incarnation: u64) {
        self.start_build(region, probe, incarnation, "1", &["http"]);
    }

    fn start_build(
        &mut self,
        region: &str,
        probe: &str,
        incarnation: u64,
        build: &str,
        kinds: &[&str],
    ) {
        let key = key(region, probe);
        self.alive.insert((key.clone(), incarnation));
        self.session += 1;
        self.give(Input::SessionStarted(Session {
            id: self.session,
            key,
            incarnation: Incarnation(incarnation),
            address: "192.0.2.1:5000".into(),
            build: build.into(),
            kinds: kinds.iter().map(|kind| (*kind).into()).collect(),
        }));
    }

    /// The probe dies: no goodbye, no more watermarks. Its connection stands, for all that is known.
    fn kill(&mut self, region: &str, probe: &str) {
        let key = key(region, probe);
        self.alive.retain(|(alive, _)| *alive != key);
    }

    /// Its connection is found to be dead, too.
    fn end_session(&mut self, region: &str, probe: &str) {
        let key = key(region, probe);
        let id = self.tracker.probes[&key].session().unwrap().id;
        self.give(Input::SessionEnded(key, id));
    }

    /// Lets the mesh run to second `until`.
    fn run(&mut self, until: i64) {
        while self.now < until {
            self.now += 1;
            for (key, incarnation) in self.alive.clone() {
                let (incarnation, watermark) = (Incarnation(incarnation), self.mesh_now());
                self.give(Input::Heard { key, incarnation, watermark });
            }
            let due = |mesh: &Self| mesh.tracker.wake_at().is_some_and(|at| at <= mesh.mesh_now());
            if due(self) {
                self.give(Input::Wake);
                assert!(!due(self), "the same wake-up twice");
            }
        }
    }

    fn states(&self) -> String {
        let word = |row: &ProbeRow| match row.state() {
            ProbeState::Live => "live",
            ProbeState::Lost => "lost",
            ProbeState::Probation => "probation",
            ProbeState::Unspecified => "?",
        };
        let all: Vec<_> =
            self.rows.values().map(|row| format!("{}:{}", row.probe, word(row))).collect();
        all.join(" ")
    }
}

/// Runs a story: lines of `second: what who...`; returns what was proposed.
fn story(regions: &[&str], text: &str) -> Mesh {
    let mut mesh = Mesh::new(regions);
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (second, what) = line.split_once(": ").unwrap();
        mesh.run(second.parse().unwrap());
        let mut words = what.split(' ');
        match words.next().unwrap() {
            "start" => {
                for probe in words {
                    let (probe, incarnation) = probe.split_once('#').unwrap_or((probe, "1"));
                    mesh.start("eu", probe, incarnation.parse().unwrap());
                }
            }
            "kill" => words.for_each(|probe| mesh.kill("eu", probe)),
            "hangup" => words.for_each(|probe| {
                mesh.kill("eu", probe);
                mesh.end_session("eu", probe);
            }),
            // As `incident resolve` does it, with --force when that is needed.
            "resolve" => {
                let key = region_key("eu");
                let now = mesh.mesh_now();
                for trouble in [Trouble::Silent, Trouble::Outdated] {
                    let latched = mesh.tracker.is_in_trouble(&key, trouble, now);
                    *mesh.alarm(&key, trouble) = Alarm { incident: String::new(), latched };
                }
                mesh.give_region("eu");
            }
            // A probe that can run `tcp` too, or is of an older or newer build.
            "better" | "older" | "newer" => {
                let (build, kinds): (_, &[&str]) = match line.split(' ').nth(1).unwrap() {
                    "better" => ("0.5.0", &["http", "tcp"]),
                    "older" => ("0.3.9", &["http"]),
                    _ => ("0.4.0", &["http"]),
                };
                for probe in words {
                    let (probe, incarnation) = probe.split_once('#').unwrap_or((probe, "1"));
                    mesh.start_build("eu", probe, incarnation.parse().unwrap(), build, kinds);
                }
            }
            // What is asked of probes: kinds, and the coordinators' build.
            "ask" => {
                mesh.needs = words
                    .map(|kind| {
                        (["http", "tcp"].into_iter().find(|known| *known == kind).unwrap(), 2)
                    })
                    .collect();
                mesh.give_region("eu");
            }
            "standard" => {
                let build = outdated::Version::of(words.next().unwrap());
                mesh.give(Input::Standard(Some(Standard { build })));
            }
            "leader" => {
                mesh.give(Input::Leadership(false));
                mesh.give(Input::Leadership(true));
            }
            "end" => {}
            other => panic!("{other}"),
        }
    }
    mesh
}

#[test]
fn stories() {
    // (what it shows, story, what is proposed, rows at the end)
    let table: &[(&str, &str, &[&str], &str)] = &[
        (
            "a new probe is live from its session's start",
            "3: start a\n 30: end",
            &["3 a live"],
            "a:live",
        ),
        (
            "one of three is lost after 4 s of silence, and live as soon as it is heard",
            "0: start a b c\n 20: kill b\n 40: start b\n 60: end",
            &["0 a live", "0 b live", "0 c live", "24 b lost", "40 b live"],
            "a:live b:live c:live",
        ),
        (
            "exactly half is not over half",
            "0: start a b\n 20: kill b\n 40: end",
            &["0 a live", "0 b live", "24 b lost"],
            "a:live b:lost",
        ),
        (
            "over half moves nothing and is one incident, which ends when they are back",
            "0: start a b c\n 20: kill b c\n 50: start b c\n 70: end",
            &["0 a live", "0 b live", "0 c live", "30 eu open 2/3", "56 eu resolve"],
            "a:live b:live c:live",
        ),
        (
            "over half, one second apart, is over half",
            "0: start a b c\n 20: kill b\n 21: kill c\n 60: end",
            &["0 a live", "0 b live", "0 c live", "31 eu open 2/3"],
            "a:live b:live c:live",
        ),
        (
            "when half is back, who is still silent 10 s later is lost",
            "0: start a b c\n 20: kill b c\n 50: start c\n 70: end",
            &["0 a live", "0 b live", "0 c live", "30 eu open 2/3", "56 eu resolve", "60 b lost"],
            "a:live b:lost c:live",
        ),
        (
            "losses within a minute count together, later ones do not",
            "0: start a b c\n 20: kill b\n 50: kill c\n 130: end",
            &[
                "0 a live",
                "0 b live",
                "0 c live",
                "24 b lost",
                "60 eu open 2/3",
                "84 eu resolve",
                "94 c lost",
            ],
            "a:live b:lost c:lost",
        ),
        (
            "the only probe keeps its work, and the region is silent",
            "0: start a\n 20: kill a\n 60: start a\n 80: end",
            &["0 a live", "30 eu open 1/1", "66 eu resolve"],
            "a:live",
        ),
        (
            "a short restart of the only probe disturbs nobody",
            "0: start a\n 20: kill a\n 27: start a\n 60: end",
            &["0 a live"],
            "a:live",
        ),
        (
            "the last of two keeps its work, too",
            "0: start a b\n 20: kill b\n 100: kill a\n 140: end",
            &["0 a live", "0 b live", "24 b lost", "110 eu open 2/2"],
            "a:live b:lost",
        ),
        (
            "a region that never had a probe is silent after a minute",
            "120: end",
            &["60 eu open 0/0"],
            "",
        ),
        (
            "resolved by hand while it is silent, a region stays shut until it was well once",
            "0: start a\n 20: kill a\n 60: resolve\n 200: leader\n 400: start a\n 500: kill a\n \
             520: end",
            &["0 a live", "30 eu open 1/1", "406 eu unlatch", "510 eu open 1/1"],
            "a:live",
        ),
        (
            "resolved by hand when it is well again, it opens when it is silent again",
            "0: start a\n 20: kill a\n 60: start a\n 70: resolve\n 80: kill a\n 100: end",
            &["0 a live", "30 eu open 1/1", "66 eu resolve", "90 eu open 1/1"],
            "a:live",
        ),
        (
            "after a change of leader nobody is lost for 10 s",
            "0: start a b c\n 20: kill b\n 22: leader\n 40: end",
            &["0 a live", "0 b live", "0 c live", "32 b lost"],
            "a:live b:lost c:live",
        ),
        (
            "three losses in ten minutes: live again after a minute of steady session",
            "0: start a b c\n 20: kill b\n 30: start b\n 120: kill b\n 130: start b\n \
             220: kill b\n 230: start b\n 330: end",
            &[
                "0 a live",
                "0 b live",
                "0 c live",
                "24 b lost",
                "30 b live",
                "124 b lost",
                "130 b live",
                "224 b lost",
                "230 b probation",
                "291 b live",
            ],
            "a:live b:live c:live",
        ),
        (
            "who falls silent on probation begins the minute anew",
            "0: start a b c\n 20: kill b\n 30: start b\n 120: kill b\n 130: start b\n \
             220: kill b\n 230: start b\n 260: kill b\n 280: start b\n 345: end",
            &[
                "0 a live",
                "0 b live",
                "0 c live",
                "24 b lost",
                "30 b live",
                "124 b lost",
                "130 b live",
                "224 b lost",
                "230 b probation",
                "264 b lost",
                "280 b probation",
                "341 b live",
            ],
            "a:live b:live c:live",
        ),
        (
            "a third loss after more than ten minutes is not a third loss",
            "0: start a b c\n 20: kill b\n 30: start b\n 120: kill b\n 130: start b\n \
             700: kill b\n 710: start b\n 720: end",
            &[
                "0 a live",
                "0 b live",
                "0 c live",
                "24 b lost",
                "30 b live",
                "124 b lost",
                "130 b live",
                "704 b lost",
                "710 b live",
            ],
            "a:live b:live c:live",
        ),
        (
            "a second life supersedes the first, which is not taken back",
            "0: start a#1\n 20: start a#2\n 25: start a#1\n 40: end",
            &["0 a live", "20 a 1 superseded by 2", "20 a live", "25 a 1 superseded by 2"],
            "a:live",
        ),
        (
            "a lost probe is forgotten when its region was spoken for during an hour",
            "0: start a b c\n 20: hangup b\n 3700: end",
            &["0 a live", "0 b live", "0 c live", "24 b lost", "3624 b forgotten"],
            "a:live c:live",
        ),
        (
            "the hour begins when both are what they are",
            "0: start a b\n 20: hangup b\n 1000: hangup a\n 2000: start c\n 6000: end",
            &[
                "0 a live",
                "0 b live",
                "24 b lost",
                "1010 eu open 2/2",
                "2000 c live",
                "2006 eu resolve",
                "2010 a lost",
                "5600 b forgotten",
                "5610 a forgotten",
            ],
            "c:live",
        ),
        (
            "who comes back within it is not forgotten",
            "0: start a b\n 20: hangup b\n 3600: start b\n 9000: end",
            &["0 a live", "0 b live", "24 b lost", "3600 b live"],
            "a:live b:live",
        ),
        (
            "who comes back later is new",
            "0: start a b\n 20: hangup b\n 4000: start b\n 9000: end",
            &["0 a live", "0 b live", "24 b lost", "3624 b forgotten", "4000 b live"],
            "a:live b:live",
        ),
        (
            "nobody is forgotten while its connection stands",
            "0: start a b\n 20: kill b\n 90000: hangup b\n 90001: end",
            &["0 a live", "0 b live", "24 b lost", "90000 b forgotten"],
            "a:live",
        ),
        (
            "without another one it is a day, and a day for the last one that is held live",
            "0: start a b\n 20: hangup b\n 100: hangup a\n 90000: end",
            &[
                "0 a live",
                "0 b live",
                "24 b lost",
                "110 eu open 2/2",
                "86424 b forgotten",
                "86504 a forgotten",
            ],
            "",
        ),
        (
            "what a mass loss holds is forgotten after a day, and the survivor speaks alone",
            "0: start a b c\n 20: hangup b c\n 90000: end",
            &[
                "0 a live",
                "0 b live",
                "0 c live",
                "30 eu open 2/3",
                "86424 b forgotten",
                "86424 eu resolve",
                "86424 c forgotten",
            ],
            "a:live",
        ),
        (
            "a change of leader begins the day of those that are held anew",
            "0: start a\n 20: hangup a\n 50000: leader\n 136409: end",
            &["0 a live", "30 eu open 1/1"],
            "a:live",
        ),
        (
            "and not the day of those that are lost, who get the grace of a start",
            "0: start a b\n 20: hangup b\n 100: hangup a\n 86420: leader\n 86500: end",
            &["0 a live", "0 b live", "24 b lost", "110 eu open 2/2", "86430 b forgotten"],
            "a:live",
        ),
    ];
    let mut wrong = Vec::new();
    for (what, text, proposed, states) in table {
        let mesh = story(&["eu"], text);
        if (mesh.log.clone(), mesh.states().as_str()) != (own(proposed), *states) {
            wrong.push(format!("{what}\n{text}\n{:?}\n{:?}", mesh.log, mesh.states()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

fn own(lines: &[&str]) -> Vec<String> {
    lines.iter().map(|&line| line.to_owned()).collect()
}

#[test]
fn an_old_watermark_is_no_sign_of_life() {
    let mut mesh = story(&["eu"], "0: start a b c\n 20: kill b");
    for second in 21..40 {
        mesh.run(second);
        // Bytes that were stuck in a socket arrive now, and say what was so then.
        mesh.give(Input::Heard {
            key: key("eu", "b"),
            incarnation: Incarnation(1),
            watermark: MeshTime::from_ns(19_000_000_000),
        });
    }
    assert_eq!(mesh.states(), "a:live b:lost c:live");
}

#[test]
fn a_watermark_of_a_superseded_life_does_not_count() {
    let mut mesh = story(&["eu"], "0: start a#1 b c\n 20: start a#2\n 21: kill a");
    mesh.alive.insert((key("eu", "a"), 1));
    mesh.run(40);
    assert_eq!(mesh.states(), "a:lost b:live c:live");
}

#[test]
fn a_follower_proposes_nothing_and_a_new_leader_knows_what_it_heard() {
    let mut mesh = story(&["eu"], "0: start a b c");
    mesh.give(Input::Leadership(false));
    mesh.run(20);
    mesh.kill("eu", "b");
    mesh.run(60);
    assert_eq!((mesh.states().as_str(), mesh.tracker.wake_at()), ("a:live b:live c:live", None));
    mesh.give(Input::Leadership(true));
    mesh.run(75);
    assert_eq!(mesh.states(), "a:live b:lost c:live");
}

#[test]
fn the_end_of_a_session_that_was_replaced_is_no_end() {
    let mut mesh = story(&["eu"], "0: start a\n 10: start a");
    let known = |mesh: &Mesh| mesh.tracker.probes[&key("eu", "a")].session().cloned();
    mesh.give(Input::SessionEnded(key("eu", "a"), 1));
    assert_eq!(known(&mesh).map(|session| session.id), Some(2));
    mesh.give(Input::SessionEnded(key("eu", "a"), 2));
    assert_eq!(known(&mesh), None);
}

#[test]
fn a_follower_tells_nobody_to_go_and_a_new_leader_tells_whoever_should_have_gone() {
    let mut mesh = story(&["eu"], "0: start a");
    mesh.give(Input::Leadership(false));
    mesh.log.clear();
    mesh.start("eu", "a", 2);
    assert_eq!(mesh.log, Vec::<String>::new());
    mesh.give(Input::Leadership(true));
    assert!(mesh.log.iter().any(|line| line.ends_with("a 1 superseded by 2")), "{:?}", mesh.log);
    assert_eq!(mesh.rows[&key("eu", "a")].incarnation, 2);
}

#[test]
fn a_probe_with_a_session_here_and_one_relayed_stays_steady_when_one_of_them_ends() {
    let mut mesh = story(&["eu"], "0: start a");
    let steady = |mesh: &Mesh| mesh.tracker.probes[&key("eu", "a")].steady_since;
    mesh.run(5);
    let since = steady(&mesh);
    assert!(since.is_some());
    mesh.start("eu", "a", 1);
    mesh.give(Input::SessionEnded(key("eu", "a"), 1));
    mesh.run(8);
    assert_eq!(steady(&mesh), since);
    mesh.give(Input::SessionEnded(key("eu", "a"), 2));
    assert_eq!(steady(&mesh), None);
}

#[test]
fn a_lost_proposal_is_made_again_and_only_one_is_under_way() {
    let now = MeshTime::from_ns(1_000_000_000);
    let utc = UtcTime::from_ns(UTC);
    let mut tracker = Tracker::new(now);
    let mut out = Vec::new();
    tracker.handle(Input::Leadership(true), now, utc, &mut out);
    let session = Session {
        id: 1,
        key: key("eu", "a"),
        incarnation: Incarnation(1),
        address: String::new(),
        build: String::new(),
        kinds: vec![],
    };
    tracker.handle(Input::SessionStarted(session), now, utc, &mut out);
    tracker.handle(Input::Wake, now, utc, &mut out);
    let [Output::Change(first, announced)] = &out[..] else { panic!("{out:?}") };
    let (first, announced) = (*first, announced.clone());
    tracker.handle(Input::Settled(Subject::Probe(key("eu", "a")), first), now, utc, &mut out);
    let [_, Output::Change(second, again)] = &out[..] else { panic!("{out:?}") };
    assert_eq!(*again, announced);
    assert_ne!(*second, first);
    // News of the first one come again, and late: the second is still under way.
    tracker.handle(Input::Settled(Subject::Probe(key("eu", "a")), first), now, utc, &mut out);
    assert_eq!(out.len(), 2, "{out:?}");
}

#[test]
fn a_change_that_comes_too_late_changes_nothing() {
    let row = ProbeRow {
        region: "eu".into(),
        probe: "a".into(),
        incarnation: 2,
        state: ProbeState::Live.into(),
        ..Default::default()
    };
    let mut lost = rows::turn(&row, ProbeState::Lost);
    lost.incarnation = 1;
    let utc = UtcTime::from_ns(UTC);
    assert_eq!(rows::apply(Some(row.clone()), &lost, utc), Some(row.clone()));
    assert_eq!(rows::apply(None, &lost, utc), None);
    let mut forget = lost.clone();
    forget.forget = true;
    assert_eq!(rows::apply(Some(row.clone()), &forget, utc), Some(row.clone()));
    forget.incarnation = 2;
    assert_eq!(rows::apply(Some(row.clone()), &forget, utc), Some(row.clone()), "it is live again");
    let lost = rows::apply(Some(row.clone()), &rows::turn(&row, ProbeState::Lost), utc).unwrap();
    assert_eq!(rows::apply(Some(lost), &forget, utc), None);
}

#[test]
fn losses_are_stamped_and_the_last_three_kept_and_only_live_rows_move_the_plan() {
    let live = rows::announce(
        &Session {
            id: 1,
            key: key("eu", "a"),
            incarnation: Incarnation(1),
            address: String::new(),
            build: String::new(),
            kinds: vec!["http".into()],
        },
        ProbeState::Live,
    );
    let mut row = rows::apply(None, &live, UtcTime::from_ns(1)).unwrap();
    assert!(rows::moves_plan(None, Some(&row)));
    for utc in 2..6 {
        let lost = rows::turn(&row, ProbeState::Lost);
        let after = rows::apply(Some(row.clone()), &lost, UtcTime::from_ns(utc)).unwrap();
        assert!(rows::moves_plan(Some(&row), Some(&after)));
        let again = rows::apply(Some(after.clone()), &lost, UtcTime::from_ns(99)).unwrap();
        assert_eq!(again, after, "lost once is lost");
        assert!(rows::live([&after]).region("eu").is_empty());
        row = rows::apply(Some(after), &live, UtcTime::from_ns(utc)).unwrap();
    }
    assert_eq!(row.losses_utc_ns, [3, 4, 5]);
    assert_eq!(rows::live([&row]).region("eu").len(), 1);
}

#[test]
fn stories_of_outdated_probes() {
    let lacks_tcp = "a cannot run tcp, which 2 checks need";
    let behind = "a is more than one minor version older than the coordinators (0.5)";
    let opens = |at: u32, what: &str| format!("{at} eu outdated: {what}");
    // (what it shows, story, what is proposed about the region)
    let table: &[(&str, &str, &[String])] = &[
        (
            "a probe without a kind that checks need is told of after five minutes, until it is upgraded",
            "0: standard 0.5.0\n 0: start a b\n 20: ask http tcp\n 900: better a b\n 905: end",
            &[
                opens(320, &format!("{lacks_tcp}, b{}", &lacks_tcp[1..])),
                "900 eu up to date".into(),
            ],
        ),
        (
            "one that is upgraded before is no incident",
            "0: standard 0.5.0\n 0: start a\n 20: ask tcp\n 310: better a\n 900: end",
            &[],
        ),
        (
            "nor is a check that goes before",
            "0: standard 0.5.0\n 0: start a\n 20: ask tcp\n 310: ask http\n 900: end",
            &[],
        ),
        (
            "a build two minor versions behind is outdated, one that is one behind is not",
            "0: standard 0.5.0\n 0: older a\n 0: newer b\n 900: end",
            &[opens(300, behind)],
        ),
        ("nobody is, while the cluster says nothing", "0: older a\n 0: ask tcp\n 900: end", &[]),
        (
            "coordinators that are upgraded make probes old",
            "0: standard 0.4.0\n 0: older a\n 900: standard 0.5.0\n 1300: end",
            &[opens(1200, behind)],
        ),
        (
            "a new leader counts anew, and an open incident is not opened twice",
            "0: standard 0.5.0\n 0: older a\n 200: leader\n 600: leader\n 1200: end",
            &[opens(500, behind)],
        ),
        (
            "silence comes beside it, and does not end it",
            "0: standard 0.5.0\n 0: older a\n 400: kill a\n 500: older a\n 600: newer a#2\n 610: end",
            &[
                opens(300, behind),
                "410 eu open 1/1".into(),
                "506 eu resolve".into(),
                "600 eu up to date".into(),
            ],
        ),
        (
            "resolved by hand it stays shut until nobody is outdated",
            "0: standard 0.5.0\n 0: older a\n 400: resolve\n 900: newer a#2\n 905: end",
            &[opens(300, behind), "900 eu unlatch".into()],
        ),
    ];
    for (what, text, expected) in table {
        let mesh = story(&["eu"], text);
        let told: Vec<_> = mesh.log.iter().filter(|line| line.contains(" eu ")).collect();
        assert_eq!(told, expected.iter().collect::<Vec<_>>(), "{what}");
    }
}

#[test]
fn an_incident_of_a_region_names_as_many_probes_as_a_check_has_voters_and_counts_the_rest() {
    let mut mesh = Mesh::new(&["eu"]);
    mesh.needs = [("tcp", 1)].into();
    mesh.give_region("eu");
    mesh.give(Input::Standard(Some(Standard::default())));
    let all = VOTERS_PER_CHECK_MAX + 4;
    for probe in 0..all {
        mesh.start("eu", &format!("p{probe:03}"), 1);
    }
    // The last of them are not heard any more, and are named all the same.
    for probe in all - 2..all {
        mesh.kill("eu", &format!("p{probe:03}"));
    }
    mesh.run(5);
    let (key, now, utc) = (region_key("eu"), mesh.mesh_now(), mesh.utc());
    for trouble in [Trouble::Silent, Trouble::Outdated] {
        let record = mesh.tracker.record(&key, trouble, now, utc);
        assert_eq!(record.ballots.len(), VOTERS_PER_CHECK_MAX, "{trouble:?}");
        assert_eq!(record.ballots.iter().filter(|ballot| ballot.stale).count(), 2);
        assert_eq!((record.fresh as usize, record.failing), (all - 2, 2));
        assert_eq!(crate::core::explain::heard_of(&record), (all, 2));
        for kind in [v1::IncidentKind::RegionSilent, v1::IncidentKind::RegionOutdated] {
            let opened_by = Some(record.clone());
            let incident = v1::Incident { kind: kind.into(), opened_by, ..v1::Incident::default() };
            let told = crate::core::explain::incident(&incident).join(" ");
            assert!(told.contains("; 4 more."), "{told}");
        }
    }
}

/// A region of three, some of which are drained or not, and die after a minute.
fn down_to(drained: bool, dead: &[&str]) -> Mesh {
    let mut mesh = Mesh::new(&["eu"]);
    for probe in ["p1", "p2", "p3"] {
        mesh.start("eu", probe, 1);
    }
    mesh.run(60);
    for probe in dead {
        let row = mesh.rows.get_mut(&key("eu", probe)).unwrap();
        row.drain = drained.then(v1::Drain::default);
        let row = row.clone();
        mesh.give(Input::Row(row));
        mesh.kill("eu", probe);
    }
    mesh
}

#[test]
fn a_drained_probe_that_stops_is_no_loss_of_its_region_and_is_known_for_a_day() {
    for drained in [false, true] {
        let has = |mesh: &Mesh, what: &str| mesh.log.iter().any(|line| line.contains(what));
        let mut mesh = down_to(drained, &["p1", "p2"]);
        mesh.run(120);
        assert_eq!(has(&mesh, "open 2/3"), !drained, "{:?}", mesh.log);
        assert_eq!(has(&mesh, "p1 lost"), drained, "{:?}", mesh.log);
        // Somebody else speaks for the region: an hour is enough, where nobody wants it back.
        let mut mesh = down_to(drained, &["p1"]);
        mesh.end_session("eu", "p1");
        mesh.run(2 * 3_600);
        assert!(has(&mesh, "p1 lost"), "{:?}", mesh.log);
        assert_eq!(has(&mesh, "p1 forgotten"), !drained, "{:?}", mesh.log);
        mesh.run(25 * 3_600);
        assert!(has(&mesh, "p1 forgotten"), "{:?}", mesh.log);
    }
}
