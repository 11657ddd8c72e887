//! Regions, contacts, settings, and what every resource has.

use std::time::Duration;

use parallax_common::limits::{
    LABEL_BYTES_MAX, LABELS_MAX, PAGE_TIMEOUT, PAGE_TIMEOUT_MAX, PAGE_TIMEOUT_MIN,
    RESOURCE_BYTES_MAX, TEXT_BYTES_MAX,
};
use parallax_common::name::{Uid, is_name};
use parallax_common::rule::{self, Violation};
use parallax_common::secret::Template;
use parallax_common::target::HttpUrl;

use super::check::{Known, contacts, names, normalise_check, validate_check};
use super::run::{headers, length, no_captures, template};
use super::{Findings, time};
use crate::v1;

/// The one name that settings have.
pub const SETTINGS_NAME: &str = "settings";

/// A contact, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contact {
    /// Never changes, never used again.
    pub uid: Uid,
    /// First component of every key.
    pub namespace: String,
    /// Unique in its namespace.
    pub name: String,
    /// What it is.
    pub webhook: Webhook,
}

/// A contact that is told by HTTP POST.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Webhook {
    /// May hold references.
    pub url: Template,
    /// Values may hold references.
    pub headers: Vec<(String, Template)>,
    /// For one attempt.
    pub timeout: Duration,
}

/// Which kind of resource: `check`, `region`, `contact`, `settings` or `event`; `None` when it is
/// empty.
pub fn kind(resource: &v1::Resource) -> Option<&'static str> {
    Some(match resource.kind.as_ref()? {
        v1::resource::Kind::Check(_) => "check",
        v1::resource::Kind::Region(_) => "region",
        v1::resource::Kind::Contact(_) => "contact",
        v1::resource::Kind::Settings(_) => "settings",
        v1::resource::Kind::Event(_) => "event",
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
        Some(v1::resource::Kind::Contact(mut contact)) => {
            if let Some(v1::contact::Kind::Webhook(webhook)) = &mut contact.kind
                && webhook.timeout.is_none_or(|given| given.seconds == 0 && given.nanos == 0)
            {
                webhook.timeout = Some(time::duration_to(PAGE_TIMEOUT));
            }
            resource.kind = Some(v1::resource::Kind::Contact(contact));
        }
        Some(v1::resource::Kind::Settings(mut settings)) => {
            let meta = settings.meta.get_or_insert_default();
            if meta.name.is_empty() {
                SETTINGS_NAME.clone_into(&mut meta.name);
            }
            resource.kind = Some(v1::resource::Kind::Settings(settings));
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
            findings.finish()
        }
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
    size_fits(settings, &mut findings);
    findings.finish()
}

/// Every rule that a normalised contact breaks.
pub fn validate_contact(contact: &v1::Contact) -> Vec<Violation> {
    let name = contact.meta.as_ref().map_or("", |meta| &meta.name);
    let mut findings = Findings::new("contact", name);
    build_contact(contact, Uid::from_bytes([0; 16]), &mut findings);
    findings.finish()
}

/// The checked form of a stored (normalised) contact.
///
/// # Errors
/// Every rule that it breaks.
pub fn contact(contact: &v1::Contact) -> Result<Contact, Vec<Violation>> {
    let meta = contact.meta.clone().unwrap_or_default();
    let mut findings = Findings::new("contact", &meta.name);
    let uid = meta.uid.parse::<Uid>();
    if let Err(error) = &uid {
        findings.add(rule::UID_FORMAT, "uid", error.to_string());
    }
    let built = build_contact(contact, uid.unwrap_or(Uid::from_bytes([0; 16])), &mut findings);
    match (built, findings.finish()) {
        (Some(contact), found) if found.is_empty() => Ok(contact),
        (_, found) => Err(found),
    }
}

fn build_contact(contact: &v1::Contact, uid: Uid, findings: &mut Findings<'_>) -> Option<Contact> {
    let meta = meta(contact.meta.as_ref(), findings);
    size_fits(contact, findings);
    let Some(v1::contact::Kind::Webhook(webhook)) = &contact.kind else {
        findings.add(rule::KIND_MISSING, "webhook", "say how to reach the contact: webhook");
        return None;
    };
    let url = template(webhook.url.as_ref(), "webhook.url", findings).and_then(|text| {
        let template = Template::parse(text).ok()?;
        no_captures(text, "webhook.url", findings);
        // With references in it nobody knows the URL before they are resolved.
        if let Some(plain) = template.plain()
            && let Err(error) = HttpUrl::parse(plain)
        {
            findings.add(error.rule, "webhook.url", error.message);
        }
        Some(template)
    });
    let headers = headers(&webhook.headers, "webhook.headers", findings);
    for (name, value) in &headers {
        no_captures(value, &format!("webhook.headers.{name}"), findings);
    }
    let headers = headers
        .into_iter()
        .filter_map(|(name, value)| Some((name, Template::parse(&value).ok()?)))
        .collect();
    let timeout = length(
        webhook.timeout.as_ref(),
        ("webhook.timeout", PAGE_TIMEOUT_MIN, PAGE_TIMEOUT_MAX),
        (rule::TIMEOUT_TOO_SHORT, rule::TIMEOUT_TOO_LONG),
        findings,
    );
    Some(Contact {
        uid,
        namespace: meta.namespace.clone(),
        name: meta.name.clone(),
        webhook: Webhook { url: url?, headers, timeout: timeout? },
    })
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
        let letter = |b: u8| b.is_ascii_alphanumeric();
        let fits = matches!(key.len(), 1..=LABEL_BYTES_MAX)
            && letter(key.as_bytes()[0])
            && key.bytes().all(|b| letter(b) || b"-_./".contains(&b));
        if !fits {
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
