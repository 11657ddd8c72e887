//! A request with everything filled in, and what becomes of it when a redirect is followed.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{
    ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONNECTION, CONTENT_ENCODING, CONTENT_LANGUAGE,
    CONTENT_LENGTH, CONTENT_LOCATION, CONTENT_TYPE, COOKIE, HOST, LOCATION, PROXY_AUTHORIZATION,
    USER_AGENT,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, Version};
use http_body_util::Full;
use parallax_common::check::{ContentEncoding, HttpAuth, HttpStep};
use parallax_common::limits::TOKEN_ANSWER_BYTES_MAX;
use parallax_common::outcome::Reason;
use parallax_common::secret::Template;
use parallax_common::target::{HttpUrl, form_encoded};

use super::Failure;
use super::capture::References;

const AGENT: &str = concat!("parallax-probe/", env!("CARGO_PKG_VERSION"));

/// A request with everything filled in.
#[derive(Debug, Clone)]
pub(super) struct Request {
    pub url: HttpUrl,
    pub method: Method,
    headers: HeaderMap,
    body: Bytes,
    /// Captures stand in the body: it is for the origin of the check's URL only.
    is_body_own: bool,
    pub body_max_bytes: u64,
    /// Whether the default rule (2xx or 3xx) applies.
    pub judge_status: bool,
    /// Values that came from references: they never leave in evidence.
    pub secrets: Vec<String>,
    /// Headers with references: for the origin of the check's URL only.
    own: Vec<HeaderName>,
    /// Whether every hop so far was to the origin of the check's URL.
    pub at_home: bool,
    redirects_max: u32,
    /// Content codings that are asked for.
    pub accepts: Vec<ContentEncoding>,
}

fn refuse(why: impl Into<String>) -> Failure {
    Failure::new(Reason::ConfigError, why)
}

impl Request {
    /// Fills in references, credentials and what every request says.
    pub fn prepare(
        step: &HttpStep,
        secrets: References<'_>,
        extra: Option<(HeaderName, HeaderValue)>,
        judge_status: bool,
    ) -> Result<Self, Failure> {
        let mut used = Vec::new();
        let url = secrets.in_url(&step.url, &mut used)?;
        let mut url = HttpUrl::parse(&url).map_err(|error| refuse(error.message))?;
        let body = secrets.in_body(&step.body, &mut used)?;
        let method = Method::from_bytes(step.method.as_bytes())
            .map_err(|_| refuse(format!("{} is not a method", step.method)))?;
        let query = query(step, secrets, &mut used)?;
        url.add_query(query.iter().map(|(name, value)| (*name, value.as_str())));
        let mut own = Vec::new();
        let mut headers = HeaderMap::new();
        for (name, template) in &step.headers {
            let value = secrets.resolve(template, &mut used)?;
            let header = HeaderName::try_from(name.as_str())
                .map_err(|_| refuse(format!("{name} is not a header name")))?;
            if has_reference(template) {
                own.push(header.clone());
            }
            let mut value = HeaderValue::try_from(value)
                .map_err(|_| refuse(format!("the value of {name} cannot be sent")))?;
            value.set_sensitive(true);
            headers.append(header, value);
        }
        if let Some(auth) = &step.auth
            && let Some(authorization) = authorization(auth, secrets, &mut used)?
        {
            headers.insert(AUTHORIZATION, authorization);
        }
        if !step.accept_encoding.is_empty() {
            let words: Vec<&str> = step.accept_encoding.iter().map(|it| it.word()).collect();
            let value = HeaderValue::try_from(words.join(", "))
                .map_err(|_| refuse("the content codings cannot be sent"))?;
            headers.insert(ACCEPT_ENCODING, value);
        }
        if let Some((name, value)) = extra {
            headers.insert(name, value);
        }
        if !headers.contains_key(HOST) {
            headers.insert(HOST, host(&url).ok_or_else(|| refuse("the host cannot be sent"))?);
        }
        headers.entry(USER_AGENT).or_insert(HeaderValue::from_static(AGENT));
        headers.entry(ACCEPT).or_insert(HeaderValue::from_static("*/*"));
        if !step.keep_alive {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        Ok(Self {
            url,
            method,
            headers,
            is_body_own: body != step.body,
            body: Bytes::from(body),
            body_max_bytes: step.body_max_bytes,
            judge_status,
            secrets: used,
            own,
            at_home: true,
            redirects_max: step.redirects_max,
            accepts: step.accept_encoding.clone(),
        })
    }

    /// A request for a token (RFC 6749, 4.4.2), by a client with a password (2.3.1).
    pub fn for_token(
        url: HttpUrl,
        (client_id, client_secret): (&str, &str),
        form: &str,
        used: &mut Vec<String>,
    ) -> Result<Self, Failure> {
        let secret = form_encoded(client_secret);
        let encoded = STANDARD.encode(format!("{}:{secret}", form_encoded(client_id)));
        let mut authorization = HeaderValue::try_from(format!("Basic {encoded}"))
            .map_err(|_| refuse("the credentials cannot be sent"))?;
        authorization.set_sensitive(true);
        used.extend([secret, encoded]);
        let form_type = HeaderValue::from_static("application/x-www-form-urlencoded");
        let headers = [
            (HOST, host(&url).ok_or_else(|| refuse("the host cannot be sent"))?),
            (AUTHORIZATION, authorization),
            (CONTENT_TYPE, form_type),
            (ACCEPT, HeaderValue::from_static("application/json")),
            (USER_AGENT, HeaderValue::from_static(AGENT)),
            (CONNECTION, HeaderValue::from_static("close")),
        ];
        Ok(Self {
            url,
            method: Method::POST,
            headers: headers.into_iter().collect(),
            body: Bytes::from(form.to_owned()),
            is_body_own: false,
            body_max_bytes: TOKEN_ANSWER_BYTES_MAX,
            judge_status: false,
            secrets: Vec::new(),
            own: Vec::new(),
            at_home: true,
            redirects_max: 0,
            accepts: Vec::new(),
        })
    }

    /// A question to a name server (RFC 8484, 4.1).
    pub fn for_question(url: HttpUrl, question: &[u8]) -> Result<Self, Failure> {
        let message = HeaderValue::from_static("application/dns-message");
        let headers = [
            (HOST, host(&url).ok_or_else(|| refuse("the host cannot be sent"))?),
            (CONTENT_TYPE, message.clone()),
            (ACCEPT, message),
            (USER_AGENT, HeaderValue::from_static(AGENT)),
            (CONNECTION, HeaderValue::from_static("close")),
        ];
        Ok(Self {
            url,
            method: Method::POST,
            headers: headers.into_iter().collect(),
            body: Bytes::copy_from_slice(question),
            is_body_own: false,
            body_max_bytes: u16::MAX.into(),
            judge_status: false,
            secrets: Vec::new(),
            own: Vec::new(),
            at_home: true,
            redirects_max: 0,
            accepts: Vec::new(),
        })
    }

    /// Says who it is from by a token.
    pub fn authorize(&mut self, token: &str) -> Result<(), Failure> {
        let mut value = HeaderValue::try_from(format!("Bearer {token}"))
            .map_err(|_| refuse("the token cannot be sent"))?;
        value.set_sensitive(true);
        self.headers.insert(AUTHORIZATION, value);
        self.secrets.push(token.to_owned());
        Ok(())
    }

    /// The message as it is sent.
    pub fn build(&self) -> Result<http::Request<Full<Bytes>>, Failure> {
        let mut request = http::Request::new(Full::new(self.body.clone()));
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self
            .url
            .path_and_query
            .parse()
            .map_err(|_| refuse("the path of the URL cannot be sent"))?;
        *request.headers_mut() = self.headers.clone();
        Ok(request)
    }

    /// The same for HTTP/2 and 3, which have a target of their own kind and frames that need no headers
    /// (RFC 9113, 8.2.2 and 8.3.1; RFC 9114, 4.2 and 4.3.1); and its body.
    pub fn build_framed(&self) -> Result<(http::Request<()>, Bytes), Failure> {
        let mut request = http::Request::new(());
        let authority = self.headers.get(HOST).map_or(&[][..], HeaderValue::as_bytes);
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = Uri::builder()
            .scheme(if self.url.https { "https" } else { "http" })
            .authority(authority)
            .path_and_query(self.url.path_and_query.as_str())
            .build()
            .map_err(|_| refuse("the host or the path of the URL cannot be sent"))?;
        *request.version_mut() = Version::HTTP_2;
        *request.headers_mut() = self.headers.clone();
        for name in [HOST, CONNECTION] {
            request.headers_mut().remove(name);
        }
        if !self.body.is_empty() {
            request.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(self.body.len()));
        }
        Ok((request, self.body.clone()))
    }

    /// Where this answer leads, when it is a redirect and redirects are followed.
    pub fn leads_to<'a>(
        &self,
        status: StatusCode,
        headers: &'a HeaderMap,
    ) -> Option<&'a HeaderValue> {
        let redirect = matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308);
        headers.get(LOCATION).filter(|_| redirect && self.redirects_max > 0)
    }

    /// Whether it would take a body with captures to another origin than that of the check's URL.
    pub fn gives_captures_away(&self) -> bool {
        !self.at_home && self.is_body_own && !self.body.is_empty()
    }

    /// The request that follows a redirect (RFC 9110, 15.4). After a 303 it asks for the result, and
    /// after a 301 or 302 a POST becomes a GET, as browsers have it. At another origin it says
    /// nothing that was meant for the first, and what was left out once stays out.
    pub fn towards(&self, url: HttpUrl, status: StatusCode) -> Result<Self, Failure> {
        let mut next = Self { url, ..self.clone() };
        let becomes_get = match status.as_u16() {
            303 => next.method != Method::HEAD,
            301 | 302 => next.method == Method::POST,
            _ => false,
        };
        if becomes_get {
            next.method = Method::GET;
            next.body = Bytes::new();
            // What describes a body goes with it.
            for name in [CONTENT_TYPE, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_LOCATION] {
                next.headers.remove(name);
            }
        }
        if !self.url.same_origin(&next.url) {
            for name in next.own.iter().chain(&[AUTHORIZATION, PROXY_AUTHORIZATION, COOKIE]) {
                next.headers.remove(name);
            }
            next.at_home = false;
            let host = host(&next.url).ok_or_else(|| {
                Failure::new(Reason::HttpRedirectMalformed, "the host cannot be sent")
            })?;
            next.headers.insert(HOST, host);
        }
        Ok(next)
    }
}

fn host(url: &HttpUrl) -> Option<HeaderValue> {
    HeaderValue::try_from(url.authority.as_str()).ok()
}

fn has_reference(template: &str) -> bool {
    Template::parse(template).is_ok_and(|template| template.references().next().is_some())
}

fn query<'s>(
    step: &'s HttpStep,
    secrets: References<'_>,
    used: &mut Vec<String>,
) -> Result<Vec<(&'s str, String)>, Failure> {
    let mut pairs = Vec::with_capacity(step.query.len());
    for (name, template) in &step.query {
        let value = secrets.resolve(template, used)?;
        if has_reference(template) {
            // As a target may repeat it.
            used.push(form_encoded(&value));
        }
        pairs.push((name.as_str(), value));
    }
    Ok(pairs)
}

fn authorization(
    auth: &HttpAuth,
    secrets: References<'_>,
    used: &mut Vec<String>,
) -> Result<Option<HeaderValue>, Failure> {
    let text = match auth {
        // Got later.
        HttpAuth::OAuth2(_) => return Ok(None),
        HttpAuth::Bearer(token) => format!("Bearer {}", secrets.resolve(token, used)?),
        HttpAuth::Basic { username, password } => {
            let username = secrets.resolve(username, used)?;
            let password = secrets.resolve(password, used)?;
            // RFC 7617, 2: the first colon ends the name.
            if username.contains(':') {
                return Err(refuse("the user name holds a colon"));
            }
            let encoded = STANDARD.encode(format!("{username}:{password}"));
            used.push(encoded.clone());
            format!("Basic {encoded}")
        }
    };
    let mut value =
        HeaderValue::try_from(text).map_err(|_| refuse("the credentials cannot be sent"))?;
    value.set_sensitive(true);
    Ok(Some(value))
}
