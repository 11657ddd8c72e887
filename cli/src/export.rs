//! Configuration out of a mesh: resources become the file that a person would have written.
//!
//! The other way of [`crate::config`]: what `apply` fills in is left out again, and a reference stays
//! one. [`document`] is the tree that is written, [`yaml`] how it looks; `check`, `step`, `talk`,
//! `contact` and `settings` have a writer for each table of fields that the reader has. What a field
//! is when nobody says it is asked of the rules themselves: a resource that says nothing is normalised
//! beside the one that is written, and only what differs is written. Nothing here asks a coordinator.

mod check;
mod contact;
pub mod document;
mod settings;
mod step;
mod talk;
pub mod yaml;

use parallax_proto::convert::contact::redacted::url as redacted_url;
use parallax_proto::convert::contact::{Setting, settings as options, word};
use parallax_proto::convert::resource::{meta_of, normalise};
use parallax_proto::v1;
use parallax_proto::v1::resource::Kind;

use crate::output::check::secret;

use self::document::{Map, Value};

/// The name of a resource, or nothing when it has none.
pub fn name_of(resource: &v1::Resource) -> &str {
    meta_of(resource).map_or("", |meta| &meta.name)
}

/// The apply set of a resource.
pub fn set_of(resource: &v1::Resource) -> &str {
    meta_of(resource).map(|meta| meta.set.as_str()).filter(|set| !set.is_empty()).unwrap_or(DEFAULT)
}

/// The set of what is applied without `--set`.
pub const DEFAULT: &str = "default";

/// The document that `apply` makes exactly these resources of. Whatever their order, it is the same.
pub fn export(namespace: &str, resources: Vec<v1::Resource>) -> Map {
    let mut resources: Vec<v1::Resource> = resources.into_iter().map(as_it_is).collect();
    resources.sort_by(|one, other| name_of(one).cmp(name_of(other)));
    let mut document = Map::default();
    document.put("namespace", namespace);
    let of = |kind: fn(&Kind) -> Option<Map>| -> Vec<Value> {
        let kinds = resources.iter().filter_map(|resource| resource.kind.as_ref());
        kinds.filter_map(kind).map(Value::Map).collect()
    };
    let list = |document: &mut Map, name: &str, items: Vec<Value>| {
        if !items.is_empty() {
            document.put(name, Value::List(items));
        }
    };
    list(
        &mut document,
        "regions",
        of(|kind| match kind {
            Kind::Region(region) => Some(contact::region(region)),
            _ => None,
        }),
    );
    list(
        &mut document,
        "contacts",
        of(|kind| match kind {
            Kind::Contact(contact) => Some(contact::contact(contact)),
            _ => None,
        }),
    );
    for resource in &resources {
        if let Some(Kind::Settings(settings)) = &resource.kind {
            settings::settings(settings, &mut document);
        }
    }
    list(
        &mut document,
        "maintenance",
        of(|kind| match kind {
            Kind::Maintenance(window) => Some(settings::window(window)),
            _ => None,
        }),
    );
    list(
        &mut document,
        "checks",
        of(|kind| match kind {
            Kind::Check(check) => Some(check::check(check)),
            _ => None,
        }),
    );
    document
}

/// A resource with every default filled in. What an earlier build has stored says nothing of
/// redirects and follows none.
pub fn as_it_is(mut resource: v1::Resource) -> v1::Resource {
    if let Some(Kind::Check(check)) = &mut resource.kind {
        let steps = check.run.iter_mut().flat_map(|run| &mut run.steps);
        for step in steps {
            if let Some(v1::step::Kind::Http(http)) = &mut step.kind {
                http.redirects.get_or_insert_default();
            }
        }
    }
    normalise(resource)
}

/// Options of a contact that are to be secret and were written as they are: an export shows them. In
/// a check what is to be secret has to be a reference.
pub fn open_secrets(resource: &v1::Resource) -> Vec<String> {
    let is_open = |secret: &v1::Secret| match &secret.value {
        Some(v1::secret::Value::Template(text)) => !text.is_empty() && !text.contains("${"),
        _ => false,
    };
    let Some(Kind::Contact(v1::Contact { kind: Some(kind), .. })) = &resource.kind else {
        return Vec::new();
    };
    // A path often is a password; that of an interface, which is said in the field's name, is none.
    let has_path = |it: &v1::Secret| {
        let text = secret(Some(it));
        is_open(it) && redacted_url(&text) != text
    };
    let open = options(kind).into_iter().filter(|(field, setting)| match setting {
        Setting::Secret(secret) => secret.is_some_and(is_open),
        Setting::Secrets(secrets) => secrets.iter().any(is_open),
        Setting::Url(url) => *field != "api_url" && url.is_some_and(has_path),
        Setting::Urls(urls) => urls.iter().any(has_path),
        Setting::Headers(headers) => {
            headers.iter().any(|header| header.value.as_ref().is_some_and(is_open))
        }
        _ => false,
    });
    open.map(|(field, _)| format!("{}.{field} of contact {}", word(kind), name_of(resource)))
        .collect()
}

#[cfg(test)]
mod tests;
