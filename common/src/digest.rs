//! The run digest: the version of what a run does, which every vote names.
//!
//! It covers the steps with everything in them, timeout, expect, warn, invert, samples, and the
//! address family, source address and resolver. It does not cover interval, regions, policy or
//! labels; of a secret it covers the reference as written, never the value behind it.
//!
//! The encoding is part of the wire: length-prefixed and versioned, so that no two different runs
//! share bytes. A new field goes behind a new version byte, or only where it is not its default: then
//! behind a mark that nothing else can be (`Encoder::extra`), so that a check which does not use it
//! keeps its digest.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_64;

use crate::check::{
    Canary, Capture, ClientCertificate, DnsStep, Exchange, Expected, GrpcStep, HttpAuth, HttpStep,
    HttpVersion, IcmpStep, IpFamily, OAuth2, Payload, PluginStep, Proxy, ProxyCredentials, Run,
    SshStep, Step, StepKind, TcpStep, TlsOptions, TlsStep, UdpStep, WebSocketStep,
};
use crate::name::RunDigest;
use crate::outcome::Reason;
use crate::time::ns;

/// First byte of the encoding.
const VERSION: u8 = 1;

/// The digest of a run: xxh3 (64 bits, seed 0) over its canonical encoding.
pub fn run_digest(run: &Run) -> RunDigest {
    let mut out = Encoder(vec![VERSION]);
    // Taken apart in full: a new field does not compile until it is decided here.
    let Run { steps, timeout, expect, warn, invert, canary, ip, source_address, resolver, samples } =
        run;
    out.number(steps.len() as u64);
    for step in steps {
        encode_step(&mut out, step);
    }
    out.number(ns(*timeout).unsigned_abs());
    out.texts(expect);
    out.texts(warn);
    out.flag(*invert);
    out.number((*samples).into());
    out.byte(match ip {
        IpFamily::Auto => 0,
        IpFamily::V4 => 4,
        IpFamily::V6 => 6,
    });
    out.option(source_address.as_ref(), |out, address| out.address(*address));
    out.option(resolver.as_ref(), |out, resolver: &SocketAddr| {
        out.address(resolver.ip());
        out.number(resolver.port().into());
    });
    // Only where there is one: the digests of all other runs are what they were.
    match canary {
        None => {}
        Some(Canary::Pass) => out.text("canary pass"),
        Some(Canary::Fail(reason)) => {
            out.text("canary fail");
            out.text(reason.map_or("", Reason::word));
        }
    }
    RunDigest(xxh3_64(&out.0))
}

fn encode_step(out: &mut Encoder, step: &Step) {
    let Step { name, kind, captures } = step;
    out.text(name);
    match kind {
        StepKind::Http(http) => {
            let HttpStep {
                url,
                method,
                headers,
                body,
                body_max_bytes,
                tls,
                redirects_max,
                auth,
                query,
                version,
                accept_encoding,
                proxy,
                keep_alive,
            } = http;
            out.text("http");
            out.text(url);
            out.text(method);
            out.number(headers.len() as u64);
            for (name, value) in headers {
                out.text(name);
                out.text(value);
            }
            out.text(body);
            out.number(*body_max_bytes);
            encode_tls(out, tls);
            out.extra("redirects", *redirects_max > 0, |out| out.number((*redirects_max).into()));
            out.extra("auth", auth.is_some(), |out| match auth {
                Some(HttpAuth::Basic { username, password }) => {
                    out.texts(&[username.clone(), password.clone()]);
                }
                Some(HttpAuth::Bearer(token)) => out.text(token),
                Some(HttpAuth::OAuth2(of)) => encode_oauth2(out, of),
                None => {}
            });
            out.extra("query", !query.is_empty(), |out| {
                out.number(query.len() as u64);
                for (name, value) in query {
                    out.text(name);
                    out.text(value);
                }
            });
            out.extra("http_version", *version != HttpVersion::V1, |out| out.text(version.word()));
            out.extra("accept_encoding", !accept_encoding.is_empty(), |out| {
                out.texts(
                    &accept_encoding.iter().map(|of| of.word().to_owned()).collect::<Vec<_>>(),
                );
            });
            encode_proxy(out, proxy.as_ref());
            out.extra("keep_alive", *keep_alive, |_| {});
        }
        StepKind::Tcp(tcp) => {
            let TcpStep { host, port, tls, starttls, dialogue } = tcp;
            out.text("tcp");
            out.text(host);
            out.number((*port).into());
            out.option(tls.as_ref(), encode_tls);
            out.extra("starttls", starttls.is_some(), |out| {
                out.text(starttls.map_or("", |protocol| protocol.word()));
            });
            out.extra("dialogue", !dialogue.is_empty(), |out| {
                out.number(dialogue.len() as u64);
                dialogue.iter().for_each(|exchange| encode_exchange(out, exchange));
            });
        }
        StepKind::Websocket(websocket) => {
            let WebSocketStep { url, headers, subprotocols, tls, dialogue } = websocket;
            out.text("websocket");
            out.text(url);
            out.number(headers.len() as u64);
            for (name, value) in headers {
                out.text(name);
                out.text(value);
            }
            out.texts(subprotocols);
            encode_tls(out, tls);
            out.number(dialogue.len() as u64);
            dialogue.iter().for_each(|exchange| encode_exchange(out, exchange));
        }
        StepKind::Udp(udp) => {
            let UdpStep { host, port, send, expect, resend } = udp;
            out.text("udp");
            out.text(host);
            out.number((*port).into());
            encode_payload(out, send);
            out.option(expect.as_ref(), encode_expected);
            out.number(ns(resend.unwrap_or_default()).unsigned_abs());
        }
        StepKind::Ssh(SshStep { host, port }) => {
            out.text("ssh");
            out.text(host);
            out.number((*port).into());
        }
        StepKind::Tls(step) => {
            let TlsStep { host, port, tls } = step;
            out.text("tls");
            out.text(host);
            out.number((*port).into());
            encode_tls(out, tls);
        }
        StepKind::Dns(dns) => {
            let DnsStep { name, record_type, class, server, transport, recursion, tls, path } = dns;
            out.text("dns");
            out.text(name);
            out.text(record_type.word());
            out.text(class.word());
            out.option(server.as_ref(), |out, (host, port): &(String, u16)| {
                out.text(host);
                out.number((*port).into());
            });
            out.text(transport.word());
            out.flag(*recursion);
            out.extra("tls", tls.is_some(), |out| out.option(tls.as_ref(), encode_tls));
            out.extra("path", path.is_some(), |out| out.text(path.as_deref().unwrap_or_default()));
        }
        StepKind::Icmp(icmp) => {
            let IcmpStep { host, count, spacing, payload_bytes, dont_fragment, ttl } = icmp;
            out.text("icmp");
            out.text(host);
            out.number((*count).into());
            out.number(ns(*spacing).unsigned_abs());
            out.number((*payload_bytes).into());
            out.flag(*dont_fragment);
            out.option(ttl.as_ref(), |out, ttl: &u8| out.byte(*ttl));
        }
        StepKind::Plugin(plugin) => {
            let PluginStep { command, args, env, series } = plugin;
            out.text("plugin");
            out.text(command);
            out.texts(args);
            out.number(env.len() as u64);
            for (name, value) in env {
                out.text(name);
                out.text(value);
            }
            out.texts(series);
        }
        StepKind::Grpc(grpc) => {
            let GrpcStep { host, port, service, tls, authority, metadata } = grpc;
            out.text("grpc");
            out.text(host);
            out.number((*port).into());
            out.text(service);
            out.option(tls.as_ref(), encode_tls);
            out.option(authority.as_ref(), |out, authority: &String| out.text(authority));
            out.number(metadata.len() as u64);
            for (name, value) in metadata {
                out.text(name);
                out.text(value);
            }
        }
    }
    out.extra("captures", !captures.is_empty(), |out| {
        out.number(captures.len() as u64);
        for Capture { name, value } in captures {
            out.text(name);
            out.text(value);
        }
    });
}

fn encode_exchange(out: &mut Encoder, exchange: &Exchange) {
    let Exchange { name, send, expect } = exchange;
    out.text(name);
    out.option(send.as_ref(), encode_payload);
    out.option(expect.as_ref(), encode_expected);
}

fn encode_payload(out: &mut Encoder, payload: &Payload) {
    out.flag(matches!(payload, Payload::Bytes(_)));
    match payload {
        Payload::Text(text) => out.text(text),
        Payload::Bytes(bytes) => out.bytes(bytes),
    }
}

fn encode_expected(out: &mut Encoder, expected: &Expected) {
    out.flag(matches!(expected, Expected::Bytes(_)));
    match expected {
        Expected::Pattern(pattern) => out.text(pattern),
        Expected::Bytes(bytes) => out.bytes(bytes),
    }
}

fn encode_oauth2(out: &mut Encoder, of: &OAuth2) {
    let OAuth2 { token_url, client_id, client_secret, scopes, audience } = of;
    out.extra("oauth2", true, |out| {
        out.text(token_url);
        out.text(client_id);
        out.text(client_secret);
        out.texts(scopes);
        out.option(audience.as_ref(), |out, audience: &String| out.text(audience));
    });
}

fn encode_proxy(out: &mut Encoder, proxy: Option<&Proxy>) {
    let Some(Proxy { scheme, host, port, credentials }) = proxy else { return };
    out.extra("proxy", true, |out| {
        out.text(scheme.word());
        out.text(host);
        out.number((*port).into());
        out.option(credentials.as_ref(), |out, of: &ProxyCredentials| {
            let ProxyCredentials { username, password } = of;
            out.text(username);
            out.text(password);
        });
    });
}

fn encode_tls(out: &mut Encoder, tls: &TlsOptions) {
    let TlsOptions { insecure, server_name, ca_pem, min_version, client } = tls;
    out.flag(*insecure);
    out.option(server_name.as_ref(), |out, name: &String| out.text(name));
    out.option(ca_pem.as_ref(), |out, pem: &Arc<str>| out.text(pem));
    out.extra("min_tls", min_version.is_some(), |out| {
        out.text(min_version.map_or("", |version| version.word()));
    });
    out.extra("client", client.is_some(), |out| {
        if let Some(ClientCertificate { cert, key }) = client {
            out.text(cert);
            out.text(key);
        }
    });
}

/// Numbers are 8 bytes little-endian, texts their length and their bytes, options a flag and the
/// value, lists their length and their items.
struct Encoder(Vec<u8>);

impl Encoder {
    fn byte(&mut self, byte: u8) {
        self.0.push(byte);
    }

    fn flag(&mut self, flag: bool) {
        self.byte(flag.into());
    }

    fn number(&mut self, number: u64) {
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    fn texts(&mut self, texts: &[String]) {
        self.number(texts.len() as u64);
        for text in texts {
            self.text(text);
        }
    }

    /// A field that is there only where it is used. The mark is the length that no text has and the
    /// time that no timeout is, so it cannot be taken for what would follow without the field.
    fn extra(&mut self, name: &str, used: bool, encode: impl FnOnce(&mut Self)) {
        if used {
            self.number(u64::MAX);
            self.text(name);
            encode(self);
        }
    }

    fn address(&mut self, address: IpAddr) {
        match address {
            IpAddr::V4(v4) => {
                self.byte(4);
                self.0.extend_from_slice(&v4.octets());
            }
            IpAddr::V6(v6) => {
                self.byte(6);
                self.0.extend_from_slice(&v6.octets());
            }
        }
    }

    fn option<T>(&mut self, value: Option<&T>, encode: impl FnOnce(&mut Self, &T)) {
        self.flag(value.is_some());
        if let Some(value) = value {
            encode(self, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::check::{
        ContentEncoding, DnsClass, DnsTransport, DnsType, ProxyScheme, StartTls, TlsVersion,
    };

    fn run() -> Run {
        Run {
            steps: vec![Step {
                name: String::new(),
                captures: vec![],
                kind: StepKind::Http(HttpStep {
                    url: "https://shop.example/checkout".to_owned(),
                    method: "GET".to_owned(),
                    headers: vec![("authorization".to_owned(), "Bearer ${env:TOKEN}".to_owned())],
                    body: String::new(),
                    body_max_bytes: 65_536,
                    ..HttpStep::default()
                }),
            }],
            timeout: Duration::from_millis(900),
            expect: vec!["status == 200".to_owned()],
            warn: vec![],
            invert: false,
            canary: None,
            ip: IpFamily::Auto,
            source_address: None,
            resolver: None,
            samples: 1,
        }
    }

    fn tcp() -> Run {
        Run {
            steps: vec![Step {
                name: "db".to_owned(),
                captures: vec![],
                kind: StepKind::Tcp(TcpStep {
                    host: "db.example".to_owned(),
                    port: 5432,
                    tls: Some(TlsOptions::default()),
                    ..TcpStep::default()
                }),
            }],
            ..run()
        }
    }

    fn of(kind: StepKind) -> Run {
        Run { steps: vec![Step { name: String::new(), kind, captures: vec![] }], ..run() }
    }

    fn tls(change: impl FnOnce(&mut TlsStep)) -> Run {
        let mut step = TlsStep {
            host: "db.example".to_owned(),
            port: 5432,
            tls: TlsOptions { server_name: Some("x".to_owned()), ..TlsOptions::default() },
        };
        change(&mut step);
        of(StepKind::Tls(step))
    }

    fn dns(change: impl FnOnce(&mut DnsStep)) -> Run {
        let mut step = DnsStep {
            name: "shop.example".to_owned(),
            record_type: DnsType::Mx,
            class: DnsClass::In,
            server: Some(("ns1.example".to_owned(), 53)),
            transport: DnsTransport::Udp,
            recursion: true,
            tls: None,
            path: None,
        };
        change(&mut step);
        of(StepKind::Dns(step))
    }

    fn udp(change: impl FnOnce(&mut UdpStep)) -> Run {
        let mut step = UdpStep {
            host: "db.example".to_owned(),
            port: 5432,
            send: Payload::Text("x".to_owned()),
            expect: None,
            resend: None,
        };
        change(&mut step);
        of(StepKind::Udp(step))
    }

    /// A dialogue of one exchange: what it sends and what it expects.
    fn websocket(change: impl FnOnce(&mut WebSocketStep)) -> Run {
        let url = "wss://shop.example/".to_owned();
        let mut step = WebSocketStep { url, ..WebSocketStep::default() };
        change(&mut step);
        of(StepKind::Websocket(step))
    }

    fn says(name: &str, send: Option<Payload>, expect: Option<Expected>) -> Run {
        tcp_with(|t| t.dialogue = vec![Exchange { name: name.to_owned(), send, expect }])
    }

    fn plugin(change: impl FnOnce(&mut PluginStep)) -> Run {
        let mut step = PluginStep {
            command: "check_http".to_owned(),
            args: vec!["-H".to_owned(), "a".to_owned()],
            env: vec![],
            series: vec![],
        };
        change(&mut step);
        of(StepKind::Plugin(step))
    }

    fn icmp(change: impl FnOnce(&mut IcmpStep)) -> Run {
        let mut step = IcmpStep {
            host: "db.example".to_owned(),
            count: 3,
            spacing: Duration::from_millis(100),
            payload_bytes: 56,
            dont_fragment: false,
            ttl: None,
        };
        change(&mut step);
        of(StepKind::Icmp(step))
    }

    fn grpc(change: impl FnOnce(&mut GrpcStep)) -> Run {
        let mut step = GrpcStep {
            host: "db.example".to_owned(),
            port: 5432,
            service: String::new(),
            tls: None,
            authority: None,
            metadata: vec![],
        };
        change(&mut step);
        of(StepKind::Grpc(step))
    }

    #[test]
    fn the_digest_is_pinned() {
        assert_eq!(run_digest(&run()), RunDigest(1_208_027_441_749_684_136));
        assert_eq!(run_digest(&tcp()), RunDigest(5_755_590_565_475_012_854));
    }

    fn http(change: impl FnOnce(&mut HttpStep)) -> Run {
        let mut run = run();
        let StepKind::Http(step) = &mut run.steps[0].kind else { unreachable!("made above") };
        change(step);
        run
    }

    fn basic(username: &str, password: &str) -> HttpAuth {
        HttpAuth::Basic { username: username.to_owned(), password: password.to_owned() }
    }

    fn oauth2(change: impl FnOnce(&mut OAuth2)) -> HttpAuth {
        let mut of = OAuth2 {
            token_url: "https://login.example/token".to_owned(),
            client_id: "me".to_owned(),
            client_secret: "${env:SECRET}".to_owned(),
            scopes: vec![],
            audience: None,
        };
        change(&mut of);
        HttpAuth::OAuth2(Box::new(of))
    }

    fn client(cert: &str, key: &str) -> ClientCertificate {
        ClientCertificate { cert: cert.to_owned(), key: key.to_owned() }
    }

    fn proxy(credentials: Option<(&str, &str)>) -> Proxy {
        Proxy {
            scheme: ProxyScheme::Http,
            host: "proxy.example".to_owned(),
            port: 3128,
            credentials: credentials.map(|(username, password)| ProxyCredentials {
                username: username.to_owned(),
                password: password.to_owned(),
            }),
        }
    }

    fn with(change: impl FnOnce(&mut Run)) -> Run {
        let mut run = run();
        change(&mut run);
        run
    }

    fn tcp_with(change: impl FnOnce(&mut TcpStep)) -> Run {
        let mut run = tcp();
        let StepKind::Tcp(step) = &mut run.steps[0].kind else { unreachable!("made above") };
        change(step);
        run
    }

    #[test]
    fn every_field_changes_the_digest() {
        use ProxyScheme::Socks5;
        let text = || "x".to_owned();
        let changed = [
            ("nothing", run()),
            ("tcp", tcp()),
            ("steps", with(|r| r.steps.push(r.steps[0].clone()))),
            ("step name", with(|r| r.steps[0].name = text())),
            (
                "capture",
                with(|r| {
                    let capture = Capture { name: text(), value: String::new() };
                    r.steps[0].captures.push(capture);
                }),
            ),
            (
                "capture's value",
                with(|r| {
                    let capture = Capture { name: String::new(), value: text() };
                    r.steps[0].captures.push(capture);
                }),
            ),
            ("timeout", with(|r| r.timeout = Duration::from_secs(1))),
            ("expect", with(|r| r.expect.push(text()))),
            ("expect moved to warn", with(|r| r.warn = std::mem::take(&mut r.expect))),
            ("expect split", with(|r| r.expect = vec!["status ".to_owned(), "== 200".to_owned()])),
            ("warn", with(|r| r.warn.push(text()))),
            ("invert", with(|r| r.invert = true)),
            ("canary", with(|r| r.canary = Some(Canary::Pass))),
            ("canary fail", with(|r| r.canary = Some(Canary::Fail(None)))),
            ("canary reason", with(|r| r.canary = Some(Canary::Fail(Some(Reason::DnsNxdomain))))),
            ("samples", with(|r| r.samples = 2)),
            ("more samples", with(|r| r.samples = 3)),
            ("ip 4", with(|r| r.ip = IpFamily::V4)),
            ("ip 6", with(|r| r.ip = IpFamily::V6)),
            ("source", with(|r| r.source_address = Some([127, 0, 0, 1].into()))),
            ("source 6", with(|r| r.source_address = Some(IpAddr::V6([0; 16].into())))),
            ("resolver", with(|r| r.resolver = Some(([127, 0, 0, 1], 53).into()))),
            ("resolver port", with(|r| r.resolver = Some(([127, 0, 0, 1], 54).into()))),
            ("url", http(|h| h.url.push('/'))),
            ("method", http(|h| h.method = "HEAD".to_owned())),
            ("header name", http(|h| h.headers[0].0 = text())),
            ("header value", http(|h| h.headers[0].1 = text())),
            ("header moved", http(|h| h.headers.push((text(), text())))),
            ("body", http(|h| h.body = text())),
            ("body max", http(|h| h.body_max_bytes = 1)),
            ("insecure", http(|h| h.tls.insecure = true)),
            ("server name", http(|h| h.tls.server_name = Some(text()))),
            ("empty server name", http(|h| h.tls.server_name = Some(String::new()))),
            ("ca", http(|h| h.tls.ca_pem = Some(text().into()))),
            ("min tls", http(|h| h.tls.min_version = Some(TlsVersion::V12))),
            ("min tls 1.3", http(|h| h.tls.min_version = Some(TlsVersion::V13))),
            ("client", http(|h| h.tls.client = Some(client("x", "")))),
            ("client key", http(|h| h.tls.client = Some(client("", "x")))),
            ("redirects", http(|h| h.redirects_max = 1)),
            ("more redirects", http(|h| h.redirects_max = 2)),
            ("bearer", http(|h| h.auth = Some(HttpAuth::Bearer(text())))),
            ("basic user", http(|h| h.auth = Some(basic("x", "")))),
            ("basic password", http(|h| h.auth = Some(basic("", "x")))),
            ("oauth2", http(|h| h.auth = Some(oauth2(|_| {})))),
            ("oauth2 url", http(|h| h.auth = Some(oauth2(|o| o.token_url = text())))),
            ("oauth2 client", http(|h| h.auth = Some(oauth2(|o| o.client_id = text())))),
            ("oauth2 secret", http(|h| h.auth = Some(oauth2(|o| o.client_secret = text())))),
            ("oauth2 scope", http(|h| h.auth = Some(oauth2(|o| o.scopes = vec![text()])))),
            ("oauth2 audience", http(|h| h.auth = Some(oauth2(|o| o.audience = Some(text()))))),
            ("query", http(|h| h.query = vec![(text(), String::new())])),
            ("query value", http(|h| h.query = vec![(String::new(), text())])),
            ("http 2", http(|h| h.version = HttpVersion::V2)),
            ("http auto", http(|h| h.version = HttpVersion::Auto)),
            ("http 3", http(|h| h.version = HttpVersion::V3)),
            ("gzip", http(|h| h.accept_encoding = vec![ContentEncoding::Gzip])),
            ("br", http(|h| h.accept_encoding = vec![ContentEncoding::Br])),
            ("keep alive", http(|h| h.keep_alive = true)),
            ("proxy", http(|h| h.proxy = Some(proxy(None)))),
            ("proxy scheme", http(|h| h.proxy = Some(Proxy { scheme: Socks5, ..proxy(None) }))),
            ("proxy host", http(|h| h.proxy = Some(Proxy { host: text(), ..proxy(None) }))),
            ("proxy port", http(|h| h.proxy = Some(Proxy { port: 1, ..proxy(None) }))),
            ("proxy user", http(|h| h.proxy = Some(proxy(Some(("x", "")))))),
            ("proxy password", http(|h| h.proxy = Some(proxy(Some(("", "x")))))),
            ("tcp host", tcp_with(|t| t.host = text())),
            ("tcp port", tcp_with(|t| t.port = 1)),
            ("tcp plain", tcp_with(|t| t.tls = None)),
            ("tls", tls(|_| {})),
            ("tls host", tls(|t| t.host = text())),
            ("tls port", tls(|t| t.port = 1)),
            ("tls insecure", tls(|t| t.tls.insecure = true)),
            ("tls server name", tls(|t| t.tls.server_name = None)),
            ("tls 1.2", tls(|t| t.tls.min_version = Some(TlsVersion::V12))),
            ("tls 1.3", tls(|t| t.tls.min_version = Some(TlsVersion::V13))),
            ("starttls", tcp_with(|t| t.starttls = Some(StartTls::Smtp))),
            ("other starttls", tcp_with(|t| t.starttls = Some(StartTls::Imap))),
            ("tcp min tls", {
                let tls = TlsOptions { min_version: Some(TlsVersion::V13), ..Default::default() };
                tcp_with(|t| t.tls = Some(tls))
            }),
            ("tcp client", {
                let tls = TlsOptions { client: Some(client("x", "y")), ..Default::default() };
                tcp_with(|t| t.tls = Some(tls))
            }),
            ("sends text", says("a", Some(Payload::Text(text())), None)),
            ("sends bytes", says("a", Some(Payload::Bytes(vec![b'x'])), None)),
            ("sends under another name", says("b", Some(Payload::Text(text())), None)),
            ("expects a pattern", says("a", None, Some(Expected::Pattern(text())))),
            ("expects bytes", says("a", None, Some(Expected::Bytes(vec![b'x'])))),
            ("udp", udp(|_| {})),
            ("udp host", udp(|u| u.host = text())),
            ("udp port", udp(|u| u.port = 1)),
            ("udp bytes", udp(|u| u.send = Payload::Bytes(vec![b'x']))),
            ("udp other text", udp(|u| u.send = Payload::Text("y".to_owned()))),
            ("udp expects", udp(|u| u.expect = Some(Expected::Pattern(text())))),
            ("udp expects bytes", udp(|u| u.expect = Some(Expected::Bytes(vec![b'x'])))),
            ("udp resend", udp(|u| u.resend = Some(Duration::from_secs(1)))),
            ("ssh", of(StepKind::Ssh(SshStep { host: "db.example".to_owned(), port: 5432 }))),
            ("ssh port", of(StepKind::Ssh(SshStep { host: "db.example".to_owned(), port: 1 }))),
            ("ssh host", of(StepKind::Ssh(SshStep { host: text(), port: 5432 }))),
            ("websocket", websocket(|_| {})),
            ("websocket url", websocket(|w| w.url = text())),
            ("websocket header", websocket(|w| w.headers = vec![(text(), String::new())])),
            ("websocket header value", websocket(|w| w.headers = vec![(String::new(), text())])),
            ("websocket subprotocol", websocket(|w| w.subprotocols = vec![text()])),
            ("websocket insecure", websocket(|w| w.tls.insecure = true)),
            ("websocket client", websocket(|w| w.tls.client = Some(client("x", "")))),
            (
                "websocket sends",
                websocket(|w| {
                    let send = Some(Payload::Text(text()));
                    w.dialogue = vec![Exchange { name: text(), send, expect: None }];
                }),
            ),
            (
                "websocket expects",
                websocket(|w| {
                    let expect = Some(Expected::Pattern(text()));
                    w.dialogue = vec![Exchange { name: text(), send: None, expect }];
                }),
            ),
            ("dns", dns(|_| {})),
            ("dns name", dns(|d| d.name = text())),
            ("dns type", dns(|d| d.record_type = DnsType::A)),
            ("dns class", dns(|d| d.class = DnsClass::Ch)),
            ("dns server", dns(|d| d.server = None)),
            ("dns other server", dns(|d| d.server = Some((text(), 53)))),
            ("dns port", dns(|d| d.server = Some(("ns1.example".to_owned(), 54)))),
            ("dns udp only", dns(|d| d.transport = DnsTransport::UdpOnly)),
            ("dns tcp", dns(|d| d.transport = DnsTransport::Tcp)),
            ("dns tls", dns(|d| d.transport = DnsTransport::Tls)),
            ("dns https", dns(|d| d.transport = DnsTransport::Https)),
            ("dns handshake", dns(|d| d.tls = Some(TlsOptions::default()))),
            ("dns insecure", {
                let tls = TlsOptions { insecure: true, ..Default::default() };
                dns(|d| d.tls = Some(tls))
            }),
            ("dns path", dns(|d| d.path = Some(text()))),
            ("dns recursion", dns(|d| d.recursion = false)),
            ("icmp", icmp(|_| {})),
            ("icmp host", icmp(|i| i.host = text())),
            ("icmp count", icmp(|i| i.count = 4)),
            ("icmp spacing", icmp(|i| i.spacing = Duration::from_millis(101))),
            ("icmp payload", icmp(|i| i.payload_bytes = 57)),
            ("icmp dont_fragment", icmp(|i| i.dont_fragment = true)),
            ("icmp ttl", icmp(|i| i.ttl = Some(1))),
            ("icmp other ttl", icmp(|i| i.ttl = Some(2))),
            ("grpc", grpc(|_| {})),
            ("grpc host", grpc(|g| g.host = text())),
            ("grpc port", grpc(|g| g.port = 1)),
            ("grpc service", grpc(|g| g.service = text())),
            ("grpc tls", grpc(|g| g.tls = Some(TlsOptions::default()))),
            ("grpc authority", grpc(|g| g.authority = Some(text()))),
            ("grpc empty authority", grpc(|g| g.authority = Some(String::new()))),
            ("grpc metadata", grpc(|g| g.metadata = vec![(text(), String::new())])),
            ("grpc metadata value", grpc(|g| g.metadata = vec![(String::new(), text())])),
            ("plugin", plugin(|_| {})),
            ("plugin command", plugin(|p| p.command = text())),
            ("plugin args", plugin(|p| p.args = vec![text()])),
            ("plugin args apart", plugin(|p| p.args = vec!["-H".to_owned() + "a"])),
            ("plugin env", plugin(|p| p.env = vec![(text(), String::new())])),
            ("plugin env value", plugin(|p| p.env = vec![(String::new(), text())])),
            ("plugin series", plugin(|p| p.series = vec![text()])),
            (
                "tcp insecure",
                tcp_with(|t| t.tls = Some(TlsOptions { insecure: true, ..TlsOptions::default() })),
            ),
        ];
        for (i, (one, a)) in changed.iter().enumerate() {
            for (other, b) in &changed[i + 1..] {
                assert_ne!(run_digest(a), run_digest(b), "{one} and {other}");
            }
        }
    }
}
