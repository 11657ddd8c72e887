//! `incident list|get|ack|resolve`.

use parallax_common::limits::MEMBER_NAMES_WITHIN;
use parallax_proto::v1;
use parallax_proto::v1::incident_service_client::IncidentServiceClient;

use super::list::{all_pages, options};
use crate::args::{IncidentAck, IncidentGet, IncidentList, IncidentResolve};
use crate::client::Client;
use crate::exit::{Exit, Failure};
use crate::output::Shell;
use crate::output::incident::{IncidentView, IncidentsView};
use crate::output::member::Names;

/// Incidents.
///
/// # Errors
/// What the coordinator says.
pub async fn list(
    args: &IncidentList,
    client: &mut Client,
    shell: &mut Shell,
) -> Result<Exit, Failure> {
    let check = args.check.clone().unwrap_or_default();
    let (mut incidents, revision) = all_pages!(
        client,
        options(&args.list, client),
        IncidentServiceClient::incident_service_client,
        list_incidents,
        ListIncidentsRequest { open_only: args.open, check: check },
        incidents
    );
    let selector = args.list.select.all();
    incidents.retain(|incident| selector.fits(&incident.labels));
    let view = IncidentsView::new(&incidents, revision);
    shell.data(&view, |shell| view.table(shell))?;
    if incidents.is_empty() {
        shell.say(if args.open { "no open incidents" } else { "no incidents" });
    }
    Ok(Exit::Ok)
}

/// One incident with everything it rests on.
///
/// # Errors
/// What the coordinator says.
pub async fn get(
    args: &IncidentGet,
    client: &mut Client,
    shell: &mut Shell,
) -> Result<Exit, Failure> {
    let request = v1::GetIncidentRequest {
        namespace: client.namespace(),
        uid: args.uid.clone(),
        stale: args.stale,
    };
    let answer = client
        .call(None, |channel| {
            let request = request.clone();
            async move { IncidentServiceClient::new(channel).get_incident(request).await }
        })
        .await?;
    let incident = answer.incident.ok_or(Failure::Incomplete("incident"))?;
    let names = match names_coordinators(&incident) {
        true => names(client).await,
        false => Names::default(),
    };
    let view = IncidentView::named(&incident, &answer.sentences, &names);
    shell.data(&view, |shell| view.text(shell))?;
    Ok(Exit::Ok)
}

/// Whether coordinators stand in it by their numbers.
fn names_coordinators(incident: &v1::Incident) -> bool {
    use v1::timeline_event::Event;
    let handed = |it: &v1::TimelineEvent| matches!(it.event, Some(Event::PageReassigned(_)));
    incident.deliveries.iter().any(|page| !page.history.is_empty())
        || incident.timeline.iter().any(handed)
}

/// The names of all members; none when nobody tells them in time, which is no reason to show nothing.
async fn names(client: &mut Client) -> Names {
    let looked = tokio::time::timeout(MEMBER_NAMES_WITHIN, super::cluster::look(client, true));
    match looked.await {
        Ok(Ok(cluster)) => Names::new(&cluster.members),
        _ => Names::default(),
    }
}

/// Says that somebody is on it.
///
/// # Errors
/// What the coordinator says.
pub async fn ack(
    args: &IncidentAck,
    client: &mut Client,
    shell: &mut Shell,
) -> Result<Exit, Failure> {
    let id = client.request_id();
    let request = v1::AckIncidentRequest {
        request_id: Some(id.clone()),
        namespace: client.namespace(),
        uid: args.uid.clone(),
        note: args.note.clone(),
    };
    let answer = client
        .call(Some(&id), |channel| {
            let request = request.clone();
            async move { IncidentServiceClient::new(channel).ack_incident(request).await }
        })
        .await?;
    done(answer.incident, answer.revision, shell)
}

/// Ends an incident by hand.
///
/// # Errors
/// What the coordinator says.
pub async fn resolve(
    args: &IncidentResolve,
    client: &mut Client,
    shell: &mut Shell,
) -> Result<Exit, Failure> {
    let id = client.request_id();
    let request = v1::ResolveIncidentRequest {
        request_id: Some(id.clone()),
        namespace: client.namespace(),
        uid: args.uid.clone(),
        note: args.note.clone(),
        force: args.force,
    };
    let answer = client
        .call(Some(&id), |channel| {
            let request = request.clone();
            async move { IncidentServiceClient::new(channel).resolve_incident(request).await }
        })
        .await?;
    done(answer.incident, answer.revision, shell)
}

/// What became of it: a line of talk, and for programs the incident as data.
fn done(incident: Option<v1::Incident>, revision: u64, shell: &mut Shell) -> Result<Exit, Failure> {
    let incident = incident.ok_or(Failure::Incomplete("incident"))?;
    let view = IncidentView::new(&incident, &[]);
    shell.data(&view, |_| String::new())?;
    let (uid, subject, standing) = (&view.uid, view.subject(), view.standing());
    shell.say(&format!("{uid} ({subject}) is {standing} at revision {revision}"));
    Ok(Exit::Ok)
}
