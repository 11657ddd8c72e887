//! Members over real sockets and TLS: what they do together, and what strangers cannot do to them.

mod book;
mod group;
mod hostile;
mod membership;
mod rig;
mod whole;
