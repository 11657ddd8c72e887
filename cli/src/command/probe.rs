//! `probe list`, `probe get`, `probe drain`.

use std::collections::BTreeSet;
use std::time::Duration;

use parallax_common::text::nearest;
use parallax_proto::v1;
use parallax_proto::v1::fleet_service_client::FleetServiceClient;

use super::list::{all_pages, options};
use crate::args::{List, ProbeDrain, ProbeGet};
use crate::client::Client;
use crate::exit::{Exit, Failure};
use crate::output::Shell;
use crate::output::probe::{ProbeView, ProbesView};

/// Between two looks at a probe that is waited for.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// All probes, or those of the regions whose labels fit: a probe has none of its own.
///
/// # Errors
/// What the coordinator says.
pub async fn list(args: &List, client: &mut Client, shell: &mut Shell) -> Result<Exit, Failure> {
    let (mut probes, revision) = every(args.stale, client).await?;
    if !args.select.all().is_empty() {
        let regions = super::region::all(args, client).await?.0;
        let meant: BTreeSet<&str> = regions
            .iter()
            .filter_map(|status| Some(status.region.as_ref()?.meta.as_ref()?.name.as_str()))
            .collect();
        probes.retain(|probe| meant.contains(probe.region.as_str()));
    }
    let view = ProbesView::new(&probes, revision);
    shell.data(&view, |shell| view.table(shell))?;
    if probes.is_empty() {
        shell.say("no probes");
    }
    Ok(Exit::Ok)
}

/// Every probe, and the revision of the first answer.
pub(super) async fn every(
    stale: bool,
    client: &mut Client,
) -> Result<(Vec<v1::Probe>, u64), Failure> {
    let list = List { stale, ..List::default() };
    Ok(all_pages!(
        client,
        options(&list, client),
        FleetServiceClient::fleet_service_client,
        list_probes,
        ListProbesRequest {},
        probes
    ))
}

/// All that is known of one probe.
///
/// # Errors
/// What the coordinator says; or there is no such probe, or more than one.
pub async fn get(args: &ProbeGet, client: &mut Client, shell: &mut Shell) -> Result<Exit, Failure> {
    let probe = find(&args.get.name, args.region.as_deref(), args.get.stale, client).await?;
    let view = ProbeView::new(&probe);
    shell.data(&view, |shell| view.text(shell))?;
    Ok(Exit::Ok)
}

/// Gives a probe no checks any more, or checks again.
///
/// # Errors
/// What the coordinator says; or there is no such probe, or more than one.
pub async fn drain(
    args: &ProbeDrain,
    client: &mut Client,
    shell: &mut Shell,
) -> Result<Exit, Failure> {
    let probe = find(&args.name, args.region.as_deref(), false, client).await?;
    let id = client.request_id();
    let request = v1::DrainProbeRequest {
        request_id: Some(id.clone()),
        region: probe.region.clone(),
        name: probe.name.clone(),
        undo: args.undo,
        force: args.force,
        note: args.note.clone(),
    };
    let answer = client
        .call(Some(&id), |channel| {
            let request = request.clone();
            async move { FleetServiceClient::new(channel).drain_probe(request).await }
        })
        .await?;
    let told = if args.undo { "is given checks again" } else { "is given no checks any more" };
    shell.say(&format!("{} of {} {told}", probe.name, probe.region));
    let probe = match args.wait {
        true => emptied(&probe, client, shell).await?,
        false => answer.probe.ok_or(Failure::Incomplete("probe"))?,
    };
    let view = ProbeView::new(&probe);
    shell.data(&view, |_| String::new())?;
    Ok(Exit::Ok)
}

/// Waits until a probe runs nothing any more, and says how much it still runs whenever that changes. One
/// that is not live runs nothing of the plan.
async fn emptied(
    probe: &v1::Probe,
    client: &mut Client,
    shell: &mut Shell,
) -> Result<v1::Probe, Failure> {
    let mut said = String::new();
    loop {
        let now = find(&probe.name, Some(&probe.region), false, client).await?;
        if now.drain.is_none() {
            let message = format!("{} is put back: somebody has undone the drain", now.name);
            return Err(Failure::Unknown(message));
        }
        if now.state() != v1::ProbeState::Live {
            shell.say(&format!(
                "{} is not live: the plan gives it nothing, and what it runs by itself is not known",
                now.name
            ));
            return Ok(now);
        }
        if now.connected && now.checks == 0 {
            shell.say(&format!("{} runs no check", now.name));
            return Ok(now);
        }
        let left = match (now.connected, now.checks) {
            (false, _) => format!(
                "{} is not connected to this coordinator, which cannot tell: waiting (another may, --endpoint)",
                now.name
            ),
            (true, 1) => format!("{} still runs 1 check", now.name),
            (true, checks) => format!("{} still runs {checks} checks", now.name),
        };
        if left != said {
            shell.say(&left);
            said = left;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// The probe of that name.
async fn find(
    name: &str,
    region: Option<&str>,
    stale: bool,
    client: &mut Client,
) -> Result<v1::Probe, Failure> {
    let (probes, _) = every(stale, client).await?;
    let named: Vec<&v1::Probe> = probes
        .iter()
        .filter(|probe| probe.name == name)
        .filter(|probe| region.is_none_or(|region| probe.region == region))
        .collect();
    match named.as_slice() {
        [probe] => Ok((*probe).clone()),
        [] => Err(missing(name, region, &probes)),
        several => {
            let regions: Vec<&str> = several.iter().map(|probe| probe.region.as_str()).collect();
            let regions = regions.join(", ");
            Err(Failure::Usage(format!("probes of {regions} are named `{name}`: give --region")))
        }
    }
}

fn missing(name: &str, region: Option<&str>, probes: &[v1::Probe]) -> Failure {
    let place = region.map_or(String::new(), |region| format!(" in {region}"));
    let near = nearest(name, probes.iter().map(|probe| probe.name.as_str()));
    let near = near.filter(|near| *near != name);
    let hint = near.map_or(String::new(), |near| format!(" (did you mean `{near}`?)"));
    Failure::Answered {
        code: tonic::Code::NotFound,
        message: format!("there is no probe `{name}`{place}{hint}"),
        rule: None,
        request_id: None,
    }
}
