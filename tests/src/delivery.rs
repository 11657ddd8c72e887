//! Every page arrives, once to whoever knows its key: checks break and heal while leaders are killed at
//! every step of a page's way, and receivers refuse, hang, reset and ask for patience.
//!
//! Told by `bench-delivery`. What was said is judged in [`ledger`]; what it is like when a receiver's
//! packets are swallowed for minutes is told in [`hole`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use parallax_proto::v1;
use parallax_runtime::clock;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use self::ledger::Account;
use crate::harness::Binaries;
use crate::harness::client::Api;
use crate::harness::group::Group;
use crate::harness::receiver::{Manner, Moods, Receiver, Step, Trap};
use crate::harness::switches::Switches;
use crate::harness::wait::{Look, STALE, wait_until};

pub mod hole;
pub mod ledger;

/// The receiver that looks at no keys, and answers what it takes.
pub const KEYLESS: &str = "chat";

const REGIONS: [&str; 3] = ["eu-west", "us-east", "ap-south"];
const MEMBERS: u8 = 3;
/// Checks, each broken and healed on its own.
const CHECKS: usize = 24;
/// Between two looks at what is open.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Longest that a check is left as it is before it is broken or healed.
const DWELLS: Duration = Duration::from_millis(800);
/// How long a change of a target may take to be an incident, or its end, with leaders dying.
const DECIDED_WITHIN: Duration = Duration::from_secs(60);
/// How long a trap waits for a page before its leader is killed wherever it is.
const TRAP_PATIENCE: Duration = Duration::from_secs(4);
/// How long a killed coordinator stays away.
const AWAY: Duration = Duration::from_millis(1_200);
/// How long the door of the receiver that closes it stays closed.
const CLOSED: Duration = Duration::from_secs(3);
/// What still waits at the end: a back-off, a trial of a contact that was failing, an end to be said again.
const SETTLED_WITHIN: Duration = Duration::from_secs(600);

/// What a story came to.
#[derive(Debug, Clone, Default)]
pub struct Told {
    /// Targets broken and healed.
    pub transitions: u32,
    /// Incidents, one an outage.
    pub incidents: usize,
    /// Leaders killed, by the step at which they were.
    pub kills: BTreeMap<&'static str, u32>,
    /// Terms that were seen to begin.
    pub terms: usize,
    /// What each receiver was told.
    pub accounts: BTreeMap<&'static str, Account>,
    /// Messages that were shown again and had been handed over, as their holder had said nothing for
    /// 15 s: the machine is too busy for so many pages.
    pub late: usize,
    /// Messages that a receiver without moods of its own was shown again although nobody had been killed,
    /// and no other member had begun to lead, meanwhile.
    pub unexplained: Vec<String>,
}

impl Told {
    /// Leaders killed.
    pub fn killed(&self) -> u32 {
        self.kills.values().sum()
    }
}

/// A receiver, and the name of the contact that leads to it.
struct Contact {
    name: &'static str,
    receiver: Receiver,
    knows_keys: bool,
    /// It shows a page only when it also answers that it has: what it is shown again, a kill explains.
    answers: bool,
}

/// Where a check is on its way.
#[derive(Debug, Clone)]
enum Stage {
    Well { until: Instant },
    Breaking { since: Instant },
    Open { until: Instant },
    Healing { since: Instant },
}

/// Where the next kill is.
#[derive(Debug)]
enum Killer {
    Rests { transition: u32 },
    Set { victim: String, until: Instant },
    Aims { victim: String, at: Instant },
    Away { victim: String, until: Instant },
}

struct Story {
    group: Group,
    switches: Switches,
    contacts: Vec<Contact>,
    trap: Arc<Trap>,
    random: StdRng,
    checks: BTreeMap<String, Stage>,
    outages: BTreeMap<String, usize>,
    killer: Killer,
    kill_every: u32,
    kills: Vec<Instant>,
    /// The newest term that was seen, and when there was a newer one than before.
    term: u64,
    terms: Vec<Instant>,
    /// A connection, and the member that it leads to.
    api: Option<(String, Api)>,
    door_moves_at: Instant,
    told: Told,
}

/// Breaks and heals targets so often. A leader is killed every `kill_every` of them.
///
/// # Errors
/// When an outage is not one incident, a page does not come, or the group does not come back.
pub async fn tell(
    binaries: Binaries,
    transitions: u32,
    kill_every: u32,
    seed: u64,
) -> Result<Told> {
    let trap = Arc::new(Trap::default());
    let contact = |name, moods, knows_keys, more| -> Result<Contact> {
        let receiver = Receiver::start(moods, seed ^ more, Arc::clone(&trap))?;
        Ok(Contact { name, receiver, knows_keys, answers: name != "ops" })
    };
    let contacts = vec![
        contact("ops", moody(), true, 1)?,
        // Whoever takes a page and loses the answer sees it twice without any kill, and so does not here.
        contact(KEYLESS, vec![(90, Manner::Take), (10, Manner::Refuse(429))], false, 2)?,
        contact("door", vec![(1, Manner::Take)], true, 3)?,
    ];
    let mut group = Group::start(binaries, MEMBERS, &REGIONS).await?;
    let switches = Switches::start()?;
    let names: Vec<String> = (0..CHECKS).map(|number| format!("check-{number}")).collect();
    group.apply(&yaml(&contacts, &switches, &names)).await?;
    let leader = group.leader().await?;
    all_up(&group.api(&leader).await?, &names).await?;
    let now = clock::instant();
    let mut random = StdRng::seed_from_u64(seed);
    let checks = names
        .iter()
        .map(|name| (name.clone(), Stage::Well { until: now + dwell(&mut random) }))
        .collect();
    let mut story = Story {
        group,
        switches,
        contacts,
        trap,
        random,
        checks,
        outages: BTreeMap::new(),
        killer: Killer::Rests { transition: kill_every },
        kill_every,
        kills: Vec::new(),
        term: 0,
        terms: Vec::new(),
        api: None,
        door_moves_at: now + CLOSED,
        told: Told::default(),
    };
    while !story.is_over(transitions) {
        story.step(transitions).await?;
        tokio::time::sleep(LOOK_EVERY).await;
    }
    story.end().await
}

/// Everything a receiver may do, most of the time taking pages.
fn moody() -> Moods {
    vec![
        (76, Manner::Take),
        (6, Manner::TakeAndReset),
        (6, Manner::Refuse(429)),
        (6, Manner::Refuse(503)),
        (5, Manner::Reset),
        (1, Manner::Hang),
    ]
}

fn dwell(random: &mut StdRng) -> Duration {
    random.random_range(Duration::ZERO..DWELLS)
}

fn yaml(contacts: &[Contact], switches: &Switches, checks: &[String]) -> String {
    let mut yaml = String::from("regions:\n");
    for region in REGIONS {
        yaml += &format!("  - {{name: {region}}}\n");
    }
    yaml += "contacts:\n";
    for contact in contacts {
        let url = contact.receiver.url();
        yaml +=
            &format!("  - {{name: {}, webhook: {{url: \"{url}\", timeout: 2s}}}}\n", contact.name);
    }
    let alert: Vec<&str> = contacts.iter().map(|contact| contact.name).collect();
    // It is each incident's own pages that are counted here.
    yaml += "mesh: {storm: {over: 0}}\nchecks:\n";
    for check in checks {
        yaml += &format!(
            "  - {{name: {check}, http: {{url: \"{}\"}}, interval: 1s, timeout: 5s, regions: [{}], \
             down: {{failures: 1}}, up: {{successes: 1}}, alert: [{}]}}\n",
            switches.url(check),
            REGIONS.join(", "),
            alert.join(", "),
        );
    }
    yaml
}

async fn all_up(api: &Api, checks: &[String]) -> Result<()> {
    for check in checks {
        wait_until(STALE, &format!("{check} is up"), || async {
            let row = api.status(check).await?;
            Ok(Look::when(row.verdict() == v1::Verdict::Up, row.verdict()))
        })
        .await?;
    }
    Ok(())
}

impl Story {
    /// Enough was broken, all is healed, and everybody is there.
    fn is_over(&self, transitions: u32) -> bool {
        let well = |stage: &Stage| matches!(stage, Stage::Well { .. });
        self.told.transitions >= transitions
            && self.checks.values().all(well)
            && matches!(self.killer, Killer::Rests { .. })
    }

    async fn step(&mut self, transitions: u32) -> Result<()> {
        let more = self.told.transitions < transitions;
        self.kill(more).await?;
        self.move_door(more).await?;
        if let Some(open) = self.open().await {
            self.move_checks(&open, more)?;
        }
        Ok(())
    }

    /// Checks with an open incident, by a quorum; nothing while there is none.
    async fn open(&mut self) -> Option<BTreeSet<String>> {
        let patience = Duration::from_secs(1);
        if self.api.is_none() {
            let running = self.group.running();
            let name = running[self.random.random_range(0..running.len())].clone();
            let connected = tokio::time::timeout(patience, self.group.api(&name)).await;
            self.api = Some((name, connected.ok()?.ok()?));
        }
        let (_, api) = self.api.as_ref()?;
        let look = async { anyhow::Ok((api.mesh(true).await?.term, api.incidents(true).await?)) };
        match tokio::time::timeout(patience, look).await {
            Ok(Ok((term, open))) => {
                if term > self.term {
                    self.term = term;
                    self.terms.push(clock::instant());
                }
                Some(open.into_iter().map(|incident| incident.check_name).collect())
            }
            _ => {
                self.api = None;
                None
            }
        }
    }

    fn move_checks(&mut self, open: &BTreeSet<String>, more: bool) -> Result<()> {
        let now = clock::instant();
        for (name, stage) in &mut self.checks {
            let is_open = open.contains(name);
            let next = match stage {
                Stage::Well { .. } if is_open => bail!("{name} is well and has an incident"),
                Stage::Well { until } if *until <= now && more => {
                    self.switches.breaks(name);
                    self.told.transitions += 1;
                    Stage::Breaking { since: now }
                }
                Stage::Breaking { .. } if is_open => {
                    *self.outages.entry(name.clone()).or_default() += 1;
                    Stage::Open { until: now + dwell(&mut self.random) }
                }
                Stage::Open { until } if *until <= now => {
                    self.switches.heals(name);
                    self.told.transitions += 1;
                    Stage::Healing { since: now }
                }
                Stage::Healing { .. } if !is_open => {
                    Stage::Well { until: now + dwell(&mut self.random) }
                }
                Stage::Breaking { since } | Stage::Healing { since } => {
                    let took = now.duration_since(*since);
                    ensure!(took < DECIDED_WITHIN, "{name}: {stage:?} for {took:?}");
                    continue;
                }
                Stage::Well { .. } | Stage::Open { .. } => continue,
            };
            *stage = next;
        }
        Ok(())
    }

    /// One receiver closes its door now and then.
    async fn move_door(&mut self, more: bool) -> Result<()> {
        let now = clock::instant();
        if now < self.door_moves_at {
            return Ok(());
        }
        let open_for = CLOSED * 4 + dwell(&mut self.random);
        let door = self.contacts.iter_mut().find(|contact| contact.name == "door");
        let receiver = &mut door.context("a contact with a door")?.receiver;
        if receiver.is_open() && more {
            receiver.refuse();
            self.door_moves_at = now + CLOSED;
        } else {
            receiver.hear().await?;
            self.door_moves_at = now + open_for;
        }
        Ok(())
    }

    /// The next step towards a kill, or towards everybody being there again.
    async fn kill(&mut self, more: bool) -> Result<()> {
        let now = clock::instant();
        match &self.killer {
            Killer::Rests { transition } => {
                if more && self.told.transitions >= *transition {
                    self.aim().await?;
                }
            }
            Killer::Set { victim, until } => {
                let victim = victim.clone();
                if let Some((step, at)) = self.trap.sprung() {
                    let name = match step {
                        Step::Connected => "connected",
                        Step::Received => "received",
                        Step::Answered(_) => "answered",
                    };
                    self.killed(&victim, name, at)?;
                } else if *until <= now && self.trap.take_away() {
                    self.killed(&victim, "without a page", now)?;
                }
            }
            Killer::Aims { victim, at } => {
                if *at <= now {
                    let victim = victim.clone();
                    self.killed(&victim, "at any moment", now)?;
                }
            }
            Killer::Away { victim, until } => {
                if *until <= now {
                    let victim = victim.clone();
                    self.group.spawn_member(&victim)?;
                    let transition = self.told.transitions + self.kill_every;
                    self.killer = Killer::Rests { transition };
                }
            }
        }
        Ok(())
    }

    /// Draws the step at which the leader is killed.
    async fn aim(&mut self) -> Result<()> {
        for name in self.group.names() {
            self.group.check_running(&name)?;
        }
        let victim = self.group.leader().await?;
        let pid = self.group.process(&victim)?.id();
        let now = clock::instant();
        let step = match self.random.random_range(0..6) {
            0 => Step::Connected,
            1 | 2 => Step::Received,
            3 => Step::Answered(Duration::ZERO),
            4 => {
                let most = Duration::from_millis(20);
                Step::Answered(self.random.random_range(Duration::ZERO..most))
            }
            _ => {
                self.killer = Killer::Aims { victim, at: now + dwell(&mut self.random) };
                return Ok(());
            }
        };
        self.trap.set(step, pid);
        self.killer = Killer::Set { victim, until: now + TRAP_PATIENCE };
        Ok(())
    }

    /// It was killed at `at`, or is now.
    fn killed(&mut self, victim: &str, step: &'static str, at: Instant) -> Result<()> {
        self.group.kill_member(victim)?;
        self.kills.push(at);
        *self.told.kills.entry(step).or_default() += 1;
        if self.api.as_ref().is_some_and(|(name, _)| name == victim) {
            self.api = None;
        }
        let until = clock::instant() + self.random.random_range(Duration::ZERO..AWAY);
        eprintln!(
            "{} transitions, kill {}: {victim}, {step}",
            self.told.transitions,
            self.told.killed()
        );
        self.killer = Killer::Away { victim: victim.to_owned(), until };
        Ok(())
    }

    async fn end(mut self) -> Result<Told> {
        for contact in &mut self.contacts {
            contact.receiver.cheers_up();
            contact.receiver.hear().await?;
        }
        let leader = self.group.leader().await?;
        let group = &self.group;
        let incidents = wait_until(SETTLED_WITHIN, "the last page", || async {
            let all = group.api(&leader).await?.incidents(false).await?;
            let left = waiting(&all);
            Ok(Look::some(left.is_empty().then_some(all), left))
        })
        .await?;
        self.held_against(&incidents)?;
        self.told.incidents = incidents.len();
        // The first leader's was none that began.
        self.told.terms = self.terms.len().saturating_sub(1);
        let uids = incidents.iter().map(|incident| incident.uid.clone()).collect();
        for contact in &self.contacts {
            let said = contact.receiver.said();
            let account = ledger::account(&uids, &said, contact.knows_keys);
            let faulty = [&account.lost, &account.doubled, &account.early_ends, &account.zombies];
            for incident in faulty.into_iter().flatten() {
                let told = ledger::told_of(incident, &said, &self.kills);
                eprintln!("{}: {incident}: {told}", contact.name);
            }
            if let Some(key) = &account.most_often {
                let incident = key.split(':').next().unwrap_or_default();
                let told = ledger::told_of(incident, &said, &self.kills);
                eprintln!("{}: most often, {} times: {told}", contact.name, account.times_at_most);
            }
            self.told.accounts.insert(contact.name, account);
            if contact.answers {
                for message in ledger::unexplained(&said, &self.kills, &self.terms) {
                    let told = ledger::told_of(&message.incident, &said, &self.kills);
                    let moved = handed_over(&incidents, &message.incident, contact.name);
                    if moved.iter().any(|moved| moved.why() == v1::HandOver::Unanswered) {
                        self.told.late += 1;
                        continue;
                    }
                    self.told.unexplained.push(format!("{}: {told}; {moved:?}", message.key));
                }
            }
        }
        let told = self.told.clone();
        let well = told.accounts.values().all(|account| account.faults().is_empty());
        if well && told.unexplained.is_empty() {
            self.group.told();
        }
        Ok(told)
    }

    /// Every outage is one incident, and what is said to be sent was shown.
    fn held_against(&self, incidents: &[v1::Incident]) -> Result<()> {
        let mut by_check: BTreeMap<String, usize> = BTreeMap::new();
        for incident in incidents {
            *by_check.entry(incident.check_name.clone()).or_default() += 1;
        }
        ensure!(by_check == self.outages, "outages {:?}, and incidents {by_check:?}", self.outages);
        for contact in &self.contacts {
            let said = contact.receiver.said();
            let shown: BTreeSet<&str> =
                said.iter().filter(|it| it.shown).map(|it| it.key.as_str()).collect();
            let deliveries = incidents.iter().flat_map(|incident| &incident.deliveries);
            for page in deliveries.filter(|page| page.contact_name == contact.name) {
                let sent = page.state() == v1::DeliveryState::Sent;
                ensure!(
                    !sent || shown.contains(page.idempotency_key.as_str()),
                    "{page:?} is said to be sent and never came"
                );
            }
        }
        Ok(())
    }
}

/// Why the pages of an incident to a contact changed hands.
fn handed_over(incidents: &[v1::Incident], uid: &str, contact: &str) -> Vec<v1::PageReassigned> {
    let one = incidents.iter().filter(|incident| incident.uid == uid);
    let events = one.flat_map(|incident| &incident.timeline).filter_map(|it| it.event.clone());
    let moves = events.filter_map(|event| match event {
        v1::timeline_event::Event::PageReassigned(moved) => Some(moved),
        _ => None,
    });
    moves.filter(|moved| moved.contact == contact).collect()
}

/// Keys of pages that still wait.
fn waiting(incidents: &[v1::Incident]) -> Vec<String> {
    use v1::DeliveryState::{Dead, Dropped, Sent};
    let pages = incidents.iter().flat_map(|incident| &incident.deliveries);
    let waits = |page: &&v1::Delivery| !matches!(page.state(), Sent | Dropped | Dead);
    let waiting = pages.filter(waits);
    waiting.map(|page| format!("{}: {}", page.idempotency_key, page.last_error)).collect()
}
