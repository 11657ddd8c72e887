//! Through whom a step connects to its target.

use crate::outcome::words;
use crate::rule;
use crate::target::{TargetError, parse_address, shown_address};

words! {
    /// What is spoken with a proxy, and who looks the target's name up.
    ProxyScheme {
        /// HTTP with CONNECT (RFC 9110, 9.3.6). The proxy looks names up.
        Http = "http",
        /// SOCKS version 5 (RFC 1928). The probe looks names up, and its guard judges what they mean.
        Socks5 = "socks5",
        /// SOCKS version 5. The proxy looks names up.
        Socks5h = "socks5h",
    }
}

impl ProxyScheme {
    /// Whether the target's name is handed to the proxy as it is.
    pub const fn looks_up(self) -> bool {
        matches!(self, Self::Http | Self::Socks5h)
    }
}

/// A proxy, and who the probe says it is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proxy {
    /// What is spoken with it.
    pub scheme: ProxyScheme,
    /// Host name or address.
    pub host: String,
    /// 1 to 65535.
    pub port: u16,
    /// Shown to the proxy and to nobody else.
    pub credentials: Option<ProxyCredentials>,
}

/// A user name and a password. Both may hold references.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyCredentials {
    /// Without a colon.
    pub username: String,
    /// Holds a reference.
    pub password: String,
}

impl Proxy {
    /// Reads `SCHEME://HOST:PORT`: no user, no path, and the port is never guessed.
    ///
    /// # Errors
    /// Another scheme or form, a user or password in it, or a port that cannot be one.
    pub fn parse_url(text: &str) -> Result<(ProxyScheme, String, u16), TargetError> {
        let refuse = |rule, message: String| Err(TargetError { rule, message });
        let form = || {
            let message = format!(
                "`{text}` is not http://HOST:PORT, socks5://HOST:PORT or socks5h://HOST:PORT"
            );
            refuse(rule::PROXY_URL, message)
        };
        let Some((scheme, rest)) = text.split_once("://") else { return form() };
        let Some(scheme) = ProxyScheme::from_word(&scheme.to_ascii_lowercase()) else {
            return form();
        };
        if rest.contains('@') {
            let message = "a user or password in a URL would be shown everywhere; \
                           use `username` and `password` beside it";
            return refuse(rule::URL_USERINFO, message.to_owned());
        }
        match parse_address(rest.strip_suffix('/').unwrap_or(rest)) {
            Ok((host, port)) => Ok((scheme, host, port)),
            Err(error) if error.rule == rule::PORT_RANGE => Err(error),
            Err(_) => form(),
        }
    }

    /// As [`Proxy::parse_url`] reads it.
    pub fn url(&self) -> String {
        format!("{}://{}", self.scheme, shown_address(&self.host, self.port))
    }

    /// Every text of it that may hold references.
    pub fn templates(&self) -> impl Iterator<Item = &String> {
        self.credentials.iter().flat_map(|of| [&of.username, &of.password])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_is_a_scheme_a_host_and_a_port() {
        for (text, scheme, host, port, shown) in [
            ("http://proxy.example:3128", ProxyScheme::Http, "proxy.example", 3128, None),
            ("HTTP://10.0.0.1:80/", ProxyScheme::Http, "10.0.0.1", 80, Some("http://10.0.0.1:80")),
            ("socks5://[::1]:1080", ProxyScheme::Socks5, "::1", 1080, None),
            ("socks5h://gw:1080", ProxyScheme::Socks5h, "gw", 1080, None),
        ] {
            let read = Proxy::parse_url(text).unwrap();
            assert_eq!(read, (scheme, host.to_owned(), port), "{text}");
            let (scheme, host, port) = read;
            let proxy = Proxy { scheme, host, port, credentials: None };
            assert_eq!(proxy.url(), shown.unwrap_or(text));
        }
        for (text, rule) in [
            ("", rule::PROXY_URL),
            ("proxy.example:3128", rule::PROXY_URL),
            ("https://proxy.example:3128", rule::PROXY_URL),
            ("socks4://proxy.example:1080", rule::PROXY_URL),
            ("http://proxy.example", rule::PROXY_URL),
            ("http://proxy.example:3128/path", rule::PROXY_URL),
            ("http://proxy.example:3128?x", rule::PROXY_URL),
            ("http://me:pw@proxy.example:3128", rule::URL_USERINFO),
            ("http://me@proxy.example:3128", rule::URL_USERINFO),
            ("http://proxy.example:0", rule::PORT_RANGE),
        ] {
            assert_eq!(Proxy::parse_url(text).map_err(|error| error.rule), Err(rule), "{text}");
        }
        let looks_up = |scheme: &&ProxyScheme| scheme.looks_up();
        assert_eq!(ProxyScheme::ALL.iter().filter(looks_up).count(), 2);
    }
}
