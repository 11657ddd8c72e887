//! Contacts: list, get, delete. References inside them are shown as written, never resolved.

use parallax_proto::v1;
use parallax_proto::v1::contact_service_server::ContactService;
use tonic::{Request, Response, Status};

use super::checks::Target;
use super::page::{matches, page};
use super::{Api, Need, namespace_of, not_found};
use crate::core::state::Kind;

#[tonic::async_trait]
impl ContactService for Api {
    async fn list_contacts(
        &self,
        request: Request<v1::ListContactsRequest>,
    ) -> Result<Response<v1::ListContactsResponse>, Status> {
        let options = request.get_ref().options.clone().unwrap_or_default();
        let namespace = namespace_of(&options.namespace);
        self.caller(&request, namespace, Need::View)?;
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
        let page = page(&options, contacts)?;
        Ok(Response::new(v1::ListContactsResponse {
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
        let state = self.read(get.stale).await?;
        let contact = state
            .contact_named(namespace, &get.name)
            .ok_or_else(|| not_found("contact", &get.name))?;
        Ok(Response::new(v1::GetContactResponse {
            contact: Some(contact.clone()),
            revision: state.applied,
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
}
