//! Which live lanes one member listens to through another, and what of a lane is passed on.
//!
//! Every second a member says which probes it hears by itself ([`Listening::heard_here`] on its own
//! side, [`Listening::heard_there`] on the other), and each side derives from that what it wants of
//! whom. Lists are always whole, so that a lost one is made good by the next. Only probes that a
//! member hears itself are listed and passed on: a relay has one hop, and so no loops.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use parallax_common::limits::{RELAY_KEPT_FOR, RELAY_LIST_AGE_MAX, RELAYED_LANES_MAX};
use parallax_common::time::MeshTime;
use parallax_proto::v1::live_request::Frame;

use super::engine::Voter;

/// Probes and how far each has told everything.
pub type Heard = BTreeMap<Voter, MeshTime>;

#[derive(Debug)]
struct Member {
    heard: Heard,
    at: MeshTime,
}

/// Who is heard by whom, as one member knows it.
#[derive(Debug, Default)]
pub struct Listening {
    /// By this member itself, and since when without a break.
    here: BTreeMap<Voter, MeshTime>,
    others: BTreeMap<u64, Member>,
    /// Whom this member listens to through another one.
    through: BTreeMap<Voter, u64>,
    /// To be begun anew: not wanted for one round.
    anew: BTreeSet<Voter>,
    /// Not wanted although not heard here, for the bound's sake.
    beyond: usize,
}

impl Listening {
    /// The probes with a session here that speaks.
    pub fn heard_here(&mut self, heard: &Heard, now: MeshTime) {
        self.here.retain(|voter, _| heard.contains_key(voter));
        for voter in heard.keys() {
            self.here.entry(voter.clone()).or_insert(now);
        }
    }

    /// The probes that another member hears.
    pub fn heard_there(&mut self, member: u64, heard: Heard, now: MeshTime) {
        self.others.insert(member, Member { heard, at: now });
    }

    /// There is no stream to this member any more.
    pub fn gone(&mut self, member: u64) {
        self.others.remove(&member);
        self.through.retain(|_, through| *through != member);
    }

    /// Something of this lane is missing: it is to end and to begin anew.
    pub fn begin_anew(&mut self, voter: &Voter) {
        self.anew.insert(voter.clone());
    }

    /// Through whom a probe is listened to.
    pub fn through(&self, voter: &Voter) -> Option<u64> {
        self.through.get(voter).copied()
    }

    /// How many lanes are listened to through others, and how many would be but for the bound.
    pub fn counts(&self) -> (usize, usize) {
        (self.through.len(), self.beyond)
    }

    /// What is wanted of each member from now on. A probe that is heard here for a while is not
    /// wanted; one that is wanted stays with the member that has it as long as that one hears it;
    /// else it is asked of the member that has heard the most of it.
    pub fn wanted(&mut self, now: MeshTime) -> BTreeMap<u64, Vec<Voter>> {
        let fresh = |member: &Member| now.since(member.at) <= RELAY_LIST_AGE_MAX;
        let mut wanted: BTreeMap<u64, Vec<Voter>> =
            self.others.keys().map(|member| (*member, Vec::new())).collect();
        let mut heard: BTreeMap<&Voter, Vec<(MeshTime, u64)>> = BTreeMap::new();
        for (id, member) in self.others.iter().filter(|(_, member)| fresh(member)) {
            for (voter, mark) in &member.heard {
                let kept = self.through.get(voter) == Some(id);
                let mark = if kept { MeshTime::from_ns(i64::MAX) } else { *mark };
                heard.entry(voter).or_default().push((mark, *id));
            }
        }
        let mut through = BTreeMap::new();
        self.beyond = 0;
        for (voter, mut members) in heard {
            let is_relayed = self.through.contains_key(voter);
            let is_needed = match self.here.get(voter) {
                None => true,
                // Not at the first sign of life: its snapshot is still on its way.
                Some(since) => is_relayed && now.since(*since) < RELAY_KEPT_FOR,
            };
            if !is_needed || self.anew.contains(voter) {
                continue;
            }
            // Another one that hears it, when the best passes on all that it may.
            members.sort_unstable_by_key(|(mark, member)| (Reverse(*mark), *member));
            let room = |(_, member): &(MeshTime, u64)| {
                wanted.get(member).is_some_and(|list| list.len() < RELAYED_LANES_MAX)
            };
            let Some((_, member)) = members.into_iter().find(room) else {
                self.beyond += 1;
                continue;
            };
            wanted.entry(member).or_default().push(voter.clone());
            through.insert(voter.clone(), member);
        }
        self.through = through;
        self.anew.clear();
        wanted
    }
}

/// What is passed on to one other member, by voter.
#[derive(Debug, Default)]
pub struct Passing {
    lanes: BTreeMap<Voter, u64>,
    last: u64,
}

/// What changes when the other end says what it wants.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Turns {
    /// Lanes that begin.
    pub begin: Vec<(u64, Voter)>,
    /// Lanes that end.
    pub end: Vec<(u64, Voter)>,
}

impl Passing {
    /// The other end wants these, and no others. `goes_on` says whether a lane that began still has
    /// its session and has passed on everything: if not it ends, and begins anew when it is still
    /// wanted. More than the bound are not begun.
    pub fn wanted(
        &mut self,
        wanted: impl IntoIterator<Item = Voter>,
        goes_on: impl Fn(&Voter) -> bool,
    ) -> Turns {
        let wanted: BTreeSet<Voter> = wanted.into_iter().take(RELAYED_LANES_MAX).collect();
        let mut turns = Turns::default();
        self.lanes.retain(|voter, lane| {
            let stays = wanted.contains(voter) && goes_on(voter);
            if !stays {
                turns.end.push((*lane, voter.clone()));
            }
            stays
        });
        for voter in wanted {
            if !self.lanes.contains_key(&voter) {
                self.last += 1;
                self.lanes.insert(voter.clone(), self.last);
                turns.begin.push((self.last, voter));
            }
        }
        turns
    }

    /// A lane could not begin: there is no session.
    pub fn failed(&mut self, voter: &Voter) {
        self.lanes.remove(voter);
    }

    /// Everybody who is passed on.
    pub fn voters(&self) -> impl Iterator<Item = &Voter> {
        self.lanes.keys()
    }
}

/// Whether a frame is passed on: a lane that begins in the middle of a session must not be taken for
/// whole before it is. Outcomes always are, because their sequence must have no gap.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sieve {
    snapshot: bool,
    heartbeat: bool,
}

impl Sieve {
    /// Pieces of snapshots from the first one of a whole snapshot on, heartbeats from a whole one on.
    pub fn passes(&mut self, frame: &Frame) -> bool {
        match frame {
            Frame::Outcomes(_) => true,
            Frame::Snapshot(snapshot) => {
                self.snapshot |= snapshot.whole && snapshot.chunk == 0;
                self.snapshot
            }
            Frame::Heartbeat(heartbeat) => {
                self.heartbeat |= heartbeat.whole;
                self.heartbeat
            }
            Frame::Hello(_)
            | Frame::Pong(_)
            | Frame::AssignmentsApplied(_)
            | Frame::Goodbye(_)
            // For whoever asked at this member.
            | Frame::LookResult(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use parallax_common::name::Incarnation;
    use parallax_proto::v1;
    use proptest::prelude::*;

    use super::*;

    fn voter(name: &str) -> Voter {
        Voter { region: "eu".to_owned(), probe: name.to_owned(), incarnation: Incarnation(1) }
    }

    fn at(ms: i64) -> MeshTime {
        MeshTime::from_ns(1_000_000_000_000 + ms * 1_000_000)
    }

    /// `a@100 b@200`: names and watermarks in milliseconds.
    fn heard(text: &str) -> Heard {
        let one = |word: &str| {
            let (name, mark) = word.split_once('@').unwrap_or((word, "0"));
            (voter(name), at(mark.parse().unwrap()))
        };
        text.split_whitespace().map(one).collect()
    }

    /// `2: a b; 3:`.
    fn words(wanted: &BTreeMap<u64, Vec<Voter>>) -> String {
        let one = |(member, voters): (&u64, &Vec<Voter>)| {
            let names: Vec<_> = voters.iter().map(|voter| voter.probe.as_str()).collect();
            format!("{member}: {}", names.join(" ")).trim_end().to_owned()
        };
        wanted.iter().map(one).collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn what_is_wanted_follows_who_is_heard() {
        // Each round is a second: who is heard here, by member 2 and by member 3 (`-`: no list
        // comes), and what is then wanted.
        #[rustfmt::skip]
        let rounds = [
            ("a b", "a b c@5",  "a b c@7", "2:; 3: c"),
            // It stays where it is, although the other one knows more now.
            ("a b", "a b c@9",  "a b c@8", "2:; 3: c"),
            ("a",   "a b c@9",  "a c@9",   "2: b; 3: c"),
            ("a",   "a b c@9",  "a",       "2: b c; 3:"),
            // Heard here again: kept for a while, then left.
            ("a b", "a b c",    "a",       "2: b c; 3:"),
            ("a b", "a b c",    "a",       "2: b c; 3:"),
            ("a b", "a b c",    "a",       "2: b c; 3:"),
            ("a b", "a b c",    "a",       "2: b c; 3:"),
            ("a b", "a b c",    "a",       "2: b c; 3:"),
            ("a b", "a b c",    "a",       "2: c; 3:"),
            // A list that does not come is believed for three seconds.
            ("a b", "-",        "a",       "2: c; 3:"),
            ("a b", "-",        "a",       "2: c; 3:"),
            ("a b", "-",        "a",       "2: c; 3:"),
            ("a b", "-",        "a",       "2:; 3:"),
        ];
        let mut listening = Listening::default();
        for (round, (here, second, third, wanted)) in rounds.into_iter().enumerate() {
            let now = at(round as i64 * 1_000);
            listening.heard_here(&heard(here), now);
            for (member, list) in [(2, second), (3, third)] {
                if list != "-" {
                    listening.heard_there(member, heard(list), now);
                }
            }
            assert_eq!(words(&listening.wanted(now)), wanted, "round {round}");
        }
    }

    #[test]
    fn another_life_is_another_lane_and_a_member_that_is_gone_is_asked_for_nothing() {
        let mut listening = Listening::default();
        listening.heard_here(&heard("a"), at(0));
        let other = Voter { incarnation: Incarnation(2), ..voter("a") };
        listening.heard_there(2, [(other.clone(), at(0))].into(), at(0));
        assert_eq!(listening.wanted(at(0)), [(2, vec![other.clone()])].into());
        assert_eq!(listening.through(&other), Some(2));
        listening.gone(2);
        assert_eq!((listening.through(&other), listening.wanted(at(0)).len()), (None, 0));
    }

    #[test]
    fn a_lane_that_begins_anew_is_not_wanted_for_one_round() {
        let mut listening = Listening::default();
        listening.heard_there(2, heard("a"), at(0));
        assert_eq!(words(&listening.wanted(at(0))), "2: a");
        listening.begin_anew(&voter("a"));
        assert_eq!(words(&listening.wanted(at(1_000))), "2:");
        assert_eq!(words(&listening.wanted(at(2_000))), "2: a");
    }

    #[test]
    fn what_is_passed_on_follows_what_is_wanted() {
        let mut passing = Passing::default();
        let all = |_: &Voter| true;
        let turns = passing.wanted([voter("a"), voter("b")], all);
        assert_eq!(turns.begin, [(1, voter("a")), (2, voter("b"))]);
        assert_eq!(passing.wanted([voter("a"), voter("b")], all), Turns::default());
        // The session of a is another one now; b is no longer wanted.
        let turns = passing.wanted([voter("a")], |_| false);
        assert_eq!(turns.end, [(1, voter("a")), (2, voter("b"))]);
        assert_eq!(turns.begin, [(3, voter("a"))]);
        passing.failed(&voter("a"));
        assert_eq!(passing.voters().count(), 0);
    }

    #[test]
    fn more_lanes_than_the_bound_are_neither_wanted_nor_begun() {
        let many = |count: usize| (0..count).map(|n| (voter(&format!("p{n:05}")), at(0)));
        let mut listening = Listening::default();
        listening.heard_there(2, many(RELAYED_LANES_MAX + 5).collect(), at(0));
        let wanted = listening.wanted(at(0));
        assert_eq!(wanted[&2].len(), RELAYED_LANES_MAX);
        assert_eq!(listening.counts(), (RELAYED_LANES_MAX, 5));
        let mut passing = Passing::default();
        let voters = many(RELAYED_LANES_MAX + 5).map(|(voter, _)| voter);
        assert_eq!(passing.wanted(voters, |_| true).begin.len(), RELAYED_LANES_MAX);
    }

    #[test]
    fn what_one_member_has_no_room_for_is_asked_of_another_that_hears_it() {
        let many = |ms| (0..1_500).map(move |n| (voter(&format!("p{n:05}")), at(ms))).collect();
        let mut listening = Listening::default();
        for second in 0..3 {
            let now = at(second * 1_000);
            // One of them is always a little ahead.
            listening.heard_there(2, many(second * 1_000 + 1), now);
            listening.heard_there(3, many(second * 1_000), now);
            let wanted = listening.wanted(now);
            assert_eq!(listening.counts(), (1_500, 0), "round {second}");
            assert_eq!((wanted[&2].len(), wanted[&3].len()), (RELAYED_LANES_MAX, 476));
        }
    }

    #[test]
    fn a_lane_is_passed_on_from_where_it_is_whole() {
        let snapshot = |chunk, whole| {
            Frame::Snapshot(v1::BallotSnapshot { chunk, whole, ..v1::BallotSnapshot::default() })
        };
        let beat = |whole| Frame::Heartbeat(v1::Heartbeat { whole, ..v1::Heartbeat::default() });
        let outcomes = || Frame::Outcomes(v1::Outcomes::default());
        let mut sieve = Sieve::default();
        let frames = [
            (outcomes(), true),
            // The end of one that began before, and changes that build on what was not heard.
            (snapshot(3, true), false),
            (snapshot(0, false), false),
            (beat(false), false),
            (snapshot(0, true), true),
            (snapshot(1, true), true),
            (beat(false), false),
            (beat(true), true),
            (beat(false), true),
            (snapshot(0, false), true),
            (outcomes(), true),
            (Frame::Pong(v1::Pong::default()), false),
            (Frame::Goodbye(v1::ProbeGoodbye::default()), false),
            (Frame::LookResult(v1::LookResult::default()), false),
        ];
        for (n, (frame, passes)) in frames.into_iter().enumerate() {
            assert_eq!(sieve.passes(&frame), passes, "frame {n}");
        }
    }

    proptest! {
        /// Whoever is not heard here but by somebody whose list is fresh is listened to through
        /// exactly one such member.
        #[test]
        fn everybody_who_is_heard_is_listened_to_once(
            rounds in proptest::collection::vec(
                (0u8..64, proptest::option::of(0u8..64), proptest::option::of(0u8..64)), 1..30,
            ),
        ) {
            let names: Vec<String> = (0..6).map(|n| format!("p{n}")).collect();
            let set = |mask: u8, now: MeshTime| -> Heard {
                let on = |n: &usize| mask & (1 << n) != 0;
                (0..6).filter(on).map(|n| (voter(&names[n]), now)).collect()
            };
            let mut listening = Listening::default();
            let mut lists: BTreeMap<u64, (Heard, MeshTime)> = BTreeMap::new();
            for (round, (here, second, third)) in rounds.into_iter().enumerate() {
                let now = at(round as i64 * 1_000);
                let here = set(here, now);
                listening.heard_here(&here, now);
                for (member, mask) in [(2, second), (3, third)] {
                    if let Some(mask) = mask {
                        let heard = set(mask, now);
                        lists.insert(member, (heard.clone(), now));
                        listening.heard_there(member, heard, now);
                    }
                }
                let wanted = listening.wanted(now);
                for name in &names {
                    let voter = voter(name);
                    let of: Vec<u64> = wanted
                        .iter()
                        .filter(|(_, list)| list.contains(&voter))
                        .map(|(member, _)| *member)
                        .collect();
                    let heard_by = |member: &u64| {
                        let (heard, at) = &lists[member];
                        heard.contains_key(&voter) && now.since(*at) <= Duration::from_secs(3)
                    };
                    prop_assert!(of.len() <= 1);
                    prop_assert!(of.iter().all(heard_by));
                    if !here.contains_key(&voter) && lists.keys().any(heard_by) {
                        prop_assert_eq!(of.len(), 1, "{} in round {}", name, round);
                    }
                    prop_assert_eq!(listening.through(&voter), of.first().copied());
                }
            }
        }
    }
}
