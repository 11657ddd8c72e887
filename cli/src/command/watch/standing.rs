//! How things stand, in the words of a watch: for a watcher that missed changes which no coordinator
//! remembers any more.

use parallax_proto::v1;
use parallax_proto::v1::status_service_client::StatusServiceClient;

use super::{ProbeChangeView, VerdictView, WatchView};
use crate::args::List;
use crate::client::Client;
use crate::command::list::{all_pages, options};
use crate::exit::Failure;
use crate::output::incident::IncidentView;
use crate::output::word;

/// The verdict of every check, every open incident and every probe, as they are now.
pub(super) struct Standing {
    /// Everything up to here is in it; what comes after may be in it too.
    pub revision: u64,
    /// Marked as listed, each with that revision.
    pub views: Vec<WatchView>,
}

/// Asks for all of it.
///
/// # Errors
/// What a coordinator says, or that none is there.
pub(super) async fn standing(client: &mut Client) -> Result<Standing, Failure> {
    let args = List::default();
    // The first list is the oldest: what changes meanwhile is told again, and nothing is missed.
    let (rows, revision) = rows(client, options(&args, client)).await?;
    let (incidents, _) = all_pages!(
        client,
        options(&args, client),
        IncidentServiceClient::incident_service_client,
        list_incidents,
        ListIncidentsRequest { open_only: true, check: String::new() },
        incidents
    );
    let (probes, _) = all_pages!(
        client,
        options(&args, client),
        FleetServiceClient::fleet_service_client,
        list_probes,
        ListProbesRequest {},
        probes
    );
    let listed = || WatchView { revision, listed: true, ..WatchView::default() };
    let verdicts = rows.iter().filter(|row| row.enabled);
    let verdicts = verdicts.map(|row| WatchView { verdict: Some(verdict(row)), ..listed() });
    let incidents = incidents
        .iter()
        .map(|it| WatchView { incident: Some(IncidentView::new(it, &[])), ..listed() });
    let probes = probes.iter().map(|it| {
        let (region, name) = (it.region.clone(), it.name.clone());
        let state = word::probe(it.state);
        WatchView { probe: Some(ProbeChangeView { region, name, state }), ..listed() }
    });
    Ok(Standing { revision, views: verdicts.chain(incidents).chain(probes).collect() })
}

async fn rows(
    client: &mut Client,
    mut options: v1::ListOptions,
) -> Result<(Vec<v1::StatusRow>, u64), Failure> {
    let mut rows = Vec::new();
    let mut revision = None;
    loop {
        let request = v1::GetStatusRequest { options: Some(options.clone()) };
        let answer = client
            .call(None, |channel| {
                let request = request.clone();
                async move { StatusServiceClient::new(channel).get_status(request).await }
            })
            .await?;
        revision.get_or_insert(answer.revision);
        rows.extend(answer.rows);
        if answer.next_page_token.is_empty() || answer.next_page_token == options.page_token {
            return Ok((rows, revision.unwrap_or_default()));
        }
        options.page_token = answer.next_page_token;
    }
}

fn verdict(row: &v1::StatusRow) -> VerdictView {
    use v1::BallotState;
    let counted = || row.ballots.iter().filter(|ballot| !ballot.advisory);
    let count = |states: &[BallotState]| {
        let votes = counted().filter(|ballot| states.contains(&ballot.state()));
        u32::try_from(votes.count()).unwrap_or(u32::MAX)
    };
    VerdictView {
        check: row.name.clone(),
        verdict: word::verdict(row.verdict),
        degraded: word::said(word::degraded(row.degraded)),
        failing: count(&[BallotState::Fail]),
        passing: count(&[BallotState::Pass, BallotState::Warn]),
        regions: u32::try_from(counted().count()).unwrap_or(u32::MAX),
    }
}
