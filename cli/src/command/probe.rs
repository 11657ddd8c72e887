//! `probe list`.

use parallax_proto::v1;

use super::list::{all_pages, options};
use crate::args::List;
use crate::client::Client;
use crate::exit::{Exit, Failure};
use crate::output::Shell;
use crate::output::probe::ProbesView;

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
