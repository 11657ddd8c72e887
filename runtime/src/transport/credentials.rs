//! A process's certificate, key and authority, from three files that may change under it.
//!
//! What is made of them (one server and one client configuration) is swapped whole: a handshake
//! sees the old set or the new one. Connections that stand are not touched.

use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use parallax_common::limits::{CREDENTIALS_POLL, PEM_BYTES_MAX};
use parallax_common::time::UtcTime;
use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{CertificateError, ClientConfig, RootCertStore, ServerConfig};
use tracing::{info, warn};

use crate::clock;
use crate::supervisor::{Supervisor, TaskKind};
use crate::transport::identity::Identity;
use crate::transport::verify::{
    CertificateIdentityError, CoordinatorVerifier, end_of, identity_of,
};

/// Where the three files are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paths {
    /// PEM of the mesh's authorities; several while one is being replaced.
    pub ca: PathBuf,
    /// PEM of our certificate, then any between it and the authority.
    pub cert: PathBuf,
    /// PEM of our private key.
    pub key: PathBuf,
}

impl Paths {
    /// `ca.pem`, `cert.pem` and `key.pem` in `dir`: what `parallax pki issue` writes.
    pub fn in_dir(dir: &Path) -> Self {
        Self { ca: dir.join("ca.pem"), cert: dir.join("cert.pem"), key: dir.join("key.pem") }
    }

    fn each(&self) -> [&Path; 3] {
        [&self.ca, &self.cert, &self.key]
    }
}

/// Why a set of files cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A file does not hold what it should.
    #[error("{} holds no {wanted} in PEM", path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// What it should hold.
        wanted: &'static str,
    },
    /// The certificate names nobody.
    #[error("{} cannot be used", path.display())]
    Identity {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: CertificateIdentityError,
    },
    /// The certificate does not come from the authority beside it, or the key is another's.
    #[error("{} does not fit {} or its key", cert.display(), ca.display())]
    Mismatch {
        /// Our certificate.
        cert: PathBuf,
        /// The authority.
        ca: PathBuf,
        /// What TLS says of them.
        #[source]
        source: rustls::Error,
    },
    /// A changed file names somebody else than the process was started as.
    #[error("the new certificate is {new}, this process runs as {old}: restart to change that")]
    Other {
        /// Whom the new file names.
        new: String,
        /// Whom the process was started as.
        old: String,
    },
}

/// A process's place in the mesh and the TLS made of it. Clones share it and its reloads.
#[derive(Debug, Clone)]
pub struct Credentials {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    paths: Paths,
    identity: Identity,
    current: ArcSwap<Loaded>,
    /// What the files looked like when they were last tried, well or badly.
    tried: Mutex<Stamp>,
}

#[derive(Debug)]
struct Loaded {
    identity: Identity,
    not_after: UtcTime,
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
}

/// Enough of three files to see that one has changed: inode, size, time of change.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stamp([Option<(u64, u64, i64, i64)>; 3]);

impl Credentials {
    /// Loads `ca.pem`, `cert.pem` and `key.pem` of `dir`.
    pub fn load(dir: &Path) -> Result<Self, CredentialsError> {
        Self::load_paths(Paths::in_dir(dir))
    }

    /// Loads the three files. A certificate out of its time is loaded with a warning: the other
    /// side decides, and says so.
    pub fn load_paths(paths: Paths) -> Result<Self, CredentialsError> {
        let stamp = Stamp::of(&paths);
        let loaded = Loaded::read(&paths)?;
        let identity = loaded.identity.clone();
        let current = ArcSwap::from_pointee(loaded);
        let inner = Inner { paths, identity, current, tried: Mutex::new(stamp) };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Who this process is. Does not change while it runs.
    pub fn identity(&self) -> &Identity {
        &self.inner.identity
    }

    /// The mesh this process belongs to.
    pub fn mesh(&self) -> &str {
        self.inner.identity.mesh()
    }

    /// When the certificate in use ends.
    pub fn not_after(&self) -> UtcTime {
        self.inner.current.load().not_after
    }

    /// Looks at the files every few seconds until the stop, and uses changed ones. Bad ones are
    /// logged and the old set stays.
    pub fn watch(&self, supervisor: &Supervisor) {
        let (credentials, stop) = (self.clone(), supervisor.stop_token());
        supervisor.spawn(TaskKind::Session("credentials"), async move {
            loop {
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(CREDENTIALS_POLL) => {}
                }
                let credentials = credentials.clone();
                match tokio::task::spawn_blocking(move || credentials.reload_if_changed()).await {
                    Ok(Ok(true)) => info!("new certificate files are in use"),
                    Ok(Ok(false)) => {}
                    Ok(Err(error)) => {
                        let error = causes(&error);
                        warn!(error, "changed certificate files cannot be used, the old ones stay");
                    }
                    Err(error) => warn!(%error, "looking at the certificate files failed"),
                }
            }
        });
    }

    /// Loads the files if they have changed since they were last tried. True when a new set is in
    /// use. Blocks on the file system.
    pub fn reload_if_changed(&self) -> Result<bool, CredentialsError> {
        let inner = &*self.inner;
        // The look comes before the reading: a change in between is seen by the next look.
        let stamp = Stamp::of(&inner.paths);
        let mut tried = inner.tried.lock().unwrap_or_else(PoisonError::into_inner);
        if *tried == stamp {
            return Ok(false);
        }
        *tried = stamp;
        let loaded = Loaded::read(&inner.paths)?;
        if loaded.identity != inner.identity {
            let (new, old) = (loaded.identity.describe(), inner.identity.describe());
            return Err(CredentialsError::Other { new, old });
        }
        inner.current.store(Arc::new(loaded));
        Ok(true)
    }

    /// For the next accepted connection.
    pub(super) fn server(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.inner.current.load().server)
    }

    /// For the next dialled connection.
    pub(super) fn client(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.inner.current.load().client)
    }
}

impl Loaded {
    fn read(paths: &Paths) -> Result<Self, CredentialsError> {
        let chain = certificates(&paths.cert)?;
        let leaf = &chain[0]; // `certificates` returns at least one
        let identity = identity_of(leaf)
            .map_err(|source| CredentialsError::Identity { path: paths.cert.clone(), source })?;
        let mismatch = |source| CredentialsError::Mismatch {
            cert: paths.cert.clone(),
            ca: paths.ca.clone(),
            source,
        };

        let mut roots = RootCertStore::empty();
        for authority in certificates(&paths.ca)? {
            roots.add(authority).map_err(mismatch)?;
        }
        let roots = Arc::new(roots);
        let provider = Arc::new(ring::default_provider());
        let clients =
            WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider))
                .build()
                .map_err(|error| mismatch(rustls::Error::General(error.to_string())))?;

        // Every certificate of the mesh may be a client's, so this holds for each kind.
        let now = UnixTime::since_unix_epoch(clock::utc().since(UtcTime::default()));
        match clients.verify_client_cert(leaf, &chain[1..], now) {
            Ok(_) => {}
            Err(rustls::Error::InvalidCertificate(
                error @ (CertificateError::Expired
                | CertificateError::ExpiredContext { .. }
                | CertificateError::NotValidYet
                | CertificateError::NotValidYetContext { .. }),
            )) => warn!(path = %paths.cert.display(), %error, "our certificate is out of its time"),
            Err(error) => return Err(mismatch(error)),
        }

        let key = || private_key(&paths.key);
        let client =
            client_config(&provider, &roots, &identity, chain.clone(), key()?).map_err(mismatch)?;
        let not_after = end_of(leaf);
        let server = server_config(&provider, clients, chain, key()?).map_err(mismatch)?;
        Ok(Self { identity, not_after, server: Arc::new(server), client: Arc::new(client) })
    }
}

fn server_config(
    provider: &Arc<CryptoProvider>,
    clients: Arc<dyn rustls::server::danger::ClientCertVerifier>,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<ServerConfig, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(clients)
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    // A resumed session skips the client's certificate: an expired one, or one of an authority
    // that was taken out, would still get in.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

fn client_config(
    provider: &Arc<CryptoProvider>,
    roots: &Arc<RootCertStore>,
    identity: &Identity,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<ClientConfig, rustls::Error> {
    let verifier = CoordinatorVerifier {
        roots: Arc::clone(roots),
        mesh: identity.mesh().to_owned(),
        provider: Arc::clone(provider),
    };
    let mut config = ClientConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_client_auth_cert(chain, key)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    config.resumption = Resumption::disabled();
    // Servers are known by their identity; the name that was dialled is nobody's business.
    config.enable_sni = false;
    Ok(config)
}

impl Stamp {
    fn of(paths: &Paths) -> Self {
        Self(paths.each().map(|path| {
            let meta = fs::metadata(path).ok()?;
            Some((meta.ino(), meta.size(), meta.mtime(), meta.mtime_nsec()))
        }))
    }
}

fn read(path: &Path) -> Result<Vec<u8>, CredentialsError> {
    let failed = |source| CredentialsError::Read { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    let file = fs::File::open(path).map_err(failed)?;
    file.take(PEM_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > PEM_BYTES_MAX {
        return Err(failed(io::Error::new(io::ErrorKind::FileTooLarge, "larger than 1 MiB")));
    }
    Ok(bytes)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, CredentialsError> {
    let bytes = read(path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        _ => Err(CredentialsError::Pem { path: path.to_owned(), wanted: "certificate" }),
    }
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, CredentialsError> {
    PrivateKeyDer::from_pem_slice(&read(path)?)
        .map_err(|_| CredentialsError::Pem { path: path.to_owned(), wanted: "private key" })
}

pub(super) use crate::error::causes;
