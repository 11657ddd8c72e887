//! Which steps may be shown a certificate.

use super::StepKind;

impl StepKind {
    /// Whether it can come to a handshake with TLS. A redirect may lead from `http` to `https`, and what
    /// an earlier step captured to anywhere.
    pub fn may_see_certificate(&self) -> bool {
        match self {
            Self::Tls(_) => true,
            Self::Tcp(tcp) => tcp.tls.is_some(),
            Self::Grpc(grpc) => grpc.tls.is_some(),
            Self::Dns(dns) => dns.transport.is_secure(),
            Self::Websocket(websocket) => websocket.is_secure(),
            Self::Http(http) => {
                let scheme = http.url.split(':').next().unwrap_or_default();
                !scheme.eq_ignore_ascii_case("http") || http.redirects_max > 0
            }
            Self::Udp(_) | Self::Ssh(_) | Self::Icmp(_) | Self::Plugin(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::check::{HttpStep, SshStep, StartTls, TcpStep, TlsOptions, TlsStep, WebSocketStep};

    use super::*;

    #[test]
    fn a_certificate_is_seen_where_tls_is_spoken_or_may_be() {
        let http = |url: &str, redirects_max| {
            StepKind::Http(HttpStep { url: url.to_owned(), redirects_max, ..HttpStep::default() })
        };
        let tcp = |tls: Option<TlsOptions>, starttls| {
            StepKind::Tcp(TcpStep { tls, starttls, ..TcpStep::default() })
        };
        let websocket = |url: &str| {
            StepKind::Websocket(WebSocketStep { url: url.to_owned(), ..WebSocketStep::default() })
        };
        let tls = || Some(TlsOptions::default());
        let host = || "shop.example".to_owned();
        for (kind, may) in [
            (http("https://shop.example/", 0), true),
            (http("HTTPS://shop.example/", 0), true),
            (http("http://shop.example:443/", 0), false),
            (http("HTTP://shop.example/", 0), false),
            (http("http://shop.example/", 1), true),
            (http("${capture:next}", 0), true),
            (tcp(None, None), false),
            (tcp(tls(), None), true),
            (tcp(tls(), Some(StartTls::Smtp)), true),
            (websocket("ws://shop.example/"), false),
            (websocket("wss://shop.example/"), true),
            (StepKind::Tls(TlsStep { host: host(), port: 443, tls: TlsOptions::default() }), true),
            (StepKind::Ssh(SshStep { host: host(), port: 22 }), false),
        ] {
            assert_eq!(kind.may_see_certificate(), may, "{}", kind.target());
        }
    }
}
