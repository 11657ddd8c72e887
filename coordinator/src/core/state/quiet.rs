//! Silences, and incidents whose opening pages they hold. What is decided is decided by
//! `core/quiet.rs`; here is when it is asked, and what is written down of its word.

use std::sync::Arc;
use std::time::Duration;

use parallax_common::limits::{
    DEPENDS_GRACE_MIN, DEPENDS_WAIT_MAX, HELD_REVIEWED_MAX, SILENCE_KEPT, SILENCE_LENGTH_MAX,
    SILENCES_MAX, SILENCES_PER_NAMESPACE_MAX,
};
use parallax_common::name::Uid;
use parallax_common::rule;
use parallax_common::time::UtcTime;
use parallax_proto::v1::held::By;
use parallax_proto::{store, v1};

use super::rows::{self, Rows};
use super::{Answer, Changed, Refusal, Stamp, State, accepted, refusal, refused};
use crate::core::outbox::intents;
use crate::core::quiet::{self, OPEN_END, Silence, Word};
use crate::core::stamp;

/// From the run that decides to the incident, with room for a busy coordinator.
const DECIDED_WITHIN: Duration = Duration::from_secs(1);

impl State {
    pub(super) fn add_silence(
        &mut self,
        stamp: &Stamp,
        command: store::AddSilence,
        rows: &mut Rows,
        changes: &mut Vec<Changed>,
    ) -> Answer {
        let mut wire = command.silence.unwrap_or_default();
        if self.silences.contains_key(&wire.uid) {
            return accepted(stamp, [wire.uid]);
        }
        let starts = wire.starts_at.as_ref().map_or(stamp.utc, |at| stamp::utc(Some(at)));
        let ends = match &wire.ends_at {
            Some(at) => stamp::utc(Some(at)),
            None => UtcTime::from_ns(starts.as_ns().saturating_add(command.length_ns)),
        };
        if let Err(refusal) = times_fit(starts, ends, stamp.utc) {
            return Answer::Refused(refusal);
        }
        self.forget_silences(&wire.namespace, stamp.utc, rows);
        let theirs = self.silences_of(&wire.namespace).count();
        if theirs >= SILENCES_PER_NAMESPACE_MAX || self.silences.len() >= SILENCES_MAX {
            let message = format!(
                "{theirs} silences of namespace {} and {} of all have not ended; end some first",
                wire.namespace,
                self.silences.len()
            );
            return refused(rule::SILENCES_TOO_MANY, message, []);
        }
        wire.created_at = Some(stamp.timestamp());
        wire.starts_at = Some(stamp::timestamp(starts));
        wire.ends_at = Some(stamp::timestamp(ends));
        wire.created_revision = stamp.index;
        let uid = wire.uid.clone();
        self.put_silence_row(stamp, wire, rows, changes);
        accepted(stamp, [uid])
    }

    pub(super) fn expire_silence(
        &mut self,
        stamp: &Stamp,
        command: store::ExpireSilence,
        rows: &mut Rows,
        changes: &mut Vec<Changed>,
    ) -> Answer {
        let Some(silence) = self.silences.get(&command.uid).cloned() else {
            let message = format!("silence {} does not exist", command.uid);
            return refused(rule::NOT_FOUND, message, []);
        };
        if silence.ends() <= stamp.utc {
            return refused(rule::SILENCE_OVER, "the silence has ended already", []);
        }
        let mut wire = silence.wire.clone();
        wire.starts_at = Some(stamp::timestamp(silence.starts().min(stamp.utc)));
        wire.ends_at = Some(stamp.timestamp());
        wire.expired_by = command.by;
        self.put_silence_row(stamp, wire, rows, changes);
        for uid in self.waiting_for(&command.uid) {
            self.review(stamp, &uid, command.node_id, rows, changes);
        }
        self.end_quiet_of_routes(&silence.wire.namespace, rows, changes);
        accepted(stamp, [command.uid])
    }

    /// Looks at held incidents whose time has come.
    pub(super) fn review_held(
        &mut self,
        stamp: &Stamp,
        command: &store::ReviewHeld,
        rows: &mut Rows,
        changes: &mut Vec<Changed>,
    ) -> Answer {
        let due = |(at, _): &&(i64, String)| *at <= stamp.utc.as_ns();
        let uids: Vec<String> = self
            .held
            .iter()
            .take_while(due)
            .take(HELD_REVIEWED_MAX)
            .map(|(_, uid)| uid.clone())
            .collect();
        if let Some((parent, ended)) = uids.iter().find_map(|uid| self.parent_ended(uid)) {
            // An end goes on, in an entry of its own. What else is due stays so for the next one.
            self.let_children_recover(stamp, (&parent, &ended), rows, changes);
            return accepted(stamp, uids);
        }
        for uid in &uids {
            self.review(stamp, uid, command.node_id, rows, changes);
        }
        accepted(stamp, uids)
    }

    /// When the first held incident is to be looked at.
    pub fn review_at(&self) -> Option<UtcTime> {
        let first = self.held.get_min().map(|(at, _)| UtcTime::from_ns(*at));
        first.filter(|at| *at != OPEN_END)
    }

    /// The silences of a namespace, the oldest first.
    pub fn silences_of(&self, namespace: &str) -> impl Iterator<Item = &Arc<Silence>> {
        self.silences.values().filter(move |silence| silence.wire.namespace == namespace)
    }

    /// Holds back the opening pages of an incident that is about to open, when it is quiet.
    pub(super) fn hold_opening(&self, stamp: &Stamp, incident: &mut v1::Incident) {
        if let Word::Later { until, by } = self.word(incident, stamp.utc) {
            intents::hold(incident, held(stamp, until, by), stamp.utc);
        }
    }

    /// Asks anew about an incident that is held.
    pub(super) fn review(
        &mut self,
        stamp: &Stamp,
        uid: &str,
        node_id: u64,
        rows: &mut Rows,
        changes: &mut Vec<Changed>,
    ) {
        let Some(incident) = self.incidents.get(uid).cloned() else { return };
        if incident.storm.is_some() {
            return self.seal_storm(stamp, &incident, node_id, rows, changes);
        }
        let word = self.word(&incident, stamp.utc);
        let mut incident = incident.as_ref().clone();
        match word {
            Word::Now => intents::release(&mut incident, node_id, stamp.utc),
            Word::Later { until, by } => {
                intents::hold(&mut incident, held(stamp, until, by), stamp.utc);
            }
            Word::Never => intents::end_hold(&mut incident, stamp.utc),
        }
        for page in &incident.deliveries {
            changes.push(Changed::Delivery(page.idempotency_key.clone(), incident.uid.clone()));
        }
        self.put_incident(incident, rows, changes);
    }

    pub(super) fn word(&self, incident: &v1::Incident, now: UtcTime) -> Word {
        let causes = self.causes(incident, now).chain(self.parents_to_come(incident));
        quiet::word(incident.resolved_at.is_some(), causes, now)
    }

    /// What an incident that waits for what it depends on would be told if it waited no more.
    pub(super) fn lasting_word(&self, incident: &v1::Incident, now: UtcTime) -> Word {
        quiet::word(false, self.causes(incident, now), now)
    }

    /// Silences that fit, and checks that are down.
    fn causes<'a>(
        &'a self,
        incident: &'a v1::Incident,
        now: UtcTime,
    ) -> impl Iterator<Item = quiet::Cause> + 'a {
        let silences = self
            .silences_of(&incident.namespace)
            .filter(move |silence| now < silence.ends() && silence.fits(incident))
            .map(|silence| silence.cause());
        silences.chain(self.parents(incident).map(|parent| quiet::parent(parent)))
    }

    /// A check is down: of those that wait to see whether it is, as many as one entry may write are held by
    /// it from now on, and wait for its end as whatever opens later. The others look at the end of their wait.
    pub(super) fn hold_children(
        &mut self,
        stamp: &Stamp,
        uid: Uid,
        rows: &mut Rows,
        changes: &mut Vec<Changed>,
    ) {
        let Some(entry) = self.checks.get(&uid) else { return };
        let (namespace, name) = (&entry.check.namespace, &entry.check.name);
        let waits = |incident: &&Arc<v1::Incident>| match incident.held.as_ref().map(|it| &it.by) {
            Some(Some(By::Parents(by))) => {
                incident.namespace == *namespace && by.check_names.contains(name)
            }
            _ => false,
        };
        let children: Vec<Arc<v1::Incident>> = self
            .held_by
            .range((String::new(), String::new())..)
            .take_while(|(by, _)| by.is_empty())
            .filter_map(|(_, uid)| self.incidents.get(uid))
            .filter(waits)
            .take(HELD_REVIEWED_MAX)
            .cloned()
            .collect();
        for child in children {
            if let Word::Later { until, by: by @ By::Parent(_) } = self.word(&child, stamp.utc) {
                let mut child = child.as_ref().clone();
                intents::hold(&mut child, held(stamp, until, by), stamp.utc);
                self.put_incident(child, rows, changes);
            }
        }
    }

    /// An outage of a check that depends on others waits until those had the time to be found down, too:
    /// a look at them by some region, both its runs, the time between runs that confirm, and a moment to
    /// decide.
    fn parents_to_come(&self, incident: &v1::Incident) -> Option<quiet::Cause> {
        if incident.kind() != v1::IncidentKind::Down {
            return None;
        }
        let entry = self.checks.get(&incident.check_uid.parse::<Uid>().ok()?)?;
        let mut wait = Duration::ZERO;
        let mut names = Vec::new();
        for name in &entry.wire.depends_on {
            let Some(parent) = self.check_named(&entry.check.namespace, name) else { continue };
            let check = &parent.check;
            // These open no incident.
            if !check.enabled || check.run.canary.is_some() {
                continue;
            }
            let regions = u32::try_from(check.regions.len().max(1)).unwrap_or(u32::MAX);
            let again = check.policy.failures.saturating_sub(1);
            let confirmed = check.confirm_spacing.saturating_mul(again);
            let looks =
                check.interval / regions + 2 * check.run.timeout + confirmed + DECIDED_WITHIN;
            wait = wait.max(looks.min(DEPENDS_WAIT_MAX));
            names.push(name.clone());
        }
        let opened = stamp::utc(incident.opened_at.as_ref());
        (!names.is_empty()).then(|| quiet::parents_to_come(names, opened + wait))
    }

    /// Incidents that are held by this silence, or by this check.
    pub(super) fn waiting_for(&self, holder: &str) -> Vec<String> {
        let from = (holder.to_owned(), String::new());
        let theirs = self.held_by.range(from..).take_while(|(by, _)| by == holder);
        theirs.map(|(_, uid)| uid.clone()).collect()
    }

    /// Names of the checks that one depends on.
    pub fn depends_on(&self, namespace: &str, name: &str) -> &[String] {
        self.check_named(namespace, name).map_or(&[], |entry| &entry.wire.depends_on)
    }

    /// The open incidents of the checks that this incident's own depends on.
    pub(super) fn parents<'a>(
        &'a self,
        incident: &v1::Incident,
    ) -> impl Iterator<Item = &'a Arc<v1::Incident>> {
        let entry = incident.check_uid.parse().ok().and_then(|uid: Uid| self.checks.get(&uid));
        let named = entry.into_iter().flat_map(|entry| {
            let named = |name: &'a String| self.check_named(&entry.check.namespace, name);
            entry.wire.depends_on.iter().filter_map(named)
        });
        let open = named.filter_map(|parent| self.open_incident_of(parent.check.uid));
        open.filter(|incident| incident.resolved_at.is_none())
    }

    /// The check that held this incident and its incident that has ended, when that is not written down
    /// here yet.
    fn parent_ended(&self, uid: &str) -> Option<(String, String)> {
        let held = self.incidents.get(uid)?.held.as_ref()?;
        let Some(By::Parent(by)) = &held.by else { return None };
        let ended = self.incidents.get(&by.incident_uid)?.resolved_at.is_some();
        (ended && !by.ended).then(|| (by.check_uid.clone(), by.incident_uid.clone()))
    }

    /// The outage `ended` of the check `parent` is over. What is held by that check, for this outage or
    /// one before, has a while to recover, too, and is then looked at again; what another check holds
    /// by now goes on waiting. One entry writes a bounded number: the first of the rest is due at once,
    /// and the look at it goes on here.
    pub(super) fn let_children_recover(
        &mut self,
        stamp: &Stamp,
        (parent, ended): (&str, &str),
        rows: &mut Rows,
        changes: &mut Vec<Changed>,
    ) {
        // Alerts and what lasts hold nobody back.
        let outage =
            self.incidents.get(ended).is_some_and(|it| it.kind() == v1::IncidentKind::Down);
        if parent.is_empty() || !outage {
            return;
        }
        let children: Vec<(String, v1::HeldByParent)> = self
            .held_by
            .range((parent.to_owned(), String::new())..)
            .take_while(|(by, _)| by == parent)
            .filter_map(|(_, uid)| match self.incidents.get(uid)?.held.as_ref()?.by.as_ref()? {
                By::Parent(by) if by.ended && by.incident_uid == ended => None,
                By::Parent(by) => Some((uid.clone(), by.clone())),
                By::Silence(_) | By::Parents(_) => None,
            })
            .take(HELD_REVIEWED_MAX + 1)
            .collect();
        for (place, (uid, by)) in children.into_iter().enumerate() {
            let Some(child) = self.incidents.get(&uid) else { continue };
            let mut child = child.as_ref().clone();
            let by = v1::HeldByParent { incident_uid: ended.to_owned(), ended: true, ..by };
            if place == HELD_REVIEWED_MAX {
                let by = By::Parent(v1::HeldByParent { ended: false, ..by });
                let since = child.held.as_ref().and_then(|held| held.since);
                child.held = Some(v1::Held { since, ..held(stamp, stamp.utc, by) });
            } else {
                let held = match self.word(&child, stamp.utc) {
                    // It is another one's end that it waits for.
                    Word::Later { until, by: other @ By::Parent(_) } => held(stamp, until, other),
                    _ => held(stamp, stamp.utc + self.grace(&child), By::Parent(by)),
                };
                intents::hold(&mut child, held, stamp.utc);
            }
            self.put_incident(child, rows, changes);
        }
    }

    /// What it takes the runs of an incident's check to tell that it is well again.
    fn grace(&self, incident: &v1::Incident) -> Duration {
        let uid = incident.check_uid.parse::<Uid>().ok();
        let Some(entry) = uid.and_then(|uid| self.checks.get(&uid)) else {
            return DEPENDS_GRACE_MIN;
        };
        let check = &entry.check;
        let runs = check.policy.successes.saturating_add(1);
        let told = check.interval.saturating_mul(runs).saturating_add(check.run.timeout);
        told.max(DEPENDS_GRACE_MIN)
    }

    /// A check that is held for what it depends on was edited: it may depend on something else now. It
    /// is looked at as soon as the leader can.
    pub(super) fn look_soon(&self, stamp: &Stamp, incident: &mut v1::Incident) {
        if let Some(held) = &mut incident.held
            && matches!(held.by, Some(By::Parent(_) | By::Parents(_)))
        {
            held.until = Some(stamp.timestamp());
        }
    }

    pub(super) fn put_silence_row(
        &mut self,
        stamp: &Stamp,
        mut wire: v1::Silence,
        rows: &mut Rows,
        changes: &mut Vec<Changed>,
    ) {
        wire.revision = stamp.index;
        rows.put(rows::silence_key(&wire.uid), &wire);
        changes.push(Changed::Silence(wire.uid.clone()));
        self.silences.insert(wire.uid.clone(), Arc::new(Silence::new(wire)));
    }

    /// Lets those go that ended long ago, and where there is no room the oldest that has ended: of the
    /// namespace, or of all when all together are too many.
    pub(super) fn forget_silences(&mut self, namespace: &str, now: UtcTime, rows: &mut Rows) {
        let long_ago = now - SILENCE_KEPT;
        let old = self.silences.values().filter(|silence| silence.ends() <= long_ago);
        let old: Vec<String> = old.map(|silence| silence.wire.uid.clone()).collect();
        for uid in &old {
            self.forget_silence(uid, rows);
        }
        if self.silences_of(namespace).count() >= SILENCES_PER_NAMESPACE_MAX
            && let Some(uid) = oldest_ended(self.silences_of(namespace), now)
        {
            self.forget_silence(&uid, rows);
        }
        if self.silences.len() >= SILENCES_MAX
            && let Some(uid) = oldest_ended(self.silences.values(), now)
        {
            self.forget_silence(&uid, rows);
        }
    }

    fn forget_silence(&mut self, uid: &str, rows: &mut Rows) {
        self.silences.remove(uid);
        rows.remove(rows::silence_key(uid));
    }
}

fn held(stamp: &Stamp, until: UtcTime, by: By) -> v1::Held {
    let until = (until != OPEN_END).then(|| stamp::timestamp(until));
    v1::Held { since: Some(stamp.timestamp()), until, by: Some(by) }
}

fn times_fit(starts: UtcTime, ends: UtcTime, now: UtcTime) -> Result<(), Refusal> {
    let wrong = |message: &str| Err(refusal(rule::SILENCE_TIMES, message, []));
    if ends <= now {
        return wrong("ends_at: it would have ended already");
    }
    if ends <= starts {
        return wrong("ends_at: it would end before it starts");
    }
    if ends.since(starts) > SILENCE_LENGTH_MAX {
        return wrong("ends_at: it lasts longer than 366 days");
    }
    if starts > now + SILENCE_LENGTH_MAX {
        return wrong("starts_at: it begins in more than 366 days");
    }
    Ok(())
}

fn oldest_ended<'a>(all: impl Iterator<Item = &'a Arc<Silence>>, now: UtcTime) -> Option<String> {
    let ended = all.filter(|silence| silence.ends() <= now);
    ended.min_by_key(|silence| silence.ends()).map(|silence| silence.wire.uid.clone())
}
