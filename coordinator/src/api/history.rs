//! What was measured and what was decided, over a range of time.
//!
//! Latency and counts come from this member's own history store; verdict intervals from the
//! replicated rows. Reading goes on threads of its own, a few questions at a time.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use parallax_common::check::Check;
use parallax_common::limits::{
    HISTORY_ANSWER_BYTES_MAX, HISTORY_ENTRIES_MAX, HISTORY_QUANTILES_MAX, HISTORY_ROWS_MAX,
    LEADERLESS_RECORDED, UPTIME_INTERVALS_READ_MAX,
};
use parallax_common::name::Uid;
use parallax_common::outcome::Phase;
use parallax_common::time::{MeshTime, UtcTime, ns};
use parallax_common::window::Period;
use parallax_proto::convert::enums::phase;
use parallax_proto::convert::time::{duration_to, mesh_timestamp, timestamp, utc};
use parallax_proto::v1;
use parallax_proto::v1::history_service_server::HistoryService;
use parallax_runtime::clock;
use prost::Message as _;
use prost_types::Timestamp;
use tonic::{Request, Response, Status};

use super::{Api, Need, namespace_of, not_found};
use crate::core::state::{LEADERLESS, State};
use crate::core::uptime::{self, Interval, Leaderless};
use crate::history::Question;
use crate::history::query::{Fold, Shape};
use crate::history::segment::SegmentError;
use crate::history::tier::Tier;
use crate::store::rows::{RowError, RowStore};

/// Rows of one step of a scan.
const SCAN_ROWS: usize = 500;

#[tonic::async_trait]
impl HistoryService for Api {
    async fn query_history(
        &self,
        request: Request<v1::QueryHistoryRequest>,
    ) -> Result<Response<v1::QueryHistoryResponse>, Status> {
        let query = request.get_ref();
        let namespace = namespace_of(&query.namespace);
        self.caller(&request, namespace, Need::View)?;
        let state = self.read(query.stale).await?;
        let check = check_of(&state, namespace, &query.check)?;
        let now = MeshTime::from_ns(clock::utc().as_ns());
        let (since, until) = range(query.since.as_ref(), query.until.as_ref(), now)?;
        let ask = Ask::new(query, &check, (since, until), now)?;
        let folded = self.fold(ask.clone(), &check).await?;
        let answer = v1::QueryHistoryResponse {
            rows: folded.rows(&query.quantiles),
            tier: tier_to(ask.tier).into(),
            cell: Some(duration_to(Duration::from_secs(folded.longest_cell_s().into()))),
            since: Some(mesh_timestamp(ask.shape.from)),
            until: Some(mesh_timestamp(ask.shape.to)),
            node_id: self.inner.node_id,
            check_uid: check.uid.to_string(),
            dropped: self.inner.history.stats().dropped,
        };
        let bytes = answer.encoded_len();
        if bytes > HISTORY_ANSWER_BYTES_MAX {
            let what = format!("the answer would have {} KiB", bytes / 1_024);
            return Err(too_much(&what, &format!("{} KiB", HISTORY_ANSWER_BYTES_MAX / 1_024)));
        }
        Ok(Response::new(answer))
    }

    async fn get_uptime(
        &self,
        request: Request<v1::GetUptimeRequest>,
    ) -> Result<Response<v1::GetUptimeResponse>, Status> {
        let get = request.get_ref();
        let namespace = namespace_of(&get.namespace);
        self.caller(&request, namespace, Need::View)?;
        let state = self.read(get.stale).await?;
        let check = check_of(&state, namespace, &get.check)?;
        let now = clock::utc().max(state.last_utc());
        let mesh_now = MeshTime::from_ns(now.as_ns());
        let (since, until) = range(get.since.as_ref(), get.until.as_ref(), mesh_now)?;
        let asked = UtcTime::from_ns(since.as_ns());
        let until_utc = UtcTime::from_ns(until.as_ns()).min(now);
        let standing = state.standing(&check.uid);
        let node = self.inner.proposer.node().clone();
        let (uid, applied) = (check.uid, state.applied);
        let read = move || {
            // The rows are written behind the state, and what has ended is nowhere else.
            node.wait_stored(applied).map_err(|_stopped| RowError::Io {
                action: "catch up with the state",
                source: std::io::ErrorKind::BrokenPipe.into(),
            })?;
            let rows = node.rows();
            let of_check = intervals(rows.as_ref(), &uid, asked)?;
            Ok((of_check, intervals(rows.as_ref(), &LEADERLESS, asked)?))
        };
        let ((closed, complete_from), (nobody_led, led_from)) = blocking(read).await?;
        let complete_from = complete_from.max(led_from);
        let from = complete_from.unwrap_or(asked).max(asked);
        let leads = self.inner.quorum.standing().leaderless.is_none();
        let still = state.attended().map(|(last, _)| (last, now));
        let still = still.filter(|(last, now)| !leads && now.since(*last) > LEADERLESS_RECORDED);
        let leaderless = Leaderless::new(&nobody_led, still);
        let sum = uptime::sum(&closed, standing, &leaderless, from, until_utc);
        let query =
            v1::QueryHistoryRequest { by_region: true, ..v1::QueryHistoryRequest::default() };
        let ask = Ask::new(&query, &check, (since, until), mesh_now)?;
        let regions = self.fold(ask, &check).await?.success();
        let span = |length: Duration| Some(duration_to(length));
        Ok(Response::new(v1::GetUptimeResponse {
            check_uid: check.uid.to_string(),
            check: check.name.clone(),
            since: Some(timestamp(from)),
            until: Some(timestamp(until_utc)),
            up: span(sum.up),
            degraded: span(sum.degraded),
            down: span(sum.down),
            unknown: span(sum.unknown),
            unrecorded: span(sum.unrecorded),
            percent: sum.percent(),
            intervals: sum
                .intervals
                .iter()
                .map(|interval| v1::VerdictInterval {
                    verdict: interval.verdict.into(),
                    from: Some(timestamp(interval.from)),
                    to: interval.to.map(timestamp),
                })
                .collect(),
            intervals_left_out: sum.left_out,
            regions,
            revision: state.applied,
            truncated: complete_from.is_some(),
            leaderless: leaderless
                .shown(from, until_utc)
                .map(|(begin, end)| v1::LeaderlessTime {
                    from: Some(timestamp(begin)),
                    to: (still != Some((begin, end))).then(|| timestamp(end)),
                })
                .collect(),
        }))
    }
}

impl Api {
    /// Reads and adds up what the shape asks for, on a thread that may wait for the disk.
    async fn fold(&self, ask: Ask, check: &Arc<Check>) -> Result<Fold, Status> {
        let questions = Arc::clone(&self.inner.questions);
        let permit = questions.acquire_owned().await;
        let permit = permit.map_err(|_| Status::unavailable("the coordinator stops"))?;
        let history = Arc::clone(&self.inner.history);
        let Ask { shape, tier } = ask;
        let (from, to, phases) = (shape.from, shape.to, shape.phases.clone());
        let question = Question { check: check.uid, from, to, tier, phases };
        let names =
            |regions: &[String]| regions.iter().map(|name| Arc::from(name.as_str())).collect();
        let mut fold = Fold::new(shape, tier, check.interval, names(&check.regions))
            .with_advisory(names(&check.advisory_regions));
        let read = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            history.cells(&question, &mut |region, cell| fold.add(region, cell))?;
            Ok(fold)
        });
        match read.await {
            Ok(Ok(fold)) if fold.is_too_large() => {
                let most = format!("{} million", HISTORY_ENTRIES_MAX >> 20);
                Err(too_much("the histograms of the answer have too many entries", &most))
            }
            Ok(Ok(fold)) => Ok(fold),
            Ok(Err(SegmentError::TooMuch(most))) => {
                let most = format!("{} MiB", most >> 20);
                Err(too_much("there is more history to read than one question may", &most))
            }
            Ok(Err(error)) => Err(Status::internal(format!("history cannot be read: {error}"))),
            Err(_) => Err(Status::internal("the read was given up")),
        }
    }
}

/// A question that is sound and too large; says what makes it smaller.
fn too_much(what: &str, most: &str) -> Status {
    Status::invalid_argument(format!(
        "history: {what}, the most is {most}: ask for a shorter range (since, until), a longer step, \
         fewer rows of their own (by), or one phase"
    ))
}

fn check_of(state: &State, namespace: &str, name: &str) -> Result<Arc<Check>, Status> {
    let entry = state.check_named(namespace, name).ok_or_else(|| not_found("check", name))?;
    Ok(Arc::clone(&entry.check))
}

fn range(
    since: Option<&Timestamp>,
    until: Option<&Timestamp>,
    now: MeshTime,
) -> Result<(MeshTime, MeshTime), Status> {
    let read = |field: &str, at: Option<&Timestamp>| match at.map(utc) {
        Some(Some(at)) => Ok(Some(MeshTime::from_ns(at.as_ns()))),
        Some(None) => Err(Status::invalid_argument(format!("{field}: not a moment"))),
        None => Ok(None),
    };
    let since =
        read("since", since)?.ok_or_else(|| Status::invalid_argument("since: is missing"))?;
    let until = read("until", until)?.unwrap_or(now);
    if since >= until {
        return Err(Status::invalid_argument("since: must be before until"));
    }
    Ok((since, until))
}

/// A checked question.
#[derive(Debug, Clone)]
struct Ask {
    shape: Shape,
    tier: Tier,
}

impl Ask {
    fn new(
        query: &v1::QueryHistoryRequest,
        check: &Check,
        (since, until): (MeshTime, MeshTime),
        now: MeshTime,
    ) -> Result<Self, Status> {
        let refuse = |why: String| Err(Status::invalid_argument(why));
        if query.quantiles.len() > HISTORY_QUANTILES_MAX {
            return refuse(format!("quantiles: at most {HISTORY_QUANTILES_MAX}"));
        }
        if let Some(bad) = query.quantiles.iter().find(|q| !(**q > 0.0 && **q <= 100.0)) {
            return refuse(format!("quantiles: {bad} is not above 0 and at most 100"));
        }
        let step = match &query.step {
            None => Duration::ZERO,
            Some(step) => match Duration::try_from(*step) {
                Ok(step) if step.subsec_nanos() == 0 => step,
                _ => return refuse("step: must be whole seconds".to_owned()),
            },
        };
        let phases = query.phases.iter().map(|&number| {
            phase(number)
                .ok_or_else(|| Status::invalid_argument(format!("phases: {number} is not one")))
        });
        let mut phases = phases.collect::<Result<BTreeSet<Phase>, Status>>()?;
        if phases.is_empty() && query.by_phase {
            phases = Phase::ALL.iter().copied().collect();
        } else if phases.is_empty() {
            phases.insert(Phase::Total);
        }
        let tier = Tier::for_question(since, step.as_secs(), now);
        // A row is as long as the cells it is made of, at least: none is divided.
        let cell_s = u64::from(tier.cell_s().max(Period::for_interval(check.interval).seconds()));
        let step_s = step.as_secs().div_ceil(cell_s) * cell_s;
        let unit = ns(Duration::from_secs(if step_s == 0 { cell_s } else { step_s }));
        let from = since.as_ns() - since.as_ns().rem_euclid(unit);
        let over = until.as_ns().rem_euclid(unit);
        let to = if over == 0 { until.as_ns() } else { until.as_ns().saturating_add(unit - over) };
        let rows = if step_s == 0 { 1 } else { (to - from) / unit };
        let groups = if query.by_region { check.looks_from().count().max(1) } else { 1 };
        let rows = u64::try_from(rows).unwrap_or(u64::MAX).saturating_mul(groups as u64);
        if rows > HISTORY_ROWS_MAX {
            return refuse(format!(
                "step: {rows} rows, the most is {HISTORY_ROWS_MAX}; make it longer, or the range \
                 (since, until) shorter, or leave out by region"
            ));
        }
        let shape = Shape {
            from: MeshTime::from_ns(from),
            to: MeshTime::from_ns(to),
            step: Duration::from_secs(step_s),
            by_region: query.by_region,
            by_phase: query.by_phase,
            by_step: query.by_step,
            phases,
            now,
        };
        Ok(Self { shape, tier })
    }
}

const fn tier_to(tier: Tier) -> v1::HistoryTier {
    match tier {
        Tier::Windows => v1::HistoryTier::Windows,
        Tier::Minutes => v1::HistoryTier::Minutes,
        Tier::Hours => v1::HistoryTier::Hours,
    }
}

/// The closed intervals of a check that end after `since`, the newest first; and, when there are
/// more than are read, from when on they are complete.
fn intervals(
    rows: &dyn RowStore,
    uid: &Uid,
    since: UtcTime,
) -> Result<(Vec<Interval>, Option<UtcTime>), RowError> {
    let prefix = State::intervals_of(uid);
    let (mut found, mut after): (Vec<Interval>, Option<Vec<u8>>) = (Vec::new(), None);
    loop {
        let step = rows.scan(&prefix, after.as_deref(), SCAN_ROWS)?;
        if step.is_empty() {
            return Ok((found, None));
        }
        for row in &step {
            let interval = Interval::decode(&row.value)
                .ok_or_else(|| RowError::Damaged("a verdict interval".to_owned()))?;
            if interval.to.is_some_and(|to| to <= since) {
                return Ok((found, None));
            }
            if found.len() == UPTIME_INTERVALS_READ_MAX {
                return Ok((found, interval.to));
            }
            found.push(interval);
        }
        after = step.last().map(|row| row.key.to_vec());
    }
}

async fn blocking<T: Send + 'static>(
    read: impl FnOnce() -> Result<T, RowError> + Send + 'static,
) -> Result<T, Status> {
    match tokio::task::spawn_blocking(read).await {
        Ok(Ok(read)) => Ok(read),
        Ok(Err(error)) => Err(Status::internal(format!("the store cannot be read: {error}"))),
        Err(_) => Err(Status::internal("the read was given up")),
    }
}
