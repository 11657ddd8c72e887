//! `silence add|list|get|expire`.

use parallax_proto::v1;
use parallax_proto::v1::add_silence_request::End;
use parallax_proto::v1::silence_service_client::SilenceServiceClient;

use super::list::{all_pages, options};
use crate::args::{List, SilenceAdd, SilenceExpire, SilenceGet, SilenceList};
use crate::client::Client;
use crate::exit::{Exit, Failure};
use crate::output::Shell;
use crate::output::quiet::{SilenceView, SilencesView, matcher};

/// Makes a silence.
///
/// # Errors
/// What the coordinator says.
pub async fn add(
    args: &SilenceAdd,
    client: &mut Client,
    shell: &mut Shell,
) -> Result<Exit, Failure> {
    let id = client.request_id();
    let named = args.check.iter().map(|name| v1::Matcher {
        key: "check".to_owned(),
        operator: v1::MatchOperator::Equal.into(),
        value: name.clone(),
    });
    let length = args.length.and_then(|length| prost_types::Duration::try_from(length).ok());
    let request = v1::AddSilenceRequest {
        request_id: Some(id.clone()),
        namespace: client.namespace(),
        matchers: named.chain(args.matchers.iter().map(matcher)).collect(),
        comment: args.comment.clone(),
        starts_at: args.from.map(timestamp),
        end: length.map(End::Length).or(args.until.map(|at| End::EndsAt(timestamp(at)))),
    };
    let answer = client
        .call(Some(&id), |channel| {
            let request = request.clone();
            async move { SilenceServiceClient::new(channel).add_silence(request).await }
        })
        .await?;
    done(answer.silence, answer.revision, shell)
}

/// Silences.
///
/// # Errors
/// What the coordinator says.
pub async fn list(
    args: &SilenceList,
    client: &mut Client,
    shell: &mut Shell,
) -> Result<Exit, Failure> {
    let list = List { stale: args.stale, ..List::default() };
    let (silences, revision) = all_pages!(
        client,
        options(&list, client),
        SilenceServiceClient::silence_service_client,
        list_silences,
        ListSilencesRequest { ended: args.ended },
        silences
    );
    let view = SilencesView::new(&silences, revision, (shell.now)());
    shell.data(&view, |shell| view.table(shell))?;
    if silences.is_empty() {
        shell.say("no silences");
    }
    Ok(Exit::Ok)
}

/// One silence.
///
/// # Errors
/// What the coordinator says.
pub async fn get(
    args: &SilenceGet,
    client: &mut Client,
    shell: &mut Shell,
) -> Result<Exit, Failure> {
    let request = v1::GetSilenceRequest {
        namespace: client.namespace(),
        uid: args.uid.clone(),
        stale: args.stale,
    };
    let answer = client
        .call(None, |channel| {
            let request = request.clone();
            async move { SilenceServiceClient::new(channel).get_silence(request).await }
        })
        .await?;
    let silence = answer.silence.ok_or(Failure::Incomplete("silence"))?;
    let view = SilenceView::new(&silence, (shell.now)());
    shell.data(&view, |_| view.text())?;
    Ok(Exit::Ok)
}

/// Ends a silence.
///
/// # Errors
/// What the coordinator says.
pub async fn expire(
    args: &SilenceExpire,
    client: &mut Client,
    shell: &mut Shell,
) -> Result<Exit, Failure> {
    let id = client.request_id();
    let request = v1::ExpireSilenceRequest {
        request_id: Some(id.clone()),
        namespace: client.namespace(),
        uid: args.uid.clone(),
    };
    let answer = client
        .call(Some(&id), |channel| {
            let request = request.clone();
            async move { SilenceServiceClient::new(channel).expire_silence(request).await }
        })
        .await?;
    done(answer.silence, answer.revision, shell)
}

/// What became of it: a line of talk, and for programs the silence as data.
fn done(silence: Option<v1::Silence>, revision: u64, shell: &mut Shell) -> Result<Exit, Failure> {
    let silence = silence.ok_or(Failure::Incomplete("silence"))?;
    let view = SilenceView::new(&silence, (shell.now)());
    shell.data(&view, |_| String::new())?;
    shell.say(&format!("{} at revision {revision}", view.line()));
    Ok(Exit::Ok)
}

fn timestamp(at: jiff::Timestamp) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds: at.as_second(), nanos: at.subsec_nanosecond() }
}
