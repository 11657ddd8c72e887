//! `RunCheck`: a look from every region, now, for whoever asks. It writes nothing and nobody votes by it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use parallax_common::limits::TEXT_BYTES_MAX;
use parallax_common::outcome::Outcome;
use parallax_common::rule;
use parallax_common::text::cut;
use parallax_proto::convert::enums::{outcome_to, reason_or_none_to};
use parallax_proto::convert::record::record_to;
use parallax_proto::convert::request::shown;
use parallax_proto::convert::time::duration_to;
use parallax_proto::v1;
use parallax_proto::v1::run_check_response::Part;
use parallax_runtime::clock;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};
use tracing::info;

use super::{Api, Need, namespace_of, not_found, with_rule};
use crate::core::look::{Ending, Seat, seats, within};
use crate::session::looks::Asked;

/// What the asker reads.
pub(super) type Stream = ReceiverStream<Result<v1::RunCheckResponse, Status>>;

impl Api {
    /// Looks now.
    pub(super) async fn look(
        &self,
        request: Request<v1::RunCheckRequest>,
    ) -> Result<Response<Stream>, Status> {
        let asked = request.get_ref();
        let namespace = namespace_of(&asked.namespace);
        // It makes traffic.
        let actor = self.caller(&request, namespace, Need::Edit)?;
        let state = self.read(asked.stale).await?;
        let entry = state
            .check_named(namespace, &asked.name)
            .ok_or_else(|| not_found("check", &asked.name))?;
        let check = Arc::clone(&entry.check);
        if !check.enabled {
            return Err(Status::failed_precondition(format!(
                "check {} is paused: no probe has it; enable it first, or use `check try`",
                check.name
            )));
        }
        let regions: BTreeSet<String> = asked.regions.iter().cloned().collect();
        if let Some(other) = regions.iter().find(|it| !check.looks_from().any(|from| from == *it)) {
            let from: Vec<&str> = check.looks_from().map(String::as_str).collect();
            let message = format!(
                "regions: check {} does not look from \"{}\"; it looks from {}",
                check.name,
                cut(other, TEXT_BYTES_MAX),
                from.join(", ")
            );
            return Err(with_rule(Status::invalid_argument(message), rule::UNKNOWN_REGION.id));
        }
        let seats = seats(&check, &self.inner.plan.borrow().assignees(&check.uid), &regions);
        let now = self.inner.judge.mesh_now();
        let request = shown(&asked.request_id.clone().unwrap_or_default());
        let (sessions, digest) = (&self.inner.sessions, check.run_digest);
        let open = sessions.look(check.uid, digest, &seats, now, request.clone());
        let open = open.map_err(|many| Status::resource_exhausted(many.to_string()))?;
        info!(
            check = check.name,
            namespace,
            probes = seats.len(),
            by = actor.name,
            request,
            "a check is run on demand"
        );
        let within = within(&check);
        let head = v1::RunAsked {
            looks: u32::try_from(seats.len()).unwrap_or(u32::MAX),
            within: Some(duration_to(within)),
            steps: check.run.steps.iter().map(|step| step.name.clone()).collect(),
            revision: state.applied,
        };
        // Room for everything that is said: its task waits for no reader.
        let (to, stream) = mpsc::channel(seats.len() + 1);
        let _ = to.try_send(Ok(part(Part::Asked(head))));
        self.inner.sessions.spawn("look", follow(open, seats, within, to));
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}

fn part(part: Part) -> v1::RunCheckResponse {
    v1::RunCheckResponse { part: Some(part) }
}

/// Tells the asker each answer as it comes; at the end, who gave none.
async fn follow(
    mut open: Asked,
    seats: Vec<Seat>,
    within: Duration,
    to: mpsc::Sender<Result<v1::RunCheckResponse, Status>>,
) {
    let deadline = clock::instant() + within;
    let mut awaited: BTreeSet<usize> = (0..seats.len()).collect();
    while !awaited.is_empty() {
        let answer = tokio::select! {
            answer = tokio::time::timeout_at(deadline.into(), open.next()) => answer,
            // Nobody reads any more.
            () = to.closed() => return,
        };
        let Ok(Some((place, ending))) = answer else { break };
        if awaited.remove(&place)
            && let Some(seat) = seats.get(place)
        {
            let _ = to.try_send(Ok(part(Part::Look(told(seat, ending)))));
        }
    }
    for seat in awaited.into_iter().filter_map(|place| seats.get(place)) {
        let _ = to.try_send(Ok(part(Part::Look(told(seat, Ending::Silent)))));
    }
}

/// One seat, as the asker is told.
fn told(seat: &Seat, ending: Ending) -> v1::Look {
    let look = v1::Look {
        region: seat.region.clone(),
        probe: seat.voter.as_ref().map(|voter| voter.probe.clone()).unwrap_or_default(),
        advisory: seat.advisory,
        detail: ending.sentence(),
        ..v1::Look::default()
    };
    let word = match &ending {
        Ending::Seen(_) => v1::LookEnding::Seen,
        Ending::NoProbe => v1::LookEnding::NoProbe,
        Ending::NoSession | Ending::Silent => v1::LookEnding::NoAnswer,
        Ending::TooOld => v1::LookEnding::TooOld,
        Ending::Refused(_) => v1::LookEnding::Refused,
    };
    let look = v1::Look { ending: word.into(), ..look };
    let Ending::Seen(seen) = ending else { return look };
    // What did not run took no time.
    let ran = seen.outcome != Outcome::Missed;
    v1::Look {
        outcome: outcome_to(seen.outcome),
        reason: reason_or_none_to(seen.reason),
        step: seen.step,
        evidence: seen.evidence.clone(),
        remote_address: seen.remote_address.clone(),
        total: ran.then(|| duration_to(seen.ended.since(seen.started))),
        phases: record_to(&seen).phases,
        ..look
    }
}

#[cfg(test)]
mod tests;
