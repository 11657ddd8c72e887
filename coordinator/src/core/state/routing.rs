//! Severities, routes that take an incident, and their later steps and reminders. What is decided is
//! decided by `core/routing.rs`; here is when it is asked, and what is written down of it.

use std::sync::Arc;

use parallax_common::limits::{ESCALATE_QUIET_LOOK, ESCALATED_MAX};
use parallax_common::name::Uid;
use parallax_common::time::UtcTime;
use parallax_proto::v1::timeline_event::Event;
use parallax_proto::{store, v1};

use super::pages::note_deliveries;
use super::rows::{self, Rows};
use super::{Answer, Changed, ROUTING_LEVEL, Stamp, State, accepted};
use crate::core::outbox::{steps, storm, timeline};
use crate::core::quiet::{OPEN_END, Word};
use crate::core::routing::{self, Routes};
use crate::core::{ack_link, stamp};

impl State {
    /// The routes of a namespace, when it has any.
    pub fn routes_of(&self, namespace: &str) -> Option<&Arc<Routes>> {
        self.routes.get(namespace)
    }

    /// When the first step or reminder is due.
    pub fn escalate_at(&self) -> Option<UtcTime> {
        self.routed.get_min().map(|(at, _)| UtcTime::from_ns(*at))
    }

    /// Puts settings into memory, with their routes compiled.
    pub(super) fn insert_settings(&mut self, namespace: String, settings: v1::Settings) {
        let routes = Routes::new(&settings.routes);
        match routes.is_empty() {
            true => self.routes.remove(&namespace),
            false => self.routes.insert(namespace.clone(), Arc::new(routes)),
        };
        match settings.public_url.is_empty() {
            true => self.linked.remove(&namespace),
            false => self.linked.insert(namespace.clone()),
        };
        self.settings.insert(namespace, Arc::new(settings));
    }

    /// What signs links in pages; empty until a leader has made it.
    pub fn link_key(&self) -> &[u8] {
        &self.link_key
    }

    /// Whether somebody asks for links and there is no key for them yet.
    pub fn needs_link_key(&self) -> bool {
        self.link_key.is_empty() && !self.linked.is_empty()
    }

    /// Where a contact acknowledges an incident, when its namespace has links.
    pub fn ack_link(&self, incident: &v1::Incident, contact: &str) -> Option<String> {
        let settings = self.settings.get(&incident.namespace)?;
        ack_link::link(&settings.public_url, &self.link_key, &incident.uid, contact)
    }

    pub(super) fn set_link_key(
        &mut self,
        stamp: &Stamp,
        command: store::SetLinkKey,
        rows: &mut Rows,
    ) -> Answer {
        // The first stays: links that are on their way must hold.
        if self.link_key.is_empty() {
            self.link_key = command.key;
            let row = store::LinkKeyRow { key: self.link_key.clone() };
            rows.put(rows::link_key_key(), &row);
        }
        accepted(stamp, [])
    }

    /// Says how bad an incident is that is about to open. Below the level members of older builds
    /// would leave it out.
    pub(super) fn grade(&self, incident: &mut v1::Incident) {
        // An alert's is its own.
        let open = incident.severity() == v1::Severity::Unspecified;
        if open && self.cluster.level >= ROUTING_LEVEL {
            let check = self.check_of(incident);
            incident.severity = routing::severity(incident.kind(), check).into();
        }
    }

    fn check_of(&self, incident: &v1::Incident) -> Option<&v1::Check> {
        let uid = incident.check_uid.parse::<Uid>().ok()?;
        self.checks.get(&uid).map(|entry| &entry.wire)
    }

    /// Writes the opening pages of an incident for which nobody else is named. Without routes none
    /// are written, as before there were any.
    pub(super) fn route_opening(
        &self,
        stamp: &Stamp,
        incident: &mut v1::Incident,
        claimed_by: u64,
    ) {
        let Some(routes) = self.routes.get(&incident.namespace) else { return };
        let uid_of = |name: &str| {
            let contact = self.contact_named(&incident.namespace, name)?;
            contact.meta.as_ref().map(|meta| meta.uid.clone())
        };
        let taking = routes.taking(incident, |hours| self.when(hours, stamp.utc));
        let names = taking.routes.iter().map(|route| route.name.clone()).collect();
        let routed = taking.routes.iter().map(|route| routing::taken(route, uid_of)).collect();
        incident.routed = routed;
        steps::passed_over(incident, &taking.passed, stamp.utc);
        let took = v1::RoutesTook { routes: names };
        timeline::push(incident, stamp.utc, Event::RoutesTook(took));
        if !incident.routed.is_empty() {
            incident.routed_since = Some(stamp.timestamp());
            let quiet = matches!(self.word(incident, stamp.utc), Word::Later { .. });
            self.carry_out(stamp, incident, claimed_by, quiet);
        }
    }

    /// What was held goes out together with the end: so does the opening of a route that waits for its
    /// hours, when it is the time.
    pub(super) fn route_released(
        &self,
        stamp: &Stamp,
        incident: &mut v1::Incident,
        claimed_by: u64,
    ) {
        self.carry_out(stamp, incident, claimed_by, false);
    }

    /// Carries out steps and reminders whose time has come.
    pub(super) fn escalate(
        &mut self,
        stamp: &Stamp,
        command: &store::Escalate,
        rows: &mut Rows,
        changes: &mut Vec<Changed>,
    ) -> Answer {
        let due = |(at, _): &&(i64, String)| *at <= stamp.utc.as_ns();
        let uids: Vec<String> = self
            .routed
            .iter()
            .take_while(due)
            .take(ESCALATED_MAX)
            .map(|(_, uid)| uid.clone())
            .collect();
        for uid in &uids {
            let Some(incident) = self.incidents.get(uid) else { continue };
            let mut incident = incident.as_ref().clone();
            if incident.storm.is_some() {
                self.tell_storm(stamp, &mut incident, command.node_id);
                note_deliveries(&incident, changes);
                self.put_incident(incident, rows, changes);
                continue;
            }
            match self.word(&incident, stamp.utc) {
                // What has been told stays told; nobody is told more while it is quiet.
                Word::Later { until, .. } => {
                    // Nothing says when an outage of another check ends.
                    let look = stamp.utc + ESCALATE_QUIET_LOOK;
                    let until = if until == OPEN_END { look } else { until };
                    incident.quiet_until = Some(stamp::timestamp(until));
                }
                Word::Now => {
                    incident.quiet_until = None;
                    if self.carry_out(stamp, &mut incident, command.node_id, false) {
                        self.remind_storms(stamp, &incident, rows, changes);
                    }
                    note_deliveries(&incident, changes);
                }
                Word::Never => {}
            }
            self.put_incident(incident, rows, changes);
        }
        accepted(stamp, uids)
    }

    /// Somebody ended a silence before its time: what waited for its end is looked at at once.
    pub(super) fn end_quiet_of_routes(
        &mut self,
        namespace: &str,
        rows: &mut Rows,
        changes: &mut Vec<Changed>,
    ) {
        let waiting: Vec<Arc<v1::Incident>> = self
            .open
            .iter()
            .filter_map(|uid| self.incidents.get(uid))
            .filter(|it| it.namespace == namespace && it.quiet_until.is_some())
            .cloned()
            .collect();
        for incident in waiting {
            let incident = v1::Incident { quiet_until: None, ..incident.as_ref().clone() };
            self.put_incident(incident, rows, changes);
        }
    }

    /// Writes what is due by now of every route that took the incident: all steps in their order, and
    /// one reminder at most, as several at once say no more than one. While it is `quiet` nothing of
    /// routes that wait for their hours: whether it is the time is asked when it is over. True: somebody
    /// is reminded whom a storm tells.
    fn carry_out(
        &self,
        stamp: &Stamp,
        incident: &mut v1::Incident,
        claimed_by: u64,
        quiet: bool,
    ) -> bool {
        let mut by_storm = false;
        for place in 0..incident.routed.len() {
            if quiet && incident.routed.get(place).is_some_and(|routed| routed.hours.is_some()) {
                continue;
            }
            if self.waits_for_hours(stamp, incident, place) {
                continue;
            }
            while let Some(routed) = incident.routed.get(place)
                && routing::step_due(incident, routed).is_some_and(|at| at <= stamp.utc)
            {
                let Some(step) = routed.steps.get(routed.done as usize).cloned() else { break };
                let later = step.hours.as_ref().and_then(|it| self.when(it, stamp.utc).wait());
                if later.is_some() {
                    steps::pass_over(incident, place, stamp.utc);
                    continue;
                }
                let (contacts, gone) = self.contacts_of(&step.contacts);
                steps::step(incident, place, contacts, claimed_by, stamp.utc);
                steps::deleted(incident, place, &gone, claimed_by, stamp.utc);
            }
            if let Some(routed) = incident.routed.get(place)
                && routing::reminder_due(routed).is_some_and(|at| at <= stamp.utc)
            {
                let (theirs, others): (Vec<_>, Vec<_>) =
                    steps::told_by(routed).into_iter().partition(|uid| storm::tells(incident, uid));
                by_storm |= !theirs.is_empty();
                let (contacts, _) = self.contacts_of(&others);
                steps::remind(incident, place, contacts, claimed_by, stamp.utc);
            }
        }
        by_storm
    }

    /// Whether what the route at `place` has to tell by now waits for the hours of the route.
    fn waits_for_hours(&self, stamp: &Stamp, incident: &mut v1::Incident, place: usize) -> bool {
        let Some(routed) = incident.routed.get(place) else { return false };
        if routing::next_due(incident, routed).is_none_or(|at| stamp.utc < at) {
            return false;
        }
        let begin = routed.hours.as_ref().and_then(|it| self.when(it, stamp.utc).wait());
        steps::wait(incident, place, begin, stamp.utc);
        begin.is_some()
    }

    /// The contacts with these uids that have not been deleted, and the uids and names of those that have.
    fn contacts_of<'u>(&self, uids: &'u [String]) -> (Vec<&v1::Contact>, Vec<(&'u str, String)>) {
        let (mut living, mut gone) = (Vec::new(), Vec::new());
        for uid in uids {
            let row = self.contacts.get(uid);
            let contact = row.and_then(|row| row.contact.as_ref());
            match contact.filter(|_| row.is_some_and(|row| !row.tombstone)) {
                Some(contact) => living.push(contact),
                None => {
                    let name = contact.and_then(|it| it.meta.as_ref()).map(|it| it.name.clone());
                    gone.push((uid.as_str(), name.unwrap_or_else(|| uid.clone())));
                }
            }
        }
        (living, gone)
    }
}
