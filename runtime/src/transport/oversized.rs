//! Counts the messages of calls that were refused for their size, which the gRPC library does by
//! itself and tells only the caller.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{HeaderMap, Request, Response};
use tonic::codegen::Service;
use tonic::{Code, Status};
use tower_layer::Layer;

use crate::transport::listener::{PeerInfo, Turned};
use crate::transport::refusal::Refusal;

/// What the library says of a message above the bound of its service. The code alone would not tell
/// it from a watch that begins too early.
const TOO_LARGE: &str = "message length too large";

/// Puts [`Counted`] around a service.
#[derive(Debug, Clone)]
pub(super) struct Oversized(pub(super) Arc<Turned>);

impl<S> Layer<S> for Oversized {
    type Service = Counted<S>;

    fn layer(&self, inner: S) -> Counted<S> {
        Counted { inner, turned: Arc::clone(&self.0) }
    }
}

/// A service whose refusals of large messages are counted.
#[derive(Debug, Clone)]
pub(super) struct Counted<S> {
    inner: S,
    turned: Arc<Turned>,
}

impl<S, B, R> Service<Request<B>> for Counted<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<R>, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let peer = request.extensions().get::<PeerInfo>().cloned();
        let turned = Arc::clone(&self.turned);
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answer = answer.await?;
            if let (Some(peer), Some(why)) = (peer, too_large(answer.headers())) {
                let why = format!("{} sent too much: {why}", peer.identity.describe());
                turned.refuse(Refusal::Oversized, peer.remote, &why);
            }
            Ok(answer)
        })
    }
}

/// What an answer that is only a status says, when it refuses a message for its size.
fn too_large(headers: &HeaderMap) -> Option<String> {
    let status = Status::from_header_map(headers)?;
    let refused = status.code() == Code::OutOfRange && status.message().contains(TOO_LARGE);
    refused.then(|| status.message().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_refusal_for_the_size_is_one() {
        let of = |status: Status| too_large(status.into_http::<()>().headers());
        let large = "Error, decoded message length too large: found 5 bytes, the limit is: 4 bytes";
        assert_eq!(of(Status::out_of_range(large)), Some(large.to_owned()));
        assert_eq!(of(Status::out_of_range("compacted")), None);
        assert_eq!(of(Status::internal(large)), None);
        assert_eq!(too_large(&HeaderMap::new()), None);
    }
}
