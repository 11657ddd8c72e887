//! `region list`.

use parallax_proto::v1;

use super::list::{all_pages, options};
use crate::args::List;
use crate::client::Client;
use crate::exit::{Exit, Failure};
use crate::output::Shell;
use crate::output::region::RegionsView;

/// All regions.
///
/// # Errors
/// What the coordinator says.
pub async fn list(args: &List, client: &mut Client, shell: &mut Shell) -> Result<Exit, Failure> {
    let (regions, revision) = all_pages!(
        client,
        options(args, client),
        RegionServiceClient::region_service_client,
        list_regions,
        ListRegionsRequest {},
        regions
    );
    let view = RegionsView::new(&regions, revision);
    shell.data(&view, |shell| view.table(shell))?;
    if regions.is_empty() {
        shell.say("no regions");
    }
    Ok(Exit::Ok)
}
