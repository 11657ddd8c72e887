//! Who a certificate says its holder is. Pure: text in, identity out, and back.
//!
//! The certificate side is in `verify.rs`.

use std::fmt;
use std::str::FromStr;

use parallax_common::limits::{CERTIFICATE_NAMESPACES_MAX, IDENTITY_BYTES_MAX};
use parallax_common::name::is_name;

/// What a user may do. Each includes the ones before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Read everything.
    View,
    /// Change checks, contacts and regions; acknowledge and resolve incidents.
    Edit,
    /// Change the cluster itself.
    Admin,
}

impl Role {
    /// The word used in certificates and on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::View => "view",
            Self::Edit => "edit",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A word that is no role.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a role: it must be view, edit or admin")]
pub struct NotARole;

impl FromStr for Role {
    type Err = NotARole;

    fn from_str(text: &str) -> Result<Self, NotARole> {
        match text {
            "view" => Ok(Self::View),
            "edit" => Ok(Self::Edit),
            "admin" => Ok(Self::Admin),
            _ => Err(NotARole),
        }
    }
}

/// The holder of a certificate, from the one URI among its subject alternative names.
///
/// `Display` and `FromStr` are that URI: `spiffe://<mesh>/coordinator/<name>`,
/// `spiffe://<mesh>/region/<region>/probe/<name>` or
/// `spiffe://<mesh>/user/<name>/role/<view|edit|admin>[/ns/<namespace>]...`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Identity {
    /// A member of the Raft group.
    Coordinator {
        /// The mesh it belongs to.
        mesh: String,
        /// Its name.
        name: String,
    },
    /// An agent in a region.
    Probe {
        /// The mesh it belongs to.
        mesh: String,
        /// The region it looks from.
        region: String,
        /// Its name, of its own within the region.
        name: String,
    },
    /// A person or a tool.
    User {
        /// The mesh it belongs to.
        mesh: String,
        /// Its name, the actor of what it changes.
        name: String,
        /// What it may do.
        role: Role,
        /// Where it may do so; empty means every namespace.
        namespaces: Vec<String>,
    },
}

impl Identity {
    /// The mesh its holder belongs to.
    pub fn mesh(&self) -> &str {
        match self {
            Self::Coordinator { mesh, .. } | Self::Probe { mesh, .. } | Self::User { mesh, .. } => {
                mesh
            }
        }
    }

    /// Its holder's name.
    pub fn name(&self) -> &str {
        match self {
            Self::Coordinator { name, .. } | Self::Probe { name, .. } | Self::User { name, .. } => {
                name
            }
        }
    }

    /// Whether its holder may act as `role` in `namespace`. A coordinator, which speaks for a user
    /// it has already asked, may everything; a probe nothing.
    pub fn may(&self, role: Role, namespace: &str) -> bool {
        match self {
            Self::Coordinator { .. } => true,
            Self::Probe { .. } => false,
            Self::User { role: held, namespaces, .. } => {
                *held >= role
                    && (namespaces.is_empty() || namespaces.iter().any(|n| n == namespace))
            }
        }
    }

    /// The holder in words, such as `probe "p1" of region "eu-west"`.
    pub fn describe(&self) -> String {
        match self {
            Self::Coordinator { name, .. } => format!("coordinator \"{name}\""),
            Self::Probe { region, name, .. } => {
                format!("probe \"{name}\" of region \"{region}\"")
            }
            Self::User { name, .. } => format!("user \"{name}\""),
        }
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Coordinator { mesh, name } => write!(f, "spiffe://{mesh}/coordinator/{name}"),
            Self::Probe { mesh, region, name } => {
                write!(f, "spiffe://{mesh}/region/{region}/probe/{name}")
            }
            Self::User { mesh, name, role, namespaces } => {
                write!(f, "spiffe://{mesh}/user/{name}/role/{role}")?;
                namespaces.iter().try_for_each(|namespace| write!(f, "/ns/{namespace}"))
            }
        }
    }
}

/// Why a text is no identity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotAnIdentity {
    /// Longer than an identity may be.
    #[error("longer than {IDENTITY_BYTES_MAX} bytes")]
    TooLong,
    /// Another scheme, or none.
    #[error("does not start with spiffe://")]
    Scheme,
    /// None of the three shapes.
    #[error(
        "must be coordinator/<name>, region/<region>/probe/<name> or \
         user/<name>/role/<role>[/ns/<namespace>]... behind the mesh"
    )]
    Shape,
    /// A part that must be a name is not.
    #[error("the {part} {text:?} is not a name: a-z, 0-9, - and ., 1 to 63 long")]
    Name {
        /// Which part.
        part: &'static str,
        /// What stood there.
        text: String,
    },
    /// The role is unknown.
    #[error("the role {0:?} must be view, edit or admin")]
    Role(String),
    /// A namespace stands there twice.
    #[error("the namespace {0:?} stands there twice")]
    Twice(String),
    /// More namespaces than a certificate may hold.
    #[error("more than {CERTIFICATE_NAMESPACES_MAX} namespaces")]
    Namespaces,
}

impl FromStr for Identity {
    type Err = NotAnIdentity;

    fn from_str(text: &str) -> Result<Self, NotAnIdentity> {
        if text.len() > IDENTITY_BYTES_MAX {
            return Err(NotAnIdentity::TooLong);
        }
        let rest = text.strip_prefix("spiffe://").ok_or(NotAnIdentity::Scheme)?;
        let parts: Vec<&str> = rest.split('/').collect();
        let (&mesh, path) = parts.split_first().ok_or(NotAnIdentity::Shape)?;
        let mesh = named("mesh", mesh)?;
        match path {
            ["coordinator", name] => Ok(Self::Coordinator { mesh, name: named("name", name)? }),
            ["region", region, "probe", name] => Ok(Self::Probe {
                mesh,
                region: named("region", region)?,
                name: named("name", name)?,
            }),
            ["user", name, "role", role, scopes @ ..] => Ok(Self::User {
                mesh,
                name: named("name", name)?,
                role: role.parse().map_err(|_| NotAnIdentity::Role((*role).to_owned()))?,
                namespaces: namespaces(scopes)?,
            }),
            _ => Err(NotAnIdentity::Shape),
        }
    }
}

fn named(part: &'static str, text: &str) -> Result<String, NotAnIdentity> {
    if is_name(text) {
        Ok(text.to_owned())
    } else {
        Err(NotAnIdentity::Name { part, text: text.to_owned() })
    }
}

fn namespaces(scopes: &[&str]) -> Result<Vec<String>, NotAnIdentity> {
    let mut found: Vec<String> = Vec::new();
    for scope in scopes.chunks(2) {
        let ["ns", namespace] = scope else { return Err(NotAnIdentity::Shape) };
        let namespace = named("namespace", namespace)?;
        if found.contains(&namespace) {
            return Err(NotAnIdentity::Twice(namespace));
        }
        if found.len() == CERTIFICATE_NAMESPACES_MAX {
            return Err(NotAnIdentity::Namespaces);
        }
        found.push(namespace);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn name() -> impl Strategy<Value = String> {
        "[a-z0-9]([a-z0-9.-]{0,20}[a-z0-9])?"
    }

    fn identity() -> impl Strategy<Value = Identity> {
        prop_oneof![
            (name(), name()).prop_map(|(mesh, name)| Identity::Coordinator { mesh, name }),
            (name(), name(), name()).prop_map(|(mesh, region, name)| Identity::Probe {
                mesh,
                region,
                name
            }),
            (
                name(),
                name(),
                prop_oneof![Just(Role::View), Just(Role::Edit), Just(Role::Admin)],
                proptest::collection::btree_set(name(), 0..5),
            )
                .prop_map(|(mesh, name, role, namespaces)| Identity::User {
                    mesh,
                    name,
                    role,
                    namespaces: namespaces.into_iter().collect(),
                }),
        ]
    }

    proptest! {
        #[test]
        fn what_is_displayed_is_parsed_back(identity in identity()) {
            prop_assert_eq!(identity.to_string().parse::<Identity>(), Ok(identity));
        }

        #[test]
        fn what_is_parsed_is_displayed_as_it_stood(
            text in "spiffe://[a-z/]{0,12}(/coordinator/|/region/a/probe/|/user/u/role/view)[a-z/.-]{0,12}"
        ) {
            if let Ok(identity) = text.parse::<Identity>() {
                prop_assert_eq!(identity.to_string(), text);
            }
        }
    }

    #[test]
    fn near_misses_are_refused_with_their_reason() {
        let table = [
            ("", "spiffe"),
            ("https://m/coordinator/a", "spiffe"),
            ("SPIFFE://m/coordinator/a", "spiffe"),
            ("spiffe://", "mesh"),
            ("spiffe:///coordinator/a", "mesh"),
            ("spiffe://M/coordinator/a", "mesh"),
            ("spiffe://m@x/coordinator/a", "mesh"),
            ("spiffe://m:1/coordinator/a", "mesh"),
            ("spiffe://m", "must be"),
            ("spiffe://m/", "must be"),
            ("spiffe://m/coordinator", "must be"),
            ("spiffe://m/coordinator/", "name"),
            ("spiffe://m/coordinator/a/", "must be"),
            ("spiffe://m/coordinator/a?x", "name"),
            ("spiffe://m/coordinator/a%2fb", "name"),
            ("spiffe://m/coordinator/..", "name"),
            ("spiffe://m//coordinator/a", "must be"),
            ("spiffe://m/region/eu/probe", "must be"),
            ("spiffe://m/region//probe/a", "region"),
            ("spiffe://m/region/eu/probe/a/b", "must be"),
            ("spiffe://m/user/anna", "must be"),
            ("spiffe://m/user/anna/role/root", "role"),
            ("spiffe://m/user/anna/role/Admin", "role"),
            ("spiffe://m/user/anna/role/edit/ns", "must be"),
            ("spiffe://m/user/anna/role/edit/ns/", "namespace"),
            ("spiffe://m/user/anna/role/edit/ns/a/ns/a", "twice"),
            ("spiffe://m/user/anna/role/edit/namespace/a", "must be"),
        ];
        for (text, word) in table {
            let refused = text.parse::<Identity>().expect_err(text).to_string();
            assert!(refused.contains(word), "{text:?}: {refused}");
        }
        let many: String = (0..=CERTIFICATE_NAMESPACES_MAX).map(|n| format!("/ns/n{n}")).collect();
        let text = format!("spiffe://m/user/anna/role/edit{many}");
        assert_eq!(text.parse::<Identity>(), Err(NotAnIdentity::Namespaces));
        let long = format!("spiffe://{}/coordinator/a", "m".repeat(IDENTITY_BYTES_MAX));
        assert_eq!(long.parse::<Identity>(), Err(NotAnIdentity::TooLong));
    }

    #[test]
    fn a_user_may_what_role_and_namespaces_say() {
        let anna: Identity = "spiffe://m/user/anna/role/edit/ns/shop".parse().unwrap();
        assert!(anna.may(Role::View, "shop") && anna.may(Role::Edit, "shop"));
        assert!(!anna.may(Role::Admin, "shop") && !anna.may(Role::View, "bank"));
        let root: Identity = "spiffe://m/user/root/role/admin".parse().unwrap();
        assert!(root.may(Role::Admin, "bank"));
        let probe: Identity = "spiffe://m/region/eu/probe/p".parse().unwrap();
        assert!(!probe.may(Role::View, "shop"));
    }
}
