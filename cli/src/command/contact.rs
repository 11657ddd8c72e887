//! `contact list|get|test`.

use parallax_proto::v1;
use parallax_proto::v1::contact_service_client::ContactServiceClient;

use super::list::{all_pages, keep, options};
use crate::args::{ContactTest, Get, List};
use crate::client::Client;
use crate::exit::{Exit, Failure};
use crate::output::Shell;
use crate::output::contact::{ContactView, ContactsView, TestView};

/// All contacts, without what is secret about them.
///
/// # Errors
/// What the coordinator says.
pub async fn list(args: &List, client: &mut Client, shell: &mut Shell) -> Result<Exit, Failure> {
    let (mut contacts, revision, standings) = all_pages!(
        client,
        options(args, client),
        ContactServiceClient::contact_service_client,
        list_contacts,
        ListContactsRequest {},
        contacts,
        beside standings
    );
    keep(&mut contacts, &args.select.all(), |contact| contact.meta.as_ref());
    let view = ContactsView::new(&contacts, &standings, revision);
    shell.data(&view, |shell| view.table(shell))?;
    if contacts.is_empty() {
        shell.say("no contacts");
    }
    Ok(Exit::Ok)
}

/// One contact, without what is secret about it. A table has no room for one: it is shown as YAML unless
/// JSON is asked for.
///
/// # Errors
/// What the coordinator says.
pub async fn get(args: &Get, client: &mut Client, shell: &mut Shell) -> Result<Exit, Failure> {
    let request = v1::GetContactRequest {
        namespace: client.namespace(),
        name: args.name.clone(),
        stale: args.stale,
    };
    let answer = client
        .call(None, |channel| {
            let request = request.clone();
            async move { ContactServiceClient::new(channel).get_contact(request).await }
        })
        .await?;
    let contact = answer.contact.ok_or(Failure::Incomplete("contact"))?;
    shell.document(&ContactView::new(&contact, answer.standing.as_ref()))?;
    Ok(Exit::Ok)
}

/// Has a page sent that says that it is a test.
///
/// # Errors
/// What the coordinator says. That the contact has not taken the page is no error of the command's, and
/// its exit code says so all the same.
pub async fn test(
    args: &ContactTest,
    client: &mut Client,
    shell: &mut Shell,
) -> Result<Exit, Failure> {
    let request = v1::TestContactRequest { namespace: client.namespace(), name: args.name.clone() };
    let answer = client
        .call(None, |channel| {
            let request = request.clone();
            async move { ContactServiceClient::new(channel).test_contact(request).await }
        })
        .await?;
    let sent = answer.sent;
    let view = TestView::new(&args.name, answer);
    shell.data(&view, |_| view.text())?;
    Ok(if sent { Exit::Ok } else { Exit::Refused })
}
