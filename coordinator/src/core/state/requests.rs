//! Repeated requests: a client's number is carried out once, and asked again gets the stored
//! answer. Stored answers are never evicted while the client may still ask; at the bound new
//! writes are refused instead.

use std::collections::BTreeMap;
use std::sync::Arc;

use parallax_common::limits::{
    CLIENT_AGE_MAX, REFUSAL_BYTES_MAX, REQUEST_IDS_MAX, REQUEST_IDS_PER_CLIENT_MAX, SUBJECTS_MAX,
};
use parallax_common::rule;
use parallax_common::time::UtcTime;
use parallax_proto::{store, v1};

use super::rows::{self, Rows};
use super::{Answer, Refusal, Stamp, State, accepted, refusal};
use crate::mutant::{self, Mutant};

/// What is remembered of one client.
#[derive(Debug, Clone, Default)]
pub struct Client {
    lowest_open: u64,
    answers: BTreeMap<u64, store::AnswerRow>,
    last_seen: UtcTime,
}

impl Client {
    pub(super) fn to_row(&self, name: &str) -> store::ClientRow {
        store::ClientRow {
            client: name.to_owned(),
            lowest_open: self.lowest_open,
            answers: self.answers.values().cloned().collect(),
            last_seen_utc_ns: self.last_seen.as_ns(),
        }
    }

    pub(super) fn from_row(row: store::ClientRow) -> Self {
        Self {
            lowest_open: row.lowest_open,
            answers: row.answers.into_iter().map(|answer| (answer.number, answer)).collect(),
            last_seen: UtcTime::from_ns(row.last_seen_utc_ns),
        }
    }
}

/// A request as it is compared with what is remembered.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Asked {
    /// The client's number for it.
    pub id: v1::RequestId,
    /// Who asks.
    pub actor: v1::Actor,
    /// Of what is asked for.
    pub digest: u64,
}

impl Asked {
    fn actor(&self) -> String {
        format!("{} {}", self.actor.kind, self.actor.name)
    }
}

/// Most bytes of a client's name.
const CLIENT_BYTES_MAX: usize = 64;

/// The id of a write. One without could be carried out twice by a client that tries again. The answer
/// of one that its client says not to wait for would not be kept, nor its client counted.
///
/// # Errors
/// [`rule::REQUEST_ID`].
pub fn identified(given: Option<v1::RequestId>) -> Result<v1::RequestId, Refusal> {
    match given {
        Some(id)
            if !id.client.is_empty()
                && id.client.len() <= CLIENT_BYTES_MAX
                && id.number > 0
                && id.lowest_open <= id.number =>
        {
            Ok(id)
        }
        _ => Err(refusal(
            rule::REQUEST_ID,
            format!(
                "request_id: a write needs a client (1 to {CLIENT_BYTES_MAX} bytes), a number \
                 above 0, and a lowest_open that is not above the number"
            ),
            [],
        )),
    }
}

impl State {
    /// The stored answer of a request that was carried out before.
    ///
    /// # Errors
    /// A number below the client's lowest open one, one that was used for something else or by
    /// somebody else, or too many live request ids.
    pub fn replayed(&self, asked: &Asked) -> Result<Option<Answer>, Refusal> {
        if mutant::on(Mutant::RepeatNotNoticed) {
            return Ok(None);
        }
        let Asked { id, digest, .. } = asked;
        if let Some(client) = self.clients.get(id.client.as_str()) {
            if let Some(answer) = client.answers.get(&id.number) {
                if answer.request_digest != *digest || answer.actor != asked.actor() {
                    let message = "the request id was used for another request before";
                    return Err(refusal(rule::REQUEST_ID_REUSED, message, []));
                }
                return Ok(Some(restore(answer)));
            }
            if id.number < client.lowest_open {
                return Err(refusal(
                    rule::REQUEST_LATE,
                    "the request is older than what its client still waits for",
                    [],
                ));
            }
            let open = client.answers.range(id.lowest_open..).count();
            if open >= REQUEST_IDS_PER_CLIENT_MAX {
                let message = format!(
                    "{open} requests of this client are remembered; it must say which it no longer \
                     waits for (lowest_open)"
                );
                return Err(refusal(rule::CLIENT_REQUEST_IDS, message, []));
            }
        }
        if self.live_requests >= REQUEST_IDS_MAX {
            return Err(refusal(
                rule::REQUEST_IDS,
                format!("{REQUEST_IDS_MAX} requests are remembered; try again later"),
                [],
            ));
        }
        Ok(None)
    }

    pub(super) fn remember(
        &mut self,
        asked: &Asked,
        answer: &Answer,
        utc: UtcTime,
        rows: &mut Rows,
    ) {
        let id = &asked.id;
        let before = self.clients.get(id.client.as_str());
        let lowest_open = before.map_or(0, |client| client.lowest_open).max(id.lowest_open);
        let first = lowest_open + u64::from(mutant::on(Mutant::AnswerForgotten));
        // What is not kept is not copied either.
        let kept = before.into_iter().flat_map(|client| client.answers.range(first..));
        let mut answers: BTreeMap<u64, store::AnswerRow> =
            kept.map(|(number, answer)| (*number, answer.clone())).collect();
        if id.number >= first {
            answers.insert(id.number, keep(asked, answer));
        }
        let client = Client { lowest_open, answers, last_seen: utc };
        if !mutant::on(Mutant::AnswerNotStored) {
            rows.put(rows::client_key(&id.client), &client.to_row(&id.client));
        }
        self.insert_client(&id.client, client);
    }

    /// Puts a client into memory and keeps the count of live request ids true.
    pub(super) fn insert_client(&mut self, name: &str, client: Client) {
        self.live_requests += client.answers.len();
        if let Some(before) = self.clients.insert(name.into(), Arc::new(client)) {
            self.live_requests -= before.answers.len();
        }
    }

    pub(super) fn forget_clients(
        &mut self,
        stamp: &Stamp,
        clients: &[String],
        rows: &mut Rows,
    ) -> Answer {
        for name in clients {
            // One that was heard of since this was proposed is not forgotten.
            let silent = |client: &Arc<Client>| stamp.utc.since(client.last_seen) >= CLIENT_AGE_MAX;
            if !self.clients.get(name.as_str()).is_some_and(silent) {
                continue;
            }
            if let Some(client) = self.clients.remove(name.as_str()) {
                self.live_requests -= client.answers.len();
                rows.remove(rows::client_key(name));
            }
        }
        accepted(stamp, [])
    }

    /// Clients that have not been heard of since `before`.
    pub fn silent_clients(&self, before: UtcTime) -> Vec<String> {
        self.clients
            .iter()
            .filter(|(_, client)| client.last_seen < before)
            .map(|(name, _)| name.to_string())
            .collect()
    }
}

/// The first names of a list, and how many there are besides: what a refusal can hold.
pub(super) fn listed(names: &[String]) -> String {
    /// For the words around the names.
    const ROOM: usize = 256;
    let mut text = String::new();
    for (at, name) in names.iter().enumerate() {
        if at == SUBJECTS_MAX || text.len() + name.len() > REFUSAL_BYTES_MAX - ROOM {
            return format!("{text} and {} more", names.len() - at);
        }
        if at > 0 {
            text.push_str(", ");
        }
        text.push_str(name);
    }
    text
}

fn keep(asked: &Asked, answer: &Answer) -> store::AnswerRow {
    let row = store::AnswerRow {
        number: asked.id.number,
        actor: asked.actor(),
        request_digest: asked.digest,
        ..store::AnswerRow::default()
    };
    match answer {
        Answer::Accepted { revision, subjects, counts } => store::AnswerRow {
            revision: *revision,
            subjects: subjects.clone(),
            counts: (*counts != store::CommitCounts::default()).then_some(*counts),
            ..row
        },
        Answer::Refused(refusal) => store::AnswerRow {
            refusal_rule: refusal.rule.clone().into_owned(),
            refusal: refusal.message.clone(),
            subjects: refusal.subjects.clone(),
            ..row
        },
    }
}

fn restore(answer: &store::AnswerRow) -> Answer {
    let subjects = answer.subjects.clone();
    if answer.refusal_rule.is_empty() {
        let counts = answer.counts.unwrap_or_default();
        return Answer::Accepted { revision: answer.revision, subjects, counts };
    }
    Answer::Refused(Refusal {
        rule: answer.refusal_rule.clone().into(),
        message: answer.refusal.clone(),
        subjects,
    })
}
