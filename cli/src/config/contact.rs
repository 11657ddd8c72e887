//! What a contact and a region may say, field by field.

use std::sync::Arc;

use parallax_proto::v1;

use super::check::judge;
use super::reader::{Field, Reader, field, required};
use super::step::headers;
use super::tree::Node;
use super::{Kind, Located, value};

const CONTACT: &[Field<v1::Contact>] = &[
    required("name", "a name such as `ops`", |contact, node, reader| {
        let name = value::text(node, reader).unwrap_or_default();
        contact.meta.get_or_insert_default().name = name;
    }),
    field("labels", "a mapping of names to texts", |contact, node, reader| {
        let labels = value::labels(node, reader).unwrap_or_default();
        contact.meta.get_or_insert_default().labels = labels;
    }),
    required("webhook", "a mapping with `url`", |contact, node, reader| {
        let mut webhook = v1::WebhookContact::default();
        reader.mapping(node, WEBHOOK, &mut webhook);
        contact.kind = Some(v1::contact::Kind::Webhook(webhook));
    }),
];

const WEBHOOK: &[Field<v1::WebhookContact>] = &[
    required("url", "an http or https URL, or a reference to one", |webhook, node, reader| {
        let template = value::text(node, reader).map(v1::secret::Value::Template);
        webhook.url = Some(v1::Secret { value: template });
    }),
    field("headers", "a mapping of names to texts", |webhook, node, reader| {
        webhook.headers = headers(node, reader);
    }),
    field("timeout", "a length of time such as 5s", |webhook, node, reader| {
        webhook.timeout = value::duration(node, reader);
    }),
];

const REGION: &[Field<v1::Region>] = &[
    required("name", "a name such as `eu-west`", |region, node, reader| {
        let name = value::text(node, reader).unwrap_or_default();
        region.meta.get_or_insert_default().name = name;
    }),
    field("title", "a text", |region, node, reader| {
        region.title = value::text(node, reader).unwrap_or_default();
    }),
    field("labels", "a mapping of names to texts", |region, node, reader| {
        let labels = value::labels(node, reader).unwrap_or_default();
        region.meta.get_or_insert_default().labels = labels;
    }),
];

const MESH: &[Field<v1::Settings>] =
    &[field("alert", "a list of contacts", |mesh, node, reader| {
        mesh.mesh_alert = value::texts(node, reader).unwrap_or_default();
    })];

/// Reads one item of `contacts:`.
pub(super) fn contact(node: &Arc<Node>, reader: &mut Reader<'_>) -> Option<Located> {
    let contact = v1::Contact::default();
    one(node, Kind::Contact, CONTACT, contact, v1::resource::Kind::Contact, reader)
}

/// Reads one item of `regions:`.
pub(super) fn region(node: &Arc<Node>, reader: &mut Reader<'_>) -> Option<Located> {
    let region = v1::Region::default();
    one(node, Kind::Region, REGION, region, v1::resource::Kind::Region, reader)
}

/// Reads `mesh:`.
pub(super) fn settings(node: &Arc<Node>, reader: &mut Reader<'_>) -> Option<Located> {
    let settings = v1::Settings {
        meta: Some(v1::Meta { name: "settings".to_owned(), ..v1::Meta::default() }),
        ..v1::Settings::default()
    };
    one(node, Kind::Settings, MESH, settings, v1::resource::Kind::Settings, reader)
}

fn one<T>(
    node: &Arc<Node>,
    kind: Kind,
    table: &[Field<T>],
    mut target: T,
    wrap: fn(T) -> v1::resource::Kind,
    reader: &mut Reader<'_>,
) -> Option<Located> {
    let Some(entries) = node.entries() else {
        reader.enter(kind.word(), "");
        let message = format!("must be a mapping, found {}", node.describe());
        reader.error("wrong_type", node.place, message);
        reader.leave();
        return None;
    };
    let (name, place) = match (kind, node.get("name")) {
        (Kind::Settings, _) => ("settings".to_owned(), node.place),
        (_, Some(name)) => (name.text().unwrap_or_default().to_owned(), name.place),
        (_, None) => (String::new(), node.place),
    };
    reader.enter(kind.word(), &name);
    reader.map(entries, place, &[table], &mut target);
    let resource = v1::Resource { kind: Some(wrap(target)) };
    judge(&resource, node, place, reader);
    reader.leave();
    Some(Located { kind, name, resource, place, body: Arc::clone(node) })
}
