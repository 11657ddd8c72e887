//! One of two contacts is behind a line that swallows every packet, for minutes: the other is told as
//! always, checks are looked at as always, and what waited is told afterwards, in order and with the times at
//! which it happened.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use parallax_runtime::clock;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::ledger;
use super::{Contact, MEMBERS, REGIONS, all_up, yaml};
use crate::bench::figures::{Samples, ms};
use crate::harness::Binaries;
use crate::harness::group::Group;
use crate::harness::receiver::{Manner, Receiver, Said};
use crate::harness::switches::Switches;
use crate::harness::wait::{Look, wait_until};

const CHECKS: usize = 8;
/// Between two looks at what was told.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How long a check is left as it is before it is broken or healed.
const DWELLS: std::ops::Range<Duration> = Duration::from_secs(1)..Duration::from_secs(6);
/// How long the contact that is well may wait for a page.
const TOLD_WITHIN: Duration = Duration::from_secs(30);
/// What waited goes when one page that tried was taken: a trial comes every 30 s, and takes as long as it
/// is allowed to.
const CAUGHT_UP_WITHIN: Duration = Duration::from_secs(120);

/// What a story came to.
#[derive(Debug, Clone, Default)]
pub struct Told {
    /// Incidents, one an outage.
    pub incidents: usize,
    /// From the change of a target to the page of the contact that is well.
    pub beside: Latency,
    /// From the end of the hole to the last page that waited for it.
    pub caught_up_ms: f64,
    /// Incidents that were over by then, told by one message.
    pub combined: usize,
    /// Incidents that began before another one that was told before them.
    pub overtaken: usize,
    /// Runs, ordered ones among them.
    pub runs: u64,
    /// Slots in the same time.
    pub slots: u64,
    /// Runs that the probes say they missed.
    pub missed_runs: u64,
    /// What must not be, in words.
    pub faults: Vec<String>,
}

/// Durations from one change to its page.
#[derive(Debug, Clone, Default)]
pub struct Latency(Samples);

impl Latency {
    /// In milliseconds.
    pub fn p99_ms(&self) -> f64 {
        ms(self.0.quantile(0.99))
    }

    /// For the report.
    pub fn summary(&self) -> serde_json::Value {
        self.0.summary()
    }
}

/// A check, and since when it waits for what.
struct Check {
    name: String,
    broken: bool,
    /// Pages about it so far.
    told: usize,
    /// When it was changed, while its page is still awaited.
    changed: Option<Instant>,
    changes_at: Instant,
}

/// Swallows the packets of one contact for so long.
///
/// # Errors
/// When the other contact is not told, or the one behind the hole is not afterwards.
pub async fn tell(binaries: Binaries, lasts: Duration, seed: u64) -> Result<Told> {
    let contact = |name| -> Result<Contact> {
        let receiver = Receiver::start(vec![(1, Manner::Take)], seed, Arc::default())?;
        Ok(Contact { name, receiver, knows_keys: true, answers: true })
    };
    let mut contacts = vec![contact("ops")?, contact("hole")?];
    let mut group = Group::start(binaries, MEMBERS, &REGIONS).await?;
    let switches = Switches::start()?;
    let names: Vec<String> = (0..CHECKS).map(|number| format!("check-{number}")).collect();
    group.apply(&yaml(&contacts, &switches, &names)).await?;
    let leader = group.leader().await?;
    let api = group.api(&leader).await?;
    all_up(&api, &names).await?;
    let mut random = StdRng::seed_from_u64(seed);
    let began = clock::instant();
    let mut checks: Vec<Check> = names
        .iter()
        .map(|name| Check {
            name: name.clone(),
            broken: false,
            told: 0,
            changed: None,
            changes_at: began + random.random_range(DWELLS),
        })
        .collect();
    contacts[1].receiver.swallow().await?;
    let (runs, missed) = (runs(&switches, &names), missed(&group, &leader).await?);
    let counted = clock::instant();
    let mut told = Told::default();
    let ends = began + lasts;
    // The first stays broken until the hole is over: its end waits behind its beginning.
    while clock::instant() < ends
        || checks.iter().skip(1).any(|it| it.broken || it.changed.is_some())
    {
        let more = clock::instant() < ends;
        let said = contacts[0].receiver.said();
        for (number, check) in checks.iter_mut().enumerate() {
            let stays = number == 0 && check.broken;
            check.step(&switches, &said, &mut random, more, stays, &mut told.beside.0)?;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    let took = clock::instant().duration_since(counted);
    told.runs = self::runs(&switches, &names) - runs;
    told.slots = took.as_secs() * (CHECKS * REGIONS.len()) as u64;
    told.missed_runs = self::missed(&group, &leader).await?.saturating_sub(missed);
    ensure!(contacts[1].receiver.said().is_empty(), "the hole let something through");

    contacts[1].receiver.hear().await?;
    let over = clock::instant();
    wait_until(CAUGHT_UP_WITHIN, "the beginning that waited", || async {
        let said = contacts[1].receiver.said();
        let began = said.iter().any(|it| it.check == names[0] && it.kind == "opened");
        Ok(Look::when(began, said.len()))
    })
    .await?;
    switches.heals(&names[0]);
    let keys = |said: &[Said]| -> BTreeSet<String> {
        let ends = said.iter().filter(|it| matches!(it.kind.as_str(), "resolved" | "combined"));
        ends.map(|it| it.incident.clone()).collect()
    };
    let wanted = wait_until(CAUGHT_UP_WITHIN, "every incident at both contacts", || async {
        let all = api.incidents(false).await?;
        let open = all.iter().filter(|incident| incident.resolved_at.is_none()).count();
        let uids: BTreeSet<String> = all.into_iter().map(|incident| incident.uid).collect();
        let behind = keys(&contacts[1].receiver.said());
        let left = uids.difference(&behind).count();
        let beside = uids.difference(&keys(&contacts[0].receiver.said())).count();
        let all_told = open == 0 && left == 0 && beside == 0;
        Ok(Look::some(all_told.then_some(uids), (open, left, beside)))
    })
    .await?;
    let said: Vec<Vec<Said>> = contacts.iter().map(|contact| contact.receiver.said()).collect();
    let last = said[1].iter().map(|it| it.at).max().context("somebody was told")?;
    told.caught_up_ms = ms(last.duration_since(over));
    told.incidents = wanted.len();
    for (contact, said) in contacts.iter().zip(&said) {
        let account = ledger::account(&wanted, said, false);
        told.faults.extend(account.faults().iter().map(|it| format!("{}: {it}", contact.name)));
        if account.repeated > 0 {
            told.faults.push(format!("{}: {} repeated", contact.name, account.repeated));
        }
        if contact.name == "hole" {
            told.combined = account.combined;
        }
    }
    told.faults.extend(other_times(&said[0], &said[1]));
    told.overtaken = overtaken(&said[1]);
    if told.faults.is_empty() {
        group.told();
    }
    Ok(told)
}

impl Check {
    /// Notes the page that was awaited, or changes the target when its time has come.
    fn step(
        &mut self,
        switches: &Switches,
        said: &[Said],
        random: &mut StdRng,
        more: bool,
        stays: bool,
        samples: &mut Samples,
    ) -> Result<()> {
        let now = clock::instant();
        if let Some(changed) = self.changed {
            let page = said.iter().filter(|it| it.check == self.name).nth(self.told);
            let Some(page) = page else {
                let took = now.duration_since(changed);
                ensure!(took < TOLD_WITHIN, "{} changed, and ops was told nothing", self.name);
                return Ok(());
            };
            let wanted = if self.broken { "opened" } else { "resolved" };
            ensure!(page.kind == wanted, "{}: {:?} instead of {wanted}", self.name, page.kind);
            samples.push(page.at.duration_since(changed));
            self.told += 1;
            self.changed = None;
            self.changes_at = now + random.random_range(DWELLS);
        } else if !stays && now >= self.changes_at && (more || self.broken) {
            self.broken = !self.broken;
            match self.broken {
                true => switches.breaks(&self.name),
                false => switches.heals(&self.name),
            }
            self.changed = Some(now);
        }
        Ok(())
    }
}

fn runs(switches: &Switches, names: &[String]) -> u64 {
    names.iter().map(|name| switches.requests(name)).sum()
}

async fn missed(group: &Group, leader: &str) -> Result<u64> {
    let api = group.api(leader).await?;
    let mut missed = 0;
    for region in REGIONS {
        missed += api.probe(region).await?.missed;
    }
    Ok(missed)
}

/// Incidents whose times one contact was told otherwise than the other.
fn other_times(one: &[Said], other: &[Said]) -> Vec<String> {
    let times = |said: &[Said]| -> BTreeMap<(String, &'static str), String> {
        let mut times = BTreeMap::new();
        for it in said {
            for field in ["opened_at", "resolved_at"] {
                if let Some(at) = it.body["incident"][field].as_str() {
                    times.insert((it.incident.clone(), field), at.to_owned());
                }
            }
        }
        times
    };
    let (one, other) = (times(one), times(other));
    let differ = one.iter().filter(|(what, at)| other.get(*what) != Some(at));
    differ.map(|(what, at)| format!("{what:?} is {at}, and {:?}", other.get(what))).collect()
}

/// Incidents that were told after one that began later.
fn overtaken(said: &[Said]) -> usize {
    let mut known = BTreeSet::new();
    let mut latest = "";
    let mut overtaken = 0;
    for it in said {
        let began = it.body["incident"]["opened_at"].as_str().unwrap_or_default();
        if known.insert(&it.incident) {
            overtaken += usize::from(began < latest);
            latest = latest.max(began);
        }
    }
    overtaken
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn said(incident: &str, opened: &str, resolved: Option<&str>) -> Said {
        Said {
            key: incident.to_owned(),
            kind: "opened".to_owned(),
            incident: incident.to_owned(),
            check: String::new(),
            body: json!({"incident": {"opened_at": opened, "resolved_at": resolved}}),
            shown: true,
            at: clock::instant(),
        }
    }

    #[test]
    fn incidents_that_came_after_a_later_one_are_counted_once() {
        let told =
            |order: &[&str]| -> Vec<Said> { order.iter().map(|at| said(at, at, None)).collect() };
        assert_eq!(overtaken(&told(&["1", "2", "2", "3"])), 0);
        assert_eq!(overtaken(&told(&["3", "1", "2", "4", "1"])), 2);
    }

    #[test]
    fn times_that_differ_are_named() {
        let one = [said("a", "1", None), said("a", "1", Some("2"))];
        assert!(other_times(&one, &[said("a", "1", Some("2"))]).is_empty());
        let late = other_times(&one, &[said("a", "1", Some("9"))]);
        assert!(late.len() == 1 && late[0].contains("resolved_at"), "{late:?}");
        assert_eq!(other_times(&one, &[]).len(), 2);
    }
}
