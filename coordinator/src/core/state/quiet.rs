//! Silences, and incidents whose opening pages they hold. What is decided is decided by
//! `core/quiet.rs`; here is when it is asked, and what is written down of its word.

use std::sync::Arc;

use parallax_common::limits::{
    HELD_REVIEWED_MAX, SILENCE_KEPT, SILENCE_LENGTH_MAX, SILENCES_MAX, SILENCES_PER_NAMESPACE_MAX,
};
use parallax_common::rule;
use parallax_common::time::UtcTime;
use parallax_proto::v1::held::By;
use parallax_proto::{store, v1};

use super::rows::{self, Rows};
use super::{Answer, Changed, Refusal, Stamp, State, accepted, refusal, refused};
use crate::core::outbox::intents;
use crate::core::quiet::{self, Silence, Word};
use crate::core::stamp;

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
        let held: Vec<String> = self
            .held
            .iter()
            .map(|(_, uid)| uid)
            .filter(|uid| self.is_held_by(uid, &command.uid))
            .cloned()
            .collect();
        for uid in held {
            self.review(stamp, &uid, command.node_id, rows, changes);
        }
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
        for uid in &uids {
            self.review(stamp, uid, command.node_id, rows, changes);
        }
        accepted(stamp, uids)
    }

    /// When the first held incident is to be looked at.
    pub fn review_at(&self) -> Option<UtcTime> {
        self.held.get_min().map(|(at, _)| UtcTime::from_ns(*at))
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
    fn review(
        &mut self,
        stamp: &Stamp,
        uid: &str,
        node_id: u64,
        rows: &mut Rows,
        changes: &mut Vec<Changed>,
    ) {
        let Some(incident) = self.incidents.get(uid).cloned() else { return };
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

    fn word(&self, incident: &v1::Incident, now: UtcTime) -> Word {
        let causes = self
            .silences_of(&incident.namespace)
            .filter(|silence| now < silence.ends() && silence.fits(incident))
            .map(|silence| silence.cause());
        quiet::word(incident.resolved_at.is_some(), causes, now)
    }

    fn is_held_by(&self, incident: &str, silence: &str) -> bool {
        let held = self.incidents.get(incident).and_then(|incident| incident.held.as_ref());
        matches!(held.and_then(|held| held.by.as_ref()), Some(By::Silence(by)) if by.uid == silence)
    }

    fn put_silence_row(
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
    fn forget_silences(&mut self, namespace: &str, now: UtcTime, rows: &mut Rows) {
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
    v1::Held { since: Some(stamp.timestamp()), until: Some(stamp::timestamp(until)), by: Some(by) }
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
