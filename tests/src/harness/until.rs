//! What the stories wait for, in their own words. How a wait works is in [`super::wait`].

use anyhow::Result;
use parallax_proto::v1;

use super::client::{Api, brief};
use super::sink::{Page, Sink};
use super::target::Target;
use super::wait::{Look, SOON, wait_until};

/// Until the committed verdict on a check is `wanted`.
///
/// # Errors
/// When it is not in time.
pub async fn verdict(api: &Api, check: &str, wanted: v1::Verdict) -> Result<v1::StatusRow> {
    wait_until(SOON, &format!("{check} is {wanted:?}"), || async {
        let row = api.status(check).await?;
        Ok(Look::some((row.verdict() == wanted).then(|| row.clone()), brief(&row)))
    })
    .await
}

/// Until every region of a check votes pass, and the vote counts: a region is heard before its
/// first heartbeat says up to when it has told everything.
///
/// # Errors
/// When it does not in time.
pub async fn everybody_passes(api: &Api, check: &str) -> Result<()> {
    wait_until(SOON, "a passing ballot of every region", || async {
        let row = api.status(check).await?;
        let counts = |b: &&v1::Ballot| b.state() == v1::BallotState::Pass && !b.stale;
        let passing = row.ballots.iter().filter(counts).count();
        Ok(Look::when(passing > 0 && passing == row.ballots.len(), brief(&row)))
    })
    .await
}

/// Until there were `wanted` pages about a check, or more. Returns them in order of arrival.
///
/// # Errors
/// When there are fewer in time.
pub async fn pages(sink: &Sink, check: &str, wanted: usize) -> Result<Vec<Page>> {
    wait_until(SOON, &format!("{wanted} pages about {check}"), || async {
        let pages = sink.pages_of(check);
        Ok(Look::some((pages.len() >= wanted).then(|| pages.clone()), &pages))
    })
    .await
}

/// Until the target was asked `more` times more: time in which something could happen.
///
/// # Errors
/// When it was not in time.
pub async fn more_runs(target: &Target, more: u64) -> Result<()> {
    let goal = target.requests() + more;
    wait_until(SOON, &format!("{more} more runs"), || async {
        let seen = target.requests();
        Ok(Look::when(seen >= goal, seen))
    })
    .await
}
