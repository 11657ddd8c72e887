//! `contact list`.

use parallax_proto::v1;

use super::list::{all_pages, options};
use crate::args::List;
use crate::client::Client;
use crate::exit::{Exit, Failure};
use crate::output::Shell;
use crate::output::contact::ContactsView;

/// All contacts, without what is secret about them.
///
/// # Errors
/// What the coordinator says.
pub async fn list(args: &List, client: &mut Client, shell: &mut Shell) -> Result<Exit, Failure> {
    let (contacts, revision) = all_pages!(
        client,
        options(args, client),
        ContactServiceClient::contact_service_client,
        list_contacts,
        ListContactsRequest {},
        contacts
    );
    let view = ContactsView::new(&contacts, revision);
    shell.data(&view, |shell| view.table(shell))?;
    if contacts.is_empty() {
        shell.say("no contacts");
    }
    Ok(Exit::Ok)
}
