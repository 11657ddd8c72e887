//! What is known of a namespace, as facts: from what a watcher is told, and from states themselves.

use std::collections::BTreeMap;

use imbl::ordmap::DiffItem;
use parallax_coordinator::core::state::State;
use parallax_proto::v1;
use parallax_proto::v1::resource::Kind;
use parallax_proto::v1::watch_response::Change;
use prost::Message as _;
use xxhash_rust::xxh3::xxh3_64;

/// What a fact is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum About {
    /// A resource, by the word for its kind and its name.
    Resource(&'static str, String),
    /// The verdict of a check, by uid.
    Verdict(String),
    /// An incident, by uid.
    Incident(String),
    /// A page, by its key.
    Delivery(String),
    /// A probe, by region and name.
    Probe(String, String),
}

/// Each with a number that is another one when it is something else.
pub type Facts = BTreeMap<About, u64>;

/// One thing that became so, or is no more.
pub type Step = (About, Option<u64>);

/// Takes a step.
pub fn step(facts: &mut Facts, (about, now): Step) {
    match now {
        Some(now) => drop(facts.insert(about, now)),
        None => drop(facts.remove(&about)),
    }
}

/// What a watcher learns from one change.
pub fn told(change: &Change) -> Vec<Step> {
    match change {
        Change::Resource(changed) => {
            let gone = changed.kind() == v1::ChangeKind::Deleted;
            let Some(kind) = changed.resource.as_ref().and_then(|it| it.kind.as_ref()) else {
                return Vec::new();
            };
            let (word, meta) = match kind {
                Kind::Region(region) => ("region", &region.meta),
                Kind::Contact(contact) => ("contact", &contact.meta),
                Kind::Settings(settings) => ("settings", &settings.meta),
                Kind::Check(check) => ("check", &check.meta),
                Kind::Event(event) => ("event", &event.meta),
                Kind::Maintenance(window) => ("maintenance", &window.meta),
            };
            let Some(meta) = meta else { return Vec::new() };
            let about = About::Resource(word, meta.name.clone());
            let mut steps = vec![(about, (!gone).then_some(meta.etag))];
            if gone && matches!(kind, Kind::Check(_)) {
                steps.push((About::Verdict(meta.uid.clone()), None));
            }
            steps
        }
        Change::Verdict(verdict) => {
            vec![(About::Verdict(verdict.check_uid.clone()), Some(verdict.sequence))]
        }
        Change::Incident(incident) => about_incident(incident),
        Change::Delivery(page) => vec![about_page(page)],
        Change::Probe(probe) => {
            let about = About::Probe(probe.region.clone(), probe.name.clone());
            vec![(about, known(probe.state()))]
        }
        // Nobody makes a silence there.
        Change::Silence(_) | Change::Progress(_) => Vec::new(),
    }
}

/// A probe without a state is none.
fn known(state: v1::ProbeState) -> Option<u64> {
    (state != v1::ProbeState::Unspecified).then_some(state as u64)
}

/// Which events its pages had is told with the pages.
fn about_incident(incident: &v1::Incident) -> Vec<Step> {
    let said = [incident.opened_revision, incident.resolved_revision, incident.cause as u64];
    let said = said.map(u64::to_le_bytes).concat();
    let fact = (About::Incident(incident.uid.clone()), Some(xxh3_64(&said)));
    std::iter::once(fact).chain(incident.deliveries.iter().map(about_page)).collect()
}

fn about_page(page: &v1::Delivery) -> Step {
    (About::Delivery(page.idempotency_key.clone()), Some(xxh3_64(&page.encode_to_vec())))
}

/// What became of a namespace between two states, in any order: first what is no more.
pub fn between(before: &State, after: &State, namespace: &str) -> Vec<Step> {
    let (mut gone, mut now) = (Vec::new(), Vec::new());
    if !before.checks.ptr_eq(&after.checks) {
        let of = |name: &str| About::Resource("check", name.to_owned());
        for (uid, old) in before.checks.iter().filter(|(_, it)| it.check.namespace == namespace) {
            if !after.checks.contains_key(uid) {
                gone.push((of(&old.check.name), None));
                gone.push((About::Verdict(uid.to_string()), None));
            }
        }
        for (uid, new) in after.checks.iter().filter(|(_, it)| it.check.namespace == namespace) {
            if before.checks.get(uid).is_none_or(|old| old.check.etag != new.check.etag) {
                now.push((of(&new.check.name), Some(new.check.etag)));
            }
        }
    }
    if !before.regions.ptr_eq(&after.regions) {
        for item in before.regions.diff(&after.regions) {
            let (old, new) = sides(item);
            let Some((key, _)) = old.or(new).filter(|(key, _)| key.0 == namespace) else {
                continue;
            };
            let etag = new.and_then(|(_, it)| Some(it.meta.as_ref()?.etag));
            now.push((About::Resource("region", key.1.clone()), etag));
        }
    }
    if !before.contacts.ptr_eq(&after.contacts) {
        for item in before.contacts.diff(&after.contacts) {
            let (old, new) = sides(item);
            for (row, is_old) in [(old, true), (new, false)] {
                let Some((_, row)) = row.filter(|(_, row)| !row.tombstone) else { continue };
                let meta = row.contact.as_ref().and_then(|contact| contact.meta.as_ref());
                let Some(meta) = meta.filter(|meta| meta.namespace == namespace) else { continue };
                let about = About::Resource("contact", meta.name.clone());
                match is_old {
                    true => gone.push((about, None)),
                    false => now.push((about, Some(meta.etag))),
                }
            }
        }
    }
    if !before.verdicts.ptr_eq(&after.verdicts) {
        for item in before.verdicts.diff(&after.verdicts) {
            // That of a check which is gone goes with it.
            let (_, Some((uid, new))) = sides(item) else { continue };
            let check = after.checks.get(uid);
            if check.is_some_and(|entry| entry.check.namespace == namespace) {
                now.push((About::Verdict(uid.to_string()), Some(new.sequence)));
            }
        }
    }
    if !before.incidents.ptr_eq(&after.incidents) {
        for item in before.incidents.diff(&after.incidents) {
            let (old, new) = sides(item);
            match new {
                Some((_, new)) if new.namespace == namespace => now.extend(about_incident(new)),
                None => gone.extend(old.map(|(uid, _)| (About::Incident(uid.clone()), None))),
                _ => {}
            }
        }
    }
    if !before.probes.ptr_eq(&after.probes) {
        for item in before.probes.diff(&after.probes) {
            let (old, new) = sides(item);
            let Some(((region, name), _)) = old.or(new) else { continue };
            let state = new.map_or(v1::ProbeState::Unspecified, |(_, row)| row.state());
            let about = About::Probe(region.clone(), name.clone());
            now.push((about, known(state)));
        }
    }
    gone.append(&mut now);
    gone
}

type Side<'a, K, V> = Option<(&'a K, &'a V)>;

fn sides<'a, K, V>(item: DiffItem<'a, 'a, K, V>) -> (Side<'a, K, V>, Side<'a, K, V>) {
    match item {
        DiffItem::Add(key, new) => (None, Some((key, new))),
        DiffItem::Update { old, new } => (Some(old), Some(new)),
        DiffItem::Remove(key, old) => (Some((key, old)), None),
    }
}

/// Everything that a state says of a namespace.
pub fn whole(state: &State, namespace: &str) -> Facts {
    let mut facts = Facts::new();
    between(&State::default(), state, namespace).into_iter().for_each(|it| step(&mut facts, it));
    facts
}
