//! What ends TLS in front of a server, as an operator's proxy does.

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use tempfile::TempDir;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

/// What an authority of its own vouches for under a name, in files.
#[derive(Debug)]
pub struct Issued {
    dir: TempDir,
    chain: Vec<CertificateDer<'static>>,
    key: PrivatePkcs8KeyDer<'static>,
}

impl Issued {
    /// A certificate for a name.
    ///
    /// # Panics
    /// None can be made.
    pub fn to(name: &str) -> Self {
        let key = || KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, key()).expect("an authority");
        let (own, params) = (key(), CertificateParams::new([name.to_owned()]).expect("a name"));
        let certificate = params.signed_by(&own, &authority).expect("a certificate");
        let dir = tempfile::tempdir().expect("a temporary directory");
        for (file, content) in [
            ("ca.pem", authority.pem()),
            ("cert.pem", certificate.pem()),
            ("key.pem", own.serialize_pem()),
        ] {
            std::fs::write(dir.path().join(file), content).expect("written");
        }
        let key = PrivatePkcs8KeyDer::from(own.serialize_der());
        Self { dir, chain: vec![certificate.der().clone()], key }
    }

    /// The file of the authority.
    pub fn ca_file(&self) -> String {
        self.file("ca.pem")
    }

    /// The file of the certificate.
    pub fn cert_file(&self) -> String {
        self.file("cert.pem")
    }

    /// The file of its key.
    pub fn key_file(&self) -> String {
        self.file("key.pem")
    }

    fn file(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    fn config(&self) -> ServerConfig {
        ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(self.chain.clone(), self.key.clone_key().into())
            .expect("a certificate and its key")
    }
}

/// The front. It is gone when it is dropped.
#[derive(Debug)]
pub struct Front {
    /// Where it is.
    pub url: String,
    /// What it proves itself with.
    pub issued: Issued,
    serving: JoinHandle<()>,
}

impl Front {
    /// Listens for a server at a URL, with a certificate for a name by an authority of its own.
    ///
    /// # Panics
    /// There is no port, or no certificate can be made.
    pub async fn before(server: &str, name: &str) -> Self {
        let server = server.trim_start_matches("http://").to_owned();
        let issued = Issued::to(name);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("https://{}", listener.local_addr().expect("an address"));
        let serving = tokio::spawn(serve(listener, server, Arc::new(issued.config())));
        Self { url, issued, serving }
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn serve(listener: TcpListener, server: String, config: Arc<ServerConfig>) {
    let acceptor = TlsAcceptor::from(config);
    while let Ok((stream, _)) = listener.accept().await {
        let (acceptor, server) = (acceptor.clone(), server.clone());
        tokio::spawn(async move {
            let mut client = acceptor.accept(stream).await.ok()?;
            let mut server = TcpStream::connect(server).await.ok()?;
            copy_bidirectional(&mut client, &mut server).await.ok()
        });
    }
}
