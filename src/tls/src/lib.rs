//! TLS: whom this process believes as a client, and what it proves itself with as a server.
//!
//! Owns:   the authorities that vouch for certificates: the machine's own, and those of a file beside
//!         them; a server's certificate and its key, as their files say today.
//! Says:   what is wrong with the other end, in words for who can mend it ([`advice`]).
//! Never:  goes on where a certificate is not proved or is of another name.
//! Fails:  closed: where nobody is believed, no connection is made.
//! Proof:  the tests below, `tests/tests/live/tls.rs`.

mod server;

use std::collections::BTreeMap;
use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use reqwest::ClientBuilder;
use rustls::crypto::ring;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{CertificateError, ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

pub use rustls::ServerConfig;
pub use server::{CERT_FILE, KEY_FILE, NoProof, Proof};

/// The variable that names a file of authorities.
pub const CA_FILE: &str = "TARTARUS_CA_FILE";

/// How often the log says that somebody is not believed.
const COMPLAIN_EVERY: Duration = Duration::from_secs(60);

/// Authorities that are believed beside the machine's own.
static BESIDE: OnceLock<RootCertStore> = OnceLock::new();

/// A file of authorities that can't be used.
#[derive(Debug, thiserror::Error)]
#[error("{CA_FILE}={file:?}: {why}: give the certificates of the authorities, in PEM")]
pub struct BadFile {
    file: PathBuf,
    why: String,
}

/// Believes what the authorities in a file (certificates in PEM) vouch for, beside what the machine
/// believes. To be called once, before the first connection.
///
/// # Errors
/// It can't be read, or holds no certificate of an authority.
pub fn believe(file: &Path) -> Result<(), BadFile> {
    let bad = |why: String| BadFile { file: file.to_owned(), why };
    let unreadable = |error: pem::Error| bad(server::unreadable(&error));
    let mut authorities = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(file).map_err(unreadable)? {
        let added = authorities.add(certificate.map_err(unreadable)?);
        added.map_err(|error| bad(format!("it holds what is no certificate ({error})")))?;
    }
    if authorities.is_empty() {
        return Err(bad("it holds no certificate".into()));
    }
    let _ = BESIDE.set(authorities);
    Ok(())
}

/// How this process speaks TLS. What the machine believes is read once (where `SSL_CERT_FILE` or
/// `SSL_CERT_DIR` say so, from there), when the first client is made that may need it.
fn believing() -> ClientConfig {
    static BELIEVING: OnceLock<ClientConfig> = OnceLock::new();
    let made = BELIEVING.get_or_init(|| {
        let mut authorities = BESIDE.get().cloned().unwrap_or_else(RootCertStore::empty);
        let found = rustls_native_certs::load_native_certs();
        for error in &found.errors {
            log::warn!(error:% = error; "could not read an authority that this machine believes");
        }
        authorities.add_parsable_certificates(found.certs);
        config(authorities)
    });
    made.clone()
}

fn config(authorities: RootCertStore) -> ClientConfig {
    ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring has the ciphers of TLS 1.2 and 1.3")
        .with_root_certificates(authorities)
        .with_no_client_auth()
}

/// What makes HTTP clients that believe whom this process believes.
pub fn http() -> ClientBuilder {
    reqwest::Client::builder().tls_backend_preconfigured(believing())
}

/// The same for clients of `http://` alone, who need nobody to believe: `https://` fails.
pub fn plain_http() -> ClientBuilder {
    reqwest::Client::builder().tls_backend_preconfigured(config(RootCertStore::empty()))
}

/// Speaks TLS on a connection to a host.
///
/// # Errors
/// The host proves nothing, or is another, or does not speak TLS: see [`advice`].
pub async fn connect(host: &str, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
    let name = ServerName::try_from(host.to_owned())
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
    TlsConnector::from(Arc::new(believing())).connect(name, stream).await
}

/// Why an instance that others reach over TLS does not ask another, and what to do.
pub const BARE: &str = "this instance is reached over TLS, and the other one is not: give that one a \
                        TARTARUS_ADVERTISE_URL with https://";

/// Whether a token that comes to one URL over TLS would go on to another without.
pub fn bares(own: &str, other: &str) -> bool {
    own.starts_with("https://") && other.starts_with("http://")
}

/// What to do about a connection that failed for its TLS; nothing where that was not why.
pub fn advice(error: &(dyn Error + 'static)) -> Option<&'static str> {
    if let Some(error) = error.downcast_ref::<rustls::Error>() {
        return words(error);
    }
    // An I/O error hands out the cause of what it carries, not that itself.
    let carried = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    match carried {
        Some(carried) => advice(carried),
        None => error.source().and_then(advice),
    }
}

/// Says in the log what to do about a connection that failed for its TLS, of each other end once a
/// minute at most: who is asked often is not to fill it.
pub fn complain(of: &str, error: &(dyn Error + 'static)) {
    static SAID: Mutex<BTreeMap<String, Instant>> = Mutex::new(BTreeMap::new());
    let Some(advice) = advice(error) else { return };
    let mut said = SAID.lock().unwrap_or_else(PoisonError::into_inner);
    said.retain(|_, said| said.elapsed() < COMPLAIN_EVERY);
    if !said.contains_key(of) {
        said.insert(of.to_owned(), Instant::now());
        log::warn!(of; "not believed: {advice}");
    }
}

fn words(error: &rustls::Error) -> Option<&'static str> {
    use CertificateError as Bad;
    match error {
        rustls::Error::InvalidCertificate(bad) => Some(match bad {
            Bad::UnknownIssuer | Bad::BadSignature => {
                "no authority that this machine believes vouches for its certificate: name the file \
                 of the one that does in TARTARUS_CA_FILE, or install ca-certificates"
            }
            Bad::NotValidForName | Bad::NotValidForNameContext { .. } => {
                "its certificate is of another name: use an address that stands in it"
            }
            Bad::Expired | Bad::ExpiredContext { .. } => {
                "its certificate has expired: have it renewed, or set this machine's clock"
            }
            Bad::NotValidYet | Bad::NotValidYetContext { .. } => {
                "its certificate is not valid yet: set this machine's clock"
            }
            _ => "its certificate can't be believed: have one made by an authority",
        }),
        rustls::Error::InvalidMessage(_) => {
            Some("it does not speak TLS there: use http://, or the port that does")
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests;
