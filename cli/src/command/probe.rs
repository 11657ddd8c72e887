//! `probe list`, `probe get`.

use parallax_common::text::nearest;
use parallax_proto::v1;

use super::list::{all_pages, options};
use crate::args::{List, ProbeGet};
use crate::client::Client;
use crate::exit::{Exit, Failure};
use crate::output::Shell;
use crate::output::probe::{ProbeView, ProbesView};

/// All probes.
///
/// # Errors
/// What the coordinator says.
pub async fn list(args: &List, client: &mut Client, shell: &mut Shell) -> Result<Exit, Failure> {
    let (probes, revision) = all_pages!(
        client,
        options(args, client),
        FleetServiceClient::fleet_service_client,
        list_probes,
        ListProbesRequest {},
        probes
    );
    let view = ProbesView::new(&probes, revision);
    shell.data(&view, |shell| view.table(shell))?;
    if probes.is_empty() {
        shell.say("no probes");
    }
    Ok(Exit::Ok)
}

/// All that is known of one probe.
///
/// # Errors
/// What the coordinator says; or there is no such probe, or more than one.
pub async fn get(args: &ProbeGet, client: &mut Client, shell: &mut Shell) -> Result<Exit, Failure> {
    let all = List { stale: args.get.stale, ..List::default() };
    let (probes, _) = all_pages!(
        client,
        options(&all, client),
        FleetServiceClient::fleet_service_client,
        list_probes,
        ListProbesRequest {},
        probes
    );
    let name = args.get.name.as_str();
    let named: Vec<&v1::Probe> = probes
        .iter()
        .filter(|probe| probe.name == name)
        .filter(|probe| args.region.as_ref().is_none_or(|region| probe.region == *region))
        .collect();
    match named.as_slice() {
        [probe] => {
            let view = ProbeView::new(probe);
            shell.data(&view, |shell| view.text(shell))?;
            Ok(Exit::Ok)
        }
        [] => Err(missing(args, &probes)),
        several => {
            let regions: Vec<&str> = several.iter().map(|probe| probe.region.as_str()).collect();
            let regions = regions.join(", ");
            Err(Failure::Usage(format!("probes of {regions} are named `{name}`: give --region")))
        }
    }
}

fn missing(args: &ProbeGet, probes: &[v1::Probe]) -> Failure {
    let name = &args.get.name;
    let place = args.region.as_ref().map_or(String::new(), |region| format!(" in {region}"));
    let near = nearest(name, probes.iter().map(|probe| probe.name.as_str()));
    let near = near.filter(|near| near != name);
    let hint = near.map_or(String::new(), |near| format!(" (did you mean `{near}`?)"));
    Failure::Answered {
        code: tonic::Code::NotFound,
        message: format!("there is no probe `{name}`{place}{hint}"),
        rule: None,
        request_id: None,
    }
}
