//! The TLS that every connection of the mesh travels in, around tonic.
//!
//! A process loads [`Credentials`] (its certificate, its key, the mesh's authority) and keeps them
//! fresh with [`Credentials::watch`]. Servers [`Listener::bind`] and hand the listener with their
//! services to [`serve`]; clients call [`connect()`] or put a [`Connector`] under an endpoint. Who a
//! peer is comes from its certificate alone: an [`Identity`], which services find in the
//! [`PeerInfo`] among a request's extensions.
//!
//! A peer with a valid chain but the wrong mesh or role is never shown to a service: the listener
//! completes the handshake and answers each of its calls `PERMISSION_DENIED` with the reason, for a
//! TLS alert cannot carry a sentence. Start at [`Identity`], then [`Listener`], then [`connect()`].

mod connect;
mod credentials;
mod identity;
mod listener;
mod meter;
mod oversized;
mod refusal;
mod verify;

pub use self::connect::{
    Attempt, ConnectError, Connector, DialError, connect, dial_error, endpoint,
};
pub use self::credentials::{Credentials, CredentialsError, Paths};
pub use self::identity::{Identity, NotARole, NotAnIdentity, Role};
pub use self::listener::{
    BindError, Connection, Incoming, Listener, PeerInfo, Require, peer_of, require, serve,
};
pub use self::refusal::{Accepts, Refusal, RefusalCounters};
pub use self::verify::{CertificateIdentityError, authority_of, identity_of};

#[cfg(test)]
mod tests;
