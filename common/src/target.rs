//! What a check points at, read once and strictly: an HTTP URL, a TCP address, a host name.
//!
//! Admission uses these to refuse; the probe uses them to connect. Both must read the same thing.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use url::{Host, Url};

use crate::rule::{self, Rule};

/// Why a target is refused: the rule and a sentence for a person.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct TargetError {
    /// The rule it breaks.
    pub rule: Rule,
    /// For a person.
    pub message: String,
}

fn refuse<T>(rule: Rule, message: impl Into<String>) -> Result<T, TargetError> {
    Err(TargetError { rule, message: message.into() })
}

/// An `http` or `https` URL, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpUrl {
    /// TLS.
    pub https: bool,
    /// Host name in ASCII (IDNA) or address without brackets.
    pub host: String,
    /// The scheme's when not given.
    pub port: u16,
    /// What the `Host` header says: host, and the port unless it is the scheme's.
    pub authority: String,
    /// What is asked for: path, and query if any. Never empty.
    pub path_and_query: String,
}

impl HttpUrl {
    /// Reads a URL.
    ///
    /// # Errors
    /// The first rule it breaks: no URL, another scheme, no host, user or password, a fragment,
    /// port 0.
    pub fn parse(text: &str) -> Result<Self, TargetError> {
        if text.trim() != text || text.chars().any(char::is_control) {
            return refuse(rule::URL_FORMAT, "the URL has white space around or in it");
        }
        let scheme = text.split_once(':').map(|(scheme, _)| scheme.to_ascii_lowercase());
        match scheme.as_deref() {
            Some("http" | "https") => {}
            _ => return refuse(rule::URL_SCHEME, "the URL must begin with http:// or https://"),
        }
        // The URL standard repairs `http:host` and `http:///host`; nobody means those.
        let after = &text[text.find(':').map_or(0, |at| at + 1)..];
        match after.strip_prefix("//") {
            Some(rest) if !rest.starts_with(['/', '?', '#', ':']) && !rest.is_empty() => {}
            _ => return refuse(rule::URL_HOST_MISSING, "the URL names no host"),
        }
        let url = match Url::parse(text) {
            Ok(url) => url,
            Err(url::ParseError::EmptyHost) => {
                return refuse(rule::URL_HOST_MISSING, "the URL names no host");
            }
            Err(url::ParseError::InvalidPort) => {
                return refuse(rule::PORT_RANGE, "the port must be between 1 and 65535");
            }
            Err(error) => return refuse(rule::URL_FORMAT, format!("not a URL: {error}")),
        };
        if !url.username().is_empty() || url.password().is_some() {
            let message = "a user or password in a URL would be shown everywhere; \
                           send an authorization header with a reference";
            return refuse(rule::URL_USERINFO, message);
        }
        if url.fragment().is_some() {
            return refuse(rule::URL_FRAGMENT, "a #fragment is never sent to a server");
        }
        let (shown, host) = match url.host() {
            Some(Host::Domain(name)) => (name.to_owned(), name.to_owned()),
            Some(Host::Ipv4(address)) => (address.to_string(), address.to_string()),
            Some(Host::Ipv6(address)) => (format!("[{address}]"), address.to_string()),
            None => return refuse(rule::URL_HOST_MISSING, "the URL names no host"),
        };
        let https = url.scheme() == "https";
        let Some(port) = url.port_or_known_default().filter(|port| *port > 0) else {
            return refuse(rule::PORT_RANGE, "the port must be between 1 and 65535");
        };
        let authority = match url.port() {
            Some(port) => format!("{shown}:{port}"),
            None => shown,
        };
        let mut path_and_query = url.path().to_owned();
        if let Some(query) = url.query() {
            path_and_query.push('?');
            path_and_query.push_str(query);
        }
        Ok(Self { https, host, port, authority, path_and_query })
    }

    /// Where a redirect from here leads: `location` may be relative. Its fragment is no part of it.
    ///
    /// # Errors
    /// The first rule that the URL it leads to breaks.
    pub fn join(&self, location: &str) -> Result<Self, TargetError> {
        let format = |error| refuse(rule::URL_FORMAT, format!("not a URL: {error}"));
        let base = match Url::parse(&self.to_string()) {
            Ok(base) => base,
            Err(error) => return format(error),
        };
        match base.join(location) {
            Ok(mut url) => {
                url.set_fragment(None);
                Self::parse(url.as_str())
            }
            Err(error) => format(error),
        }
    }

    /// Adds parameters to the query, encoded as forms are.
    pub fn add_query<'a>(&mut self, pairs: impl IntoIterator<Item = (&'a str, &'a str)>) {
        for (name, value) in pairs {
            self.path_and_query.push(if self.path_and_query.contains('?') { '&' } else { '?' });
            for (sign, text) in [("", name), ("=", value)] {
                self.path_and_query.push_str(sign);
                self.path_and_query.push_str(&form_encoded(text));
            }
        }
    }

    /// Whether both are of one origin: scheme, host and port.
    pub fn same_origin(&self, other: &Self) -> bool {
        (self.https, &self.host, self.port) == (other.https, &other.host, other.port)
    }

    /// What may be shown of it: no query, which may hold what is nobody's business.
    pub fn without_query(&self) -> String {
        let shown = self.to_string();
        shown.split('?').next().unwrap_or_default().to_owned()
    }
}

impl fmt::Display for HttpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.https { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.authority, self.path_and_query)
    }
}

/// Reads the URL of a websocket: it is that of an HTTP request to the same place.
///
/// # Errors
/// Another scheme than `ws` and `wss`, or the first rule that the rest of it breaks.
pub fn parse_websocket(text: &str) -> Result<HttpUrl, TargetError> {
    let scheme = text.split_once(':').map(|(scheme, _)| scheme.to_ascii_lowercase());
    let (http, rest) = match scheme.as_deref() {
        Some("ws") => ("http", &text[2..]),
        Some("wss") => ("https", &text[3..]),
        _ => return refuse(rule::WEBSOCKET_URL, "the URL must begin with ws:// or wss://"),
    };
    HttpUrl::parse(&format!("{http}{rest}"))
}

/// A text as it stands in a query or a form: what is no letter or digit is escaped, a space is `+`.
pub fn form_encoded(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

/// Reads `host:port`; an IPv6 address is in brackets.
///
/// # Errors
/// Not of that form, a host that cannot be one, or a port that cannot be one.
pub fn parse_address(text: &str) -> Result<(String, u16), TargetError> {
    let form = || TargetError {
        rule: rule::TCP_ADDRESS,
        message: format!("`{text}` is not host:port, such as db.example:5432 or [::1]:22"),
    };
    if text.contains("//") {
        return Err(form());
    }
    let (host, port) = text.rsplit_once(':').ok_or_else(form)?;
    let host = match host.strip_prefix('[').map(|rest| rest.strip_suffix(']')) {
        Some(Some(address)) if address.parse::<std::net::Ipv6Addr>().is_ok() => address,
        None if is_host(host) && !host.contains(':') => host,
        _ => return Err(form()),
    };
    if port.is_empty() || !port.bytes().all(|b| b.is_ascii_digit()) {
        return Err(form());
    }
    match port.parse() {
        Ok(0) | Err(_) => refuse(rule::PORT_RANGE, "the port must be between 1 and 65535"),
        Ok(port) => Ok((host.to_owned(), port)),
    }
}

/// Reads the address of a DNS server; port 53 when none is given.
///
/// # Errors
/// Not an IP address, with a port or without: a name would need a resolver to be resolved.
pub fn parse_resolver(text: &str) -> Result<SocketAddr, TargetError> {
    let socket = text.parse().ok().filter(|socket: &SocketAddr| socket.port() > 0);
    let bare = || text.parse().ok().map(|address: IpAddr| SocketAddr::new(address, 53));
    socket.or_else(bare).ok_or_else(|| TargetError {
        rule: rule::RESOLVER_ADDRESS,
        message: format!(
            "`{text}` is not an IP address with a port or without, such as 9.9.9.9:53"
        ),
    })
}

/// Reads the host or address of a DNS server, with a port or without; `default` when none is given. An IPv6
/// address with a port is in brackets.
///
/// # Errors
/// No host and no address, or a port that cannot be one.
pub fn parse_server(text: &str, default: u16) -> Result<(String, u16), TargetError> {
    if text.parse::<IpAddr>().is_ok() || (is_host(text) && !text.contains(':')) {
        return Ok((text.to_owned(), default));
    }
    parse_address(text).or_else(|error| match error.rule {
        rule::PORT_RANGE => Err(error),
        _ => refuse(
            rule::DNS_SERVER,
            format!("`{text}` is not a name server such as ns1.example, 9.9.9.9:53 or [::1]:53"),
        ),
    })
}

/// Host and port as [`parse_address`] reads them: an IPv6 address in brackets.
pub fn shown_address(host: &str, port: u16) -> String {
    match host.contains(':') {
        true => format!("[{host}]:{port}"),
        false => format!("{host}:{port}"),
    }
}

/// Whether `text` can be asked about: `.`, or labels of 1 to 63 letters, digits, `-`, `_`, `/` and
/// `*`, at most 253 bytes, in ASCII. Wider than [`is_host`]: names of services begin with `_`,
/// delegated parts of a reverse zone hold `/` (RFC 2317).
pub fn is_dns_name(text: &str) -> bool {
    let name = text.strip_suffix('.').unwrap_or(text);
    let label = |label: &str| {
        matches!(label.len(), 1..=63)
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_/*".contains(&b))
    };
    text == "." || (name.len() <= 253 && name.split('.').all(label))
}

/// Whether `text` can be a host: an IP address, or a name of labels of letters, digits, `-` and
/// `_`, at most 253 bytes, in ASCII.
pub fn is_host(text: &str) -> bool {
    if text.parse::<IpAddr>().is_ok() {
        return true;
    }
    let name = text.strip_suffix('.').unwrap_or(text);
    let label = |label: &str| {
        matches!(label.len(), 1..=63)
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    name.len() <= 253 && name.split('.').all(label)
}

/// Whether `text` is an `http` or `https` URL that a person can follow; fragments are fine.
pub fn is_link(text: &str) -> bool {
    Url::parse(text).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart() {
        for (text, https, host, port, authority, path) in [
            ("http://shop.example", false, "shop.example", 80, "shop.example", "/"),
            ("https://shop.example/a/b?q=1", true, "shop.example", 443, "shop.example", "/a/b?q=1"),
            ("https://SHOP.example:8443/", true, "shop.example", 8443, "shop.example:8443", "/"),
            ("HTTP://127.0.0.1:80/x", false, "127.0.0.1", 80, "127.0.0.1", "/x"),
            ("http://[::1]:8080", false, "::1", 8080, "[::1]:8080", "/"),
            (
                "https://bücher.example/",
                true,
                "xn--bcher-kva.example",
                443,
                "xn--bcher-kva.example",
                "/",
            ),
            ("http://a.example?x", false, "a.example", 80, "a.example", "/?x"),
        ] {
            let url = HttpUrl {
                https,
                host: host.to_owned(),
                port,
                authority: authority.to_owned(),
                path_and_query: path.to_owned(),
            };
            assert_eq!(HttpUrl::parse(text), Ok(url), "{text}");
        }
    }

    #[test]
    fn a_redirect_leads_where_its_location_says() {
        let from = HttpUrl::parse("https://shop.example:8443/a/b?q=1").unwrap();
        for (location, to) in [
            ("c", "https://shop.example:8443/a/c"),
            ("/c?x=1#top", "https://shop.example:8443/c?x=1"),
            ("?x", "https://shop.example:8443/a/b?x"),
            ("", "https://shop.example:8443/a/b?q=1"),
            ("//pay.example/c", "https://pay.example/c"),
            ("http://pay.example", "http://pay.example/"),
            ("https://[::1]/c", "https://[::1]/c"),
        ] {
            assert_eq!(from.join(location).map(|url| url.to_string()), Ok(to.to_owned()));
        }
        for (location, rule) in [
            ("ftp://shop.example/", rule::URL_SCHEME),
            ("javascript:alert(1)", rule::URL_SCHEME),
            ("https://me:secret@shop.example/", rule::URL_USERINFO),
            ("https://[::1/", rule::URL_FORMAT),
            ("https://shop.example:0/", rule::PORT_RANGE),
        ] {
            assert_eq!(from.join(location).map_err(|error| error.rule), Err(rule), "{location}");
        }
        assert!(from.same_origin(&from.join("/c").unwrap()));
        for other in ["http://shop.example:8443/", "https://shop.example/", "//other.example:8443/"]
        {
            assert!(!from.same_origin(&from.join(other).unwrap()), "{other}");
        }
        assert_eq!(from.without_query(), "https://shop.example:8443/a/b");
    }

    #[test]
    fn query_parameters_are_encoded_and_added() {
        for (url, pairs, path) in [
            ("http://a.example", &[("k", "v")][..], "/?k=v"),
            (
                "http://a.example/x?y=1",
                &[("a b", "c&d=e"), ("ü", "+/")],
                "/x?y=1&a+b=c%26d%3De&%C3%BC=%2B%2F",
            ),
            ("http://a.example/x", &[], "/x"),
        ] {
            let mut url = HttpUrl::parse(url).unwrap();
            url.add_query(pairs.iter().copied());
            assert_eq!(url.path_and_query, path);
        }
    }

    #[test]
    fn urls_that_break_a_rule_are_refused() {
        for (text, rule) in [
            ("", rule::URL_SCHEME),
            ("shop.example/x", rule::URL_SCHEME),
            ("shop.example:443", rule::URL_SCHEME),
            ("ftp://shop.example", rule::URL_SCHEME),
            ("file:///etc/passwd", rule::URL_SCHEME),
            ("http://", rule::URL_HOST_MISSING),
            ("http:shop.example", rule::URL_HOST_MISSING),
            ("http:///x", rule::URL_HOST_MISSING),
            ("http://:80/", rule::URL_HOST_MISSING),
            ("https://me:secret@shop.example", rule::URL_USERINFO),
            ("https://me@shop.example", rule::URL_USERINFO),
            ("https://shop.example/#top", rule::URL_FRAGMENT),
            ("https://shop.example:0/", rule::PORT_RANGE),
            ("https://shop.example:99999/", rule::PORT_RANGE),
            ("https://sh op.example/", rule::URL_FORMAT),
            (" https://shop.example/", rule::URL_FORMAT),
            ("https://[::1/", rule::URL_FORMAT),
        ] {
            assert_eq!(HttpUrl::parse(text).map_err(|error| error.rule), Err(rule), "{text}");
        }
    }

    #[test]
    fn addresses_are_host_and_port() {
        for (text, host, port) in [
            ("db.example:5432", "db.example", 5432),
            ("127.0.0.1:22", "127.0.0.1", 22),
            ("[::1]:65535", "::1", 65535),
            ("a_b:1", "a_b", 1),
        ] {
            assert_eq!(parse_address(text), Ok((host.to_owned(), port)), "{text}");
        }
        for (text, rule) in [
            ("", rule::TCP_ADDRESS),
            ("db.example", rule::TCP_ADDRESS),
            (":80", rule::TCP_ADDRESS),
            ("db.example:", rule::TCP_ADDRESS),
            ("db.example:+80", rule::TCP_ADDRESS),
            ("::1:22", rule::TCP_ADDRESS),
            ("[db]:22", rule::TCP_ADDRESS),
            ("tcp://db.example:22", rule::TCP_ADDRESS),
            ("-db:22", rule::TCP_ADDRESS),
            ("db.example:0", rule::PORT_RANGE),
            ("db.example:65536", rule::PORT_RANGE),
        ] {
            assert_eq!(parse_address(text).map_err(|error| error.rule), Err(rule), "{text}");
        }
    }

    #[test]
    fn name_servers_are_hosts_or_addresses_and_their_port_is_53_unless_given() {
        for (text, host, port, shown) in [
            ("ns1.example", "ns1.example", 53, "ns1.example:53"),
            ("ns1.example:5353", "ns1.example", 5353, "ns1.example:5353"),
            ("9.9.9.9", "9.9.9.9", 53, "9.9.9.9:53"),
            ("127.0.0.1:1053", "127.0.0.1", 1053, "127.0.0.1:1053"),
            ("::1", "::1", 53, "[::1]:53"),
            ("[::1]:1053", "::1", 1053, "[::1]:1053"),
        ] {
            assert_eq!(parse_server(text, 53), Ok((host.to_owned(), port)), "{text}");
            assert_eq!(shown_address(host, port), shown);
            assert_eq!(parse_server(shown, 853), Ok((host.to_owned(), port)), "{shown}");
        }
        for (text, rule) in [
            ("", rule::DNS_SERVER),
            ("a b", rule::DNS_SERVER),
            ("udp://9.9.9.9", rule::DNS_SERVER),
            ("9.9.9.9:", rule::DNS_SERVER),
            ("[::1]", rule::DNS_SERVER),
            ("ns1.example:0", rule::PORT_RANGE),
            ("ns1.example:70000", rule::PORT_RANGE),
        ] {
            assert_eq!(parse_server(text, 53).map_err(|error| error.rule), Err(rule), "{text}");
        }
    }

    #[test]
    fn what_can_be_asked_about_is_more_than_hosts() {
        let long = "a.".repeat(128);
        for text in [
            ".",
            "example",
            "shop.example.",
            "_sip._tcp.shop.example",
            "*.shop.example",
            "0/25.2.0.192.in-addr.arpa",
            "version.bind",
            &long[..253],
        ] {
            assert!(is_dns_name(text), "{text}");
        }
        let label = "a".repeat(64);
        for text in
            ["", "..", ".shop", "a..b", "shop example", "b\u{fc}cher.example", &label, &long]
        {
            assert!(!is_dns_name(text), "{text}");
        }
    }

    #[test]
    fn resolvers_are_addresses() {
        assert_eq!(parse_resolver("9.9.9.9"), Ok(([9, 9, 9, 9], 53).into()));
        assert_eq!(parse_resolver("9.9.9.9:5353"), Ok(([9, 9, 9, 9], 5353).into()));
        assert_eq!(parse_resolver("[::1]:53").map(|s| s.port()), Ok(53));
        assert_eq!(parse_resolver("::1").map(|s| s.port()), Ok(53));
        for text in ["", "dns.example", "9.9.9.9:", "9.9.9.9:0", "9.9.9.9:x"] {
            let rule = parse_resolver(text).map_err(|error| error.rule);
            assert_eq!(rule, Err(rule::RESOLVER_ADDRESS), "{text}");
        }
    }
}
