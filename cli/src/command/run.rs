//! `check run`: a look from every region, now, for whoever asks.

use std::time::Duration;

use parallax_common::limits::LOOK_SLACK;
use parallax_proto::v1;
use parallax_proto::v1::check_service_client::CheckServiceClient;
use parallax_proto::v1::run_check_response::Part;
use tonic::{Code, Streaming};

use crate::args::CheckRun;
use crate::client::{Client, refusal};
use crate::exit::{Exit, Failure};
use crate::output::Shell;
use crate::output::run::RunView;
use crate::output::time::{positive, rounded_length};

/// Between two words on how many have answered.
const WORD_EVERY: Duration = Duration::from_secs(2);

/// Looks from every region, and shows what each saw.
///
/// # Errors
/// What the coordinator says.
pub async fn run(args: &CheckRun, client: &mut Client, shell: &mut Shell) -> Result<Exit, Failure> {
    let id = client.request_id();
    let request = v1::RunCheckRequest {
        request_id: Some(id.clone()),
        namespace: client.namespace(),
        name: args.name.clone(),
        regions: args.regions.clone(),
        stale: args.stale,
    };
    let answer = client.call(Some(&id), |channel| {
        let request = request.clone();
        async move { CheckServiceClient::new(channel).run_check(request).await }
    });
    let mut stream = match answer.await {
        Err(Failure::Answered { code: Code::Unimplemented, rule, request_id, .. }) => {
            let message =
                "the coordinator's build is too old: it runs no checks on demand".to_owned();
            return Err(Failure::Answered { code: Code::Unimplemented, message, rule, request_id });
        }
        answer => answer?,
    };
    let looks = gather(&mut stream, &id, shell).await?;
    let view = RunView::new(&args.name, &looks.0, looks.1);
    shell.data(&view, |shell| view.text(shell))?;
    shell.say(&view.sentence());
    Ok(if view.all_hold() { Exit::Ok } else { Exit::Refused })
}

/// All that the coordinator tells: how the looks were begun, and each of them.
async fn gather(
    stream: &mut Streaming<v1::RunCheckResponse>,
    id: &v1::RequestId,
    shell: &mut Shell,
) -> Result<(v1::RunAsked, Vec<v1::Look>), Failure> {
    let mut next = async || match stream.message().await {
        Ok(part) => Ok(part.and_then(|part| part.part)),
        Err(status) => Err(refusal(&status, Some(id))),
    };
    let Some(Part::Asked(asked)) = next().await? else {
        return Err(Failure::Incomplete("count of looks"));
    };
    let within = asked.within.as_ref().and_then(positive).unwrap_or_default();
    let many = match asked.looks {
        1 => "1 look".to_owned(),
        many => format!("{many} looks"),
    };
    shell.say(&format!("{many} asked for; answers are awaited for {}", rounded_length(within)));
    let mut looks = Vec::new();
    let collecting = async {
        while looks.len() < asked.looks as usize {
            let mut waits = std::pin::pin!(next());
            let part = loop {
                match tokio::time::timeout(WORD_EVERY, &mut waits).await {
                    Ok(part) => break part?,
                    Err(_) => shell.say(&format!("{} of {} are here", looks.len(), asked.looks)),
                }
            };
            match part {
                Some(Part::Look(look)) => looks.push(look),
                _ => return Err(Failure::Incomplete("looks of all who were asked")),
            }
        }
        Ok(())
    };
    // The coordinator ends it in time; this is for one that does not.
    match tokio::time::timeout(within + LOOK_SLACK, collecting).await {
        Ok(collected) => collected?,
        Err(_) => return Err(Failure::Incomplete("looks of all who were asked")),
    }
    Ok((asked, looks))
}
