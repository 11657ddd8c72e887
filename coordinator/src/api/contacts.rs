//! Contacts: list, get, delete, test. References inside them are shown as written, never resolved; what is
//! no reference and may be secret is shown to those alone who may edit it.

use parallax_proto::convert::contact::redacted::redacted;
use parallax_proto::v1;
use parallax_proto::v1::contact_service_server::ContactService;
use parallax_runtime::clock;
use tonic::{Request, Response, Status};

use super::checks::Target;
use super::page::{matches, page};
use super::{Api, Need, namespace_of, not_found};
use crate::core::outbox::Report;
use crate::core::state::Kind;
use crate::notify::{Attempt, body};

#[tonic::async_trait]
impl ContactService for Api {
    async fn list_contacts(
        &self,
        request: Request<v1::ListContactsRequest>,
    ) -> Result<Response<v1::ListContactsResponse>, Status> {
        let options = request.get_ref().options.clone().unwrap_or_default();
        let namespace = namespace_of(&options.namespace);
        self.caller(&request, namespace, Need::View)?;
        let may_edit = self.caller(&request, namespace, Need::Edit).is_ok();
        let state = self.read(options.stale).await?;
        let contacts = state
            .contact_names
            .keys()
            .filter(|(ns, _)| ns == namespace)
            .filter_map(|(ns, name)| Some((name.clone(), state.contact_named(ns, name)?.clone())))
            .filter(|(_, contact)| {
                let meta = contact.meta.clone().unwrap_or_default();
                matches(&options.labels, &meta.labels)
            });
        let mut page = page(&options, contacts)?;
        if !may_edit {
            page.items = page.items.into_iter().map(redacted).collect();
        }
        let uid = |contact: &v1::Contact| contact.meta.clone().unwrap_or_default().uid;
        Ok(Response::new(v1::ListContactsResponse {
            standings: state.standings(page.items.iter().map(uid)),
            contacts: page.items,
            next_page_token: page.next,
            revision: state.applied,
        }))
    }

    async fn get_contact(
        &self,
        request: Request<v1::GetContactRequest>,
    ) -> Result<Response<v1::GetContactResponse>, Status> {
        let get = request.get_ref();
        let namespace = namespace_of(&get.namespace);
        self.caller(&request, namespace, Need::View)?;
        let may_edit = self.caller(&request, namespace, Need::Edit).is_ok();
        let state = self.read(get.stale).await?;
        let contact = state
            .contact_named(namespace, &get.name)
            .ok_or_else(|| not_found("contact", &get.name))?;
        let uid = contact.meta.as_ref().map_or("", |meta| &meta.uid);
        let shown = if may_edit { contact.clone() } else { redacted(contact.clone()) };
        Ok(Response::new(v1::GetContactResponse {
            contact: Some(shown),
            revision: state.applied,
            standing: state.standings([uid.to_owned()]).pop(),
        }))
    }

    async fn delete_contact(
        &self,
        request: Request<v1::DeleteContactRequest>,
    ) -> Result<Response<v1::DeleteContactResponse>, Status> {
        let namespace = namespace_of(&request.get_ref().namespace).to_owned();
        let actor = self.caller(&request, &namespace, Need::Edit)?;
        let delete = request.into_inner();
        let target =
            Target { kind: Kind::Contact, namespace, name: delete.name, etag: delete.etag };
        let revision = self.delete(actor, delete.request_id, target, delete.force).await?;
        Ok(Response::new(v1::DeleteContactResponse { revision }))
    }

    async fn test_contact(
        &self,
        request: Request<v1::TestContactRequest>,
    ) -> Result<Response<v1::TestContactResponse>, Status> {
        let test = request.get_ref();
        let namespace = namespace_of(&test.namespace);
        self.caller(&request, namespace, Need::Edit)?;
        let state = self.read(false).await?;
        let contact = state
            .contact_named(namespace, &test.name)
            .ok_or_else(|| not_found("contact", &test.name))?;
        let uid = contact.meta.as_ref().map_or("", |meta| &meta.uid);
        let incident = uuid::Uuid::now_v7().to_string();
        let key = format!("{incident}:{uid}:test");
        let about = body::Test {
            incident: &incident,
            namespace,
            member: &self.inner.name,
            mesh: &state.cluster.mesh,
            at: clock::utc(),
        };
        let page = body::test(&about, &key);
        let (contact, receipt) = (contact.clone(), String::new());
        let attempt = Attempt { key: key.clone(), contact, page, receipt };
        let sending = async { Ok(self.inner.sender.send(attempt).await) };
        let (sent, detail) = came_of(self.unless_stopping(sending).await?);
        let sent_by = self.inner.name.clone();
        Ok(Response::new(v1::TestContactResponse { sent, detail, key, sent_by }))
    }
}

/// Whether a contact has taken what it was sent, and the sentence about it.
fn came_of(report: Report) -> (bool, String) {
    match report {
        Report::Answered { status: status @ 200..=299, .. } => {
            (true, format!("HTTP status {status}"))
        }
        Report::Taken { note, .. } if !note.is_empty() => (true, format!("taken; {note}")),
        Report::Taken { .. } => (true, "taken".to_owned()),
        Report::Answered { status, detail, .. } => {
            let detail = if detail.is_empty() { detail } else { format!(": {detail}") };
            (false, format!("refused with HTTP status {status}{detail}"))
        }
        Report::Refused { why, .. } => (false, format!("refused: {why}")),
        Report::NotSent(why) => (false, format!("not sent: {why}")),
        Report::Ambiguous(why) => (false, format!("sent, and not answered: {why}")),
    }
}
