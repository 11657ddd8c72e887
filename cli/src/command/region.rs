//! `region list`.

use parallax_proto::v1;

use super::list::{all_pages, keep, options};
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
    let (regions, revision) = all(args, client).await?;
    let view = RegionsView::new(&regions, revision);
    shell.data(&view, |shell| view.table(shell))?;
    if regions.is_empty() {
        shell.say("no regions");
    }
    Ok(Exit::Ok)
}

/// The regions that fit, and the revision of the first answer.
pub(super) async fn all(
    args: &List,
    client: &mut Client,
) -> Result<(Vec<v1::RegionStatus>, u64), Failure> {
    let (mut regions, revision) = all_pages!(
        client,
        options(args, client),
        RegionServiceClient::region_service_client,
        list_regions,
        ListRegionsRequest {},
        regions
    );
    keep(&mut regions, &args.select.all(), |status| status.region.as_ref()?.meta.as_ref());
    Ok((regions, revision))
}
