//! Steps: the writers for the fields of [`crate::config::step`].

use parallax_proto::v1;
use parallax_proto::v1::step::Kind;

use super::document::{Map, Value, word, written};
use super::talk;
use crate::config::step::{ENCODINGS, HTTP_VERSIONS, TLS_VERSIONS, TRANSPORTS};
use crate::config::talk::PROTOCOLS;

/// A step of the same kind that says nothing but what other defaults hang on.
pub(super) fn bare(step: &v1::Step) -> v1::Step {
    let exchanges = |count: usize| vec![v1::Exchange::default(); count];
    let kind = step.kind.as_ref().map(|kind| match kind {
        Kind::Http(_) => Kind::Http(v1::HttpStep::default()),
        Kind::Tcp(given) => Kind::Tcp(v1::TcpStep {
            dialogue: exchanges(given.dialogue.len()),
            ..v1::TcpStep::default()
        }),
        Kind::Tls(_) => Kind::Tls(v1::TlsStep::default()),
        Kind::Dns(given) => {
            Kind::Dns(v1::DnsStep { transport: given.transport, ..v1::DnsStep::default() })
        }
        Kind::Icmp(_) => Kind::Icmp(v1::IcmpStep::default()),
        Kind::Grpc(_) => Kind::Grpc(v1::GrpcStep::default()),
        Kind::Websocket(given) => Kind::Websocket(v1::WebSocketStep {
            dialogue: exchanges(given.dialogue.len()),
            ..v1::WebSocketStep::default()
        }),
        Kind::Udp(_) => Kind::Udp(v1::UdpStep::default()),
        Kind::Ssh(_) => Kind::Ssh(v1::SshStep::default()),
        Kind::Plugin(_) => Kind::Plugin(v1::PluginStep::default()),
    });
    v1::Step { kind, ..v1::Step::default() }
}

/// What a check does: a kind of its own when it is one step without a name, else `steps`.
pub(super) fn steps(given: &[v1::Step], usual: &[v1::Step], out: &mut Map) {
    let mut each = given.iter().zip(usual).map(|(given, usual)| step(given, usual));
    match given {
        [only] if only.name.is_empty() && only.capture.is_empty() => {
            out.0.extend(each.next().unwrap_or_default().0);
        }
        _ => out.list("steps", each.map(Value::Map)),
    }
}

fn step(given: &v1::Step, usual: &v1::Step) -> Map {
    let mut out = Map::default();
    out.text("name", &given.name, "");
    match (&given.kind, &usual.kind) {
        (Some(Kind::Http(given)), Some(Kind::Http(usual))) => out.map("http", http(given, usual)),
        (Some(Kind::Tcp(given)), Some(Kind::Tcp(usual))) => out.map("tcp", tcp(given, usual)),
        (Some(Kind::Dns(given)), Some(Kind::Dns(usual))) => out.map("dns", dns(given, usual)),
        (Some(Kind::Icmp(given)), Some(Kind::Icmp(usual))) => out.map("icmp", icmp(given, usual)),
        (Some(Kind::Websocket(given)), Some(Kind::Websocket(usual))) => {
            out.map("websocket", websocket(given, usual));
        }
        (Some(Kind::Tls(given)), _) => out.map("tls", tls(given)),
        (Some(Kind::Grpc(given)), _) => out.map("grpc", grpc(given)),
        (Some(Kind::Udp(given)), _) => out.map("udp", udp(given)),
        (Some(Kind::Ssh(given)), _) => {
            let mut ssh = Map::default();
            ssh.put("address", given.address.as_str());
            out.map("ssh", ssh);
        }
        (Some(Kind::Plugin(given)), _) => out.map("plugin", plugin(given)),
        _ => {}
    }
    out.labels("capture", given.capture.iter().map(|of| (&of.name, &of.value)));
    out
}

fn http(given: &v1::HttpStep, usual: &v1::HttpStep) -> Map {
    let mut out = Map::default();
    out.put("url", given.url.as_str());
    out.text("method", &given.method, &usual.method);
    out.headers("headers", &given.headers);
    let mut query = Map::default();
    for parameter in &given.query {
        query.put(&parameter.name, parameter.value.as_ref().map_or("".into(), written));
    }
    out.some("query", query);
    out.text("body", &given.body, &usual.body);
    if let Some(basic) = &given.basic {
        let mut map = Map::default();
        map.secret("username", basic.username.as_ref(), None);
        map.secret("password", basic.password.as_ref(), None);
        out.map("basic", map);
    }
    out.secret("bearer", given.bearer.as_ref(), None);
    if let Some(oauth2) = &given.oauth2 {
        let mut map = Map::default();
        map.put("token_url", oauth2.token_url.as_str());
        map.secret("client_id", oauth2.client_id.as_ref(), None);
        map.secret("client_secret", oauth2.client_secret.as_ref(), None);
        map.texts("scopes", &oauth2.scopes, &[]);
        map.text("audience", &oauth2.audience, "");
        out.map("oauth2", map);
    }
    if given.redirects != usual.redirects {
        match given.redirects.unwrap_or_default().max {
            0 => out.put("redirects", Value::Word("none".to_owned())),
            max => out.map("redirects", Map(vec![("max".to_owned(), Value::Number(max.into()))])),
        }
    }
    let encodings = given.accept_encoding.iter().filter_map(|it| word(ENCODINGS, *it));
    out.list("accept_encoding", encodings.map(|it| Value::Word(it.to_owned())));
    out.word("http_version", HTTP_VERSIONS, given.http_version, usual.http_version);
    out.flag("keep_alive", given.keep_alive, usual.keep_alive);
    out.number("body_max_bytes", given.body_max_bytes, usual.body_max_bytes);
    if let Some(proxy) = &given.proxy {
        let mut map = Map::default();
        map.put("url", proxy.url.as_str());
        map.secret("username", proxy.username.as_ref(), None);
        map.secret("password", proxy.password.as_ref(), None);
        out.map("proxy", map);
    }
    verified(given.insecure, &given.server_name, &given.ca_pem, given.min_tls, &mut out);
    client(given.client_cert.as_ref(), given.client_key.as_ref(), &mut out);
    out
}

/// Whom a step believes.
fn verified(insecure: bool, server_name: &str, ca_pem: &str, min_tls: i32, out: &mut Map) {
    out.flag("insecure", insecure, false);
    out.text("server_name", server_name, "");
    out.text("ca_pem", ca_pem, "");
    out.word("min_tls", TLS_VERSIONS, min_tls, v1::TlsVersion::Unspecified.into());
}

/// As whom a step goes there.
fn client(cert: Option<&v1::Secret>, key: Option<&v1::Secret>, out: &mut Map) {
    out.secret("client_cert", cert, None);
    out.secret("client_key", key, None);
}

fn tcp(given: &v1::TcpStep, usual: &v1::TcpStep) -> Map {
    let mut out = Map::default();
    out.put("address", given.address.as_str());
    out.flag("tls", given.tls, usual.tls);
    out.word("starttls", PROTOCOLS, given.starttls, usual.starttls);
    verified(given.insecure, &given.server_name, &given.ca_pem, given.min_tls, &mut out);
    client(given.client_cert.as_ref(), given.client_key.as_ref(), &mut out);
    talk::dialogue(&given.dialogue, &usual.dialogue, &mut out);
    out
}

fn tls(given: &v1::TlsStep) -> Map {
    let mut out = Map::default();
    out.put("address", given.address.as_str());
    verified(given.insecure, &given.server_name, &given.ca_pem, given.min_tls, &mut out);
    out
}

fn dns(given: &v1::DnsStep, usual: &v1::DnsStep) -> Map {
    let mut out = Map::default();
    out.put("name", given.name.as_str());
    out.text("type", &given.r#type, &usual.r#type);
    out.text("class", &given.class, &usual.class);
    out.text("server", &given.server, &usual.server);
    // Its default hangs on nothing, and others on it: there it is as given.
    out.word("transport", TRANSPORTS, given.transport, v1::DnsTransport::Udp.into());
    out.flag("recursion", given.recursion.unwrap_or(true), usual.recursion.unwrap_or(true));
    out.text("path", &given.path, &usual.path);
    verified(given.insecure, &given.server_name, &given.ca_pem, given.min_tls, &mut out);
    out
}

fn icmp(given: &v1::IcmpStep, usual: &v1::IcmpStep) -> Map {
    let mut out = Map::default();
    out.put("host", given.host.as_str());
    out.number("count", given.count, usual.count);
    out.length("spacing", given.spacing.as_ref(), usual.spacing.as_ref());
    out.number("payload_bytes", given.payload_bytes, usual.payload_bytes);
    out.flag("dont_fragment", given.dont_fragment, usual.dont_fragment);
    out.number("ttl", given.ttl, usual.ttl);
    out
}

fn grpc(given: &v1::GrpcStep) -> Map {
    let mut out = Map::default();
    out.put("address", given.address.as_str());
    out.text("service", &given.service, "");
    out.flag("tls", given.tls, false);
    verified(given.insecure, &given.server_name, &given.ca_pem, given.min_tls, &mut out);
    client(given.client_cert.as_ref(), given.client_key.as_ref(), &mut out);
    out.text("authority", &given.authority, "");
    out.headers("metadata", &given.metadata);
    out
}

fn udp(given: &v1::UdpStep) -> Map {
    let mut out = Map::default();
    out.put("address", given.address.as_str());
    talk::said(given.send.as_ref(), given.expect.as_ref(), &mut out);
    out.length("resend", given.resend.as_ref(), None);
    out
}

fn websocket(given: &v1::WebSocketStep, usual: &v1::WebSocketStep) -> Map {
    let mut out = Map::default();
    out.put("url", given.url.as_str());
    out.headers("headers", &given.headers);
    out.texts("subprotocols", &given.subprotocols, &[]);
    verified(given.insecure, &given.server_name, &given.ca_pem, given.min_tls, &mut out);
    client(given.client_cert.as_ref(), given.client_key.as_ref(), &mut out);
    talk::dialogue(&given.dialogue, &usual.dialogue, &mut out);
    out
}

fn plugin(given: &v1::PluginStep) -> Map {
    let mut out = Map::default();
    out.put("command", given.command.as_str());
    out.texts("args", &given.args, &[]);
    out.headers("env", &given.env);
    out.texts("series", &given.series, &[]);
    out
}
