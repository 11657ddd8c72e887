//! What a step may say, field by field: `http`, `tcp`, `tls`, `dns`, `icmp`, `grpc`, and a list of them.
//! What is said in a dialogue, and the kinds `udp`, `ssh` and `websocket`, are in [`super::talk`];
//! `plugin` is in `super::plugin`.

use std::io::Read as _;

use parallax_common::check::StepKind;
use parallax_common::limits;
use parallax_proto::v1;

use super::plugin::PLUGIN;
use super::reader::{Field, Reader, field, required};
use super::talk::{self, quoted};
use super::tree::{Node, Value};
use super::value::{self, at_least_one};
use super::want::{
    BOOLEAN, LABELS, NUMBER, Shape, TEXT, known, length, mapping, names, pairs, shaped, text,
    texts, whole, word,
};

/// Fields of `http`.
pub(super) const HTTP: &[Field<v1::HttpStep>] = &[
    required("url", text("an http or https URL"), |step, node, reader| {
        step.url = value::text(node, reader).unwrap_or_default();
    }),
    field("method", text("a method such as GET"), |step, node, reader| {
        step.method = value::text(node, reader).unwrap_or_default();
    }),
    field("headers", LABELS, |step, node, reader| {
        step.headers = headers(node, reader);
    }),
    field("query", LABELS, |step, node, reader| {
        let pairs = value::pairs(node, reader).unwrap_or_default();
        let parameter = |(name, text)| v1::QueryParameter { name, value: template(text) };
        step.query = pairs.into_iter().map(parameter).collect();
    }),
    field(
        "basic",
        mapping("a mapping with `username` and `password`", || known(BASIC)),
        |step, node, reader| {
            let mut basic = v1::BasicAuth::default();
            reader.mapping(node, BASIC, &mut basic);
            step.basic = Some(basic);
        },
    ),
    field("bearer", text("a reference to a token"), |step, node, reader| {
        step.bearer = value::text(node, reader).and_then(template);
    }),
    field(
        "oauth2",
        mapping("a mapping with `token_url`", || known(OAUTH2)),
        |step, node, reader| {
            let mut oauth2 = v1::OAuth2::default();
            reader.mapping(node, OAUTH2, &mut oauth2);
            step.oauth2 = Some(oauth2);
        },
    ),
    field("body", TEXT, |step, node, reader| {
        only_one(&mut step.body, value::text(node, reader), ["body", "body_file"], node, reader);
    }),
    field("body_file", text("the path of a file"), |step, node, reader| {
        let text = text_file(node, "body_file", reader);
        only_one(&mut step.body, text, ["body", "body_file"], node, reader);
    }),
    field(
        "redirects",
        shaped(
            "`none`, or a mapping with `max`",
            Shape::OneOf(&[Shape::Word(|| vec!["none"]), Shape::Mapping(|| known(REDIRECTS))]),
        ),
        |step, node, reader| {
            let mut redirects = v1::Redirects::default();
            match node.text() {
                Some("none") => {}
                _ => reader.mapping(node, REDIRECTS, &mut redirects),
            }
            step.redirects = Some(redirects);
        },
    ),
    field(
        "accept_encoding",
        shaped("a list of gzip, deflate, br, zstd", Shape::List(&Shape::Word(|| names(ENCODINGS)))),
        |step, node, reader| {
            step.accept_encoding = value::words(node, ENCODINGS, reader).unwrap_or_default();
        },
    ),
    field(
        "http_version",
        word("auto, 1.1, 2 or 3", || names(HTTP_VERSIONS)),
        |step, node, reader| {
            step.http_version = value::word(node, HTTP_VERSIONS, reader).unwrap_or_default().into();
        },
    ),
    field("min_tls", word("1.2 or 1.3", || names(TLS_VERSIONS)), |step, node, reader| {
        step.min_tls = value::word(node, TLS_VERSIONS, reader).unwrap_or_default().into();
    }),
    field("client_cert", text("a reference to a certificate"), |step, node, reader| {
        step.client_cert = value::text(node, reader).and_then(template);
    }),
    field("client_key", text("a reference to a key"), |step, node, reader| {
        step.client_key = value::text(node, reader).and_then(template);
    }),
    field("keep_alive", BOOLEAN, |step, node, reader| {
        step.keep_alive = value::boolean(node, reader).unwrap_or_default();
    }),
    field("proxy", mapping("a mapping with `url`", || known(PROXY)), |step, node, reader| {
        let mut proxy = v1::Proxy::default();
        reader.mapping(node, PROXY, &mut proxy);
        step.proxy = Some(proxy);
    }),
    field("body_max_bytes", whole("a whole number of bytes"), |step, node, reader| {
        step.body_max_bytes = at_least_one(node, reader);
    }),
    field("insecure", BOOLEAN, |step, node, reader| {
        step.insecure = value::boolean(node, reader).unwrap_or_default();
    }),
    field("server_name", TEXT, |step, node, reader| {
        step.server_name = value::text(node, reader).unwrap_or_default();
    }),
    field("ca_pem", text("certificates as PEM"), |step, node, reader| {
        authorities(&mut step.ca_pem, value::text(node, reader), node, reader);
    }),
    field("ca_file", text("the path of a PEM file"), |step, node, reader| {
        authorities(&mut step.ca_pem, pem_file(node, reader), node, reader);
    }),
];

const BASIC: &[Field<v1::BasicAuth>] = &[
    required("username", TEXT, |basic, node, reader| {
        basic.username = value::text(node, reader).and_then(template);
    }),
    required("password", text("a reference to a password"), |basic, node, reader| {
        basic.password = value::text(node, reader).and_then(template);
    }),
];

const OAUTH2: &[Field<v1::OAuth2>] = &[
    required("token_url", text("an https URL"), |oauth2, node, reader| {
        oauth2.token_url = value::text(node, reader).unwrap_or_default();
    }),
    required("client_id", TEXT, |oauth2, node, reader| {
        oauth2.client_id = value::text(node, reader).and_then(template);
    }),
    required("client_secret", text("a reference to a secret"), |oauth2, node, reader| {
        oauth2.client_secret = value::text(node, reader).and_then(template);
    }),
    field("scopes", texts("a list of words"), |oauth2, node, reader| {
        oauth2.scopes = value::texts(node, reader).unwrap_or_default();
    }),
    field("audience", TEXT, |oauth2, node, reader| {
        oauth2.audience = value::text(node, reader).unwrap_or_default();
    }),
];

const PROXY: &[Field<v1::Proxy>] = &[
    required("url", text("a proxy such as http://proxy.example:3128"), |proxy, node, reader| {
        proxy.url = value::text(node, reader).unwrap_or_default();
    }),
    field("username", TEXT, |proxy, node, reader| {
        proxy.username = value::text(node, reader).and_then(template);
    }),
    field("password", text("a reference to a password"), |proxy, node, reader| {
        proxy.password = value::text(node, reader).and_then(template);
    }),
];

const REDIRECTS: &[Field<v1::Redirects>] = &[required("max", NUMBER, |redirects, node, reader| {
    redirects.max = at_least_one(node, reader);
})];

pub(crate) const ENCODINGS: &[(&str, v1::ContentEncoding)] = &[
    ("gzip", v1::ContentEncoding::Gzip),
    ("deflate", v1::ContentEncoding::Deflate),
    ("br", v1::ContentEncoding::Br),
    ("zstd", v1::ContentEncoding::Zstd),
];

pub(crate) const HTTP_VERSIONS: &[(&str, v1::HttpVersion)] = &[
    ("auto", v1::HttpVersion::Auto),
    ("1.1", v1::HttpVersion::V1),
    ("2", v1::HttpVersion::V2),
    ("3", v1::HttpVersion::V3),
];

pub(crate) const TLS_VERSIONS: &[(&str, v1::TlsVersion)] =
    &[("1.2", v1::TlsVersion::V12), ("1.3", v1::TlsVersion::V13)];

/// Fields of `tcp`.
pub(super) const TCP: &[Field<v1::TcpStep>] = &[
    required("address", text("a host and a port such as db.example:5432"), |step, node, reader| {
        step.address = value::text(node, reader).unwrap_or_default();
    }),
    field("tls", BOOLEAN, |step, node, reader| {
        step.tls = value::boolean(node, reader).unwrap_or_default();
    }),
    field("insecure", BOOLEAN, |step, node, reader| {
        step.insecure = value::boolean(node, reader).unwrap_or_default();
    }),
    field("server_name", TEXT, |step, node, reader| {
        step.server_name = value::text(node, reader).unwrap_or_default();
    }),
    field("ca_pem", text("certificates as PEM"), |step, node, reader| {
        authorities(&mut step.ca_pem, value::text(node, reader), node, reader);
    }),
    field("ca_file", text("the path of a PEM file"), |step, node, reader| {
        authorities(&mut step.ca_pem, pem_file(node, reader), node, reader);
    }),
    field("min_tls", word("1.2 or 1.3", || names(TLS_VERSIONS)), |step, node, reader| {
        step.min_tls = value::word(node, TLS_VERSIONS, reader).unwrap_or_default().into();
    }),
    field("client_cert", text("a reference to a certificate"), |step, node, reader| {
        step.client_cert = value::text(node, reader).and_then(template);
    }),
    field("client_key", text("a reference to a key"), |step, node, reader| {
        step.client_key = value::text(node, reader).and_then(template);
    }),
    field(
        "starttls",
        word("a protocol such as smtp", || names(talk::PROTOCOLS)),
        |step, node, reader| {
            step.starttls = value::word(node, talk::PROTOCOLS, reader).unwrap_or_default().into();
        },
    ),
    field("dialogue", talk::DIALOGUE, |step, node, reader| {
        step.dialogue = talk::dialogue(node, reader);
    }),
];

/// Fields of `tls`.
pub(super) const TLS: &[Field<v1::TlsStep>] = &[
    required(
        "address",
        text("a host and a port such as shop.example:443"),
        |step, node, reader| {
            step.address = value::text(node, reader).unwrap_or_default();
        },
    ),
    field("insecure", BOOLEAN, |step, node, reader| {
        step.insecure = value::boolean(node, reader).unwrap_or_default();
    }),
    field("server_name", TEXT, |step, node, reader| {
        step.server_name = value::text(node, reader).unwrap_or_default();
    }),
    field("ca_pem", text("certificates as PEM"), |step, node, reader| {
        authorities(&mut step.ca_pem, value::text(node, reader), node, reader);
    }),
    field("ca_file", text("the path of a PEM file"), |step, node, reader| {
        authorities(&mut step.ca_pem, pem_file(node, reader), node, reader);
    }),
    field("min_tls", word("1.2 or 1.3", || names(TLS_VERSIONS)), |step, node, reader| {
        step.min_tls = value::word(node, TLS_VERSIONS, reader).unwrap_or_default().into();
    }),
];

pub(crate) const TRANSPORTS: &[(&str, v1::DnsTransport)] = &[
    ("udp", v1::DnsTransport::Udp),
    ("udp_only", v1::DnsTransport::UdpOnly),
    ("tcp", v1::DnsTransport::Tcp),
    ("tls", v1::DnsTransport::Tls),
    ("https", v1::DnsTransport::Https),
];

/// Fields of `dns`.
pub(super) const DNS: &[Field<v1::DnsStep>] = &[
    required("name", text("a name to ask about"), |step, node, reader| {
        step.name = value::text(node, reader).unwrap_or_default();
    }),
    field("type", text("a type of record such as A or MX"), |step, node, reader| {
        step.r#type = value::text(node, reader).unwrap_or_default();
    }),
    field("class", text("one of IN, CH, HS"), |step, node, reader| {
        step.class = value::text(node, reader).unwrap_or_default();
    }),
    field("server", text("a name server such as ns1.example:53"), |step, node, reader| {
        step.server = value::text(node, reader).unwrap_or_default();
    }),
    field(
        "transport",
        word("one of udp, udp_only, tcp, tls, https", || names(TRANSPORTS)),
        |step, node, reader| {
            let transport = value::word(node, TRANSPORTS, reader);
            step.transport = transport.unwrap_or_default().into();
        },
    ),
    field("recursion", BOOLEAN, |step, node, reader| {
        step.recursion = value::boolean(node, reader);
    }),
    field("path", text("a path such as /dns-query"), |step, node, reader| {
        step.path = value::text(node, reader).unwrap_or_default();
    }),
    field("insecure", BOOLEAN, |step, node, reader| {
        step.insecure = value::boolean(node, reader).unwrap_or_default();
    }),
    field("server_name", TEXT, |step, node, reader| {
        step.server_name = value::text(node, reader).unwrap_or_default();
    }),
    field("ca_pem", text("certificates as PEM"), |step, node, reader| {
        authorities(&mut step.ca_pem, value::text(node, reader), node, reader);
    }),
    field("ca_file", text("the path of a PEM file"), |step, node, reader| {
        authorities(&mut step.ca_pem, pem_file(node, reader), node, reader);
    }),
    field("min_tls", word("1.2 or 1.3", || names(TLS_VERSIONS)), |step, node, reader| {
        step.min_tls = value::word(node, TLS_VERSIONS, reader).unwrap_or_default().into();
    }),
];

/// Fields of `icmp`.
pub(super) const ICMP: &[Field<v1::IcmpStep>] = &[
    required("host", text("a host name or an address"), |step, node, reader| {
        step.host = value::text(node, reader).unwrap_or_default();
    }),
    field("count", NUMBER, |step, node, reader| {
        step.count = at_least_one(node, reader);
    }),
    field("spacing", length("a length of time such as 100ms"), |step, node, reader| {
        step.spacing = value::duration(node, reader);
    }),
    field("payload_bytes", whole("a whole number of bytes"), |step, node, reader| {
        step.payload_bytes = at_least_one(node, reader);
    }),
    field("dont_fragment", BOOLEAN, |step, node, reader| {
        step.dont_fragment = value::boolean(node, reader).unwrap_or_default();
    }),
    field("ttl", NUMBER, |step, node, reader| {
        step.ttl = at_least_one(node, reader);
    }),
];

/// Fields of `grpc`.
pub(super) const GRPC: &[Field<v1::GrpcStep>] = &[
    required(
        "address",
        text("a host and a port such as shop.example:50051"),
        |step, node, reader| {
            step.address = value::text(node, reader).unwrap_or_default();
        },
    ),
    field("service", text("the name of a service"), |step, node, reader| {
        step.service = value::text(node, reader).unwrap_or_default();
    }),
    field("tls", BOOLEAN, |step, node, reader| {
        step.tls = value::boolean(node, reader).unwrap_or_default();
    }),
    field("insecure", BOOLEAN, |step, node, reader| {
        step.insecure = value::boolean(node, reader).unwrap_or_default();
    }),
    field("server_name", TEXT, |step, node, reader| {
        step.server_name = value::text(node, reader).unwrap_or_default();
    }),
    field("ca_pem", text("certificates as PEM"), |step, node, reader| {
        authorities(&mut step.ca_pem, value::text(node, reader), node, reader);
    }),
    field("ca_file", text("the path of a PEM file"), |step, node, reader| {
        authorities(&mut step.ca_pem, pem_file(node, reader), node, reader);
    }),
    field("min_tls", word("1.2 or 1.3", || names(TLS_VERSIONS)), |step, node, reader| {
        step.min_tls = value::word(node, TLS_VERSIONS, reader).unwrap_or_default().into();
    }),
    field("client_cert", text("a reference to a certificate"), |step, node, reader| {
        step.client_cert = value::text(node, reader).and_then(template);
    }),
    field("client_key", text("a reference to a key"), |step, node, reader| {
        step.client_key = value::text(node, reader).and_then(template);
    }),
    field("authority", text("a host, with a port or without"), |step, node, reader| {
        step.authority = value::text(node, reader).unwrap_or_default();
    }),
    field("metadata", LABELS, |step, node, reader| {
        step.metadata = headers(node, reader);
    }),
];

/// What a check or a step does, while it is read: the fields named like its kinds.
#[derive(Default)]
pub(super) struct Kinds {
    http: Option<v1::HttpStep>,
    tcp: Option<v1::TcpStep>,
    tls: Option<v1::TlsStep>,
    dns: Option<v1::DnsStep>,
    udp: Option<v1::UdpStep>,
    ssh: Option<v1::SshStep>,
    icmp: Option<v1::IcmpStep>,
    grpc: Option<v1::GrpcStep>,
    websocket: Option<v1::WebSocketStep>,
    plugin: Option<v1::PluginStep>,
}

impl Kinds {
    pub(super) fn read_http(&mut self, node: &Node, reader: &mut Reader<'_>) {
        let mut step = v1::HttpStep::default();
        reader.mapping(node, HTTP, &mut step);
        self.http = Some(step);
    }

    pub(super) fn read_tcp(&mut self, node: &Node, reader: &mut Reader<'_>) {
        let mut step = v1::TcpStep::default();
        reader.mapping(node, TCP, &mut step);
        self.tcp = Some(step);
    }

    pub(super) fn read_tls(&mut self, node: &Node, reader: &mut Reader<'_>) {
        let mut step = v1::TlsStep::default();
        reader.mapping(node, TLS, &mut step);
        self.tls = Some(step);
    }

    pub(super) fn read_dns(&mut self, node: &Node, reader: &mut Reader<'_>) {
        let mut step = v1::DnsStep::default();
        reader.mapping(node, DNS, &mut step);
        self.dns = Some(step);
    }

    pub(super) fn read_udp(&mut self, node: &Node, reader: &mut Reader<'_>) {
        let mut step = v1::UdpStep::default();
        reader.mapping(node, talk::UDP, &mut step);
        self.udp = Some(step);
    }

    pub(super) fn read_ssh(&mut self, node: &Node, reader: &mut Reader<'_>) {
        let mut step = v1::SshStep::default();
        reader.mapping(node, talk::SSH, &mut step);
        self.ssh = Some(step);
    }

    pub(super) fn read_icmp(&mut self, node: &Node, reader: &mut Reader<'_>) {
        let mut step = v1::IcmpStep::default();
        reader.mapping(node, ICMP, &mut step);
        self.icmp = Some(step);
    }

    pub(super) fn read_grpc(&mut self, node: &Node, reader: &mut Reader<'_>) {
        let mut step = v1::GrpcStep::default();
        reader.mapping(node, GRPC, &mut step);
        self.grpc = Some(step);
    }

    pub(super) fn read_websocket(&mut self, node: &Node, reader: &mut Reader<'_>) {
        let mut step = v1::WebSocketStep::default();
        reader.mapping(node, talk::WEBSOCKET, &mut step);
        self.websocket = Some(step);
    }
    pub(super) fn read_plugin(&mut self, node: &Node, reader: &mut Reader<'_>) {
        let mut step = v1::PluginStep::default();
        reader.mapping(node, PLUGIN, &mut step);
        self.plugin = Some(step);
    }

    /// All that were given.
    pub(super) fn given(self) -> Vec<v1::step::Kind> {
        let Self { http, tcp, tls, dns, icmp, grpc, udp, ssh, websocket, plugin } = self;
        let mut given = Vec::new();
        given.extend(http.map(v1::step::Kind::Http));
        given.extend(tcp.map(v1::step::Kind::Tcp));
        given.extend(tls.map(v1::step::Kind::Tls));
        given.extend(dns.map(v1::step::Kind::Dns));
        given.extend(udp.map(v1::step::Kind::Udp));
        given.extend(ssh.map(v1::step::Kind::Ssh));
        given.extend(icmp.map(v1::step::Kind::Icmp));
        given.extend(grpc.map(v1::step::Kind::Grpc));
        given.extend(websocket.map(v1::step::Kind::Websocket));
        given.extend(plugin.map(v1::step::Kind::Plugin));
        given
    }
}

/// A step while it is read.
#[derive(Default)]
pub(super) struct StepDraft {
    name: String,
    capture: Vec<v1::Capture>,
    kinds: Kinds,
}

pub(super) const STEP: &[Field<StepDraft>] = &[
    field("name", text("a name"), |step, node, reader| {
        step.name = value::text(node, reader).unwrap_or_default();
    }),
    field("capture", pairs("a mapping of names to expressions"), |step, node, reader| {
        let pairs = value::pairs(node, reader).unwrap_or_default();
        let capture = |(name, value)| v1::Capture { name, value };
        step.capture = pairs.into_iter().map(capture).collect();
    }),
    field("http", mapping("a mapping with `url`", || known(HTTP)), |step, node, reader| {
        step.kinds.read_http(node, reader);
    }),
    field("tcp", mapping("a mapping with `address`", || known(TCP)), |step, node, reader| {
        step.kinds.read_tcp(node, reader);
    }),
    field("tls", mapping("a mapping with `address`", || known(TLS)), |step, node, reader| {
        step.kinds.read_tls(node, reader);
    }),
    field("dns", mapping("a mapping with `name`", || known(DNS)), |step, node, reader| {
        step.kinds.read_dns(node, reader);
    }),
    field("udp", mapping("a mapping with `address`", || known(talk::UDP)), |step, node, reader| {
        step.kinds.read_udp(node, reader);
    }),
    field("ssh", mapping("a mapping with `address`", || known(talk::SSH)), |step, node, reader| {
        step.kinds.read_ssh(node, reader);
    }),
    field("icmp", mapping("a mapping with `host`", || known(ICMP)), |step, node, reader| {
        step.kinds.read_icmp(node, reader);
    }),
    field("grpc", mapping("a mapping with `address`", || known(GRPC)), |step, node, reader| {
        step.kinds.read_grpc(node, reader);
    }),
    field(
        "websocket",
        mapping("a mapping with `url`", || known(talk::WEBSOCKET)),
        |step, node, reader| {
            step.kinds.read_websocket(node, reader);
        },
    ),
    field("plugin", mapping("a mapping with `command`", || known(PLUGIN)), |step, node, reader| {
        step.kinds.read_plugin(node, reader);
    }),
];

/// Headers with values that may hold references, in the order in which they are written.
pub(super) fn headers(node: &Node, reader: &mut Reader<'_>) -> Vec<v1::Header> {
    let pairs = value::pairs(node, reader).unwrap_or_default();
    pairs.into_iter().map(|(name, text)| v1::Header { name, value: template(text) }).collect()
}

/// A text that may hold references.
pub(super) fn template(text: String) -> Option<v1::Secret> {
    Some(v1::Secret { value: Some(v1::secret::Value::Template(text)) })
}

pub(super) fn authorities(
    into: &mut String,
    pem: Option<String>,
    node: &Node,
    reader: &mut Reader<'_>,
) {
    only_one(into, pem, ["ca_pem", "ca_file"], node, reader);
}

/// Takes a text that is written here or in a file, not both.
fn only_one(
    into: &mut String,
    text: Option<String>,
    [here, file]: [&str; 2],
    node: &Node,
    reader: &mut Reader<'_>,
) {
    if !into.is_empty() {
        let message = format!("`{here}` and `{file}` cannot both be given");
        reader.error("duplicate_field", node.place, message);
        return;
    }
    *into = text.unwrap_or_default();
}

pub(super) fn pem_file(node: &Node, reader: &mut Reader<'_>) -> Option<String> {
    text_file(node, "ca_pem", reader)
}

/// Reads a file now: what is applied does not depend on files of one machine.
fn text_file(node: &Node, rule: &str, reader: &mut Reader<'_>) -> Option<String> {
    let path = value::text(node, reader)?;
    let full = reader.sources.directory(node.place.source).join(&path);
    let mut text = String::new();
    // One byte more than a resource may have: what is larger is refused for that, not cut.
    let read = std::fs::File::open(full).and_then(|file| {
        file.take(limits::RESOURCE_BYTES_MAX as u64 + 1).read_to_string(&mut text)
    });
    match read {
        Ok(_) if text.trim().is_empty() => {
            reader.error(rule, node.place, format!("`{path}` is empty"));
            None
        }
        Ok(_) => Some(text),
        Err(error) => {
            reader.error(rule, node.place, format!("cannot read `{path}`: {error}"));
            None
        }
    }
}

/// Reads `steps:`.
pub(super) fn steps(node: &Node, reader: &mut Reader<'_>) -> Vec<v1::Step> {
    let Value::List(items) = &node.value else {
        reader.wrong_type(node);
        return Vec::new();
    };
    let mut steps = Vec::with_capacity(items.len());
    for (index, item) in items.iter().enumerate() {
        steps.push(reader.at(index, |reader| {
            let mut draft = StepDraft::default();
            reader.mapping(item, STEP, &mut draft);
            let mut given = draft.kinds.given();
            if given.len() > 1 {
                kind_twice(item, reader);
            }
            if given.is_empty() && item.entries().is_some() {
                let message = format!("a step needs one of {}", quoted(&StepKind::WORDS));
                reader.error("kind_missing", item.place, message);
            }
            let kind = (!given.is_empty()).then(|| given.swap_remove(0));
            v1::Step { name: draft.name, kind, capture: draft.capture }
        }));
    }
    steps
}

/// Says that a check or a step is two things at once, at the second of them.
pub(super) fn kind_twice(node: &Node, reader: &mut Reader<'_>) {
    let kinds = node.entries().unwrap_or_default().iter();
    let is_kind = |key: &str| key == "steps" || StepKind::WORDS.contains(&key);
    let second = kinds.filter(|entry| is_kind(entry.key.as_str())).nth(1);
    let place = second.map_or(node.place, |entry| entry.place);
    let message = format!("only one of {} and `steps` can be given", quoted(&StepKind::WORDS));
    reader.error("kind_twice", place, message);
}
