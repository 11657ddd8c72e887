//! The command line of `parallax pki`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use parallax_runtime::transport::{Identity, Role};

/// `pki ...`.
#[derive(Debug, Subcommand)]
pub enum Pki {
    /// Make the authority of a new mesh
    #[command(after_help = "Examples:\n  parallax pki init --mesh prod --dir pki")]
    Init(Init),
    /// Issue a certificate
    #[command(subcommand, after_help = ISSUE_EXAMPLES)]
    Issue(Issue),
}

const ISSUE_EXAMPLES: &str = "\
Examples:
  parallax pki issue coordinator c1 --dir pki --out tls/c1
  parallax pki issue probe p1 --region eu-west --dir pki --out tls/p1
  parallax pki issue user anna --role edit --ns shop --dir pki --out tls/anna
  parallax pki issue user anna --role edit --ns shop --dir pki --out tls/anna --renew";

/// `pki init`.
#[derive(Debug, Args)]
pub struct Init {
    /// Name of the mesh; every certificate holds it
    #[arg(long, value_name = "NAME")]
    pub mesh: String,
    /// Directory for ca.pem and ca-key.pem; keep it off the machines of the mesh
    #[arg(long, value_name = "DIR")]
    pub dir: PathBuf,
    /// How long the authority lives
    #[arg(long, value_name = "DAYS", default_value_t = 3_650)]
    pub days: u32,
}

/// `pki issue ...`.
#[derive(Debug, Subcommand)]
pub enum Issue {
    /// For a coordinator
    #[command(after_help = "Examples:\n  parallax pki issue coordinator c1 --dir pki --out tls/c1")]
    Coordinator {
        /// Its name
        name: String,
        /// Where from and where to.
        #[command(flatten)]
        place: Place,
    },
    /// For a probe; its region stands in the certificate and nowhere else
    #[command(
        after_help = "Examples:\n  parallax pki issue probe p1 --region eu-west --dir pki --out tls/p1"
    )]
    Probe {
        /// Its name, of its own within the region
        name: String,
        /// The region it looks from
        #[arg(long, value_name = "NAME")]
        region: String,
        /// Where from and where to.
        #[command(flatten)]
        place: Place,
    },
    /// For a person or a tool that uses the API
    #[command(
        after_help = "Examples:\n  parallax pki issue user anna --role edit --ns shop --dir pki --out tls/anna"
    )]
    User {
        /// Its name, the actor of what it changes
        name: String,
        /// What it may do: view, edit or admin
        #[arg(long, value_name = "ROLE")]
        role: Role,
        /// A namespace it may do so in, may be given several times [default: all]
        #[arg(long = "ns", value_name = "NAME")]
        namespaces: Vec<String>,
        /// Where from and where to.
        #[command(flatten)]
        place: Place,
    },
}

/// What every `pki issue` takes.
#[derive(Debug, Args)]
pub struct Place {
    /// Directory of the authority
    #[arg(long, value_name = "DIR")]
    pub dir: PathBuf,
    /// Directory for ca.pem, cert.pem and key.pem
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// How long the certificate lives
    #[arg(long, value_name = "DAYS", default_value_t = 365)]
    pub days: u32,
    /// Replace the certificate and key that are there; running processes take them over
    #[arg(long)]
    pub renew: bool,
}

impl Issue {
    /// Where from and where to.
    pub fn place(&self) -> &Place {
        match self {
            Self::Coordinator { place, .. }
            | Self::Probe { place, .. }
            | Self::User { place, .. } => place,
        }
    }

    /// What the certificate is to say, in `mesh`.
    pub fn identity(&self, mesh: String) -> Identity {
        match self {
            Self::Coordinator { name, .. } => Identity::Coordinator { mesh, name: name.clone() },
            Self::Probe { name, region, .. } => {
                Identity::Probe { mesh, region: region.clone(), name: name.clone() }
            }
            Self::User { name, role, namespaces, .. } => Identity::User {
                mesh,
                name: name.clone(),
                role: *role,
                namespaces: namespaces.clone(),
            },
        }
    }
}
