//! Certificates in folders of their own, and clients of rustls' that speak TLS to a server.

#![allow(dead_code, reason = "every test binary uses another part of it")]

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use peregrine::tls::Certificate;
use peregrine::{DriverChoice, Options};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SerialNumber,
    date_time_ymd,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion, version};

use super::client::{Client, PATIENCE};

/// What the server's certificate is for unless a test says otherwise.
pub(crate) const NAME: &str = "test.example.org";

pub(crate) static VERSIONS: [&SupportedProtocolVersion; 2] = [&version::TLS13, &version::TLS12];

/// Both drivers, or the one that the environment names.
pub(crate) fn drivers() -> Vec<DriverChoice> {
    match super::options().driver {
        DriverChoice::Auto => vec![DriverChoice::Auto, DriverChoice::Epoll],
        one => vec![one],
    }
}

/// A folder that goes when it is dropped.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("peregrine-https-{}-{number}", process::id()));
        fs::create_dir(&path).expect("a new folder");
        Self(path)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub(crate) fn root(&self) -> &Path {
        &self.0
    }

    pub(crate) fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, bytes).expect("a written file");
        path
    }

    /// Writes a pair as `NAME.pem` and `NAME.key`.
    pub(crate) fn pair(&self, name: &str, pair: &Pair) -> Certificate {
        let chain = self.write(&format!("{name}.pem"), &pair.chain);
        Certificate::pem(chain, self.write(&format!("{name}.key"), &pair.key))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A certificate and its key, both PEM.
pub(crate) struct Pair {
    pub(crate) chain: String,
    pub(crate) key: String,
    serial: SerialNumber,
}

impl Pair {
    pub(crate) fn der(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(self.chain.as_bytes()).expect("PEM")
    }
}

pub(crate) type Authority = CertifiedIssuer<'static, KeyPair>;

/// From 2020 to 2999, with a serial number of its own.
fn params(name: &str) -> CertificateParams {
    static SERIAL: AtomicU32 = AtomicU32::new(1);
    let mut params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2999, 1, 1);
    params.serial_number = Some(SerialNumber::from(u64::from(SERIAL.fetch_add(1, Ordering::Relaxed))));
    params
}

/// A certificate for one name, signed by itself.
pub(crate) fn pair(name: &str) -> Pair {
    let params = params(name);
    let key = KeyPair::generate().expect("a key");
    let certificate = params.self_signed(&key).expect("a certificate");
    let serial = params.serial_number.expect("a serial number");
    Pair { chain: certificate.pem(), key: key.serialize_pem(), serial }
}

pub(crate) fn authority(name: &str) -> Authority {
    let mut params = params(name);
    params.subject_alt_names.clear();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages =
        vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
    CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("an authority")
}

/// A client's certificate, good until the end of a year.
pub(crate) fn issue(name: &str, authority: &Authority, last_year: i32) -> Pair {
    let mut params = params(name);
    params.not_after = date_time_ymd(last_year, 12, 31);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let key = KeyPair::generate().expect("a key");
    let certificate = params.signed_by(&key, authority).expect("a certificate");
    let serial = params.serial_number.expect("a serial number");
    Pair { chain: certificate.pem(), key: key.serialize_pem(), serial }
}

/// An authority's list of what it has revoked, in PEM.
pub(crate) fn revocation(authority: &Authority, revoked: &[&Pair]) -> String {
    let revoked = revoked.iter().map(|pair| RevokedCertParams {
        serial_number: pair.serial.clone(),
        revocation_time: date_time_ymd(2021, 1, 1),
        reason_code: None,
        invalidity_date: None,
    });
    let list = CertificateRevocationListParams {
        this_update: date_time_ymd(2021, 1, 1),
        next_update: date_time_ymd(2999, 1, 1),
        crl_number: SerialNumber::from(1_u64),
        issuing_distribution_point: None,
        revoked_certs: revoked.collect(),
        key_identifier_method: KeyIdMethod::Sha256,
    };
    list.signed_by(authority).expect("a list").pem().expect("PEM")
}

/// A client that trusts some certificates, and has one of its own if it is given one.
pub(crate) fn config(
    trusted: &[&Pair],
    own: Option<&Pair>,
    versions: &[&'static SupportedProtocolVersion],
) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    trusted.iter().for_each(|pair| roots.add(pair.der()).expect("a root"));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .expect("versions")
        .with_root_certificates(roots);
    Arc::new(match own {
        Some(pair) => {
            let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).expect("a key");
            builder.with_client_auth_cert(vec![pair.der()], key).expect("a pair")
        }
        None => builder.with_no_client_auth(),
    })
}

pub(crate) type TlsStream = StreamOwned<ClientConnection, TcpStream>;
pub(crate) type TlsClient = Client<TlsStream>;

/// A connection whose handshake happens with what is sent first. Its end is orderly only with `close_notify`.
#[track_caller]
pub(crate) fn connect(address: SocketAddr, name: &str, config: &Arc<ClientConfig>) -> TlsClient {
    let socket = Client::connect(address).stream;
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    let connection = ClientConnection::new(Arc::clone(config), name).expect("a client");
    Client::over(StreamOwned::new(connection, socket))
}

impl TlsClient {
    /// Shakes hands, as far as the client can see: with TLS 1.3 the server may still refuse.
    pub(crate) fn shake(&mut self) -> io::Result<()> {
        let StreamOwned { conn, sock } = &mut self.stream;
        while conn.is_handshaking() {
            conn.complete_io(sock)?;
        }
        Ok(())
    }
}

/// The alert in an error of a client's.
pub(crate) fn alert(error: &io::Error) -> Option<rustls::AlertDescription> {
    match error.get_ref()?.downcast_ref::<rustls::Error>()? {
        rustls::Error::AlertReceived(alert) => Some(*alert),
        _ => None,
    }
}

/// Options for a server of https on a port of its own, like those of [`options`](super::options).
pub(crate) fn options(certificate: Option<Certificate>) -> Options {
    let mut options = super::options();
    options.urls = vec!["https://127.0.0.1:0".to_owned()];
    options.tls.certificate = certificate;
    options
}

/// Waits at most so long for any one answer: a socket of its own for raw bytes.
pub(crate) fn raw(address: SocketAddr) -> TcpStream {
    let socket = TcpStream::connect(address).expect("a connection");
    socket.set_read_timeout(Some(PATIENCE)).expect("an open socket");
    socket
}
