//! Which addresses a process may connect or send to on somebody's behalf: a probe for a check, a
//! coordinator for a contact.
//!
//! Pure: an address goes in, [`Allowed`] or [`Denied`] comes out. Nothing else makes an
//! [`Allowed`], and the one file of each process that opens sockets towards such places
//! (`execute/socket.rs` of the probe, `notify/reach.rs` of the coordinator) takes nothing else. So whatever a check says, in whatever spelling, through whatever
//! answer of a name server: what counts is the address that the packet would go to.
//!
//! The rules are the process's own flags and [`defaults::DENIED`]. The longest prefix decides; where
//! two are the same network a flag goes before a default, and a denial before an allowance. What no
//! rule holds is allowed. [`network`] reads a rule, `embedded` finds IPv4 inside IPv6.

use std::cmp::Reverse;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::limits::GUARD_NETWORKS_MAX;

pub mod defaults;
mod embedded;
pub mod network;

pub use network::Network;

#[cfg(test)]
mod tests;

/// An address that the guard let through: all that a socket is opened to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowed(SocketAddr);

impl Allowed {
    /// Where to.
    pub const fn address(self) -> SocketAddr {
        self.0
    }
}

/// What a rule says of the addresses in its network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effect {
    /// Nobody connects there. First, for of two rules of one network it wins.
    Deny,
    /// Somebody may.
    Allow,
}

/// Who made a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// A flag of the process, as [`Owner`] names it. First, for a flag goes before a default.
    Flag,
    /// One of [`defaults::DENIED`], and why.
    Default(&'static str),
}

/// One network and what is said of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// Of which addresses.
    pub network: Network,
    /// What.
    pub effect: Effect,
    /// By whom.
    pub origin: Origin,
}

/// Whose guard it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// A probe, for its checks.
    Probe,
    /// A coordinator, for its contacts.
    Coordinator,
}

impl Owner {
    const fn process(self) -> &'static str {
        match self {
            Self::Probe => "probe",
            Self::Coordinator => "coordinator",
        }
    }

    /// The flag that allows a network.
    const fn allow(self) -> &'static str {
        match self {
            Self::Probe => "--allow-network",
            Self::Coordinator => "--contact-allow-network",
        }
    }

    /// The flag that denies one.
    const fn deny(self) -> &'static str {
        match self {
            Self::Probe => "--deny-network",
            Self::Coordinator => "--contact-deny-network",
        }
    }
}

/// More networks than are compared with each address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{} and {} name {count} networks, at most {GUARD_NETWORKS_MAX} are taken",
        owner.allow(), owner.deny())]
pub struct TooManyNetworks {
    count: usize,
    owner: Owner,
}

/// All rules of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guard {
    owner: Owner,
    /// In the order in which they are asked: the first that holds an address decides.
    rules: Vec<Rule>,
}

impl Default for Guard {
    /// The defaults alone, of a probe.
    fn default() -> Self {
        Self::of(Owner::Probe, &[], &[])
    }
}

impl Guard {
    /// The defaults, and what a probe's own configuration allows and denies.
    ///
    /// # Errors
    /// More than [`GUARD_NETWORKS_MAX`] networks.
    pub fn new(allow: &[Network], deny: &[Network]) -> Result<Self, TooManyNetworks> {
        Self::owned_by(Owner::Probe, allow, deny)
    }

    /// The same for any process.
    ///
    /// # Errors
    /// More than [`GUARD_NETWORKS_MAX`] networks.
    pub fn owned_by(
        owner: Owner,
        allow: &[Network],
        deny: &[Network],
    ) -> Result<Self, TooManyNetworks> {
        match allow.len() + deny.len() {
            count if count > GUARD_NETWORKS_MAX => Err(TooManyNetworks { count, owner }),
            _ => Ok(Self::of(owner, allow, deny)),
        }
    }

    fn of(owner: Owner, allow: &[Network], deny: &[Network]) -> Self {
        let flag = |effect| move |&network| Rule { network, effect, origin: Origin::Flag };
        let default =
            |&(network, why)| Rule { network, effect: Effect::Deny, origin: Origin::Default(why) };
        let mut rules: Vec<Rule> = deny
            .iter()
            .map(flag(Effect::Deny))
            .chain(allow.iter().map(flag(Effect::Allow)))
            .chain(defaults::DENIED.iter().map(default))
            .collect();
        rules.sort_by_key(|rule| {
            (Reverse(rule.network.length()), rule.network, rule.origin, rule.effect)
        });
        Self { owner, rules }
    }

    /// The rules, longest prefix first.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// Lets an address of a target or of a check's own name server through, or says which
    /// rule denies it.
    ///
    /// # Errors
    /// A rule denies the address, or an IPv4 address that is reached through it.
    pub fn admit(&self, address: SocketAddr) -> Result<Allowed, Denied> {
        self.judge(address, |_| true)
    }

    /// The same for a name server of this machine's own configuration, which no check chose: only
    /// the flags count. Name servers of clouds live among the defaults, and some share the address
    /// of the metadata service; whoever had to allow those would open the one with the other.
    ///
    /// # Errors
    /// A flag denies the address.
    pub fn admit_name_server(&self, address: SocketAddr) -> Result<Allowed, Denied> {
        self.judge(address, |rule| rule.origin == Origin::Flag)
    }

    fn judge(
        &self,
        address: SocketAddr,
        counts: impl Fn(&Rule) -> bool,
    ) -> Result<Allowed, Denied> {
        // The kernel sends packets for ::ffff:a.b.c.d over IPv4, to a.b.c.d.
        let ip = address.ip().to_canonical();
        let first = |ip: IpAddr| {
            let rule = self.rules.iter().find(|rule| counts(rule) && rule.network.contains(ip));
            rule.filter(|rule| rule.effect == Effect::Deny)
        };
        if let Some(rule) = first(ip) {
            let owner = self.owner;
            return Err(Denied { address: address.ip(), through: None, rule: *rule, owner });
        }
        if let IpAddr::V6(six) = ip {
            for (four, how) in embedded::ipv4(six) {
                if let Some(rule) = first(four.into()) {
                    let through = Some((four, how));
                    let owner = self.owner;
                    return Err(Denied { address: address.ip(), through, rule: *rule, owner });
                }
            }
        }
        Ok(Allowed(address))
    }
}

/// An address that is not connected to, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Denied {
    /// As it was to be connected to.
    pub address: IpAddr,
    /// The IPv4 address that it leads to, and by which mechanism, when that is what is denied.
    pub through: Option<(Ipv4Addr, &'static str)>,
    /// What denies it.
    pub rule: Rule,
    /// Whose guard that is.
    pub owner: Owner,
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { address, through, rule, owner } = self;
        let (process, allow, deny) = (owner.process(), owner.allow(), owner.deny());
        let canonical = address.to_canonical();
        write!(f, "{address}")?;
        match through {
            Some((four, how)) => write!(f, ", which leads to {four} ({how}),")?,
            None if canonical != *address => write!(f, ", which is {canonical},")?,
            None => {}
        }
        let meant = through.map_or(canonical, |(four, _)| four.into());
        let own = Network::of(meant);
        write!(f, " is in {}", rule.network)?;
        match rule.origin {
            Origin::Flag => write!(f, ", denied by {deny} of this {process}")?,
            Origin::Default(why) => write!(f, " ({why}), denied by default")?,
        }
        if rule.origin == Origin::Flag && rule.network == own {
            write!(f, "; it is allowed once that flag is gone")
        } else {
            write!(f, "; {allow} {own} on this {process} allows it")
        }
    }
}
