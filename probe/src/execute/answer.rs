//! The answer of an HTTP exchange while it is read, whatever version brings it: bounded, kept only
//! when it is wanted.

use bytes::{Bytes, BytesMut};
use http::Version;
use http::header::CONTENT_LENGTH;
use http::response::Parts;
use parallax_common::outcome::Reason;

use super::decode::Coded;
use super::request::Request;
use super::{Failure, Seen};

/// An answer of which the head has come.
pub(super) struct Answer<'r> {
    request: &'r Request,
    head: Parts,
    keep: bool,
    kept: BytesMut,
    bytes: u64,
}

impl<'r> Answer<'r> {
    /// Begins to read. A body that is promised to be too large is refused at once.
    pub fn begin(
        request: &'r Request,
        head: Parts,
        is_empty: bool,
        keep_body: bool,
    ) -> Result<Self, Failure> {
        // What is encoded is decoded, wanted or not: who asked for it can be told what is wrong.
        let keep = keep_body || !request.accepts.is_empty();
        let answer = Self { request, head, keep, kept: BytesMut::new(), bytes: 0 };
        let promised = answer.head.headers.get(CONTENT_LENGTH);
        let promised: Option<u64> = promised.and_then(|value| value.to_str().ok()?.parse().ok());
        match promised.filter(|bytes| *bytes > request.body_max_bytes && !is_empty) {
            Some(bytes) => Err(answer.too_large(bytes)),
            None => Ok(answer),
        }
    }

    /// Takes a part of the body.
    pub fn take(&mut self, data: &[u8]) -> Result<(), Failure> {
        self.bytes += data.len() as u64;
        if self.bytes > self.request.body_max_bytes {
            return Err(self.too_large(self.bytes));
        }
        if self.keep {
            self.kept.extend_from_slice(data);
        }
        Ok(())
    }

    /// Ends it. What was encoded still is.
    pub fn end(self) -> Seen {
        let Self { request, head, kept, bytes, .. } = self;
        let (accepts, limit) = (request.accepts.clone(), request.body_max_bytes);
        let coded = (!accepts.is_empty()).then_some(Coded { accepts, limit });
        Seen { body: kept.freeze(), body_bytes: bytes, coded, ..seen(head) }
    }

    fn too_large(&self, bytes: u64) -> Failure {
        let (status, limit) = (self.head.status.as_u16(), self.request.body_max_bytes);
        let evidence = format!("status {status}, at least {bytes} bytes of body, {limit} allowed");
        Failure::new(Reason::HttpBodyTooLarge, evidence)
    }
}

/// What a head alone says.
pub(super) fn seen(head: Parts) -> Seen {
    Seen {
        status: Some(head.status.as_u16()),
        headers: head.headers,
        body: Bytes::new(),
        http_version: match head.version {
            Version::HTTP_10 => "HTTP/1.0",
            Version::HTTP_2 => "HTTP/2",
            Version::HTTP_3 => "HTTP/3",
            _ => "HTTP/1.1",
        },
        ..Seen::default()
    }
}
