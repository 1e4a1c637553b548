//! A server and a client in one process, with authorities made for it.

use std::net::{IpAddr, Ipv4Addr};

use rcgen::{BasicConstraints, Certificate, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::PrivatePkcs8KeyDer;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;

fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A certificate for a name, and its key.
fn issued(by: &CertifiedIssuer<'static, KeyPair>, name: &str) -> (Certificate, KeyPair) {
    let (key, params) = (KeyPair::generate().unwrap(), CertificateParams::new([name.to_owned()]));
    (params.unwrap().signed_by(&key, by).unwrap(), key)
}

/// A server that an authority vouches for under a name.
fn server(by: &CertifiedIssuer<'static, KeyPair>, name: &str) -> TlsAcceptor {
    let (certificate, key) = issued(by, name);
    let key = PrivatePkcs8KeyDer::from(key.serialize_der());
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key.into());
    TlsAcceptor::from(Arc::new(config.unwrap()))
}

/// What comes of a connection to a server at this machine's address.
async fn tried(
    believed: &CertifiedIssuer<'static, KeyPair>,
    server: TlsAcceptor,
) -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let serving = async { drop(server.accept(listener.accept().await.unwrap().0).await) };
    let mut authorities = RootCertStore::empty();
    authorities.add(believed.der().clone()).unwrap();
    let connector = TlsConnector::from(Arc::new(config(authorities)));
    let host = ServerName::from(IpAddr::from(Ipv4Addr::LOCALHOST));
    let ((), connected) = tokio::join!(serving, connector.connect(host, stream));
    connected.map(drop)
}

#[tokio::test]
async fn who_is_vouched_for_under_his_name_is_believed_and_nobody_else() {
    let (known, other) = (authority(), authority());
    tried(&known, server(&known, "127.0.0.1")).await.expect("believed");
    for (by, name, advised) in [
        (&other, "127.0.0.1", "no authority that this machine believes"),
        (&known, "olympus.example", "of another name"),
    ] {
        let refused = tried(&known, server(by, name)).await.unwrap_err();
        let advice = advice(&refused).unwrap_or_else(|| panic!("{refused:?}"));
        assert!(advice.contains(advised), "{advice}");
    }
}

#[tokio::test]
async fn who_does_not_speak_tls_is_told_apart() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (mut plain, _) = listener.accept().await.unwrap();
    let says = b"HTTP/1.1 400 Bad Request\r\n\r\n";
    let talking = async {
        tokio::io::AsyncWriteExt::write_all(&mut plain, says).await.unwrap();
    };
    let ((), connected) = tokio::join!(talking, connect("127.0.0.1", stream));
    let advice = advice(&connected.unwrap_err()).expect("advice");
    assert!(advice.contains("does not speak TLS"), "{advice}");
}

#[test]
fn only_a_file_of_authorities_is_believed() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    };
    let torn = authority().pem().replace("END", "THE END OF");
    let junk = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    for (path, why) in [
        (dir.path().join("none"), "it can't be read"),
        (dir.path().to_owned(), "it can't be read"),
        (file("empty", ""), "it holds no certificate"),
        (file("key", &KeyPair::generate().unwrap().serialize_pem()), "it holds no certificate"),
        (file("torn", &torn), "it is not PEM"),
        (file("junk", junk), "it holds what is no certificate"),
    ] {
        let bad = believe(&path).expect_err(why).to_string();
        let named = bad.contains(CA_FILE) && bad.contains(&*path.to_string_lossy());
        assert!(named && bad.contains(why), "{bad}");
    }
    believe(&file("two", &[authority().pem(), authority().pem()].concat())).expect("believed");
    assert_eq!(BESIDE.get().map(RootCertStore::len), Some(2));
}

/// What a server that uses two files proves itself with.
fn proved(proof: &Arc<Proof>) -> TlsAcceptor {
    TlsAcceptor::from(Arc::new(proof.config()))
}

/// A certificate for this machine's address and its key, in PEM.
fn files(by: &CertifiedIssuer<'static, KeyPair>) -> (String, String) {
    let (certificate, key) = issued(by, "127.0.0.1");
    (certificate.pem(), key.serialize_pem())
}

#[tokio::test]
async fn a_renewed_certificate_is_used_and_a_bad_one_is_not() {
    let (before, after) = (authority(), authority());
    let dir = tempfile::tempdir().unwrap();
    let (cert_file, key_file) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
    let put = |(cert, key): (String, String)| {
        std::fs::write(&cert_file, cert).unwrap();
        std::fs::write(&key_file, key).unwrap();
    };
    let first = files(&before);
    put(first.clone());
    let proof = Proof::of(&cert_file, &key_file).unwrap();
    assert_eq!(proof.renew(), Ok(false), "it is the same");
    // Between the two files of a renewal.
    std::fs::write(&cert_file, files(&after).0).unwrap();
    let torn = proof.renew().unwrap_err().to_string();
    assert!(torn.contains(KEY_FILE) && torn.contains("not the key of the certificate"), "{torn}");
    tried(&before, proved(&proof)).await.expect("what was there before");
    put(files(&after));
    assert_eq!(proof.renew(), Ok(true));
    tried(&after, proved(&proof)).await.expect("the new one");
    tried(&before, proved(&proof)).await.expect_err("not the one before");
}

#[test]
fn files_that_prove_nothing_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    };
    let (cert, key) = files(&authority());
    let (none, empty) = (dir.path().join("none"), file("empty", ""));
    let junk = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let (junk, cert, key) = (file("junk", junk), file("cert", &cert), file("key", &key));
    for (cert_file, key_file, name, bad_file, why) in [
        (&none, &key, CERT_FILE, &none, "it can't be read"),
        (&empty, &key, CERT_FILE, &empty, "it holds no certificate"),
        (&junk, &key, CERT_FILE, &junk, "give one in PEM"),
        (&cert, &none, KEY_FILE, &none, "it can't be read"),
        (&cert, &cert, KEY_FILE, &cert, "it holds no private key"),
    ] {
        let bad = Proof::of(cert_file, key_file).expect_err(why).to_string();
        let named = bad.contains(name) && bad.contains(&*bad_file.to_string_lossy());
        assert!(named && bad.contains(why), "{bad}");
    }
}

#[test]
fn a_client_of_http_takes_this_configuration() {
    plain_http().build().expect("the same version of rustls");
    http().build().expect("the same version of rustls");
}
