//! From the resources of an apply to what it would change: the plan a person sees, and the
//! compare-and-set writes that carry it out.
//!
//! Pure: uids come from the caller. Every broken rule of every resource is reported, not the first.

mod level;
mod untold;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use parallax_common::limits::APPLY_RESOURCES_MAX;
use parallax_common::name::{Uid, is_name};
use parallax_common::rule::{self, Advice, Rule, Violation};
use parallax_common::schedule::merge_ranks;
use parallax_proto::convert::check::{self, Known};
use parallax_proto::convert::contact::redacted::{HIDDEN, redacted};
use parallax_proto::convert::{fields, resource};
use parallax_proto::store::config_change::Change as Put;
use parallax_proto::v1::resource::Kind as ResourceKind;
use parallax_proto::{store, v1};

use crate::core::hours::When;
use crate::core::outbox::fallback;
use crate::core::quiet::depends;
use crate::core::routing::{self, Routes};
use crate::core::state::{Kind, LASTING_LEVEL, Name, State};

use self::untold::Untold;

/// Part of a set, in percent, that a prune may delete without being told the number.
const PRUNE_PERCENT_MAX: usize = 30;

/// What an apply asks for besides its resources.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// Where unqualified resources go.
    pub namespace: String,
    /// The apply set.
    pub set: String,
    /// Delete what is in the set and not in this apply.
    pub prune: bool,
    /// The number of deletions the caller expects; needed above 30 % of the set.
    pub yes_delete: u32,
    /// Take resources over from another set.
    pub take: bool,
    /// Show nothing of what contacts hold secret: who asks may look and not edit.
    pub hides_secrets: bool,
}

/// What an apply would do.
#[derive(Debug, Clone, Default)]
pub struct Draft {
    /// One row a resource, for people.
    pub changes: Vec<v1::Change>,
    /// What is proposed. Unchanged resources are not in it.
    pub writes: Vec<store::ConfigChange>,
    /// Allowed, but worth a thought.
    pub advice: Vec<Advice>,
}

impl Draft {
    /// How many rows are of this kind.
    pub fn count(&self, kind: v1::ChangeKind) -> u32 {
        let rows = self.changes.iter().filter(|change| change.kind() == kind).count();
        u32::try_from(rows).unwrap_or(u32::MAX)
    }
}

/// Plans an apply against `state`.
///
/// # Errors
/// Every rule that a resource, or the apply as a whole, breaks.
pub fn draft(
    state: &State,
    request: &Request,
    resources: Vec<v1::Resource>,
    mut new_uid: impl FnMut() -> Uid,
) -> Result<Draft, Vec<Violation>> {
    let mut broken = Vec::new();
    for (field, name) in [("namespace", &request.namespace), ("set", &request.set)] {
        if !is_name(name) {
            let message = format!("`{name}` is not a name: 1 to 63 of a-z, 0-9, - and .");
            broken.push(violation(rule::NAME_FORMAT, "apply", "", field, message));
        }
    }
    if resources.len() > APPLY_RESOURCES_MAX {
        let message = format!("{} resources; at most {APPLY_RESOURCES_MAX}", resources.len());
        broken.push(violation(rule::TOO_MANY_RESOURCES, "apply", "", "", message));
    }
    if !broken.is_empty() {
        return Err(broken);
    }
    let wanted = collect(request, resources, &mut broken);
    let mut draft = Draft::default();
    let routes = routes_after(state, request, &wanted);
    let mut untold = Untold::default();
    for ((kind, name), wanted) in &wanted {
        let before = state.resource(*kind, &request.namespace, name);
        let mut after = wanted.clone();
        inherit(&mut after, before.as_ref(), request, &mut new_uid);
        refuse_foreign(*kind, name, before.as_ref(), request, &mut broken);
        refuse_newer(*kind, name, wanted, before.as_ref(), &mut broken);
        broken.extend(resource::validate(&after));
        level::refuse(*kind, name, &after, state.cluster.level, &mut broken);
        draft.advice.extend(advice(&after, &routes, &mut untold));
        draft.advice.extend(dropped(before.as_ref(), &after));
        add(*kind, name, before.as_ref(), after, request, &mut draft);
    }
    if state.cluster.level >= LASTING_LEVEL {
        draft.advice.extend(untold.advice());
    }
    draft.advice = gathered(std::mem::take(&mut draft.advice));
    broken.extend(references(state, request, &wanted));
    refuse_rings(state, request, &wanted, &mut broken);
    broken.extend(dependencies(state, request, &wanted));
    if request.prune {
        prune(state, request, &wanted, &mut draft, &mut broken);
    }
    if broken.is_empty() { Ok(draft) } else { Err(broken) }
}

fn violation(
    rule: Rule,
    resource: &'static str,
    name: &str,
    field: &str,
    message: String,
) -> Violation {
    let (name, field) = (name.to_owned(), field.to_owned());
    Violation { rule, resource, name, field, message, nearest: None }
}

/// The same rows without what a contact holds secret, before and after.
fn hidden(
    before: &v1::Resource,
    after: &v1::Resource,
    fields: Vec<v1::FieldChange>,
) -> Vec<v1::FieldChange> {
    use v1::resource::Kind::Contact;
    let without = |resource: &v1::Resource| match &resource.kind {
        Some(Contact(contact)) => {
            Some(v1::Resource { kind: Some(Contact(redacted(contact.clone()))) })
        }
        _ => None,
    };
    let (Some(before), Some(after)) = (without(before), without(after)) else { return fields };
    let shown = fields::diff(Some(&before), Some(&after));
    let of = |row: v1::FieldChange| {
        let seen = shown.iter().find(|it| it.field == row.field).cloned();
        // It differs in what is hidden, and that it does may be known.
        let (before, after) = (HIDDEN.to_owned(), HIDDEN.to_owned());
        seen.unwrap_or(v1::FieldChange { before, after, ..row })
    };
    fields.into_iter().map(of).collect()
}

/// Adds one resource's row, and its write when it differs from what is stored.
fn add(
    kind: Kind,
    name: &str,
    before: Option<&v1::Resource>,
    after: v1::Resource,
    request: &Request,
    draft: &mut Draft,
) {
    let fields = fields::diff(before, Some(&after));
    let same = fields.is_empty() && same_set(before, request);
    let change = match before {
        Some(_) if same => v1::ChangeKind::Unchanged,
        Some(_) => v1::ChangeKind::Changed,
        None => v1::ChangeKind::Created,
    };
    draft.changes.push(v1::Change {
        kind: change.into(),
        resource: kind.word().to_owned(),
        name: name.to_owned(),
        fields: match before {
            Some(before) if request.hides_secrets => hidden(before, &after, fields),
            Some(_) => fields,
            None => Vec::new(),
        },
    });
    if change != v1::ChangeKind::Unchanged {
        draft.writes.push(store::ConfigChange {
            base_etag: before.and_then(resource::meta_of).map_or(0, |meta| meta.etag),
            change: Some(Put::Put(after)),
            force: false,
        });
    }
}

type Wanted = BTreeMap<(Kind, String), v1::Resource>;

/// The resources by kind and name, normalised; regions and contacts come before checks.
fn collect(request: &Request, resources: Vec<v1::Resource>, broken: &mut Vec<Violation>) -> Wanted {
    let mut wanted = Wanted::new();
    for mut given in resources {
        if let Some(meta) = resource::meta_of_mut(&mut given)
            && meta.namespace.is_empty()
        {
            meta.namespace.clone_from(&request.namespace);
        }
        let given = resource::normalise(given);
        let Some(kind) = resource::kind(&given).and_then(Kind::from_word) else {
            broken.extend(resource::validate(&given));
            continue;
        };
        let meta = resource::meta_of(&given).cloned().unwrap_or_default();
        if meta.namespace != request.namespace {
            let message = format!("this apply is for namespace `{}`", request.namespace);
            let found =
                violation(rule::NAMESPACE_MISMATCH, kind.word(), &meta.name, "namespace", message);
            broken.push(found);
        }
        if wanted.insert((kind, meta.name.clone()), given).is_some() {
            let message = format!("two resources are called {kind} `{}`", meta.name);
            broken.push(violation(rule::DUPLICATE_NAME, kind.word(), &meta.name, "name", message));
        }
    }
    wanted
}

/// The same piece of advice on many checks, once: with the first of them, and how many more there are.
fn gathered(advice: Vec<Advice>) -> Vec<Advice> {
    let mut kept: Vec<(Advice, u32)> = Vec::new();
    let mut places: BTreeMap<(&str, String, String), usize> = BTreeMap::new();
    for advice in advice {
        let same = (advice.rule.id, advice.field.clone(), advice.message.clone());
        match places.get(&same) {
            Some(place) => kept[*place].1 += 1,
            None => {
                places.insert(same, kept.len());
                kept.push((advice, 0));
            }
        }
    }
    let say = |(mut advice, others): (Advice, u32)| {
        if others > 0 {
            let noun = if others == 1 { "check" } else { "checks" };
            advice.message.push_str(&format!(" (so it is for {others} more {noun})"));
        }
        advice
    };
    kept.into_iter().map(say).collect()
}

/// What is worth a thought about a check that is otherwise in order.
fn advice(after: &v1::Resource, routes: &Routes, untold: &mut Untold) -> Vec<Advice> {
    let Some(ResourceKind::Check(wire)) = &after.kind else { return Vec::new() };
    let Ok(built) = check::check(wire) else { return Vec::new() };
    untold.look(&built, wire, routes);
    let mut advice = check::check_advice(&built);
    if !routes.is_empty() {
        // A check without contacts of its own is told of by the route that takes it.
        let sample = routing::sample(wire, v1::IncidentKind::Down);
        let taken = !routes.taking(&sample, |_| When::Within).routes.is_empty();
        let at_times = taken && routes.leave_hours_out(&sample);
        for it in advice.iter_mut().filter(|it| at_times && it.rule == rule::ADVICE_NO_ALERT) {
            it.rule = rule::ADVICE_HOURS;
            "only routes with hours fit it: at other times an outage will be recorded and nobody paged"
                .clone_into(&mut it.message);
        }
        advice.retain(|it| it.rule != rule::ADVICE_NO_ALERT || !taken);
    }
    advice
}

/// Settings are one resource, of which a file may have written one part only: what was there of the other
/// part goes.
fn dropped(before: Option<&v1::Resource>, after: &v1::Resource) -> Option<Advice> {
    let settings = |resource: &v1::Resource| match &resource.kind {
        Some(ResourceKind::Settings(settings)) => Some(settings.clone()),
        _ => None,
    };
    let (before, after) = (settings(before?)?, settings(after)?);
    let parts = |it: &v1::Settings| {
        let mesh = [
            ("mesh.alert", !it.mesh_alert.is_empty()),
            ("mesh.public_url", !it.public_url.is_empty()),
            ("mesh.storm", it.storm.is_some()),
        ];
        [mesh.to_vec(), vec![("routes", !it.routes.is_empty())]]
    };
    let gone = parts(&before).into_iter().zip(parts(&after)).filter_map(|(before, after)| {
        let is_left = after.iter().any(|(_, there)| *there);
        let had = before.into_iter().filter(|(_, there)| *there).map(|(field, _)| field);
        (!is_left).then(|| had.collect::<Vec<_>>())
    });
    let gone: Vec<&str> = gone.flatten().collect();
    let first = gone.first()?;
    let message = format!(
        "what was there is dropped, as this apply has other settings and not these: {}; write them into \
         the same file to keep them",
        gone.join(", ")
    );
    Some(Advice {
        rule: rule::ADVICE_SETTINGS_DROPPED,
        resource: Kind::Settings.word(),
        name: resource::SETTINGS_NAME.to_owned(),
        field: (*first).to_owned(),
        message,
    })
}

/// The routes of the namespace as they are after this apply.
fn routes_after(state: &State, request: &Request, wanted: &Wanted) -> Arc<Routes> {
    let key = (Kind::Settings, resource::SETTINGS_NAME.to_owned());
    match wanted.get(&key).and_then(|settings| settings.kind.as_ref()) {
        // What is refused anyway is not compiled: it may be any number of patterns.
        Some(ResourceKind::Settings(it)) if !resource::validate_settings(it).is_empty() => {
            Arc::default()
        }
        Some(ResourceKind::Settings(settings)) => Arc::new(Routes::new(&settings.routes)),
        _ => state.routes_of(&request.namespace).cloned().unwrap_or_default(),
    }
}

/// Gives the resource what it keeps from its last form: uid, creation, and the ranks of regions.
fn inherit(
    after: &mut v1::Resource,
    before: Option<&v1::Resource>,
    request: &Request,
    new_uid: &mut impl FnMut() -> Uid,
) {
    if let (Some(ResourceKind::Check(check)), Some(ResourceKind::Check(old))) =
        (&mut after.kind, before.and_then(|before| before.kind.as_ref()))
    {
        check.regions = merge_ranks(&old.regions, &check.regions);
        check.advisory_regions = merge_ranks(&old.advisory_regions, &check.advisory_regions);
    }
    let old = before.and_then(resource::meta_of);
    if let Some(meta) = resource::meta_of_mut(after) {
        meta.uid = old.map_or_else(|| new_uid().to_string(), |old| old.uid.clone());
        meta.set.clone_from(&request.set);
        meta.etag = old.map_or(0, |old| old.etag);
        meta.created_revision = old.map_or(0, |old| old.created_revision);
        meta.created_at = old.and_then(|old| old.created_at);
        meta.updated_at = old.and_then(|old| old.updated_at);
    }
}

fn same_set(before: Option<&v1::Resource>, request: &Request) -> bool {
    before.and_then(resource::meta_of).is_some_and(|meta| meta.set == request.set)
}

fn refuse_foreign(
    kind: Kind,
    name: &str,
    before: Option<&v1::Resource>,
    request: &Request,
    broken: &mut Vec<Violation>,
) {
    let Some(meta) = before.and_then(resource::meta_of) else { return };
    if meta.set != request.set && !request.take {
        let message =
            format!("belongs to set {}; apply it there, or take it over with --take", meta.set);
        broken.push(violation(rule::OTHER_SET, kind.word(), name, "set", message));
    }
}

/// A resource that comes with an etag is a change of that version of it. Without one it replaces
/// whatever is there.
fn refuse_newer(
    kind: Kind,
    name: &str,
    wanted: &v1::Resource,
    before: Option<&v1::Resource>,
    broken: &mut Vec<Violation>,
) {
    let etag = |of: Option<&v1::Resource>| of.and_then(resource::meta_of).map_or(0, |it| it.etag);
    let (seen, there) = (etag(Some(wanted)), etag(before));
    if seen == 0 || seen == there {
        return;
    }
    let message = match before {
        Some(_) => format!("was changed since: its etag is {there}, not {seen}; read it again"),
        None => format!("does not exist any more; its etag was to be {seen}"),
    };
    broken.push(violation(rule::CONFLICT, kind.word(), name, "etag", message));
}

/// The names that exist already or are wanted too. Looked up one by one: what an apply costs must not
/// grow with all that is stored.
struct Names<'a> {
    state: &'a State,
    namespace: &'a str,
    wanted: &'a Wanted,
}

impl Names<'_> {
    fn wants(&self, kind: Kind, name: &str) -> bool {
        self.wanted.contains_key(&(kind, name.to_owned()))
    }

    /// The stored ones and those that are wanted, in order and each once.
    fn all<'n>(&self, kind: Kind, stored: impl Iterator<Item = &'n Name>) -> Vec<String> {
        let wanted = self.wanted.keys().filter(|(k, _)| *k == kind).map(|(_, name)| name.clone());
        let here = stored.filter(|(namespace, _)| namespace == self.namespace);
        let all: BTreeSet<String> = here.map(|(_, name)| name.clone()).chain(wanted).collect();
        all.into_iter().collect()
    }
}

impl Known for Names<'_> {
    fn region(&self, name: &str) -> bool {
        let key = (self.namespace.to_owned(), name.to_owned());
        self.wants(Kind::Region, name) || self.state.regions.contains_key(&key)
    }

    fn contact(&self, name: &str) -> bool {
        self.wants(Kind::Contact, name) || self.state.contact_named(self.namespace, name).is_some()
    }

    fn check(&self, name: &str) -> bool {
        self.wants(Kind::Check, name) || self.state.check_named(self.namespace, name).is_some()
    }

    fn checks(&self) -> Vec<String> {
        self.all(Kind::Check, self.state.check_names.keys())
    }

    fn regions(&self) -> Vec<String> {
        self.all(Kind::Region, self.state.regions.keys().map(AsRef::as_ref))
    }

    fn contacts(&self) -> Vec<String> {
        self.all(Kind::Contact, self.state.contact_names.keys())
    }
}

/// Regions and contacts that the wanted resources name must exist already or be wanted too.
fn references(state: &State, request: &Request, wanted: &Wanted) -> Vec<Violation> {
    let names = Names { state, namespace: &request.namespace, wanted };
    wanted.values().flat_map(|wanted| resource::resource_references(wanted, &names)).collect()
}

/// Whoever is told in a contact's place is somebody else, and so on.
fn refuse_rings(state: &State, request: &Request, wanted: &Wanted, broken: &mut Vec<Violation>) {
    let wanted_here = |name: &str| match &wanted.get(&(Kind::Contact, name.to_owned()))?.kind {
        Some(ResourceKind::Contact(contact)) => Some(contact),
        _ => None,
    };
    let next = |name: &str| {
        let contact = wanted_here(name).or_else(|| state.contact_named(&request.namespace, name));
        contact.map(|contact| contact.fallback.as_str())
    };
    let contacts = wanted.keys().filter(|(kind, _)| *kind == Kind::Contact);
    for (kind, name) in contacts {
        if let Err(way) = fallback::follow(name, next) {
            let message = fallback::complaint(&way);
            let rule = rule::FALLBACK_CYCLE;
            broken.push(violation(rule, kind.word(), name, "fallback", message));
        }
    }
}
/// What is wrong with checks that depend on others, besides names that do not exist.
fn dependencies(state: &State, request: &Request, wanted: &Wanted) -> Vec<Violation> {
    let depends = |wanted: &v1::Resource| match &wanted.kind {
        Some(ResourceKind::Check(check)) => check.depends_on.clone(),
        _ => Vec::new(),
    };
    let parents = |name: &str| match wanted.get(&(Kind::Check, name.to_owned())) {
        Some(wanted) => depends(wanted),
        None => state.depends_on(&request.namespace, name).to_vec(),
    };
    let (mut broken, mut done) = (Vec::new(), BTreeSet::new());
    for ((kind, name), resource) in wanted {
        if *kind != Kind::Check || depends(resource).is_empty() {
            continue;
        }
        if let Some(cycle) = depends::cycle(name, &parents, &mut done) {
            let message = depends::told(&cycle);
            broken.push(violation(rule::DEPENDS_CYCLE, "check", name, "depends_on", message));
            // Told once, and not of each check on it.
            done.extend(cycle);
        }
    }
    broken
}

fn prune(
    state: &State,
    request: &Request,
    wanted: &Wanted,
    draft: &mut Draft,
    broken: &mut Vec<Violation>,
) {
    let members = state.set_members(&request.namespace, &request.set);
    let gone: Vec<_> = members.iter().filter(|key| !wanted.contains_key(*key)).collect();
    let guarded = gone.len() * 100 > members.len() * PRUNE_PERCENT_MAX;
    if guarded && gone.len() != request.yes_delete as usize {
        let message = format!(
            "would delete {} of {} resources of set {}; say --yes-delete {} if that is meant",
            gone.len(),
            members.len(),
            request.set,
            gone.len()
        );
        broken.push(violation(rule::PRUNE_GUARD, "apply", &request.set, "", message));
        return;
    }
    for (kind, name) in gone {
        let before = state.resource(*kind, &request.namespace, name);
        draft.changes.push(v1::Change {
            kind: v1::ChangeKind::Deleted.into(),
            resource: kind.word().to_owned(),
            name: name.clone(),
            fields: Vec::new(),
        });
        draft.writes.push(deletion(*kind, &request.namespace, name, before.as_ref(), false));
    }
}

/// The write that deletes a resource as it is now.
pub fn deletion(
    kind: Kind,
    namespace: &str,
    name: &str,
    before: Option<&v1::Resource>,
    force: bool,
) -> store::ConfigChange {
    store::ConfigChange {
        base_etag: before.and_then(resource::meta_of).map_or(0, |meta| meta.etag),
        change: Some(Put::Delete(store::ResourceKey {
            kind: kind.word().to_owned(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        })),
        force,
    }
}
