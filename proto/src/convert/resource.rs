//! Regions, contacts, settings, and what every resource has.

use parallax_common::limits::{
    LABEL_BYTES_MAX, LABELS_MAX, PUBLIC_URL_BYTES_MAX, RESOURCE_BYTES_MAX, TEXT_BYTES_MAX,
};
use parallax_common::matcher::is_label_key;
use parallax_common::name::is_name;
use parallax_common::rule::{self, Violation};
use parallax_common::target::is_link;

use super::Findings;
use super::check::{Known, contacts, names, normalise_check, validate_check};
use super::contact::{normalise_contact, validate_contact};
use super::maintenance;
use crate::v1;

/// The one name that settings have.
pub const SETTINGS_NAME: &str = "settings";

/// Which kind of resource: `check`, `region`, `contact`, `settings`, `event` or
/// `maintenance`; `None` when it is empty.
pub fn kind(resource: &v1::Resource) -> Option<&'static str> {
    Some(match resource.kind.as_ref()? {
        v1::resource::Kind::Check(_) => "check",
        v1::resource::Kind::Region(_) => "region",
        v1::resource::Kind::Contact(_) => "contact",
        v1::resource::Kind::Settings(_) => "settings",
        v1::resource::Kind::Event(_) => "event",
        v1::resource::Kind::Maintenance(_) => "maintenance",
    })
}

/// What every resource carries; `None` when it is missing.
pub fn meta_of(resource: &v1::Resource) -> Option<&v1::Meta> {
    match resource.kind.as_ref()? {
        v1::resource::Kind::Check(check) => check.meta.as_ref(),
        v1::resource::Kind::Region(region) => region.meta.as_ref(),
        v1::resource::Kind::Contact(contact) => contact.meta.as_ref(),
        v1::resource::Kind::Settings(settings) => settings.meta.as_ref(),
        v1::resource::Kind::Event(event) => event.meta.as_ref(),
        v1::resource::Kind::Maintenance(window) => window.meta.as_ref(),
    }
}

/// The same, to be changed; made when it is missing. `None` when the resource is empty.
pub fn meta_of_mut(resource: &mut v1::Resource) -> Option<&mut v1::Meta> {
    let meta = match resource.kind.as_mut()? {
        v1::resource::Kind::Check(check) => &mut check.meta,
        v1::resource::Kind::Region(region) => &mut region.meta,
        v1::resource::Kind::Contact(contact) => &mut contact.meta,
        v1::resource::Kind::Settings(settings) => &mut settings.meta,
        v1::resource::Kind::Event(event) => &mut event.meta,
        v1::resource::Kind::Maintenance(window) => &mut window.meta,
    };
    Some(meta.get_or_insert_default())
}

/// Fills in every default of any resource; see [`normalise_check`].
pub fn normalise(mut resource: v1::Resource) -> v1::Resource {
    if let Some(meta) = meta_of_mut(&mut resource)
        && meta.namespace.is_empty()
    {
        "default".clone_into(&mut meta.namespace);
    }
    match resource.kind.take() {
        Some(v1::resource::Kind::Check(check)) => {
            resource.kind = Some(v1::resource::Kind::Check(normalise_check(check)));
        }
        Some(v1::resource::Kind::Contact(contact)) => {
            resource.kind = Some(v1::resource::Kind::Contact(normalise_contact(contact)));
        }
        Some(v1::resource::Kind::Settings(mut settings)) => {
            let meta = settings.meta.get_or_insert_default();
            if meta.name.is_empty() {
                SETTINGS_NAME.clone_into(&mut meta.name);
            }
            settings.routes.iter_mut().for_each(super::route::normalise);
            resource.kind = Some(v1::resource::Kind::Settings(settings));
        }
        Some(v1::resource::Kind::Maintenance(window)) => {
            resource.kind = Some(v1::resource::Kind::Maintenance(maintenance::normalise(window)));
        }
        other => resource.kind = other,
    }
    resource
}

/// Every rule that a normalised resource breaks on its own.
pub fn validate(resource: &v1::Resource) -> Vec<Violation> {
    match &resource.kind {
        Some(v1::resource::Kind::Check(check)) => validate_check(check),
        Some(v1::resource::Kind::Region(region)) => validate_region(region),
        Some(v1::resource::Kind::Contact(contact)) => validate_contact(contact),
        Some(v1::resource::Kind::Settings(settings)) => validate_settings(settings),
        Some(v1::resource::Kind::Maintenance(window)) => maintenance::validate(window),
        Some(v1::resource::Kind::Event(event)) => {
            let name = event.meta.as_ref().map_or("", |meta| &meta.name);
            let mut findings = Findings::new("event", name);
            findings.add(rule::NOT_YET, "", "events are not built yet");
            findings.finish()
        }
        None => {
            let mut findings = Findings::new("resource", "");
            findings.add(rule::KIND_MISSING, "", "the resource is empty");
            findings.finish()
        }
    }
}

/// Every reference of a resource that names nothing.
pub fn resource_references(resource: &v1::Resource, known: &impl Known) -> Vec<Violation> {
    match &resource.kind {
        Some(v1::resource::Kind::Check(check)) => super::check::check_references(check, known),
        Some(v1::resource::Kind::Settings(settings)) => {
            let mut findings = Findings::new("settings", SETTINGS_NAME);
            contacts("mesh.alert", &settings.mesh_alert, known, &mut findings);
            super::route::references(&settings.routes, known, &mut findings);
            findings.finish()
        }
        Some(v1::resource::Kind::Contact(contact)) if !contact.fallback.is_empty() => {
            let name = contact.meta.as_ref().map_or("", |meta| &meta.name);
            let mut findings = Findings::new("contact", name);
            if !known.contact(&contact.fallback) {
                let message = format!("there is no contact `{}`", contact.fallback);
                let names = known.contacts();
                let names = names.iter().map(String::as_str);
                let near = parallax_common::text::nearest(&contact.fallback, names);
                findings.add_near(rule::UNKNOWN_CONTACT, "fallback", message, near);
            }
            findings.finish()
        }
        Some(v1::resource::Kind::Maintenance(window)) => maintenance::references(window, known),
        _ => Vec::new(),
    }
}

/// Every rule that a region breaks.
pub fn validate_region(region: &v1::Region) -> Vec<Violation> {
    let name = region.meta.as_ref().map_or("", |meta| &meta.name);
    let mut findings = Findings::new("region", name);
    meta(region.meta.as_ref(), &mut findings);
    text_fits("title", &region.title, &mut findings);
    size_fits(region, &mut findings);
    findings.finish()
}

/// Every rule that settings break.
pub fn validate_settings(settings: &v1::Settings) -> Vec<Violation> {
    let mut findings = Findings::new("settings", SETTINGS_NAME);
    let meta = meta(settings.meta.as_ref(), &mut findings);
    if meta.name != SETTINGS_NAME {
        let message = format!("settings are named `{SETTINGS_NAME}`, not `{}`", meta.name);
        findings.add(rule::SETTINGS_NAME, "name", message);
    }
    names("mesh.alert", &settings.mesh_alert, rule::CONTACT_DUPLICATE, &mut findings);
    super::route::routes(&settings.routes, &mut findings);
    let url = &settings.public_url;
    if !url.is_empty()
        && (!is_link(url) || url.contains(['?', '#']) || url.len() > PUBLIC_URL_BYTES_MAX)
    {
        let message = format!(
            "must be an http or https URL without a query, of at most {PUBLIC_URL_BYTES_MAX} bytes"
        );
        findings.add(rule::PUBLIC_URL, "mesh.public_url", message);
    }
    if let Some(storm) = &settings.storm {
        super::storm::storm(storm, &mut findings);
    }
    size_fits(settings, &mut findings);
    findings.finish()
}

/// What every resource has: name, namespace, labels.
pub(super) fn meta<'m>(meta: Option<&'m v1::Meta>, findings: &mut Findings<'_>) -> &'m v1::Meta {
    static NONE: std::sync::LazyLock<v1::Meta> = std::sync::LazyLock::new(v1::Meta::default);
    let meta = meta.unwrap_or(&NONE);
    for (field, name) in [("name", &meta.name), ("namespace", &meta.namespace), ("set", &meta.set)]
    {
        if name.is_empty() && field == "name" {
            findings.add(rule::MISSING_FIELD, field, "a name is needed");
        } else if !name.is_empty() && !is_name(name) {
            let message = format!("`{name}` cannot be a {field}: {}", rule::NAME_FORMAT.statement);
            findings.add(rule::NAME_FORMAT, field, message);
        }
    }
    if meta.labels.len() > LABELS_MAX {
        let message =
            format!("{} labels are given; at most {LABELS_MAX} are allowed", meta.labels.len());
        findings.add(rule::LABELS_TOO_MANY, "labels", message);
    }
    for (key, value) in &meta.labels {
        let field = format!("labels.{key}");
        if !is_label_key(key) {
            let message = format!("`{key}` cannot be a label's key: {}", rule::LABEL_KEY.statement);
            findings.add(rule::LABEL_KEY, field.as_str(), message);
        }
        if value.len() > LABEL_BYTES_MAX || value.chars().any(char::is_control) {
            findings.add(rule::LABEL_VALUE, field, rule::LABEL_VALUE.statement);
        }
    }
    meta
}

pub(super) fn text_fits(field: &str, text: &str, findings: &mut Findings<'_>) {
    if text.len() > TEXT_BYTES_MAX {
        let message = format!("{} bytes are given; at most {TEXT_BYTES_MAX} are kept", text.len());
        findings.add(rule::TEXT_TOO_LONG, field, message);
    }
}

pub(super) fn size_fits(resource: &impl prost::Message, findings: &mut Findings<'_>) {
    let bytes = resource.encoded_len();
    if bytes > RESOURCE_BYTES_MAX {
        let message = format!("it has {bytes} bytes; at most {RESOURCE_BYTES_MAX} are allowed");
        findings.add(rule::RESOURCE_TOO_LARGE, "", message);
    }
}
