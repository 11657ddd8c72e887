//! `parallax pki`: the mesh's own authority, and the certificates it gives out.
//!
//! [`init`] and [`issue`] do the work, also for `parallax dev` and for tests; [`run`] is the command
//! around them. What a certificate says is `parallax_runtime::transport::Identity`; the files of one
//! directory are what `Credentials::load` takes.

mod args;
mod files;
mod talk;

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use parallax_common::name::is_name;
use parallax_common::time::UtcTime;
use parallax_runtime::clock;
use parallax_runtime::transport::{Identity, NotAnIdentity, authority_of};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

pub use self::args::{Init, Issue, Pki};
use self::files::NewFile;
pub use self::talk::run;

/// The authority's certificate, in its own directory and in every one that is issued.
pub const AUTHORITY_CERTIFICATE: &str = "ca.pem";
/// The authority's key, in its own directory alone.
pub const AUTHORITY_KEY: &str = "ca-key.pem";
/// A holder's certificate.
pub const CERTIFICATE: &str = "cert.pem";
/// A holder's key.
pub const KEY: &str = "key.pem";
/// Longest life of any certificate, in days: about a hundred years, so that dates stay sane.
pub const DAYS_MAX: u32 = 36_500;

/// A certificate begins this long before it is made: clocks differ.
const BACKDATE: Duration = Duration::from_secs(300);

/// Why a certificate was not made.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// The mesh's name is none.
    #[error("{0:?} is not a mesh's name: a-z, 0-9, - and ., 1 to 63 long")]
    Mesh(String),
    /// A name in the request is none.
    #[error("no certificate can say that")]
    Identity(#[from] NotAnIdentity),
    /// A life of no days, or of too many.
    #[error("a certificate lives 1 to {DAYS_MAX} days, not {0}")]
    Days(u32),
    /// Something is there already.
    #[error("{} is there already: not overwritten{hint}", path.display())]
    Exists {
        /// What is there.
        path: PathBuf,
        /// What to do instead.
        hint: &'static str,
    },
    /// There is no authority where one was looked for.
    #[error("{} holds no authority of a mesh: make one with `parallax pki init`", dir.display())]
    NoAuthority {
        /// Where.
        dir: PathBuf,
    },
    /// A certificate of another mesh than its authority's.
    #[error("the authority is of mesh {authority:?}, not {asked:?}")]
    OtherMesh {
        /// The authority's mesh.
        authority: String,
        /// The mesh that was asked for.
        asked: String,
    },
    /// The certificate would outlive its authority.
    #[error("the authority ends in {left_days} days, before a certificate of {days} days would")]
    Outlives {
        /// Days the authority has left.
        left_days: u64,
        /// Days that were asked for.
        days: u32,
    },
    /// A file or directory cannot be read or written.
    #[error("cannot use {}", path.display())]
    File {
        /// Which one.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The certificate library refused.
    #[error("cannot make the certificate")]
    Make(#[from] rcgen::Error),
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// The files, in the order in which they were put in place.
    pub files: Vec<PathBuf>,
    /// When the certificate ends.
    pub not_after: UtcTime,
}

/// Makes the authority of `mesh` in `dir` (made when missing), good for `days`. Refuses when one is
/// there.
pub fn init(mesh: &str, dir: &Path, days: u32) -> Result<Written, PkiError> {
    if !is_name(mesh) {
        return Err(PkiError::Mesh(mesh.to_owned()));
    }
    let not_after = ends(days)?;
    let key = KeyPair::generate()?;
    let mut params = lifetime(not_after);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.distinguished_name.push(DnType::OrganizationName, mesh);
    params.distinguished_name.push(DnType::CommonName, format!("authority of mesh {mesh}"));
    params.subject_alt_names.push(uri(&format!("spiffe://{mesh}"))?);
    let certificate = params.self_signed(&key)?;

    files::make_dir(dir)?;
    let written = files::create(vec![
        NewFile::secret(dir.join(AUTHORITY_KEY), key.serialize_pem()),
        NewFile::public(dir.join(AUTHORITY_CERTIFICATE), certificate.pem()),
    ])?;
    Ok(Written { files: written, not_after })
}

/// Issues a certificate for `identity` from the authority in `dir` into `out` (made when missing):
/// `ca.pem`, `cert.pem` and `key.pem`, good for `days`. Refuses to overwrite unless `renew`; then
/// each file is replaced whole, and a running process that watches them takes the new set over.
pub fn issue(
    dir: &Path,
    out: &Path,
    identity: &Identity,
    days: u32,
    renew: bool,
) -> Result<Written, PkiError> {
    // An identity may have been put together by hand; what it says must be readable back.
    let identity: Identity = identity.to_string().parse()?;
    let not_after = ends(days)?;
    let authority = Authority::open(dir)?;
    if identity.mesh() != authority.mesh {
        let (authority, asked) = (authority.mesh, identity.mesh().to_owned());
        return Err(PkiError::OtherMesh { authority, asked });
    }
    if not_after > authority.not_after {
        let left_days = authority.not_after.since(clock::utc()).as_secs() / 86_400;
        return Err(PkiError::Outlives { left_days, days });
    }

    let key = KeyPair::generate()?;
    let mut params = lifetime(not_after);
    params.is_ca = IsCa::ExplicitNoCa;
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = match identity {
        Identity::Coordinator { .. } => {
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth]
        }
        Identity::Probe { .. } | Identity::User { .. } => vec![ExtendedKeyUsagePurpose::ClientAuth],
    };
    params.distinguished_name.push(DnType::OrganizationName, identity.mesh());
    params.distinguished_name.push(DnType::CommonName, identity.name());
    params.subject_alt_names.push(uri(&identity.to_string())?);
    let certificate = params.signed_by(&key, &authority.issuer)?;

    files::make_dir(out)?;
    let new = vec![
        NewFile::public(out.join(AUTHORITY_CERTIFICATE), authority.certificate_pem),
        NewFile::secret(out.join(KEY), key.serialize_pem()),
        NewFile::public(out.join(CERTIFICATE), certificate.pem()),
    ];
    let written = if renew { files::replace(new)? } else { files::create(new)? };
    Ok(Written { files: written, not_after })
}

/// The mesh of the authority in `dir`.
pub fn mesh_of(dir: &Path) -> Result<String, PkiError> {
    Ok(Authority::open(dir)?.mesh)
}

/// An authority as it lies on disk.
struct Authority {
    mesh: String,
    not_after: UtcTime,
    certificate_pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn open(dir: &Path) -> Result<Self, PkiError> {
        let none = || PkiError::NoAuthority { dir: dir.to_owned() };
        let (certificate_path, key_path) =
            (dir.join(AUTHORITY_CERTIFICATE), dir.join(AUTHORITY_KEY));
        if !certificate_path.exists() || !key_path.exists() {
            return Err(none());
        }
        let certificate_pem = files::read(&certificate_path)?;
        let der = CertificateDer::from_pem_slice(certificate_pem.as_bytes()).map_err(|_| none())?;
        let (mesh, not_after) = authority_of(&der).ok_or_else(none)?;
        let key = KeyPair::from_pem(&files::read(&key_path)?)?;
        let issuer = Issuer::from_ca_cert_der(&der, key)?;
        Ok(Self { mesh, not_after, certificate_pem, issuer })
    }
}

fn ends(days: u32) -> Result<UtcTime, PkiError> {
    match days {
        1..=DAYS_MAX => Ok(clock::utc() + Duration::from_secs(u64::from(days) * 86_400)),
        _ => Err(PkiError::Days(days)),
    }
}

fn lifetime(not_after: UtcTime) -> CertificateParams {
    let system = |at: UtcTime| UNIX_EPOCH + at.since(UtcTime::default());
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.not_before = system(clock::utc() - BACKDATE).into();
    params.not_after = system(not_after).into();
    params
}

fn uri(text: &str) -> Result<SanType, PkiError> {
    Ok(SanType::URI(text.try_into()?))
}

#[cfg(test)]
mod tests;
