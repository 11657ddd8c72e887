//! Stories of real processes, one a file: what a person would see, and what must hold when something
//! is broken on purpose. One program, so that two stories run at once.

mod alone;
mod any_member;
mod bad_input;
mod canaries;
mod confirm;
mod differing;
mod disorder;
mod edits;
mod failover;
mod fleet;
mod guarded;
mod hostile;
mod kill_nine;
mod later;
mod linearizable;
mod looks;
mod outage;
mod page_survives;
mod past;
mod recovery;
mod split;
mod standing;
mod stopping;
mod surface;
mod tls_refusals;
mod two_addresses;
mod upgrade;
mod whole;
mod witness;
