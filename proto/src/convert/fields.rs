//! Resources as fields and text: how a difference is shown, field by field, the way YAML has it.

use std::collections::BTreeMap;

use parallax_common::alert::percent;
use parallax_common::calendar::WEEKDAYS;
use parallax_common::text::format_duration;

use super::contact::{self, Setting};
use super::run::prefix;
use super::{enums, maintenance, route, time};
use crate::v1;

/// A field's path and its value as YAML would print it. Unset fields are left out.
type Fields = BTreeMap<String, Value>;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Value {
    Text(String),
    /// Compared without regard to order: `regions`.
    Set(Vec<String>),
}

impl Value {
    fn same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Set(a), Self::Set(b)) => {
                let sorted = |list: &[String]| {
                    let mut list = list.to_vec();
                    list.sort();
                    list
                };
                sorted(a) == sorted(b)
            }
            _ => self == other,
        }
    }

    fn shown(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Set(items) => list(items),
        }
    }
}

/// What differs between two normalised resources of one kind; a resource that is not there has no
/// fields. Uid, etag, revisions and times are not fields. In order of the field's path.
pub fn diff(before: Option<&v1::Resource>, after: Option<&v1::Resource>) -> Vec<v1::FieldChange> {
    let of = |resource: Option<&v1::Resource>| resource.map(fields).unwrap_or_default();
    changes(&of(before), &of(after))
}

/// What differs between two normalised checks. Regions are compared as a set.
pub fn diff_checks(before: &v1::Check, after: &v1::Check) -> Vec<v1::FieldChange> {
    changes(&check_fields(before), &check_fields(after))
}

/// What differs between two regions.
pub fn diff_regions(before: &v1::Region, after: &v1::Region) -> Vec<v1::FieldChange> {
    changes(&region_fields(before), &region_fields(after))
}

/// What differs between two normalised contacts.
pub fn diff_contacts(before: &v1::Contact, after: &v1::Contact) -> Vec<v1::FieldChange> {
    changes(&contact_fields(before), &contact_fields(after))
}

/// What differs between two settings.
pub fn diff_settings(before: &v1::Settings, after: &v1::Settings) -> Vec<v1::FieldChange> {
    changes(&settings_fields(before), &settings_fields(after))
}

/// Every set field of a resource with its value as YAML would print it.
pub fn shown(resource: &v1::Resource) -> BTreeMap<String, String> {
    fields(resource).into_iter().map(|(field, value)| (field, value.shown())).collect()
}

fn changes(before: &Fields, after: &Fields) -> Vec<v1::FieldChange> {
    let mut paths: Vec<&String> = before.keys().chain(after.keys()).collect();
    paths.sort();
    paths.dedup();
    paths
        .into_iter()
        .filter_map(|field| {
            let (old, new) = (before.get(field), after.get(field));
            let same = matches!((old, new), (Some(old), Some(new)) if old.same(new));
            let text = |value: Option<&Value>| value.map(Value::shown).unwrap_or_default();
            (!same).then(|| v1::FieldChange {
                field: field.clone(),
                before: text(old),
                after: text(new),
            })
        })
        .collect()
}

fn fields(resource: &v1::Resource) -> Fields {
    match &resource.kind {
        Some(v1::resource::Kind::Check(check)) => check_fields(check),
        Some(v1::resource::Kind::Region(region)) => region_fields(region),
        Some(v1::resource::Kind::Contact(contact)) => contact_fields(contact),
        Some(v1::resource::Kind::Settings(settings)) => settings_fields(settings),
        Some(v1::resource::Kind::Event(event)) => {
            let mut out = Gathered::of(event.meta.as_ref());
            out.text("text", &event.text);
            out.text("link", &event.link);
            out.0
        }
        Some(v1::resource::Kind::Maintenance(window)) => maintenance_fields(window),
        None => Fields::new(),
    }
}

fn check_fields(check: &v1::Check) -> Fields {
    let mut out = Gathered::of(check.meta.as_ref());
    out.text("title", &check.title);
    out.text("description", &check.description);
    out.text("group", &check.group);
    out.flag("public", check.public);
    out.always("enabled", check.enabled.unwrap_or(true).to_string());
    if let Ok(source) = v1::Source::try_from(check.source)
        && source != v1::Source::Unspecified
    {
        out.always("source", word(source.as_str_name(), "SOURCE_"));
    }
    out.length("interval", check.interval.as_ref());
    out.set("regions", &check.regions);
    out.set("advisory_regions", &check.advisory_regions);
    out.number("probes_per_region", check.probes_per_region.into());
    match v1::MissingData::try_from(check.missing) {
        Ok(v1::MissingData::Unspecified) => out.always("missing", "unknown".to_owned()),
        Ok(missing) => out.always("missing", word(missing.as_str_name(), "MISSING_DATA_")),
        Err(_) => {}
    }
    alert_fields(check, &mut out);
    if let Some(down) = check.down {
        let regions = match v1::Quorum::try_from(down.regions) {
            Ok(v1::Quorum::Count) => down.count.to_string(),
            Ok(v1::Quorum::Unspecified) | Err(_) => String::new(),
            Ok(quorum) => word(quorum.as_str_name(), "QUORUM_"),
        };
        if !regions.is_empty() {
            out.always("down.regions", regions);
        }
        out.number("down.failures", down.failures.into());
        out.number("down.of", down.of.into());
    }
    if let Some(up) = check.up {
        out.number("up.successes", up.successes.into());
        out.number("up.of", up.of.into());
    }
    out.list("alert", &check.alert);
    for (kind, lasting) in [("regional", &check.regional), ("warning", &check.warning)] {
        let Some(lasting) = lasting else { continue };
        out.length(&format!("{kind}.after"), lasting.after.as_ref());
        out.list(&format!("{kind}.alert"), &lasting.alert);
        if let Ok(severity) = v1::Severity::try_from(lasting.severity)
            && severity != v1::Severity::Unspecified
        {
            out.always(&format!("{kind}.severity"), word(severity.as_str_name(), "SEVERITY_"));
        }
    }
    match v1::Severity::try_from(check.severity) {
        Ok(v1::Severity::Unspecified) => out.always("severity", "critical".to_owned()),
        Ok(severity) => out.always("severity", word(severity.as_str_name(), "SEVERITY_")),
        Err(_) => {}
    }
    if let Some(canary) = &check.canary {
        let answer = word(canary.expect().as_str_name(), "CANARY_ANSWER_");
        out.always("canary.expect", answer);
        if canary.reason != 0 {
            out.always("canary.reason", word(canary.reason().as_str_name(), "REASON_"));
        }
    }
    out.list("depends_on", &check.depends_on);
    out.length("min_open", check.min_open.as_ref());
    if let Some(flap) = &check.flap {
        out.number("flap.opens", flap.opens.into());
        out.length("flap.within", flap.within.as_ref());
        out.length("flap.calm", flap.calm.as_ref());
    }
    out.text("runbook", &check.runbook);
    out.length("confirm_spacing", check.confirm_spacing.as_ref());
    if let Some(run) = &check.run {
        run_fields(run, &mut out);
    }
    out.0
}

fn run_fields(run: &v1::Run, out: &mut Gathered) {
    out.length("timeout", run.timeout.as_ref());
    out.list("expect", &run.expect);
    out.list("warn", &run.warn);
    out.flag("invert", run.invert);
    out.number("samples", run.samples.into());
    match v1::IpFamily::try_from(run.ip) {
        Ok(v1::IpFamily::Auto) => out.always("ip", "auto".to_owned()),
        Ok(v1::IpFamily::V4) => out.always("ip", "4".to_owned()),
        Ok(v1::IpFamily::V6) => out.always("ip", "6".to_owned()),
        Ok(v1::IpFamily::Unspecified) | Err(_) => {}
    }
    out.text("source_address", &run.source_address);
    out.text("resolver", &run.resolver);
    for (place, step) in run.steps.iter().enumerate() {
        let at = prefix(&run.steps, place);
        if !at.is_empty() {
            out.text(&format!("{at}name"), &step.name);
        }
        for capture in &step.capture {
            out.text(&format!("{at}capture.{}", capture.name), &capture.value);
        }
        match &step.kind {
            Some(v1::step::Kind::Http(http)) => {
                let at = format!("{at}http.");
                out.text(&format!("{at}url"), &http.url);
                out.text(&format!("{at}method"), &http.method);
                out.headers(&format!("{at}headers"), &http.headers);
                out.text(&format!("{at}body"), &http.body);
                out.number(&format!("{at}body_max_bytes"), http.body_max_bytes);
                out.tls(&at, http.insecure, &http.server_name, &http.ca_pem);
                http_options(&at, http, out);
            }
            Some(v1::step::Kind::Tcp(tcp)) => {
                let at = format!("{at}tcp.");
                out.text(&format!("{at}address"), &tcp.address);
                out.flag(&format!("{at}tls"), tcp.tls);
                out.tls(&at, tcp.insecure, &tcp.server_name, &tcp.ca_pem);
                if let Some(version) = enums::tls_version(tcp.min_tls) {
                    out.text(&format!("{at}min_tls"), version.word());
                }
                if let Some(protocol) = enums::start_tls(tcp.starttls) {
                    out.text(&format!("{at}starttls"), protocol.word());
                }
                out.text(&format!("{at}client_cert"), &written(tcp.client_cert.as_ref()));
                out.text(&format!("{at}client_key"), &written(tcp.client_key.as_ref()));
                out.dialogue(&at, &tcp.dialogue);
            }
            Some(v1::step::Kind::Websocket(websocket)) => {
                let at = format!("{at}websocket.");
                out.text(&format!("{at}url"), &websocket.url);
                out.headers(&format!("{at}headers"), &websocket.headers);
                out.list(&format!("{at}subprotocols"), &websocket.subprotocols);
                let v1::WebSocketStep { insecure, server_name, ca_pem, .. } = websocket;
                out.tls(&at, *insecure, server_name, ca_pem);
                if let Some(version) = enums::tls_version(websocket.min_tls) {
                    out.text(&format!("{at}min_tls"), version.word());
                }
                out.text(&format!("{at}client_cert"), &written(websocket.client_cert.as_ref()));
                out.text(&format!("{at}client_key"), &written(websocket.client_key.as_ref()));
                out.dialogue(&at, &websocket.dialogue);
            }
            Some(v1::step::Kind::Udp(udp)) => {
                let at = format!("{at}udp.");
                out.text(&format!("{at}address"), &udp.address);
                out.said(&at, udp.send.as_ref(), udp.expect.as_ref());
                out.length(&format!("{at}resend"), udp.resend.as_ref());
            }
            Some(v1::step::Kind::Ssh(ssh)) => out.text(&format!("{at}ssh.address"), &ssh.address),
            Some(v1::step::Kind::Tls(tls)) => {
                let at = format!("{at}tls.");
                out.text(&format!("{at}address"), &tls.address);
                out.tls(&at, tls.insecure, &tls.server_name, &tls.ca_pem);
                if let Some(version) = enums::tls_version(tls.min_tls) {
                    out.text(&format!("{at}min_tls"), version.word());
                }
            }
            Some(v1::step::Kind::Dns(dns)) => {
                let at = format!("{at}dns.");
                out.text(&format!("{at}name"), &dns.name);
                out.text(&format!("{at}type"), &dns.r#type);
                out.text(&format!("{at}class"), &dns.class);
                out.text(&format!("{at}server"), &dns.server);
                if let Ok(transport) = v1::DnsTransport::try_from(dns.transport)
                    && transport != v1::DnsTransport::Unspecified
                {
                    let transport = word(transport.as_str_name(), "DNS_TRANSPORT_");
                    out.always(&format!("{at}transport"), transport);
                }
                out.always(&format!("{at}recursion"), dns.recursion.unwrap_or(true).to_string());
                out.tls(&at, dns.insecure, &dns.server_name, &dns.ca_pem);
                if let Some(version) = enums::tls_version(dns.min_tls) {
                    out.text(&format!("{at}min_tls"), version.word());
                }
                out.text(&format!("{at}path"), &dns.path);
            }
            Some(v1::step::Kind::Icmp(icmp)) => {
                let at = format!("{at}icmp.");
                out.text(&format!("{at}host"), &icmp.host);
                out.number(&format!("{at}count"), icmp.count.into());
                out.length(&format!("{at}spacing"), icmp.spacing.as_ref());
                out.number(&format!("{at}payload_bytes"), icmp.payload_bytes.into());
                out.flag(&format!("{at}dont_fragment"), icmp.dont_fragment);
                out.number(&format!("{at}ttl"), icmp.ttl.into());
            }
            Some(v1::step::Kind::Grpc(grpc)) => grpc_fields(&format!("{at}grpc."), grpc, out),
            Some(v1::step::Kind::Plugin(plugin)) => {
                let at = format!("{at}plugin.");
                out.text(&format!("{at}command"), &plugin.command);
                out.list(&format!("{at}args"), &plugin.args);
                out.headers(&format!("{at}env"), &plugin.env);
                out.list(&format!("{at}series"), &plugin.series);
            }
            None => {}
        }
    }
}

fn alert_fields(check: &v1::Check, out: &mut Gathered) {
    for (place, alert) in check.alerts.iter().enumerate() {
        let at = format!("alerts[{place}].");
        out.text(&format!("{at}name"), &alert.name);
        out.text(&format!("{at}when"), &alert.when);
        if let Ok(severity) = v1::Severity::try_from(alert.severity)
            && severity != v1::Severity::Unspecified
        {
            out.always(&format!("{at}severity"), word(severity.as_str_name(), "SEVERITY_"));
        }
        out.list(&format!("{at}alert"), &alert.alert);
    }
    if let Some(slo) = &check.slo {
        out.text("slo.target", &percent::format(slo.target_ppm));
        out.length("slo.over", slo.over.as_ref());
        out.list("slo.alert", &slo.alert);
    }
}

fn grpc_fields(at: &str, grpc: &v1::GrpcStep, out: &mut Gathered) {
    out.text(&format!("{at}address"), &grpc.address);
    out.text(&format!("{at}service"), &grpc.service);
    out.flag(&format!("{at}tls"), grpc.tls);
    out.tls(at, grpc.insecure, &grpc.server_name, &grpc.ca_pem);
    if let Some(version) = enums::tls_version(grpc.min_tls) {
        out.text(&format!("{at}min_tls"), version.word());
    }
    out.text(&format!("{at}client_cert"), &written(grpc.client_cert.as_ref()));
    out.text(&format!("{at}client_key"), &written(grpc.client_key.as_ref()));
    out.text(&format!("{at}authority"), &grpc.authority);
    out.headers(&format!("{at}metadata"), &grpc.metadata);
}

fn http_options(at: &str, http: &v1::HttpStep, out: &mut Gathered) {
    match http.redirects {
        None | Some(v1::Redirects { max: 0 }) => out.text(&format!("{at}redirects"), "none"),
        Some(v1::Redirects { max }) => out.number(&format!("{at}redirects.max"), max.into()),
    }
    if let Some(basic) = &http.basic {
        out.text(&format!("{at}basic.username"), &written(basic.username.as_ref()));
        out.text(&format!("{at}basic.password"), &written(basic.password.as_ref()));
    }
    out.text(&format!("{at}bearer"), &written(http.bearer.as_ref()));
    if let Some(oauth2) = &http.oauth2 {
        let at = format!("{at}oauth2.");
        out.text(&format!("{at}token_url"), &oauth2.token_url);
        out.text(&format!("{at}client_id"), &written(oauth2.client_id.as_ref()));
        out.text(&format!("{at}client_secret"), &written(oauth2.client_secret.as_ref()));
        out.list(&format!("{at}scopes"), &oauth2.scopes);
        out.text(&format!("{at}audience"), &oauth2.audience);
    }
    out.pairs(&format!("{at}query"), http.query.iter().map(|q| (&q.name, q.value.as_ref())));
    let encodings = http.accept_encoding.iter().filter_map(|it| enums::content_encoding(*it));
    let encodings: Vec<String> = encodings.map(|encoding| encoding.word().to_owned()).collect();
    out.list(&format!("{at}accept_encoding"), &encodings);
    if let Some(version) = enums::http_version(http.http_version) {
        out.text(&format!("{at}http_version"), version.word());
    }
    if let Some(version) = enums::tls_version(http.min_tls) {
        out.text(&format!("{at}min_tls"), version.word());
    }
    out.text(&format!("{at}client_cert"), &written(http.client_cert.as_ref()));
    out.text(&format!("{at}client_key"), &written(http.client_key.as_ref()));
    out.flag(&format!("{at}keep_alive"), http.keep_alive);
    if let Some(proxy) = &http.proxy {
        out.text(&format!("{at}proxy.url"), &proxy.url);
        out.text(&format!("{at}proxy.username"), &written(proxy.username.as_ref()));
        out.text(&format!("{at}proxy.password"), &written(proxy.password.as_ref()));
    }
}

fn maintenance_fields(window: &v1::Maintenance) -> Fields {
    let mut out = Gathered::of(window.meta.as_ref());
    let matchers: Vec<String> = window.matchers.iter().map(route::matcher_shown).collect();
    out.list("matchers", &matchers);
    out.text("comment", &window.comment);
    let at = |at: &prost_types::Timestamp| at.to_string();
    out.text("from", &window.starts_at.as_ref().map(at).unwrap_or_default());
    out.text("until", &window.ends_at.as_ref().map(at).unwrap_or_default());
    let every = maintenance::EVERY.iter().find(|(_, every)| *every == window.every());
    out.text("every", every.map_or("", |(word, _)| word));
    let day = |day: &u32| WEEKDAYS.get(usize::try_from(*day).ok()?.checked_sub(1)?).copied();
    let days: Vec<String> = window.days.iter().filter_map(day).map(str::to_owned).collect();
    out.list("days", &days);
    out.number("day", window.day.into());
    out.text("at", &window.at);
    out.length("for", window.length.as_ref());
    out.text("zone", &window.zone);
    out.0
}

fn region_fields(region: &v1::Region) -> Fields {
    let mut out = Gathered::of(region.meta.as_ref());
    out.text("title", &region.title);
    out.0
}

fn contact_fields(resource: &v1::Contact) -> Fields {
    let mut out = Gathered::of(resource.meta.as_ref());
    out.text("fallback", &resource.fallback);
    out.text("rate", &resource.rate);
    if let Some(kind) = &resource.kind {
        for (name, setting) in contact::settings(kind) {
            out.setting(&format!("{}.{name}", contact::word(kind)), setting);
        }
    }
    out.0
}

fn settings_fields(settings: &v1::Settings) -> Fields {
    let mut out = Gathered::of(settings.meta.as_ref());
    out.list("mesh.alert", &settings.mesh_alert);
    out.text("mesh.public_url", &settings.public_url);
    if let Some(storm) = &settings.storm {
        out.always("mesh.storm", super::storm::shown(storm));
    }
    // Their order counts, so a field says which comes first.
    let order: Vec<String> = settings.routes.iter().map(|route| route.name.clone()).collect();
    out.list("routes", &order);
    for route in &settings.routes {
        for (field, value) in super::route::shown(route) {
            out.always(&format!("routes.{}.{field}", route.name), value);
        }
    }
    out.0
}

/// Fields as they are gathered; what says nothing is left out.
struct Gathered(Fields);

impl Gathered {
    fn of(meta: Option<&v1::Meta>) -> Self {
        let mut out = Self(Fields::new());
        for (key, value) in meta.iter().flat_map(|meta| &meta.labels) {
            out.always(&format!("labels.{key}"), scalar(value));
        }
        out
    }

    fn always(&mut self, field: &str, value: String) {
        self.0.insert(field.to_owned(), Value::Text(value));
    }

    fn text(&mut self, field: &str, value: &str) {
        if !value.is_empty() {
            self.always(field, scalar(value));
        }
    }

    fn flag(&mut self, field: &str, value: bool) {
        if value {
            self.always(field, "true".to_owned());
        }
    }

    fn number(&mut self, field: &str, value: u64) {
        if value > 0 {
            self.always(field, value.to_string());
        }
    }

    fn length(&mut self, field: &str, value: Option<&prost_types::Duration>) {
        if let Some(length) = value.and_then(time::duration) {
            self.always(field, format_duration(length));
        }
    }

    fn list(&mut self, field: &str, items: &[String]) {
        if !items.is_empty() {
            self.always(field, list(items));
        }
    }

    fn set(&mut self, field: &str, items: &[String]) {
        if !items.is_empty() {
            self.0.insert(field.to_owned(), Value::Set(items.to_vec()));
        }
    }

    /// One option of a contact.
    fn setting(&mut self, field: &str, setting: Setting<'_>) {
        match setting {
            Setting::Url(secret) | Setting::Secret(secret) => self.text(field, &written(secret)),
            Setting::Urls(secrets) | Setting::Secrets(secrets) => {
                let all: Vec<String> = secrets.iter().map(|secret| written(Some(secret))).collect();
                self.list(field, &all);
            }
            Setting::Headers(headers) => self.headers(field, headers),
            Setting::Text(text) | Setting::Source(text) => self.text(field, text),
            Setting::Texts(texts) => self.list(field, texts),
            Setting::Labels(labels) => {
                for (name, value) in labels {
                    self.always(&format!("{field}.{name}"), scalar(value));
                }
            }
            Setting::Number(0) => {}
            Setting::Number(number) => self.always(field, number.to_string()),
            Setting::Length(length) => self.length(field, length),
        }
    }

    fn headers(&mut self, field: &str, headers: &[v1::Header]) {
        self.pairs(field, headers.iter().map(|header| (&header.name, header.value.as_ref())));
    }

    fn pairs<'a>(
        &mut self,
        field: &str,
        pairs: impl Iterator<Item = (&'a String, Option<&'a v1::Secret>)>,
    ) {
        // Several values of one name are one field, in order.
        let mut values: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for (name, value) in pairs {
            values.entry(name).or_default().push(written(value));
        }
        for (name, values) in values {
            let text = match values.as_slice() {
                [one] => scalar(one),
                several => list(several),
            };
            self.always(&format!("{field}.{name}"), text);
        }
    }

    fn dialogue(&mut self, at: &str, dialogue: &[v1::Exchange]) {
        for (place, exchange) in dialogue.iter().enumerate() {
            let at = format!("{at}dialogue[{place}].");
            self.text(&format!("{at}name"), &exchange.name);
            self.said(&at, exchange.send.as_ref(), exchange.expect.as_ref());
        }
    }

    /// What is sent and what is expected, each in the form in which YAML has it.
    fn said(&mut self, at: &str, send: Option<&v1::Payload>, expect: Option<&v1::Expected>) {
        match send.and_then(|send| send.form.as_ref()) {
            Some(v1::payload::Form::Text(text)) => {
                self.text(&format!("{at}send"), &written(Some(text)));
            }
            Some(v1::payload::Form::Raw(raw)) => self.always(&format!("{at}send_hex"), hex(raw)),
            None => {}
        }
        match expect.and_then(|expect| expect.form.as_ref()) {
            Some(v1::expected::Form::Pattern(pattern)) => {
                self.always(&format!("{at}expect"), scalar(pattern));
            }
            Some(v1::expected::Form::Raw(raw)) => {
                self.always(&format!("{at}expect_hex"), hex(raw));
            }
            None => {}
        }
    }

    fn tls(&mut self, at: &str, insecure: bool, server_name: &str, ca_pem: &str) {
        self.flag(&format!("{at}insecure"), insecure);
        self.text(&format!("{at}server_name"), server_name);
        self.text(&format!("{at}ca_pem"), ca_pem);
    }
}

/// Bytes as pairs of hex digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A secret is shown as it was written: a reference, not what it refers to.
fn written(secret: Option<&v1::Secret>) -> String {
    match secret.and_then(|secret| secret.value.as_ref()) {
        Some(v1::secret::Value::Template(template)) => template.clone(),
        Some(v1::secret::Value::Sealed(sealed)) => format!("sealed by {}", sealed.key_id),
        None => String::new(),
    }
}

fn word(name: &str, prefix: &str) -> String {
    name.strip_prefix(prefix).unwrap_or(name).to_ascii_lowercase()
}

fn list(items: &[String]) -> String {
    let items: Vec<String> = items.iter().map(|item| scalar(item)).collect();
    format!("[{}]", items.join(", "))
}

/// A text as a YAML flow scalar: plain where that reads back as the same text, else quoted.
fn scalar(text: &str) -> String {
    let first = text.chars().next();
    let indicator = |c: char| "-?:,[]{}#&*!|>'\"%@` ".contains(c);
    let plain = first.is_some_and(|c| !indicator(c))
        && !text.ends_with([' ', ':'])
        && !text.contains(": ")
        && !text.contains(" #")
        && !text.contains([',', '[', ']', '{', '}'])
        && !text.chars().any(char::is_control)
        && !["true", "false", "null", "yes", "no", "~"].iter().any(|w| text.eq_ignore_ascii_case(w))
        // Long ones are costly to read as a number, and these need not be.
        && !text.bytes().all(|b| b.is_ascii_digit())
        && text.parse::<f64>().is_err();
    if plain {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            c if c.is_control() => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests;
