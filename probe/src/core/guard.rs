//! Which addresses a probe may connect or send to on behalf of a check: the rules of
//! [`parallax_common::guard`], which coordinators have too, for their contacts.
//!
//! `execute/socket.rs`, the one file that opens sockets towards targets and name servers, takes
//! nothing but an [`Allowed`].

pub use parallax_common::guard::{
    Allowed, Denied, Effect, Guard, Network, Origin, Rule, TooManyNetworks, defaults, network,
};
