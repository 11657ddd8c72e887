//! A group of coordinators to which everything happens that may happen to a minority: members are
//! killed, stand still, and are cut off, while clients write, a target breaks and heals, and a sink
//! counts pages by key. Nothing that was acknowledged may be lost, every outage is one incident, and
//! every page arrives. Clients of a few keys write down what they saw, and all of it has to fit one order.
//!
//! Told by `tests/tests/stories/disorder.rs` with few rounds and by `bench-disorder` with many.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use parallax_proto::v1;
use parallax_runtime::clock;
use parallax_runtime::supervisor::{Supervisor, TaskKind};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::harness::Binaries;
use crate::harness::group::Group;
use crate::harness::namespaces::Network;
use crate::harness::recorder::{Judged, Recorder};
use crate::harness::roaming::{Acknowledged, nothing_lost, write_forever};
use crate::harness::sink::Manner;
use crate::harness::until;
use crate::harness::wait::{Look, STALE, wait_until};
use crate::harness::yaml::{self, CheckYaml};

const REGIONS: [&str; 3] = ["eu-west", "us-east", "ap-south"];
const CHECK: &str = "checkout";
const MEMBERS: u8 = 3;
/// Clients whose history is checked. More than members, so that two ask through one.
const RECORDED: u64 = 5;
/// A third of the kills come within this of the member's start.
const EARLY: Duration = Duration::from_millis(300);
/// How long a pause or a cut lasts.
const LASTS: std::ops::Range<Duration> = Duration::from_millis(300)..Duration::from_secs(3);

/// What a story came to. A loss does not come to this: it fails with what is missing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Told {
    /// Members killed, those of [`Told::early`] included.
    pub kills: u32,
    /// Kills within 300 ms of the member's start.
    pub early: u32,
    /// Members that stood still.
    pub pauses: u32,
    /// Members cut off from both others, or a way between two cut in one or both directions.
    pub cuts: u32,
    /// Writes that were acknowledged, all of them there at the end.
    pub acknowledged: usize,
    /// Outages of the target; each was one incident.
    pub outages: usize,
    /// Pages with a key of their own, all of them received.
    pub pages: usize,
    /// Pages received again under the same key.
    pub again: usize,
    /// The history of the clients of a few keys, which is linearizable.
    pub history: Judged,
}

/// What happens in a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Kill { early: bool },
    Pause,
    Isolate,
    CutPair { both_ways: bool },
}

/// Which fault a round has goes in turn, so that a few rounds have one of each kind; all else is drawn.
/// The turn of six and the four steps of an outage meet in every way.
fn draw(random: &mut StdRng, round: u32, with_network: bool) -> Fault {
    match round % 6 {
        2 => Fault::Pause,
        3 if with_network => Fault::Isolate,
        5 if with_network => Fault::CutPair { both_ways: random.random() },
        5 => Fault::Pause,
        _ => Fault::Kill { early: random.random_range(0..3) == 0 },
    }
}

/// The group and everybody around it.
struct Story {
    group: Group,
    clients: Vec<Arc<Mutex<Acknowledged>>>,
    writers: Supervisor,
    recorder: Recorder,
    random: StdRng,
    told: Told,
}

/// Runs `rounds` rounds. With a network every coordinator has a machine of its own, and lines are cut.
///
/// # Errors
/// When something acknowledged is lost, an outage is not one incident, a page does not come, or the
/// group does not come back.
pub async fn tell(
    binaries: Binaries,
    rounds: u32,
    seed: u64,
    network: Option<Network>,
) -> Result<Told> {
    let with_network = network.is_some();
    let group = Group::start_in(binaries, MEMBERS, &REGIONS, &[], network).await?;
    let check = CheckYaml::new(CHECK, &group.target.url(), &REGIONS);
    group.apply(&yaml::file(&REGIONS, "${env:PX_HOOK}", &[check])).await?;
    let mut story = Story {
        group,
        clients: Vec::new(),
        writers: Supervisor::default(),
        recorder: Recorder::default(),
        random: StdRng::seed_from_u64(seed),
        told: Told::default(),
    };
    let leader = story.group.leader().await?;
    until::verdict(&story.group.api(&leader).await?, CHECK, v1::Verdict::Up).await?;
    story.start_writers(seed)?;
    story.start_recorded(seed)?;
    for round in 0..rounds {
        let fault = draw(&mut story.random, round, with_network);
        story.round(round, fault).await.with_context(|| format!("round {round}: {fault:?}"))?;
    }
    story.end().await
}

impl Story {
    fn endpoints(&self) -> Result<Vec<String>> {
        let names = self.group.names();
        names.iter().map(|name| Ok(self.group.addresses(name)?.api.to_string())).collect()
    }

    /// Clients of a few keys, each of which prefers one member.
    fn start_recorded(&mut self, seed: u64) -> Result<()> {
        let endpoints = self.endpoints()?;
        for number in 1..=RECORDED {
            let mut endpoints = endpoints.clone();
            let members = endpoints.len();
            endpoints.rotate_left(number as usize % members);
            let client = self.recorder.client(number, endpoints, &self.group.tls("anna"), seed);
            let stop = self.writers.stop_token();
            self.writers.spawn(TaskKind::Vital("recorded client"), async move {
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = client.go_on() => {}
                }
            });
        }
        Ok(())
    }

    /// One client for each member, which prefers that member.
    fn start_writers(&mut self, seed: u64) -> Result<()> {
        let endpoints = self.endpoints()?;
        for number in 0..endpoints.len() {
            let known = Arc::new(Mutex::new(Acknowledged::default()));
            let mut endpoints = endpoints.clone();
            endpoints.rotate_left(number);
            let (tls, stop) = (self.group.tls("anna"), self.writers.stop_token());
            let (seed, known_here) = (seed + number as u64, Arc::clone(&known));
            let prefix = format!("by-{number}");
            self.writers.spawn(TaskKind::Vital("writer"), async move {
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = write_forever(endpoints, tls, seed, &prefix, known_here) => {}
                }
            });
            self.clients.push(known);
        }
        Ok(())
    }

    async fn round(&mut self, round: u32, fault: Fault) -> Result<()> {
        // The target breaks and heals while the group is in disorder, not between.
        let breaks = round % 4 == 1;
        let heals = round % 4 == 3;
        if breaks {
            self.group.target.refuse();
            self.told.outages += 1;
        }
        if heals {
            self.group.target.heal()?;
        }
        self.strike(fault).await?;
        self.well().await?;
        if breaks || heals {
            self.paged(self.told.outages * 2 - usize::from(breaks)).await?;
        }
        if round % 10 == 9 {
            self.nothing_lost().await?;
            self.recorder.judge()?;
        }
        self.recorder.next_keys();
        eprintln!("round {round}: {fault:?}: {:?}", self.told);
        Ok(())
    }

    async fn strike(&mut self, fault: Fault) -> Result<()> {
        let names = self.group.names();
        let at = self.random.random_range(0..names.len());
        let (victim, other) = (&names[at], &names[(at + 1) % names.len()]);
        let lasts = self.random.random_range(LASTS);
        // How long something lasts is the story's input, not something to wait for.
        match fault {
            Fault::Kill { early } => {
                self.group.kill_member(victim)?;
                self.told.kills += 1;
                if early {
                    self.group.spawn_member(victim)?;
                    tokio::time::sleep(self.random.random_range(Duration::ZERO..EARLY)).await;
                    self.group.kill_member(victim)?;
                    self.told.kills += 1;
                    self.told.early += 1;
                } else {
                    tokio::time::sleep(lasts).await;
                }
                self.group.spawn_member(victim)?;
            }
            Fault::Pause => {
                self.group.pause_member(victim)?;
                tokio::time::sleep(lasts).await;
                self.group.resume_member(victim)?;
                self.told.pauses += 1;
            }
            Fault::Isolate => {
                for name in names.iter().filter(|name| *name != victim) {
                    self.cut(victim, name)?;
                    self.cut(name, victim)?;
                }
                self.heal_after(lasts, victim).await?;
            }
            Fault::CutPair { both_ways } => {
                self.cut(victim, other)?;
                if both_ways {
                    self.cut(other, victim)?;
                }
                self.heal_after(lasts, victim).await?;
            }
        }
        Ok(())
    }

    fn cut(&self, from: &str, to: &str) -> Result<()> {
        let ((network, from), (_, to)) = (self.group.machine(from)?, self.group.machine(to)?);
        network.cut(from, to)
    }

    async fn heal_after(&mut self, lasts: Duration, victim: &str) -> Result<()> {
        tokio::time::sleep(lasts).await;
        self.group.machine(victim)?.0.heal()?;
        self.told.cuts += 1;
        Ok(())
    }

    /// Waits until every member follows one leader and has applied what it has, and every client's
    /// writes go through.
    async fn well(&mut self) -> Result<()> {
        ensure!(!self.writers.stop_token().is_cancelled(), "a writer failed");
        let begun = clock::instant();
        for name in self.group.names() {
            self.group.check_running(&name)?;
        }
        let group = &self.group;
        wait_until(STALE, "every member follows one leader", || async {
            let mut leaders = BTreeSet::new();
            let mut applied = Vec::new();
            for name in group.names() {
                let mesh = group.mesh_status(&name).await.with_context(|| name.clone())?;
                leaders.insert(mesh.leader_id);
                applied.push(mesh.applied);
            }
            // They are asked one after the other while clients write: near is enough.
            let spread = applied.iter().max().zip(applied.iter().min());
            let near = spread.is_some_and(|(most, least)| most - least < 1_000);
            let one = leaders.len() == 1 && !leaders.contains(&0);
            Ok(Look::when(one && near, (leaders, applied)))
        })
        .await?;
        for known in &self.clients {
            wait_until(STALE, "a write of each client", || async {
                let known = known.lock().unwrap_or_else(PoisonError::into_inner);
                Ok(Look::some(known.first_begun_after(begun), &known.refused))
            })
            .await?;
        }
        Ok(())
    }

    /// Waits until so many pages have been received, told apart by their keys.
    async fn paged(&self, wanted: usize) -> Result<()> {
        wait_until(STALE, &format!("{wanted} pages"), || async {
            let keys = self.pages();
            let known = keys.keys().filter(|key| !is_repeat(key)).count();
            Ok(Look::when(known >= wanted, &keys))
        })
        .await
    }

    /// Pages by key: what was said, and how often it was received.
    fn pages(&self) -> BTreeMap<String, (String, usize)> {
        let mut keys: BTreeMap<String, (String, usize)> = BTreeMap::new();
        for page in self.group.sink.pages_of(CHECK) {
            if page.manner == Manner::Answer(200) {
                let (_, times) = keys.entry(page.key).or_insert((page.kind, 0));
                *times += 1;
            }
        }
        keys
    }

    async fn nothing_lost(&self) -> Result<()> {
        let mut names = Vec::new();
        for known in &self.clients {
            names.extend(known.lock().unwrap_or_else(PoisonError::into_inner).names.clone());
        }
        // By each member: none may have forgotten, and each must have learnt.
        for member in self.group.names() {
            let there = self.group.api(&member).await?.regions().await?;
            nothing_lost(&names, &there).with_context(|| format!("at {member}"))?;
        }
        Ok(())
    }

    async fn end(mut self) -> Result<Told> {
        self.group.target.heal()?;
        self.well().await?;
        self.paged(self.told.outages * 2).await?;
        self.writers.stop();
        ensure!(self.writers.join(STALE).await && !self.writers.failed(), "a writer failed");
        self.nothing_lost().await?;
        self.told.history = self.recorder.judge()?;
        let leader = self.group.leader().await?;
        let incidents = self.group.api(&leader).await?.incidents_of(CHECK).await?;
        ensure!(
            incidents.len() == self.told.outages,
            "{} outages, and incidents: {incidents:?}",
            self.told.outages
        );
        let keys = self.pages();
        for incident in &incidents {
            for delivery in &incident.deliveries {
                // What was dropped was said in another page, or had no need to be said.
                let sent = delivery.state() == v1::DeliveryState::Sent;
                ensure!(
                    !sent || keys.contains_key(&delivery.idempotency_key),
                    "{delivery:?} is said to be sent and never came"
                );
            }
        }
        let named: Vec<Vec<&str>> = incidents
            .iter()
            .map(|one| one.deliveries.iter().map(|it| it.idempotency_key.as_str()).collect())
            .collect();
        self.told.pages = exactly_two_each(&named, &keys)?;
        self.told.again = keys.values().map(|(_, times)| times - 1).sum();
        self.told.acknowledged = self
            .clients
            .iter()
            .map(|known| known.lock().unwrap_or_else(PoisonError::into_inner).names.len())
            .sum();
        let told = self.told.clone();
        self.group.told();
        Ok(told)
    }
}

/// Whether a key is that of an end that was repeated after an attempt in doubt: no page more.
fn is_repeat(key: &str) -> bool {
    key.ends_with("/again")
}

/// Finds of every incident, by the keys it names, that its opening and its end were received, and that
/// no page is of no incident. How many pages.
fn exactly_two_each(
    incidents: &[Vec<&str>],
    pages: &BTreeMap<String, (String, usize)>,
) -> Result<usize> {
    for named in incidents {
        let named = named.iter().filter(|key| !is_repeat(key));
        let mut kinds: Vec<&str> =
            named.filter_map(|key| pages.get(*key)).map(|(kind, _)| kind.as_str()).collect();
        kinds.sort_unstable();
        ensure!(
            kinds == ["opened", "resolved"],
            "of an incident came {kinds:?}: {incidents:?} and {pages:?}"
        );
    }
    let known = pages.keys().filter(|key| !is_repeat(key)).count();
    ensure!(known == 2 * incidents.len(), "{} incidents, and pages: {pages:?}", incidents.len());
    Ok(known)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(pages: &[(&str, &str)]) -> BTreeMap<String, (String, usize)> {
        pages.iter().map(|(key, kind)| ((*key).to_owned(), ((*kind).to_owned(), 1))).collect()
    }

    #[test]
    fn a_page_that_is_lost_or_of_no_incident_or_repeated_is_told_apart() {
        let named = [vec!["a/o", "a/r", "a/r/again"]];
        let whole = [("a/o", "opened"), ("a/r", "resolved")];
        assert_eq!(exactly_two_each(&named, &received(&whole)).unwrap(), 2);
        let repeated = [whole[0], whole[1], ("a/r/again", "resolved")];
        assert_eq!(exactly_two_each(&named, &received(&repeated)).unwrap(), 2);
        // A repetition does not stand for what it repeats.
        assert!(exactly_two_each(&named, &received(&[whole[0], repeated[2]])).is_err());
        assert!(exactly_two_each(&named, &received(&whole[..1])).is_err());
        assert!(exactly_two_each(&named, &received(&whole[1..])).is_err());
        let more = [whole[0], whole[1], ("b/o", "opened")];
        assert!(exactly_two_each(&named, &received(&more)).is_err());
    }
}
