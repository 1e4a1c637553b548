//! TLS as a server: what it proves itself with.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

/// The variable that names the file of the certificate and of those between it and its authority.
pub const CERT_FILE: &str = "TARTARUS_TLS_CERT_FILE";
/// The variable that names the file of its private key.
pub const KEY_FILE: &str = "TARTARUS_TLS_KEY_FILE";

/// Files that prove nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name}={file:?}: {why}")]
pub struct NoProof {
    name: &'static str,
    file: PathBuf,
    why: String,
}

/// A certificate and its key in two files, which may be renewed while a server uses them.
#[derive(Debug)]
pub struct Proof {
    cert_file: PathBuf,
    key_file: PathBuf,
    now: RwLock<Arc<CertifiedKey>>,
}

impl Proof {
    /// What two files in PEM hold: the certificate first and then those between it and its
    /// authority; its private key (PKCS #8, PKCS #1 or SEC 1).
    ///
    /// # Errors
    /// They can't be read, or don't belong together.
    pub fn of(cert_file: &Path, key_file: &Path) -> Result<Arc<Self>, NoProof> {
        let now = RwLock::new(Arc::new(read(cert_file, key_file)?));
        let (cert_file, key_file) = (cert_file.to_owned(), key_file.to_owned());
        Ok(Arc::new(Self { cert_file, key_file, now }))
    }

    /// Reads the files again; whether the certificate is another since.
    ///
    /// # Errors
    /// As for [`Proof::of`]; what was read before stays in use.
    pub fn renew(&self) -> Result<bool, NoProof> {
        let found = read(&self.cert_file, &self.key_file)?;
        let mut now = self.now.write().unwrap_or_else(PoisonError::into_inner);
        let is_new = found.cert != now.cert;
        if is_new {
            *now = Arc::new(found);
        }
        Ok(is_new)
    }

    /// How a server speaks that proves itself with it. Connections that are open keep what they began
    /// with.
    pub fn config(self: &Arc<Self>) -> ServerConfig {
        ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("ring has the ciphers of TLS 1.2 and 1.3")
            .with_no_client_auth()
            .with_cert_resolver(self.clone())
    }
}

impl ResolvesServerCert for Proof {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.now.read().unwrap_or_else(PoisonError::into_inner).clone())
    }
}

fn read(cert_file: &Path, key_file: &Path) -> Result<CertifiedKey, NoProof> {
    let of_cert = |why: String| NoProof { name: CERT_FILE, file: cert_file.to_owned(), why };
    let of_key = |why: String| NoProof { name: KEY_FILE, file: key_file.to_owned(), why };
    let chain = CertificateDer::pem_file_iter(cert_file).and_then(Iterator::collect);
    let chain: Vec<_> = chain.map_err(|error| of_cert(unreadable(&error)))?;
    if chain.is_empty() {
        return Err(of_cert("it holds no certificate: give one in PEM".into()));
    }
    let key = PrivateKeyDer::from_pem_file(key_file).map_err(|error| match error {
        pem::Error::NoItemsFound => of_key("it holds no private key: give one in PEM".into()),
        other => of_key(unreadable(&other)),
    })?;
    CertifiedKey::from_der(chain, key, &ring::default_provider()).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => {
            of_key(format!("it is not the key of the certificate in {}", cert_file.display()))
        }
        rustls::Error::InvalidCertificate(_) => of_cert(format!("{error}: give one in PEM")),
        other => of_key(format!("{other}: give an RSA, ECDSA or Ed25519 key")),
    })
}

pub(crate) fn unreadable(error: &pem::Error) -> String {
    match error {
        pem::Error::Io(error) => format!("it can't be read: {error}"),
        other => format!("it is not PEM ({other})"),
    }
}
